//! `resound relay`.

mod control;
mod events;
mod faults;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use resound::faults::LiveFaults;
use resound::proxy::Addresses;
use resound::relay::{Relay, RelayConnections, RelayEvent, RelayTarget, client_addresses};
use resound::tls::TlsClient;
use resound::{Address, Handshake};

use self::control::ControlListener;
pub(crate) use self::control::{ControlAddress, DESCRIPTORS as CONTROL_DESCRIPTORS};
use self::events::EventLog;
use self::faults::{FaultRecord, FaultSetter};
pub(crate) use self::faults::{FaultSource, SourcedFaults};
use crate::client::SendProxy;
use crate::console::{RelayConsole, RelayTotals, event_json};
use crate::server::{self, Serving, ServingPlan};

/// The meaning of the flags of `resound relay`.
pub(crate) struct RelaySettings {
    /// Has a target for each address.
    pub(crate) serving: ServingPlan,
    /// In the order of the targets.
    pub(crate) tls: Vec<Option<TlsClient>>,
    pub(crate) send_proxy: Option<SendProxy>,
    pub(crate) source: Option<IpAddr>,
    pub(crate) connect_timeout: Duration,
    pub(crate) faults: SourcedFaults,
    pub(crate) record: Option<PathBuf>,
    pub(crate) control: Option<ControlAddress>,
}

pub(crate) fn run(plan: RelaySettings) -> Result<ExitCode> {
    let RelaySettings { serving, tls, send_proxy, source, connect_timeout, faults: mut sourced, record, control } =
        plan;
    let family = serving.family;
    let target = |(address, tls): (&Address, Option<TlsClient>)| {
        let target = RelayTarget::new(address.clone())?.family(family).timeout(connect_timeout);
        let target = source.into_iter().fold(target, RelayTarget::source_address);
        Ok(with_handshake(target, send_proxy.clone(), tls))
    };
    let targets = serving.targets.iter().zip(tls).map(target).collect::<Result<Vec<_>, resound::Error>>()?;
    let faults = LiveFaults::of_relay();
    let begun = sourced.begin(&faults, control.is_some())?;
    let record = record.as_deref().map(FaultRecord::create).transpose()?;
    let is_quiet = serving.quiet;
    let control = match control {
        Some(asked) => Some((ControlListener::bind(asked)?, asked.address.port() == 0)),
        None => None,
    };
    let recorded = record.clone();
    let totals = Arc::new(RelayTotals::default());
    let (counted, stopped) = (Arc::clone(&totals), totals);
    let code = server::serve(
        serving,
        "read",
        |console, _| stopped.stopped(console),
        |serving| {
            let Serving { settings, listeners, console, loud, supervise } = serving;
            let shown = RelayConsole { console: console.clone(), totals: counted };
            let log = control.as_ref().map(|_| Arc::new(EventLog::default()));
            let setter = FaultSetter { faults, record: recorded, console: Some(shown.clone()), log };
            let of_workers = shown.clone();
            let settings = settings.observe(move |worker| of_workers.of_worker(worker));
            let table = RelayConnections::default();
            let relay = Relay::new(settings).with_faults(&setter.faults).observe(observer(&setter, shown));
            let relay = control.iter().fold(relay, |relay, _| relay.track(&table));
            let relay =
                listeners.into_iter().zip(targets).fold(relay, |relay, (from, to)| relay.map_listeners(from, to));
            relay.run(move |handle| {
                let supervising = supervise(handle);
                begun.iter().for_each(|setting| setter.begun(setting));
                if let Some((listener, is_chosen)) = &control {
                    listener.announce(if is_quiet && *is_chosen { &loud } else { &console });
                }
                async move {
                    let controlling = async {
                        match (control, setter.log.clone()) {
                            (Some((listener, _)), Some(log)) => listener.serve(setter.clone(), log, table).await,
                            _ => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        () = supervising => {}
                        () = sourced.keep_fresh(setter.clone()) => {}
                        () = controlling => {}
                    }
                }
            })
        },
    )?;
    record.map_or(Ok(()), |record| record.finish())?;
    Ok(code)
}

/// Receives what happens to the pairs: for the record, the log of the control API and the console.
fn observer(setter: &FaultSetter, console: RelayConsole) -> impl Fn(&RelayEvent<'_>) + Send + Sync + use<> {
    let FaultSetter { record, log, .. } = setter.clone();
    move |event| {
        if let (RelayEvent::Fault { event, .. }, Some(record)) = (event, &record) {
            record.event(event);
        }
        if let Some(log) = &log
            && let Some((conn, object)) = event_json(event)
        {
            log.append(conn, object);
        }
        console.note(event);
    }
}

/// What a connection to the target begins with.
fn with_handshake(target: RelayTarget, proxy: Option<SendProxy>, tls: Option<TlsClient>) -> RelayTarget {
    if proxy.is_none() && tls.is_none() {
        return target;
    }
    target.opening(move |client, _| {
        let opening = proxy.iter().fold(Handshake::new(), |opening, proxy| opening.header(proxy.of_client(client)));
        tls.iter().fold(opening, Handshake::tls_client)
    })
}

impl SendProxy {
    /// The header that names a client of a relay. What its version cannot say is left out.
    fn of_client(&self, client: &resound::ConnInfo) -> Vec<u8> {
        let header = match client_addresses(client) {
            Addresses::Local => self.with(Addresses::Local),
            _ => self.header(&client.peer, &client.local),
        };
        header.or_else(|_| self.with(Addresses::Unknown)).unwrap_or_default()
    }
}
