//! The results of a test as one page: no script, nothing from elsewhere, light or dark by the
//! browser's preference. The page is well-formed XML too.

use resound_verdict::{CheckVerdict, FarKind, PathDirection};

use super::record::{TestRecord, TestedAddress, TestedCheck};
use super::table::{evidence, way};
use super::view::profile_name;
use crate::exit;
use crate::report::STYLE;
use crate::report::markup::escape;

/// What this page has beside the look of all pages.
const OWN_STYLE: &str = include_str!("page.css");

pub(super) fn render(record: &TestRecord) -> String {
    let title = escape(&format!("Test of {}", record.target));
    let (class, word) = match record.exit_code() {
        0 => ("good", "pass"),
        exit::VERDICT => ("bad", "fail"),
        exit::CANNOT_TELL => ("open", "cannot tell"),
        _ if record.cut_short.is_some() => ("open", "cut short"),
        _ => ("bad", "no connection"),
    };
    let started = humantime::format_rfc3339_seconds(record.started).to_string().replace('T', " ").replace('Z', " UTC");
    let mut page = format!(
        "<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n<head>\n\
         <meta charset=\"utf-8\"/>\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <title>{title}</title>\n<style>\n{STYLE}{OWN_STYLE}</style>\n</head>\n<body>\n\
         <h1>{title}<span class=\"verdict {class}\">{word}</span></h1>\n\
         <p class=\"dim\">{} profile, seed {}, from {started} on.</p>\n",
        profile_name(record.profile),
        record.seed
    );
    if let Some(error) = &record.error {
        page += &format!("<p class=\"bad\">{}</p>\n", escape(error));
    }
    for address in &record.addresses {
        page += &of_address(record, address);
    }
    page + &format!("<footer>Tested by resound {}.</footer>\n</body>\n</html>\n", env!("CARGO_PKG_VERSION"))
}

fn of_address(record: &TestRecord, address: &TestedAddress) -> String {
    let mut page = format!(
        "<h2>{}</h2>\n<p>{}: {}.</p>\n{}",
        escape(&address.address),
        escape(&record.meaning(address)),
        address.counts(),
        picture(address)
    );
    page += "<div class=\"scroll\"><table class=\"checks\">\n<thead><tr><th></th><th>check</th><th>tries</th>\
             <th>what</th></tr></thead>\n<tbody>\n";
    // What needs a look stands first.
    let mut checks: Vec<_> = address.checks.iter().collect();
    checks.sort_by_key(|check| weight(check.verdict));
    page += &checks.into_iter().map(row).collect::<String>();
    page + "</tbody></table></div>\n"
}

fn weight(verdict: CheckVerdict) -> usize {
    use CheckVerdict::{Error, Fail, Flaky, Pass, Skip, Unknown, Warn};
    [Fail, Flaky, Warn, Unknown, Error, Pass, Skip].iter().position(|one| *one == verdict).unwrap_or(0)
}

fn class(verdict: CheckVerdict) -> &'static str {
    match verdict {
        CheckVerdict::Pass => "good",
        CheckVerdict::Fail => "bad",
        CheckVerdict::Skip => "dim",
        _ => "noted",
    }
}

fn row(check: &TestedCheck) -> String {
    let tries = if check.tries == 0 { String::new() } else { format!("{}/{}", check.ok, check.tries) };
    let mut what = escape(&check.summary);
    let details = details(check);
    if !details.is_empty() {
        let open = if check.is_remarkable() { " open=\"open\"" } else { "" };
        what += &format!("<details{open}><summary>evidence</summary>\n<dl>\n{details}</dl></details>");
    }
    format!(
        "<tr><td><b class=\"{}\">{}</b></td><th>{}</th><td>{tries}</td><td>{what}</td></tr>\n",
        class(check.verdict),
        check.verdict,
        escape(check.id)
    )
}

