//! [`Estimate`]: the value of a quantity, and how certain it is.

use resound_load::{Bounded, Counts, Figure, Latency, LoadFailure};

use super::cannot_show;
use super::metric::{GateSubject, Metric};
use super::run::{Run, times};
use super::verdict::WRONG;
use crate::units;

/// A value, and the bounds of the true one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) least: f64,
    pub(crate) value: f64,
    pub(crate) most: f64,
    /// The value itself is only a lower bound.
    pub(crate) is_bound: bool,
    /// Reasons why the true value may differ, each with a way to settle it.
    pub(crate) doubts: Vec<(String, &'static str)>,
}

const ALL_ANSWERED: &str = "a run in which every message is answered";
const OWN_PACE: &str = "a generator that keeps its plan: a lower --rate, more processors, or several generators";
const CONNECTED: &str = "a run in which every connection is made";

impl Estimate {
    fn exact(value: f64) -> Self {
        Self { least: value, value, most: value, is_bound: false, doubts: Vec::new() }
    }

    /// Raises the upper bound, for a reason.
    fn may_be_more(mut self, most: f64, doubt: (String, &'static str)) -> Self {
        self.most = self.most.max(most);
        self.doubts.push(doubt);
        self
    }

    fn may_be_less(mut self, least: f64, doubt: (String, &'static str)) -> Self {
        self.least = self.least.min(least);
        self.doubts.push(doubt);
        self
    }

    /// The factors between the value and its lower and upper bound.
    pub(super) fn factors(&self) -> (f64, f64) {
        let of = |end: f64| match end == self.value {
            true => 1.0,
            false if self.value > 0.0 => end / self.value,
            false => f64::INFINITY,
        };
        (of(self.least).min(1.0), of(self.most))
    }
}

impl Metric {
    /// The estimate for a run, or the reason why there is none.
    pub(super) fn measure(&self, run: &Run) -> Result<Estimate, String> {
        self.measure_without(run, run.own_delays())
    }

    /// As `measure`, for a comparison: both runs have late sends of their own generators, which are
    /// a part of the variation.
    pub(super) fn measure_to_compare(&self, run: &Run) -> Result<Estimate, String> {
        self.measure_without(run, run.record.total.counts.lagged)
    }

    /// `of_own` response times may hold delays of the generator's own making.
    fn measure_without(&self, run: &Run, of_own: u64) -> Result<Estimate, String> {
        let counts = &run.record.total.counts;
        match *self {
            Self::Time { of, what } => time(of, what, run, of_own),
            Self::Errors => Ok(failures(run, counts.errors(), |_| true)),
            Self::Failed(class) => Ok(failures(run, counts.failed(class), |other| other == class)),
            Self::Loss => loss(run),
            Self::ConnectRate => per_second(run, run.rates.connections).map(Estimate::exact),
            Self::Rate => rate(run, run.rates.messages),
            Self::SendRate => rate(run, run.rates.sent),
            Self::Goodput => rate(run, run.goodput()),
        }
    }
}

fn time(of: Option<&'static str>, what: GateSubject, run: &Run, of_own: u64) -> Result<Estimate, String> {
    // Connect times do not describe answers.
    let main = if run.main().0 == "connect" { "service" } else { run.main().0 };
    let name = of.unwrap_or(main);
    let times = times(&run.record.total, name);
    let figure = match what {
        GateSubject::Percentile(percent) => times.percentile(percent),
        GateSubject::Min => times.min(),
        GateSubject::Mean => times.mean(),
        GateSubject::Max => times.max(),
    };
    let Some(Figure { time, is_bound }) = figure else {
        return Err(format!("no {name} time was measured, so nothing was proved"));
    };
    let us = |time: std::time::Duration| time.as_secs_f64() * 1e6;
    let unknown = UnmeasuredTime::of(name, times, run);
    let of_own = if name == "response" { of_own } else { 0 };
    let (least, mut most) = within(what, times, unknown.count, of_own);
    // Messages delayed by a stall waited for it: they improve no figure.
    let mut with_delayed = times.all.clone();
    with_delayed.add(&unknown.delayed);
    if !unknown.delayed.is_empty() && what != GateSubject::Min {
        let all = Bounded { all: &with_delayed, bounds: times.bounds };
        let (_, delayed) = within(what, all, unknown.count, of_own);
        most = most.zip(delayed).map(|(most, delayed)| most.max(delayed));
    }
    let most = most.map_or(f64::INFINITY, us);
    let mut measured = Estimate { is_bound, ..Estimate::exact(us(time)) };
    if most > measured.value {
        let doubts = unknown.doubts(name, times, run);
        measured.most = most;
        measured.doubts.extend(doubts);
    }
    if let GateSubject::Percentile(percent) = what
        && cannot_show(percent, times.all.count())
    {
        let (few, enough) = (units::counted(times.all.count(), "sample"), (100.0 / (100.0 - percent)).ceil() as u64);
        let why = format!("{few} cannot show it; {} can: the maximum is in its place", units::count(enough));
        measured = measured.may_be_more(f64::INFINITY, (why, "more messages, or a gate on max"));
    }
    if us(least) < measured.value && of_own > 0 {
        let why = format!("{} the generator itself sent late", units::counted(of_own, "message"));
        measured = measured.may_be_less(us(least), (why, OWN_PACE));
    }
    Ok(measured)
}

/// The lower and the upper bound of a figure.
fn within(
    what: GateSubject,
    times: Bounded<'_>,
    unknown: u64,
    of_own: u64,
) -> (std::time::Duration, Option<std::time::Duration>) {
    let is_known = unknown == 0 && times.bounds.is_empty();
    match what {
        GateSubject::Percentile(percent) => times.percentile_within(percent, unknown, of_own),
        GateSubject::Max => {
            let (least, _) = times.percentile_within(100.0, 0, of_own);
            (least, times.all.max().filter(|_| is_known))
        }
        GateSubject::Mean => {
            let mean = times.all.mean().unwrap_or_default();
            // Times in doubt may be 0 in truth, and are at most the longest.
            let longest = times.all.max().unwrap_or_default().as_secs_f64();
            let less = longest * of_own as f64 / times.all.count().max(1) as f64;
            let least = std::time::Duration::try_from_secs_f64(mean.as_secs_f64() - less).unwrap_or_default();
            (least, Some(mean).filter(|_| is_known))
        }
        GateSubject::Min => {
            let known = times.all.without(times.bounds);
            (times.all.min().unwrap_or_default(), known.min())
        }
    }
}

/// Messages and connections without a measured time.
struct UnmeasuredTime {
    count: u64,
    /// Messages that were due, and connection attempts.
    untimed: u64,
    /// Messages that would have been sent during outages, or connections made during outages and
    /// stalls.
    unplanned: u64,
    /// The waits of messages that would have been sent during stalls.
    delayed: Latency,
}

impl UnmeasuredTime {
    fn of(name: &str, times: Bounded<'_>, run: &Run) -> Self {
        let counts = &run.record.total.counts;
        let due = counts.planned.max(counts.sent);
        let untimed = match name {
            "connect" | "handshake" => counts.unconnected,
            _ => due.saturating_sub(times.all.count()),
        };
        let (unplanned, delayed) = match name {
            "connect" | "handshake" => (run.unattempted(), Latency::default()),
            "service" => (run.unplanned(due), run.delayed(due)),
            _ => (0, Latency::default()),
        };
        Self { count: untimed.saturating_add(unplanned), untimed, unplanned, delayed }
    }

    fn doubts(&self, name: &str, times: Bounded<'_>, run: &Run) -> Vec<(String, &'static str)> {
        let mut doubts = Vec::new();
        let bounds = times.bounds.count();
        if bounds > 0 {
            let why = format!("{} waited longer than was measured", units::counted(bounds, "message"));
            doubts.push((why, ALL_ANSWERED));
        }
        if self.untimed > 0 {
            doubts.push(match name {
                "connect" | "handshake" => {
                    let attempts = units::counted(self.untimed, "attempt");
                    (format!("{attempts} to connect failed, and have no times"), CONNECTED)
                }
                _ => (format!("{} have no times", units::counted(self.untimed, "message")), ALL_ANSWERED),
            });
        }
        if self.unplanned > 0 || !self.delayed.is_empty() {
            doubts.push(silence(run));
        }
        doubts
    }
}

fn silence(run: &Run) -> (String, &'static str) {
    let share = 100.0 * run.silence();
    (format!("for {share:.1} % of the time of its connections nothing was answered"), run.settles_silence())
}

/// The number of failures. Without a plan, the number of further failures during outages is
/// unknown.
fn failures(run: &Run, count: u64, concerns: impl Fn(LoadFailure) -> bool) -> Estimate {
    let measured = Estimate::exact(count as f64);
    let is_of_network = |class: &LoadFailure| !WRONG.contains(class) && *class != LoadFailure::Missing;
    let counts = &run.record.total.counts;
    let more = run.unplanned(counts.planned.max(counts.received));
    if more == 0 || !LoadFailure::ALL.iter().any(|class| is_of_network(class) && concerns(*class)) {
        return measured;
    }
    measured.may_be_more(count.saturating_add(more) as f64, silence(run))
}

/// The share of due messages that were not answered.
fn loss(run: &Run) -> Result<Estimate, String> {
    let Counts { planned, sent, received, lagged, .. } = run.record.total.counts;
    let due = planned.max(sent);
    if !run.expects_answers() {
        return Err("the target answers nothing in this mode, so loss cannot be seen".into());
    }
    if due == 0 {
        return Err("no message was sent, so nothing was proved".into());
    }
    let lost = due.saturating_sub(received);
    let percent = |lost: u64, due: u64| lost as f64 * 100.0 / due as f64;
    let mut measured = Estimate::exact(percent(lost, due));
    if lagged > 0 {
        let least = percent(lost.saturating_sub(lagged), due);
        measured = measured.may_be_less(least, unsent_by_us(lagged));
    }
    let more = run.unplanned(due);
    if more > 0 {
        let most = percent(lost.saturating_add(more), due.saturating_add(more));
        measured = measured.may_be_more(most, silence(run));
    }
    Ok(measured)
}

/// A rate. Messages that the generator itself failed to send might have raised it.
fn rate(run: &Run, per_second: f64) -> Result<Estimate, String> {
    let measured = self::per_second(run, per_second).map(Estimate::exact)?;
    let Counts { planned, sent, lagged, .. } = run.record.total.counts;
    if lagged == 0 {
        return Ok(measured);
    }
    let most = match sent {
        0 => f64::INFINITY,
        sent => per_second * planned.max(sent) as f64 / sent as f64,
    };
    Ok(measured.may_be_more(most, unsent_by_us(lagged)))
}

fn per_second(run: &Run, rate: f64) -> Result<f64, String> {
    match run.record.elapsed.is_zero() {
        true => Err("no time was measured, so nothing was proved".into()),
        false => Ok(rate),
    }
}

fn unsent_by_us(lagged: u64) -> (String, &'static str) {
    (format!("{} the generator itself never sent", units::counted(lagged, "planned message")), OWN_PACE)
}

#[cfg(test)]
mod tests {
    use resound_load::{Latency, LoadFailure};

    use super::super::gate::Gate;
    use super::super::outcome::Judgement;
    use super::super::run::Run;
    use super::super::samples;

    fn judgement(text: &str, run: &Run) -> Judgement {
        Gate::parse(text).unwrap().judge(run).judgement
    }

    /// A run with `count` planned messages that were never sent and waited for at least `ms`
    /// milliseconds.
    fn with_unsent(count: u64, ms: u64) -> Run {
        let mut record = samples::record(1_000, 1, false);
        let (total, waits) = (&mut record.total, Latency::of([(ms * 1_000_000, count)]));
        total.counts.planned += count;
        total.counts.failures[LoadFailure::Unsent.index()] = count;
        for times in [&mut total.response, &mut total.lag, &mut total.bounds.response, &mut total.bounds.lag] {
            times.add(&waits);
        }
        Run::of(record)
    }

    #[test]
    fn unsent_messages_are_late_and_lost() {
        use Judgement::{CannotTell, Fail, Pass};
        // Half of the plan waited for seconds.
        let outage = with_unsent(30_000, 4_000);
        for (text, want) in [
            ("p40>5ms", Pass),
            ("p99>5ms", Fail),
            ("p99>5s", CannotTell),
            ("lag.p99>5ms", Fail),
            ("max>5s", CannotTell),
            ("mean>1s", Fail),
            ("service.p99>5s", CannotTell),
            ("service.p40>5s", Pass),
            ("loss>1%", Fail),
            ("loss>50%", Pass),
            ("errors>500", Fail),
            ("unsent>0", Fail),
            ("unsent>30k", Pass),
            ("reset>0", Pass),
            ("min>1s", Pass),
        ] {
            assert_eq!(judgement(text, &outage), want, "{text}");
        }
        // A few messages had just become due: they decide only the percentiles that so few can
        // decide.
        let end = with_unsent(20, 1);
        for (text, want) in
            [("p99>400ms", Pass), ("p99.99>400ms", CannotTell), ("max>1s", CannotTell), ("max>1ms", Fail)]
        {
            assert_eq!(judgement(text, &end), want, "{text}");
        }
        let outcome = Gate::parse("p99>5s").unwrap().judge(&outage);
        assert_eq!(outcome.measured, "at least 4.00 s, but 30,000 messages waited longer than was measured");
        assert_eq!(outcome.settled_by.as_deref(), Some("a run in which every message is answered"));
    }

    #[test]
    fn delays_of_the_generator_are_not_the_targets() {
        use Judgement::{CannotTell, Fail, Pass};
        let mut record = samples::record(1_000, 1, false);
        let (total, late) = (&mut record.total, Latency::of([(80_000_000, 3_000)]));
        [&mut total.response, &mut total.service].into_iter().for_each(|times| times.add(&late));
        total.lag.add(&late);
        (total.counts.planned, total.counts.sent, total.counts.received) = (33_000, 33_000, 33_000);
        let stalled = total.counts.held;
        let run = |held| {
            let mut record = record.clone();
            record.total.counts.held = held;
            Run::of(record)
        };
        assert_eq!(judgement("p95>50ms", &run(stalled + 3_000)), Fail);
        let run = run(stalled);
        for (text, want) in [
            ("p95>50ms", CannotTell),
            ("p95>10s", Pass),
            ("p95>1us", Fail),
            ("lag.p95>50ms", Fail),
            ("service.p95>50ms", Fail),
            ("max>330ms", CannotTell),
            ("mean>5ms", CannotTell),
        ] {
            assert_eq!(judgement(text, &run), want, "{text}");
        }
        // Messages that the generator never sent.
        let total = &mut record.total;
        (total.counts.planned, total.counts.lagged) = (40_000, 7_000);
        let run = Run::of(record);
        for (text, want) in [
            ("loss>1%", CannotTell),
            ("loss>50%", Pass),
            ("rate<1200", CannotTell),
            ("rate<10k", Fail),
            ("rate<1000", Pass),
            ("send-rate<1200", CannotTell),
            ("goodput<65k", CannotTell),
            ("errors>0", Pass),
        ] {
            assert_eq!(judgement(text, &run), want, "{text}");
        }
    }

    #[test]
    fn an_outage_hides_messages_of_a_closed_loop() {
        use Judgement::{CannotTell, Fail, Pass};
        let mut record = samples::record(1_000, 1, false);
        (record.settings.rate, record.settings.shape) = (None, resound_load::Shape::Closed);
        record.total.response = Latency::default();
        record.total.lag = Latency::default();
        record.total.counts.failures[LoadFailure::Refused.index()] = 200;
        record.total.counts.opened = 70;
        record.total.counts.unconnected = 200;
        let run = |share: f64| {
            let mut record = record.clone();
            record.total.outage = record.elapsed.mul_f64(share * 64.0);
            Run::of(record)
        };
        for (text, without, within) in [
            ("p99>5ms", Pass, CannotTell),
            ("p50>5ms", Pass, CannotTell),
            ("p10>5ms", Pass, Pass),
            ("p99>1us", Fail, Fail),
            ("loss>1%", Pass, CannotTell),
            ("errors>500", Pass, CannotTell),
            ("errors>100", Fail, Fail),
            ("refused>500", Pass, CannotTell),
            ("unsent>0", Pass, CannotTell),
            ("corrupt>0", Pass, Pass),
            ("rate<900", Pass, Pass),
            ("connect.p99>5ms", CannotTell, CannotTell),
        ] {
            assert_eq!((judgement(text, &run(0.0)), judgement(text, &run(0.6))), (without, within), "{text}");
        }
        let outcome = Gate::parse("p99>5ms").unwrap().judge(&run(0.6));
        assert!(outcome.measured.ends_with("but for 60.0 % of the time of its connections nothing was answered"));
        assert!(outcome.settled_by.unwrap().contains("--rate"));
        // With a plan all messages count.
        let mut planned = run(0.6).record;
        planned.settings.rate = Some(1000.0);
        assert_eq!(judgement("errors>500", &Run::of(planned)), Pass);
    }

    #[test]
    fn a_stall_hides_messages_of_a_closed_loop() {
        use Judgement::{CannotTell, Fail, Pass};
        let mut record = samples::record(1_000, 1, false);
        (record.settings.rate, record.settings.shape) = (None, resound_load::Shape::Closed);
        (record.total.response, record.total.lag) = Default::default();
        record.total.service.add(&Latency::of([(3_000_000_000, 64)]));
        let run = |share: f64| {
            let mut record = record.clone();
            record.total.stall = record.elapsed.mul_f64(share * 64.0);
            Run::of(record)
        };
        // Omitted messages were delayed: they improve nothing and waited no longer than the stall.
        for (text, without, within) in [
            ("p99>5ms", Pass, CannotTell),
            ("p50>5ms", Pass, CannotTell),
            ("p40>5ms", Pass, Pass),
            ("p99>4s", Pass, Pass),
            ("max>4s", Pass, Pass),
            ("max>1s", Fail, Fail),
            ("p99>1us", Fail, Fail),
            ("mean>500ms", Pass, CannotTell),
            ("min>1ms", Pass, Pass),
            ("errors>0", Pass, Pass),
        ] {
            assert_eq!((judgement(text, &run(0.0)), judgement(text, &run(0.5))), (without, within), "{text}");
        }
        let outcome = Gate::parse("p99>5ms").unwrap().judge(&run(0.5));
        assert!(outcome.measured.ends_with("but for 50.0 % of the time of its connections nothing was answered"));
        // Stalls of less than one per cent of the time do not decide a p99.
        assert_eq!(judgement("p99>5ms", &run(0.004)), Pass);
    }

    #[test]
    fn a_stall_hides_connections_that_follow_each_other() {
        use Judgement::{CannotTell, Pass};
        let mut record = samples::record(1_000, 1, false);
        (record.settings.rate, record.settings.shape) = (None, resound_load::Shape::Connect);
        record.total.connect = Latency::of([(1_000_000, 1_000)]);
        (record.total.counts.opened, record.total.counts.unconnected) = (1_000, 0);
        let gate = Gate::parse("connect.p99>5ms").unwrap();
        for (stall, outage, want) in [(0.0, 0.0, Pass), (0.2, 0.0, CannotTell), (0.0, 0.2, CannotTell)] {
            let time = |share: f64| record.elapsed.mul_f64(share * 64.0);
            (record.total.stall, record.total.outage) = (time(stall), time(outage));
            let outcome = gate.judge(&Run::of(record.clone()));
            assert_eq!(outcome.judgement, want, "{stall}, {outage}");
            assert!(!outcome.settled_by.unwrap_or_default().contains("--rate"), "it does not go with --shape connect");
        }
        record.settings.shape = resound_load::Shape::Closed;
        assert_eq!(judgement("connect.p99>5ms", &Run::of(record)), Pass, "these were made before the stall");
    }

    #[test]
    fn few_samples_cannot_show_a_percentile() {
        use Judgement::{CannotTell, Fail, Pass};
        let mut record = samples::record(10, 1, false);
        record.total.response = Latency::of([(1_000_000, 50)]);
        record.total.service = Latency::of([(1_000_000, 50)]);
        (record.total.counts.planned, record.total.counts.sent, record.total.counts.received) = (50, 50, 50);
        let run = Run::of(record);
        for (text, want) in
            [("p99>5ms", CannotTell), ("p99>500us", Fail), ("p90>5ms", Pass), ("max>5ms", Pass), ("p100>5ms", Pass)]
        {
            assert_eq!(judgement(text, &run), want, "{text}");
        }
        let outcome = Gate::parse("p99>5ms").unwrap().judge(&run);
        assert_eq!(outcome.measured, "1.00 ms, but 50 samples cannot show it; 100 can: the maximum is in its place");
    }
}
