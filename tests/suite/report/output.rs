//! The results of a load run, as a user meets them: on a terminal, in a pipe, in files.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use tempfile::TempDir;

#[cfg(target_os = "linux")]
use crate::child::Program;
use crate::child::run;
use crate::program::terminal::Terminal;

/// A short run against a server of its own, with more arguments: exit code, stdout, stderr.
fn load(args: &[&str]) -> (Option<i32>, String, String) {
    let (code, out, err) = run(&[&["load", "--loopback", "-c", "4"], args].concat(), b"");
    (code, String::from_utf8(out).unwrap(), err)
}

fn report(args: &[&str]) -> (Option<i32>, String, String) {
    let (code, out, err) = run(&[&["report"], args].concat(), b"");
    (code, String::from_utf8(out).unwrap(), err)
}

/// Runs, and keeps what `--json` writes.
fn saved(folder: &TempDir, name: &str) -> (String, Value) {
    let (code, out, err) = load(&["-n", "2000", "--json"]);
    assert_eq!(code, Some(0), "{out} {err}");
    let path = folder.path().join(name);
    fs::write(&path, &out).unwrap();
    (path.to_str().unwrap().into(), serde_json::from_str(&out).unwrap())
}

fn validator() -> jsonschema::Validator {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schema/load.schema.json");
    jsonschema::validator_for(&serde_json::from_slice(&fs::read(path).unwrap()).unwrap()).unwrap()
}

