//! How many connections a path answers at once, where further ones wait until one of these ends.

use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::{Instant, timeout};

use crate::ledger::ConnectionLedger;
use crate::place::{PathEnd, Special};
use crate::played::Played;
use crate::tries::all;

/// Connections that begin at once: about as many as the checks that run side by side have.
const BEGUN: usize = 24;
/// Some that wait are chance: their packets were lost.
const LEAST_WAITING: usize = 3;
/// Where none is answered in this time and four times what one alone takes, the others wait.
const QUIET: Duration = Duration::from_millis(500);
/// The next one is answered in this time and three times what one alone takes.
const PROMPT: Duration = Duration::from_millis(150);
/// All are answered in this time and twenty times what one alone takes, or they are slow for
/// another reason.
const LONGEST: Duration = Duration::from_secs(4);
/// The waits without an answer before one ends: connections that a clock admits do not fit both.
const WAITS: [u32; 2] = [1, 2];

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AnsweredAtOnce {
    pub(crate) begun: usize,
    pub(crate) at_once: usize,
    /// Between the end of one connection and the answer on the next, at most.
    pub(crate) next_after: Duration,
}

/// The connections that have begun.
struct Begun {
    /// What became of each: it was answered, or failed.
    ends: UnboundedReceiver<Option<Played>>,
    held: Vec<Played>,
    failed: usize,
}

impl Begun {
    /// Whether one more is answered within so long.
    async fn one_more(&mut self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        loop {
            match timeout(until - Instant::now(), self.ends.recv()).await {
                Ok(Some(Some(played))) => {
                    self.held.push(played);
                    return true;
                }
                Ok(Some(None)) => self.failed += 1,
                Ok(None) | Err(_) => return false,
            }
        }
    }

    fn waiting(&self, ended: usize) -> usize {
        BEGUN - self.held.len() - self.failed - ended
    }

    async fn watch(mut self, alone: Duration) -> Option<AnsweredAtOnce> {
        let (quiet, prompt, start) = (QUIET + 4 * alone, PROMPT + 3 * alone, Instant::now());
        while self.waiting(0) > 0 && self.one_more(quiet).await {
            if start.elapsed() > LONGEST + 20 * alone {
                return None;
            }
        }
        let (at_once, mut next_after) = (self.held.len(), Duration::ZERO);
        for (ended, times) in WAITS.into_iter().enumerate() {
            let is_limit = self.waiting(ended) + ended >= LEAST_WAITING && !self.held.is_empty();
            // The first wait was the one for the last answer.
            if !is_limit || (ended > 0 && self.one_more(times * quiet).await) {
                return None;
            }
            let mut first = self.held.swap_remove(0);
            let since = Instant::now();
            let close = async {
                if first.finish().await.is_ok() {
                    first.end_within(prompt).await;
                }
            };
            let ((), comes) = tokio::join!(close, self.one_more(prompt));
            if !comes {
                return None;
            }
            next_after = next_after.max(since.elapsed());
        }
        (!self.one_more(quiet).await).then_some(AnsweredAtOnce { begun: BEGUN, at_once, next_after })
    }
}

/// Begins connections and keeps them. Where some wait, one of the others ends, twice: each time
/// exactly one more is answered, and no further one.
pub(crate) async fn answered_at_once(end: &PathEnd, alone: Duration) -> Option<AnsweredAtOnce> {
    let end = &PathEnd { ledger: ConnectionLedger::default(), ..end.clone() };
    let (send, ends) = mpsc::unbounded_channel();
    let begin = async {
        all((0..BEGUN).map(async |_| drop(send.send(Played::begin(end, Special::default(), &[]).await.ok())))).await;
        std::future::pending().await
    };
    let begun = Begun { ends, held: Vec::new(), failed: 0 };
    tokio::select! {
        found = Box::pin(begun.watch(alone)) => found,
        never = begin => never,
    }
}
