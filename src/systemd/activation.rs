//! [`PassedSockets`]: the sockets that systemd passes to a program (sd_listen_fds(3)).

use std::ffi::OsString;

use anyhow::{Result, anyhow, bail};
use resound::Error;
use resound::server::Listener;
use resound_console::escape;

/// The first descriptor that is passed: those before it are the standard streams.
const FIRST: i32 = 3;
/// More than a program has reason to be passed.
const MOST: i32 = 1024;
/// The name of a socket without one (sd_listen_fds_with_names(3)).
const UNNAMED: &str = "unknown";

/// A way to try it without a unit.
const TRY: &str = "start this program by its socket unit (`systemctl start resound.socket`), or try \
                   `systemd-socket-activate -l 8888 resound server systemd`";

/// The sockets of this program, each with its name.
pub(crate) struct PassedSockets {
    sockets: Vec<PassedSocket>,
    /// Why there are none.
    missing: Option<String>,
}

struct PassedSocket {
    name: String,
    /// `None`: an address has taken it.
    listener: Option<Result<Listener, Error>>,
}

impl PassedSockets {
    /// Takes the sockets that were passed to this process, and removes the variables that say so.
    pub(crate) fn take() -> Self {
        #[cfg(unix)]
        let values = resound::system::take_variables(&["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"]);
        #[cfg(not(unix))]
        let values: Vec<Option<OsString>> = vec![None, None, None];
        let [pid, count, names] = [0, 1, 2].map(|at| values[at].as_ref().map(text));
        match names_of(pid, count, names) {
            Ok(names) => Self {
                sockets: (FIRST..).zip(names).map(|(number, name)| PassedSocket::adopt(number, name)).collect(),
                missing: None,
            },
            Err(missing) => Self { sockets: Vec::new(), missing: Some(missing) },
        }
    }

    /// The listeners of this name, or all that no other address has taken.
    pub(crate) fn listeners(&mut self, name: Option<&str>) -> Result<Vec<Listener>> {
        if let Some(missing) = &self.missing {
            bail!("{missing}");
        }
        let is_meant = |socket: &PassedSocket| name.is_none_or(|name| socket.name == name);
        let meant = self.sockets.iter_mut().filter(|socket| is_meant(socket));
        let taken: Vec<_> = meant.filter_map(|socket| Some((socket.name.clone(), socket.listener.take()?))).collect();
        if taken.is_empty() {
            let known = self.sockets.iter().map(|socket| socket.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(match name {
                Some(name) if !self.sockets.iter().any(|socket| socket.name == name) => anyhow!(
                    "systemd has passed no socket named '{}' (`FileDescriptorName=`), but {known}",
                    escape::text(name.as_bytes())
                ),
                _ => anyhow!(
                    "each socket that systemd has passed ({known}) is already used by another address: name each once"
                ),
            });
        }
        let named = |(name, listener): (String, Result<Listener, Error>)| {
            listener.map_err(|error| {
                let name = escape::text(name.as_bytes());
                anyhow!(
                    "the socket '{name}' of systemd cannot be served: {error} (a socket unit needs ListenStream= and \
                     Accept=no)"
                )
            })
        };
        taken.into_iter().map(named).collect()
    }

    /// The names of the sockets that no address has taken.
    pub(crate) fn untaken(&self) -> Vec<&str> {
        self.sockets.iter().filter(|socket| socket.listener.is_some()).map(|socket| socket.name.as_str()).collect()
    }
}

impl PassedSocket {
    fn adopt(number: i32, name: String) -> Self {
        #[cfg(unix)]
        let listener = Some(Listener::inherited(number));
        #[cfg(not(unix))]
        let listener = {
            let _ = number;
            None
        };
        Self { name, listener }
    }
}

fn text(value: &OsString) -> String {
    value.to_string_lossy().into_owned()
}

/// The names of the passed sockets, or why there are none.
fn names_of(pid: Option<String>, count: Option<String>, names: Option<String>) -> Result<Vec<String>, String> {
    let (Some(pid), Some(count)) = (pid, count) else {
        return Err(format!("systemd has passed no sockets to this program (LISTEN_FDS is not set): {TRY}"));
    };
    let own = std::process::id();
    match pid.parse::<u32>() {
        Ok(pid) if pid == own => {}
        Ok(pid) => {
            return Err(format!(
                "the sockets of systemd are for process {pid} (LISTEN_PID), and this is process {own}: what stands \
                 between them, such as a shell script, has to start this program with `exec`"
            ));
        }
        Err(_) => return Err(format!("LISTEN_PID is not a process id: '{}'", escape::text(pid.as_bytes()))),
    }
    let count = match count.parse::<i32>() {
        Ok(count @ 1..=MOST) => count as usize,
        Ok(0) => return Err(format!("systemd has passed no sockets to this program (LISTEN_FDS is 0): {TRY}")),
        _ => {
            let count = escape::text(count.as_bytes());
            return Err(format!("LISTEN_FDS is '{count}', and not a number of sockets from 1 to {MOST}"));
        }
    };
    let names: Vec<String> = match names {
        None => vec![UNNAMED.into(); count],
        Some(names) => names.split(':').map(String::from).collect(),
    };
    if names.len() != count {
        return Err(format!("LISTEN_FDS is {count}, but LISTEN_FDNAMES has {} names", names.len()));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pid: Option<&str>, count: Option<&str>, names: Option<&str>) -> Result<Vec<String>, String> {
        let [pid, count, names] = [pid, count, names].map(|value| value.map(String::from));
        names_of(pid, count, names)
    }

    #[test]
    fn the_variables_name_the_sockets_or_say_why_there_are_none() {
        let own = std::process::id().to_string();
        let own = Some(own.as_str());
        assert_eq!(of(own, Some("2"), None).unwrap(), ["unknown", "unknown"]);
        assert_eq!(of(own, Some("2"), Some("web:")).unwrap(), ["web", ""]);
        for (pid, count, names, want) in [
            (None, None, None, "LISTEN_FDS is not set"),
            (Some("1"), Some("1"), None, "are for process 1 (LISTEN_PID)"),
            (Some("x\n"), Some("1"), None, "LISTEN_PID is not a process id: 'x\\n'"),
            (own, Some("0"), None, "LISTEN_FDS is 0"),
            (own, Some("-1"), None, "LISTEN_FDS is '-1', and not a number of sockets"),
            (own, Some("9999999999"), None, "and not a number of sockets"),
            (own, Some("2"), Some("a"), "LISTEN_FDS is 2, but LISTEN_FDNAMES has 1 names"),
        ] {
            let error = of(pid, count, names).unwrap_err();
            assert!(error.contains(want), "{error}");
        }
    }
}
