//! The commands in the two ends of a lab, from its start to its summary.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use resound_lab::{Lab, LabEnd, LabError, LabProcess, LabReport, LabStreams};
use rustix::process::{Signal, getpgrp};
use serde::Serialize;
use tokio::net::unix::pipe::Receiver;
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};

use super::plan::LabPlan;
use crate::exit;
use crate::report::files;
use crate::result_output::ResultOutput;
use crate::stdio::say;

/// Between two looks for a listener in the far end.
const LOOK: Duration = Duration::from_millis(5);
/// A command has this long to end after SIGTERM or SIGHUP; then the lab ends it.
const GRACE: Duration = Duration::from_secs(5);
/// The far command has this long to end after the near one.
const FAR_GRACE: Duration = Duration::from_secs(1);
/// What a shell's exit code is for a command that it cannot run, or not find.
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

/// `--json`.
#[derive(Serialize)]
struct LabDocument<'a> {
    seed: u64,
    defects: String,
    exit_code: u8,
    #[serde(flatten)]
    report: &'a LabReport,
}

pub(super) fn run(plan: LabPlan) -> Result<ExitCode> {
    let builder = Lab::builder().defects(plan.defects.clone()).seed(plan.seed).mtu(plan.mtu);
    // Before the commands run, for which there may be no second time.
    files::check(plan.json.iter().filter(|file| file.as_os_str() != "-").chain(&plan.capture), [])?;
    let builder = plan.capture.iter().fold(builder, |builder, file| builder.capture(file));
    // Before the runtime: a lab's first process is a copy of this one.
    let lab = builder.start()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(run_ends(&lab, &plan));
    // A router that has failed ends the commands: its reason comes first.
    let report = lab.finish();
    take_terminal_back();
    let (report, code) = match (report, code) {
        // The command has ended by itself: a file that cannot be written does not hide how.
        (Err(error @ LabError::Capture { .. }), Ok(code)) if code != 0 => {
            say(&error.to_string());
            return Ok(ExitCode::from(code));
        }
        (report, code) => (report?, code?),
    };
    let is_saved = summarize(&plan, &report, code);
    Ok(ExitCode::from(if is_saved || code != 0 { code } else { exit::USAGE }))
}

/// Runs the command of the near end, beside that of the far end: its exit code.
async fn run_ends(lab: &Lab, plan: &LabPlan) -> Result<u8> {
    let mut signals = LabSignals::catch()?;
    let far = match &plan.far {
        Some(command) => {
            let starting = start_far(lab.far_end(), command, plan.far_wait);
            tokio::select! {
                started = starting => Some(started?),
                caught = signals.next() => return Ok(signalled(caught)),
            }
        }
        None => None,
    };
    let near = match lab.near_end().start(&plan.command, LabStreams::inherit()?, false) {
        Ok(near) => near,
        Err(error) => return Ok(report_unstarted(&plan.command[0], &error)),
    };
    let code = exit_code(await_near(near, &mut signals).await?);
    if let Some(far) = far {
        end_far(far).await?;
    }
    Ok(code)
}

/// Starts the command of the far end, and waits until something listens there.
async fn start_far(end: &LabEnd, command: &str, wait: Duration) -> Result<LabProcess> {
    let far = end.start(&["/bin/sh", "-c", command], LabStreams::to_stderr()?, true).context("cannot run /bin/sh")?;
    let started = Instant::now();
    while !end.is_listening()? {
        if has_ended(&far)? {
            let status = far.wait()?;
            bail!("the far command has ended before anything listened: {}", described(status));
        }
        if started.elapsed() >= wait {
            say(&format!("nothing listens in the far end after {}", humantime::format_duration(wait)));
            break;
        }
        sleep(LOOK).await;
    }
    Ok(far)
}

/// A line for a command that cannot be run, and the exit code that a shell has for it.
fn report_unstarted(command: &OsStr, error: &io::Error) -> u8 {
    say(&format!("cannot run {}: {error}", command.to_string_lossy()));
    if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { CANNOT_RUN }
}

