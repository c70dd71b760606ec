//! A ladder of waits, and what its rungs mean together.

use std::time::Duration;

use tokio::time::sleep;

use super::idle_try::{IdleDeath, IdleTry};
use crate::tries::{TRIES, all};

/// Waits in milliseconds: the numbers that boxes in the field have, and short ones.
const RUNGS: [u64; 20] = [
    500, 1000, 2000, 5000, 15_000, 30_000, 60_000, 90_000, 120_000, 180_000, 240_000, 300_000, 350_000, 400_000,
    600_000, 900_000, 1_200_000, 1_800_000, 3_600_000, 7_440_000,
];
/// Between the beginnings of two connections.
const STAGGER: Duration = Duration::from_millis(5);
/// A rung is longer than its name by up to this part, so that not all end in one instant.
const JITTER: f64 = 0.01;
/// Boxes whose idle timeout is known, in seconds.
const KNOWN: [(u64, &str); 11] = [
    (50, "HAProxy with `timeout client` and `timeout server` of 50 s, as in many examples"),
    (60, "an AWS ALB, a Classic Load Balancer or nginx's `proxy_read_timeout`: 60 s"),
    (240, "Azure's load balancer or NAT gateway: 4 minutes"),
    (300, "a Cisco Meraki or another firewall: 5 minutes"),
    (350, "an AWS NLB, NAT gateway or Network Firewall: 350 s"),
    (600, "Google Cloud's firewall, or nginx's `proxy_timeout`: 10 minutes"),
    (900, "IPVS, such as Docker Swarm or kube-proxy with it: 15 minutes"),
    (1200, "Google Cloud NAT: 20 minutes"),
    (1800, "a Juniper SRX: 30 minutes"),
    (3600, "Envoy, a Cisco ASA or a Palo Alto firewall: 1 hour"),
    (7440, "a NAT that follows RFC 5382: 2 hours and 4 minutes"),
];

/// The waits of a run, each longer than the one before.
pub(crate) fn rungs(longest: Duration) -> Vec<Duration> {
    let mut rungs: Vec<_> =
        RUNGS.into_iter().map(Duration::from_millis).filter(|rung| rung.mul_f64(1.05) < longest).collect();
    rungs.push(longest);
    rungs
}

/// The rungs, with three tries each of a wait, all at once. Chance is from `seed`.
pub(crate) async fn climb(rungs: &[Duration], seed: u64, attempt: impl AsyncFn(Duration) -> IdleTry) -> Vec<Rung> {
    let mut random = fastrand::Rng::with_seed(seed);
    let waits: Vec<_> = rungs.iter().flat_map(|rung| [*rung; TRIES]).map(|rung| jittered(rung, &mut random)).collect();
    let tries = all(waits.iter().enumerate().map(async |(at, wait)| {
        sleep(STAGGER * u32::try_from(at).unwrap_or(0)).await;
        attempt(*wait).await
    }))
    .await;
    let mut tries = tries.into_iter();
    rungs.iter().map(|wait| Rung { wait: *wait, tries: tries.by_ref().take(TRIES).collect() }).collect()
}

/// A wait, a little longer by chance.
fn jittered(rung: Duration, random: &mut fastrand::Rng) -> Duration {
    rung.mul_f64(1.0 + JITTER * random.f64())
}

/// The tries of one wait.
#[derive(Clone, Debug)]
pub(crate) struct Rung {
    pub(crate) wait: Duration,
    pub(crate) tries: Vec<IdleTry>,
}

impl Rung {
    pub(crate) fn deaths(&self) -> impl Iterator<Item = IdleDeath> {
        self.tries.iter().filter_map(|tried| tried.result.as_ref().ok().copied().flatten())
    }

    pub(crate) fn lived(&self) -> usize {
        self.tries.iter().filter(|tried| matches!(tried.result, Ok(None))).count()
    }
}

/// What the rungs of one kind of try mean together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum LadderFinding {
    /// All that were judged live, up to this wait.
    Lives(Duration),
    /// Each connection that is idle for longer than a time dies: the longest wait that all
    /// survived, the shortest that none did, and how.
    Dies(Duration, Duration, IdleDeath),
    /// Some died, and no wait killed all.
    Mixed(Duration, IdleDeath),
    /// No wait was judged.
    Nothing,
}

pub(crate) fn found(rungs: &[Rung]) -> LadderFinding {
    let judged: Vec<_> = rungs.iter().filter(|rung| rung.lived() + rung.deaths().count() > 0).collect();
    let all_died = |rung: &Rung| rung.lived() == 0;
    let all_lived = |rung: &Rung| rung.deaths().next().is_none();
    let Some(first) = judged.iter().find(|rung| !all_lived(rung)) else {
        return judged.last().map_or(LadderFinding::Nothing, |rung| LadderFinding::Lives(rung.wait));
    };
    let deadly = judged.iter().find(|rung| all_died(rung));
    // Where all die of a wait, a longer one cannot be survived.
    let is_steady = deadly.is_some_and(|deadly| judged.iter().all(|rung| rung.wait < deadly.wait || all_died(rung)));
    match deadly {
        Some(deadly) if is_steady => {
            let lives = judged.iter().filter(|rung| rung.wait < first.wait).map(|rung| rung.wait).max();
            // In a longer wait it is clearer whether the end came by itself.
            let deaths = judged.iter().filter(|rung| rung.wait >= deadly.wait).flat_map(|rung| rung.deaths());
            LadderFinding::Dies(lives.unwrap_or_default(), deadly.wait, typical(deaths.collect()))
        }
        _ => LadderFinding::Mixed(first.wait, typical(first.deaths().collect())),
    }
}

