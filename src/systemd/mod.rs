//! systemd: the sockets that it passes to a program, and what the program tells it.

mod activation;
mod notify;

pub(crate) use self::activation::PassedSockets;
pub(crate) use self::notify::ServiceNotifier;
