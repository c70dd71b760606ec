//! [`ServiceNotifier`]: what the program tells systemd about itself (sd_notify(3)).

use std::ffi::OsString;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use resound::Handle;

use crate::units::counted;

/// How long a message may wait for room in the service manager's queue.
#[cfg(unix)]
const PATIENCE: Duration = Duration::from_millis(500);

/// Tells systemd how the service is; without systemd it does nothing. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ServiceNotifier(Option<Arc<NotifyState>>);

struct NotifyState {
    socket: OsString,
    /// How often systemd wants to hear of the service; it restarts a service that is silent.
    watchdog: Option<Duration>,
    /// Another process is the main one of the service: this one is silent.
    is_silent: AtomicBool,
    /// Reloads that are under way.
    reloads: AtomicUsize,
    /// What the service does, as `systemctl status` shows it.
    status: Mutex<String>,
    has_failed: AtomicBool,
}

/// A reload that is under way.
pub(crate) struct Reloading(ServiceNotifier);

impl ServiceNotifier {
    /// Reads the variables that systemd sets.
    pub(crate) fn from_environment() -> Self {
        let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else {
            return Self(None);
        };
        Self(Some(Arc::new(NotifyState {
            socket,
            watchdog: watchdog(),
            is_silent: AtomicBool::new(false),
            reloads: AtomicUsize::new(0),
            status: Mutex::default(),
            has_failed: AtomicBool::new(false),
        })))
    }

    /// Is there a service manager that listens?
    pub(crate) fn is_present(&self) -> bool {
        self.0.is_some()
    }

    /// Says nothing from now on until [`ServiceNotifier::ready`].
    #[cfg(unix)]
    pub(crate) fn be_silent(&self) {
        if let Some(state) = &self.0 {
            state.is_silent.store(true, Relaxed);
        }
    }

    /// The service serves, and does this.
    pub(crate) fn ready(&self, status: String) {
        if let Some(state) = &self.0 {
            state.is_silent.store(false, Relaxed);
            // The process that this one has replaced may have been silent for almost as long.
            let alive = if state.watchdog.is_some() { "\nWATCHDOG=1" } else { "" };
            state.send(&format!("READY=1\nSTATUS={status}{alive}"));
            *state.status.lock() = status;
        }
    }

    /// The service reads its files again, until the value is dropped.
    pub(crate) fn reloading(&self) -> Reloading {
        if let Some(state) = &self.0
            && state.reloads.fetch_add(1, Relaxed) == 0
        {
            state.send(&format!("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=Reading files again", monotonic_usec()));
        }
        Reloading(self.clone())
    }

    /// The service ends.
    pub(crate) fn stopping(&self, open: usize) {
        if let Some(state) = &self.0 {
            let status = format!("Shutting down: {}", counted(open as u64, "open connection"));
            state.send(&format!("STOPPING=1\nSTATUS={status}"));
            *state.status.lock() = status;
        }
    }

    /// Another process is the main one of the service from now on, and this one is silent.
    #[cfg(unix)]
    pub(crate) fn main_process(&self, pid: u32) {
        if let Some(state) = &self.0 {
            state.send(&format!("MAINPID={pid}\nSTATUS=Process {pid} takes over"));
            state.is_silent.store(true, Relaxed);
        }
    }

    /// Tells the watchdog that the service is alive, each time that the loops of all workers have
    /// turned. Without a watchdog it does nothing for ever.
    pub(crate) async fn keep_watchdog(self, handle: &Handle) {
        let Some((state, interval)) = self.0.as_ref().and_then(|state| Some((state, state.watchdog?))) else {
            return std::future::pending().await;
        };
        loop {
            // A worker that is stuck does not acknowledge this, and nothing is sent.
            handle.heartbeat().await;
            let (open, status) = (counted(handle.clients() as u64, "open connection"), state.status.lock().clone());
            state.send(&format!("WATCHDOG=1\nSTATUS={status} ({open})"));
            tokio::time::sleep(interval).await;
        }
    }
}

impl Drop for Reloading {
    fn drop(&mut self) {
        if let Some(state) = &self.0.0
            && state.reloads.fetch_sub(1, Relaxed) == 1
        {
            let status = state.status.lock().clone();
            state.send(&format!("READY=1\nSTATUS={status}"));
        }
    }
}

impl NotifyState {
    fn send(&self, message: &str) {
        if self.is_silent.load(Relaxed) {
            return;
        }
        if let Err(error) = send(&self.socket, message)
            && !self.has_failed.swap(true, Relaxed)
        {
            let socket = self.socket.to_string_lossy();
            tracing::warn!("systemd cannot be told how the service is (NOTIFY_SOCKET={socket}): {error}");
        }
    }
}

/// Half of the time after which systemd restarts a silent service (sd_watchdog_enabled(3)).
fn watchdog() -> Option<Duration> {
    let variable = |name| std::env::var(name).ok();
    let is_meant = variable("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(std::process::id()));
    let time = variable("WATCHDOG_USEC")?.parse().ok().filter(|&usec: &u64| usec > 0)?;
    is_meant.then_some(Duration::from_micros(time / 2))
}

#[cfg(unix)]
fn monotonic_usec() -> i128 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000
}

#[cfg(not(unix))]
fn monotonic_usec() -> i128 {
    0
}

/// Sends one message. A path is a file, or with `@` before it a name of Linux's abstract ones
/// (unix(7)).
#[cfg(unix)]
fn send(socket: &std::ffi::OsStr, message: &str) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let address = match socket.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(socket)?,
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => {
            use std::os::linux::net::SocketAddrExt;
            SocketAddr::from_abstract_name(name)?
        }
        _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "it is neither a path nor an abstract name")),
    };
    // A service manager that is slow must not stop the service for long.
    let sender = UnixDatagram::unbound()?;
    sender.set_write_timeout(Some(PATIENCE))?;
    sender.send_to_addr(message.as_bytes(), &address).map(drop)
}

#[cfg(not(unix))]
fn send(_socket: &std::ffi::OsStr, _message: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
