//! `resound test`: the messages, and then the checks of the path.

mod again;
mod document;
mod junit;
mod own_server;
mod page;
mod record;
mod table;
#[cfg(test)]
mod tests;
mod view;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use resound_console::json;

use anyhow::Result;
use resound::client::{DialError, FailureClass};
use resound::{DialOptions, Family, Stream};
use resound_verdict::{CheckId, CheckVerdict, FarKind, FirstBytes, Path, PathReport};

pub(crate) use self::own_server::OwnServer;
pub(crate) use self::record::MESSAGES;
use self::record::{CutShort, TestedCheck};
use self::view::TestView;
use super::check::{self, MessagesEnd};
use super::connect::RetryPolicy;
use super::failure::ClientFailure;
use super::limits::{late, until, within};
use super::plan::{ClientPlan, PathSelection, TestTask};
use crate::result_output::ResultOutput;
use crate::stdio::{StdStream, say};
use crate::{exit, report, signals};

/// Descriptors of the path's checks, which run side by side.
const SIDE_BY_SIDE: usize = 160;
/// Descriptors of a server in this process, beside its connections.
const OF_OWN_SERVER: usize = 64;
/// How long a second connection may take where the first has failed.
const SECOND_CONNECT: Duration = Duration::from_secs(3);
/// How often the progress is drawn anew.
const TICK: Duration = Duration::from_millis(100);

/// Descriptors of a test beside those of its first connection.
pub(super) fn descriptors(task: &TestTask) -> usize {
    let Some(path) = &task.path else { return 0 };
    let connections = SIDE_BY_SIDE + path.connections.unwrap_or(0) as usize;
    // A server of its own has the other ends.
    if task.loopback || task.self_check { 2 * connections + OF_OWN_SERVER } else { connections }
}

/// Runs the test: prints and saves what it finds.
pub(super) async fn run(plan: &ClientPlan, task: &TestTask) -> Result<ExitCode> {
    let output = &task.output;
    let files = [&output.json, &output.junit, &output.html];
    report::files::check(files.into_iter().flatten().filter(|path| path.as_os_str() != "-"), [])?;
    let view = TestView::new(task, &plan.connect.address, plan.verbose, ResultOutput);
    let run = TestRun { plan, task, view: Mutex::new(view), not_sent: OnceLock::new() };
    let ended = tokio::select! {
        ended = run.all(Instant::now()) => ended,
        () = signals::termination() => Ok(Some(CutShort::Signal)),
    };
    run.conclude(ended)
}

/// The MSS that each host accepts (RFC 9293, 3.7.1).
const SMALL_SEGMENT: u16 = 536;

/// A test under way.
struct TestRun<'a> {
    plan: &'a ClientPlan,
    task: &'a TestTask,
    view: Mutex<TestView<'a>>,
    /// The server did not look like one that answers messages, and why.
    not_sent: OnceLock<String>,
}

impl<'a> TestRun<'a> {
    /// The whole test; `Some` where it was cut short.
    async fn all(&self, start: Instant) -> Result<Option<CutShort>> {
        let deadline = self.plan.timeout.and_then(|limit| start.checked_add(limit));
        let mut path = self.task.path.clone();
        if let Some(path) = path.as_mut().filter(|_| self.task.self_check) {
            tokio::select! {
                checked = self.check_itself(path) => checked?,
                () = until(deadline.map(Into::into)) => return Ok(Some(CutShort::Timeout)),
            }
        }
        let is_bound = self.plan.connect.dial.source_port.is_some();
        let waits = self.plan.connect.patience != RetryPolicy::Retry(0);
        if self.task.has_messages || waits || is_bound {
            let begun = async {
                let stream = match within(self.plan.timeout, self.plan.connect(start)).await {
                    // One connection that fails beside others is not the end.
                    Err(error) if path.is_some() && !is_bound && !waits && self.connects_again(start).await => {
                        let _ = self.not_sent.set(format!("{error:#}"));
                        self.not_sent(&error);
                        return Ok(());
                    }
                    connected => connected?,
                };
                self.view.lock().connected(stream.peer().to_string());
                if self.task.has_messages { self.messages(stream, start).await } else { Ok(()) }
            };
            match begun.await {
                // The path decides what that means, for each family of addresses.
                Err(error)
                    if path.is_some()
                        && !is_bound
                        && is_of_tls_on_its_way(&error)
                        && self.has_tls_in_small_segments().await =>
                {
                    self.not_sent(&error);
                }
                Err(error) if path.is_some() && !is_bound && self.lacks_tls(&error) => self.not_sent(&error),
                other => other?,
            }
        }
        let Some(path) = path else {
            self.messages_again(start).await;
            return Ok(None);
        };
        if is_bound {
            self.skip_path("--source-port allows one connection at a time");
            return Ok(None);
        }
        if let Some(most) = path.connections {
            self.view.lock().print(&format!("cap: up to {most} connections at once, which are closed again\n"));
        }
        tokio::select! {
            () = self.path(&path, start) => Ok(None),
            () = until(deadline.map(Into::into)) => Ok(Some(CutShort::Timeout)),
        }
    }

