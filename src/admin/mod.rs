//! `--admin`: metrics, health checks and a page for the operator of a server, a relay or a load.
//!
//! It runs on the runtime that supervises the program, with a task for each client. It reads what
//! the workers count in any case, so the path of the data pays nothing; what it asks the workers
//! for, they answer between the events of their connections.

mod activity;
mod answer;
mod clients;
mod connections;
mod fault_counts;
mod health;
mod live;
mod metrics;
mod process;
mod replacement;
mod routes;
mod stream;
mod subject;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use resound::Handle;
use resound::inspect::Inspector;
use resound_console::Console;

use self::clients::AdminClients;
use self::connections::ConnectionCollector;
pub(crate) use self::fault_counts::FaultCounts;
use self::live::LiveFeed;
use self::replacement::Replacement;
use self::routes::AdminApi;
use self::subject::AdminSubject;
use crate::advice;
use crate::http_host::HostRule;
use crate::inheritance::Inheritance;

/// Clients at once. The one that has been idle for longest makes room for the next.
const MOST_CLIENTS: usize = 64;
/// Descriptors that the listener, its copy for another process and its clients take: one more is
/// accepted before one is closed.
pub(crate) const DESCRIPTORS: usize = MOST_CLIENTS + 3;
/// How long the listener rests when it cannot accept, for want of descriptors.
const REST: Duration = Duration::from_millis(100);

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
    listener: TcpListener,
    pub(crate) address: SocketAddr,
    /// The system has chosen its port.
    pub(crate) is_chosen: bool,
    plan: AdminPlan,
    /// `server`, `relay` or `load`.
    command: &'static str,
    replacement: Replacement,
}

impl AdminListener {
    /// Listens. `inheritance` has the listener of a process that this one replaces, and passes it
    /// on; a load has none.
    pub(crate) fn bind(plan: &AdminPlan, command: &'static str, inheritance: Option<&mut Inheritance>) -> Result<Self> {
        let (address, plan) = (plan.address, plan.clone());
        process::note_start(SystemTime::now());
        let key = format!("--admin {address}");
        let bind = || {
            let (listener, replacement) = match inheritance {
                Some(inheritance) => {
                    let (listener, handed_over) = inheritance.beside(&key, || TcpListener::bind(address))?;
                    (listener, Replacement::of(handed_over))
                }
                None => (TcpListener::bind(address)?, Replacement::default()),
            };
            listener.set_nonblocking(true)?;
            let (is_chosen, address) = (address.port() == 0, listener.local_addr()?);
            anyhow::Ok(Self { listener, address, is_chosen, plan, command, replacement })
        };
        bind().map_err(|error| advice::unbound(&key, &error))
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
        console.admin(self.address);
        loud.into_iter().for_each(|loud| loud.admin(self.address));
        if let Some(exposure) = self.exposure() {
            tracing::warn!("{exposure}");
        }
    }

    /// What to say if other machines can connect.
    pub(crate) fn exposure(&self) -> Option<String> {
        let address = self.address;
        (!address.ip().is_loopback()).then(|| {
            format!(
                "--admin {address} can be reached from other machines, asks for no password, and shows the \
                 addresses of peers"
            )
        })
    }

    /// Answers clients for as long as it is polled, and new ones until another process does.
    pub(crate) async fn serve(self, inspector: Inspector) {
        let listener = match tokio::net::TcpListener::from_std(self.listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!("--admin {}: {error}", self.address);
                return std::future::pending().await;
            }
        };
        let AdminPlan { names, faults, .. } = self.plan;
        let host = HostRule { names };
        let subject = AdminSubject { command: self.command, inspector, faults };
        let mut replacement = self.replacement;
        let feed = Arc::new(LiveFeed::new(subject, replacement.clone()));
        let api = Arc::new(AdminApi { host, feed: Arc::clone(&feed), collector: ConnectionCollector::default() });
        let mut clients = AdminClients::new(MOST_CLIENTS);
        let accepting = async {
            loop {
                let stream = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = clients.ended() => continue,
                };
                match stream {
                    Ok((stream, _)) => {
                        clients.serve(stream, &api);
                        // One that was disconnected closes its socket when its task runs.
                        tokio::task::yield_now().await;
                    }
                    Err(_) => tokio::time::sleep(REST).await,
                }
            }
        };
        tokio::select! {
            biased;
            // First: from then on no client is accepted here.
            () = replacement.completed() => {}
            () = accepting => {}
            () = feed.run() => {}
        }
        drop(listener);
        clients.finish().await;
    }
}
