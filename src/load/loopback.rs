//! `--loopback`: a server of our own, in a process of its own, since descriptors are limited by process.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use resound::tls::Fingerprint;
use resound::{Address, Engine};
use resound_load::Mode;

/// The server; it ends when this is dropped, and when this program is gone.
pub(super) struct Loopback {
    child: Child,
    pub(super) address: Address,
    /// The one certificate to trust, where it speaks TLS.
    pub(super) pin: Option<Fingerprint>,
}

impl Loopback {
    /// `tls` and `proxy` say what comes first on each of its connections.
    pub(super) fn start(mode: Mode, engine: Engine, tls: bool, proxy: bool) -> Result<Self> {
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
            // However long a message pauses on its way, it ends where its line does.
            .args(if mode == Mode::Reply { &["--framing", "line"][..] } else { &[] })
            .args(if tls { &["--tls"][..] } else { &[] })
            .args(if proxy { &["--proxy-protocol", "require", "--proxy-from", "127.0.0.1"][..] } else { &[] })
            // However we end, this pipe is closed then.
            .arg("--while-stdin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a server")?;
        let (mut started, mut certificate) = (String::new(), String::new());
        if let Some(stdout) = child.stdout.take() {
            let mut said = BufReader::new(stdout);
            said.read_line(&mut started).context("the server says nothing")?;
            if tls {
                said.read_line(&mut certificate).context("the server does not name its certificate")?;
            }
        }
        let address = last(&started).parse();
        let pin = tls.then(|| last(&certificate).parse()).transpose();
        match (address, pin) {
            (Ok(address), Ok(pin)) => Ok(Self { child, address, pin }),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                bail!("the server did not start: {}", started.trim_end())
            }
        }
    }
}

/// The last word of a line.
fn last(line: &str) -> &str {
    line.trim_end().rsplit(' ').next().unwrap_or_default()
}

impl Drop for Loopback {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
