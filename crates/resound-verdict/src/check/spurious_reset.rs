//! `spurious-reset`: no RST arrives that no end has sent. All connections of the run count.

use std::time::Duration;

use tokio::time::timeout;

use super::CheckId;
use super::greet::elapsed;
use super::integrity::{amount, try_each_way, try_in};
use super::slow_reader::try_plain_out;
use crate::ledger::{ConnectionRecord, ResetSeen, TransferDamage};
use crate::place::PathEnd;
use crate::report::{CheckReport, CheckVerdict, PathDirection};
use crate::tries::{TRIES, all};
use resound_probe::CREDIT;

/// With this many others open, a connection that is reset at its beginning may exceed a limit.
const CROWD: usize = 5;
/// Fewer resets are no rule.
const RULE: usize = 3;
/// This many resets prove a rule: a box that resets four of ten connections sometimes resets three
/// in a row.
const CONFIRMED: usize = 2 * TRIES;
/// A connection that lasts this long is not reset.
const CONFIRM_WITHIN: Duration = Duration::from_secs(5);
const LIMITS: &str =
    "a gateway that limits new connections or their rate, or a box that resets them at their beginning";
const BOX: &str = "a box in the path that resets connections: a firewall that rejects a flow, or conntrack \
                   that calls a packet invalid";

fn is_reset(line: &ConnectionRecord) -> bool {
    line.fate != ResetSeen::Never
}

/// Bytes by which transfers of one amount differ: those of the lines between the ends.
const EDGE: u64 = 2 * 1024;

/// What a connection is to do that was reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RuledBy {
    Sent,
    Received,
    Carried,
    Lasted,
}

impl RuledBy {
    fn value(self, line: &ConnectionRecord) -> u64 {
        match self {
            RuledBy::Sent => line.planned_out,
            RuledBy::Received => line.planned_in,
            RuledBy::Carried => line.planned_out.max(line.planned_in),
            RuledBy::Lasted => u64::try_from(line.lasted.as_micros()).unwrap_or(u64::MAX),
        }
    }

    fn verb(self) -> &'static str {
        match self {
            RuledBy::Sent => "send",
            RuledBy::Received => "receive",
            RuledBy::Carried | RuledBy::Lasted => "carry",
        }
    }
}

/// What all connections that were reset have, and none of the others.
#[derive(Clone, Debug, PartialEq)]
struct ResetRule {
    by: RuledBy,
    /// The most that a connection without a RST was to carry, or the longest that one lasted.
    whole: u64,
    /// How many were above it, and the least of them.
    above: usize,
    least: u64,
    /// The direction whose bytes count, where as many of the other go unpunished.
    direction: Option<PathDirection>,
}

impl ResetRule {
    fn by(lines: &[ConnectionRecord], by: RuledBy) -> Option<ResetRule> {
        let value = |line: &ConnectionRecord| by.value(line);
        let resets = lines.iter().filter(|line| is_reset(line));
        // How much those would have carried that no far end has greeted is not known.
        let greeted: Vec<_> = resets.clone().filter(|line| line.fate != ResetSeen::BeforeGreeting).map(value).collect();
        let resets = if greeted.len() >= RULE { greeted } else { resets.map(value).collect() };
        // Without a whole one nothing is left to compare with.
        let whole = lines.iter().filter(|line| !is_reset(line)).map(value).max().unwrap_or_default();
        // At the edge, a RST may come after the last byte, and lines of the protocol count too.
        let above = resets.iter().filter(|reset| **reset > whole);
        // A small amount is no edge of transfers.
        let edge = EDGE.min(whole / 16);
        let least = *above.clone().min()?;
        let above = above.count();
        let holds = above >= RULE && resets.iter().all(|reset| reset.saturating_add(edge) >= whole);
        holds.then_some(ResetRule { by, whole, above, least, direction: None })
    }

