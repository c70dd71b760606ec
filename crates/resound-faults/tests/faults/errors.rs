//! Each mistake has its place and its sentence.

use resound_faults::{FaultFile, FaultSpec, SpecProblem};

/// A specification, the wrong part of it, the sort of the mistake, and the sentence.
const GOLDEN: &[(&str, &str, SpecProblem, &str)] = {
    use SpecProblem::{Amount, Meaningless, Syntax, UnknownWord, Value};
    &[
        ("rset", "rset", UnknownWord, "'rset' is not a fault; did you mean `reset`?"),
        ("up: dely=20ms", "dely", UnknownWord, "'dely' is not a fault; did you mean `delay`?"),
        ("reset; clsoe @1KiB", "clsoe", UnknownWord, "'clsoe' is not a fault; did you mean `close`?"),
        ("frobnicate", "frobnicate", UnknownWord, "'frobnicate' is not a fault"),
        ("reset;", "", Syntax, "a fault is missing here, such as `reset` or `delay=20ms`"),
        ("up:", "", Syntax, "a fault is missing here, such as `reset` or `delay=20ms`"),
        ("reset close", "close", Syntax, "a semicolon stands between two faults"),
        ("up reset", "up", Syntax, "a colon follows the direction: `up: reset`"),
        ("every 5th reset", "every", Syntax, "a colon follows the connections: `every 5th: reset`"),
        (
            "up: 1-2: reset",
            "1-2",
            Syntax,
            "the connections come first, then the direction, then the fault: `1-2: up: reset`",
        ),
        ("up: down: reset", "down", Syntax, "one direction is enough, and without one the rule is for both"),
        (
            "upp: reset",
            "upp",
            UnknownWord,
            "'upp' is not a choice of connections or a direction: 3, 1-2, 5-, every 5th, from=10.0.0.0/8, *, \
             up or down; \
             did you mean `up`?",
        ),
        ("0: reset", "0", Amount, "'0' does not choose connections, which are numbered from 1, like 3, 1-2 or 5-"),
        ("4-2: reset", "4-2", Amount, "'4-2' ends before it begins"),
        (
            "every 5: reset",
            "every 5",
            Amount,
            "'every 5' does not choose connections; write it like every 2nd or every 5th",
        ),
        ("from=10.0.0.1/8: reset", "from=10.0.0.1/8", Amount, "'10.0.0.1/8' has host bits set; write from=10.0.0.0/8"),
        (
            "from=ten: reset",
            "from=ten",
            Amount,
            "'ten' is not a network; write it like 10.0.0.0/8, 192.0.2.7 or [2001:db8::]/32",
        ),
        ("delay", "", Value, "`delay` needs a value, like `delay=20ms+-5ms`"),
        ("reset=5s", "5s", Value, "`reset` takes no value"),
        ("stall=x", "x", Amount, "'x' is not a time from 1us to 100 years, like 500ms, 10s or 5m"),
        (
            "delay=5ms+-20ms",
            "5ms+-20ms",
            Amount,
            "a delay varies at most by its own length, because it cannot be below zero",
        ),
        ("delay=20ms+-5ms~gauss", "gauss", UnknownWord, "'gauss' is not a distribution: uniform, normal or pareto"),
        (
            "delay=20ms~normal",
            "normal",
            Value,
            "a delay that does not vary has no distribution: write 20ms+-5ms~normal",
        ),
        ("rate=1MiB", "1MiB", Amount, "'1MiB' is not a rate like 1MiB/s or 500B/s"),
        ("drip=10B", "10B", Amount, "'10B' is not a size and a time like 10B/100ms"),
        ("slice=7..1", "7..1", Amount, "'7..1' is not a number of bytes from 1 on like 3, or a range like 1..7"),
        ("swap=1MiB", "1MiB", Amount, "'1MiB' is not possible here: 32KiB are the most"),
        (
            "reset @packet=3",
            "@packet=3",
            UnknownWord,
            "'@packet=3' is not a WHEN: @connect, @64KiB, @message=3, @2s or @idle=30s",
        ),
        ("cap=0", "0", Amount, "'0' is not a number from 1 to 4294967295"),
        ("reset @5", "@5", Amount, "'@5' may be bytes or seconds; write @5B or @5s"),
        ("reset @0s", "@0s", Amount, "a time is longer than zero; @connect is the beginning"),
        (
            "reset @conect",
            "@conect",
            UnknownWord,
            "'@conect' is not a WHEN: @connect, @64KiB, @message=3, @2s or @idle=30s; did you mean `@connect`?",
        ),
        ("reset @message=0", "@message=0", Amount, "'0' is not a message's number: the first message is 1"),
        ("reset @idle=", "@idle=", Amount, "'' is not a time from 1us to 100 years, like 500ms, 10s or 5m"),
        ("reset @1s @2s", "@2s", Syntax, "a rule has one WHEN"),
        ("reset 25% @1s", "@1s", Syntax, "the chance comes last: `reset @64KiB 25%`"),
        ("reset 25% 30%", "30%", Syntax, "a rule has one chance"),
        ("reset 0%", "0%", Amount, "'0%' is not a chance; write it from 0.0001% to 100%, like 25%"),
        ("reset 101%", "101%", Amount, "'101%' is not a chance; write it from 0.0001% to 100%, like 25%"),
        (
            "reset now",
            "now",
            Syntax,
            "'now' is not expected here; after a fault come a WHEN: @connect, @64KiB, @message=3, @2s or @idle=30s, \
             and a chance such as 25%",
        ),
        ("1-2 reset", "1-2", Syntax, "a colon follows the connections: `1-2: reset`"),
        ("1: refuse", "1", Meaningless, "`refuse` is for the listener as a whole, which knows no single connection"),
        ("up: cap=3", "up", Meaningless, "`cap` is for the listener as a whole, which knows no direction"),
        (
            "never-accept @2s",
            "@2s",
            Meaningless,
            "`never-accept` is for the listener as a whole, which knows no moment of a connection",
        ),
        (
            "connect-rate=5/s 10%",
            "10%",
            Meaningless,
            "`connect-rate` is for the listener as a whole, which knows no single connection that chance could choose",
        ),
        ("up: nagle", "up", Meaningless, "`nagle` has no direction: it concerns the whole connection"),
        (
            "down: split-hello-drop",
            "down",
            Meaningless,
            "`split-hello-drop` has no direction: only the client sends a ClientHello",
        ),
        (
            "accept-liar @1KiB",
            "@1KiB",
            Meaningless,
            "`accept-liar` takes no WHEN: it is in effect from the beginning of a connection",
        ),
        ("corrupt @connect", "@connect", Meaningless, "`corrupt` changes bytes, and @connect has none; write @0B"),
    ]
};

