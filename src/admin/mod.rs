//! `--admin`: metrics, health checks and a page for the operator of a server, a relay or a load.
//!
//! It reads what the workers count in any case, so the path of the data pays nothing; what it asks
//! the workers for, they answer between the events of their connections.

mod connections;
mod fault_counts;
mod health;
mod live;
mod metrics;
mod process;
mod routes;
mod subject;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Result;
use resound::Handle;
use resound::inspect::Inspector;
use resound_console::Console;

use self::connections::ConnectionCollector;
pub(crate) use self::fault_counts::FaultCounts;
use self::live::LiveFeed;
use self::routes::AdminApi;
use self::subject::AdminSubject;
use crate::http::{HostRule, HttpLimits, HttpListener};
use crate::inherited_sockets::InheritedSockets;

const LIMITS: HttpLimits = HttpLimits { served: 64, connected: 64 };
/// Descriptors that the listener and its clients take.
pub(crate) const DESCRIPTORS: usize = LIMITS.descriptors();

/// The meaning of the flags.
#[derive(Clone)]
pub(crate) struct AdminPlan {
    pub(crate) address: SocketAddr,
    /// Names that the Host header may have.
    pub(crate) names: Vec<String>,
    /// `None` where no faults can be injected.
    pub(crate) faults: Option<Arc<FaultCounts>>,
}

/// Runs what `--admin` has, if there is any, until the other future ends.
pub(crate) async fn beside<T>(watching: Option<impl Future<Output = ()>>, until: impl Future<Output = T>) -> T {
    let watching = async {
        if let Some(watching) = watching {
            watching.await;
        }
        // It may end first, when another process has taken over. The other one goes on.
        std::future::pending::<T>().await
    };
    tokio::select! {
        ended = until => ended,
        never = watching => never,
    }
}

/// The listener, before the program starts.
pub(crate) struct AdminListener {
    http: HttpListener,
    plan: AdminPlan,
    /// `server`, `relay` or `load`.
    command: &'static str,
}

impl AdminListener {
    /// Listens. `inherited` has the listener of a process that this one replaces; a load has
    /// none.
    pub(crate) fn bind(
        plan: &AdminPlan,
        command: &'static str,
        inherited: Option<&mut InheritedSockets>,
    ) -> Result<Self> {
        process::note_start(SystemTime::now());
        let http = HttpListener::bind("--admin", plan.address, inherited)?;
        Ok(Self { http, plan: plan.clone(), command })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.http.address
    }

    /// The system has chosen its port.
    pub(crate) fn is_chosen(&self) -> bool {
        self.http.is_chosen
    }

    /// Says where a server has its metrics, and serves them for as long as the future is polled.
    /// Where `loud` is given, it is told too.
    pub(crate) fn watch(
        self,
        handle: &Handle,
        console: &Console,
        loud: Option<&Console>,
    ) -> impl Future<Output = ()> + use<> {
        self.announce(console, loud);
        self.serve(handle.inspector())
    }

    fn announce(&self, console: &Console, loud: Option<&Console>) {
        console.admin(self.address());
        loud.into_iter().for_each(|loud| loud.admin(self.address()));
        if let Some(exposure) = self.exposure() {
            tracing::warn!("{exposure}");
        }
    }

    /// What to say if other machines can connect.
    pub(crate) fn exposure(&self) -> Option<String> {
        let address = self.address();
        (!address.ip().is_loopback()).then(|| {
            format!(
                "--admin {address} can be reached from other machines, asks for no password, and shows the \
                 addresses of peers"
            )
        })
    }

    /// Answers clients for as long as it is polled, and new ones until another process does.
    pub(crate) async fn serve(self, inspector: Inspector) {
        let AdminPlan { names, faults, .. } = self.plan;
        let host = HostRule { names, flag: Some("--admin-host") };
        let subject = AdminSubject { command: self.command, inspector, faults };
        let feed = Arc::new(LiveFeed::new(subject, self.http.replacement.clone()));
        let api = Arc::new(AdminApi { host, feed: Arc::clone(&feed), collector: ConnectionCollector::default() });
        tokio::select! {
            () = self.http.serve(LIMITS, api) => {}
            () = feed.run() => {}
        }
    }
}