    async fn messages(&self, stream: Stream, start: Instant) -> Result<()> {
        let (mut output, mut nowhere) = (ResultOutput, io::sink());
        let has_text = self.view.lock().has_text();
        let out: &mut (dyn Write + Send) = if has_text { &mut output } else { &mut nowhere };
        let first_word = self.path_of(None).first_word();
        let tested = check::run(self.plan, stream, self.task.expect, first_word, start, out).await;
        let ended = match tested {
            Ok(ended) => ended,
            Err(error) if is_of_tls_on_its_way(&error) || (self.task.path.is_some() && self.lacks_tls(&error)) => {
                return Err(error);
            }
            Err(error) => {
                self.view.lock().add(TestedCheck::new(MESSAGES, CheckVerdict::Error, format!("{error:#}")));
                return Err(error);
            }
        };
        let check = match ended {
            MessagesEnd::NotSent(why) => {
                let _ = self.not_sent.set(why.clone());
                TestedCheck::new(MESSAGES, CheckVerdict::Skip, why)
            }
            MessagesEnd::Judged { ok, tries, summary, evidence, failure, has_warned } => {
                let verdict = match (ok == tries, has_warned) {
                    (false, _) => CheckVerdict::Fail,
                    (true, true) => CheckVerdict::Warn,
                    (true, false) => CheckVerdict::Pass,
                };
                if let Some(failure) = failure.filter(|_| has_text) {
                    let text = format!("resound: {failure}\n  {}\n", failure.advice());
                    let _ = StdStream::Stderr.write_all(text.as_bytes());
                }
                let [tries, ok] = [tries, ok].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
                TestedCheck { tries, ok, evidence, ..TestedCheck::new(MESSAGES, verdict, summary) }
            }
        };
        self.view.lock().add(check);
        Ok(())
    }

    /// The first connection may have met no server of messages although there is one: another one
    /// shows it.
    async fn messages_again(&self, start: Instant) {
        let Some(first) = self.not_sent.get() else { return };
        let first_word = self.path_of(None).first_word();
        let connect = &self.plan.connect;
        let ended = async {
            // One attempt: where that fails, the server is gone.
            let stream = resound::dial(&connect.address, connect.dial).await?;
            let stream = connect.before.prepare(stream, connect.dial.timeout).await?;
            check::run(self.plan, stream, self.task.expect, first_word, start, &mut io::sink()).await
        };
        let check = match ended.await {
            Ok(MessagesEnd::Judged { ok, tries, summary, evidence, .. }) => {
                let verdict = if ok == tries { CheckVerdict::Flaky } else { CheckVerdict::Fail };
                let [tries, ok] = [tries + 1, ok].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
                let summary = format!("{first}; on another connection {summary}");
                TestedCheck { tries, ok, evidence, ..TestedCheck::new(MESSAGES, verdict, summary) }
            }
            // It is no server of messages, or the path's checks say why there is no connection.
            _ => return,
        };
        self.view.lock().add_instead(check);
    }

