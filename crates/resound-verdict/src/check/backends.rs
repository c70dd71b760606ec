//! `backends`: how many servers have answered.

use std::collections::BTreeSet;

use super::CheckId;
use crate::report::{CheckReport, CheckVerdict};
use resound_probe::FarHello;

/// How many names the evidence has.
const SHOWN: usize = 16;

/// Of all greetings of the run. `asked`: who has answered questions about connections.
pub(crate) fn backends(greeted: &[FarHello], asked: &BTreeSet<String>) -> CheckReport {
    // In the order in which they answered first.
    let mut seen: Vec<(&FarHello, usize)> = Vec::new();
    for hello in greeted {
        match seen.iter_mut().find(|(first, _)| first.instance == hello.instance) {
            Some((_, count)) => *count += 1,
            None => seen.push((hello, 1)),
        }
    }
    let (id, all) = (CheckId::Backends, greeted.len());
    let asked_alone: Vec<_> =
        asked.iter().filter(|name| seen.iter().all(|(hello, _)| hello.instance != **name)).collect();
    let servers = if seen.is_empty() { 0 } else { seen.len() + asked_alone.len() };
    let report = match servers {
        0 => return CheckReport::new(id, CheckVerdict::Unknown, "no server has said its name"),
        1 => CheckReport::new(id, CheckVerdict::Pass, format!("one server answered all {all} connections")),
        many => CheckReport::new(id, CheckVerdict::Pass, format!("{many} servers answered {all} connections")),
    };
    let names = seen.iter().map(|(hello, _)| &hello.instance).chain(asked_alone.iter().copied());
    let names: Vec<_> = names.take(SHOWN).map(String::as_str).collect();
    let report = report
        .tried(all, all)
        .measure("backends", servers)
        .measure("connections", all)
        .measure("instances", names.join(" "));
    if servers == 1 {
        return report;
    }
    let report = seen.iter().take(SHOWN).fold(report, |report, (hello, count)| {
        let FarHello { instance, local, resound, .. } = hello;
        report.saw(format!("{instance} (resound {resound}, at {local}) answered {count} of {all} connections"))
    });
    let asked_alone = asked_alone.into_iter().take(SHOWN);
    asked_alone.fold(report, |report, name| report.saw(format!("{name} only answered queries about other connections")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeted(names: &[&str]) -> Vec<FarHello> {
        names.iter().map(|name| FarHello { instance: (*name).into(), ..FarHello::default() }).collect()
    }

    #[test]
    fn servers_are_counted_by_their_names() {
        let asked = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        let one = backends(&greeted(&["a", "a", "a"]), &asked(&["a"]));
        assert_eq!((one.verdict, one.measured["backends"].to_string()), (CheckVerdict::Pass, "1".into()));
        assert!(one.evidence.is_empty());
        let two = backends(&greeted(&["a", "b", "a"]), &asked(&["b"]));
        assert_eq!(two.verdict, CheckVerdict::Pass);
        assert_eq!(two.measured["instances"].to_string(), "a b");
        assert!(two.evidence[0].contains("2 of 3"), "{:?}", two.evidence);
        let other = backends(&greeted(&["a", "a"]), &asked(&["a", "b"]));
        assert_eq!((&*other.summary, other.evidence.len()), ("2 servers answered 2 connections", 2));
        assert_eq!(other.evidence[1], "b only answered queries about other connections");
        assert_eq!(backends(&[], &asked(&["a"])).verdict, CheckVerdict::Unknown);
    }
}
