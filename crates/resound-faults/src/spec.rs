//! A specification of faults: its text, and what it means for a listener and a connection.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Instant;

use crate::connection::ConnectionFaults;
use crate::draws::{Draws, below};
use crate::effect::EffectValue;
use crate::error::{Flaw, SpecError, SpecProblem};
use crate::grammar;
use crate::kind::{FaultKind, Role, Scope};
use crate::rule::FaultRule;

/// Faults and their schedule: rules, of which each concerns some connections. Text that was parsed
/// prints as text that parses to the same.
///
/// ```
/// use resound_faults::{FaultKind, FaultSpec};
///
/// let spec: FaultSpec = "1-2: reset; down: delay=20ms+-5ms; every 5th: close @64KiB 25%".parse()?;
/// assert_eq!(spec.rules()[0].effect.kind, FaultKind::Reset);
/// assert_eq!(spec.to_string().parse(), Ok(spec));
/// # Ok::<(), resound_faults::SpecError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultSpec {
    rules: Vec<FaultRule>,
}

/// The faults of a listener as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenerFaults {
    /// Connections are refused: nothing listens.
    pub refuse: bool,
    /// The system answers no client: the backlog is full, and no connection is accepted.
    pub never_accept: bool,
    /// Connections at once; further ones are reset.
    pub cap: Option<usize>,
    /// Connections per second; further ones wait.
    pub connect_rate: Option<u32>,
}

impl FaultSpec {
    pub(crate) fn new(rules: Vec<FaultRule>) -> Self {
        Self { rules }
    }

    /// Its rules, in their order.
    pub fn rules(&self) -> &[FaultRule] {
        &self.rules
    }

    /// Has it no rule?
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Can this program cause all of its faults? The text of the error is the specification as it
    /// prints.
    pub fn check_for(&self, role: Role) -> Result<(), SpecError> {
        let mut text = String::new();
        let mut found = None;
        for rule in &self.rules {
            if !text.is_empty() {
                text += "; ";
            }
            let printed = rule.to_string();
            let kind = rule.effect.kind;
            if let Some((only, reason)) = kind.facts().only
                && only != role
                && found.is_none()
            {
                // Only a network stands before it, and no network contains a fault's word.
                let start = text.len() + printed.find(kind.word()).unwrap_or_default();
                let program = if only == Role::Server { "server" } else { "relay" };
                let sentence = format!("`{}` is a fault of a {program} alone: {reason}", kind.word());
                found = Some(Flaw::new(SpecProblem::Role, start..start + kind.word().len(), sentence));
            }
            text += &printed;
        }
        match found {
            Some(flaw) => Err(flaw.within(&text, None)),
            None => Ok(()),
        }
    }

    /// The faults of the listener; of several caps or rates the smallest.
    pub fn listener(&self) -> ListenerFaults {
        let mut faults = ListenerFaults::default();
        for rule in &self.rules {
            let count = match rule.effect.value {
                EffectValue::Count(count) => count,
                _ => 0,
            };
            match rule.effect.kind {
                FaultKind::Refuse => faults.refuse = true,
                FaultKind::NeverAccept => faults.never_accept = true,
                FaultKind::Cap => {
                    let cap = usize::try_from(count).unwrap_or(usize::MAX);
                    faults.cap = Some(faults.cap.map_or(cap, |least| least.min(cap)));
                }
                FaultKind::ConnectRate => {
                    faults.connect_rate = Some(faults.connect_rate.map_or(count, |least| least.min(count)));
                }
                _ => {}
            }
        }
        faults
    }

    /// The faults of a connection, which was accepted `now` as the `number`th, from 1. `None` if no
    /// rule concerns it: its bytes need not pass through here.
    pub fn connection(&self, seed: u64, number: u64, peer: Option<IpAddr>, now: Instant) -> Option<ConnectionFaults> {
        let draws = Draws { seed, number };
        let concerns = |(index, rule): &(usize, FaultRule)| {
            let is_chosen = || match rule.chance {
                Some(chance) if !rule.corrupts_blocks() => {
                    below(draws.bits(None, *index, 0), 1_000_000) < u64::from(chance.millionths())
                }
                _ => true,
            };
            rule.effect.kind.facts().scope != Scope::Listener && rule.which.contain(number, peer) && is_chosen()
        };
        let own: Vec<_> = self.rules.iter().copied().enumerate().filter(concerns).collect();
        (!own.is_empty()).then(|| ConnectionFaults::new(draws, own, now))
    }
}

impl FromStr for FaultSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        grammar::rules(text).map(Self::new).map_err(|flaw| flaw.within(text, None))
    }
}

impl fmt::Display for FaultSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, rule) in self.rules.iter().enumerate() {
            let gap = if index > 0 { "; " } else { "" };
            write!(f, "{gap}{rule}")?;
        }
        Ok(())
    }
}
