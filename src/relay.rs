//! `resound relay`.

use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use resound::proxy::Addresses;
use resound::relay::{Relay, RelayTarget, client_addresses};
use resound::tls::TlsClient;
use resound::{Address, Handshake};

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
}

pub(crate) fn run(plan: RelaySettings) -> Result<ExitCode> {
    let RelaySettings { serving, tls, send_proxy, source, connect_timeout } = plan;
    let family = serving.family;
    let target = |(address, tls): (&Address, Option<TlsClient>)| {
        let target = RelayTarget::new(address.clone())?.family(family).timeout(connect_timeout);
        let target = source.into_iter().fold(target, RelayTarget::source_address);
        Ok(with_handshake(target, send_proxy.clone(), tls))
    };
    let targets = serving.targets.iter().zip(tls).map(target).collect::<Result<Vec<_>, resound::Error>>()?;
    let totals = Arc::new(RelayTotals::default());
    let (counted, stopped) = (Arc::clone(&totals), totals);
    server::serve(
        serving,
        "read",
        |console, _| stopped.stopped(console),
        |serving| {
            let Serving { settings, listeners, console, supervise } = serving;
            let console = RelayConsole { console, totals: counted };
            let observed = console.clone();
            let settings = settings.observe(move |worker| observed.of_worker(worker));
            let relay = Relay::new(settings).observe(move |event| console.note(event));
            let relay =
                listeners.into_iter().zip(targets).fold(relay, |relay, (from, to)| relay.map_listeners(from, to));
            relay.run(supervise)
        },
    )
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
