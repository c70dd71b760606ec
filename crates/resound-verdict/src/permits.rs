//! [`ConnectionPermits`]: no more connections at once than the path answers.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::check::CheckId;
use crate::report::{CheckReport, CheckVerdict};
use crate::symptom::Symptom;

/// How many connections may be open at once: unlimited, or a limit that all clones share.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionPermits(Option<Arc<LimitedPermits>>);

#[derive(Debug)]
struct LimitedPermits {
    at_once: usize,
    sessions: Arc<Semaphore>,
    /// One connection stays free for questions about sessions that are open.
    questions: Arc<Semaphore>,
}

impl ConnectionPermits {
    pub(crate) fn limited(at_once: usize) -> Self {
        let permits = |n| Arc::new(Semaphore::new(n));
        let (sessions, questions) = (permits(at_once.saturating_sub(1).max(1)), permits(1));
        Self(Some(Arc::new(LimitedPermits { at_once, sessions, questions })))
    }

    /// How many connections the path answers at once, if that is limited.
    pub(crate) fn at_once(&self) -> Option<usize> {
        self.0.as_ref().map(|limited| limited.at_once)
    }

    /// The report of a check whose connections would wait for each other.
    pub(crate) fn lack(&self, id: CheckId) -> Option<CheckReport> {
        let connections = match self.at_once()? {
            1 => "one connection".into(),
            n => format!("{n} connections"),
        };
        let what = format!("not judged on a path that answers only {connections} at a time");
        Some(CheckReport::new(id, CheckVerdict::Unknown, what))
    }

    /// Waits until one more session may begin.
    pub(crate) async fn session(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.as_ref()?.sessions).acquire_owned().await.ok()
    }

    /// Waits until a question may be asked beside the sessions, if there is room for one.
    pub(crate) async fn question(&self) -> Result<Option<OwnedSemaphorePermit>, Symptom> {
        match &self.0 {
            None => Ok(None),
            Some(limited) if limited.at_once < 2 => Err(Symptom::NoSecondConnection),
            Some(limited) => Ok(Arc::clone(&limited.questions).acquire_owned().await.ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sessions_leave_room_for_a_question() {
        let permits = ConnectionPermits::limited(3);
        let held = [permits.session().await, permits.session().await];
        assert!(held.iter().all(Option::is_some));
        let mut third = std::pin::pin!(permits.session());
        assert!(tokio::select! { biased; _ = &mut third => false, () = std::future::ready(()) => true });
        assert!(permits.question().await.unwrap().is_some());
        drop(held);
        assert!(third.await.is_some());
    }

    #[tokio::test]
    async fn one_connection_at_once_leaves_none_for_a_question() {
        let permits = ConnectionPermits::limited(1);
        let session = permits.session().await;
        assert!(session.is_some());
        assert_eq!(permits.question().await.unwrap_err(), Symptom::NoSecondConnection);
    }

    #[tokio::test]
    async fn without_a_limit_there_are_no_permits() {
        let permits = ConnectionPermits::default();
        assert!(permits.session().await.is_none() && permits.question().await.unwrap().is_none());
        assert_eq!(permits.at_once(), None);
    }
}
