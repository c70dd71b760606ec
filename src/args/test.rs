//! The flags of a test, of `resound test` and of `resound client HOST PORT test`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use resound_verdict::{CheckId, Profile};

use crate::client::{Expect, MESSAGES, PathSelection, TestOutput, TestTask};
use crate::units;

/// A heading in the help.
const TEST: &str = "Test";
/// How long the idle checks of `--find-idle-timeout` look, without --idle.
const LONGEST_IDLE: Duration = Duration::from_secs(20 * 60);

#[derive(Args)]
pub(super) struct TestFlags {
    /// Answer that the messages must get [default: reply, if the server answers messages]
    ///
    /// Without this flag, messages are sent only if the first answer shows that the server answers
    /// them, and nothing is sent to a server that speaks first.
    #[arg(help_heading = TEST, long, value_name = "WHAT", value_enum)]
    expect: Option<Expect>,
    /// Run also the checks that take long, in at most 90 s
    #[arg(help_heading = TEST, long)]
    thorough: bool,
    /// Look for connections that die while idle, for at most this long, such as 20m
    #[arg(help_heading = TEST, long, value_name = "DURATION", value_parser = units::duration)]
    idle: Option<Duration>,
    /// Look for the exact time after which an idle connection dies, up to --idle [20m]
    #[arg(help_heading = TEST, long)]
    find_idle_timeout: bool,
    /// Open up to N connections at once, and look for a limit
    #[arg(help_heading = TEST, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    connections: Option<u32>,
    /// Run these checks alone (repeatable, or with commas between)
    #[arg(help_heading = TEST, long, value_name = "CHECK", value_delimiter = ',', value_parser = check_name)]
    only: Vec<TestCheckName>,
    /// Leave these checks out (repeatable, or with commas between)
    #[arg(help_heading = TEST, long, value_name = "CHECK", value_delimiter = ',', value_parser = check_name)]
    skip: Vec<TestCheckName>,
    /// Seed of the bytes that are sent [default: drawn, and printed]
    #[arg(help_heading = TEST, long, value_name = "N")]
    seed: Option<u64>,
    /// Exit with 3 for a check that is flaky or warn, too
    #[arg(help_heading = TEST, long)]
    strict: bool,
    /// Write a JUnit report: a test case per check
    #[arg(help_heading = TEST, long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write a page with the path and the evidence, complete in one file, without scripts
    #[arg(help_heading = TEST, long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print the verdict line alone, with the names of the checks that did not pass
    #[arg(help_heading = TEST, short, long, conflicts_with = "verbose")]
    quiet: bool,
    /// Test a server of this program's own, on 127.0.0.1
    #[arg(help_heading = TEST, long, conflicts_with_all = ["send_proxy", "ipv6", "source_address"])]
    loopback: bool,
    /// Run the checks against a server of this program's own first, and leave out what fails there
    #[arg(help_heading = TEST, long)]
    self_check: bool,
}

/// A check on the command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum TestCheckName {
    Messages,
    OfPath(CheckId),
}

fn check_name(text: &str) -> Result<TestCheckName, String> {
    if text == MESSAGES {
        return Ok(TestCheckName::Messages);
    }
    if let Ok(id) = text.parse() {
        return Ok(TestCheckName::OfPath(id));
    }
    let names = || std::iter::once(MESSAGES).chain(CheckId::ALL.into_iter().map(CheckId::name));
    let begun: Vec<_> = names().filter(|name| !text.is_empty() && name.starts_with(text)).collect();
    let near = names().map(|name| (strsim::osa_distance(text, name), name)).min();
    let near = near.filter(|(distance, _)| *distance <= 2).map(|(_, name)| vec![name]);
    let meant = if begun.is_empty() { near.unwrap_or_default() } else { begun };
    Err(match &meant[..] {
        [] => format!("there is no check '{text}'; `resound test --help` lists them"),
        meant => format!("there is no check '{text}': perhaps {} was meant", meant.join(" or ")),
    })
}

impl TestFlags {
    /// What they mean. `json` is a flag of each command by itself, and `flags` lead to the server.
    pub(super) fn meaning(&self, json: Option<PathBuf>, flags: Vec<String>) -> Result<TestTask> {
        let has = |names: &[TestCheckName]| names.contains(&TestCheckName::Messages);
        let of_path = |names: &[TestCheckName]| -> Vec<CheckId> {
            let id = |name: &TestCheckName| match name {
                TestCheckName::Messages => None,
                TestCheckName::OfPath(id) => Some(*id),
            };
            names.iter().filter_map(id).collect()
        };
        let (only, skip) = (of_path(&self.only), of_path(&self.skip));
        let idle = self.idle.or(self.find_idle_timeout.then_some(LONGEST_IDLE));
        let path = PathSelection {
            profile: if self.thorough { Profile::Thorough } else { Profile::Quick },
            // Short enough to be typed again.
            seed: self.seed.unwrap_or_else(|| fastrand::u64(..1 << 32)),
            idle,
            finds_idle_timeout: self.find_idle_timeout,
            connections: self.connections,
            only,
            skip,
        };
        if !self.only.is_empty() && self.only.iter().all(|check| self.skip.contains(check)) {
            bail!("no check is left: --skip leaves out all that --only asks for");
        }
        let has_path = self.only.is_empty() || !path.only.is_empty();
        Ok(TestTask {
            expect: self.expect,
            has_messages: (self.only.is_empty() || has(&self.only)) && !has(&self.skip),
            path: has_path.then_some(path),
            output: TestOutput { json, junit: self.junit.clone(), html: self.html.clone(), quiet: self.quiet },
            strict: self.strict,
            loopback: self.loopback,
            self_check: self.self_check,
            flags,
        })
    }

    pub(super) fn has_own_server(&self) -> bool {
        self.loopback
    }

    /// The first of these flags that was given.
    pub(super) fn first_given(&self) -> Option<&'static str> {
        [
            (self.expect.is_some(), "--expect"),
            (self.thorough, "--thorough"),
            (self.idle.is_some(), "--idle"),
            (self.find_idle_timeout, "--find-idle-timeout"),
            (self.connections.is_some(), "--connections"),
            (!self.only.is_empty(), "--only"),
            (!self.skip.is_empty(), "--skip"),
            (self.seed.is_some(), "--seed"),
            (self.strict, "--strict"),
            (self.junit.is_some(), "--junit"),
            (self.html.is_some(), "--html"),
            (self.quiet, "--quiet"),
            (self.loopback, "--loopback"),
            (self.self_check, "--self-check"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_check_gets_the_nearest() {
        assert_eq!(check_name("messages"), Ok(TestCheckName::Messages));
        assert_eq!(check_name("mtu-in"), Ok(TestCheckName::OfPath(CheckId::MtuIn)));
        let says = |text, part: &str| {
            let error = check_name(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        says("half-close", "perhaps half-close-out or half-close-in or half-closed-idle was meant");
        says("intergity", "perhaps integrity was meant");
        says("mesages", "perhaps messages was meant");
        says("quux", "`resound test --help` lists them");
        says("", "--help");
    }
}