/// Waits for the near command, and passes signals on to it.
async fn await_near(near: LabProcess, signals: &mut LabSignals) -> Result<ExitStatus> {
    let ended = Receiver::from_owned_fd(near.as_fd().try_clone_to_owned()?)?;
    let mut end = None::<Instant>;
    loop {
        let late = async {
            match end {
                Some(end) => tokio::time::sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ready = ended.readable() => {
                ready?;
                return Ok(near.wait()?);
            }
            caught = signals.next() => {
                // A terminal sends these to each process of its foreground group.
                let is_everywhere = matches!(caught, Signal::INT | Signal::QUIT) && in_foreground();
                if !is_everywhere {
                    let _ = near.signal(caught.as_raw());
                }
                if matches!(caught, Signal::TERM | Signal::HUP) {
                    end.get_or_insert_with(|| Instant::now() + GRACE);
                }
            }
            () = late => {
                // It may have ended just now.
                let _ = near.signal(Signal::KILL.as_raw());
                end = None;
            }
        }
    }
}

/// Lets the far command end in order; the lab's end is its end at the latest.
async fn end_far(far: LabProcess) -> Result<()> {
    if has_ended(&far)? {
        let status = far.wait()?;
        if !status.success() {
            say(&format!("the far command had ended before: {}", described(status)));
        }
        return Ok(());
    }
    let ended = Receiver::from_owned_fd(far.as_fd().try_clone_to_owned()?)?;
    let _ = far.signal_group(Signal::TERM.as_raw());
    let _ = timeout(FAR_GRACE, ended.readable()).await;
    Ok(())
}

fn has_ended(process: &LabProcess) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&now))? > 0)
}

/// The exit code of a command, as a shell has it.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

fn signalled(signal: Signal) -> u8 {
    u8::try_from(128 + signal.as_raw()).unwrap_or(u8::MAX)
}

fn described(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, signal) => format!("signal {}", signal.unwrap_or_default()),
    }
}

/// Is this process in the foreground of its terminal?
fn in_foreground() -> bool {
    let terminal = fs::File::open("/dev/tty");
    terminal.is_ok_and(|terminal| rustix::termios::tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp()))
}

/// A shell in the lab has made its own group that of the terminal, and cannot know this one's.
fn take_terminal_back() {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        resound_lab::take_terminal(stdin.as_fd());
    }
}

/// The signals that ask the lab to end; one that was ignored at the start stays so.
struct LabSignals(Vec<(Signal, SignalStream)>);

impl LabSignals {
    fn catch() -> io::Result<Self> {
        let signals = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT];
        let heeded = signals.into_iter().filter(|signal| !resound::system::ignores_signal(signal.as_raw()));
        let caught = heeded.map(|caught| Ok((caught, signal(SignalKind::from_raw(caught.as_raw()))?)));
        Ok(Self(caught.collect::<io::Result<_>>()?))
    }

    async fn next(&mut self) -> Signal {
        std::future::poll_fn(|cx| {
            use std::task::Poll;
            let mut ready =
                self.0.iter_mut().filter_map(|(kind, stream)| stream.poll_recv(cx).is_ready().then_some(*kind));
            ready.next().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// Prints the summary to stderr, and writes it as JSON.
fn summarize(plan: &LabPlan, report: &LabReport, code: u8) -> bool {
    if !plan.is_quiet {
        let table = report.summary.to_string();
        let text = format!("{}\nseed {}; {}\n", table.trim_end(), plan.seed, report.router);
        let _ = crate::stdio::StdStream::Stderr.write_all(text.trim_start().as_bytes());
    }
    let Some(file) = &plan.json else { return true };
    let document = LabDocument { seed: plan.seed, defects: plan.defects.to_string(), exit_code: code, report };
    let line = resound_console::json::object(&document);
    match file.as_os_str() == "-" {
        true => ResultOutput.write_all(&line).is_ok(),
        false => files::is_saved(file, &line),
    }
}
