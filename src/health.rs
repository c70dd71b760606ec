//! `resound health`: asks once whether a server answers, for the probes of containers. It needs no
//! runtime, so it starts fast.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use parking_lot::Mutex;
use resound::Address;
use resound_console::escape;

use crate::result_output::ResultOutput;
use crate::{exit, units};

/// What a server is sent, and has to send back as a part of its answer.
const MESSAGE: &str = "resound health";
/// Bytes of an answer that are looked at.
const MOST: usize = 16 * 1024;
/// How an answer of HTTP begins.
const HTTP: &[u8] = b"HTTP/";
/// Bytes of an answer that are shown.
const SHOWN: usize = 60;

/// The meaning of the flags.
pub(crate) struct HealthPlan {
    pub(crate) target: HealthTarget,
    pub(crate) timeout: Duration,
}

/// What is asked.
#[derive(Clone)]
pub(crate) enum HealthTarget {
    /// A server, by a message.
    Server(Address),
    /// What `--admin` has.
    Admin(SocketAddr),
}

impl fmt::Display for HealthTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(address) => address.fmt(f),
            Self::Admin(address) => address.fmt(f),
        }
    }
}

/// What is done at the moment, for the message when the time is over.
type HealthStep = Arc<Mutex<&'static str>>;

pub(crate) fn run(plan: HealthPlan) -> Result<ExitCode> {
    let HealthPlan { target, timeout } = plan;
    let (begun, step) = (Instant::now(), HealthStep::default());
    let (tell, told) = channel();
    let (asked, doing) = (target.clone(), Arc::clone(&step));
    // A thread of its own: a resolver takes as long as it likes.
    thread::Builder::new().name("resound-health".into()).spawn(move || {
        let _ = tell.send(match asked {
            HealthTarget::Server(address) => ask_server(&address, &doing),
            HealthTarget::Admin(address) => ask_admin(address, &doing),
        });
    })?;
    let answer = told.recv_timeout(timeout).unwrap_or_else(|_| {
        let step = *step.lock();
        Err(format!("{step} took longer than {}", humantime::format_duration(timeout)))
    });
    let (code, line) = match answer {
        Ok(what) => (ExitCode::SUCCESS, format!("{target}: {what} after {}\n", units::elapsed(begun.elapsed()))),
        Err(why) => (ExitCode::from(exit::NETWORK), format!("{target}: {why}\n")),
    };
    // A reader that has left does not change the exit code.
    let _ = ResultOutput.write_all(line.as_bytes());
    Ok(code)
}

fn enter(step: &HealthStep, name: &'static str) {
    *step.lock() = name;
}

/// Sends a message, and wants it back within the answer.
fn ask_server(address: &Address, step: &HealthStep) -> Result<&'static str, String> {
    enter(step, "connecting");
    match address {
        Address::Tcp { host, port } => {
            let stream = TcpStream::connect((&**host, *port)).map_err(|error| no_connection(&error))?;
            let _ = stream.set_nodelay(true);
            converse(stream, step)
        }
        #[cfg(unix)]
        Address::Unix(path) => {
            let stream = std::os::unix::net::UnixStream::connect(path).map_err(|error| no_connection(&error))?;
            converse(stream, step)
        }
        #[cfg(not(unix))]
        Address::Unix(_) => Err("this system has no unix sockets".into()),
    }
}

fn no_connection(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "refused: nothing listens there".into(),
        _ => format!("no connection: {error}"),
    }
}

fn converse(mut stream: impl Read + Write, step: &HealthStep) -> Result<&'static str, String> {
    enter(step, "the answer");
    stream
        .write_all(format!("{MESSAGE}\n").as_bytes())
        .map_err(|error| format!("the message was not sent: {error}"))?;
    let (mut answer, mut part) = (Vec::new(), [0; 1024]);
    while !answer.contains(&b'\n') && answer.len() < MOST {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(n) => answer.extend_from_slice(&part[..n]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("no answer: {error}")),
        }
        // Without a newline, the answers of this program's modes alone are known to be whole.
        let unended = answer.strip_prefix(resound::Reply::PREFIX.as_bytes()).unwrap_or(&answer);
        if unended == MESSAGE.as_bytes() {
            return Ok("answered");
        }
    }
    match answer.is_empty() {
        _ if answers_message(&answer) => Ok("answered"),
        true => Err("the connection was closed without an answer".into()),
        false => {
            Err(format!("the answer is not what was expected: {}", escape::text(&answer[..answer.len().min(SHOWN)])))
        }
    }
}

