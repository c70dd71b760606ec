//! Making the one connection: dialling with retries, or listening.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use resound::client::{DialError, FailureClass, dial_observed};
use resound::server::Listener;
use resound::{Address, DialOptions, Endpoint, Family, Stream, dial};
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::time::{sleep_until, timeout_at};

use super::failure::ClientFailure;
use super::send_proxy::SendProxy;
use super::tls::{self, TlsOptions};
use crate::calls::ClientCalls;
use crate::units;

/// How to make the connection.
pub(crate) struct Connect {
    pub(crate) address: Address,
    pub(crate) dial: DialOptions,
    pub(crate) patience: RetryPolicy,
    /// Listen instead of dialling.
    pub(crate) listen: bool,
    pub(crate) nagle: bool,
    pub(crate) keepalive: Option<Duration>,
    pub(crate) before: ConnectSetup,
    /// Explains the calls, with `--explain`.
    pub(crate) calls: Option<Arc<ClientCalls>>,
    /// Notified to stop retrying: the result is then that of the last attempt.
    pub(crate) enough: Notify,
}

/// The steps between the connection and its first byte.
#[derive(Default)]
pub(crate) struct ConnectSetup {
    /// The PROXY header to send first.
    pub(crate) send_proxy: Option<SendProxy>,
    pub(crate) tls: Option<TlsOptions>,
}

impl ConnectSetup {
    /// Are there no such steps?
    pub(crate) fn is_empty(&self) -> bool {
        self.send_proxy.is_none() && self.tls.is_none()
    }

    /// Sends the header, and completes the TLS handshake within `limit`.
    pub(crate) async fn prepare(&self, stream: Stream, limit: Duration) -> Result<Stream> {
        if let Some(proxy) = &self.send_proxy {
            let header = proxy.header(&stream.local(), &stream.peer())?;
            (&mut &stream)
                .write_all(&header)
                .await
                .map_err(|error| ClientFailure::of(error, " with the PROXY header"))?;
        }
        match &self.tls {
            Some(tls) => tls.secure(stream, limit).await,
            None => Ok(stream),
        }
    }
}

/// The policy for an address that does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryPolicy {
    /// Dial this many times more.
    Retry(u32),
    /// Dial until it answers.
    Wait,
}

/// An event while connecting.
pub(super) enum ConnectEvent<'a> {
    /// A message for a waiting user.
    Notice(String),
    /// An attempt failed.
    Failed(&'a DialError),
}

impl Connect {
    /// Does the system choose the port to listen on?
    pub(super) fn is_any_port(&self) -> bool {
        self.listen && matches!(self.address, Address::Tcp { port: 0, .. })
    }

    /// Waits until [`ClientCalls::look`] is due; for ever without `--explain`.
    pub(super) async fn look_due(&self) {
        match &self.calls {
            Some(calls) => calls.due().await,
            None => std::future::pending().await,
        }
    }

    /// A conversation has the terminal, and shows what `--explain` tells.
    pub(super) fn hold_explanations(&self) {
        self.calls.iter().for_each(|calls| calls.hold());
    }

    /// What `--explain` has told a conversation since the last call.
    pub(super) fn explanations(&self) -> String {
        self.calls.as_ref().map(|calls| calls.take()).unwrap_or_default()
    }

    /// Looks whether what was sent is acknowledged, with `--explain`.
    pub(super) fn look(&self, stream: &Stream) {
        self.calls.iter().for_each(|calls| calls.look(stream));
    }

