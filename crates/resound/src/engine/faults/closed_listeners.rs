//! [`ClosedListeners`]: what `refuse` and `never-accept` make of the listeners.

use super::live::LiveFaults;
use crate::engine::listener::Listener;

/// Listeners whose clients are refused, or wait in a full backlog for ever; and what fills it.
pub(crate) struct ClosedListeners {
    _listeners: Vec<Listener>,
    _fillers: Vec<std::net::TcpStream>,
}

impl ClosedListeners {
    /// Takes those out of `open` that the faults close.
    pub(crate) fn of(open: &mut Vec<Listener>, faults: &LiveFaults) -> Self {
        let (refuse, never_accept) = faults.listener();
        let mut listeners = if refuse || never_accept { std::mem::take(open) } else { Vec::new() };
        if refuse && !cfg!(target_os = "linux") {
            // Elsewhere only a listener that is gone refuses.
            listeners.clear();
        }
        let fill = |listener: &Listener| if refuse { listener.refuse() } else { listener.fill_backlog() };
        let fillers = listeners.iter().flat_map(fill).collect();
        Self { _listeners: listeners, _fillers: fillers }
    }
}
