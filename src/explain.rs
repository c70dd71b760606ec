//! Errors: their exit codes, and their text on stderr.

use std::borrow::Cow;
use std::io;

use resound::Error;
use resound::client::{DialError, FailureClass};
use resound_console::attempts;
use resound_lab::LabError;

use crate::client::ClientFailure;
use crate::{advice, exit, lab};

/// An error as stderr gets it: the error, each address that was tried, and the advice.
pub(crate) fn message(error: &anyhow::Error, advice: Option<&str>) -> String {
    let mut text = match (of_system(error), advice) {
        // Without the number of the system's error.
        (Some(cause), _) => {
            let above = error.chain().count() - 1;
            let above: String = error.chain().take(above).map(|error| format!("{error}: ")).collect();
            format!("resound: {above}{}\n", resound::system::plain(cause))
        }
        // A typed error with advice names its cause itself.
        (None, Some(_)) => format!("resound: {error}\n"),
        (None, None) => format!("resound: {error:#}\n"),
    };
    text.extend(error.downcast_ref().into_iter().flat_map(attempts::lines));
    if let Some(advice) = advice {
        text += &format!("  {advice}\n");
    }
    text
}

/// The exit code of an error, its class if it is a network failure, and the advice for it.
pub(crate) fn explain(error: &anyhow::Error) -> (u8, Option<FailureClass>, Option<Cow<'static, str>>) {
    if let Some(error) = error.downcast_ref::<Error>() {
        return (exit::USAGE, None, Some(advice::of_error(error)));
    }
    if let Some(error) = error.downcast_ref::<DialError>() {
        // Without a class this machine refused: a permission, a descriptor limit.
        let code = if error.class.is_some() { exit::NETWORK } else { exit::USAGE };
        return (code, error.class, Some(advice::of_dial(error)));
    }
    if let Some(error) = error.downcast_ref::<LabError>() {
        return (exit::USAGE, None, Some(lab::advice(error).into()));
    }
    if let Some(failure) = error.downcast_ref::<ClientFailure>() {
        return (exit::NETWORK, Some(failure.class), Some(failure.advice().into()));
    }
    (exit::USAGE, None, of_system(error).and_then(|error| advice::of_file(error.kind())).map(Cow::Borrowed))
}

/// The system's error behind one that has no type of its own, such as that of a file.
fn of_system(error: &anyhow::Error) -> Option<&io::Error> {
    let is_typed =
        error.is::<Error>() || error.is::<DialError>() || error.is::<LabError>() || error.is::<ClientFailure>();
    error.root_cause().downcast_ref().filter(|_| !is_typed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use resound::client::Attempt;

    use super::*;

    #[test]
    fn an_error_of_a_file_says_what_to_do() {
        use anyhow::Context;

        let missing = std::fs::read("no such file").context("no such file").unwrap_err();
        let (code, class, advice) = explain(&missing);
        assert_eq!((code, class), (2, None));
        let text = message(&missing, advice.as_deref());
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.starts_with("resound: no such file: ") && !text.contains("os error"), "{text}");
        assert!(text.ends_with("\n  Check the path.\n"), "{text}");
    }

    #[test]
    fn an_error_lists_each_address_that_failed_and_ends_with_the_advice() {
        let attempt = |address: &str, kind: io::ErrorKind| Attempt {
            address: address.into(),
            error: kind.into(),
            took: Duration::from_micros(85),
        };
        let error = DialError {
            target: "host:1".into(),
            class: Some(FailureClass::Refused),
            attempts: vec![
                attempt("[::1]:1", io::ErrorKind::NetworkUnreachable),
                attempt("127.0.0.1:1", io::ErrorKind::ConnectionRefused),
            ],
            before: None,
        };
        let error = anyhow::Error::new(error);
        let (code, class, advice) = explain(&error);
        assert_eq!((code, class), (1, Some(FailureClass::Refused)));
        let text = message(&error, advice.as_deref());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "resound: cannot connect to host:1: refused: none of its 2 addresses answered");
        assert!(
            lines[1].starts_with("  [::1]:1 ") && lines[1].ends_with("unreachable: network unreachable after 85 us")
        );
        assert!(
            lines[2].starts_with("  127.0.0.1:1 ") && lines[2].ends_with("refused: connection refused after 85 us")
        );
        assert!(lines[3].starts_with("  Nothing listens there: start the server"));
    }
}
