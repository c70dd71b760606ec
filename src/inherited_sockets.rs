//! [`InheritedSockets`]: the sockets that this process got from the one that has started it, and
//! those that it passes on.

use std::net::TcpListener;

use anyhow::{Result, bail};
use resound::server::Listener;

use crate::systemd::{PassedSockets, ServiceNotifier};
use crate::upgrade::{HandedOver, HandoverSockets, Predecessor, StartedProgram, UpgradeSettings, Upgrader};

/// Listening sockets that were open when this process started: from systemd, or from the process
/// that this one is to replace. And those of this process, for one that replaces it.
pub(crate) struct InheritedSockets {
    pub(crate) notifier: ServiceNotifier,
    systemd: PassedSockets,
    predecessor: Option<Predecessor>,
    handover: HandoverSockets,
    /// Why no process can take over from this one.
    refusal: Option<&'static str>,
}

impl InheritedSockets {
    /// Takes over what there is. To be called while this process has one thread.
    pub(crate) fn take() -> Result<Self> {
        let (notifier, systemd) = (ServiceNotifier::from_environment(), PassedSockets::take());
        let (predecessor, handover) = (Predecessor::take()?, HandoverSockets::default());
        Ok(Self { notifier, systemd, predecessor, handover, refusal: None })
    }

    /// Rules out upgrades to and from this process. An error if it is to replace another one, which
    /// then goes on.
    pub(crate) fn refuse_upgrade(&mut self, why: &'static str) -> Result<()> {
        if self.predecessor.is_some() {
            bail!("no upgrade to this process: {why}");
        }
        self.refusal = Some(why);
        Ok(())
    }

    /// The listeners that the predecessor had for what was typed as `key`.
    pub(crate) fn of_predecessor(&mut self, key: &str) -> Result<Option<Vec<Listener>>> {
        self.predecessor.as_mut().map_or(Ok(None), |predecessor| predecessor.listeners(key))
    }

    /// A unix socket is about to be bound to this path: a predecessor sees to its file, should this
    /// process not live to do so.
    #[cfg(unix)]
    pub(crate) fn will_bind(&mut self, path: &std::path::Path) -> Result<()> {
        self.predecessor.as_mut().map_or(Ok(()), |predecessor| predecessor.will_bind(path))
    }

    /// The sockets of systemd with this name, or all.
    pub(crate) fn of_systemd(&mut self, name: Option<&str>) -> Result<Vec<Listener>> {
        self.systemd.listeners(name)
    }

    /// Passes on listeners that the engine serves.
    pub(crate) fn pass_on(&mut self, key: String, listeners: &[Listener]) {
        self.handover.pass_on(key, listeners);
    }

    /// A listener of what runs beside the engine: the predecessor's for this `key`, or a new one.
    /// It is passed on. The value becomes true once another process serves it.
    pub(crate) fn beside(
        &mut self,
        key: &str,
        bind: impl FnOnce() -> std::io::Result<TcpListener>,
    ) -> Result<(TcpListener, HandedOver)> {
        let inherited = self.predecessor.as_mut().map_or(Ok(None), |predecessor| predecessor.listener_beside(key))?;
        let listener = inherited.map_or_else(bind, Ok)?;
        self.handover.pass_beside(key, &listener)?;
        Ok((listener, self.handover.handed_over()))
    }

    /// Closes what no address has taken, and warns of it. What is left serves an upgrade. Must be
    /// called within a runtime.
    pub(crate) fn finish(self, program: Option<StartedProgram>, settings: UpgradeSettings) -> Upgrader {
        let Self { notifier, systemd, mut predecessor, handover, refusal } = self;
        let settings = UpgradeSettings { refusal: settings.refusal.or(refusal), ..settings };
        let untaken = systemd.untaken();
        if !untaken.is_empty() {
            tracing::warn!(
                "systemd has passed sockets that nothing here listens on: {} (--listen systemd:NAME names one)",
                untaken.join(", ")
            );
        }
        for key in predecessor.iter_mut().flat_map(Predecessor::close_rest) {
            tracing::warn!("{key} is not listened on any more: clients that wait there are reset");
        }
        Upgrader::new(program, settings, handover, &notifier, predecessor)
    }
}
