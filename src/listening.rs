//! [`ListenAddress`]: where a server or a relay listens.

use std::fmt;

use anyhow::Result;
use resound::server::Listener;
use resound::{Address, Family};

use crate::inherited_sockets::InheritedSockets;

/// What stands before the name of a socket that systemd has passed on.
const SYSTEMD: &str = "systemd";

/// An address to listen on, as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListenAddress {
    Bound(Address),
    /// Sockets of systemd: those of this name, or all.
    Systemd(Option<String>),
}

impl ListenAddress {
    /// The sockets of systemd, if that is what the text means.
    pub(crate) fn systemd(text: &str) -> Option<Self> {
        match text.split_once(':') {
            None if text == SYSTEMD => Some(Self::Systemd(None)),
            Some((SYSTEMD, name)) if !name.is_empty() => Some(Self::Systemd(Some(name.into()))),
            _ => None,
        }
    }

    /// The listeners of this address: those that another process has passed on, or new ones.
    pub(crate) fn listen(
        &self,
        family: Family,
        unix_mode: Option<u32>,
        inherited: &mut InheritedSockets,
    ) -> Result<Vec<Listener>> {
        if let Some(listeners) = inherited.of_predecessor(&self.to_string())? {
            return Ok(listeners);
        }
        match self {
            Self::Systemd(name) => inherited.of_systemd(name.as_deref()),
            #[cfg(unix)]
            Self::Bound(Address::Unix(path)) => {
                inherited.will_bind(path)?;
                Ok(vec![Listener::bind_unix(path, unix_mode)?])
            }
            Self::Bound(address) => {
                let _ = unix_mode;
                Ok(Listener::bind(address, family)?)
            }
        }
    }

    /// Whether the system chooses the port.
    pub(crate) fn is_chosen(&self) -> bool {
        matches!(self, Self::Bound(Address::Tcp { port: 0, .. }))
    }

    pub(crate) fn is_unix(&self) -> bool {
        matches!(self, Self::Bound(Address::Unix(_)))
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bound(address) => address.fmt(f),
            Self::Systemd(None) => f.write_str(SYSTEMD),
            Self::Systemd(Some(name)) => write!(f, "{SYSTEMD}:{name}"),
        }
    }
}