    fn of(lines: &[ConnectionRecord]) -> Option<ResetRule> {
        // The bytes of one direction are to blame where as many of the other go unpunished.
        let one_way = |by, other: RuledBy, direction| {
            let rule = ResetRule::by(lines, by)?;
            let is_alone = lines.iter().any(|line| !is_reset(line) && other.value(line) > rule.whole);
            Some(ResetRule { direction: is_alone.then_some(direction), ..rule })
        };
        let sent = one_way(RuledBy::Sent, RuledBy::Received, PathDirection::Out);
        let received = one_way(RuledBy::Received, RuledBy::Sent, PathDirection::In);
        match (sent, received, ResetRule::by(lines, RuledBy::Carried)) {
            (Some(rule), None, _) | (None, Some(rule), _) if rule.direction.is_some() => Some(rule),
            (_, _, Some(rule)) | (Some(rule), ..) | (_, Some(rule), _) => Some(ResetRule { direction: None, ..rule }),
            _ => ResetRule::by(lines, RuledBy::Lasted),
        }
    }

    fn text(&self) -> String {
        let what = match (self.by, self.whole) {
            // The greetings alone came through, and no time is known of them.
            (RuledBy::Lasted, 0) => " after the first ones".into(),
            (RuledBy::Lasted, micros) => {
                format!(" that was to last longer than {}", elapsed(Duration::from_micros(micros)))
            }
            (by, 0) => format!(" that was to {} any byte", by.verb()),
            (by, whole) => format!(" that was to {} more than {}", by.verb(), amount(whole)),
        };
        format!("each connection{what} was reset: {above} of {above}", above = self.above)
    }

    /// Whether enough connections say so.
    fn is_certain(&self) -> bool {
        self.by == RuledBy::Lasted || self.above >= CONFIRMED
    }

    /// More connections that the rule would reset, until one is not.
    async fn confirm(&self, end: &PathEnd) {
        for _ in 0..CONFIRMED / TRIES {
            let tries = all((0..TRIES).map(|_| timeout(CONFIRM_WITHIN, self.try_again(end)))).await;
            let unfinished = tries.iter().filter(|tried| tried.is_err()).count();
            (0..unfinished).for_each(|_| end.ledger.goes_on(self.least, CONFIRM_WITHIN));
            if unfinished > 0 || tries.contains(&Ok(true)) {
                break;
            }
        }
    }

    /// Returns whether a connection carries as much as the rule forbids.
    async fn try_again(&self, end: &PathEnd) -> bool {
        let bytes = self.least;
        match self.by {
            RuledBy::Sent => try_plain_out(end, bytes).await.result.is_ok(),
            RuledBy::Received if bytes <= CREDIT => try_in(end, bytes).await.result.is_ok(),
            RuledBy::Received | RuledBy::Carried | RuledBy::Lasted => try_each_way(end, bytes).await.result.is_ok(),
        }
    }
}

/// A smallest and a largest value.
fn span<T: PartialOrd + Copy>(values: impl Iterator<Item = T>, text: impl Fn(T) -> String) -> String {
    let bounds = values.fold(None, |bounds: Option<(T, T)>, value| match bounds {
        None => Some((value, value)),
        Some((low, high)) => Some((if value < low { value } else { low }, if value > high { value } else { high })),
    });
    match bounds {
        None => "none".into(),
        Some((low, high)) if low == high => text(low),
        Some((low, high)) => format!("{} to {}", text(low), text(high)),
    }
}

/// Where the resets were seen, for the reader and for the direction.
fn ends(resets: &[ConnectionRecord]) -> (String, Option<PathDirection>) {
    let count = |fate: &dyn Fn(ResetSeen) -> bool| resets.iter().filter(|line| fate(line.fate)).count();
    let both = count(&|fate| fate == ResetSeen::Here(Some(true)));
    let here = count(&|fate| fate == ResetSeen::Here(Some(false)));
    let far = count(&|fate| fate == ResetSeen::Far);
    let unknown = count(&|fate| matches!(fate, ResetSeen::Here(None) | ResetSeen::BeforeGreeting));
    let parts = [
        (both, "both ends received a RST"),
        (here, "this end alone received one"),
        (far, "the far end alone received one"),
        (unknown, "what the far end saw is not known"),
    ];
    let text: Vec<_> =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} of {}: {what}", resets.len())).collect();
    let direction = match (both, here, far) {
        (0, 0, 1..) => Some(PathDirection::Out),
        (0, 1.., 0) => Some(PathDirection::In),
        // A RST to both ends has no direction.
        _ => None,
    };
    (text.join("; "), direction)
}

