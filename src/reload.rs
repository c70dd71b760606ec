//! [`Reloads`]: what a running server or relay reads again, and what of it holds then.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::mem::discriminant;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use parking_lot::RwLock;
use resound::proxy::Proxies;
use resound::server::Access;
use resound::{Framing, Handle, Limits};
use resound_console::Console;

use crate::advice;
use crate::certificates::{ServedTls, ServerTlsArgs};
use crate::descriptors;
use crate::faults::{FreshFaults, SourcedFaults};
use crate::signals::CaughtSignals;
use crate::systemd::ServiceNotifier;

/// The interval between checks of files that may have changed.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A value that the next connection gets, and that a reload may change.
#[derive(Clone)]
pub(crate) struct Changeable<T>(Arc<RwLock<T>>);

impl<T: Clone> Changeable<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(RwLock::new(value)))
    }

    pub(crate) fn get(&self) -> T {
        self.0.read().clone()
    }

    fn set(&self, value: T) {
        *self.0.write() = value;
    }
}

/// What the flags say, as far as a running server can take it.
pub(crate) struct NewSettings {
    /// What is set, by flag.
    pub(crate) values: FlagValues,
    pub(crate) access: Access,
    pub(crate) limits: Limits,
    pub(crate) max_connections: Option<usize>,
    pub(crate) drain_timeout: Duration,
    pub(crate) tls: Option<ServerTlsArgs>,
    /// The addresses of --proxy-from.
    pub(crate) proxies: Option<Proxies>,
    pub(crate) framing: Option<Framing>,
    pub(crate) faults: Option<SourcedFaults>,
}

/// What is set, by flag: the values, none of a switch.
pub(crate) type FlagValues = BTreeMap<String, Vec<OsString>>;

/// Reads all of a configuration again.
pub(crate) type ReadConfig = Arc<dyn Fn() -> Result<NewSettings> + Send + Sync>;

/// The configuration of a running server.
pub(crate) struct LiveConfig {
    pub(crate) file: PathBuf,
    /// What holds, by flag.
    pub(crate) values: FlagValues,
    pub(crate) read: ReadConfig,
}

/// What a flag is a part of, of those that a running server can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReloadablePart {
    Access,
    Limits,
    MaxConnections,
    Drain,
    Tls,
    Proxies,
    Framing,
    Faults,
}

#[cfg(test)]
impl ReloadablePart {
    /// For a guide: which connections a change is for, and where it is possible.
    pub(crate) fn explained(self) -> [&'static str; 2] {
        const NEXT: &str = "connections accepted from then on";
        match self {
            Self::Access | Self::Limits => [NEXT, "always"],
            Self::MaxConnections => ["all; open connections above a lower limit stay", "always"],
            Self::Drain => ["the next drain", "always"],
            Self::Tls => [NEXT, "with `--tls` before and after"],
            Self::Proxies => [NEXT, "with `--proxy-from` before and after"],
            Self::Framing => [NEXT, "a server in reply mode, with the same `--framing`"],
            Self::Faults => [NEXT, "a relay; a server that had a flag about faults at its start; not with `--replay`"],
        }
    }
}

/// The flags that a running server or relay can change; all others need a restart.
pub(crate) const RELOADABLE: &[(&str, ReloadablePart)] = &[
    ("allow", ReloadablePart::Access),
    ("deny", ReloadablePart::Access),
    ("max-per-ip", ReloadablePart::Access),
    ("connect-rate-limit", ReloadablePart::Access),
    ("max-connections", ReloadablePart::MaxConnections),
    ("idle-timeout", ReloadablePart::Limits),
    ("write-timeout", ReloadablePart::Limits),
    ("opening-timeout", ReloadablePart::Limits),
    ("high-water", ReloadablePart::Limits),
    ("max-line", ReloadablePart::Framing),
    ("drain-timeout", ReloadablePart::Drain),
    ("cert", ReloadablePart::Tls),
    ("key", ReloadablePart::Tls),
    ("client-ca", ReloadablePart::Tls),
    ("alpn", ReloadablePart::Tls),
    ("proxy-from", ReloadablePart::Proxies),
    ("fault", ReloadablePart::Faults),
    ("as", ReloadablePart::Faults),
    ("faults", ReloadablePart::Faults),
    ("seed", ReloadablePart::Faults),
];

/// What a running server reads again: files that change, and at SIGHUP its configuration.
pub(crate) struct Reloads {
    pub(crate) console: Console,
    pub(crate) notifier: ServiceNotifier,
    pub(crate) config: Option<LiveConfig>,
    pub(crate) tls: Option<ServedTls>,
    /// `None` without a flag about faults at the start of a server.
    pub(crate) faults: Option<FreshFaults>,
    pub(crate) proxies: Option<Changeable<Proxies>>,
    /// Of a server that answers messages.
    pub(crate) framing: Option<Changeable<Framing>>,
    /// As many connections as descriptors allow.
    pub(crate) possible: usize,
    pub(crate) drain_timeout: Duration,
    /// SIGHUP opens it anew.
    pub(crate) has_log_file: bool,
}

/// What a reload has changed.
struct Reloaded {
    changed: Vec<String>,
    needs_restart: Vec<String>,
}

