//! [`TestView`]: records the checks of a path as they come, and prints them in a stable order.

use std::io::{self, IsTerminal, Write};
use std::time::{Instant, SystemTime};

use resound::Address;
use resound_verdict::{CheckId, CheckReport, CheckVerdict, FarKind, PathReport, Profile, Progress};

use super::record::{CutShort, TestRecord, TestedAddress, TestedCheck};
use super::{again, table};
use crate::client::plan::{PathSelection, TestTask};
use crate::colour::{Colour, can_draw};
use crate::report::live::Screen;
use crate::units;

/// What a test has found, and how much of it stands in the output.
pub(super) struct TestView<'a> {
    pub(super) record: TestRecord,
    task: &'a TestTask,
    target: Address,
    out: Box<dyn Write + Send>,
    /// Checks are printed one by one.
    has_text: bool,
    is_verbose: bool,
    colour: Colour,
    /// Below the last line, on a terminal.
    screen: Option<Screen>,
    /// The checks of the path to come, in order.
    wanted: Vec<CheckId>,
    /// The present address has the line above its checks.
    has_heading: bool,
    /// Those of the present address that are printed, or need not be.
    printed: usize,
    /// The present address, once its checks have begun.
    present: Option<usize>,
    began: Instant,
    /// Checks that fail against this program's own server.
    pub(super) left_out: Vec<CheckId>,
}

impl<'a> TestView<'a> {
    pub(super) fn new(
        task: &'a TestTask,
        target: &Address,
        is_verbose: bool,
        out: impl Write + Send + 'static,
    ) -> Self {
        let is_json = task.output.json.as_ref().is_some_and(|path| path.as_os_str() == "-");
        let has_text = !is_json && !task.output.quiet;
        let is_partial = task.path.as_ref().is_none_or(|path| !path.only.is_empty() || !path.skip.is_empty());
        let is_screen = io::stdout().is_terminal() && io::stderr().is_terminal() && can_draw();
        let record = TestRecord {
            target: target.to_string(),
            started: SystemTime::now(),
            profile: task.path.as_ref().map(|path| path.profile).unwrap_or_default(),
            seed: task.path.as_ref().map_or(0, |path| path.seed),
            strict: task.strict,
            is_partial,
            has_path: task.path.is_some(),
            cut_short: None,
            error: None,
            addresses: Vec::new(),
        };
        Self {
            record,
            task,
            target: target.clone(),
            out: Box::new(out),
            has_text,
            is_verbose,
            colour: Colour::of(&io::stdout()),
            screen: (has_text && is_screen).then(|| Screen::new(false)),
            wanted: Vec::new(),
            has_heading: false,
            printed: 0,
            present: None,
            began: Instant::now(),
            left_out: Vec::new(),
        }
    }

    pub(super) fn has_text(&self) -> bool {
        self.has_text
    }

    /// Prints text above the progress, if there is any text.
    pub(super) fn print(&mut self, text: &str) {
        if !self.has_text || text.is_empty() {
            return;
        }
        if let Some(screen) = &mut self.screen {
            screen.draw(|_, _| Vec::new());
        }
        // Writing to stdout never fails: see its type.
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }

    /// A connection to this address was made for the messages.
    pub(super) fn connected(&mut self, address: String) {
        self.record.addresses.push(TestedAddress { was_connected: true, ..TestedAddress::new(address) });
    }

    /// Records what became of the messages, or what stands in the way of the path's checks.
    pub(super) fn add(&mut self, mut check: TestedCheck) {
        if self.record.addresses.is_empty() {
            self.record.addresses.push(TestedAddress::new(self.record.target.clone()));
        }
        let Some(address) = self.record.addresses.first_mut() else { return };
        if check.is_remarkable() {
            check.reproduce = Some(again::command(self.task, &self.target, address.family, check.id));
        }
        address.checks.push(check);
    }

    /// What has become of the messages is known better.
    pub(super) fn add_instead(&mut self, check: TestedCheck) {
        self.head();
        self.print(&table::check(&check, self.colour, self.is_verbose));
        for address in &mut self.record.addresses {
            address.checks.retain(|known| known.id != check.id);
        }
        self.add(check);
    }

