//! Files with mistakes, and files that are none.

use proptest::prelude::*;

use super::super::file;
use super::super::key::Keys;
use super::{said, with_file};

fn refused(text: &str) -> String {
    with_file("server", text, &[], &[]).err().unwrap_or_else(|| panic!("it was taken: {text}"))
}

#[test]
fn a_mistake_has_its_place_and_the_sentence_of_the_flag() {
    let typed = |words: &[&str]| said(&[&["server"], words].concat(), &[]).err().unwrap();
    let cases: [(&str, &str, String); 30] = [
        ("drain-timeout = '5x'", "1:17", typed(&["--drain-timeout", "5x"])),
        ("allow = ['::1', '10.0.0.1/8']", "1:17", typed(&["--allow", "10.0.0.1/8"])),
        ("workers = 0", "1:11", typed(&["--workers", "0"])),
        ("workers = 1.5", "1:11", typed(&["--workers", "1.5"])),
        ("workers = 0x10", "1:11", typed(&["--workers", "0x10"])),
        ("mode = 'eco'", "1:8", typed(&["--mode", "eco"])),
        ("fault = '1: rest'", "1:9", typed(&["--fault", "1: rest"])),
        ("mode = true", "1:8", "`mode` takes a text in quotes or a number, not true or false".into()),
        ("mode = 1979-05-27", "1:8", "`mode` takes a text in quotes or a number, not a date".into()),
        ("mode = ['echo']", "1:8", "`mode` has one value, not a list".into()),
        ("mode.x = 'echo'", "1:1", "`mode` takes a text in quotes or a number, not a table".into()),
        ("tls = 'true'", "1:7", "`tls` is a switch: true or false, without quotes".into()),
        ("tls = 1", "1:7", "`tls` is a switch: true or false, without quotes".into()),
        ("allow = [[]]", "1:10", "`allow` takes a text in quotes or a number, not a list".into()),
        ("alow = '::1'", "1:1", "there is no `alow` in [server]: perhaps `allow` was meant".into()),
        (
            "drain_timeout = 5",
            "1:1",
            "there is no `drain_timeout` in [server]: perhaps `drain-timeout` was meant".into(),
        ),
        ("target = 'x'", "1:1", "`target` belongs under [relay], not under [server]".into()),
        ("quux = 1", "1:1", "there is no `quux` in [server]; `resound server --help` lists the flags".into()),
        ("config = 'x'", "1:1", "a file cannot name another: give --config on the command line".into()),
        ("check-config = true", "1:1", "there is no `check-config` in [server]; ".into()),
        ("while-stdin = true", "1:1", "there is no `while-stdin` in [server]; ".into()),
        ("port = 70000", "1:8", "invalid value '70000' for 'port': '70000' is not a port".into()),
        ("host = '--tls'", "1:8", "invalid value '--tls' for 'host': a flag begins so".into()),
        ("congestion = \"a\\u0000b\"", "1:14", "`congestion` holds a NUL".into()),
        ("opening-timeout = 1\nhandshake-timeout = 1", "", "`opening-timeout` stands here twice, by two names".into()),
        ("quiet = true\nquiet = true", "2:1", "it is not TOML: duplicate key".into()),
        ("mode = echo", "1:8", "it is not TOML: ".into()),
        ("[srver]", "1:2", "there is no table [srver]: perhaps [server] was meant".into()),
        (
            "[quux]",
            "1:2",
            "there is no table [quux]; there are [server], [client], [test], [relay], [lab], [load]".into(),
        ),
        // A mistake for another command is one too: a file is right or it is not.
        ("[relay]\nmpa = 1", "2:1", "there is no `mpa` in [relay]: perhaps `map` was meant".into()),
    ];
    for (text, place, sentence) in cases {
        let error = refused(&format!("[server]\n{text}"));
        let place = place
            .split_once(':')
            .map(|(line, column)| format!("FILE, line {}, column {column}: ", line.parse::<usize>().unwrap() + 1));
        let place = place.unwrap_or_else(|| "FILE, line ".into());
        assert!(error.starts_with(&place) && error.contains(&sentence), "{text}:\n{error}\n{place}{sentence}");
    }
    assert!(refused("mode = 'echo'").contains("`mode` stands in no table: put it under [server] or [load]"));
    assert!(refused("quux = 1").contains("`quux` stands in no table: each key stands under its command"));
    assert!(refused("server = 1").contains("`server` is a command: its flags are the keys of a table, [server]"));
    let list = refused("[server]\nallow = ['10.0.0.0/33', '::1', 'foo']\nalpn = [true, 'a', []]");
    let places: Vec<_> = list.split("FILE, ").skip(1).filter_map(|one| Some(one.split_once(": ")?.0)).collect();
    let want = [(2, 10), (2, 32), (3, 9), (3, 20)].map(|(line, column)| format!("line {line}, column {column}"));
    assert_eq!(places, want, "each value of a list: {list}");
    let two = refused("[server]\nworkers = 0\nmode = 'eco'");
    assert!(two.find("line 2").unwrap() < two.find("line 3").unwrap(), "all mistakes, in their order: {two}");
}

