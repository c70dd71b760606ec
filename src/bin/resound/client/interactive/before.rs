//! [`Before`]: the terminal as it was found, and how it is given back.

#[cfg(not(unix))]
use std::io::{self, Write};

/// Marks around what is pasted, and drawings that are to appear at once: off.
const PLAIN: &str = "\x1b[?2026l\x1b[?2004l";

/// How the terminal was before the editor changed it.
#[derive(Clone)]
pub(super) struct Before {
    #[cfg(unix)]
    modes: Option<rustix::termios::Termios>,
    /// While the program is stopped: the modes that the editor had set.
    #[cfg(unix)]
    edited: std::sync::Arc<std::sync::Mutex<Option<rustix::termios::Termios>>>,
}

#[cfg(unix)]
mod unix {
    use std::fs::{File, OpenOptions};
    use std::io::{self, IsTerminal, Write};
    use std::os::unix::fs::OpenOptionsExt;
    use std::sync::{Arc, MutexGuard, PoisonError};
    use std::time::{Duration, Instant};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::OFlags;
    use rustix::process::{Signal, getpid, kill_current_process_group, kill_process};
    use rustix::termios::{
        InputModes, LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush, tcgetattr,
        tcsetattr,
    };
    use tokio::signal::unix::{SignalKind, signal};

    use super::{Before, PLAIN};

    /// How long the terminal may take for the last words: one that is stuck must not keep us.
    const LAST_WORDS: Duration = Duration::from_millis(500);

    impl Before {
        pub(in super::super) fn remember() -> Self {
            Self { modes: tcgetattr(io::stdin()).ok(), edited: Arc::default() }
        }

        /// Between two lines, too, what is typed is left to the editor: the system would take Ctrl+C and Ctrl+D for its own.
        pub(in super::super) fn keep_keys(&self) {
            if let Some(mut modes) = self.modes.clone() {
                modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
                modes.input_modes -= InputModes::ICRNL | InputModes::IXON;
                modes.special_codes[SpecialCodeIndex::VMIN] = 1;
                modes.special_codes[SpecialCodeIndex::VTIME] = 0;
                let _ = tcsetattr(io::stdin(), OptionalActions::Now, &modes);
            }
        }

        /// Stops the program, as a shell's Ctrl+Z does, with the terminal as the shell wants it.
        pub(in super::super) fn suspend(&self) {
            if resound::ignores_signal(Signal::TSTP.as_raw()) {
                return;
            }
            let Ok(ours) = tcgetattr(io::stdin()) else { return };
            *self.edited() = Some(ours);
            if let Some(modes) = &self.modes {
                let _ = tcsetattr(io::stdin(), OptionalActions::Now, modes);
            }
            let _ = write!(io::stdout(), "{PLAIN}\r\n").and_then(|()| io::stdout().flush());
            // The other threads stop at once, this one perhaps a little later: so it does nothing more.
            let _ = kill_current_process_group(Signal::TSTP);
        }

        /// Takes the terminal again whenever the program goes on after [`Self::suspend`].
        pub(in super::super) fn resume_when_continued(&self) {
            let Ok(mut continued) = signal(SignalKind::from_raw(Signal::CONT.as_raw())) else { return };
            let before = self.clone();
            tokio::spawn(async move {
                while continued.recv().await.is_some() {
                    let Some(ours) = before.edited().take() else { continue };
                    let _ = tcsetattr(io::stdin(), OptionalActions::Now, &ours);
                    let _ = write!(io::stdout(), "\x1b[?2004h").and_then(|()| io::stdout().flush());
                    // The window may have another size by now; being told so, the editor draws its line anew.
                    let _ = kill_process(getpid(), Signal::WINCH);
                }
            });
        }

        fn edited(&self) -> MutexGuard<'_, Option<Termios>> {
            self.edited.lock().unwrap_or_else(PoisonError::into_inner)
        }

        /// Writes the last words, and ends what the editor's thread will not live to end: raw mode above all. What was typed and not read was not
        /// meant for the shell.
        pub(in super::super) fn restore(&self, last_words: &str) {
            // The editor cannot be stopped, and may be about to draw, or to change the modes. From now on it does so nowhere.
            let (keyboard, screen) = (rustix::io::dup(io::stdin()), rustix::io::dup(io::stdout()));
            if let Ok(nowhere) = OpenOptions::new().read(true).write(true).open("/dev/null") {
                let _ = rustix::stdio::dup2_stdout(&nowhere);
                let _ = rustix::stdio::dup2_stdin(&nowhere);
            }
            if let Ok(screen) = screen {
                say(screen.into(), &format!("{PLAIN}{last_words}"));
            }
            if let (Ok(keyboard), Some(modes)) = (keyboard, &self.modes) {
                let _ = tcflush(&keyboard, QueueSelector::IFlush);
                let _ = tcsetattr(&keyboard, OptionalActions::Now, modes);
            }
        }
    }

    /// Writes without waiting long for a terminal that is stuck.
    fn say(screen: File, words: &str) {
        // An opening of our own can be told not to block without the shell's being told so too.
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let own = OpenOptions::new().write(true).custom_flags(flags.bits().cast_signed()).open("/dev/tty");
        let mut screen = own.unwrap_or(screen);
        // What is still said, of an error for one, must not wait either.
        if io::stderr().is_terminal() {
            let _ = rustix::stdio::dup2_stderr(&screen);
            crate::stdio::hurry();
        }
        let (mut words, until) = (words.as_bytes(), Instant::now() + LAST_WORDS);
        while !words.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            let time = Timespec::try_from(left).ok();
            let ready = poll(&mut [PollFd::new(&screen, PollFlags::OUT)], time.as_ref());
            if left.is_zero() || ready == Ok(0) {
                return;
            }
            match screen.write(words) {
                Ok(n) => words = &words[n..],
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(_) => return,
            }
        }
    }
}

#[cfg(not(unix))]
impl Before {
    pub(super) fn remember() -> Self {
        Self {}
    }

    pub(super) fn keep_keys(&self) {}

    pub(super) fn resume_when_continued(&self) {}

    pub(super) fn restore(&self, last_words: &str) {
        let mut stdout = io::stdout().lock();
        let _ = write!(stdout, "{PLAIN}{last_words}").and_then(|()| stdout.flush());
    }
}
