//! How likely each packet is hit: evenly, or in bursts.

use std::fmt;

use resound_faults::amounts::{millionths, millionths_or_zero, percent_text};
use resound_faults::draws::{sequel, unit};

const MILLION: f64 = 1e6;

/// How likely a packet is hit, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Odds {
    /// Each for itself.
    Even(u32),
    /// A share of all, in runs of a certain length on average: the model of Gilbert.
    Burst { share: u32, length: u32 },
    /// The model of Gilbert and Elliott: a good state and a bad one.
    GilbertElliott {
        /// From the good state to the bad one.
        enter: u32,
        /// From the bad state to the good one.
        leave: u32,
        /// Of a packet in the bad state.
        bad: u32,
        /// Of a packet in the good state.
        good: u32,
    },
}

impl Odds {
    pub(super) const WHAT: &'static str =
        "a chance like 1%, or four for Gilbert-Elliott: enter/leave/bad/good like 0.5%/20%/100%/0%";

    /// `1%`, or `0.5%/20%/100%/0%`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let parts: Vec<_> = text.split('/').collect();
        match parts[..] {
            [one] => millionths(one).map(Odds::Even),
            [enter, leave, bad, good] => Some(Odds::GilbertElliott {
                enter: millionths(enter)?,
                leave: millionths(leave)?,
                bad: millionths(bad)?,
                good: millionths_or_zero(good)?,
            }),
            _ => None,
        }
    }

    /// The same share in bursts of this length; `None` where that is impossible.
    pub(super) fn in_bursts(self, length: u32) -> Option<Self> {
        let Odds::Even(share) = self else { return None };
        let burst = Odds::Burst { share, length };
        (share < 1_000_000 && length > 0 && burst.parameters().0 <= 1.0).then_some(burst)
    }

    /// Must a flow remember its state?
    pub(super) fn has_state(self) -> bool {
        !matches!(self, Odds::Even(_))
    }

    /// Enter, leave, bad and good, from 0 to 1.
    fn parameters(self) -> (f64, f64, f64, f64) {
        let of = |millionths: u32| f64::from(millionths) / MILLION;
        match self {
            Odds::Even(share) => (0.0, 1.0, 1.0, of(share)),
            Odds::Burst { share, length } => {
                let leave = 1.0 / f64::from(length);
                (of(share) * leave / (1.0 - of(share)), leave, 1.0, 0.0)
            }
            Odds::GilbertElliott { enter, leave, bad, good } => (of(enter), of(leave), of(bad), of(good)),
        }
    }

    /// Is the packet hit for which these bits were drawn? `is_bad` is the state of its flow. It
    /// changes before the packet.
    pub(super) fn hits(self, is_bad: &mut bool, bits: u64) -> bool {
        let (enter, leave, bad, good) = self.parameters();
        if self.has_state() {
            let change = unit(sequel(bits, 0));
            *is_bad = if *is_bad { change >= leave } else { change < enter };
        }
        unit(bits) < if *is_bad { bad } else { good }
    }
}

impl fmt::Display for Odds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Odds::Even(share) | Odds::Burst { share, .. } => f.write_str(&percent_text(share)),
            Odds::GilbertElliott { enter, leave, bad, good } => {
                write!(f, "{}/{}", percent_text(enter), percent_text(leave))?;
                write!(f, "/{}/{}", percent_text(bad), percent_text(good))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use resound_faults::StreamDirection;
    use resound_faults::draws::Draws;

    use super::*;

    /// The share that is hit, and the mean length of a run of hits.
    fn measured(odds: Odds) -> (f64, f64) {
        const ALL: u64 = 400_000;
        let (mut is_bad, mut was_hit, mut hits, mut runs) = (false, false, 0_u32, 0_u32);
        for index in 1..=ALL {
            let bits = Draws { seed: 7, number: 1 }.bits(Some(StreamDirection::Up), 0, index);
            let is_hit = odds.hits(&mut is_bad, bits);
            hits += u32::from(is_hit);
            runs += u32::from(is_hit && !was_hit);
            was_hit = is_hit;
        }
        (f64::from(hits) / ALL as f64, f64::from(hits) / f64::from(runs))
    }

    #[test]
    fn each_model_hits_its_share_in_its_bursts() {
        let even = Odds::parse("2%").unwrap();
        let (share, run) = measured(even);
        assert!((0.019..0.021).contains(&share) && (1.0..1.05).contains(&run), "{share} {run}");
        let (share, run) = measured(even.in_bursts(5).unwrap());
        assert!((0.018..0.022).contains(&share) && (4.7..5.3).contains(&run), "{share} {run}");
        // In the bad state for enter / (enter + leave) of the time: 1/11; half of it is lost.
        let (share, _) = measured(Odds::parse("1%/10%/50%/0%").unwrap());
        assert!((0.043..0.048).contains(&share), "{share}");
        let (share, _) = measured(Odds::parse("1%/10%/50%/1%").unwrap());
        assert!((0.052..0.058).contains(&share), "{share}");
    }

    #[test]
    fn odds_that_are_none_are_refused() {
        for text in ["", "0%", "101%", "1", "1%/2%", "1%/2%/3%", "1%/2%/3%/4%/5%", "0%/1%/1%/1%"] {
            assert_eq!(Odds::parse(text), None, "{text}");
        }
        // A share of nine tenths cannot have runs as short as two packets.
        assert_eq!(Odds::Even(900_000).in_bursts(2), None);
        assert_eq!((Odds::Even(1_000_000).in_bursts(9), Odds::Even(1).in_bursts(0)), (None, None));
    }
}
