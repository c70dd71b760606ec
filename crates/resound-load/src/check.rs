//! Whether a load can be generated: the limits of its settings, and which go together.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Mode, RampSteps, RampVariable, Settings, Shape, Sizes};

/// The longest message, in bytes. [`Shape::Stream`] sends more.
pub const LONGEST_MESSAGE: u64 = 64 * 1024 * 1024;
/// The messages or connections per second that a run can plan: from about one a day to one for each
/// tick of the clock.
pub const RATES: RangeInclusive<f64> = 1e-5..=1e9;
/// The most steps of a ramp.
pub const MOST_STEPS: u32 = 100_000;
/// More than the ports of a hundred addresses.
const MOST_CONNECTIONS: u64 = 10_000_000;
/// Times are counted in nanoseconds, and several may be added.
const LONGEST_TIME: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Why a load did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A setting has a value with which nothing can be generated or measured.
    #[error("{setting}: {problem}")]
    Setting {
        /// The field of [`Settings`] or [`Load`](super::Load).
        setting: &'static str,
        /// What is wrong with its value.
        problem: String,
    },
    /// The dialer did not start.
    #[error(transparent)]
    Dialer(#[from] resound::Error),
}

fn wrong(setting: &'static str, problem: impl Into<String>) -> LoadError {
    LoadError::Setting { setting, problem: problem.into() }
}

impl Settings {
    pub(super) fn check(&self) -> Result<(), LoadError> {
        if !(1..=MOST_CONNECTIONS).contains(&self.connections) {
            return Err(wrong("connections", format!("{} is outside of 1 to {MOST_CONNECTIONS}", self.connections)));
        }
        if self.depth == 0 {
            return Err(wrong("depth", "it is 0, so no message could be sent"));
        }
        if self.messages == Some(0) {
            return Err(wrong("messages", "it is 0, so nothing would be measured"));
        }
        if self.messages_per_connection == Some(0) {
            return Err(wrong("messages_per_connection", "it is 0, so nothing would be measured"));
        }
        for (setting, rate) in [("rate", self.rate), ("connect_rate", self.connect_rate)] {
            rate.map_or(Ok(()), |rate| check_rate(setting, rate))?;
        }
        check_time("duration", self.duration.unwrap_or(LONGEST_TIME), true)?;
        check_time("think_time", self.think_time, false)?;
        check_time("interval", self.interval, true)?;
        check_sizes(&self.size)?;
        self.ramp.as_ref().map_or(Ok(()), check_ramp)?;
        self.check_shape()
    }

    /// Whether the fields that a shape needs are there, and none that contradicts it.
    fn check_shape(&self) -> Result<(), LoadError> {
        let shape = self.shape;
        let of = |wanted: Shape| shape == wanted;
        let pairs = [
            ("ramp", self.ramp.is_some(), of(Shape::Ramp), of(Shape::Ramp)),
            ("direction", self.direction.is_some(), false, of(Shape::Stream)),
            ("rate", self.rate.is_some(), of(Shape::Open), of(Shape::Open)),
            ("messages_per_connection", self.messages_per_connection.is_some(), of(Shape::Connect), true),
        ];
        for (setting, is_given, needs, allows) in pairs {
            if needs && !is_given {
                return Err(wrong(setting, format!("it is missing, and the shape `{}` needs it", shape.name())));
            }
            if is_given && !allows {
                return Err(wrong(setting, format!("it has no meaning for the shape `{}`", shape.name())));
            }
        }
        match self.mode {
            Mode::Chargen if !of(Shape::Stream) => {
                Err(wrong("mode", "a target that generates can only be received from: the shape is `stream`"))
            }
            _ => Ok(()),
        }
    }
}

fn check_rate(setting: &'static str, rate: f64) -> Result<(), LoadError> {
    match RATES.contains(&rate) {
        true => Ok(()),
        false => Err(wrong(setting, format!("{rate} a second is outside of {} to {}", RATES.start(), RATES.end()))),
    }
}

pub(super) fn check_time(setting: &'static str, time: Duration, is_needed: bool) -> Result<(), LoadError> {
    match time {
        Duration::ZERO if is_needed => Err(wrong(setting, "it is 0")),
        time if time > LONGEST_TIME => Err(wrong(setting, "it is longer than 100 years")),
        _ => Ok(()),
    }
}

fn check_sizes(sizes: &Sizes) -> Result<(), LoadError> {
    let longest = match sizes {
        Sizes::Fixed(size) => *size,
        Sizes::Range(from, to) if from > to => return Err(wrong("size", format!("{from} to {to} is empty"))),
        Sizes::Range(_, to) => *to,
        Sizes::Weighted(sizes) => {
            if !sizes.iter().all(|(_, weight)| weight.is_finite() && *weight > 0.0) {
                return Err(wrong("size", "a weight is not more than 0"));
            }
            sizes.iter().map(|(size, _)| *size).max().ok_or_else(|| wrong("size", "it has no length"))?
        }
    };
    match longest {
        0..=LONGEST_MESSAGE => Ok(()),
        _ => Err(wrong("size", format!("a message has at most {LONGEST_MESSAGE} bytes"))),
    }
}

