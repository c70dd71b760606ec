//! [`SavedTerminal`]: the terminal as it was found, and how it is given back.

/// How the terminal was before the editor changed it.
pub(super) struct SavedTerminal {
    #[cfg(unix)]
    modes: Option<rustix::termios::Termios>,
}

#[cfg(unix)]
mod unix {
    use std::fs::OpenOptions;
    use std::io::{self, IsTerminal};

    use rustix::process::{Signal, kill_current_process_group};
    use rustix::termios::{
        InputModes, LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, tcflush, tcgetattr, tcsetattr,
    };

    use crate::client::interactive::saved_terminal::SavedTerminal;

    impl SavedTerminal {
        pub(crate) fn remember() -> Self {
            Self { modes: tcgetattr(io::stdin()).ok() }
        }

        /// Leaves each key to the editor, Ctrl+C and Ctrl+D too.
        pub(crate) fn keep_keys(&self) {
            if let Some(mut modes) = self.modes.clone() {
                modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
                modes.input_modes -= InputModes::BRKINT | InputModes::ICRNL | InputModes::ISTRIP | InputModes::IXON;
                modes.special_codes[SpecialCodeIndex::VMIN] = 1;
                modes.special_codes[SpecialCodeIndex::VTIME] = 0;
                let _ = tcsetattr(io::stdin(), OptionalActions::Now, &modes);
            }
        }

        pub(crate) fn restore(&self) {
            if let Some(modes) = &self.modes {
                let _ = tcsetattr(io::stdin(), OptionalActions::Now, modes);
            }
        }

        /// What was typed and not read was not meant for the shell.
        pub(crate) fn forget_keys(&self) {
            let _ = tcflush(io::stdin(), QueueSelector::IFlush);
        }

        /// Stops the program, as a shell's Ctrl+Z does. Where no shell could continue it (POSIX: in
        /// an orphaned process group) it goes on.
        pub(crate) fn stop(&self) {
            if !resound::system::ignores_signal(Signal::TSTP.as_raw()) {
                let _ = kill_current_process_group(Signal::TSTP);
            }
        }

        /// What is still said, of an error for one, must not wait for a terminal that takes
        /// nothing.
        pub(crate) fn give_up(&self) {
            if io::stderr().is_terminal()
                && let Ok(nowhere) = OpenOptions::new().write(true).open("/dev/null")
            {
                let _ = rustix::stdio::dup2_stderr(&nowhere);
            }
        }
    }
}

#[cfg(not(unix))]
impl SavedTerminal {
    pub(super) fn remember() -> Self {
        Self {}
    }

    pub(super) fn keep_keys(&self) {
        // Asked whether it understands escape sequences, the console is made to.
        let _ = crossterm::ansi_support::supports_ansi();
        let _ = crossterm::terminal::enable_raw_mode();
    }

    pub(super) fn restore(&self) {
        let _ = crossterm::terminal::disable_raw_mode();
    }

    pub(super) fn forget_keys(&self) {}

    pub(super) fn stop(&self) {}

    pub(super) fn give_up(&self) {}
}