/// The death that most had; of one with a time, the middle one.
fn typical(mut deaths: Vec<IdleDeath>) -> IdleDeath {
    let name = |death: &IdleDeath| std::mem::discriminant(death);
    let most = deaths.iter().map(|death| deaths.iter().filter(|other| name(other) == name(death)).count()).max();
    deaths.sort_by_key(|death| death.at());
    let of_most: Vec<_> = deaths
        .iter()
        .filter(|death| Some(deaths.iter().filter(|other| name(other) == name(death)).count()) == most)
        .collect();
    of_most.get(of_most.len() / 2).map_or(IdleDeath::OnData, |death| **death)
}

/// A timeout counts as found once the two waits around it differ by no more than this.
pub(crate) fn precision(dies: Duration) -> Duration {
    dies.mul_f64(0.02).max(Duration::from_secs(1).min(dies / 10))
}

/// Waits between two others, evenly.
pub(crate) fn between(lives: Duration, dies: Duration, steps: u32) -> Vec<Duration> {
    (1..=steps).map(|step| lives + (dies - lives) * step / (steps + 1)).collect()
}

/// When connections die: a time that was seen, or the waits between which it lies.
pub(crate) fn when(lives: Duration, dies: Duration, death: IdleDeath) -> String {
    let seconds = |time: Duration| match time.as_secs_f64() {
        short if short < 100.0 => format!("{short:.2} s"),
        long => format!("{long:.0} s"),
    };
    match death.at() {
        Some(at) => format!("after {}", seconds(at)),
        None => format!("after {} to {}", seconds(lives), seconds(dies)),
    }
}

/// The boxes whose timeout lies there.
pub(crate) fn suspects(lives: Duration, dies: Duration) -> Vec<&'static str> {
    // A timer that ticks coarsely is late.
    let from = lives.mul_f64(0.97).as_secs_f64();
    let to = dies.as_secs_f64() * 1.01;
    KNOWN.iter().filter(|(known, _)| (from..=to).contains(&(*known as f64))).map(|(_, what)| *what).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::PathDirection;
    use crate::symptom::Symptom;

    fn rung(seconds: u64, results: &[Result<Option<IdleDeath>, ()>]) -> Rung {
        let of = |result: &Result<Option<IdleDeath>, ()>| IdleTry {
            result: result.map_err(|()| Symptom::Forgotten),
            far: None,
        };
        Rung { wait: Duration::from_secs(seconds), tries: results.iter().map(of).collect() }
    }

    const LIVES: Result<Option<IdleDeath>, ()> = Ok(None);
    const DIES: Result<Option<IdleDeath>, ()> = Ok(Some(IdleDeath::Silent(PathDirection::Out)));

    #[test]
    fn the_first_wait_that_all_die_of_ends_the_bracket() {
        let seconds = Duration::from_secs;
        let ladder = [rung(1, &[LIVES; 3]), rung(2, &[LIVES, DIES, LIVES]), rung(5, &[DIES; 3]), rung(9, &[DIES; 3])];
        let dies = LadderFinding::Dies(seconds(1), seconds(5), IdleDeath::Silent(PathDirection::Out));
        assert_eq!(found(&ladder), dies);
        assert_eq!(found(&ladder[..1]), LadderFinding::Lives(seconds(1)));
        let mixed = LadderFinding::Mixed(seconds(2), IdleDeath::Silent(PathDirection::Out));
        assert_eq!(found(&ladder[..2]), mixed);
        assert_eq!(found(&[rung(1, &[Err(()); 3])]), LadderFinding::Nothing);
    }

    #[test]
    fn a_longer_wait_that_one_survives_makes_it_mixed() {
        let ladder = [rung(1, &[DIES; 3]), rung(2, &[DIES, DIES, LIVES])];
        assert!(matches!(found(&ladder), LadderFinding::Mixed(..)));
        // Broken tries say nothing.
        let ladder = [rung(1, &[LIVES, Err(()), LIVES]), rung(2, &[DIES, Err(()), DIES])];
        assert!(matches!(found(&ladder), LadderFinding::Dies(..)));
    }

    #[test]
    fn a_ladder_ends_with_its_longest_wait() {
        let waits = |longest| rungs(Duration::from_millis(longest)).iter().map(Duration::as_millis).collect::<Vec<_>>();
        assert_eq!(waits(300), [300]);
        assert_eq!(waits(3000), [500, 1000, 2000, 3000]);
        assert_eq!(waits(2000), [500, 1000, 2000]);
        assert_eq!(waits(60_000).last(), Some(&60_000));
        assert_eq!(waits(7_440_000).len(), 20);
    }

    #[test]
    fn a_bracket_names_the_boxes_in_it() {
        let within = |lives, dies| suspects(Duration::from_secs(lives), Duration::from_secs(dies));
        assert_eq!(within(300, 355).len(), 2);
        assert!(within(345, 351)[0].contains("NLB"));
        assert_eq!(within(180, 240).len(), 1);
        assert!(within(2, 5).is_empty());
    }
}
