//! Axes: the place of a value, and the values with a label.

use std::time::Duration;

use crate::units;

/// Maps values to places between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum AxisScale {
    Linear {
        from: f64,
        to: f64,
    },
    Log {
        from: f64,
        to: f64,
    },
    /// Shares from 0 to 1: each nine has the same width.
    Nines {
        nines: f64,
    },
}

/// A labelled value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    pub(super) value: f64,
    pub(super) label: String,
}

impl AxisScale {
    /// From zero to a round value at or above `most`.
    pub(super) fn from_zero(most: f64) -> Self {
        // A file may hold any value.
        let most = if most > 0.0 { most.min(1e18) } else { 1.0 };
        let step = round_step(most / 4.0);
        Self::Linear { from: 0.0, to: (most / step).ceil().max(1.0) * step }
    }

    /// Times in ns, between round values around these two.
    pub(super) fn of_times(least: f64, most: f64) -> Self {
        let (least, most) = (least.max(1.0), most.max(2.0));
        let (mut from, mut to) = (round_down(least), round_step(most));
        // On a range of less than a factor of ten, noise looks like a mountain.
        while to / from < 10.0 {
            (from, to) = (round_down((from * 0.99).max(1.0)), round_step(to * 1.01));
        }
        Self::Log { from, to }
    }

    pub(super) fn place(&self, value: f64) -> f64 {
        match *self {
            Self::Linear { from, to } => ((value - from) / (to - from)).clamp(0.0, 1.0),
            Self::Log { from, to } => ((value.max(from) / from).ln() / (to / from).ln()).clamp(0.0, 1.0),
            Self::Nines { nines } => (nines_of(value) / nines).clamp(0.0, 1.0),
        }
    }

    /// Labels of numbers per second.
    pub(super) fn numbers(&self, most: usize) -> Vec<Tick> {
        self.linear(most, round_step, &|value, step| match value {
            v if v >= 1e6 => format!("{} M", trimmed(v / 1e6)),
            v if v >= 10_000.0 => format!("{} k", trimmed(v / 1e3)),
            v if step < 1.0 => trimmed(v),
            v => units::count(v.round() as u64),
        })
    }

    /// Labels of bits per second.
    pub(super) fn bits(&self, most: usize) -> Vec<Tick> {
        self.linear(most, round_step, &|value, _| {
            // The name of the axis has the unit.
            let text = units::bits(value);
            let short = text.trim_end_matches("bit/s");
            match short.split_once(' ').and_then(|(number, prefix)| Some((number.parse().ok()?, prefix))) {
                Some((number, prefix)) => format!("{} {prefix}", trimmed(number)).trim_end().into(),
                None => text,
            }
        })
    }

    /// Labels of instants, in s.
    pub(super) fn moments(&self, most: usize) -> Vec<Tick> {
        let steps = [
            0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0,
            600.0, 1200.0, 1800.0, 3600.0, 7200.0, 10800.0, 21600.0, 43200.0, 86400.0,
        ];
        let step_of = |least: f64| steps.into_iter().find(|step| *step >= least).unwrap_or(least);
        self.linear(most, step_of, &|value, step| match (step, value) {
            (_, 0.0) => "0".into(),
            (step, v) if step < 60.0 && v < 600.0 => format!("{} s", trimmed(v)),
            (_, v) if v < 3600.0 => format!("{}:{:02}", v as u64 / 60, v as u64 % 60),
            (_, v) => format!("{}:{:02}:{:02}", v as u64 / 3600, v as u64 / 60 % 60, v as u64 % 60),
        })
    }