fn assert_valid(schema: &jsonschema::Validator, value: &Value) {
    let errors: Vec<_> = schema.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn json_of_a_run_validates_and_adds_up() {
    let schema = validator();
    let (code, out, err) = load(&["-d", "500ms", "--interval", "100ms", "--json", "--fail-if", "errors>0"]);
    assert_eq!(code, Some(0), "{out} {err}");
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.iter().for_each(|line| assert_valid(&schema, line));
    let (result, intervals) = lines.split_last().unwrap();
    assert_eq!(result["event"], "result");
    assert!(!intervals.is_empty() && intervals.iter().all(|line| line["event"] == "interval"));
    // The lines are the intervals of the result, which add up to its total.
    let as_written = |line: &Value| {
        let mut interval = line.clone();
        interval.as_object_mut().unwrap().retain(|key, _| key != "format" && key != "event");
        interval
    };
    let written: Vec<_> = intervals.iter().map(as_written).collect();
    assert_eq!(&written, result["intervals"].as_array().unwrap());
    let sum = |key: &str| -> u64 { written.iter().map(|interval| interval[key].as_u64().unwrap()).sum() };
    let total = |key: &str| result["total"][key].as_u64().unwrap();
    assert!(total("received") > 0 && total("received") == total("verified"), "{}", result["total"]);
    for key in ["planned", "sent", "received", "errors", "opened", "closed"] {
        assert_eq!(sum(key), total(key), "{key}");
    }
    assert_eq!(result["verdict"]["gates"][0]["measured"], "0 errors");
}

#[test]
fn runs_of_several_generators_become_one() {
    let folder = TempDir::new().unwrap();
    let ((a, first), (b, second)) = (saved(&folder, "a.json"), saved(&folder, "b.json"));
    let (code, out, err) = report(&[&a, &b, "--json"]);
    assert_eq!(code, Some(0), "{err}");
    let merged: Value = serde_json::from_str(&out).unwrap();
    assert_valid(&validator(), &merged);
    for key in ["sent", "received", "verified", "bytes_sent", "opened"] {
        let of = |value: &Value| value["total"][key].as_u64().unwrap();
        assert_eq!(of(&merged), of(&first) + of(&second), "{key}");
    }
    assert_eq!(merged["total"]["service"]["count"], 4000);
    assert_eq!(merged["generators"].as_array().unwrap().len(), 2);
    let (code, out, _) = report(&[&a, &b]);
    assert_eq!(code, Some(0));
    assert!(out.contains("\nMerged from 2 generators\n  a.json: "), "{out}");
    // Far shorter than the eight seconds that are needed to tell chance from a difference.
    let (code, out, _) = report(&[&a, "--compare", &b]);
    assert_eq!(code, Some(0));
    let out = out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(out.contains("with fewer than 8 in each nothing can be said about chance."), "{out}");
}

/// A run that has passed a gate, as if it had had ten intervals alike, and another that has done a
/// tenth of it in the same time.
fn base_and_worse(folder: &TempDir) -> [(String, Value); 2] {
    let (code, out, err) = load(&["-n", "2000", "--json", "--fail-if", "errors>3"]);
    assert_eq!(code, Some(0), "{out} {err}");
    let mut base: Value = serde_json::from_str(&out).unwrap();
    base["intervals"] = vec![base["intervals"][0].clone(); 10].into();
    let mut worse = base.clone();
    for generator in worse["generators"].as_array_mut().unwrap() {
        generator["seed"] = (generator["seed"].as_u64().unwrap() + 1).into();
    }
    for interval in worse["intervals"].as_array_mut().unwrap() {
        interval["received"] = (interval["received"].as_u64().unwrap() / 10).into();
    }
    [("base.json", base), ("worse.json", worse)].map(|(name, value)| {
        let path = folder.path().join(name);
        fs::write(&path, value.to_string()).unwrap();
        (path.to_str().unwrap().into(), value)
    })
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_regression_fails_where_the_runs_show_it() {
    let folder = TempDir::new().unwrap();
    let [(base, _), (worse, _)] = base_and_worse(&folder);
    let gate = ["--fail-if", "rate worse>10%"];
    let (code, out, _) = report(&[&[worse.as_str(), "--compare", &base][..], &gate].concat());
    assert_eq!(code, Some(3), "{out}");
    assert!(words(&out).contains("FAIL rate worse>10% measured: "), "{out}");
    let (code, out, _) = report(&[&[base.as_str(), "--compare", &worse][..], &gate].concat());
    assert_eq!(code, Some(0), "{out}");
    assert!(words(&out).contains("pass rate worse>10% measured: "), "{out}");
    // A run does not fall behind itself, and that proves nothing.
    let (code, out, _) = report(&[&[base.as_str(), "--compare", &base][..], &gate].concat());
    assert_eq!(code, Some(3), "{out}");
    let out = words(&out);
    assert!(out.contains("measured: the base is this very run, so nothing was proved"), "{out}");
    assert!(out.contains("The base and the new run are the same run"), "{out}");
    let (code, out, _) = report(&[&[worse.as_str(), "--compare", &base, "--json"][..], &gate].concat());
    assert_eq!(code, Some(3));
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_valid(&validator(), &value);
    assert_eq!(
        (&value["comparison"]["same_run"], &value["verdict"]["gates"][0]["unit"]),
        (&false.into(), &"percent".into())
    );
    for (args, way_out) in [
        (&["report", &base, "--fail-if", "p99 worse>10%"][..], "name one with --compare FILE"),
        (&["load", "--loopback", "--fail-if", "p99 worse>10%"], "resound report FILE --compare BASE"),
        (&["report", &base, "--fail-if", "p98 worse>10%"], "'p98' is not compared; there are: rate, errors"),
    ] {
        let (code, _, err) = run(args, b"");
        assert!(code == Some(2) && err.contains(way_out), "{args:?}: {err}");
    }
}

#[test]
fn a_saved_run_shows_how_it_was_judged_and_comes_from_stdin_too() {
    let folder = TempDir::new().unwrap();
    let [(base, value), (worse, _)] = base_and_worse(&folder);
    let (code, out, err) = run(&["report", "-"], value.to_string().as_bytes());
    let out = String::from_utf8(out).unwrap();
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("\nGates of the saved run, as they were judged then\n  pass  errors>3 "), "{out}");
    // With its comparison, and again when that has been saved.
    let (_, compared, _) = report(&[&worse, "--compare", &base, "--json", "--fail-if", "rate worse>10%"]);
    let junit = folder.path().join("then.xml");
    run(&["report", "-", "--junit", junit.to_str().unwrap()], compared.as_bytes());
    let xml = fs::read_to_string(junit).unwrap();
    let then = "name=\"fail-if rate worse&gt;10%, as it was judged then\"";
    assert!(xml.contains(" failures=\"1\" ") && xml.contains(then), "{xml}");
    let (code, again, _) = run(&["report", "-", "--json"], compared.as_bytes());
    assert_eq!(code, Some(0));
    let again_value: Value = serde_json::from_slice(&again).unwrap();
    assert_valid(&validator(), &again_value);
    assert_eq!(again_value["saved"]["verdict"]["exit"], 3);
    for saved in [compared.into_bytes(), again] {
        let (code, out, err) = run(&["report", "-"], &saved);
        let out = String::from_utf8(out).unwrap();
        assert_eq!(code, Some(0), "what was judged then does not count again: {err}");
        assert!(out.contains("  FAIL  rate worse>10% ") && out.contains("\nCompared then with base.json\n"), "{out}");
    }
    let (code, out, _) = report(&[&base, &worse]);
    assert_eq!(code, Some(0));
    assert!(words(&out).contains("gates and comparisons of each run are left out"), "{out}");
    let (code, _, err) = run(&["report", "-", "--compare", "-"], b"");
    assert!(code == Some(2) && err.contains("stdin (-) can be read only once"), "{err}");
    let (code, _, err) = run(&["report", "-"], b"");
    assert!(code == Some(2) && err.contains("-: the file is empty"), "{err}");
}

#[test]
fn an_undecided_gate_neither_passes_nor_fails() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (html, junit, json) = (path("a.html"), path("a.xml"), path("a.json"));
    // Fifty times do not show the value that one in a hundred exceeds.
    let args =
        ["-n", "50", "--json", "--html", &html, "--junit", &junit, "--fail-if", "p99>1h", "--fail-if", "errors>0"];
    let (code, out, err) = load(&args);
    assert_eq!(code, Some(4), "{out} {err}");
    fs::write(&json, &out).unwrap();
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_valid(&validator(), &value);
    let (verdict, gates) = (&value["verdict"], &value["verdict"]["gates"]);
    assert_eq!((&verdict["exit"], &verdict["pass"]), (&4.into(), &false.into()));
    assert_eq!((&gates[0]["verdict"], &gates[0]["broken"]), (&"cannot_tell".into(), &false.into()));
    assert_eq!(gates[0]["settled_by"], "more messages, or a gate on max");
    assert_eq!((&gates[1]["verdict"], &gates[1]["settled_by"]), (&"pass".into(), &Value::Null));
    let page = fs::read_to_string(&html).unwrap();
    assert!(page.contains("<span class=\"verdict open\">cannot tell</span>"), "{page}");
    assert!(page.contains("<b class=\"open\">cannot tell</b></td><td><code>p99&gt;1h</code>"), "{page}");
    let xml = fs::read_to_string(&junit).unwrap();
    let tree = roxmltree::Document::parse(&xml).unwrap();
    let suite = tree.descendants().find(|node| node.has_tag_name("testsuite")).unwrap();
    assert_eq!(["tests", "failures", "skipped"].map(|name| suite.attribute(name).unwrap()), ["3", "0", "1"]);
    let skipped = tree.descendants().find(|node| node.has_tag_name("skipped")).unwrap();
    assert!(skipped.attribute("message").unwrap().contains("50 samples cannot show it; 100 can"), "{xml}");
    // As it came out then, and judged anew.
    let (code, out, _) = report(&[&json]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("as they were judged then\n  cannot tell  p99>1h "), "{out}");
    for (more, want) in [(&[][..], 4), (&["--cannot-tell", "pass"], 0), (&["--fail-if", "max>1ns"], 3)] {
        let (code, out, _) = report(&[&[json.as_str(), "--fail-if", "p99>1h"][..], more].concat());
        assert_eq!(code, Some(want), "{out}");
        assert!(words(&out).contains("cannot tell p99>1h measured: "), "{out}");
    }
    // Too few intervals to compare, alone and repeated.
    let [(a, first), (b, second), (c, _)] = ["1.json", "2.json", "3.json"].map(|name| saved(&folder, name));
    let gate = ["--fail-if", "rate worse>10%"];
    for files in [&[a.as_str(), "--compare", &b][..], &[&a, &b, "--repeated", "--compare", &c]] {
        let (code, out, _) = report(&[files, &gate].concat());
        assert_eq!(code, Some(4), "{out}");
        let out = words(&out);
        // Mostly one; a run of eight seconds would have enough.
        assert!(out.contains("cannot tell rate worse>10% measured: The base has "), "{out}");
        assert!(out.contains("with fewer than 8 in each nothing can be said about chance"), "{out}");
        assert!(out.contains("repeated runs of both (--repeated)"), "{out}");
    }
    let (code, out, err) = report(&[&a, &b, "--repeated", "--json"]);
    assert_eq!(code, Some(0), "{err}");
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_valid(&validator(), &value);
    let lengths = [&first, &second].map(|run| run["intervals"].as_array().unwrap().len());
    assert_eq!((&value["repetitions"], &value["total"]["sent"]), (&serde_json::json!(lengths), &4000.into()));
    assert_eq!(value["merged"]["rates"], "over_all_time");
    let (code, out, _) = run(&["report", "-"], out.as_bytes());
    assert!(code == Some(0) && String::from_utf8_lossy(&out).contains("in 2 runs that repeat each other"));
}

