//! The meaning of a typed line.

use std::path::PathBuf;

/// The commands, as `/help` lists them and Tab completes them.
pub(super) const COMMANDS: [(&str, &str, &str); 10] = [
    ("help", "", "this list"),
    ("quit", "", "leave, as `quit` does, and Ctrl+C on an empty line"),
    ("close", "", "half-close (FIN), and receive the rest, as Ctrl+D does"),
    ("reset", "", "end the connection with a reset (RST)"),
    ("reconnect", "", "close this connection and make a new one"),
    ("send", "FILE", "send a file as it is"),
    ("raw", "\"TEXT\"", "send bytes, no newline: \\n \\r \\t \\0 \\\\ \\\" \\xFF \\u{20AC}"),
    ("hex", "[on|off]", "show what is sent and received as hexadecimal"),
    ("stats", "", "traffic of this connection, and TCP's view of the path"),
    ("tls", "", "the parameters of TLS, and the server's certificates"),
];

/// A typed line's meaning.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ChatCommand {
    /// Send this line.
    Message(String),
    Help,
    Quit,
    Close,
    Reset,
    Reconnect,
    Send(PathBuf),
    Raw(Vec<u8>),
    /// On, off, or the other way round.
    Hex(Option<bool>),
    Stats,
    Tls,
}

/// Parses a line. Several lines at once, as a paste brings them, are never a command.
pub(super) fn read(line: &str) -> Result<ChatCommand, String> {
    if line.contains('\n') {
        return Ok(ChatCommand::Message(line.into()));
    }
    if line == "quit" {
        return Ok(ChatCommand::Quit);
    }
    let Some(command) = line.strip_prefix('/') else { return Ok(ChatCommand::Message(line.into())) };
    if command.starts_with('/') {
        return Ok(ChatCommand::Message(command.into()));
    }
    let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let rest = rest.trim();
    let alone = |command: ChatCommand| match rest {
        "" => Ok(command),
        _ => Err(format!("/{name} stands alone; to send the line as it is, type it with two slashes")),
    };
    match name {
        "help" => alone(ChatCommand::Help),
        "quit" => alone(ChatCommand::Quit),
        "close" => alone(ChatCommand::Close),
        "reset" => alone(ChatCommand::Reset),
        "reconnect" => alone(ChatCommand::Reconnect),
        "stats" => alone(ChatCommand::Stats),
        "tls" => alone(ChatCommand::Tls),
        "send" if rest.is_empty() => Err("/send FILE sends a file: which one?".into()),
        "send" => Ok(ChatCommand::Send(path(rest))),
        "raw" if rest.is_empty() => {
            Err("/raw \"TEXT\" sends bytes without a newline, such as /raw \"\\x00\\xff\"".into())
        }
        "raw" => unescape(rest).map(ChatCommand::Raw),
        "hex" => match rest {
            "" => Ok(ChatCommand::Hex(None)),
            "on" => Ok(ChatCommand::Hex(Some(true))),
            "off" => Ok(ChatCommand::Hex(Some(false))),
            _ => Err("/hex on, /hex off, or /hex alone to switch".into()),
        },
        _ if is_quit_word(name) => Err(format!("There is no command /{name}; /quit leaves")),
        _ => Err(format!("There is no command /{name}; /help lists them, and //{name} would send /{name}")),
    }
}

/// The hint after a line that was sent but may have been meant as `quit`.
pub(super) fn hint(line: &str) -> Option<&'static str> {
    is_quit_word(line)
        .then_some("That was sent to the server; `quit`, in small letters and alone, leaves (as does Ctrl+C)")
}

/// Does this word end a conversation in other programs?
fn is_quit_word(line: &str) -> bool {
    const WORDS: [&str; 11] =
        ["quit", "exit", "bye", "goodbye", "logout", "disconnect", ":q", ":wq", ":x", "\\q", ".quit"];
    let word = line.trim().trim_end_matches([';', '.', '!']).trim_end_matches("()").to_ascii_lowercase();
    WORDS.contains(&word.as_str())
}

/// A file name as a shell would take it, and as Tab completes it: in quotes, or with backslashes
/// before special characters; `~/` is the user's own folder.
fn path(text: &str) -> PathBuf {
    let mut name = String::with_capacity(text.len());
    match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => name += quoted,
        None => {
            let mut chars = text.chars();
            while let Some(c) = chars.next() {
                // On Windows a backslash separates folders.
                let c = if c == '\\' && !cfg!(windows) { chars.next().unwrap_or(c) } else { c };
                name.push(c);
            }
        }
    }
    match (name.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => name.into(),
    }
}

