//! What the console of a server is to print.

use std::sync::Arc;
use std::time::SystemTime;

use clap::ValueEnum;
use resound::server::ipnet::IpNet;
use resound::{CloseReason, ConnInfo, Endpoint};

/// The format of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// Which events are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogDetail {
    /// Nothing, as with --quiet
    Off,
    /// The start and the end of the program and of each connection
    Connections,
    /// These, and each message
    Messages,
}

/// What is printed, and how.
#[derive(Clone, Default)]
pub struct ConsoleSettings {
    /// Text or JSON.
    pub format: Format,
    /// `None` without the flag: a server prints messages, and a relay what fails.
    pub detail: Option<LogDetail>,
    /// Lines of text begin with their time.
    pub with_time: bool,
    /// Events of a connection name its proxy.
    pub verbose: bool,
    /// Connections that proxies make for themselves leave no lines.
    pub quiet_local: bool,
    /// Neither do those from these networks.
    pub quiet_from: Arc<[IpNet]>,
}

impl ConsoleSettings {
    /// Are there lines of messages?
    pub(crate) fn has_messages(&self) -> bool {
        self.detail != Some(LogDetail::Connections)
    }

    /// Does a relay print each connection?
    pub(crate) fn has_relayed(&self) -> bool {
        self.verbose || self.detail.is_some() || self.format == Format::Json
    }

    /// Does this connection leave no lines?
    pub(crate) fn leaves_out(&self, conn: &ConnInfo) -> bool {
        if self.quiet_local && conn.is_local() {
            return true;
        }
        let Endpoint::Tcp(peer) = conn.peer else { return false };
        let address = peer.ip().to_canonical();
        self.quiet_from.iter().any(|network| network.contains(&address))
    }

    /// Puts the time in front of each line from here on, if that is wanted.
    pub(crate) fn stamp(&self, to: &mut Vec<u8>, from: usize) {
        if !self.with_time || self.format == Format::Json {
            return;
        }
        let lines = to.split_off(from);
        let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            to.extend_from_slice(time.as_bytes());
            to.push(b' ');
            to.extend_from_slice(line);
        }
    }
}

/// Whether the end of a connection is an error of this end, which is never left out.
pub(crate) fn is_own_error(reason: CloseReason) -> bool {
    matches!(reason, CloseReason::Panicked | CloseReason::Failed(_))
}

#[cfg(test)]
mod tests {
    use resound::ConnId;

    use super::*;

    fn settings(quiet_from: &[&str]) -> ConsoleSettings {
        let quiet_from = quiet_from.iter().map(|network| network.parse().unwrap()).collect();
        ConsoleSettings { with_time: true, quiet_from, ..ConsoleSettings::default() }
    }

    #[test]
    fn a_network_is_quiet_however_its_addresses_are_written() {
        let cases: [(&[&str], &str, bool); 7] = [
            (&[], "10.0.0.1:1", false),
            (&["10.0.0.0/8"], "10.0.0.1:1", true),
            (&["10.0.0.0/8"], "[::ffff:10.0.0.1]:1", true),
            (&["10.0.0.0/8"], "11.0.0.1:1", false),
            (&["10.0.0.0/8", "2001:db8::/32"], "[2001:db8::1]:1", true),
            (&["0.0.0.0/0"], "[2001:db8::1]:1", false),
            (&["192.0.2.7/32"], "192.0.2.7:1", true),
        ];
        for (networks, peer, want) in cases {
            let peer: std::net::SocketAddr = peer.parse().unwrap();
            let conn = ConnInfo::new(ConnId(1), peer.into(), Endpoint::Unknown);
            assert_eq!(settings(networks).leaves_out(&conn), want, "{networks:?} {peer}");
        }
        let unix = ConnInfo::new(ConnId(1), Endpoint::Unix(None), Endpoint::Unknown);
        assert!(!settings(&["0.0.0.0/0", "::/0"]).leaves_out(&unix));
    }

    #[test]
    fn each_line_has_its_time() {
        let mut lines = b"before\n".to_vec();
        settings(&[]).stamp(&mut lines, 7);
        assert_eq!(lines, b"before\n");
        lines.extend_from_slice(b"one\n(two)\n");
        settings(&[]).stamp(&mut lines, 7);
        let text = String::from_utf8(lines).unwrap();
        let shown: Vec<_> = text.lines().skip(1).map(|line| line.split_once(' ').unwrap()).collect();
        assert_eq!(shown.iter().map(|(_, rest)| *rest).collect::<Vec<_>>(), ["one", "(two)"]);
        for (time, _) in shown {
            assert!(humantime::parse_rfc3339(time).is_ok() && time.len() == 24 && time.ends_with('Z'), "{time}");
        }
    }
}
