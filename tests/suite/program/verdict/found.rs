//! What a run of `resound test` has found, for comparing.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{iter, thread};

use serde_json::Value;
use wait_timeout::ChildExt;

use crate::child::Program;

/// A run that takes longer hangs: checks of a broken path wait for retransmissions.
const LONGEST: Duration = Duration::from_secs(300);

/// What one run has found: `fail mtu-out out`, `warn address out`, for one address.
pub(super) type Found = BTreeSet<String>;

/// The findings of a run, one set for each address; `messages` belong to none.
pub(super) struct FoundAll {
    pub(super) each: Vec<(String, Found)>,
    pub(super) stdout: String,
    pub(super) took: Duration,
}

impl FoundAll {
    /// Runs `resound`, whose stdout is the document of a test, to its end.
    pub(super) fn of(args: &[&str]) -> Result<Self, String> {
        Self::from(Program::command(args)).map_err(|error| format!("{args:?}: {error}"))
    }

    /// The same of another command.
    pub(super) fn from(mut command: Command) -> Result<Self, String> {
        let start = Instant::now();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the program starts");
        let from = child.stdout.take().expect("stdout is piped");
        let reader = std::thread::spawn(move || std::io::read_to_string(from).unwrap_or_default());
        if child.wait_timeout(LONGEST).expect("wait").is_none() {
            child.kill().expect("kill");
            child.wait().expect("wait");
            return Err("it hangs".into());
        }
        let stdout = reader.join().expect("stdout");
        let document: Value =
            serde_json::from_str(&stdout).map_err(|error| format!("no document: {error}: {stdout}"))?;
        let mut each: Vec<(String, Found)> = Vec::new();
        for check in document["checks"].as_array().ok_or("no checks")? {
            let word = |name: &str| check[name].as_str().unwrap_or_default();
            let (id, verdict, address) = (word("id"), word("verdict"), word("address"));
            if id == "messages" {
                continue;
            }
            let known = each.iter().position(|(known, _)| known == address);
            let at = known.unwrap_or_else(|| {
                each.push((address.into(), Found::new()));
                each.len() - 1
            });
            if verdict != "pass" && verdict != "skip" {
                each[at].1.insert(format!("{verdict} {id} {}", word("direction")).trim_end().into());
            }
        }
        Ok(Self { each, stdout, took: start.elapsed() })
    }

    /// What differs from what is wanted, of each address. What cannot be judged is compared only
    /// where it is wanted; a path that loses packets may make a check flaky.
    pub(super) fn differences(&self, wanted: &[&str], is_lossy: bool) -> Vec<String> {
        let wanted: Found = wanted.iter().map(ToString::to_string).collect();
        let is_judged = |found: &str| {
            let word = found.split(' ').next().unwrap_or_default();
            word == "fail" || word == "warn" || word == "error" || (word == "flaky" && !is_lossy)
        };
        let mut wrong = Vec::new();
        for (address, found) in &self.each {
            let may: Vec<_> = wanted.iter().filter_map(|wanted| wanted.strip_prefix("may ")).collect();
            for missing in wanted.iter().filter(|wanted| !wanted.starts_with("may ") && !found.contains(*wanted)) {
                wrong.push(format!("{address}: missing: {missing}; found: {found:?}"));
            }
            for more in found.iter().filter(|found| is_judged(found)) {
                if !wanted.contains(more) && !may.contains(&more.as_str()) {
                    wrong.push(format!("{address}: not wanted: {more}"));
                }
            }
        }
        wrong
    }
}

/// A program that is not ours; ended with the test.
pub(super) struct Foreign(Child);

impl Foreign {
    pub(super) fn start(command: &mut Command) -> Self {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(quiet.spawn().expect("it was found before"))
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // nginx and socat have children of their own, which they end at SIGTERM.
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait_timeout(Duration::from_secs(5));
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What each run has shown, with so many of them at once.
pub(super) fn each_of<T: Send>(runs: usize, at_once: usize, run: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                for at in iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed)).take_while(|at| *at < runs) {
                    let one = run(at);
                    found.lock().unwrap().push(one);
                }
            });
        }
    });
    found.into_inner().unwrap()
}