    /// Whether another connection is made, soon.
    async fn connects_again(&self, start: Instant) -> bool {
        let connect = &self.plan.connect;
        let left = self.plan.timeout.map_or(SECOND_CONNECT, |limit| limit.saturating_sub(start.elapsed()));
        let again = async {
            let stream = resound::dial(&connect.address, connect.dial).await.ok()?;
            connect.before.prepare(stream, SECOND_CONNECT).await.ok()
        };
        tokio::time::timeout(left.min(SECOND_CONNECT), again).await.is_ok_and(|stream| stream.is_some())
    }

    /// A server's certificate may be too large for the path. In the smallest segments it comes.
    async fn has_tls_in_small_segments(&self) -> bool {
        let connect = &self.plan.connect;
        let small = DialOptions { max_segment: Some(SMALL_SEGMENT), ..connect.dial };
        let Ok(stream) = resound::dial(&connect.address, small).await else { return false };
        connect.before.prepare(stream, connect.dial.timeout).await.is_ok()
    }

    /// Whether the server speaks TLS, and this connection does not.
    fn lacks_tls(&self, error: &anyhow::Error) -> bool {
        let failure = error.downcast_ref::<ClientFailure>();
        self.plan.connect.before.tls.is_none() && failure.is_some_and(|failure| failure.class == FailureClass::Tls)
    }

    /// Nothing could be sent: no connection or no TLS was made, or that broke.
    fn not_sent(&self, error: &anyhow::Error) {
        let mut view = self.view.lock();
        if view.has_text() {
            say(&format!("{error:#}"));
        }
        if self.task.has_messages {
            view.add(TestedCheck::new(MESSAGES, CheckVerdict::Unknown, format!("not judged: {error:#}")));
        }
    }

    /// The path's checks, as they were chosen.
    fn path_of(&self, selection: Option<&PathSelection>) -> Path {
        let connect = &self.plan.connect;
        let family = match (connect.dial.family, connect.dial.source_address) {
            (Family::Any, Some(source)) if source.is_ipv4() => Family::V4,
            (Family::Any, Some(_)) => Family::V6,
            (family, _) => family,
        };
        let dial = DialOptions { deadline: None, family, ..connect.dial };
        let mut path = chosen(Path::to(connect.address.clone()).dial(dial), selection);
        if let Some(tls) = &connect.before.tls {
            path = path.tls(tls.client().clone());
        }
        if let Some(proxy) = connect.before.send_proxy.clone() {
            let first_bytes: FirstBytes =
                std::sync::Arc::new(move |local, peer| proxy.header(local, peer).map_err(io::Error::other));
            path = path.first_bytes(first_bytes);
        }
        path
    }

    async fn path(&self, selection: &PathSelection, start: Instant) {
        let path = self.path_of(Some(selection));
        self.view.lock().expect(path.checks().collect());
        // `connect` says why the others cannot be tried.
        let path = match selection.only.is_empty() {
            true => path,
            false => path.only(selection.only.iter().copied().chain([CheckId::Connect])),
        };
        let tell = |progress: resound_verdict::Progress<'_>| self.view.lock().on(progress);
        let mut checks = std::pin::pin!(path.check_and_tell(&tell));
        let mut ticks = tokio::time::interval(TICK);
        let reports = loop {
            tokio::select! {
                reports = &mut checks => break reports,
                _ = ticks.tick() => self.view.lock().tick(),
            }
        };
        let answers = |report: &PathReport| matches!(report.far, FarKind::Probe | FarKind::Echo | FarKind::Reply);
        if reports.iter().any(answers) {
            self.messages_again(start).await;
        }
        self.view.lock().finish(&reports);
    }

    /// The checks of the path are left out, and why.
    fn skip_path(&self, why: &str) {
        let mut view = self.view.lock();
        for id in CheckId::ALL {
            view.add(TestedCheck::new(id.name(), CheckVerdict::Skip, why));
        }
    }

