//! `resound test --watch`: a server through a deploy or a failover.

mod document;
mod gate;
mod lines;
mod summary;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use resound::client::FailureClass;
use resound::system::raise_descriptor_limit;
use resound_console::json;
use resound_verdict::watch::{Watch, WatchError, WatchProgress, WatchRecord};
use resound_verdict::{FarKind, FirstBytes, Path};
use tokio::sync::oneshot;

pub(crate) use self::gate::WatchGate;
use self::lines::SecondLines;
use crate::client::{ClientFailure, Connect};
use crate::colour::Colour;
use crate::exit;
use crate::result_output::ResultOutput;
use crate::signals::{SAME_SIGNAL, termination};
use crate::stdio::say;

/// Descriptors beside those of the connections.
const BESIDE: u64 = 64;
/// How long a new connection is open at most, as a rule.
const OPEN: u64 = 2;

/// The meaning of the flags of a watch.
pub(crate) struct WatchPlan {
    pub(crate) connect: Connect,
    pub(crate) waits: bool,
    pub(crate) length: Option<Duration>,
    pub(crate) held: usize,
    pub(crate) heartbeat: Duration,
    pub(crate) new_per_second: u32,
    pub(crate) lost_after: Duration,
    pub(crate) gates: Vec<WatchGate>,
    pub(crate) json: bool,
}

impl WatchPlan {
    fn watch(&self) -> Watch {
        let Connect { address, dial, before, .. } = &self.connect;
        let mut path = Path::to(address.clone()).dial(*dial).patience(self.lost_after);
        if let Some(tls) = &before.tls {
            path = path.tls(tls.client().clone());
        }
        if let Some(proxy) = before.send_proxy.clone() {
            let first_bytes: FirstBytes =
                Arc::new(move |local, peer| proxy.header(local, peer).map_err(io::Error::other));
            path = path.first_bytes(first_bytes);
        }
        let watch = Watch::of(&path).held(self.held).heartbeat(self.heartbeat).new_per_second(self.new_per_second);
        let watch = watch.waits(self.waits);
        self.length.iter().fold(watch, |watch, length| watch.lasts(*length))
    }

    fn check_descriptors(&self) -> Result<()> {
        let needed = self.held as u64 + OPEN * u64::from(self.new_per_second) + BESIDE;
        match raise_descriptor_limit() {
            Some(limit) if limit < needed => bail!(
                "{} held connections and {} new ones a second need about {needed} open files, and the limit is \
                 {limit}: raise it (`ulimit -n {}`), or use fewer",
                self.held,
                self.new_per_second,
                needed.next_power_of_two()
            ),
            _ => Ok(()),
        }
    }
}

pub(crate) fn run(plan: WatchPlan) -> Result<ExitCode> {
    plan.check_descriptors()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let result = runtime.block_on(watch(&plan));
    // A resolver that never answers must not keep the process.
    runtime.shutdown_background();
    result
}

async fn watch(plan: &WatchPlan) -> Result<ExitCode> {
    let signal = termination();
    let was_stopped = Cell::new(false);
    let (stopped, first) = oneshot::channel();
    let stop = async {
        signal.await;
        was_stopped.set(true);
        let _ = stopped.send(());
    };
    let again = async {
        let _ = first.await;
        tokio::time::sleep(SAME_SIGNAL).await;
        termination().await;
    };
    let mut lines = SecondLines::new(io::stdout().is_terminal(), Colour::of(&io::stdout()), plan.held);
    let (mut far, mut name) = (FarKind::None, None);
    let mut tell = |progress: WatchProgress<'_>| {
        let bytes = match progress {
            WatchProgress::Begins(kind, words) => {
                (far, name) = (kind, words.map(str::to_owned));
                let title = lines::title(plan, kind, words);
                if plan.json { Vec::new() } else { title.into_bytes() }
            }
            WatchProgress::Waits(error) => {
                say(&format!("waiting for {}: {error}", plan.connect.address));
                return;
            }
            WatchProgress::Second(second) if plan.json => json::object(&document::second(second)),
            WatchProgress::Second(second) => lines.of(second).into_bytes(),
            _ => Vec::new(),
        };
        let _ = ResultOutput.write_all(&bytes);
    };
    let watching = plan.watch();
    let ended = tokio::select! {
        ended = watching.run(stop, &mut tell) => ended,
        // The second signal ends the watch without its totals.
        () = again => return Ok(ExitCode::from(exit::SIGNAL)),
    };
    let record = match ended {
        Ok(record) => record,
        Err(_) if was_stopped.get() => return Ok(ExitCode::from(exit::SIGNAL)),
        Err(error) => return Err(failure(plan, error)),
    };
    let is_cut = was_stopped.get() && plan.length.is_some_and(|length| record.length < length);
    let code = code(plan, &record, is_cut);
    let bytes = match plan.json {
        true => json::object(&document::end(plan, &record, far, name.as_deref(), code)),
        false => summary::render(plan, &record, Colour::of(&io::stdout())).into_bytes(),
    };
    let _ = ResultOutput.write_all(&bytes);
    Ok(ExitCode::from(code))
}

/// The exit code.
fn code(plan: &WatchPlan, record: &WatchRecord, is_cut: bool) -> u8 {
    let has_failed = match &plan.gates[..] {
        [] => !record.total.is_clean(),
        gates => gates.iter().any(|gate| gate.judge(&record.total).is_broken),
    };
    let is_known = record.total.has_answers() && record.total.own_failures() == 0;
    match (is_cut, has_failed, is_known) {
        (true, ..) => exit::SIGNAL,
        (false, true, _) => exit::VERDICT,
        (false, false, true) => 0,
        (false, false, false) => exit::CANNOT_TELL,
    }
}

/// Why the server cannot be watched, with advice.
fn failure(plan: &WatchPlan, error: WatchError) -> anyhow::Error {
    let what = format!("{} cannot be watched: {error}", plan.connect.address);
    let (class, advice) = match error {
        // A spelling or a certificate is the way out, not patience.
        WatchError::NoConnection(Some(class @ (FailureClass::Tls | FailureClass::Dns)), _) => {
            return ClientFailure::new(class, what).into();
        }
        WatchError::NoConnection(Some(class), _) if plan.waits => (class, "It did not come within --for."),
        WatchError::NoConnection(Some(class), _) => (class, "Start the server first, or wait for it with --wait."),
        // This machine could not do its part.
        WatchError::NoConnection(None, _) => return anyhow!(what),
        _ => (
            FailureClass::Mismatch,
            "A watch needs a server that echoes lines, or replies with them, as `resound server` does.",
        ),
    };
    ClientFailure::advised(class, what, advice).into()
}
