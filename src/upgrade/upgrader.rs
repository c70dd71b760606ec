//! [`Upgrader`]: replaces this process by another, and the one before by this.

use std::pin::{Pin, pin};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use resound::Handle;
use resound::server::Listener;
use resound_console::Console;
use tokio::time::timeout;

use super::UpgradeSettings;
use super::handover_sockets::HandoverSockets;
use super::predecessor::Predecessor;
use super::program::StartedProgram;
use super::successor::Successor;
use super::wire;
use crate::signals::CaughtSignals;
use crate::systemd::ServiceNotifier;

/// How long a step may take that waits for nothing but a turn of a loop.
const STEP: Duration = Duration::from_secs(10);

/// Replaces this process when SIGUSR2 asks for it; and replaces the one before.
pub(crate) struct Upgrader {
    program: Option<StartedProgram>,
    settings: UpgradeSettings,
    handover: HandoverSockets,
    signal: CaughtSignals,
    notifier: ServiceNotifier,
    predecessor: Option<Predecessor>,
}

impl Upgrader {
    /// Catches SIGUSR2 from now on. Must be called within a runtime.
    pub(crate) fn new(
        program: Option<StartedProgram>,
        settings: UpgradeSettings,
        handover: HandoverSockets,
        notifier: &ServiceNotifier,
        predecessor: Option<Predecessor>,
    ) -> Self {
        if predecessor.is_some() {
            // Until then the predecessor is the main process of the service.
            notifier.be_silent();
        }
        let (signal, notifier) = (CaughtSignals::upgrade(), notifier.clone());
        Self { program, settings, handover, signal, notifier, predecessor }
    }

    /// Waits until this process may serve: at once, unless it replaces another one.
    pub(crate) fn wait_for_turn(&mut self, is_to_end: &dyn Fn() -> bool) -> Result<()> {
        let turn = self.predecessor.as_mut().map_or(Ok(()), |predecessor| predecessor.wait_for_turn(is_to_end));
        if turn.is_err() {
            // The files of the other process are not this one's.
            self.handover.remove_files();
        }
        turn
    }

    /// Runs beside a server that serves, until it is to drain: `ending` is over, or another process
    /// has replaced this one and the last connection has ended. `status` is what systemd shows.
    pub(crate) async fn run(
        mut self,
        handle: &Handle,
        console: &Console,
        status: String,
        ending: impl Future<Output = ()>,
    ) {
        let mut ending = pin!(ending);
        if let Some(predecessor) = self.predecessor.take() {
            tokio::select! {
                files = predecessor.replace() => self.handover.own(&files),
                () = &mut ending => return,
            }
        }
        self.notifier.ready(status);
        let successor = loop {
            tokio::select! {
                biased;
                () = &mut ending => return,
                () = self.signal.next() => {}
            }
            match self.upgrade(handle, console, ending.as_mut()).await {
                Ok(Some(successor)) => break successor,
                Ok(None) => return,
                Err(why) => tracing::warn!("no upgrade: {why:#}; this process goes on as before"),
            }
        };
        self.outlive(successor, handle, ending).await;
    }

    /// Lets another process take over. `None`: this one is to end instead.
    async fn upgrade(
        &mut self,
        handle: &Handle,
        console: &Console,
        ending: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Option<Successor>> {
        let mut successor = self.start()?;
        console.upgrading(successor.pid());
        match self.take_over(&mut successor, handle, ending).await {
            Ok(true) => {}
            failed => {
                successor.give_up().await;
                return failed.map(|_| None);
            }
        }
        // Before the last owner is gone.
        self.handover.served().for_each(Listener::leave_file);
        // Before the new process tells systemd anything.
        self.notifier.main_process(successor.pid());
        successor.release().await;
        std::mem::take(&mut self.handover).hand_over();
        console.upgraded(successor.pid(), handle.clients(), self.settings.timeout);
        Ok(Some(successor))
    }

    /// Lets the new process accept instead of this one. Returns `false` if this one is to end.
    async fn take_over(
        &mut self,
        successor: &mut Successor,
        handle: &Handle,
        ending: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<bool> {
        if !self.until_ready(successor, ending).await? {
            return Ok(false);
        }
        // From here on nothing interrupts: at the end one of the two accepts.
        if let Err(why) = take_turns(handle, successor).await {
            successor.kill();
            let again = self.handover.served().map(Listener::share).collect();
            // A worker that is stuck begins once it goes on.
            let Ok(begun) = timeout(STEP, handle.listen(again)).await else {
                return Err(why.context("its worker is stuck, and accepts again once it goes on"));
            };
            begun.context("and nothing can be accepted any more")?;
            return Err(why);
        }
        Ok(true)
    }

    /// Starts the program once more, with the sockets of this process.
    fn start(&self) -> Result<Successor> {
        if std::process::id() == 1 {
            bail!(
                "this is process 1 of its container, which ends with it: let the container's platform start a new \
                 container, or give this one an init such as tini"
            );
        }
        if let Some(refusal) = self.settings.refusal {
            bail!("{refusal}");
        }
        let program = self.program.as_ref().context("the path of this program is not known")?;
        Successor::start(program, self.handover.sockets())
    }

    /// Waits until the new process can serve. Returns `false` if this one is to end instead.
    async fn until_ready(
        &mut self,
        successor: &mut Successor,
        mut ending: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<bool> {
        let (pid, patience) = (successor.pid(), self.settings.start_timeout);
        let mut ready = pin!(timeout(patience, successor.expect(wire::READY)));
        loop {
            tokio::select! {
                biased;
                () = ending.as_mut() => return Ok(false),
                ready = &mut ready => break ready.map(|ready| ready.map(|()| true)),
                () = self.signal.next() => {
                    tracing::warn!("an upgrade to process {pid} is under way: another SIGUSR2 changes nothing");
                }
            }
        }
        .unwrap_or_else(|_| {
            let patience = humantime::format_duration(patience);
            Err(anyhow!("process {pid} was not ready after {patience} (--upgrade-start-timeout)"))
        })
    }

    /// Serves the open connections to their end, beside the process that has taken over.
    async fn outlive(
        mut self,
        mut successor: Successor,
        handle: &Handle,
        mut ending: Pin<&mut impl Future<Output = ()>>,
    ) {
        let pid = successor.pid();
        let over = async {
            match self.settings.timeout {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
        };
        let (mut over, mut idle) = (pin!(over), pin!(handle.idle()));
        loop {
            tokio::select! {
                biased;
                () = ending.as_mut() => return,
                () = &mut idle => return,
                () = &mut over => return,
                () = self.signal.next() => {
                    tracing::warn!("process {pid} has replaced this one: send SIGUSR2 to that process");
                }
                status = successor.ended() => {
                    if !status.success() {
                        tracing::warn!("process {pid}, which has replaced this one, has ended: {status}");
                    }
                }
            }
        }
    }
}

/// The old process stops accepting, and then the new one begins.
async fn take_turns(handle: &Handle, successor: &mut Successor) -> Result<()> {
    let pid = successor.pid();
    timeout(STEP, handle.unlisten()).await.map_err(|_| anyhow!("the workers do not answer"))?;
    let serving = async {
        successor.say(wire::SERVE).await?;
        successor.expect(wire::SERVING).await
    };
    timeout(STEP, serving).await.unwrap_or_else(|_| Err(anyhow!("process {pid} does not begin to serve")))
}