    /// Runs the checks against a server of this process: what fails there is left out.
    async fn check_itself(&self, path: &mut PathSelection) -> Result<()> {
        let own = OwnServer::start(self.plan.connect.before.tls.is_some())?;
        let quick = PathSelection { idle: None, connections: None, profile: Default::default(), ..path.clone() };
        let mut checks = chosen(Path::to(own.address.clone()), Some(&quick));
        if let Some(tls) = own.tls()? {
            checks = checks.tls(tls.client().clone());
        }
        let reports = checks.check().await;
        let found = reports.iter().flat_map(|report| &report.checks);
        let (mut passed, mut text) = (0, String::new());
        for check in found {
            match check.verdict {
                CheckVerdict::Pass | CheckVerdict::Warn => passed += 1,
                CheckVerdict::Skip => {}
                verdict => {
                    text +=
                        &format!("self-check: {} is left out: {verdict} on loopback: {}\n", check.id, check.summary);
                    path.skip.push(check.id);
                    self.view.lock().left_out.push(check.id);
                }
            }
        }
        self.view.lock().print(&format!("self-check: {passed} checks pass against a server of this program\n{text}\n"));
        Ok(())
    }

    /// Prints the verdict, and saves the reports.
    fn conclude(&self, ended: Result<Option<CutShort>>) -> Result<ExitCode> {
        let mut view = self.view.lock();
        let error = match ended {
            Ok(None) => None,
            Ok(Some(why)) => {
                view.cut(why);
                None
            }
            Err(error) if is_of_network(&error) => Some(error),
            Err(error) => return Err(error),
        };
        if let Some(error) = &error {
            view.record.error = Some(format!("{error:#}"));
            if view.record.addresses.is_empty() {
                view.add(TestedCheck::new(CheckId::Connect.name(), CheckVerdict::Fail, format!("{error:#}")));
            }
        } else {
            view.conclude();
        }
        signals::exit_at_signal();
        let is_saved = self.save(&view);
        let code = view.record.exit_code();
        match (error, view.record.cut_short) {
            (Some(error), _) => return Err(error),
            (None, Some(CutShort::Timeout)) if code == exit::NETWORK => {
                return Err(late(self.plan.timeout.unwrap_or_default()));
            }
            (None, Some(CutShort::Timeout)) => {
                say(&late(self.plan.timeout.unwrap_or_default()).to_string());
            }
            _ => {}
        }
        Ok(ExitCode::from(if is_saved || code != 0 { code } else { exit::USAGE }))
    }

    /// Writes the reports. A file that cannot be written hides no other.
    fn save(&self, view: &TestView<'_>) -> bool {
        let (output, record) = (&self.task.output, &view.record);
        let mut saved = true;
        if let Some(path) = &output.junit {
            saved &= report::files::is_saved(path, junit::render(record).as_bytes());
        }
        if let Some(path) = &output.html {
            saved &= report::files::is_saved(path, page::render(record).as_bytes());
        }
        if let Some(path) = &output.json {
            let document = json::object(&document::TestDocument::of(record));
            match path.as_os_str() == "-" {
                true => drop(ResultOutput.write_all(&document)),
                false => saved &= report::files::is_saved(path, &document),
            }
        }
        saved
    }
}

/// A path with the chosen checks.
fn chosen(path: Path, selection: Option<&PathSelection>) -> Path {
    let Some(selection) = selection else { return path };
    let mut path = path.profile(selection.profile).seed(selection.seed);
    path = path.only(selection.only.iter().copied()).skip(selection.skip.iter().copied());
    if let Some(longest) = selection.idle {
        path = path.idle(longest);
    }
    if selection.finds_idle_timeout {
        path = path.find_idle_timeout();
    }
    match selection.connections {
        Some(most) => path.connections(most),
        None => path,
    }
}

/// Did the network fail, and not this machine or the command?
fn is_of_network(error: &anyhow::Error) -> bool {
    let of_dial = error.downcast_ref::<DialError>().and_then(|error| error.class);
    let of_client = error.downcast_ref::<ClientFailure>().map(|failure| failure.class);
    of_dial.or(of_client).is_some_and(|class: FailureClass| class != FailureClass::Mismatch)
}

/// Did TLS's handshake not end, or a record not arrive as it was sent?
fn is_of_tls_on_its_way(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ClientFailure>().is_some_and(|failure| failure.is_of_tls_on_its_way)
}