#[test]
fn reports_are_written_to_files_and_gates_judge() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (html, hdr, junit) = (path("a.html"), path("a.hdr"), path("a.xml"));
    let gates = ["--fail-if", "service.p50<1h", "--fail-if", "errors>0"];
    let files = ["--html", &html, "--hdr", &hdr, "--junit", &junit];
    let (code, out, err) = load(&[&["-n", "2000"][..], &files, &gates].concat());
    assert_eq!(code, Some(3), "{out} {err}");
    assert!(out.contains("FAIL  service.p50<1h     measured: "), "{out}");
    assert!(out.contains("pass  errors>0           measured: 0 errors"), "{out}");
    let page = fs::read_to_string(&html).unwrap();
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    roxmltree::Document::parse_with_options(&page, options).unwrap();
    assert!(page.contains("service.p50&lt;1h") && page.contains("Time by percentile"));
    let xml = fs::read_to_string(&junit).unwrap();
    let tree = roxmltree::Document::parse(&xml).unwrap();
    assert_eq!(tree.descendants().filter(|node| node.has_tag_name("failure")).count(), 1);
    let log = fs::read(&hdr).unwrap();
    let times: u64 = hdrhistogram::serialization::interval_log::IntervalLogIterator::new(&log)
        .filter(|entry| {
            use hdrhistogram::serialization::interval_log::LogEntry;
            matches!(entry, Ok(LogEntry::Interval(interval)) if interval.tag().is_none())
        })
        .count() as u64;
    assert!(times >= 1);
}

