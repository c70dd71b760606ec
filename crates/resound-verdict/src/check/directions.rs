//! One report for a check that tries each direction by itself.

use crate::report::{CheckReport, CheckVerdict, PathDirection};

/// The worse of two reports, `out` and `back` in this order, or both together if they found the
/// same. What they have measured is kept of both.
pub(crate) fn joined(out: CheckReport, back: CheckReport) -> CheckReport {
    let rank = |report: &CheckReport| CheckVerdict::ALL.iter().position(|verdict| *verdict == report.verdict);
    let (ok, tries) = (out.ok + back.ok, out.tries + back.tries);
    let is_same = out.verdict == back.verdict;
    let (mut worse, other) = if rank(&out) <= rank(&back) { (out, back) } else { (back, out) };
    if is_same && worse.verdict != CheckVerdict::Pass {
        worse.direction = Some(PathDirection::Both);
        for line in other.evidence.into_iter().chain([other.summary]) {
            if !worse.evidence.contains(&line) && line != worse.summary {
                worse.evidence.push(line);
            }
        }
    }
    worse.never_reached_far_end |= other.never_reached_far_end;
    worse.measured.extend(other.measured);
    (worse.ok, worse.tries) = (ok, tries);
    worse
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::CheckId;

    #[test]
    fn the_worse_direction_is_reported_and_two_alike_are_both() {
        let report = |verdict, direction| {
            CheckReport::new(CheckId::Nagle, verdict, format!("{direction}")).tried(1, 2).towards(direction)
        };
        let (pass, warn, fail) = (CheckVerdict::Pass, CheckVerdict::Warn, CheckVerdict::Fail);
        let joined = |out, back| joined(report(out, PathDirection::Out), report(back, PathDirection::In));
        let found = |out, back| (joined(out, back).verdict, joined(out, back).direction);
        assert_eq!(found(pass, warn), (warn, Some(PathDirection::In)));
        assert_eq!(found(fail, warn), (fail, Some(PathDirection::Out)));
        assert_eq!(found(warn, warn), (warn, Some(PathDirection::Both)));
        assert_eq!(found(CheckVerdict::Unknown, pass), (CheckVerdict::Unknown, Some(PathDirection::Out)));
        assert_eq!((joined(pass, pass).ok, joined(pass, pass).tries), (2, 4));
        assert_eq!(joined(warn, warn).evidence, ["in"]);
    }
}
