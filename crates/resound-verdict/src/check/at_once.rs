//! How many connections a path answers at once, where further ones wait until one of these ends.

use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::{Instant, timeout_at};

use crate::ledger::{ConnectionLedger, LedgerRecord, is_reset_at_first};
use crate::place::{PathEnd, Special};
use crate::probe_connection::ProbeConnection;
use crate::symptom::Symptom;
use crate::tries::all;

/// Connections that begin at once: about as many as the checks that run side by side have.
pub(crate) const BEGUN: usize = 24;
/// Some that wait are chance: their packets were lost.
const LEAST_WAITING: usize = 3;
/// If none is answered within this time plus twice what a single one takes, the others wait.
const QUIET: Duration = Duration::from_millis(500);
/// The next one is answered in this time and three times what one alone takes.
const PROMPT: Duration = Duration::from_millis(150);
/// All are answered in this time and twenty times what one alone takes, or they are slow for
/// another reason.
const LONGEST: Duration = Duration::from_secs(4);
/// The quiet wait before the second connection ends is twice as long as before the first:
/// connections that a timer admits would not fit both.
const LONGER: u32 = 2;
/// How many of the answered connections end.
const ENDED: usize = 2;
/// A SYN that is sent again comes a second later: what a queue lets wait is connected before.
const SYN_AGAIN: Duration = Duration::from_millis(900);

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AnsweredAtOnce {
    pub(crate) at_once: usize,
    /// Those that waited were given up.
    pub(crate) are_given_up: bool,
    /// Between the end of one connection and the answer on the next, at most.
    pub(crate) next_after: Duration,
}

fn quiet(alone: Duration) -> Duration {
    QUIET + 2 * alone
}

/// The connections that have begun.
struct Begun {
    /// What became of each: it was answered, or failed.
    ends: UnboundedReceiver<(Result<ProbeConnection, Symptom>, LedgerRecord)>,
    held: Vec<ProbeConnection>,
    failed: usize,
    /// Those that never reached the far end, other than by a RST, and what the first of them saw.
    unreached: usize,
    first: Option<Symptom>,
    ended: usize,
}

impl Begun {
    /// Whether one more is answered within `limit`.
    async fn one_more(&mut self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        loop {
            match timeout_at(until, self.ends.recv()).await {
                Ok(Some((Ok(probe), _))) => {
                    self.held.push(probe);
                    return true;
                }
                Ok(Some((Err(symptom), mut record))) => {
                    self.failed += 1;
                    // No queue and no limit ends a connection whose answer has begun.
                    if symptom.answer_had_begun() {
                        record.broken(&symptom);
                    // A RST to a connection that is to wait may be that of a limit.
                    } else if symptom.never_reached_far_end() && !is_reset_at_first(&symptom) {
                        self.unreached += 1;
                        self.first.get_or_insert(symptom);
                    }
                }
                Ok(None) | Err(_) => return false,
            }
        }
    }

    fn waiting(&self) -> usize {
        BEGUN - self.held.len() - self.failed - self.ended
    }

    async fn watch(&mut self, alone: Duration) -> Option<AnsweredAtOnce> {
        let (quiet, prompt, start) = (quiet(alone), PROMPT + 3 * alone, Instant::now());
        while self.waiting() > 0 && self.one_more(quiet).await {
            if start.elapsed() > LONGEST + 20 * alone {
                return None;
            }
        }
        let (at_once, failed, mut next_after) = (self.held.len(), self.failed, Duration::ZERO);
        while self.ended < ENDED {
            // The first wait was the one for the last answer.
            if self.held.is_empty() || (self.ended > 0 && self.one_more(LONGER * quiet).await) {
                return None;
            }
            if self.ended > 0 && self.waiting() == 0 && self.failed > failed {
                // The others were given up in the queue.
                break;
            }
            if self.waiting() + self.ended < LEAST_WAITING {
                return None;
            }
            let mut first = self.held.swap_remove(0);
            self.ended += 1;
            let since = Instant::now();
            let close = async {
                if first.finish().await.is_ok() {
                    first.end_within(prompt).await;
                }
            };
            let next = async { self.one_more(prompt).await.then(|| since.elapsed()) };
            let ((), next) = tokio::join!(close, next);
            next_after = next_after.max(next?);
            if self.held.last().is_some_and(|next| next.connected_in > SYN_AGAIN + alone) {
                return None;
            }
        }
        let are_given_up = self.waiting() == 0 && self.failed > failed;
        (!self.one_more(quiet).await).then_some(AnsweredAtOnce { at_once, are_given_up, next_after })
    }

    /// Ends those that were answered, and waits for the others. Returns how many no far end has
    /// answered, and what the first of them saw.
    async fn rest(&mut self, patience: Duration) -> Option<(usize, Symptom)> {
        let until = Instant::now() + patience;
        loop {
            self.ended += self.held.len();
            self.held.clear();
            if self.waiting() == 0 || !self.one_more(until.saturating_duration_since(Instant::now())).await {
                break;
            }
        }
        self.first.take().map(|first| (self.unreached, first))
    }
}

/// Begins connections and keeps them. Where some wait, one of the others ends, twice: each time
/// exactly one more is answered, and no further one. The ledger has those whose answers broke off
/// or were changed, and, where that is not so, those that no far end has answered.
pub(crate) async fn answered_at_once(end: &PathEnd, alone: Duration) -> Option<AnsweredAtOnce> {
    // Those that wait are not given up before the last of them could be answered.
    let patience = end.patience.max(LONGEST + 20 * alone + 5 * quiet(alone) + 3 * PROMPT);
    let ledger = &end.ledger;
    let end = &PathEnd { ledger: ConnectionLedger::default(), patience, ..end.clone() };
    let (send, ends) = mpsc::unbounded_channel();
    let begin = async {
        all((0..BEGUN).map(async |_| {
            let record = ledger.begins();
            let begun = ProbeConnection::begin(end, Special::default(), &[]).await;
            drop(send.send((begun, record)));
        }))
        .await;
        std::future::pending().await
    };
    let mut begun = Begun { ends, held: Vec::new(), failed: 0, unreached: 0, first: None, ended: 0 };
    let watch = async {
        match begun.watch(alone).await {
            Some(found) => Ok(found),
            None => Err(begun.rest(patience + PROMPT).await),
        }
    };
    let found = tokio::select! {
        found = Box::pin(watch) => found,
        never = begin => never,
    };
    let found = match found {
        Ok(found) => found,
        Err(lost) => {
            lost.iter().for_each(|(count, symptom)| ledger.missed(*count, symptom));
            return None;
        }
    };
    // In a queue, one more stands behind those that are given up now.
    let _ = Box::pin(ProbeConnection::begin(end, Special::default(), &[])).await;
    Some(found)
}