#[test]
fn a_record_is_written_beside_the_table() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let records = [file("a.json"), file("b.json")];
    for record in &records {
        let (code, out, err) = load(&["-n", "200", &format!("--json={record}"), "--interval", "100ms"]);
        assert_eq!(code, Some(0), "{out} {err}");
        assert!(out.contains("  messages     200 sent, 200 answered"), "{out}");
        assert_valid(&validator(), &serde_json::from_slice(&fs::read(record).unwrap()).unwrap());
    }
    let merged = file("merged.json");
    let (code, out, err) = report(&[&records[0], &records[1], &format!("--json={merged}")]);
    assert_eq!(code, Some(0), "{out} {err}");
    assert!(out.contains("400 sent, 400 answered"), "{out}");
    assert_valid(&validator(), &serde_json::from_slice(&fs::read(&merged).unwrap()).unwrap());
    // It is known before the load that a file cannot be written, or would be two files.
    let nowhere = file("no such folder/record.json");
    let (code, out, err) = load(&[&format!("--json={nowhere}")]);
    assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
    assert!(err.contains("cannot write "), "{err}");
    let other = file("./merged.json");
    let link = file("link");
    #[cfg(unix)]
    std::os::unix::fs::symlink(&merged, &link).unwrap();
    #[cfg(not(unix))]
    let link = other.clone();
    for same in [&merged, &other, &link] {
        let (code, _, err) = load(&[&format!("--json={merged}"), "--html", same]);
        assert_eq!(code, Some(2));
        assert!(err.contains("two reports cannot be written to one file"), "{err}");
    }
    // Nor does a report overwrite what it is made of.
    let before = fs::read(&merged).unwrap();
    for args in [&[&merged[..], "--html", &other][..], &[&records[0], "--compare", &merged, &format!("--json={link}")]]
    {
        let (code, out, err) = report(args);
        assert_eq!((code, &out[..]), (Some(2), ""), "{err}");
        assert!(err.contains("is an input, which the report would overwrite"), "{err}");
    }
    assert!(fs::read(&merged).unwrap() == before);
}

