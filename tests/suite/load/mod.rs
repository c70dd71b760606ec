//! The load generator, on each engine, and `resound load`.

mod codes;
mod ends;
mod faults;
mod outage;
mod program;
mod runs;
mod stalls;
mod timestamps;
mod tls;
mod truth;

use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use resound::faults::{FaultEvent, LiveFaults};
use resound::{Cx, Endpoint, Engine, Framing, Service};
use resound_load::{
    BULK, Counts, Interval, Load, Mode, Phase, RampSteps, RampVariable, Record, Settings, Shape, Sizes, direction,
};

use crate::harness::{PATIENCE, Running, begins, faults, server};

/// Sends each line back.
struct LineEcho;

impl Service for LineEcho {
    fn framing(&self) -> Framing {
        Framing::line()
    }

    fn data(&mut self, _line: &[u8], cx: &mut Cx<'_>) {
        cx.echo();
    }
}

/// A server that echoes lines, with faults on purpose.
pub(crate) fn echoing(engine: Engine, spec: &str) -> Running {
    echoing_seen(engine, spec).0
}

/// The same, and what was injected.
pub(crate) fn echoing_seen(engine: Engine, spec: &str) -> (Running, Receiver<FaultEvent>) {
    let (faults, (send, injected)) = (LiveFaults::of_server(), mpsc::channel());
    faults.set(spec.parse().unwrap(), 7).unwrap();
    let server = server(engine).faults(&faults, move |_, event| drop(send.send(event.clone())));
    (Running::start(server, |_| LineEcho), injected)
}

/// A closed loop: 400 messages over four connections.
pub(crate) fn settings(mode: Mode) -> Settings {
    Settings { target: "test".into(), mode, duration: None, messages: Some(400), seed: 7, ..Settings::closed(4) }
}

/// These settings for a time, instead of a number of messages.
pub(crate) fn lasting(duration: Duration, settings: Settings) -> Settings {
    Settings { messages: None, duration: Some(duration), ..settings }
}

/// For a run that is cut short: longer than any test.
pub(crate) fn without_an_end(settings: Settings) -> Settings {
    lasting(PATIENCE * 60, settings)
}

/// An open loop, for the number of messages that `settings` has.
pub(crate) fn open(rate: f64, depth: u64) -> Settings {
    Settings { shape: Shape::Open, rate: Some(rate), depth, ..settings(Mode::Echo) }
}

/// A connection for each so many messages.
pub(crate) fn connect(messages_per_connection: u64) -> Settings {
    let messages_per_connection = Some(messages_per_connection);
    Settings { shape: Shape::Connect, messages_per_connection, ..settings(Mode::Echo) }
}

pub(crate) fn load(engine: Engine, to: SocketAddr, settings: Settings) -> Load {
    Load {
        settings,
        target: Endpoint::Tcp(to),
        lines: true,
        warm_up: Duration::ZERO,
        timeout: PATIENCE,
        connect_timeout: PATIENCE,
        handshake: begins(),
        sources: Vec::new(),
        engine,
        workers: std::num::NonZeroUsize::new(2),
        congestion: None,
        breaks: None,
    }
}

/// A ramp of rates whose steps take 100 ms and never break.
pub(crate) fn rates(from: f64, by: f64, to: f64) -> RampSteps {
    let every = Duration::from_millis(100);
    RampSteps { of: RampVariable::Rate, from, by, to, every, until: Vec::new() }
}

/// A run of a ramp, with so many in flight on each connection.
pub(crate) fn ramped(engine: Engine, to: SocketAddr, depth: u64, ramp: RampSteps) -> Load {
    let settings = Settings { shape: Shape::Ramp, ramp: Some(ramp), messages: None, depth, ..settings(Mode::Echo) };
    load(engine, to, settings)
}

/// A warning of the run contains this text.
pub(crate) fn assert_warns(record: &Record, text: &str) {
    assert!(record.warnings.iter().any(|warning| warning.contains(text)), "{:?}", record.warnings);
}

pub(crate) fn run(load: Load) -> Record {
    run_until(load, std::future::pending(), |_, _| {})
}

/// In every run the ticks add up to the record, and no message is missing from it.
pub(crate) fn run_until(
    load: Load,
    cut: impl Future<Output = ()>,
    mut observe: impl FnMut(Phase, &Interval),
) -> Record {
    let _ = resound::system::raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (is_answered, mut sum) = (matches!(load.settings.mode, Mode::Echo | Mode::Reply), Interval::default());
    let observe = |phase, tick: &Interval| {
        if matches!(phase, Phase::Measuring | Phase::Finishing { .. }) {
            sum.join(tick);
        }
        observe(phase, tick);
    };
    let record = runtime.block_on(async {
        load.start_with_faults(faults()).unwrap().watch(Duration::from_millis(20), cut, observe).await
    });
    let (counts, ended) = (&record.total.counts, record.intervals.last().map(|last| last.start + last.length));
    assert_eq!((&sum.counts, &sum.response), (counts, &record.total.response));
    assert_eq!(sum.length, ended.unwrap_or_default());
    if is_answered {
        assert_eq!(counts.sent, counts.received + counts.unanswered, "{counts:?}");
    }
    record
}

/// Runs until enough has been measured.
pub(crate) fn run_till(load: Load, is_enough: impl Fn(&Counts) -> bool) -> Record {
    let (cut, is_cut) = tokio::sync::oneshot::channel();
    let (mut cut, mut sum) = (Some(cut), Counts::default());
    run_until(load, async { drop(is_cut.await) }, |phase, tick| {
        // The tick at the end of the warm-up comes again as measured.
        if phase == Phase::Measuring {
            sum.add(&tick.counts);
        }
        if is_enough(&sum) {
            cut.take().map(|cut| cut.send(()));
        }
    })
}

/// Every message was sent and answered, and every answer was right.
pub(crate) fn all_is_well(record: &Record, messages: u64) {
    let counts = &record.total.counts;
    assert_eq!(record.failures, [], "{counts:?}");
    assert_eq!((counts.sent, counts.received, counts.verified), (messages, messages, messages), "{counts:?}");
    assert!(counts.opened > 0 && counts.closed == counts.opened, "{counts:?}");
    assert_eq!(record.total.service.count(), messages);
    let of_intervals: u64 = record.intervals.iter().map(|interval| interval.counts.received).sum();
    assert_eq!(of_intervals, messages);
}

/// Bulk over two connections, for a run that is cut short.
pub(crate) fn stream(mode: Mode) -> Settings {
    Settings {
        shape: Shape::Stream,
        connections: 2,
        size: Sizes::Fixed(BULK),
        direction: Some(direction(mode)),
        ..without_an_end(settings(mode))
    }
}
