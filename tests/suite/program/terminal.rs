//! The program at a terminal: a pseudo-terminal, driven and read as a person would.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use tempfile::TempDir;

use crate::child::Program;
use crate::harness::{PATIENCE, eventually};

/// What draws the window.
enum Emulator {
    /// An emulator that cuts its rows off when it becomes narrower, and does not report the cursor.
    Cutting(Box<vt100::Parser>),
    /// An emulator that wraps its rows anew, and reports the cursor.
    Wrapping(Box<avt::Terminal>),
}

/// The question where the cursor is.
const WHERE: &str = "\x1b[6n";
/// What is written between these appears at once.
const DRAWING: [&str; 2] = ["\x1b[?2026h", "\x1b[?2026l"];

impl Emulator {
    fn feed(&mut self, text: &str) {
        match self {
            Self::Cutting(emulator) => emulator.process(text.as_bytes()),
            Self::Wrapping(emulator) => emulator.feed(text),
        }
    }

    fn resize(&mut self, rows: u16, cols: u16) {
        match self {
            Self::Cutting(emulator) => emulator.screen_mut().set_size(rows, cols),
            Self::Wrapping(emulator) => emulator.resize(cols.into(), rows.into()),
        }
    }

    fn contents(&self) -> String {
        match self {
            Self::Cutting(emulator) => emulator.screen().contents(),
            Self::Wrapping(emulator) => emulator.screen().text().join("\n"),
        }
    }

    /// Row and column of the cursor, from 0, where the emulator reports it.
    fn cursor(&self) -> Option<(usize, usize)> {
        match self {
            Self::Cutting(_) => None,
            Self::Wrapping(emulator) => Some((emulator.cursor().row, emulator.cursor().col)),
        }
    }
}

const SIZE: PtySize = PtySize { rows: 60, cols: 100, pixel_width: 0, pixel_height: 0 };

/// A terminal that runs the program.
pub(crate) struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    keys: Box<dyn Write + Send>,
    bytes: Receiver<Vec<u8>>,
    emulator: Emulator,
    /// The beginning of a drawing, or of a character, whose rest has not come.
    begun: Vec<u8>,
    /// What the program wrote, as it wrote it.
    pub(crate) written: String,
    master: Box<dyn MasterPty + Send>,
    /// A size that the program sees before the next answer to its question for the cursor.
    told_late: Option<(u16, u16)>,
    /// The read end of a terminal that the test does not read.
    unread: Option<Box<dyn Read + Send>>,
    /// What the program remembers of a user goes here.
    _state: Option<TempDir>,
}

impl Terminal {
    /// A user without a history.
    pub(crate) fn start(args: &[&str]) -> Self {
        let state = TempDir::new().unwrap();
        let mut terminal = Self::start_with(args, state.path(), &[]);
        terminal._state = Some(state);
        terminal
    }

    /// A user with this folder of state, and this in the environment.
    pub(crate) fn start_with(args: &[&str], state: &Path, environment: &[(&str, &str)]) -> Self {
        Self::start_on(args, state, environment, true)
    }

    /// A terminal that wraps its rows anew when its width changes, and a user without a history.
    pub(crate) fn start_wrapping(args: &[&str]) -> Self {
        let mut terminal = Self::start(args);
        terminal.emulator = Emulator::Wrapping(Box::new(avt::Terminal::with_scrollback(100, 60, None).unwrap()));
        terminal
    }

    /// A terminal whose output the test does not read.
    pub(crate) fn start_unread(args: &[&str], state: &Path) -> Self {
        Self::start_on(args, state, &[], false)
    }

    /// A terminal that another program has made non-blocking.
    pub(crate) fn start_nonblocking(args: &[&str], state: &Path) -> Self {
        use std::os::unix::fs::OpenOptionsExt;
        let pty = native_pty_system().openpty(SIZE).unwrap();
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        let terminal = std::fs::File::options()
            .read(true)
            .write(true)
            .custom_flags(flags.bits().cast_signed())
            .open(pty.master.tty_name().unwrap())
            .unwrap();
        let end = || terminal.try_clone().unwrap();
        let mut command = Program::command(args);
        command.env("TERM", "xterm-256color").env("XDG_STATE_HOME", state);
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        Self::of(Box::new(child), pty.master, true)
    }

