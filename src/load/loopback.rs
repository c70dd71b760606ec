//! `--loopback`: a server in its own process, since the limit on descriptors is per process.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use resound::tls::Fingerprint;
use resound::{Address, Engine};
use resound_load::Mode;

/// The server; it ends when this is dropped, or when this program ends.
pub(super) struct Loopback {
    child: Child,
    pub(super) address: Address,
    /// The certificate to trust, with TLS.
    pub(super) pin: Option<Fingerprint>,
}

impl Loopback {
    /// `tls` and `proxy`: the steps at the start of each connection.
    pub(super) fn start(mode: Mode, engine: Engine, tls: bool, proxy: bool) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program to start a server")?;
        let mut command = Command::new(program);
        // What the environment says of servers is about others.
        let is_about_servers = |name: &OsString| name.as_encoded_bytes().starts_with(b"RESOUND_");
        for name in std::env::vars_os().map(|(name, _)| name).filter(is_about_servers) {
            command.env_remove(name);
        }
        // Ctrl+C is for this process: the server answers until the run has ended.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command
            .args(["server", "127.0.0.1", "0", "--quiet", "--mode", mode.name(), "--engine", engine.name()])
            // The run may pause for longer than any timeout.
            .args(["--write-timeout", "off"])
            // A paused message ends with its line, not with the pause.
            .args(if mode == Mode::Reply { &["--framing", "line"][..] } else { &[] })
            .args(if tls { &["--tls"][..] } else { &[] })
            .args(if proxy { &["--proxy-protocol", "require", "--proxy-from", "127.0.0.1"][..] } else { &[] })
            // The pipe closes when this process ends.
            .arg("--while-stdin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a server")?;
        let (mut started, mut certificate) = (String::new(), String::new());
        if let Some(stdout) = child.stdout.take() {
            let mut output = BufReader::new(stdout);
            output.read_line(&mut started).context("the server printed nothing")?;
            if tls {
                output.read_line(&mut certificate).context("the server does not name its certificate")?;
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