/// The bytes of a text with escapes, with quotes around it or without.
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let text = match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').ok_or("the closing quote is missing")?,
        None => text,
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match chars.next() {
            Some('n') => bytes.push(b'\n'),
            Some('r') => bytes.push(b'\r'),
            Some('t') => bytes.push(b'\t'),
            Some('0') => bytes.push(0),
            Some(c @ ('\\' | '"' | '\'')) => bytes.push(c as u8),
            Some('x') => {
                let digits: String = chars.by_ref().take(2).collect();
                let byte =
                    u8::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 2 && !digits.starts_with('+'));
                bytes.push(byte.ok_or_else(|| format!("\\x{digits} is not a byte: write two hexadecimal digits"))?);
            }
            Some('u') => {
                let code = chars.as_str().strip_prefix('{').and_then(|rest| rest.split_once('}'));
                let (digits, rest) = code.ok_or("\\u is written with braces, such as \\u{20AC}")?;
                let c = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
                let c = c.ok_or_else(|| format!("\\u{{{digits}}} is not a character"))?;
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                chars = rest.chars();
            }
            Some(other) => return Err(format!("\\{other} is not an escape; a backslash is written \\\\")),
            None => return Err("a lone backslash at the end; it is written \\\\".into()),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_never_commands() {
        for line in ["", "hello", "quit now", " quit", "Q", "R", "B", " /help", "a /quit", "/quit\nmore", "quit\nquit"]
        {
            assert_eq!(read(line), Ok(ChatCommand::Message(line.into())), "{line:?}");
        }
        assert_eq!(read("//etc"), Ok(ChatCommand::Message("/etc".into())));
        assert_eq!(read("///"), Ok(ChatCommand::Message("//".into())));
    }

    #[test]
    fn a_line_like_quit_is_sent_with_a_hint() {
        for line in [
            "QUIT", "Quit", "exit", "EXIT", "bye", ":q", ":q!", ":wq", " quit", "quit ", "exit()", "quit;", "\\q",
            "Bye!",
        ] {
            assert_eq!(read(line), Ok(ChatCommand::Message(line.into())), "{line:?} is sent all the same");
            assert!(hint(line).is_some_and(|hint| hint.contains("`quit`")), "{line:?}");
        }
        for line in ["", "Q", "q", "hello", "quit now", "exit 1", "bye bye", "quit\nquit", "!", "()"] {
            assert_eq!(hint(line), None, "{line:?}");
        }
    }

    #[test]
    fn commands() {
        let cases = [
            ("quit", ChatCommand::Quit),
            ("/quit", ChatCommand::Quit),
            ("/help ", ChatCommand::Help),
            ("/close", ChatCommand::Close),
            ("/reset", ChatCommand::Reset),
            ("/reconnect", ChatCommand::Reconnect),
            ("/stats", ChatCommand::Stats),
            ("/hex", ChatCommand::Hex(None)),
            ("/hex on", ChatCommand::Hex(Some(true))),
            ("/hex  off", ChatCommand::Hex(Some(false))),
            ("/send a file.txt", ChatCommand::Send("a file.txt".into())),
            // On Windows it separates folders.
            (r"/send a\ file.txt", ChatCommand::Send(if cfg!(windows) { r"a\ file.txt" } else { "a file.txt" }.into())),
            ("/send \"a file.txt\"", ChatCommand::Send("a file.txt".into())),
            (r#"/raw "\x00\xff""#, ChatCommand::Raw(vec![0, 255])),
            (r"/raw a\n\r\t\0\\\u{20AC}", ChatCommand::Raw("a\n\r\t\0\\\u{20ac}".into())),
            (r#"/raw """#, ChatCommand::Raw(vec![])),
        ];
        for (line, command) in cases {
            assert_eq!(read(line), Ok(command), "{line}");
        }
    }

    #[test]
    fn a_wrong_command_is_an_error() {
        for line in [
            "/",
            "/hello",
            "/quit now",
            "/send",
            "/raw",
            "/hex maybe",
            r#"/raw "open"#,
            r"/raw \x",
            r"/raw \x+1",
            r"/raw \xg0",
            r"/raw \u",
            r"/raw \u{d800}",
            r"/raw \q",
            r"/raw \",
            r"/raw \xé",
        ] {
            assert!(read(line).is_err(), "{line}");
        }
    }

    #[test]
    fn every_listed_command_exists() {
        for (name, argument, _) in COMMANDS {
            let line = if argument == "FILE" || name == "raw" { format!("/{name} x") } else { format!("/{name}") };
            assert!(read(&line).is_ok_and(|command| !matches!(command, ChatCommand::Message(_))), "{line}");
        }
    }
}
