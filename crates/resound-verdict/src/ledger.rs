//! [`ConnectionLedger`]: what became of the connections of a run, for the check of resets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::symptom::{NoHello, Symptom};
use resound_probe::{SessionLog, Step};

/// The most connections that are kept.
const MOST: usize = 4096;

/// The connections of a run so far: cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionLedger(Arc<SharedLedger>);

#[derive(Debug, Default)]
struct SharedLedger {
    open: AtomicUsize,
    lines: Mutex<Vec<ConnectionRecord>>,
    damage: Arc<Mutex<TransferDamage>>,
    /// Of a separate ledger, that of the run. An early end is the matter of the check that has the
    /// connections.
    of_run: Option<ConnectionLedger>,
}

/// How many connections carried bytes, and what went wrong on some of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TransferDamage {
    pub(crate) connections: usize,
    /// One symptom of each that did, and of plain transfers that ended early.
    pub(crate) symptoms: Vec<Symptom>,
    /// Connections that never reached the far end, other than by a RST, and what the first of them
    /// saw.
    pub(crate) unreached: usize,
    pub(crate) first_unmet: Option<Symptom>,
    /// Answers on connections that no check judges which broke off or stopped, and how the first
    /// one did.
    pub(crate) cut_off: usize,
    pub(crate) first_cut_off: Option<Symptom>,
}

/// One connection on which neither end has sent a RST.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ConnectionRecord {
    /// How many others were open when it began.
    pub(crate) others: usize,
    /// Bytes that it was to carry in each direction, or has carried, with the first line of each
    /// end.
    pub(crate) planned_out: u64,
    pub(crate) planned_in: u64,
    /// Bytes that it has carried after these lines.
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Bytes that the far end has received, where it was asked.
    pub(crate) arrived: Option<u64>,
    pub(crate) lasted: Duration,
    pub(crate) fate: ResetSeen,
}

/// How a connection ended, as far as resets are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResetSeen {
    /// Without a RST.
    Never,
    /// With one before the far end has greeted.
    BeforeGreeting,
    /// With one at this end; whether the far end has seen one too, if that is known.
    Here(Option<bool>),
    /// With one at the far end alone.
    Far,
}

impl ConnectionLedger {
    /// A separate ledger for connections that a check ends itself or keeps waiting. Changed bytes
    /// on them count in this ledger too.
    pub(crate) fn apart(&self) -> Self {
        let damage = Arc::clone(&self.0.damage);
        Self(Arc::new(SharedLedger { damage, of_run: Some(self.of_run()), ..SharedLedger::default() }))
    }

    /// The ledger of the whole run.
    pub(crate) fn of_run(&self) -> Self {
        self.0.of_run.as_ref().unwrap_or(self).clone()
    }

    /// A connection begins.
    pub(crate) fn begins(&self) -> LedgerRecord {
        let others = self.0.open.fetch_add(1, Ordering::Relaxed);
        LedgerRecord { ledger: self.clone(), others, began: Instant::now(), lasted: None }
    }

    pub(crate) fn add(&self, line: ConnectionRecord) {
        let mut lines = self.0.lines.lock();
        if lines.len() < MOST {
            lines.push(line);
        }
    }

    /// Records a connection that was to carry `planned` bytes each way and was not reset within
    /// `lasted`.
    pub(crate) fn goes_on(&self, planned: u64, lasted: Duration) {
        let (planned_out, planned_in) = (planned, planned);
        let line = ConnectionRecord { planned_out, planned_in, lasted, ..self.begins().line(ResetSeen::Never) };
        self.add(line);
    }

    /// Records the bytes of a try that judges its own end. How far a failed try would have come is
    /// unknown.
    pub(crate) fn carried(&self, sent: u64, received: u64) {
        let whole = self.begins().line(ResetSeen::Never);
        self.add(ConnectionRecord { planned_out: sent, planned_in: received, sent, received, ..whole });
    }

    /// Records a connection that carried bytes, with its symptom, if any.
    pub(crate) fn moved(&self, symptom: Option<&Symptom>) {
        let mut damage = self.0.damage.lock();
        damage.connections += 1;
        if let Some(symptom) = symptom.filter(|symptom| symptom.changed().is_some())
            && damage.symptoms.len() < MOST
        {
            damage.symptoms.push(symptom.clone());
        }
    }

    /// The same of a transfer in which no end closes, so that an early end is one too.
    pub(crate) fn moved_plainly(&self, symptom: Option<&Symptom>) {
        self.moved(symptom);
        if let Some(symptom @ Symptom::Closed { .. }) = symptom
            && self.0.of_run.is_none()
        {
            let mut damage = self.0.damage.lock();
            damage.symptoms.push(symptom.clone());
        }
    }