    /// Makes the connection.
    pub(super) async fn connect(
        &self,
        patience: RetryPolicy,
        report: impl AsyncFnMut(ConnectEvent<'_>),
    ) -> Result<Stream> {
        let stream = if self.listen { self.accept(report).await? } else { self.dial(patience, report).await? };
        // A connection that the peer has reset takes no options; its first use returns the error.
        let _ = stream.set_nodelay(!self.nagle);
        if let Some(idle) = self.keepalive {
            let _ = stream.set_keepalive(idle);
        }
        let over = self.before.prepare(stream, self.dial.timeout);
        let Some(deadline) = self.dial.deadline else { return over.await };
        timeout_at(deadline.into(), over).await.unwrap_or_else(|_| {
            let what = match self.before.tls {
                Some(_) => "connected, but TLS's handshake was not done in time",
                None => "connected, but the PROXY header was not taken in time",
            };
            Err(ClientFailure::new(FailureClass::Timeout, what).into())
        })
    }

    async fn dial(&self, patience: RetryPolicy, mut report: impl AsyncFnMut(ConnectEvent<'_>)) -> Result<Stream> {
        let mut backoff = Backoff::of(patience);
        let mut attempt = 0_u64;
        // The error of the last attempt that had its full time.
        let mut known = None;
        loop {
            let error = match self.dial_once().await {
                Ok(stream) => return Ok(stream),
                Err(error) => error,
            };
            attempt += 1;
            report(ConnectEvent::Failed(&error)).await;
            // This machine would refuse again.
            let Some(class) = error.class else { return Err(error.into()) };
            if self.is_over() {
                // An attempt cut by the deadline only timed out; the error of the one before is
                // more useful.
                let is_silence = error.attempts.iter().all(|attempt| attempt.error.kind() == ErrorKind::TimedOut);
                return Err(known.filter(|_| is_silence).unwrap_or(error).into());
            }
            let pause = backoff.next();
            match patience {
                RetryPolicy::Retry(most) if attempt > most.into() => return Err(error.into()),
                RetryPolicy::Retry(most) => {
                    let again = format!("{error}; again in {} ({attempt} of {most})", units::elapsed(pause));
                    report(ConnectEvent::Notice(again)).await;
                }
                RetryPolicy::Wait if attempt == 1 => {
                    report(ConnectEvent::Notice(format!("waiting for {}: {class}", self.address))).await;
                }
                RetryPolicy::Wait => {}
            }
            if !self.pause(pause, patience).await {
                return Err(error.into());
            }
            known = Some(error);
        }
    }

    async fn dial_once(&self) -> Result<Stream, DialError> {
        match &self.calls {
            None => dial(&self.address, self.dial).await,
            Some(calls) => dial_observed(&self.address, self.dial, Arc::<ClientCalls>::clone(calls)).await,
        }
    }

    /// Has the deadline passed?
    fn is_over(&self) -> bool {
        self.dial.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Waits before the next attempt. False if there is none.
    async fn pause(&self, pause: Duration, patience: RetryPolicy) -> bool {
        let mut until = Instant::now() + pause;
        if let Some(deadline) = self.dial.deadline {
            // With --wait there is a last attempt just before the deadline.
            let last_try = deadline.checked_sub(LAST_TRY).filter(|at| *at > Instant::now());
            until = match (patience, last_try) {
                (RetryPolicy::Wait, Some(at)) => until.min(at),
                _ => until.min(deadline),
            };
        }
        tokio::select! {
            () = sleep_until(until.into()) => !self.is_over(),
            () = self.enough.notified() => false,
        }
    }

    async fn accept(&self, mut report: impl AsyncFnMut(ConnectEvent<'_>)) -> Result<Stream> {
        let (address, family): (Address, Family) = (self.address.clone(), self.dial.family);
        // The resolver may block.
        let listeners = tokio::task::spawn_blocking(move || Listener::bind(&address, family)).await??;
        for listener in &listeners {
            report(ConnectEvent::Notice(format!("listening on {}", listener.address()))).await;
        }
        let mut stream = Listener::accept_one(listeners).await?;
        if let Some(calls) = &self.calls {
            stream.observe_accepted(Arc::<ClientCalls>::clone(calls));
        }
        Ok(stream)
    }
}

/// The last attempt starts this long before the deadline.
const LAST_TRY: Duration = Duration::from_millis(50);

/// The pauses between attempts. They double up to a limit, and vary by a quarter, so that the
/// clients of a restarted server do not all connect at once.
pub(super) struct Backoff {
    next: Duration,
    most: Duration,
}

impl Backoff {
    pub(super) fn of(patience: RetryPolicy) -> Self {
        let (next, most) = match patience {
            RetryPolicy::Retry(_) => (Duration::from_millis(250), Duration::from_secs(10)),
            // A script waits for the server to start.
            RetryPolicy::Wait => (Duration::from_millis(50), Duration::from_secs(1)),
        };
        Self { next, most }
    }

    pub(super) fn next(&mut self) -> Duration {
        let pause = self.next.mul_f64(0.75 + fastrand::f64() / 2.0);
        self.next = (self.next * 2).min(self.most);
        pause
    }
}

/// The two ends of a connection as text, and the time it took.
pub(super) fn described(stream: &Stream, listen: bool, since: Instant) -> String {
    let took = units::elapsed(since.elapsed());
    let agreed = stream.tls().map(|secure| format!("; {}", tls::described(secure).trim_end())).unwrap_or_default();
    let connected = match listen {
        true => format!("connection from {} on {} after {took}", stream.peer(), stream.local()),
        false => match stream.local() {
            Endpoint::Tcp(local) => format!("connected to {} from {local} in {took}", stream.peer()),
            _ => format!("connected to {} in {took}", stream.peer()),
        },
    };
    connected + &agreed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_messages_leave_at_once_unless_nagle_is_wanted() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::parse(&listener.local_addr().unwrap().to_string(), 0).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for nagle in [false, true] {
            let (dial, patience) = (DialOptions::default(), RetryPolicy::Retry(0));
            let how = Connect {
                address: address.clone(),
                dial,
                patience,
                listen: false,
                nagle,
                keepalive: None,
                before: ConnectSetup::default(),
                calls: None,
                enough: Notify::new(),
            };
            let stream = runtime.block_on(how.connect(patience, async |_: ConnectEvent<'_>| ())).unwrap();
            assert_eq!(stream.nodelay().unwrap(), !nagle);
        }
    }

    #[test]
    fn pauses_grow_to_their_limit_and_vary() {
        for (patience, first, most) in [(RetryPolicy::Retry(9), 250, 10_000), (RetryPolicy::Wait, 50, 1000)] {
            let mut backoff = Backoff::of(patience);
            let pauses: Vec<_> = (0..12).map(|_| backoff.next().as_millis()).collect();
            assert!((first * 3 / 4..=first * 5 / 4).contains(&pauses[0]), "{pauses:?}");
            assert!(pauses.iter().all(|&pause| pause <= most * 5 / 4), "{pauses:?}");
            assert!(pauses[8..].iter().all(|&pause| pause >= most * 3 / 4), "{pauses:?}");
            assert!(pauses[8..].windows(2).any(|two| two[0] != two[1]), "{pauses:?}");
        }
    }
}
