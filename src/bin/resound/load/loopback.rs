//! `--loopback`: a server of our own, in a process of its own, since descriptors are limited by process.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use resound::load::Mode;
use resound::{Address, Engine};

/// The server; it ends when this is dropped, and when this program is gone.
pub(super) struct Loopback {
    child: Child,
    pub(super) address: Address,
}

impl Loopback {
    pub(super) fn start(mode: Mode, engine: Engine) -> Result<Self> {
        let engine = match engine {
            Engine::Uring => "uring",
            Engine::Portable => "portable",
            Engine::Threads => "threads",
            _ => "auto",
        };
        let program = std::env::current_exe().context("cannot find this program to start a server")?;
        let mut command = Command::new(program);
        // Ctrl+C is for us: the server is to answer until we have heard the last of it.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command
            .args(["server", "127.0.0.1", "0", "--quiet", "--mode", mode.name(), "--engine", engine])
            // Longer than any pause of a run.
            .args(["--write-timeout", "off"])
            // However we end, this pipe is closed then.
            .arg("--while-stdin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a server")?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).context("the server says nothing")?;
        }
        let said = line.trim_end().rsplit(' ').next().unwrap_or_default();
        match said.parse() {
            Ok(address) => Ok(Self { child, address }),
            Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                bail!("the server did not start: {}", line.trim_end())
            }
        }
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
