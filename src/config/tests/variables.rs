//! Variables of the environment.

use std::collections::BTreeSet;

use super::super::environment::OF_TESTS;
use super::{holds, root, said};

fn refused(name: &str, value: &str) -> String {
    said(&["server"], &[(name, value)]).err().unwrap_or_else(|| panic!("{name}={value} was taken"))
}

fn warned(name: &str) -> Vec<String> {
    said(&["server"], &[(name, "1")]).unwrap().warnings
}

#[test]
fn an_unknown_variable_of_the_command_is_refused_with_the_nearest() {
    let meant = "RESOUND_SERVER_ALOW: there is no such variable: perhaps RESOUND_SERVER_ALLOW was meant";
    assert_eq!(refused("RESOUND_SERVER_ALOW", "::1"), meant);
    assert!(refused("RESOUND_SERVER_QUUX", "1").ends_with("--help lists the flags"));
    assert!(refused("RESOUND_SERVER_PRINT_CONFIG", "1").starts_with("RESOUND_SERVER_PRINT_CONFIG: "));
    assert!(refused("RESOUND_SERVER_TARGET", "a:1").starts_with("RESOUND_SERVER_TARGET: "));
}

#[test]
fn a_wrong_value_has_the_sentence_of_the_flag() {
    let typed = said(&["server", "--drain-timeout", "5x"], &[]).err().unwrap();
    assert!(typed.contains("'5x' is not a duration; write it like 500ms, 10s or 5m"), "{typed}");
    let name = "RESOUND_SERVER_DRAIN_TIMEOUT";
    assert_eq!(refused(name, "5x"), format!("{name}: {typed}"));
    assert_eq!(refused("RESOUND_SERVER_TLS", "maybe"), "RESOUND_SERVER_TLS: 'maybe' is neither true nor false");
    assert!(refused("RESOUND_SERVER_ALLOW", "10.0.0.1/8").contains("has host bits set"));
    assert!(refused("RESOUND_SERVER_PORT", "70000").contains("invalid value '70000' for 'port'"));
    let twice = [("RESOUND_SERVER_OPENING_TIMEOUT", "1"), ("RESOUND_SERVER_HANDSHAKE_TIMEOUT", "2")];
    assert!(said(&["server"], &twice).err().unwrap().contains("two names"));
}

#[test]
fn a_variable_that_nothing_reads_is_warned_of() {
    assert_eq!(warned("RESOUND_MODE"), ["RESOUND_MODE is not read: RESOUND_SERVER_MODE is the name"]);
    assert_eq!(warned("RESOUND_MOED"), ["RESOUND_MOED is not read: RESOUND_SERVER_MODE is the name"]);
    assert!(warned("RESOUND_SERVR_MODE")[0].ends_with("perhaps RESOUND_SERVER_ was meant"));
    assert!(warned("RESOUND_OTHER")[0].starts_with("RESOUND_OTHER is not read"));
    for silent in ["RESOUND_RELAY_TARGET", "RESOUND_RELAY_QUUX", "RESOUND_WRITE_API", "RESOUNDING", "OTHER"] {
        assert_eq!(warned(silent), [""; 0], "{silent}");
    }
}

#[test]
fn variables_that_a_platform_sets_for_a_service_of_this_name_are_none_of_ours() {
    let names = [
        ("RESOUND_SERVICE_HOST", "10.0.0.7"),
        ("RESOUND_PORT", "tcp://10.0.0.7:8888"),
        ("RESOUND_PORT_8888_TCP", "tcp://10.0.0.7:8888"),
        ("RESOUND_PORT_8888_TCP_ADDR", "10.0.0.7"),
        ("RESOUND_SERVER_SERVICE_HOST", "10.0.0.7"),
        ("RESOUND_SERVER_SERVICE_PORT", "8888"),
        ("RESOUND_SERVER_SERVICE_PORT_ECHO", "8888"),
        ("RESOUND_SERVER_PORT", "tcp://10.0.0.7:8888"),
        ("RESOUND_SERVER_PORT_8888_TCP", "tcp://10.0.0.7:8888"),
        ("RESOUND_SERVER_PORT_8888_TCP_PROTO", "tcp"),
        ("RESOUND_SERVER_PORT_53_UDP_PORT", "53"),
        ("RESOUND_SERVER_ECHO_PORT_8888_TCP_PORT", "8888"),
    ];
    let config = said(&["server"], &names).unwrap();
    assert_eq!((&config.warnings[..], super::shown(&config)), (&[][..], Vec::new()));
    assert_eq!(holds(&["server"], &[("RESOUND_SERVER_PORT", "8888")]), ["port=8888"]);
}

#[test]
fn a_list_is_separated_by_commas_or_written_as_in_a_file() {
    let fault = |value| holds(&["server"], &[("RESOUND_SERVER_ALPN", value), ("RESOUND_SERVER_TLS", "1")]);
    assert_eq!(fault("a, b,"), ["alpn=a,b", "tls"]);
    assert_eq!(fault("[\"a,b\", 'c']"), ["alpn=a,b,c", "tls"]);
    assert_eq!(fault("[::1]:8"), ["alpn=[::1]:8", "tls"], "an address is no list");
    assert!(refused("RESOUND_SERVER_ALLOW", "[true]").contains("not true or false"));
    for blank in [" ", ",", " , "] {
        assert!(refused("RESOUND_SERVER_ALLOW", blank).contains("the list has no value"), "{blank:?}");
    }
    assert!(refused("RESOUND_SERVER_ALLOW", "[\"::1\"").contains("the list has no `]` at its end"));
}

#[test]
fn the_tests_read_no_variable_that_a_program_would_warn_of() {
    let mut open = ["tests", "crates", "src", ".ci", "benches/src", "docs"].map(|folder| root().join(folder)).to_vec();
    let mut found = BTreeSet::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        // Those of this module are examples.
        if path.starts_with(root().join("src/config")) || path.ends_with("config.rs") || path.ends_with("config.md") {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        // After an underscore, it is a part of another name.
        for (at, _) in text.match_indices("RESOUND_").filter(|(at, _)| !text[..*at].ends_with('_')) {
            let name: String = text[at..].chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect();
            found.insert(name);
        }
    }
    // Those of flags are no variables of tests.
    let is_of_a_flag = |name: &str| name.starts_with("RESOUND_SERVER_") || name.starts_with("RESOUND_RELAY_");
    let names = found.iter().filter(|name| name.len() > "RESOUND_".len() && !name.ends_with('_'));
    for name in names.filter(|name| !is_of_a_flag(name)) {
        let is_ours = said(&["server"], &[(name, "1")]).is_ok_and(|config| config.warnings.is_empty());
        assert!(is_ours, "{name} is not in OF_TESTS");
    }
    for name in OF_TESTS {
        assert!(found.contains(name), "nothing reads {name}");
    }
}