#[test]
fn each_mistake_has_its_place_and_its_sentence() {
    for (text, part, problem, sentence) in GOLDEN {
        let error = text.parse::<FaultSpec>().expect_err(text);
        let found = (&text[error.range()], error.problem(), error.sentence());
        assert_eq!(found, (*part, *problem, (*sentence).to_string()), "{text}");
    }
}

#[test]
fn the_text_of_a_mistake_marks_its_place() {
    let error = "reset; up:  dealy=5s".parse::<FaultSpec>().unwrap_err();
    let want = "'dealy' is not a fault; did you mean `delay`?\n  reset; up:  dealy=5s\n              ^^^^^";
    assert_eq!(error.to_string(), want);
    assert_eq!((error.meant(), error.line()), (Some("delay"), None));
}

#[test]
fn a_specification_has_a_limit() {
    let text = vec!["reset"; 257].join("; ");
    assert_eq!(text.parse::<FaultSpec>().unwrap_err().problem(), SpecProblem::TooMany);
    assert!(text[7..].parse::<FaultSpec>().is_ok());
}

#[test]
fn a_file_is_read_whole_or_not_at_all() {
    let text = r#"
        # The first two fail.
        seed = 18446744073709551615
        [[fault]]
        which = "1-2"
        direction = "down"
        fault = "reset"
        when = "@64KiB"
        chance = "25%"
        [[fault]]
        spec = "nagle; every 5th: up: delay=20ms+-5ms~normal"
        [[fault]]
        fault = "refuse"
    "#;
    let file = FaultFile::parse(text).unwrap();
    assert_eq!(file.seed, Some(u64::MAX));
    let want = "1-2: down: reset @64KiB 25%; nagle; every 5th: up: delay=20ms+-5ms~normal; refuse";
    assert_eq!(file.spec.to_string(), want);
    assert_eq!(FaultFile::parse("").unwrap(), FaultFile::default());
}

#[test]
fn each_mistake_in_a_file_has_its_line() {
    for (text, line, part, sentence) in [
        ("sede = 7", 1, "sede", "'sede' is not a key of a file of faults; did you mean `seed`?"),
        ("seed = -1", 1, "-1", "a seed is a whole number"),
        ("seed = \"7\"", 1, "\"7\"", "a seed is a whole number"),
        ("\n[[fault]]\nfalt = 'reset'", 3, "falt", "did you mean `fault`?"),
        ("[[fault]]\nfault = 'rset'", 2, "rset", "'rset' is not a fault; did you mean `reset`?"),
        ("[[fault]]\nfault = 'reset'\nwhen = '@5'", 3, "@5", "write @5B or @5s"),
        ("[[fault]]\nwhich = '1'\nfault = 'cap=3'", 2, "1", "for the listener as a whole"),
        ("[[fault]]\nfault = 'reset @2s'", 2, "'reset @2s'", "the key `spec` takes a whole rule"),
        ("[[fault]]\nfault = 'reset; close'", 2, "'reset; close'", "is not a fault alone"),
        ("[[fault]]\nfault = 'reset'\nwhen = '2s'", 3, "'2s'", "is not a WHEN"),
        ("[[fault]]\ndirection = 'upp'\nfault = 'reset'", 2, "'upp'", "a direction: up or down"),
        ("[[fault]]\nfault = 'reset'\nchance = 25", 3, "25", "`chance` is a text in quotes"),
        ("[[fault]]\nspec = 'reset; clos'", 2, "clos", "did you mean `close`?"),
        ("[[fault]]\nspec = 'reset'\nwhen = '@2s'", 3, "when", "the other keys do not stand beside it"),
        ("[[fault]]\nspec = ' '", 2, "' '", "a fault is missing"),
        ("seed = 7\n[[fault]]\nwhen = '@2s'", 2, "[[fault]]", "has the key `fault` or the key `spec`"),
        ("[fault]\nfault = 'reset'", 1, "fault", "under [[fault]]"),
        ("seed = 7\nfault = = 3", 2, "=", "the file is not TOML"),
    ] {
        let error = FaultFile::parse(text).expect_err(text);
        assert!(error.sentence().contains(sentence), "{text}: {error}");
        assert_eq!((error.line(), &error.text()[error.range()]), (Some(line), part), "{text}: {error}");
    }
}
