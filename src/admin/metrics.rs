//! `/metrics`: what the workers count, as text for Prometheus. The labels have fixed values: never
//! a peer.

use std::fmt;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use hyper::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet};
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use resound::Totals;
use resound::inspect::HandshakeTimes;

use super::health::{LAGS, ProgramState};
use super::live::LiveFeed;
use super::process::{self, ProcessUse};
use crate::http::HttpAnswer;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The label of connections that a relay or a load has dialled.
const DIALLED: &str = "dialled";
/// Listeners with a label of their own. All others share one.
const MOST_LISTENERS: usize = 16;
const OTHERS: &str = "other";

/// The answer to a scrape.
pub(super) fn scraped(feed: &Arc<LiveFeed>, openmetrics: bool) -> HttpAnswer {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(Arc::clone(feed))));
    let mut page = String::with_capacity(16 * 1024);
    let (written, content_type) = match openmetrics {
        true => (text::encode(&mut page, &registry), OPENMETRICS),
        false => (prometheus_text::encode(&mut page, &registry), prometheus_text::CONTENT_TYPE),
    };
    match written {
        Ok(()) => HttpAnswer::ok(content_type, page),
        Err(_) => HttpAnswer::error(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written"),
    }
}

/// Reads the counters when it is encoded.
struct Scrape(Arc<LiveFeed>);

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrape")
    }
}

/// The counts of a label `listener`.
struct ListenerCounts {
    label: String,
    workers: Vec<Totals>,
    all: Totals,
    handshakes: HandshakeTimes,
    is_dialled: bool,
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

/// Where metrics are written to.
struct MetricsPage<'a>(DescriptorEncoder<'a>);

impl MetricsPage<'_> {
    fn family(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        write(&mut self.0.encode_descriptor(name, help, None, kind)?)
    }

    fn counters<'a, N: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        mut each: impl Iterator<Item = (Labels<'a>, N)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, |metric| {
            each.try_for_each(|(labels, n)| {
                metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&n, None)
            })
        })
    }

    fn gauges<'a, N: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        mut each: impl Iterator<Item = (Labels<'a>, N)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, |metric| {
            each.try_for_each(|(labels, n)| metric.encode_family(&labels)?.encode_gauge(&n))
        })
    }

    /// A gauge without labels, if it has a value.
    fn gauge<N: EncodeGaugeValue>(&mut self, name: &str, help: &str, value: Option<N>) -> fmt::Result {
        value.map_or(Ok(()), |value| self.family(name, help, MetricType::Gauge, |metric| metric.encode_gauge(&value)))
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = MetricsPage(encoder);
        let listeners = self.listeners();
        let workers: Vec<String> = (0..self.0.subject.inspector.workers()).map(|worker| worker.to_string()).collect();
        connections(&mut page, &listeners, &workers)?;
        traffic(&mut page, &listeners, &workers)?;
        handshakes(&mut page, &listeners)?;
        self.loops(&mut page, &workers)?;
        self.faults(&mut page)?;
        self.program(&mut page)
    }
}

impl Scrape {
    fn listeners(&self) -> Vec<ListenerCounts> {
        let subject = &self.0.subject;
        let inspector = &subject.inspector;
        let addresses = inspector.addresses();
        let of = |label: String, numbers: std::ops::Range<usize>| ListenerCounts {
            label,
            workers: (0..inspector.workers())
                .map(|worker| numbers.clone().map(|at| inspector.totals_of_worker(worker, Some(at))).sum())
                .collect(),
            all: numbers.clone().map(|at| inspector.totals_of_listener(at)).sum(),
            handshakes: numbers.clone().map(|at| inspector.handshakes(Some(at))).sum(),
            is_dialled: false,
        };
        let named = addresses.len().min(MOST_LISTENERS);
        let mut all: Vec<_> = (0..named).map(|at| of(addresses[at].to_string(), at..at + 1)).collect();
        if named < addresses.len() {
            all.push(of(OTHERS.into(), named..addresses.len()));
        }
        if subject.command != "server" {
            all.push(ListenerCounts {
                label: DIALLED.into(),
                workers: (0..inspector.workers()).map(|worker| inspector.totals_of_worker(worker, None)).collect(),
                all: inspector.totals_dialled(),
                handshakes: inspector.handshakes(None),
                is_dialled: true,
            });
        }
        all
    }

    fn loops(&self, page: &mut MetricsPage<'_>, workers: &[String]) -> fmt::Result {
        let loops = &self.0.loops;
        let histogram = loops.histogram();
        let bounds = LAGS.into_iter().chain([f64::INFINITY]);
        let parts: Vec<_> = bounds.zip(histogram.counts).collect();
        let (name, help) = ("resound_event_loop_lag_seconds", "Event loop lag of all workers, sampled once a second");
        page.family(name, help, MetricType::Histogram, |metric| {
            let count = histogram.counts.iter().sum();
            metric.encode_histogram::<NoLabelSet>(histogram.sum.as_secs_f64(), count, &parts, None)
        })?;
        let lags = loops.lags();
        let lags = workers.iter().zip(&lags).map(|(worker, lag)| (vec![("worker", &**worker)], lag.as_secs_f64()));
        page.gauges("resound_worker_lag_seconds", "The longest lag of a worker in the last 15 seconds", lags)?;
        let stuck = loops.stuck();
        let count = Some(stuck.len() as u64);
        page.gauge("resound_workers_stuck", "Workers whose event loop has not responded for some seconds", count)
    }