/// Whether a line ends with the message, as an echo and a reply do. One that quotes it is an error.
fn answers_message(bytes: &[u8]) -> bool {
    bytes.split(|&byte| byte == b'\n').any(|line| line.trim_ascii_end().ends_with(MESSAGE.as_bytes()))
}

/// Whether all of the content has come that the head of an answer announces.
fn is_complete(head: &str, body: &str) -> bool {
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    length.is_none_or(|length| body.len() >= length)
}

/// Asks `/readyz`.
fn ask_admin(address: SocketAddr, step: &HealthStep) -> Result<&'static str, String> {
    enter(step, "connecting");
    let mut stream = TcpStream::connect(address).map_err(|error| no_connection(&error))?;
    enter(step, "the answer of /readyz");
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|error| format!("the request was not sent: {error}"))?;
    let (mut answer, mut part) = (Vec::new(), [0; 1024]);
    // Another program may keep the connection open.
    while answer.len() < MOST && (answer.len() < HTTP.len() || answer.starts_with(HTTP)) {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(n) => answer.extend_from_slice(&part[..n]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("no answer: {error}")),
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse::<u16>().ok());
    let word = serde_json::from_str::<serde_json::Value>(body).ok();
    let word = word.as_ref().and_then(|body| body.get("status").or(body.get("error"))?.as_str());
    match (status, word) {
        (Some(200), Some("ready")) if !is_complete(head, body) => Err("the answer was cut off".into()),
        (Some(200), Some("ready")) => Ok("ready"),
        (Some(_), Some(word)) => Err(escape::text(word.as_bytes())),
        (Some(status), None) => Err(format!("answers {status} to /readyz: is it the address of --admin?")),
        (None, _) => Err("does not speak HTTP: is it the address of --admin?".into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// A connection that brings this answer, in parts of one byte.
    struct Dripping(Cursor<Vec<u8>>);

    impl Read for Dripping {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(&mut into[..1])
        }
    }

    impl Write for Dripping {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_answer_holds_the_message() {
        let asked = |answer: &[u8]| converse(Dripping(Cursor::new(answer.to_vec())), &HealthStep::default());
        assert_eq!(asked(b"Server received: resound health\n"), Ok("answered"));
        assert_eq!(asked(b"resound health\n"), Ok("answered"));
        assert_eq!(asked(b"resound health"), Ok("answered"));
        assert!(asked(b"").unwrap_err().contains("without an answer"));
        assert!(asked(b"220 smtp\x1b ready\r\n").unwrap_err().ends_with("expected: 220 smtp\\x1b ready\\r\\n"));
        assert!(asked(&vec![b'x'; 2 * MOST]).unwrap_err().len() < 120);
    }

    #[test]
    fn an_error_that_quotes_the_message_is_no_answer() {
        assert!(answers_message(b"hello\r\nEcho: resound health\r\n"));
        for quoted in
            ["-ERR unknown command 'resound health'\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n\"resound health\""]
        {
            let asked = converse(Dripping(Cursor::new(quoted.into())), &HealthStep::default());
            assert!(asked.unwrap_err().contains("not what was expected"), "{quoted}");
        }
    }

    #[test]
    fn an_answer_that_was_cut_off_is_not_complete() {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 18\r\nContent-Type: application/json";
        assert!(is_complete(head, "{\"status\":\"ready\"}") && !is_complete(head, "{\"status\":\"ready\""));
        assert!(is_complete("HTTP/1.1 200 OK", ""));
    }
}