/// What the connections of a run mean, together with the resets that kept other checks from
/// judging.
pub(crate) fn with_others(lines: &[ConnectionRecord], others: &[CheckReport]) -> CheckReport {
    let report = spurious_reset(lines);
    // A RST in the place of a FIN is the matter of that one.
    let is_other = |other: &&CheckReport| other.resets > 0 && other.id != CheckId::CloseTail;
    let reset: Vec<_> = others.iter().filter(is_other).collect();
    if reset.is_empty() || report.verdict != CheckVerdict::Pass {
        return report;
    }
    let count: u32 = reset.iter().map(|other| other.resets).sum();
    let all = report.tries + reset.iter().map(|other| other.tries).sum::<u32>();
    let what = format!("{count} of {all} connections were reset, and no end has sent a RST");
    let report = CheckReport::new(CheckId::SpuriousReset, CheckVerdict::Flaky, what)
        .tried((all - count.min(all)) as usize, all as usize)
        .measure("connections", all)
        .measure("resets", count)
        .suspects(BOX);
    reset.iter().fold(report, |report, other| report.saw(format!("in {}: {}", other.id, other.summary)))
}

/// The same, with the connections that never reached the far end, unless another check or a limit
/// of connections explains them.
pub(crate) fn with_unmet<'a>(
    report: CheckReport,
    damage: &TransferDamage,
    others: impl IntoIterator<Item = &'a CheckReport>,
) -> CheckReport {
    let of_many = [CheckId::AcceptTruth, CheckId::Churn, CheckId::Cap, CheckId::TlsSplitHello];
    let explains = |other: &CheckReport| match other.verdict {
        CheckVerdict::Pass | CheckVerdict::Skip => false,
        CheckVerdict::Warn => of_many.contains(&other.id),
        CheckVerdict::Unknown => other.never_reached_far_end,
        CheckVerdict::Fail | CheckVerdict::Flaky | CheckVerdict::Error => true,
    };
    let (lost, what, first) = match damage {
        TransferDamage { unreached, first_unmet: Some(first), .. } => {
            (*unreached, "connections never reached the far end", first)
        }
        TransferDamage { cut_off, first_cut_off: Some(first), .. } => (*cut_off, "answers broke off or stopped", first),
        _ => return report,
    };
    if report.verdict != CheckVerdict::Pass || others.into_iter().any(explains) {
        return report;
    }
    let all = report.tries as usize + lost;
    let what = format!("{lost} of {all} {what}, and no check shows why: {first}");
    CheckReport::new(CheckId::SpuriousReset, CheckVerdict::Flaky, what)
        .tried(all - lost, all)
        .saw(report.summary)
        .measure("connections", all)
        .measure("unreached", lost)
        .suspects(
            "an outage while the test ran, a balancer one of whose backends hangs, or a box that forgets some \
                   connections",
        )
}