    fn faults(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        let Some(faults) = &self.0.subject.faults else { return Ok(()) };
        let each = faults.by_kind().map(|(kind, n)| (vec![("kind", kind)], n));
        page.counters("resound_faults_injected", "Faults injected on purpose", each)
    }

    fn program(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        let subject = &self.0.subject;
        let readiness = ProgramState::of(&subject.inspector, &self.0.replacement, &self.0.loops);
        let is_ready = Some(u64::from(readiness == ProgramState::Ready));
        page.gauge("resound_ready", "1 while the program is ready for new connections", is_ready)?;
        let labels = [
            ("version", env!("CARGO_PKG_VERSION")),
            ("command", subject.command),
            ("engine", subject.inspector.engine().name()),
        ];
        let each = std::iter::once((labels.to_vec(), 1_u64));
        page.gauges("resound_build_info", "The program: version, command and engine", each)?;
        let usage = ProcessUse::now();
        let started = process::start().duration_since(UNIX_EPOCH).map(|since| since.as_secs_f64()).ok();
        page.gauge("process_start_time_seconds", "When the program started, since the Unix epoch", started)?;
        page.gauge("process_resident_memory_bytes", "Resident memory", usage.resident_bytes)?;
        page.gauge("process_open_fds", "Open descriptors", usage.open_descriptors)?;
        page.gauge("process_max_fds", "The limit on open descriptors", usage.most_descriptors)?;
        let Some(processor) = usage.processor else { return Ok(()) };
        let each = std::iter::once((Vec::new(), processor.as_secs_f64()));
        page.counters("process_cpu_seconds", "Processor time of all threads", each)
    }
}

/// One value for each listener and worker.
fn each<'a, N>(
    listeners: impl Iterator<Item = &'a ListenerCounts>,
    workers: &'a [String],
    value: impl Fn(&Totals) -> N,
) -> impl Iterator<Item = (Labels<'a>, N)> {
    listeners.flat_map(move |listener| listener.workers.iter().zip(workers).map(move |pair| (listener, pair))).map(
        move |(listener, (totals, worker))| {
            (vec![("listener", &*listener.label), ("worker", &**worker)], value(totals))
        },
    )
}

fn connections(page: &mut MetricsPage<'_>, listeners: &[ListenerCounts], workers: &[String]) -> fmt::Result {
    let accepting = || listeners.iter().filter(|listener| !listener.is_dialled);
    let started = |totals: &Totals| totals.started;
    let help = "Connections that are open, those in their handshake included";
    page.gauges("resound_connections_open", help, each(listeners.iter(), workers, Totals::open))?;
    if accepting().next().is_some() {
        let help = "Connections accepted, without those refused at once";
        page.counters("resound_connections_accepted", help, each(accepting(), workers, started))?;
    }
    if let Some(dialled) = listeners.iter().find(|listener| listener.is_dialled) {
        let counts = dialled.workers.iter().zip(workers);
        let counts = counts.map(|(totals, worker)| (vec![("worker", &**worker)], totals.started));
        page.counters("resound_connections_dialled", "Connections that were dialled and answered", counts)?;
    }
    let refused = accepting().flat_map(|listener| {
        let reasons = listener.all.refused_by_reason();
        reasons.map(|(reason, n)| (vec![("listener", &*listener.label), ("reason", reason)], n))
    });
    if accepting().next().is_some() {
        page.counters("resound_connections_refused", "Connections refused by an access rule", refused)?;
    }
    let closed = listeners.iter().flat_map(|listener| {
        let reasons = listener.all.closed_by_reason();
        reasons.map(|(reason, n)| (vec![("listener", &*listener.label), ("reason", reason)], n))
    });
    page.counters("resound_connections_closed", "Connections ended, by the reason", closed)
}

fn traffic(page: &mut MetricsPage<'_>, listeners: &[ListenerCounts], workers: &[String]) -> fmt::Result {
    let each = |value: fn(&Totals) -> u64| each(listeners.iter(), workers, value);
    page.counters("resound_received_bytes", "Bytes received from peers", each(|totals| totals.bytes_in))?;
    page.counters("resound_sent_bytes", "Bytes handed to the system for peers", each(|totals| totals.bytes_out))?;
    let help = "Messages delivered to services: lines or chunks";
    page.counters("resound_messages", help, each(|totals| totals.messages))?;
    let accepting = listeners.iter().filter(|listener| !listener.is_dialled);
    if accepting.clone().next().is_none() {
        return Ok(());
    }
    let help = "Messages that connections left without an answer when they ended";
    page.counters("resound_messages_unanswered", help, self::each(accepting, workers, |totals| totals.unanswered))
}

fn handshakes(page: &mut MetricsPage<'_>, listeners: &[ListenerCounts]) -> fmt::Result {
    let help = "How long completed handshakes took: the PROXY header and TLS";
    page.family("resound_handshake_duration_seconds", help, MetricType::Histogram, |metric| {
        listeners.iter().try_for_each(|listener| {
            let times = &listener.handshakes;
            let bound = |longest: Option<std::time::Duration>| longest.map_or(f64::INFINITY, |most| most.as_secs_f64());
            let parts: Vec<_> = times.parts().map(|(longest, n)| (bound(longest), n)).collect();
            let count = parts.iter().map(|(_, n)| n).sum();
            let labels = [("listener", &*listener.label)];
            let sum = times.sum().as_secs_f64();
            metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &parts, None)
        })
    })
}
