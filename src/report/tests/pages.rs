//! Pages for browsers and CI systems.

use super::super::comparison::Compared;
use super::super::run::Run;
use super::super::verdict::unjudgeable;
use super::super::{html, junit, samples};
use super::{all, judged, some};

/// Parses a page as strict XML.
fn parsed(page: &str) -> roxmltree::Document<'_> {
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    roxmltree::Document::parse_with_options(page, options).unwrap_or_else(|error| panic!("{error}\n{page}"))
}

#[test]
fn the_page_is_well_formed_and_complete() {
    for run in all() {
        let base = some();
        let compared = Compared::of(&base, &run);
        let page = html::render(&run, Some(&base), Some(&compared), &judged(&run, &["p99>1us", "errors>9"]));
        let tree = parsed(&page);
        let count = |name: &str| tree.descendants().filter(|node| node.tag_name().name() == name).count();
        assert_eq!((count("script"), count("link"), count("img"), count("iframe")), (0, 0, 0, 0));
        assert!(!page.contains("src=") && !page.contains("url(") && !page.contains("@import"));
        // The only address is the XML namespace.
        assert_eq!(page.matches("http").count(), page.matches("http://www.w3.org/1999/xhtml").count(), "{page}");
        let text: String = tree.descendants().filter_map(|node| node.text()).collect();
        for wanted in ["Gates", "Settings", "Generator", "Compared with", "To keep in mind", "p99>1us"] {
            assert!(text.contains(wanted), "no {wanted}");
        }
        assert!(text.chars().all(|c| c == '\n' || !c.is_control() && !resound_console::escape::is_dangerous(c)));
        let attributes = || tree.descendants().flat_map(|node| node.attributes());
        for number in attributes().filter(|a| ["x", "y", "cx", "cy", "d"].contains(&a.name())) {
            assert!(!number.value().contains("NaN") && !number.value().contains("inf"), "{}", number.value());
        }
        if !run.record.intervals.is_empty() {
            // At least four charts, each in two widths.
            let charts = attributes().filter(|a| a.name() == "aria-label").count();
            assert!(charts >= 8, "{charts} charts");
            for wanted in
                ["Time by percentile", "Response time over the run", "Throughput", "Errors over the run", "99.9 %"]
            {
                assert!(text.contains(wanted), "no {wanted}");
            }
        }
    }
}

#[test]
fn labels_of_an_axis_do_not_touch() {
    let page = html::render(&Run::of(samples::record(1_000, 1, true)), None, None, &[]);
    let tree = parsed(&page);
    let mut axes = 0;
    for chart in tree.descendants().filter(|node| node.attribute("aria-label").is_some()) {
        let labels = |class: &str| -> Vec<(f64, f64, usize)> {
            let texts = chart.descendants().filter(|node| node.attribute("class") == Some(class));
            let place = |node: roxmltree::Node<'_, '_>, name: &str| node.attribute(name).unwrap().parse().unwrap();
            texts.map(|node| (place(node, "x"), place(node, "y"), node.text().unwrap().chars().count())).collect()
        };
        let (x, y) = (labels("x"), labels("y"));
        assert!(x.len() >= 3 && y.len() >= 2, "{x:?} {y:?}");
        let wide = |n: usize| n as f64 * 6.6;
        assert!(x.windows(2).all(|pair| pair[1].0 - pair[0].0 > (wide(pair[0].2) + wide(pair[1].2)) / 2.0), "{x:?}");
        assert!(y.windows(2).all(|pair| (pair[0].1 - pair[1].1).abs() >= 12.0), "{y:?}");
        let right = chart.attribute("viewBox").unwrap().split(' ').nth(2).unwrap().parse::<f64>().unwrap();
        assert!(x.iter().all(|label| label.0 + wide(label.2) / 2.0 <= right), "{x:?}");
        assert!(y.iter().all(|label| label.0 - wide(label.2) >= 0.0), "{y:?}");
        axes += 1;
    }
    assert_eq!(axes, 8);
}

#[test]
fn junit_has_a_case_for_each_gate() {
    for run in all() {
        let gates = ["p99>1us", "p50>1h", "lag.max>1000h"];
        let xml = junit::render(&run, &judged(&run, &gates));
        let tree = roxmltree::Document::parse(&xml).unwrap_or_else(|error| panic!("{error}\n{xml}"));
        let cases: Vec<_> = tree.descendants().filter(|node| node.has_tag_name("testcase")).collect();
        // A run that cannot be judged has one more case.
        let is_lagged = run.record.total.counts.lagged > 0;
        assert_eq!(cases.len(), 4 + usize::from(unjudgeable(&run, &judged(&run, &gates)).is_some()));
        let skipped = tree.descendants().filter(|node| node.has_tag_name("skipped")).count();
        let failures = tree.descendants().filter(|node| node.has_tag_name("failure")).count();
        let suite = tree.descendants().find(|node| node.has_tag_name("testsuite")).unwrap();
        assert_eq!(suite.attribute("failures").unwrap().parse(), Ok(failures));
        assert_eq!(suite.attribute("skipped").unwrap().parse(), Ok(skipped));
        assert!(skipped > 0 || !is_lagged);
        assert_eq!(cases[0].attribute("name"), Some("fail-if p99>1us"));
        let verdict = if is_lagged { "skipped" } else { "failure" };
        assert!(cases[0].children().any(|node| node.has_tag_name(verdict)));
    }
    let failures = |gates: &[&str]| {
        let xml = junit::render(&some(), &judged(&some(), gates));
        let tree = roxmltree::Document::parse(&xml).unwrap();
        let failures = tree.descendants().filter(|node| node.has_tag_name("failure"));
        failures.map(|node| node.attribute("message").unwrap().to_string()).collect::<Vec<_>>()
    };
    let xml = junit::render(&some(), &[]);
    assert!(xml.contains("<property name=\"measured unanswered\" value=\"5\"/>"), "{xml}");
    let page = html::render(&some(), None, None, &[]);
    assert!(page.contains("<b class=\"bad\">5</b><span>messages unanswered</span>"));
    // A gate on errors allows no wrong answer, and a gate on loss allows no failed connection.
    assert_eq!(failures(&["errors>9"]), ["1 corrupt"]);
    assert_eq!(failures(&["loss>1%"]), ["1 reset, 1 corrupt"]);
    assert_eq!(failures(&["errors>9", "corrupt>1"]), Vec::<String>::new());
    assert_eq!(failures(&["corrupt>0", "errors>9"]), ["corrupt>0 is true: 1 corrupt"]);
}

#[test]
fn every_line_of_a_chart_has_a_colour() {
    for name in ["response", "service", "lag", "connect", "handshake", "base", "sent", "received"] {
        let style = include_str!("../html/style.css");
        assert!(style.contains(&format!("svg .{name} {{ stroke: ")), "{name}");
    }
}