    /// Records `count` connections that never reached the far end.
    pub(crate) fn missed(&self, count: usize, symptom: &Symptom) {
        let mut damage = self.0.damage.lock();
        damage.unreached += count;
        damage.first_unmet.get_or_insert_with(|| symptom.clone());
    }

    pub(crate) fn damage(&self) -> TransferDamage {
        self.0.damage.lock().clone()
    }

    pub(crate) fn lines(&self) -> Vec<ConnectionRecord> {
        self.0.lines.lock().clone()
    }
}

/// A connection that is open, until it is dropped.
#[derive(Debug)]
pub(crate) struct LedgerRecord {
    ledger: ConnectionLedger,
    others: usize,
    began: Instant,
    lasted: Option<Duration>,
}

impl LedgerRecord {
    fn line(&self, fate: ResetSeen) -> ConnectionRecord {
        ConnectionRecord {
            others: self.others,
            planned_out: 0,
            planned_in: 0,
            sent: 0,
            received: 0,
            arrived: None,
            lasted: self.lasted.unwrap_or_else(|| self.began.elapsed()),
            fate,
        }
    }

    /// All is tried; what follows are questions about it.
    pub(crate) fn stops(&mut self) {
        self.lasted = Some(self.began.elapsed());
    }

    /// No far end has greeted.
    pub(crate) fn failed(&mut self, symptom: &Symptom) {
        self.ledger.moved(Some(symptom));
        if is_reset_at_first(symptom) {
            let line = self.line(ResetSeen::BeforeGreeting);
            self.ledger.add(match *symptom {
                // A part of the greeting had come.
                Symptom::Reset { sent, received } => ConnectionRecord { sent, received, ..line },
                _ => line,
            });
        } else if symptom.never_reached_far_end() {
            self.ledger.missed(1, symptom);
        }
    }

    /// As [`failed`](Self::failed), of a connection that no check judges: an answer that was cut
    /// off, or stopped, is lost as well.
    pub(crate) fn broken(&mut self, symptom: &Symptom) {
        self.failed(symptom);
        match symptom {
            // A lost tail is the matter of `close-tail`, which explains it.
            Symptom::Closed { .. } | Symptom::Stalled { .. } => {
                let mut damage = self.ledger.0.damage.lock();
                damage.cut_off += 1;
                damage.first_cut_off.get_or_insert_with(|| symptom.clone());
            }
            _ => {}
        }
    }

    /// The far end has greeted, and nothing more was asked for.
    pub(crate) fn greeted(&mut self, (planned_out, planned_in): (u64, u64)) {
        self.ledger.add(ConnectionRecord { planned_out, planned_in, ..self.line(ResetSeen::Never) });
    }

    /// A try is over: its steps, the lines and the bytes that were sent and received, and what the
    /// far end says of one that went wrong.
    pub(crate) fn ended(
        &mut self,
        steps: &[Step],
        lines: (u64, u64),
        (sent, received): (u64, u64),
        symptom: Option<&Symptom>,
        far: Option<&SessionLog>,
    ) {
        let is_plain = |step: &Step| {
            !matches!(step, Step::Wait(_) | Step::Hold(_) | Step::Eof | Step::Finish | Step::Close | Step::Reset)
        };
        match steps.iter().all(is_plain) {
            true => self.ledger.moved_plainly(symptom),
            false => self.ledger.moved(symptom),
        }
        let fate = match symptom {
            None => ResetSeen::Never,
            Some(Symptom::Reset { .. }) => ResetSeen::Here(far.map(|far| far.closed.as_deref() == Some("reset"))),
            Some(Symptom::FarReset { .. }) => ResetSeen::Far,
            // How far it would have come without a RST cannot be told.
            Some(_) => return,
        };
        // A line of the far end is about as long as its hello.
        let is_tell = |step: &&Step| matches!(step, Step::Tell);
        let told = if fate == ResetSeen::Never { 0 } else { steps.iter().filter(is_tell).count() as u64 };
        let planned = |bytes: fn(Step) -> u64| steps.iter().map(|step| bytes(*step)).fold(0, u64::saturating_add);
        let whole = fate == ResetSeen::Never;
        self.ledger.add(ConnectionRecord {
            planned_out: lines.0 + if whole { sent } else { sent.max(planned(Step::reads)) },
            planned_in: lines.1 * (1 + told) + if whole { received } else { received.max(planned(Step::sends)) },
            sent,
            received,
            arrived: far.map(|far| far.received),
            ..self.line(fate)
        });
    }
}

impl Drop for LedgerRecord {
    fn drop(&mut self) {
        self.ledger.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a RST has ended a connection before a far end has greeted.
pub(crate) fn is_reset_at_first(symptom: &Symptom) -> bool {
    matches!(symptom, Symptom::NoHello(NoHello::Reset | NoHello::ResetAtOnce) | Symptom::Reset { .. })
}
