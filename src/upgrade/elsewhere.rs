//! On a system whose processes inherit no sockets by number, none replaces another.

use std::io;
use std::net::TcpListener;

use anyhow::Result;
use resound::Handle;
use resound::server::Listener;
use resound_console::Console;
use tokio::sync::watch;

use super::{HandedOver, UpgradeSettings};
use crate::systemd::ServiceNotifier;

/// Sockets that no other process gets.
#[derive(Default)]
pub(crate) struct NoHandover {
    handed_over: watch::Sender<bool>,
}

impl NoHandover {
    pub(crate) fn handed_over(&self) -> HandedOver {
        self.handed_over.subscribe()
    }

    pub(crate) fn pass_on(&mut self, _key: String, _listeners: &[Listener]) {}

    pub(crate) fn pass_beside(&mut self, _key: &str, _listener: &TcpListener) -> io::Result<()> {
        Ok(())
    }
}

/// There is none.
pub(crate) enum NoPredecessor {}

impl NoPredecessor {
    pub(crate) fn take() -> Result<Option<Self>> {
        Ok(None)
    }

    pub(crate) fn listeners(&mut self, _key: &str) -> Result<Option<Vec<Listener>>> {
        match *self {}
    }

    pub(crate) fn listener_beside(&mut self, _key: &str) -> Result<Option<TcpListener>> {
        match *self {}
    }

    pub(crate) fn close_rest(&mut self) -> Vec<String> {
        match *self {}
    }
}

/// It is started once.
pub(crate) struct NoProgram;

impl NoProgram {
    pub(crate) fn of_this() -> Self {
        Self
    }
}

/// Serves from the start to the end.
pub(crate) struct LoneUpgrader {
    notifier: ServiceNotifier,
    _handover: NoHandover,
}

impl LoneUpgrader {
    pub(crate) fn new(
        _program: Option<NoProgram>,
        settings: UpgradeSettings,
        handover: NoHandover,
        notifier: &ServiceNotifier,
        _predecessor: Option<NoPredecessor>,
    ) -> Self {
        let _ = (settings.timeout, settings.start_timeout, settings.refusal);
        Self { notifier: notifier.clone(), _handover: handover }
    }

    pub(crate) fn wait_for_turn(&mut self, _is_to_end: &dyn Fn() -> bool) -> Result<()> {
        Ok(())
    }

    pub(crate) async fn run(
        self,
        _handle: &Handle,
        _console: &Console,
        status: String,
        ending: impl Future<Output = ()>,
    ) {
        self.notifier.ready(status);
        ending.await;
    }
}
