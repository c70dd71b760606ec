//! What the sources have to do with each other.

#[cfg(unix)]
use super::read_with;
use super::{said, shown, with_file};

/// What holds of a file, variables and words.
fn held(command: &str, text: &str, words: &[&str], variables: &[(&str, &str)]) -> String {
    shown(&with_file(command, text, words, variables).unwrap()).join(" ")
}

#[test]
fn each_source_overrides_the_next() {
    let file = "[server]\ndrain-timeout = 1\nallow = ['10.0.0.0/8', '::1']\nno-probe = true\nhost = 'one'\nport = 1";
    let all = "allow=10.0.0.0/8,::1 drain-timeout=1 host=one no-probe port=1";
    assert_eq!(held("server", file, &[], &[]), all);
    let variables = [
        ("RESOUND_SERVER_DRAIN_TIMEOUT", "2"),
        ("RESOUND_SERVER_ALLOW", "192.0.2.0/24"),
        ("RESOUND_SERVER_NO_PROBE", "off"),
        ("RESOUND_SERVER_HOST", "two"),
    ];
    assert_eq!(held("server", file, &[], &variables), "allow=192.0.2.0/24 drain-timeout=2 host=two port=1");
    let words = ["three", "3", "--drain-timeout", "3", "--allow", "::3", "--allow=::4", "--no-probe"];
    let typed = "allow=::3,::4 drain-timeout=3 host=three no-probe port=3";
    assert_eq!(held("server", file, &words, &variables), typed);
    assert_eq!(held("server", file, &words, &[]), typed);
    // An empty variable is none, and an empty list is a list.
    assert_eq!(held("server", file, &[], &[("RESOUND_SERVER_DRAIN_TIMEOUT", "")]), all);
    assert_eq!(held("server", file, &[], &[("RESOUND_SERVER_ALLOW", "[]")]), all.replace("allow=10.0.0.0/8,::1 ", ""));
}

#[test]
fn a_switch_and_any_other_flag_can_be_taken_back() {
    let file = "[server]\ntls = true\ncert = ['a.pem']\nkey = ['a.key']\nalpn = ['x']\nmode = 'echo'";
    assert_eq!(held("server", file, &["--tls=false"], &[]), "mode=echo", "TLS is off with what belongs to it");
    assert_eq!(held("server", file, &[], &[("RESOUND_SERVER_TLS", "no")]), "mode=echo");
    assert_eq!(held("server", file, &["--without", "cert"], &[]), "alpn=x mode=echo tls");
    let variables = [("RESOUND_SERVER_MODE", "reply")];
    assert_eq!(held("server", file, &["--without=mode", "--without", "tls"], &variables), "");
    // What was typed is not taken back.
    assert_eq!(held("server", file, &["--without=mode", "--mode", "discard", "--tls=false"], &[]), "mode=discard");
    assert_eq!(held("server", "[server]\ntls = false\ncert = ['a.pem']", &[], &[]), "");
    assert_eq!(held("server", "[server]\ntls = false", &["--tls=true"], &[]), "tls");
    let error = said(&["server", "--without", "mod"], &[]).err().unwrap();
    assert_eq!(error, "--without: there is no flag 'mod': perhaps mode was meant");
}