#[test]
fn a_file_that_cannot_be_one_is_refused_and_never_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let error = |name: &str| said(&["server", "--config", &path(name)], &[]).err().unwrap();
    assert!(error("none").ends_with("cannot read it: No such file or directory"), "{}", error("none"));
    assert!(error("").ends_with("it is a directory: name a file"));
    std::fs::write(path("huge"), vec![b'#'; 1024 * 1024 + 1]).unwrap();
    assert!(error("huge").ends_with("it is larger than 1 MiB: is it the right file?"));
    std::fs::write(path("large"), vec![b'#'; 1024 * 1024]).unwrap();
    assert!(said(&["server", "--config", &path("large")], &[]).is_ok());
    std::fs::write(path("latin"), b"[server]\n# \xc3\xa4 \xe4").unwrap();
    assert!(error("latin").ends_with("latin, line 2, column 5: it is not UTF-8 from here on: save it as UTF-8"));
    std::fs::write(path("bom"), b"\xef\xbb\xbf[server]\r\nmode = 'echo'\r\n").unwrap();
    assert!(said(&["server", "--config", &path("bom")], &[]).is_ok(), "as editors of Windows save it");
    #[cfg(unix)]
    {
        let made = std::process::Command::new("mkfifo").arg(path("pipe")).status();
        assert!(made.is_ok_and(|status| status.success()));
        assert!(error("pipe").contains("it is not a regular file (a pipe or a device)"));
        let device = said(&["server", "--config", "/dev/zero"], &[]).err().unwrap();
        assert!(device.contains("it is not a regular file"), "{device}");
        std::os::unix::fs::symlink("loop", path("loop")).unwrap();
        assert!(error("loop").contains("cannot read it: "));
    }
}

/// Bits of files, right and wrong.
const BITS: &[&str] = &[
    "[server]\n",
    "[relay]\n",
    "[[server]]\n",
    "[quux]\n",
    "mode = ",
    "allow = ",
    "tls = ",
    "port = ",
    "unix-mode = ",
    "fault = ",
    "listen = ",
    "'echo'\n",
    "\"\\u0000\\u202e\"\n",
    "true\n",
    "99999999999999999999\n",
    "0o660\n",
    "-0.0\n",
    "nan\n",
    "[\"1: reset\", 5]\n",
    "[[[[[[",
    "{ a = { b = 1 } }\n",
    "'''\nlong\n'''\n",
    "1979-05-27T07:32:00Z\n",
    "# \u{e4}\u{202e}\u{7}\n",
    "\r",
    "=",
    "\"",
    "--tls",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_taken_or_refused_with_a_place(
        parts in prop::collection::vec(
            prop_oneof![4 => prop::sample::select(BITS).prop_map(String::from), 1 => ".{0,8}"],
            0..16,
        ),
    ) {
        let text = parts.concat();
        let read = file::parse("file".as_ref(), &text, Keys::of_all());
        for mistake in read.err().into_iter().flatten() {
            let shown = mistake.to_string();
            prop_assert!(shown.starts_with("file, line ") && mistake.at <= text.len(), "{shown}");
            prop_assert!(!shown.contains(['\u{202e}', '\u{7}', '\0', '\r']), "{shown:?}");
        }
    }
}

#[test]
fn a_file_that_is_as_deep_as_it_is_long_is_refused() {
    for text in ["a=[".repeat(100_000), "a.".repeat(100_000), format!("[server]\nmode={}", "{a=".repeat(50_000))] {
        assert!(file::parse("file".as_ref(), &text, Keys::of_all()).is_err());
    }
}
