//! `backends`: how many servers have answered.

use super::CheckId;
use crate::probe::FarHello;
use crate::report::{CheckReport, CheckVerdict};

/// So many names stand in the evidence.
const SHOWN: usize = 16;

/// Of all greetings of the run.
pub(crate) fn backends(greeted: &[FarHello]) -> CheckReport {
    // In the order in which they answered first.
    let mut seen: Vec<(&FarHello, usize)> = Vec::new();
    for hello in greeted {
        match seen.iter_mut().find(|(first, _)| first.instance == hello.instance) {
            Some((_, count)) => *count += 1,
            None => seen.push((hello, 1)),
        }
    }
    let (id, all) = (CheckId::Backends, greeted.len());
    let report = match seen.len() {
        0 => return CheckReport::new(id, CheckVerdict::Unknown, "no server has said its name"),
        1 => CheckReport::new(id, CheckVerdict::Pass, format!("one server answered all {all} connections")),
        many => CheckReport::new(id, CheckVerdict::Pass, format!("{many} servers answered {all} connections")),
    };
    let names: Vec<_> = seen.iter().take(SHOWN).map(|(hello, _)| hello.instance.as_str()).collect();
    let report = report
        .tried(all, all)
        .measure("backends", seen.len())
        .measure("connections", all)
        .measure("instances", names.join(" "));
    if seen.len() == 1 {
        return report;
    }
    seen.iter().take(SHOWN).fold(report, |report, (hello, count)| {
        let FarHello { instance, local, resound, .. } = hello;
        report.saw(format!("{instance} (resound {resound}, at {local}) answered {count} of {all} connections"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeted(names: &[&str]) -> Vec<FarHello> {
        names.iter().map(|name| FarHello { instance: (*name).into(), ..FarHello::default() }).collect()
    }

    #[test]
    fn servers_are_counted_by_their_names() {
        let one = backends(&greeted(&["a", "a", "a"]));
        assert_eq!((one.verdict, one.measured["backends"].to_string()), (CheckVerdict::Pass, "1".into()));
        assert!(one.evidence.is_empty());
        let two = backends(&greeted(&["a", "b", "a"]));
        assert_eq!(two.verdict, CheckVerdict::Pass);
        assert_eq!(two.measured["instances"].to_string(), "a b");
        assert!(two.evidence[0].contains("2 of 3"), "{:?}", two.evidence);
        assert_eq!(backends(&[]).verdict, CheckVerdict::Unknown);
    }
}
