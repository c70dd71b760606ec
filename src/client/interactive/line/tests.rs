use super::*;

/// Types these keys: letters as they are, `^A` for Ctrl+A, `~b` for Alt+B.
fn typed(line: &mut EditedLine, keys: &str) -> KeyEffect {
    let (mut keys, mut effect) = (keys.chars(), KeyEffect::Nothing);
    while let Some(c) = keys.next() {
        effect = line.key(match c {
            '^' => KeyPress::Ctrl(keys.next().unwrap().to_ascii_lowercase()),
            '~' => KeyPress::Alt(keys.next().unwrap()),
            c => KeyPress::Char(c),
        });
    }
    effect
}

#[test]
fn keys_edit() {
    let cases = [
        ("one two^A^Fx", "oxne two"),
        ("one two~b^KT^E!", "one T!"),
        ("one two^W^Y^Y", "one twotwo"),
        ("a b c^W^W^Y", "a b c"),
        ("one two^U^Yx", "one twox"),
        ("one two~b~b~d~f!", " two!"),
        ("ab^T", "ba"),
        ("one two~t", "two one"),
        ("one^A~u~b", "ONE"),
        ("caf\u{e9}\u{301}^H^H", "ca"),
        ("one^Wtwo^_^_", "one"),
        ("x^V^A", "x\u{1}"),
        ("one^C^Yx", "onex"),
        ("one^Atwo^D", "twone"),
        ("/sta^I", "/stats"),
        ("/se^I", "/send "),
        ("/re^I", "/re"),
    ];
    for (keys, want) in cases {
        let mut line = EditedLine::new(None).unwrap();
        typed(&mut line, keys);
        assert_eq!(line.buffer.as_str(), want, "{keys}");
    }
}

#[test]
fn history_recalls_and_searches_lines() {
    let mut line = EditedLine::new(None).unwrap();
    for typing in ["needle one", "hay", "needle two", " hidden"] {
        assert_eq!(typed(&mut line, &format!("{typing}^M")), KeyEffect::Done(Input::Line(typing.into())));
    }
    let cases = [
        ("new^P", "> needle two"),
        ("^P", "> hay"),
        ("~<^P", "> needle one"),
        ("^N^N", "> needle two"),
        ("^N^N", "> new"),
        ("~<~>", "> new"),
        ("^Rneed", "(reverse-i-search)`need': needle two"),
        ("^R", "(reverse-i-search)`need': needle one"),
        ("^R", "(failed reverse-i-search)`need': needle one"),
        ("^S", "(reverse-i-search)`need': needle two"),
        ("^G", "> new"),
        ("^Rha^E!", "> hay!"),
    ];
    for (keys, want) in cases {
        typed(&mut line, keys);
        assert_eq!(line.shown().0, want, "{keys}");
    }
    assert_eq!(typed(&mut line, "^C^Rone^M"), KeyEffect::Done(Input::Line("needle one".into())));
}

#[test]
fn up_and_down_move_through_pasted_rows() {
    let mut line = EditedLine::new(None).unwrap();
    line.key(KeyPress::Pasted("first\nse\nthird".into(), true));
    typed(&mut line, "^PX^P^PY^N^N^N^NZ");
    assert_eq!(line.buffer.as_str(), "firYst\nseX\nthiZrd");
}

#[test]
fn up_and_down_keep_the_column_beside_wide_characters() {
    let mut line = EditedLine::new(None).unwrap();
    line.key(KeyPress::Pasted("\u{4e16}\u{754c}\u{1f30d}\nabcdef".into(), true));
    typed(&mut line, "^B^B^PX^NY^P^P");
    assert_eq!(line.buffer.as_str(), "\u{4e16}\u{754c}X\u{1f30d}\nabcdeYf");
}

#[test]
fn text_that_does_not_fit_is_refused() {
    let mut line = EditedLine::new(None).unwrap();
    let (most, more) = ("x".repeat(LONGEST - 1), "\u{20ac}".to_string());
    assert_eq!(line.key(KeyPress::Pasted(most.clone(), true)), KeyEffect::Nothing);
    assert_eq!(line.key(KeyPress::Pasted(more, true)), too_long());
    assert_eq!(typed(&mut line, "y^M"), KeyEffect::Done(Input::Line(most + "y")));
}

#[test]
fn a_line_that_is_no_utf_8_is_reported() {
    let mut line = EditedLine::new(None).unwrap();
    line.key(KeyPress::NotUtf8);
    assert_eq!(typed(&mut line, "a^M"), KeyEffect::Done(Input::NoText("\u{fffd}a".into())));
    line.key(KeyPress::NotUtf8);
    assert_eq!(typed(&mut line, "^Ha^M"), KeyEffect::Done(Input::Line("a".into())));
}