/// What the connections of a run mean.
fn spurious_reset(lines: &[ConnectionRecord]) -> CheckReport {
    let id = CheckId::SpuriousReset;
    let resets: Vec<_> = lines.iter().copied().filter(is_reset).collect();
    let (count, all) = (resets.len(), lines.len());
    let carried: u64 = lines.iter().map(|line| line.sent + line.received).sum();
    if all == 0 {
        return CheckReport::new(id, CheckVerdict::Unknown, "no connection was tried");
    }
    if resets.is_empty() {
        let what = format!("no RST on {all} connections, which carried {}", amount(carried));
        return CheckReport::new(id, CheckVerdict::Pass, what).tried(all, all).measure("connections", all);
    }
    let is_first = |line: &ConnectionRecord| line.fate == ResetSeen::BeforeGreeting;
    let quiet = lines.iter().filter(|line| line.others < CROWD && !is_reset(line)).count();
    let rule = ResetRule::of(lines);
    let others = resets.iter().map(|line| line.others).min().unwrap_or_default();
    // A cap spares few of those that begin beside as many others.
    let spared = lines.iter().filter(|line| line.others >= others && !is_reset(line)).count();
    let is_crowd = others >= CROWD && spared <= count && resets.iter().all(is_first);
    let report = if is_crowd && quiet >= RULE {
        let what =
            format!("{count} of {all} connections were reset at their beginning, with {others} or more others open");
        CheckReport::new(id, CheckVerdict::Warn, what).suspects("a box that caps the connections, or their rate")
    } else if resets.iter().all(|line| line.fate == ResetSeen::Here(None)) {
        let what = format!("{count} of {all} connections were reset, and the far end does not know them any more");
        CheckReport::new(id, CheckVerdict::Unknown, what).suspects("the far end ended, or started again")
    } else {
        match &rule {
            Some(rule) if rule.is_certain() => CheckReport::new(id, CheckVerdict::Fail, rule.text()),
            _ => {
                let what = format!("{count} of {all} connections were reset, and no end has sent a RST");
                CheckReport::new(id, CheckVerdict::Flaky, what)
            }
        }
        .suspects(if resets.iter().all(is_first) && count < all { LIMITS } else { BOX })
    };
    let (where_seen, direction) = ends(&resets);
    let mut report = report
        .tried(all - count, all)
        .measure("connections", all)
        .measure("resets", count)
        .saw(format!(
            "at the RST, this end had sent {} and received {}",
            span(resets.iter().map(|line| line.sent), amount),
            span(resets.iter().map(|line| line.received), amount)
        ))
        .saw(format!("after {}", span(resets.iter().map(|line| line.lasted), elapsed)))
        .saw(where_seen);
    if resets.iter().any(|line| line.arrived.is_some()) {
        let arrived = span(resets.iter().filter_map(|line| line.arrived), amount);
        report = report.saw(format!("the far end had received {arrived}"));
    }
    report.direction = direction.or_else(|| rule.and_then(|rule| rule.direction));
    report
}