/// A pipe that no process reads does not hold the program.
#[cfg(unix)]
#[test]
fn a_named_pipe_takes_a_report_if_a_process_reads_it() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let pipe = file("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (code, out, err) = load(&["-n", "20", "--html", &pipe]);
    assert!(code == Some(2) && out.contains("20 sent, 20 answered"), "{code:?} {out}");
    assert!(err.contains("cannot write ") && err.contains("no process reads this pipe"), "{err}");
    let reader = {
        let pipe = pipe.clone();
        std::thread::spawn(move || fs::read_to_string(pipe).unwrap())
    };
    // The reader may not have opened its end when the report is written.
    let (code, _, err) = (0..1000).map(|_| load(&["-n", "20", "--html", &pipe])).find(|run| run.0 == Some(0)).unwrap();
    assert!(code == Some(0) && !err.contains("cannot write"), "{err}");
    assert!(reader.join().unwrap().ends_with("</html>\n"));
}

#[test]
fn several_results_in_one_file_are_refused() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (a, both) = (file("a.json"), file("both.json"));
    assert_eq!(load(&["-n", "20", &format!("--json={a}")]).0, Some(0));
    let text = fs::read_to_string(&a).unwrap();
    for (first, line) in [(&text[..], 1), ("\n\nnoise\n", 3)] {
        fs::write(&both, format!("{first}{text}")).unwrap();
        let (code, out, err) = report(&[&both, "--fail-if", "errors>0"]);
        assert_eq!((code, &out[..]), (Some(2), ""), "{err}");
        let wanted = format!("line {line} is not an interval of these results: a file holds the results of one run");
        assert!(err.contains(&wanted), "{err}");
    }
}

#[test]
fn reports_show_that_no_target_was_found() {
    let folder = TempDir::new().unwrap();
    let (_held, address) = crate::client::connecting::closed_port();
    let port = address.port().to_string();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (html, junit) = (path("a.html"), path("a.xml"));
    for mode in [&["--mode", "echo"][..], &[]] {
        // What an earlier run left behind.
        fs::write(&junit, "all is well").unwrap();
        let args = ["load", "127.0.0.1", &port, "--json", "--fail-if", "errors>0", "--junit", &junit, "--html", &html];
        let (code, out, err) = run(&[&args[..], mode].concat(), b"");
        assert_eq!(code, Some(1), "{err}");
        assert!(err.contains("refused"), "{err}");
        let result: Value = serde_json::from_slice(&out).unwrap();
        assert_valid(&validator(), &result);
        assert_eq!((&result["verdict"]["exit"], &result["verdict"]["gates"][0]["broken"]), (&1.into(), &true.into()));
        assert_eq!(result["failures"][0]["class"], "refused");
        let xml = fs::read_to_string(&junit).unwrap();
        assert!(xml.contains("errors&gt;0 is true: 1 error"), "{xml}");
        assert!(fs::read_to_string(&html).unwrap().contains("no connection could be used"));
        fs::remove_file(&html).unwrap();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn names_of_files_may_be_any_bytes_and_links() {
    use std::os::unix::ffi::OsStrExt;
    let folder = TempDir::new().unwrap();
    let page = folder.path().join(std::ffi::OsStr::from_bytes(b"\xff.html"));
    let (link, log) = (folder.path().join("link"), folder.path().join("log"));
    std::os::unix::fs::symlink("log", &link).unwrap();
    let mut command = Program::command(&["load", "--loopback", "-n", "100"]);
    let output = command.arg("--html").arg(&page).arg("--hdr").arg(&link).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(fs::read_to_string(page).unwrap().contains("\u{fffd}.html"));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "the link was replaced");
    assert!(fs::read_to_string(log).unwrap().contains("Histogram log"));
    // A run that never begins leaves nothing behind.
    fs::remove_file(folder.path().join("log")).unwrap();
    let mut command = Program::command(&["load", "--loopback", "-n", "9", "--junit", "/nowhere/at/all.xml"]);
    assert_eq!(command.arg("--hdr").arg(&link).output().unwrap().status.code(), Some(2));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink() && !link.exists());
}

