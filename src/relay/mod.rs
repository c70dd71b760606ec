//! `resound relay`.

mod faults;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use resound::proxy::Addresses;
use resound::relay::{Relay, RelayEvent, RelayFaults, RelayTarget, client_addresses};
use resound::tls::TlsClient;
use resound::{Address, Handshake};

use self::faults::{FaultRecord, SettingRecord};
pub(crate) use self::faults::{FaultSource, SourcedFaults};
use crate::client::SendProxy;
use crate::console::{RelayConsole, RelayTotals};
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
}

pub(crate) fn run(plan: RelaySettings) -> Result<ExitCode> {
    let RelaySettings { serving, tls, send_proxy, source, connect_timeout, faults: mut sourced, record } = plan;
    let family = serving.family;
    let target = |(address, tls): (&Address, Option<TlsClient>)| {
        let target = RelayTarget::new(address.clone())?.family(family).timeout(connect_timeout);
        let target = source.into_iter().fold(target, RelayTarget::source_address);
        Ok(with_handshake(target, send_proxy.clone(), tls))
    };
    let targets = serving.targets.iter().zip(tls).map(target).collect::<Result<Vec<_>, resound::Error>>()?;
    let faults = RelayFaults::default();
    let begun = sourced.begin(&faults)?;
    let record = record.as_deref().map(FaultRecord::create).transpose()?;
    let recorded = record.clone();
    let totals = Arc::new(RelayTotals::default());
    let (counted, stopped) = (Arc::clone(&totals), totals);
    let code = server::serve(
        serving,
        "read",
        |console, _| stopped.stopped(console),
        |serving| {
            let Serving { settings, listeners, console, supervise } = serving;
            let console = RelayConsole { console, totals: counted };
            let (of_workers, noting, events) = (console.clone(), console.clone(), recorded.clone());
            let settings = settings.observe(move |worker| of_workers.of_worker(worker));
            let relay = Relay::new(settings).with_faults(&faults).observe(move |event| {
                if let (RelayEvent::Fault { event, .. }, Some(record)) = (event, &events) {
                    record.event(event);
                }
                noting.note(event);
            });
            let relay =
                listeners.into_iter().zip(targets).fold(relay, |relay, (from, to)| relay.map_listeners(from, to));
            relay.run(move |handle| {
                let supervising = supervise(handle);
                let changed = move |setting: &SettingRecord| {
                    recorded.iter().for_each(|record| record.setting(setting));
                    console.faults(setting.from, &setting.faults, setting.seed);
                };
                begun.iter().for_each(&changed);
                async move {
                    tokio::select! {
                        () = supervising => {}
                        () = sourced.keep_fresh(faults, changed) => {}
                    }
                }
            })
        },
    )?;
    record.map_or(Ok(()), |record| record.finish())?;
    Ok(code)
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
