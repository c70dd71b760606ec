//! [`SavedTerminal`]: the modes of the terminal before the editor changed them.

#[cfg(unix)]
use {
    rustix::process::{Signal, kill_current_process_group},
    rustix::termios::{self, InputModes, LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex},
    std::fs::File,
    std::io::{self, IsTerminal},
};

/// The saved modes.
pub(crate) struct SavedTerminal {
    #[cfg(unix)]
    modes: Option<rustix::termios::Termios>,
}

impl SavedTerminal {
    pub(crate) fn save() -> Self {
        Self {
            #[cfg(unix)]
            modes: termios::tcgetattr(io::stdin()).ok(),
        }
    }

    /// The editor gets each key, Ctrl+C and Ctrl+D too.
    pub(crate) fn enter_raw_mode(&self) {
        #[cfg(unix)]
        if let Some(mut modes) = self.modes.clone() {
            modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
            modes.input_modes -= InputModes::BRKINT | InputModes::ICRNL | InputModes::ISTRIP | InputModes::IXON;
            modes.special_codes[SpecialCodeIndex::VMIN] = 1;
            modes.special_codes[SpecialCodeIndex::VTIME] = 0;
            let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &modes);
        }
        #[cfg(not(unix))]
        {
            // This call also makes the console interpret escape sequences.
            let _ = crossterm::ansi_support::supports_ansi();
            let _ = crossterm::terminal::enable_raw_mode();
        }
    }

    pub(crate) fn restore(&self) {
        #[cfg(unix)]
        if let Some(modes) = &self.modes {
            let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, modes);
        }
        #[cfg(not(unix))]
        let _ = crossterm::terminal::disable_raw_mode();
    }

    /// Discards typed keys that nothing read: the shell must not execute them.
    pub(crate) fn discard_input(&self) {
        #[cfg(unix)]
        let _ = termios::tcflush(io::stdin(), QueueSelector::IFlush);
    }

    /// Stops the program, as a shell's Ctrl+Z does. In an orphaned process group (POSIX), where
    /// no shell could continue it, the program keeps running.
    pub(crate) fn stop(&self) {
        #[cfg(unix)]
        if !resound::system::ignores_signal(Signal::TSTP.as_raw()) {
            let _ = kill_current_process_group(Signal::TSTP);
        }
    }

    /// Detaches stderr from a terminal that accepts nothing, so that a last message cannot
    /// block.
    pub(crate) fn detach_stderr(&self) {
        #[cfg(unix)]
        if io::stderr().is_terminal()
            && let Ok(nowhere) = File::options().write(true).open("/dev/null")
        {
            let _ = rustix::stdio::dup2_stderr(&nowhere);
        }
    }
}