#[test]
fn unusable_arguments_are_refused_before_sending() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("x");
    fs::write(&file, "no results").unwrap();
    let file = file.to_str().unwrap();
    let huge = folder.path().join("huge");
    fs::File::create(&huge).unwrap().set_len(1 << 40).unwrap();
    let huge = huge.to_str().unwrap();
    let cases: [(&[&str], &[&str]); 8] = [
        (&["report", huge], &["larger than 256.0 MiB"]),
        (
            &["load", "--loopback", "--fail-if", "latency>5ms"],
            &["there is no 'latency' to compare", "service.p99", "goodput"],
        ),
        (&["load", "--loopback", "--fail-if", "p99>5"], &["'5' is not a duration; write it like 250us"]),
        (&["load", "--loopback", "--html", "/nowhere/at/all.html"], &["cannot write /nowhere/at/all.html"]),
        (&["load", "--loopback", "--interval", "1ms"], &["--interval: 100.0 ms is the shortest"]),
        (&["report", file], &["not the results of a run", "`resound load --json` writes what is wanted here"]),
        (&["report", "/nowhere/at/all.json"], &["/nowhere/at/all.json", "No such file"]),
        (&["report", file, "--html", "same", "--hdr", "same"], &["two reports cannot be written to one file"]),
    ];
    for (args, wanted) in cases {
        let (code, out, err) = run(args, b"");
        assert_eq!((code, out.as_slice()), (Some(2), &b""[..]), "{args:?}: {err}");
        for wanted in wanted {
            assert!(err.contains(wanted), "{args:?}: {err}");
        }
    }
}

#[test]
fn progress_is_lines_in_a_pipe_and_nothing_when_quiet() {
    let args = ["-d", "1s", "--interval", "100ms"];
    let (code, out, err) = load(&args);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("Load on 127.0.0.1:") && !out.contains('\x1b'), "{out}");
    assert!(err.contains(" msg/s  p50 ") && !err.contains('\x1b'), "{err}");
    let (code, _, err) = load(&[&args[..], &["--quiet"]].concat());
    assert_eq!((code, err.as_str()), (Some(0), ""));
}

/// What the live view shows, and no final report does.
const VIEW: &str = "whole run";

#[test]
fn a_view_is_drawn_in_place_and_gives_way_to_the_results() {
    let folder = TempDir::new().unwrap();
    for (variables, is_coloured) in [(&[][..], true), (&[("NO_COLOR", "1")], false)] {
        let args = ["load", "--loopback", "-c", "4", "-r", "200", "-d", "2s"];
        let environment = [&[("LC_ALL", "C.UTF-8")], variables].concat();
        let mut terminal = Terminal::start_with(&args, folder.path(), &environment);
        terminal.until_seen(VIEW);
        // It is drawn in place, and so stands there once.
        terminal.until_seen(" done, ");
        assert_eq!(terminal.screen().matches(VIEW).count(), 1, "{}", terminal.screen());
        terminal.until_seen("Distribution of response times");
        let written = terminal.written.clone();
        assert!(written.matches(VIEW).count() >= 2, "{written}");
        let (code, screen) = terminal.end();
        assert_eq!(code, 0, "{screen}");
        assert!(screen.starts_with("Load on 127.0.0.1:") && !screen.contains(VIEW), "{screen}");
        assert_eq!(written.contains("\x1b[1mLoad on"), is_coloured, "{written}");
        assert_eq!(written.contains("\x1b[36m"), is_coloured);
    }
}

#[test]
fn a_view_survives_a_window_that_changes_and_a_signal() {
    let args = ["load", "--loopback", "-c", "4", "-r", "200", "-d", "60s"];
    let mut terminal = Terminal::start(&args);
    terminal.until_seen(VIEW);
    for (rows, columns) in [(24, 40), (5, 20), (40, 120)] {
        terminal.resize(rows, columns);
        // What a narrow window shows too.
        let before = terminal.written.matches("rate/s").count();
        while terminal.written.matches("rate/s").count() < before + 3 {
            terminal.until_more();
        }
        // Some of that may have been written for the size before.
        let is_there_once = |terminal: &Terminal| terminal.screen().matches("rate/s").count() == 1;
        while !is_there_once(&terminal) && terminal.written.matches("rate/s").count() < before + 50 {
            terminal.until_more();
        }
        assert!(is_there_once(&terminal), "{rows} rows of {columns}:\n{}", terminal.screen());
    }
    terminal.keys("\x03");
    terminal.until_seen("the run was cut short");
    let (code, screen) = terminal.end();
    assert_eq!(code, 130, "{screen}");
    assert!(screen.contains("Time\n") && !screen.contains(VIEW), "{screen}");
}