impl Reloads {
    /// Reads again what changes and what SIGHUP asks for. Returns at SIGHUP where nothing can be
    /// read again: then it means that the terminal was closed. systemd has no terminal, and waits
    /// for the end of a reload in any case.
    pub(crate) async fn until_hung_up(&mut self, handle: &Handle, mut hangup: CaughtSignals) {
        if !self.has_files() && self.config.is_none() && !self.notifier.is_present() {
            return if self.has_log_file { std::future::pending().await } else { hangup.next().await };
        }
        loop {
            tokio::select! {
                () = hangup.next() => self.reload(handle).await,
                () = tokio::time::sleep(CHECK_INTERVAL), if self.has_files() => self.read_files(false).await,
            }
        }
    }

    fn has_files(&self) -> bool {
        self.tls.as_ref().is_some_and(ServedTls::has_files) || self.faults.as_ref().is_some_and(FreshFaults::has_file)
    }

    /// Reloads, as SIGHUP asks for: each reload passes through here. A configuration with a mistake
    /// changes nothing.
    pub(crate) async fn reload(&mut self, handle: &Handle) {
        let _reloading = self.notifier.reloading();
        let Some(config) = &self.config else { return self.read_files(true).await };
        let (file, read) = (config.file.clone(), Arc::clone(&config.read));
        // Files may be on a slow network file system.
        let Ok(read) = tokio::task::spawn_blocking(move || read()).await else { return };
        let outcome = match read {
            Ok(new) => self.apply(new, handle).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(Reloaded { changed, needs_restart }) => {
                self.console.reloaded(&file, &changed, &needs_restart);
                if !needs_restart.is_empty() {
                    tracing::warn!("{} cannot change without a restart", needs_restart.join(", "));
                }
            }
            Err(error) => tracing::warn!("the configuration stays as it was: {error:#}"),
        }
    }

    /// Reads certificates and faults again that have changed, or all of them.
    async fn read_files(&mut self, all: bool) {
        if let Some(tls) = self.tls.as_mut().filter(|tls| tls.has_files()) {
            tls.refresh(&self.console, all).await;
        }
        if let Some(faults) = &mut self.faults {
            faults.refresh(all);
        }
    }

    async fn apply(&mut self, new: NewSettings, handle: &Handle) -> Result<Reloaded> {
        let old = self.config.as_ref().map(|config| config.values.clone()).unwrap_or_default();
        let differs = |name: &&String| old.get(*name) != new.values.get(*name);
        let mut names: Vec<&String> = old.keys().chain(new.values.keys()).filter(differs).collect();
        names.sort();
        names.dedup();
        let part = |name: &str| RELOADABLE.iter().find(|(flag, _)| *flag == name).map(|(_, part)| *part);
        let can_change = |name: &String| part(name).is_some_and(|part| self.has(part, &new));
        let (changed, needs_restart): (Vec<String>, Vec<String>) =
            names.into_iter().cloned().partition(|name| can_change(name));
        let changes = |wanted: ReloadablePart| changed.iter().any(|name| part(name) == Some(wanted));

        // What may fail comes first.
        let tls = match (&self.tls, new.tls) {
            (Some(tls), Some(files)) if tls.has_files() || changes(ReloadablePart::Tls) => {
                let prepared = tls.prepare(files).await;
                Some(prepared.map_err(|error| anyhow!("{error}; {}", advice::of_error(&error)))?)
            }
            _ => None,
        };
        if let Some(faults) = &mut self.faults {
            match new.faults.filter(|_| changes(ReloadablePart::Faults)) {
                Some(sourced) => faults.replace(sourced)?,
                None => faults.read_again()?,
            }
        }
        if let (Some(served), Some(prepared)) = (&mut self.tls, tls) {
            served.commit(prepared, &self.console)?;
        }
        if changes(ReloadablePart::Access) {
            handle.set_access(new.access);
        }
        if changes(ReloadablePart::Limits) {
            handle.set_limits(new.limits);
        }
        if changes(ReloadablePart::MaxConnections) {
            handle.set_max_connections(descriptors::max_connections(new.max_connections, self.possible));
        }
        if changes(ReloadablePart::Framing) {
            self.framing.iter().zip(new.framing).for_each(|(live, framing)| live.set(framing));
        }
        if changes(ReloadablePart::Proxies) {
            self.proxies.iter().zip(new.proxies).for_each(|(live, proxies)| live.set(proxies));
        }
        self.drain_timeout = new.drain_timeout;
        if changed.iter().any(|name| name == "allow") && !new.values.contains_key("allow") {
            tracing::warn!("allow was removed: all clients may connect except those in deny");
        }
        if let Some(config) = &mut self.config {
            for name in &changed {
                match new.values.get(name) {
                    Some(values) => drop(config.values.insert(name.clone(), values.clone())),
                    None => drop(config.values.remove(name)),
                }
            }
        }
        Ok(Reloaded { changed, needs_restart })
    }

    /// Does this server have the part, so that it can change?
    fn has(&self, part: ReloadablePart, new: &NewSettings) -> bool {
        let is_same =
            |live: &Changeable<Framing>| new.framing.is_some_and(|new| discriminant(&new) == discriminant(&live.get()));
        match part {
            ReloadablePart::Tls => self.tls.is_some() && new.tls.is_some(),
            ReloadablePart::Proxies => self.proxies.is_some() && new.proxies.is_some(),
            ReloadablePart::Framing => self.framing.as_ref().is_some_and(is_same),
            ReloadablePart::Faults => {
                let can_read = |new: &SourcedFaults| self.faults.as_ref().is_some_and(|faults| faults.can_become(new));
                new.faults.as_ref().is_some_and(can_read)
            }
            _ => true,
        }
    }
}