fn check_ramp(ramp: &RampSteps) -> Result<(), LoadError> {
    let is_whole = |level: f64| level.fract() == 0.0 && (1.0..=MOST_CONNECTIONS as f64).contains(&level);
    let levels = [ramp.from, ramp.to, ramp.by];
    match ramp.of {
        RampVariable::Rate => levels.into_iter().try_for_each(|level| check_rate("ramp", level))?,
        RampVariable::Connections if levels.into_iter().all(is_whole) => {}
        RampVariable::Connections => {
            let problem = format!("its numbers of connections are whole ones from 1 to {MOST_CONNECTIONS}");
            return Err(wrong("ramp", problem));
        }
    }
    if ramp.to < ramp.from {
        return Err(wrong("ramp", format!("it goes down, from {} to {}", ramp.from, ramp.to)));
    }
    if ramp.count() > MOST_STEPS + 1 {
        return Err(wrong("ramp", format!("it has more than {MOST_STEPS} steps")));
    }
    check_time("ramp", ramp.every, true)?;
    check_time("ramp", ramp.every.saturating_mul(ramp.count()), true)
}

#[cfg(test)]
mod tests {
    use super::super::{Direction, Load};
    use super::*;

    fn load(change: impl FnOnce(&mut Load)) -> Load {
        let mut load = Load::new(resound_proto::Endpoint::Unknown, Settings::closed(1));
        change(&mut load);
        load
    }

    #[test]
    fn what_nothing_can_be_generated_or_measured_with_is_refused() {
        fn settings(change: impl FnOnce(&mut Settings)) -> Load {
            load(|load| change(&mut load.settings))
        }
        let ramp = |change: fn(&mut RampSteps)| {
            let (of, every, until) = (RampVariable::Rate, Duration::from_secs(1), Vec::new());
            let mut ramp = RampSteps { of, from: 10.0, to: 20.0, by: 5.0, every, until };
            change(&mut ramp);
            settings(|settings| (settings.shape, settings.ramp) = (Shape::Ramp, Some(ramp)))
        };
        let open = |rate| load(|load| load.settings = Settings::open(1, rate));
        let sized = |size| settings(|settings| settings.size = size);
        for (load, want) in [
            (settings(|_| {}), None),
            (ramp(|_| {}), None),
            (open(1e-5), None),
            (sized(Sizes::Range(64, 64)), None),
            (settings(|settings| settings.connections = 0), Some("connections: 0 is outside of 1 to 10000000")),
            (settings(|settings| settings.depth = 0), Some("depth: it is 0")),
            (settings(|settings| settings.messages = Some(0)), Some("messages: it is 0")),
            (settings(|settings| settings.duration = Some(Duration::ZERO)), Some("duration: it is 0")),
            (settings(|settings| settings.think_time = Duration::MAX), Some("think_time: it is longer")),
            (settings(|settings| settings.connect_rate = Some(0.0)), Some("connect_rate: 0 a second")),
            (open(0.0), Some("rate: 0 a second is outside of 0.00001 to 1000000000")),
            (open(-5.0), Some("rate: -5 a second")),
            (open(f64::NAN), Some("rate: NaN a second")),
            (open(f64::INFINITY), Some("rate: inf a second")),
            (sized(Sizes::Range(100, 10)), Some("size: 100 to 10 is empty")),
            (sized(Sizes::Weighted(Vec::new())), Some("size: it has no length")),
            (sized(Sizes::Weighted(vec![(1, 0.0)])), Some("size: a weight is not more than 0")),
            (sized(Sizes::Fixed(LONGEST_MESSAGE + 1)), Some("size: a message has at most 67108864 bytes")),
            (ramp(|ramp| ramp.by = 0.0), Some("ramp: 0 a second")),
            (ramp(|ramp| ramp.by = 1e-5), Some("ramp: it has more than 100000 steps")),
            (ramp(|ramp| (ramp.of, ramp.by) = (RampVariable::Connections, 0.5)), Some("ramp: its numbers of conn")),
            (ramp(|ramp| ramp.to = 5.0), Some("ramp: it goes down, from 10 to 5")),
            (ramp(|ramp| ramp.every = Duration::MAX), Some("ramp: it is longer than 100 years")),
            (settings(|settings| settings.shape = Shape::Open), Some("rate: it is missing, and the shape `open`")),
            (settings(|settings| settings.rate = Some(1.0)), Some("rate: it has no meaning for the shape `closed`")),
            (settings(|settings| settings.shape = Shape::Ramp), Some("ramp: it is missing")),
            (settings(|settings| settings.direction = Some(Direction::Send)), Some("direction: it has no meaning")),
            (settings(|settings| settings.mode = Mode::Chargen), Some("mode: a target that generates")),
            (load(|load| load.timeout = Duration::ZERO), Some("timeout: it is 0")),
            (load(|load| load.warm_up = Duration::MAX), Some("warm_up: it is longer than 100 years")),
        ] {
            let found = load.check().err().map(|error| error.to_string());
            let is_as_wanted = match (&found, want) {
                (Some(found), Some(want)) => found.starts_with(want),
                (found, want) => found.is_none() && want.is_none(),
            };
            assert!(is_as_wanted, "{found:?} instead of {want:?}");
        }
    }
}