/// Transfers of its own, where the others have moved little; where some were reset, those of one
/// direction alone, which tell the direction; and where few resets look like a rule, more of them.
pub(crate) async fn more(end: &PathEnd, bytes: u64) {
    let moved = end.ledger.lines().iter().filter(|line| line.planned_out.max(line.planned_in) >= bytes).count();
    if moved < TRIES {
        all((0..TRIES).map(|_| try_each_way(end, bytes))).await;
    }
    if end.ledger.lines().iter().any(is_reset) {
        // More than the others have carried, where that is little.
        let bytes = bytes.max((4 * bytes).min(CREDIT));
        let out = all((0..TRIES).map(|_| try_plain_out(end, bytes)));
        tokio::join!(out, all((0..TRIES).map(|_| try_in(end, bytes))));
    }
    if let Some(rule) = ResetRule::of(&end.ledger.lines())
        && !rule.is_certain()
    {
        rule.confirm(end).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symptom::{NoHello, Symptom};

    fn line(planned: u64, fate: ResetSeen) -> ConnectionRecord {
        ConnectionRecord {
            others: 3,
            planned_out: planned,
            planned_in: planned,
            sent: planned.min(65536),
            received: planned.min(65536),
            arrived: None,
            lasted: Duration::from_millis(5),
            fate,
        }
    }

    #[test]
    fn connections_that_met_no_far_end_need_a_reason() {
        let whole = || spurious_reset(&[line(9000, ResetSeen::Never); 20]);
        let first = Some(Symptom::NoHello(NoHello::Silent));
        let damage = TransferDamage { unreached: 5, first_unmet: first, ..TransferDamage::default() };
        let other = |id, verdict| CheckReport::new(id, verdict, "");
        let with = |others: &[CheckReport]| with_unmet(whole(), &damage, others);
        let report = with(&[other(CheckId::Churn, CheckVerdict::Pass), other(CheckId::Address, CheckVerdict::Warn)]);
        assert_eq!((report.verdict, report.ok, report.tries), (CheckVerdict::Flaky, 20, 25));
        assert!(report.summary.starts_with("5 of 25 connections never reached the far end"), "{}", report.summary);
        assert_eq!(with(&[other(CheckId::Nagle, CheckVerdict::Unknown)]).verdict, CheckVerdict::Flaky);
        for reason in [
            other(CheckId::Churn, CheckVerdict::Warn),
            CheckReport { never_reached_far_end: true, ..other(CheckId::Nagle, CheckVerdict::Unknown) },
            other(CheckId::MtuOut, CheckVerdict::Fail),
        ] {
            assert_eq!(with(&[reason]).verdict, CheckVerdict::Pass);
        }
        assert_eq!(with_unmet(whole(), &TransferDamage::default(), &[]).verdict, CheckVerdict::Pass);
    }

    #[test]
    fn connections_behind_the_greetings_that_are_all_reset_hint_at_a_limit() {
        let begun = |fate| ConnectionRecord { fate, lasted: Duration::from_millis(1), ..line(0, ResetSeen::Never) };
        let whole = vec![ConnectionRecord { lasted: Duration::ZERO, ..begun(ResetSeen::Never) }; 3];
        let report = spurious_reset(&[whole, vec![begun(ResetSeen::BeforeGreeting); 9]].concat());
        assert_eq!(report.verdict, CheckVerdict::Fail, "{report:#?}");
        assert_eq!(report.summary, "each connection after the first ones was reset: 9 of 9");
        assert_eq!(report.suspect, [LIMITS]);
    }

    #[test]
    fn a_rule_makes_it_a_fail_and_chance_a_flake() {
        const BOTH: ResetSeen = ResetSeen::Here(Some(true));
        let verdict = |lines: &[ConnectionRecord]| spurious_reset(lines).verdict;
        let whole = [line(0, ResetSeen::Never), line(9000, ResetSeen::Never), line(9000, ResetSeen::Never)];
        assert_eq!(verdict(&whole), CheckVerdict::Pass);
        let ruled = [&whole[..], &[line(1 << 20, BOTH); 3]].concat();
        assert_eq!(verdict(&ruled), CheckVerdict::Flaky, "three in a row may be chance");
        let ruled = [&whole[..], &[line(1 << 20, BOTH); 6]].concat();
        let report = spurious_reset(&ruled);
        assert_eq!((report.verdict, report.direction), (CheckVerdict::Fail, None));
        assert!(report.summary.contains("8.8 KiB") && report.summary.contains("6 of 6"), "{}", report.summary);
        assert!(report.evidence[0].contains("64.0 KiB"), "{:?}", report.evidence);
        let edge = [&ruled[..], &[line(9000, BOTH)]].concat();
        let report = spurious_reset(&edge);
        assert_eq!(report.verdict, CheckVerdict::Fail, "a RST behind the last byte is one too");
        assert!(report.summary.contains("6 of 6"), "{}", report.summary);
        let chance = [&ruled[..], &[line(1 << 20, ResetSeen::Never)]].concat();
        assert_eq!(verdict(&chance), CheckVerdict::Flaky);
        assert_eq!(verdict(&[&whole[..], &[line(1 << 20, BOTH)]].concat()), CheckVerdict::Flaky);
        assert_eq!(verdict(&[]), CheckVerdict::Unknown);
    }

    #[test]
    fn a_far_end_that_ended_is_not_the_path() {
        let lines = [line(0, ResetSeen::Never), line(9, ResetSeen::Here(None))];
        assert_eq!(spurious_reset(&lines).verdict, CheckVerdict::Unknown);
    }

    #[test]
    fn a_reset_in_another_check_is_one_too() {
        let lines = [line(9, ResetSeen::Never)];
        let other = |resets| CheckReport {
            resets,
            ..CheckReport::new(CheckId::HalfCloseIn, CheckVerdict::Unknown, "a RST arrived").tried(1, 3)
        };
        assert_eq!(with_others(&lines, &[other(0)]).verdict, CheckVerdict::Pass);
        let tail = CheckReport { id: CheckId::CloseTail, ..other(3) };
        assert_eq!(with_others(&lines, &[tail]).verdict, CheckVerdict::Pass);
        let report = with_others(&lines, &[other(0), other(2)]);
        assert_eq!((report.verdict, report.ok, report.tries), (CheckVerdict::Flaky, 2, 4), "{}", report.summary);
    }

    #[test]
    fn one_connection_too_many_is_a_warning() {
        let crowded = ConnectionRecord { others: 20, ..line(0, ResetSeen::BeforeGreeting) };
        let lines = [&[line(9, ResetSeen::Never); 9][..], &[crowded; 4]].concat();
        let report = spurious_reset(&lines);
        assert_eq!(report.verdict, CheckVerdict::Warn);
        assert!(report.summary.contains("20 or more others"), "{}", report.summary);
        let spared = ConnectionRecord { fate: ResetSeen::Never, ..crowded };
        assert_eq!(spurious_reset(&[&lines[..], &[spared; 4]].concat()).verdict, CheckVerdict::Warn);
        let by_chance = spurious_reset(&[&lines[..], &[spared; 5]].concat());
        assert_eq!(by_chance.verdict, CheckVerdict::Flaky, "no cap spares most of those beside as many others");
        let lone = ConnectionRecord { others: 0, ..crowded };
        assert_eq!(spurious_reset(&[&lines[..], &[lone]].concat()).verdict, CheckVerdict::Flaky);
    }

    #[test]
    fn the_end_that_saw_the_reset_gives_the_direction() {
        for (fate, direction) in [
            (ResetSeen::Far, Some(PathDirection::Out)),
            (ResetSeen::Here(Some(false)), Some(PathDirection::In)),
            (ResetSeen::Here(Some(true)), None),
            (ResetSeen::BeforeGreeting, None),
        ] {
            let report = spurious_reset(&[&[line(0, ResetSeen::Never)][..], &[line(9, fate); 6]].concat());
            assert_eq!((report.verdict, report.direction), (CheckVerdict::Fail, direction));
        }
    }

    #[test]
    fn the_bytes_that_are_reset_give_the_direction_where_both_ends_saw_it() {
        let reset = line(1 << 20, ResetSeen::Here(Some(true)));
        let others = [line(9, ResetSeen::Never); 3];
        let (up, down) = (ConnectionRecord { planned_in: 0, ..reset }, ConnectionRecord { planned_out: 0, ..reset });
        let seen = |lines: &[ConnectionRecord]| {
            let report = spurious_reset(&[&others[..], lines, lines].concat());
            assert_eq!(report.verdict, CheckVerdict::Fail, "{}", report.summary);
            report.direction
        };
        let whole = |line: ConnectionRecord| ConnectionRecord { fate: ResetSeen::Never, ..line };
        assert_eq!(seen(&[up, up, reset, whole(down)]), Some(PathDirection::Out));
        assert_eq!(seen(&[down, down, reset, whole(up)]), Some(PathDirection::In));
        assert_eq!(seen(&[up, down, reset]), None);
        // What was to send nothing has not sent too much.
        let served = ConnectionRecord { planned_out: 572, ..line(60_000, ResetSeen::Never) };
        assert_eq!(seen(&[served, up, up, up, down, down, down]), None);
    }
}
