//! [`Bunching`]: whether pieces that were sent with pauses arrive several at a time, regularly.

use std::time::Duration;

/// From one piece to the next.
pub(super) const EVERY: Duration = Duration::from_millis(10);
/// Pieces that arrive within less came together, in milliseconds.
const TOGETHER: f64 = 3.0;
/// With fewer pieces per bunch, or fewer bunches, it is chance.
const FEWEST_PIECES: usize = 3;
const FEWEST_BUNCHES: usize = 3;
/// The share of the bunches, and of the times between them, that is regular, in percent.
const REGULAR: usize = 80;
/// Bunches that are regular differ by less, in milliseconds and as a part: a piece at the end of
/// one may begin the next.
const TOLERANCE: (f64, f64) = (13.0, 0.15);

/// When pieces were sent, and when they came, each in milliseconds of its own clock. Of those at
/// the end it may be unknown when they came.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PacedPieces {
    pub(super) sent: Vec<f64>,
    pub(super) came: Vec<f64>,
}

/// Pieces per bunch, and the interval between bunches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bunching {
    pub(super) every_ms: f64,
    pub(super) pieces: usize,
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn is_near(value: f64, middle: f64) -> bool {
    (value - middle).abs() <= TOLERANCE.0.max(middle * TOLERANCE.1)
}

/// How the pieces came, where the sender has not made bunches of them by itself.
pub(super) fn bunching(pieces: &PacedPieces) -> Option<Bunching> {
    regular(&pieces.came).filter(|_| regular(&pieces.sent).is_none())
}

/// The first bunch has to be one: a lone piece that waits for nothing (Nagle's algorithm) is none.
/// The last one may be a part.
fn regular(times: &[f64]) -> Option<Bunching> {
    let mut bunches: Vec<(f64, usize)> = Vec::new();
    let mut before = f64::MIN;
    for &at in times {
        match bunches.last_mut() {
            Some((_, count)) if at - before < TOGETHER => *count += 1,
            _ => bunches.push((at, 1)),
        }
        before = at;
    }
    bunches.pop();
    if bunches.len() < FEWEST_BUNCHES || bunches[0].1 < FEWEST_PIECES {
        return None;
    }
    let each = median(bunches.iter().map(|(_, count)| *count as f64).collect());
    let pauses: Vec<_> = bunches.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    let every_ms = median(pauses.clone());
    let is_full = |(_, count): &&(f64, usize)| *count >= FEWEST_PIECES && (*count as f64 - each).abs() <= 1.0;
    let full = bunches.iter().filter(is_full).count();
    let near = pauses.iter().filter(|pause| is_near(**pause, every_ms)).count();
    let is_regular = full * 100 >= bunches.len() * REGULAR && near * 100 >= pauses.len() * REGULAR;
    is_regular.then_some(Bunching { every_ms, pieces: each as usize })
}

/// What half of the tries have found, and two at least: a busy machine hides bunches, and makes no
/// regular ones.
pub(super) fn common(found: &[Option<Bunching>]) -> Option<Bunching> {
    let agree = |one: &Bunching| {
        let is_same = |other: &&Bunching| is_near(other.every_ms, one.every_ms);
        found.iter().flatten().filter(is_same).count()
    };
    found.iter().flatten().copied().find(|one| agree(one) >= 2 && agree(one) * 2 >= found.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(came: &[f64]) -> Option<Bunching> {
        let sent = (0..came.len()).map(|n| n as f64 * 10.0).collect();
        bunching(&PacedPieces { sent, came: came.to_vec() })
    }

    fn after(n: usize, wait: impl Fn(usize) -> f64) -> Vec<f64> {
        (0..n).map(|n| n as f64 * 10.0 + wait(n)).collect()
    }

    #[test]
    fn regular_bunches_are_found() {
        let came = after(30, |n| (4 - n % 5) as f64 * 10.0);
        assert_eq!(found(&came), Some(Bunching { every_ms: 50.0, pieces: 5 }));
    }

    #[test]
    fn pauses_jitter_and_a_loss_are_no_bunches() {
        assert_eq!(found(&after(30, |_| 100.0)), None, "a long line");
        assert_eq!(found(&after(30, |n| if (10..20).contains(&n) { (20 - n) as f64 * 10.0 } else { 0.0 })), None);
        let draws = [40.0, 3.0, 17.0, 29.0, 44.0, 8.0, 1.0, 33.0, 21.0];
        let mut came = after(60, |n| draws[n % draws.len()]);
        (1..came.len()).for_each(|n| came[n] = came[n].max(came[n - 1]));
        assert_eq!(found(&came), None, "jitter, in order");
        assert_eq!(found(&[]), None);
    }

    #[test]
    fn a_sender_of_bunches_and_a_first_piece_that_did_not_wait_are_none() {
        let came = after(30, |n| (4 - n % 5) as f64 * 10.0);
        let sent = came.clone();
        assert_eq!(bunching(&PacedPieces { sent, came }), None);
        let mut nagle = after(31, |n| ((30 - n) % 5) as f64 * 10.0);
        nagle[0] = 0.0;
        assert_eq!(found(&nagle), None);
    }

    #[test]
    fn tries_have_to_agree() {
        let one = Some(Bunching { every_ms: 50.0, pieces: 5 });
        let other = Some(Bunching { every_ms: 90.0, pieces: 9 });
        assert_eq!(common(&[one, one, one]), one);
        assert_eq!(common(&[one, None, one]), one);
        assert_eq!(common(&[one, other, None]), None);
        assert_eq!(common(&[one, None, None, None, None, one]), None);
        assert_eq!(common(&[]), None);
    }
}