    /// The checks of the path begin: these.
    pub(super) fn expect(&mut self, wanted: Vec<CheckId>) {
        self.wanted = wanted;
    }

    pub(super) fn on(&mut self, progress: Progress<'_>) {
        match progress {
            Progress::Begins(address) => self.begins(address.to_string()),
            Progress::Greets(far, name) => self.greets(far, name),
            Progress::Announces(what) => self.print(&format!("{what}\n")),
            Progress::Checked(report) => self.checked(report),
            _ => {}
        }
    }

    fn begins(&mut self, address: String) {
        self.add_unasked();
        self.end_address();
        let known = self.record.addresses.iter().position(|known| known.address == address);
        self.present = Some(known.unwrap_or_else(|| {
            self.record.addresses.push(TestedAddress::new(address.clone()));
            self.record.addresses.len() - 1
        }));
        (self.printed, self.began, self.has_heading) = (0, Instant::now(), false);
        let profile = profile_name(self.record.profile);
        let before = if self.record.checks().next().is_some() { "\n" } else { "" };
        self.print(&format!("{before}Path to {address}: {profile}, seed {}\n", self.record.seed));
        self.tick();
    }

    /// It is known what answers.
    fn greets(&mut self, far: FarKind, name: Option<&str>) {
        let Some(at) = self.present else { return };
        let address = &mut self.record.addresses[at];
        (address.far, address.far_name) = (Some(far), name.map(Into::into));
        let text = format!("far end: {}\n", table::far_end(address));
        self.print(&text);
        self.print_done(at);
        self.tick();
    }

    /// Prints the line above the checks, once.
    fn head(&mut self) {
        if !std::mem::replace(&mut self.has_heading, true) {
            self.print(&format!("\n{}", table::HEADING));
        }
    }

    fn checked(&mut self, report: &CheckReport) {
        let at = match self.present {
            Some(at) => at,
            // A name without an address has one report alone.
            None => {
                self.begins(self.record.target.clone());
                self.head();
                0
            }
        };
        let address = &mut self.record.addresses[at];
        let mut check = TestedCheck::of(report);
        let is_unasked = !self.wanted.contains(&report.id);
        if is_unasked && report.ok > 0 {
            return;
        }
        if check.verdict == CheckVerdict::Fail && report.id == CheckId::Connect && address.was_connected {
            // The first connection was made: the path is not shown to be the cause.
            check.verdict = CheckVerdict::Unknown;
            check.summary = format!("one connection succeeded, and further ones fail: {}", check.summary);
        }
        if check.is_remarkable() {
            check.reproduce = Some(again::command(self.task, &self.target, address.family, report.id.name()));
        }
        // It says why the others cannot be tried.
        let text = if is_unasked { table::check(&check, self.colour, self.is_verbose) } else { String::new() };
        address.checks.push(check);
        self.print(&text);
        self.print_done(at);
        self.tick();
    }

    /// Prints the checks that are done up to the first that is not.
    fn print_done(&mut self, at: usize) {
        // What answers there is printed before.
        if !self.has_heading && self.record.addresses[at].far.is_none() {
            return;
        }
        let mut text = String::new();
        while let Some(id) = self.wanted.get(self.printed) {
            let mut checks = self.record.addresses[at].checks.iter();
            let Some(check) = checks.find(|check| check.id == id.name()) else { break };
            if check.verdict != CheckVerdict::Skip {
                text += &table::check(check, self.colour, self.is_verbose);
            }
            self.printed += 1;
        }
        if !text.is_empty() {
            self.head();
        }
        self.print(&text);
    }

    /// Draws how far the checks are.
    pub(super) fn tick(&mut self) {
        let (Some(at), Some(screen)) = (self.present, &mut self.screen) else { return };
        let checks = &self.record.addresses[at].checks;
        let is_open = |id: &&CheckId| !checks.iter().any(|check| check.id == id.name());
        let open: Vec<_> = self.wanted.iter().filter(is_open).map(|id| id.name()).collect();
        let (done, all) = (self.wanted.len() - open.len(), self.wanted.len());
        let line = format!("{done} of {all} done after {}: {}", units::elapsed(self.began.elapsed()), open.join(", "));
        screen.draw(|columns, _| match open.is_empty() {
            true => Vec::new(),
            false => vec![line.chars().take(columns.saturating_sub(1)).collect()],
        });
    }