#[test]
fn a_flag_overrides_what_it_does_not_go_with() {
    let file = "[server]\nquiet = true\nfaults = 'f.toml'\nipv4 = true";
    let words = ["--verbose", "--fault", "1: reset", "-6"];
    assert_eq!(held("server", file, &words, &[]), "fault=1: reset ipv6 verbose");
    let variables = [("RESOUND_SERVER_REPLAY", "r"), ("RESOUND_SERVER_IPV6", "1")];
    assert_eq!(held("server", file, &[], &variables), "ipv6 quiet replay=r");
    // Within one source it stays a mistake, which names both places.
    let error = with_file("server", "[server]\nquiet = true\nverbose = true", &[], &[]).err().unwrap();
    assert!(error.starts_with("the argument '--quiet' cannot be used with '--verbose'"), "{error}");
    assert!(error.contains("verbose comes from FILE, line 3, column 1"), "{error}");
    assert!(error.contains("quiet comes from FILE, line 2, column 1"), "{error}");
    let error = with_file("server", "[server]\ncert = 'a.pem'", &[], &[]).err().unwrap();
    assert!(error.contains("not provided: --tls"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_path_in_another_encoding_can_be_typed_and_set_but_not_printed() {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::OsStr::from_bytes(b"/tmp/\xe4");
    let typed = ["resound", "server", "--print-config"].map(Into::into);
    let name = "RESOUND_SERVER_RECORD".into();
    let config = read_with(&typed, vec![(name, path.into())]).ok().and_then(|read| read.config).unwrap();
    assert_eq!(config.values()["record"], [path]);
    let error = config.print().unwrap_err().to_string();
    assert_eq!(error, "--record: its value is not UTF-8, and no file can hold it (but RESOUND_SERVER_RECORD can)");
}

#[test]
fn host_and_port_are_two_keys() {
    let file = "[server]\nhost = '0.0.0.0'\nport = 9000";
    assert_eq!(held("server", file, &[], &[]), "host=0.0.0.0 port=9000");
    assert_eq!(held("server", file, &["7000"], &[]), "host=0.0.0.0 port=7000");
    assert_eq!(held("server", file, &["::1"], &[]), "host=::1 port=9000");
    assert_eq!(held("server", file, &["::1", "7"], &[]), "host=::1 port=7");
    for whole in ["localhost:7", "[::1]:7", "unix:/tmp/x"] {
        assert_eq!(held("server", file, &[whole, "--mode", "echo"], &[]), format!("host={whole} mode=echo"));
    }
    assert_eq!(held("server", file, &[], &[("RESOUND_SERVER_PORT", "7")]), "host=0.0.0.0 port=7");
    assert_eq!(held("server", "[server]\nport = 7", &[], &[]), "port=7");
    assert_eq!(held("load", "[load]\nhost = 'a'\nport = 7", &["--loopback"], &[]), "loopback");
    let file = "[client]\nport = 7\nhost = 'a'";
    assert_eq!(held("client", file, &["test"], &[]), "host=a port=7");
    assert_eq!(held("client", file, &["b", "test", "--strict"], &[]), "host=b port=7 strict");
    assert_eq!(held("client", file, &["b", "8", "test"], &[]), "host=b port=8");
}

#[test]
fn a_relay_has_a_listener_and_a_target() {
    let file = "[relay]\nlisten = '9000'\ntarget = 'db:1'\nmap = ['1=a:1', '2=b:2']";
    assert_eq!(held("relay", file, &[], &[]), "listen=9000 map=1=a:1,2=b:2 target=db:1");
    assert_eq!(held("relay", file, &["db:2", "-v"], &[]), "listen=9000 map=1=a:1,2=b:2 target=db:2 verbose");
    assert_eq!(held("relay", file, &["-v", "8000", "db:2"], &[]), "listen=8000 map=1=a:1,2=b:2 target=db:2 verbose");
    let error = with_file("relay", "[relay]\nlisten = '9000'", &[], &[]).err().unwrap();
    assert_eq!(error, "FILE, line 2, column 1: `listen` needs `target` beside it");
    assert_eq!(held("relay", "[relay]\nlisten = '9000'", &["db:1"], &[]), "listen=9000 target=db:1");
    assert_eq!(held("relay", file, &["--without=target"], &[]), "map=1=a:1,2=b:2");
    assert_eq!(held("relay", file, &["--without=map"], &[("RESOUND_RELAY_TARGET", "c:3")]), "listen=9000 target=c:3");
}

#[test]
fn the_command_of_a_lab_stands_behind_its_flags() {
    let file = "[lab]\ncommand = ['ping', '-c', '1', 'far']\nloss = '1%'\nnat = true\nsplit-tcp = ''";
    assert_eq!(held("lab", file, &[], &[]), "command=ping,-c,1,far loss=1% nat= split-tcp=");
    assert_eq!(held("lab", file, &["--loss", "2%", "--", "true"], &[]), "command=true loss=2% nat= split-tcp=");
}
