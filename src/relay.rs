//! `resound relay`.

use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use resound::faults::LiveFaults;
use resound::proxy::Addresses;
use resound::relay::{OpenPair, Relay, RelayConnections, RelayEvent, RelayTarget, client_addresses};
use resound::tls::TlsClient;
use resound::{Address, Handshake};
use resound_console::{RelayConsole, RelayTotals, event_json};

use crate::client::SendProxy;
use crate::faults::{FaultPlan, FaultSetter, ListedConnection, OpenConnections};
use crate::inherited_sockets::InheritedSockets;
use crate::server::{self, Serving, ServingPlan};
use crate::source_address::check_own;
use crate::stdio::say;

/// The meaning of the flags of `resound relay`.
pub(crate) struct RelaySettings {
    /// Has a target for each address.
    pub(crate) serving: ServingPlan,
    /// In the order of the targets.
    pub(crate) tls: Vec<Option<TlsClient>>,
    pub(crate) send_proxy: Option<SendProxy>,
    pub(crate) source: Option<IpAddr>,
    pub(crate) connect_timeout: Duration,
    pub(crate) faults: FaultPlan,
}

pub(crate) fn run(plan: RelaySettings) -> Result<ExitCode> {
    let RelaySettings { serving, tls, send_proxy, source, connect_timeout, faults } = plan;
    // It may be given to this machine later: to the standby of a pair, or by the network at boot.
    if let Some(Err(error)) = source.map(|source| check_own("--source-address", source)) {
        say(&format!("warning: {error}"));
    }
    let family = serving.family;
    let target = |(address, tls): (&Address, Option<TlsClient>)| {
        let target = RelayTarget::new(address.clone())?.family(family).timeout(connect_timeout);
        let target = source.into_iter().fold(target, RelayTarget::source_address);
        Ok(with_handshake(target, send_proxy.clone(), tls))
    };
    let targets = serving.targets.iter().zip(tls).map(target).collect::<Result<Vec<_>, resound::Error>>()?;
    let mut inherited = InheritedSockets::take()?;
    let faults = faults.prepare(LiveFaults::of_relay(), &mut inherited)?;
    let (record, is_elsewhere) = (faults.record(), serving.is_elsewhere());
    let totals = Arc::new(RelayTotals::default());
    let (counted, stopped) = (Arc::clone(&totals), totals);
    let code = server::serve(
        serving,
        inherited,
        "read",
        None,
        |console, _| stopped.stopped(console),
        |serving| {
            let Serving { settings, listeners, console, loud, supervise } = serving;
            let shown = RelayConsole { console: console.clone(), totals: counted };
            let setter = faults.setter(&console);
            let of_workers = shown.clone();
            let settings = settings.observe(move |worker| of_workers.of_worker(worker));
            let table = RelayConnections::default();
            let relay = Relay::new(settings).with_faults(&setter.faults).observe(observer(&setter, shown));
            let relay = if faults.has_control() { relay.track(&table) } else { relay };
            let relay =
                listeners.into_iter().zip(targets).fold(relay, |relay, (from, to)| relay.map_listeners(from, to));
            relay.run(move |handle| {
                let supervising = supervise(handle, Some(faults.fresh(&setter)));
                let beside = faults.beside(setter, &console, is_elsewhere.then_some(&loud), listed(table));
                async {
                    tokio::select! {
                        () = supervising => {}
                        () = beside => {}
                    }
                }
            })
        },
    )?;
    record.finish()?;
    Ok(code)
}

/// The open pairs, as the control API lists them.
fn listed(table: RelayConnections) -> OpenConnections {
    let listed = |pair: OpenPair| ListedConnection {
        conn: pair.conn.0,
        peer: pair.peer.to_string(),
        target: pair.target.as_ref().map(ToString::to_string),
        seconds: pair.lasted.as_secs_f64(),
        up: pair.up,
        down: pair.down,
    };
    Arc::new(move |most| {
        let (pairs, open) = table.list(most);
        (pairs.into_iter().map(listed).collect(), open)
    })
}

/// Receives what happens to the pairs: for the record, the log of the control API and the console.
fn observer(setter: &FaultSetter, console: RelayConsole) -> impl Fn(&RelayEvent<'_>) + Send + Sync + use<> {
    let FaultSetter { record, log, counts, .. } = setter.clone();
    move |event| {
        if let RelayEvent::Fault { event, .. } = event {
            counts.note(event.kind);
            record.iter().for_each(|record| record.event(event));
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
    target.handshake(move |client, _| {
        let handshake =
            proxy.iter().fold(Handshake::new(), |handshake, proxy| handshake.header(proxy.of_client(client)));
        tls.iter().fold(handshake, Handshake::tls_client)
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