    /// Labels of times in ns: decades, with 2 and 5 between them if there is room.
    pub(super) fn times(&self, most: usize) -> Vec<Tick> {
        let Self::Log { from, to } = *self else { return Vec::new() };
        let decades = (from.log10().floor() as i32)..=(to.log10().ceil() as i32);
        for steps in [&[1.0, 2.0, 5.0][..], &[1.0]] {
            let values = decades.clone().flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)));
            let values: Vec<f64> = values.filter(|value| (from * 0.999..=to * 1.001).contains(value)).collect();
            if values.len() <= most || steps.len() == 1 {
                let skip = values.len().div_ceil(most.max(1)).max(1);
                return values
                    .into_iter()
                    .step_by(skip)
                    .map(|value| Tick { value, label: time_label(value) })
                    .collect();
            }
        }
        Vec::new()
    }

    /// Labels of percentiles.
    pub(super) fn percentiles(&self) -> Vec<Tick> {
        let Self::Nines { nines } = *self else { return Vec::new() };
        let shares =
            [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.999_99, 0.999_999, 0.999_999_9, 0.999_999_99, 0.999_999_999];
        let labels = [
            "0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "4 nines", "5 nines", "6 nines", "7 nines",
        ];
        let all = shares.into_iter().zip(labels).filter(|(share, _)| nines_of(*share) <= nines + 1e-9);
        all.map(|(value, label)| Tick { value, label: label.into() }).collect()
    }

    fn linear(&self, most: usize, round: impl Fn(f64) -> f64, label: &dyn Fn(f64, f64) -> String) -> Vec<Tick> {
        let Self::Linear { from, to } = *self else { return Vec::new() };
        let step = round((to - from) / most.max(1) as f64);
        let count = ((to - from) / step + 1e-9).floor() as usize;
        (0..=count).map(|n| from + step * n as f64).map(|value| Tick { value, label: label(value, step) }).collect()
    }
}

/// The number of nines of a share: 1 for 0.9, 2 for 0.99.
pub(super) fn nines_of(share: f64) -> f64 {
    -(1.0 - share).max(1e-12).log10()
}

/// The least of 1, 2 and 5 times a power of ten at or above `value`.
fn round_step(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let round = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * power >= value * 0.999_999);
    round.unwrap_or(10.0) * power
}

fn round_down(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    [5.0, 2.0, 1.0].into_iter().find(|step| step * power <= value * 1.000_001).unwrap_or(1.0) * power
}

/// `20 us`, `1 ms`, `5 s`
fn time_label(ns: f64) -> String {
    if ns >= 1e12 {
        return format!("{} s", trimmed(ns / 1e9));
    }
    let text = units::latency(Duration::from_nanos(ns.round() as u64));
    let Some((number, unit)) = text.split_once(' ') else { return text };
    number.parse().map_or_else(|_| text.clone(), |number| format!("{} {unit}", trimmed(number)))
}

/// Removes trailing zeros.
fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: Vec<Tick>) -> Vec<String> {
        ticks.into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn labels_are_round() {
        assert_eq!(labels(AxisScale::from_zero(9_998.0).numbers(5)), ["0", "2,000", "4,000", "6,000", "8,000", "10 k"]);
        assert_eq!(labels(AxisScale::from_zero(0.0).numbers(5)), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        assert_eq!(labels(AxisScale::from_zero(3.0).numbers(5)), ["0", "1", "2", "3"]);
        assert_eq!(
            labels(AxisScale::of_times(48_000.0, 1_200_000.0).times(9)),
            ["20 us", "50 us", "100 us", "200 us", "500 us", "1 ms", "2 ms"]
        );
        assert_eq!(
            labels(AxisScale::of_times(1.0, 3.6e12).times(7)),
            ["1 ns", "100 ns", "10 us", "1 ms", "100 ms", "10 s", "1000 s"]
        );
        assert_eq!(labels(AxisScale::from_zero(25.2e9).bits(5)), ["0", "10 G", "20 G", "30 G"]);
        let time = |to| AxisScale::Linear { from: 0.0, to };
        assert_eq!(labels(time(30.0).moments(6)), ["0", "5 s", "10 s", "15 s", "20 s", "25 s", "30 s"]);
        assert_eq!(labels(time(7200.0).moments(4)), ["0", "30:00", "1:00:00", "1:30:00", "2:00:00"]);
        assert_eq!(labels(AxisScale::Nines { nines: 3.0 }.percentiles()), ["0 %", "50 %", "90 %", "99 %", "99.9 %"]);
    }

    #[test]
    fn every_value_has_a_place() {
        for scale in [
            AxisScale::from_zero(0.0),
            AxisScale::of_times(0.0, 0.0),
            AxisScale::of_times(5.0, u64::MAX as f64),
            AxisScale::Nines { nines: 1.0 },
        ] {
            for value in [0.0, 1.0, 1e9, u64::MAX as f64] {
                assert!((0.0..=1.0).contains(&scale.place(value)), "{scale:?} {value}");
            }
        }
    }
}