    /// What was not printed in order, and the checks that were not tried.
    fn end_address(&mut self) {
        let Some(at) = self.present.take() else { return };
        self.head();
        let address = &self.record.addresses[at];
        let mut text = String::new();
        for id in self.wanted.iter().skip(self.printed) {
            let done = address.checks.iter().find(|check| check.id == id.name());
            let done = done.filter(|check| check.verdict != CheckVerdict::Skip);
            text.extend(done.map(|check| table::check(check, self.colour, self.is_verbose)));
        }
        text += &table::skips(address, self.colour);
        self.print(&text);
    }

    /// The checks of the path are done.
    pub(super) fn finish(&mut self, reports: &[PathReport]) {
        for report in reports {
            let mut known = self.record.addresses.iter_mut();
            if let Some(address) = known.find(|address| address.address == report.address) {
                address.finish(report);
            }
        }
        // Before the skips of an address are printed, they get those of the profile.
        self.add_unasked();
        self.end_address();
    }

    /// Checks that this profile leaves out are named, with what asks for them.
    fn add_unasked(&mut self) {
        let Some(path) = &self.task.path else { return };
        self.record.is_partial |= !self.left_out.is_empty();
        for address in self.record.addresses.iter_mut().filter(|address| address.far.is_some()) {
            let left_out = self.left_out.iter().map(|id| (*id, "fails against this program's own server on loopback"));
            for (id, why) in left_out.chain(unasked(path)) {
                if !address.checks.iter().any(|check| check.id == id.name()) {
                    address.checks.push(TestedCheck::new(id.name(), CheckVerdict::Skip, why));
                }
            }
            address.sort();
        }
    }

    /// The test ends before its checks.
    pub(super) fn cut(&mut self, why: CutShort) {
        self.record.cut_short = Some(why);
        let open: Vec<_> = match self.present {
            Some(at) => {
                let checks = &self.record.addresses[at].checks;
                self.wanted.iter().filter(|id| !checks.iter().any(|check| check.id == id.name())).collect()
            }
            None => Vec::new(),
        };
        let open: Vec<_> = open.into_iter().map(|id| id.name()).collect();
        self.end_address();
        if !open.is_empty() {
            self.print(&format!("cut short, not done: {}\n", open.join(", ")));
        }
    }

    /// The last lines: the verdict on each address.
    pub(super) fn conclude(&mut self) {
        self.end_address();
        self.screen = None;
        let is_json = self.task.output.json.as_ref().is_some_and(|path| path.as_os_str() == "-");
        if is_json {
            return;
        }
        let line = |address| table::verdict(&self.record, address, !self.has_text, self.colour);
        let lines = self.record.addresses.iter().map(line);
        let space = if self.has_text { "\n" } else { "" };
        let text = space.to_string() + &lines.collect::<String>();
        let _ = self.out.write_all(text.as_bytes());
    }
}

/// The checks that need a flag of their own, and which.
fn unasked(path: &PathSelection) -> Vec<(CheckId, &'static str)> {
    if !path.only.is_empty() {
        return Vec::new();
    }
    let all = [
        (CheckId::HalfClosedIdle, "not in the quick profile: --thorough"),
        (CheckId::Idle, "not in the quick profile: --thorough, or --idle DURATION"),
        (CheckId::Cap, "only with --connections N"),
        (CheckId::Responsiveness, "not in the quick profile: --thorough"),
    ];
    all.into_iter().filter(|(id, _)| !path.skip.contains(id)).collect()
}

/// The word for a profile.
pub(super) fn profile_name(profile: Profile) -> &'static str {
    match profile {
        Profile::Quick => "quick",
        Profile::Thorough => "thorough",
    }
}