    /// A shell that runs this script, in which `$resound` is the program.
    pub(crate) fn start_shell(script: &str) -> Self {
        let state = TempDir::new().unwrap();
        let mut command = CommandBuilder::new("sh");
        command.args(["-c", script]);
        command.env("resound", env!("CARGO_BIN_EXE_resound"));
        let mut terminal = Self::start_command(command, state.path(), &[], true);
        terminal._state = Some(state);
        terminal
    }

    fn start_on(args: &[&str], state: &Path, environment: &[(&str, &str)], is_read: bool) -> Self {
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_resound"));
        command.args(args);
        Self::start_command(command, state, environment, is_read)
    }

    fn start_command(mut command: CommandBuilder, state: &Path, environment: &[(&str, &str)], is_read: bool) -> Self {
        let pty = native_pty_system().openpty(SIZE).unwrap();
        command.env("TERM", "xterm-256color");
        command.env("XDG_STATE_HOME", state);
        for (name, value) in environment {
            command.env(name, value);
        }
        let child = pty.slave.spawn_command(command).unwrap();
        Self::of(child, pty.master, is_read)
    }

    fn of(child: Box<dyn Child + Send + Sync>, master: Box<dyn MasterPty + Send>, is_read: bool) -> Self {
        let mut reader = master.try_clone_reader().unwrap();
        let (send, bytes) = mpsc::channel();
        let mut unread = None;
        if !is_read {
            unread = Some(reader);
        } else {
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(n @ 1..) = reader.read(&mut buffer) {
                    if send.send(buffer[..n].to_vec()).is_err() {
                        return;
                    }
                }
            });
        }
        Self {
            child,
            keys: master.take_writer().unwrap(),
            bytes,
            emulator: Emulator::Cutting(Box::new(vt100::Parser::new(60, 100, 1000))),
            begun: Vec::new(),
            written: String::new(),
            master,
            told_late: None,
            unread,
            _state: None,
        }
    }

    /// The window gets another size.
    pub(crate) fn resize(&mut self, rows: u16, cols: u16) {
        self.emulator.resize(rows, cols);
        self.master.resize(PtySize { rows, cols, ..PtySize::default() }).unwrap();
    }

    /// The window gets another size, which the program sees only after it has asked for the cursor;
    /// before that it sees a size that the window no longer has.
    pub(crate) fn resize_late(&mut self, rows: u16, cols: u16, before: u16) {
        self.emulator.resize(rows, cols);
        self.master.resize(PtySize { rows, cols: before, ..PtySize::default() }).unwrap();
        self.told_late = Some((rows, cols));
        while self.told_late.is_some() {
            self.until_more();
        }
    }

    pub(crate) fn keys(&mut self, keys: &str) {
        self.bytes(keys.as_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.keys.write_all(bytes).unwrap();
        self.keys.flush().unwrap();
    }

    /// A line, and the Enter key.
    pub(crate) fn line(&mut self, line: &str) {
        self.keys(line);
        self.keys("\r");
    }

    /// What a person sees.
    pub(crate) fn screen(&self) -> String {
        self.emulator.contents().lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim_end().to_string()
    }

    /// Waits until the screen ends so.
    pub(crate) fn until(&mut self, end: &str) {
        self.wait_for(end, |screen| screen.ends_with(end));
    }

    /// Waits until this is somewhere on the screen.
    pub(crate) fn until_seen(&mut self, part: &str) {
        self.wait_for(part, |screen| screen.contains(part));
    }

    fn wait_for(&mut self, what: &str, is_there: impl Fn(&str) -> bool) {
        let limit = Instant::now() + PATIENCE;
        while !is_there(&self.screen()) {
            let left = limit.saturating_duration_since(Instant::now());
            let bytes = self.bytes.recv_timeout(left);
            self.take(&bytes.unwrap_or_else(|_| panic!("no {what:?} on this screen:\n{}", self.screen())));
        }
    }

    /// Waits until the program has written something more.
    pub(crate) fn until_more(&mut self) {
        let bytes = self.bytes.recv_timeout(PATIENCE).expect("more on the screen");
        self.take(&bytes);
    }

    fn take(&mut self, bytes: &[u8]) {
        self.begun.extend_from_slice(bytes);
        let text = self.begun.utf8_chunks().next().map_or("", |chunk| chunk.valid());
        assert!(self.begun.len() - text.len() < 4, "the program writes UTF-8: {:?}", self.begun);
        let [begin, end] = DRAWING;
        let drawing = text.rfind(begin).filter(|&at| !text[at..].contains(end));
        let beginning = text.rfind('\x1b').filter(|&at| begin.starts_with(&text[at..]));
        let whole = drawing.or(beginning).unwrap_or(text.len());
        let rest = self.begun.split_off(whole);
        let text = String::from_utf8(std::mem::replace(&mut self.begun, rest)).unwrap();
        for part in text.split_inclusive(WHERE) {
            self.emulator.feed(part);
            if let Some((row, column)) = self.emulator.cursor()
                && part.ends_with(WHERE)
            {
                if let Some((rows, cols)) = self.told_late.take() {
                    self.master.resize(PtySize { rows, cols, ..PtySize::default() }).unwrap();
                }
                self.keys(&format!("\x1b[{};{}R", row + 1, column + 1));
            }
        }
        self.written += &text;
    }

    /// Does the terminal work line by line and echo, as a shell wants it?
    #[cfg(unix)]
    pub(crate) fn is_as_a_shell_wants_it(&self) -> bool {
        use rustix::termios::LocalModes;
        let modes = self.master.get_termios().expect("the terminal's modes");
        let local = LocalModes::from_bits_retain(modes.local_flags.bits());
        local.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
            && self.written.rfind("\x1b[?2004l") >= self.written.rfind("\x1b[?2004h")
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.child.process_id().unwrap()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// Reads the first bytes of a terminal that is not read otherwise.
    pub(crate) fn glance(&mut self) {
        let reader = self.unread.as_mut().expect("a terminal that nobody reads");
        assert!(reader.read(&mut [0; 64]).unwrap() > 0);
    }

    /// Waits until the program has been stopped, or goes on.
    #[cfg(target_os = "linux")]
    pub(crate) fn until_stopped(&self, stopped: bool) {
        let stat = format!("/proc/{}/stat", self.child.process_id().unwrap());
        eventually("the program stops or goes on", || {
            let stat = std::fs::read_to_string(&stat).unwrap();
            stat.rsplit(')').next().unwrap().trim_start().starts_with('T') == stopped
        });
    }

    /// Waits for the end of a program whose terminal is not read.
    pub(crate) fn exit_code(self) -> u32 {
        exit_code(self.child)
    }

    /// The window of an unread terminal is closed, once the prompt is there. Waits for
    /// the end of the program.
    pub(crate) fn vanish(self) -> u32 {
        let Self { child, keys, master, unread, .. } = self;
        let mut unread = unread.expect("an unread terminal");
        let mut byte = [0];
        while byte != *b">" {
            unread.read_exact(&mut byte).unwrap();
        }
        drop((keys, master, unread));
        exit_code(child)
    }

    /// Waits for the end: exit code, and what a person sees then.
    pub(crate) fn end(mut self) -> (u32, String) {
        let limit = Instant::now() + PATIENCE;
        while let Ok(bytes) = self.bytes.recv_timeout(limit.saturating_duration_since(Instant::now())) {
            self.take(&bytes);
        }
        assert!(Instant::now() < limit, "the program has not ended; its screen:\n{}", self.screen());
        let code = self.child.wait().unwrap().exit_code();
        #[cfg(unix)]
        assert!(self.is_as_a_shell_wants_it(), "the terminal was not left as it was found");
        (code, self.screen())
    }
}

fn exit_code(mut child: Box<dyn Child + Send + Sync>) -> u32 {
    let mut status = None;
    eventually("the program ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap().exit_code()
}

#[test]
fn the_transcript_of_both_ends() {
    for engine in ["portable", "threads"] {
        let mut server = Terminal::start(&["server", "127.0.0.1", "0", "--engine", engine]);
        server.until("Waiting for client connections...");
        let screen = server.screen();
        let address = screen.lines().next().unwrap().strip_prefix("TCP Server started on ").unwrap();
        let port = address.rsplit(':').next().unwrap();

        let mut client = Terminal::start(&["client", "127.0.0.1", port]);
        client.until("\n>");
        client.line("Hello, server!");
        client.until("Server: Server received: Hello, server!\n>");
        client.line("quit");
        let (code, screen) = client.end();
        assert_eq!(code, 0);
        let want = format!(
            "Connected to server at {address}\n\
             Type messages to send to server (type 'quit' to exit):\n\
             > Hello, server!\n\
             Server: Server received: Hello, server!\n\
             > quit\n\
             Disconnected from server"
        );
        assert_eq!(screen, want);

        server.until_seen("Connection closed for (");
        server.until(")");
        server.keys("\x03");
        let (code, screen) = server.end();
        assert_eq!(code, 0, "{screen}");
        let peer = screen.split("from (").nth(1).unwrap().split(')').next().unwrap().to_string();
        let screen = screen.replace("^C", "");
        let (transcript, farewell) = screen.split_once("Shutting down").unwrap();
        let want = format!(
            "TCP Server started on {address}\n\
             Waiting for client connections...\n\
             New connection from ({peer})\n\
             Received from ({peer}): Hello, server!\n\
             Connection closed for ({peer})\n"
        );
        assert_eq!(transcript, want);
        assert!(farewell.ends_with("Server stopped: 1 connection, 1 message, 15 bytes in, 32 bytes out"), "{farewell}");
    }
}

#[test]
fn a_terminal_that_does_not_block_works() {
    let (_server, address) = Program::server(&["--quiet"]);
    let state = TempDir::new().unwrap();
    let mut client = Terminal::start_nonblocking(&["client", &address.to_string()], state.path());
    for n in 0..3 {
        client.until("\n>");
        client.line(&format!("message {n}"));
        client.until_seen(&format!("Server: Server received: message {n}"));
    }
    // More than a terminal takes at once.
    let file = state.path().join("long");
    std::fs::write(&file, format!("{}END\n", format!("{}\n", "0123456789".repeat(6000)).repeat(8))).unwrap();
    client.line(&format!("/send {}", file.display()));
    client.until("Server: Server received: END\n>");
    client.line("quit");
    let (code, screen) = client.end();
    assert_eq!(code, 0, "{screen}");
    assert!(screen.ends_with("Disconnected from server"), "{screen}");
    // What is drawn in place, and rows that come one by one.
    for args in [&["load", &address.to_string(), "--mode", "reply", "-d", "300ms"][..], &["test", &address.to_string()]]
    {
        let (code, screen) = Terminal::start_nonblocking(args, state.path()).end();
        assert_eq!(code, 0, "{screen}");
    }
}

#[test]
fn colours_can_be_chosen() {
    let (_server, address) = Program::server(&[]);
    let state = TempDir::new().unwrap();
    for (variables, colours) in [(&[][..], true), (&[("NO_COLOR", "1")], false)] {
        let mut terminal = Terminal::start_with(&["test", &address.to_string()], state.path(), variables);
        terminal.until_seen("6 of 6 checks passed");
        terminal.until_seen("VERDICT  ");
        assert_eq!(terminal.written.contains("\x1b[32mpass\x1b[0m"), colours, "{}", terminal.written);
        assert_eq!(terminal.written.contains("\x1b[32mpass     \x1b[0mconnect "), colours, "{}", terminal.written);
        // What was drawn meanwhile is gone.
        assert!(terminal.written.contains(" done after ") && !terminal.screen().contains(" done after "));
        assert_eq!(terminal.end().0, 0);
    }
}