fn details(check: &TestedCheck) -> String {
    let mut rows: Vec<(&str, String)> = Vec::new();
    rows.extend(check.direction.map(|direction| ("direction", way(direction).into())));
    let control = check.control.as_ref();
    rows.extend(control.map(|control| ("control", format!("{} {}/{}", control.what, control.ok, control.tries))));
    rows.extend(evidence(check).into_iter().map(|line| ("seen", line)));
    rows.extend(check.measured.iter().map(|(name, value)| (name.as_str(), value.to_string())));
    rows.extend(check.suspect.iter().map(|line| ("looks like", line.clone())));
    let mut text: String =
        rows.iter().map(|(name, value)| format!("<dt>{}</dt><dd>{}</dd>\n", escape(name), escape(value))).collect();
    text.extend(check.reproduce.iter().map(|again| format!("<dt>again</dt><dd><code>{}</code></dd>\n", escape(again))));
    text
}

/// The path: two ends, what is between, and each direction with what is wrong in it.
fn picture(address: &TestedAddress) -> String {
    let far = match (address.far, &address.far_name) {
        (_, Some(name)) => short(name, 22),
        (Some(FarKind::None) | None, None) => "nothing answers".into(),
        (Some(_), None) => "a server".into(),
    };
    let arrow = |direction: PathDirection, y: u32, line: &str| {
        let wrong: Vec<_> = address.checks.iter().filter(|check| is_wrong(check, direction)).collect();
        let class = match wrong.iter().map(|check| weight(check.verdict)).min() {
            Some(0) => "bad",
            Some(_) => "noted",
            None if address.far == Some(FarKind::Probe) => "good",
            None => "dim",
        };
        let ids: Vec<_> = wrong.iter().map(|check| check.id).collect();
        let label = if ids.is_empty() { direction.to_string() } else { format!("{direction}: {}", ids.join(", ")) };
        format!(
            "<g class=\"{class}\"><path d=\"{line}\"/><text class=\"x\" x=\"460\" y=\"{}\">{}</text></g>\n",
            y - 8,
            escape(&label)
        )
    };
    let suspect = address.checks.iter().filter(|check| check.verdict == CheckVerdict::Fail);
    let suspect = suspect.filter_map(|check| check.suspect.first()).next();
    let between = match (suspect, address.far) {
        (Some(suspect), _) => short(&format!("looks like {suspect}"), 66),
        (None, Some(FarKind::None) | None) => String::new(),
        (None, _) => "the path".into(),
    };
    format!(
        "<div class=\"scroll\"><svg class=\"path\" viewBox=\"0 0 920 134\" role=\"img\" aria-label=\"the path\">\n\
         <rect x=\"1\" y=\"20\" width=\"170\" height=\"80\" rx=\"8\"/>\
         <text class=\"x\" x=\"86\" y=\"64\">this machine</text>\n\
         <rect x=\"749\" y=\"20\" width=\"170\" height=\"80\" rx=\"8\"/>\
         <text class=\"x\" x=\"834\" y=\"56\">far end</text><text class=\"x\" x=\"834\" y=\"76\">{}</text>\n\
         <rect class=\"between\" x=\"226\" y=\"6\" width=\"468\" height=\"122\" rx=\"14\"/>\
         <text class=\"x\" x=\"460\" y=\"116\">{}</text>\n{}{}</svg></div>\n",
        escape(&far),
        escape(&between),
        arrow(PathDirection::Out, 46, "M180 46H738M728 40L738 46L728 52"),
        arrow(PathDirection::In, 84, "M740 84H182M192 78L182 84L192 90")
    )
}

fn is_wrong(check: &TestedCheck, direction: PathDirection) -> bool {
    let is_here = check.direction.is_some_and(|found| found == direction || found == PathDirection::Both);
    is_here && check.is_remarkable()
}

/// A text that fits its box.
fn short(text: &str, most: usize) -> String {
    if text.chars().count() <= most { text.into() } else { text.chars().take(most - 3).chain("...".chars()).collect() }
}
