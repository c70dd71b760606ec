//! `resound test`: a handful of messages, every reply checked.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use resound::{FailureClass, Reply, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::mistaken::FirstWords;
use super::{Expect, Failure, News, Plan, connect, say};
use crate::colour::Colour;
use crate::findings::Findings;
use crate::{escape, exit, units};

/// How long one check may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a mismatch shows of each side.
const SHOWN: usize = 60;

/// One check: what is sent at once, and what must come back.
struct Check {
    name: &'static str,
    sent: Vec<u8>,
    expected: Vec<u8>,
    /// A FIN follows, and the server's own must come behind its answer.
    last: bool,
}

fn checks(expect: Expect) -> Vec<Check> {
    let burst: Vec<String> = (1..=100).map(|n| format!("message {n} of a burst\n")).collect();
    let long = "0123456789abcdef".repeat(2048) + "\n";
    let bodies: [(&'static str, Vec<String>); 6] = [
        ("ASCII", vec!["Hello, server!\n".into()]),
        ("UTF-8", vec!["Gr\u{fc}\u{df}e, \u{4e16}\u{754c} \u{1f30d}\n".into()]),
        ("empty line", vec!["\n".into()]),
        ("long line", vec![long]),
        ("burst", burst),
        ("half-close", vec!["a last line without its newline".into()]),
    ];
    let prefix = match expect {
        Expect::Reply => Reply::PREFIX,
        Expect::Echo => "",
    };
    bodies
        .into_iter()
        .map(|(name, lines)| Check {
            name,
            sent: lines.concat().into(),
            expected: lines.iter().flat_map(|line| [prefix, line]).collect::<String>().into(),
            last: name == "half-close",
        })
        .collect()
}

pub(super) async fn run(plan: &Plan, expect: Expect) -> Result<ExitCode> {
    let start = Instant::now();
    let stream = plan.connect.connect(async |news: News<'_>| plan.tell(news).await).await?;
    if plan.verbose {
        say(&connect::described(&stream, plan.connect.listen, start));
    }
    let address = &plan.connect.address;
    let mut first_words = stream.tls().is_none().then(FirstWords::default);
    let (mut from_server, mut to_server) = tokio::io::split(stream);
    let mut out = Findings;
    let colour = Colour::of(&io::stdout());
    writeln!(out, "Testing {address}\n")?;
    writeln!(out, "{:<12} {:>12} {:>14} {:>10}  result", "check", "sent", "received", "time")?;
    let checks = checks(expect);
    let count = checks.len();
    for (passed, check) in checks.iter().enumerate() {
        let start = Instant::now();
        let mut received = Vec::new();
        let exchange = async {
            // Both at once: an answer may fill the path before the whole of a question is sent.
            let send = async {
                to_server.write_all(&check.sent).await?;
                to_server.flush().await?;
                if check.last { to_server.shutdown().await } else { Ok(()) }
            };
            let receive = receive(&mut from_server, &mut received, check, &mut first_words);
            tokio::try_join!(send, receive)
        };
        let ended = timeout(PATIENCE, exchange).await;
        let took = start.elapsed();
        let received_all = received.len() == check.expected.len();
        let matches = received == check.expected;
        let result = match (&ended, matches) {
            (Ok(Ok(_)), true) => colour.good("pass"),
            _ => colour.bad("FAIL"),
        };
        writeln!(
            out,
            "{:<12} {:>12} {:>14} {:>10}  {result}",
            check.name,
            units::bytes(check.sent.len() as u64),
            units::bytes(received.len() as u64),
            units::elapsed(took),
        )?;
        out.flush()?;
        if matches && matches!(ended, Ok(Ok(_))) {
            continue;
        }
        for untried in &checks[passed + 1..] {
            writeln!(out, "{:<12} {:>12} {:>14} {:>10}  not run", untried.name, "-", "-", "-")?;
        }
        writeln!(out, "\n{passed} of {count} checks passed; '{}' failed", check.name)?;
        if let Some(explained) = first_words.as_ref().and_then(FirstWords::explained) {
            return Err(explained);
        }
        // Wrong bytes say more than how the wait for the rest ended.
        if check.expected.starts_with(&received) {
            let what = format!(" in check '{}', {} of {} bytes in", check.name, received.len(), check.expected.len());
            match ended {
                Err(_) if check.last && received_all => {
                    return Err(Failure::new(
                        FailureClass::Timeout,
                        "the server answered everything but did not end the connection after our FIN",
                    )
                    .into());
                }
                Err(_) => return Err(Failure::new(FailureClass::Timeout, format!("no complete answer{what}")).into()),
                Ok(Err(error)) => return Err(Failure::of(error, &what)),
                Ok(Ok(_)) => {
                    let what = format!("the server closed the connection{what}");
                    return Err(Failure::new(FailureClass::Eof, what).into());
                }
            }
        }
        explain_mismatch(&mut out, check, &received)?;
        return Ok(ExitCode::from(exit::VERDICT));
    }
    writeln!(out, "\n{count} of {count} checks passed")?;
    Ok(ExitCode::SUCCESS)
}

/// Reads until the answer is complete, is wrong, or the server ends it; of the last check, until the server ends it.
async fn receive(
    from_server: &mut tokio::io::ReadHalf<Stream>,
    received: &mut Vec<u8>,
    check: &Check,
    first_words: &mut Option<FirstWords>,
) -> io::Result<()> {
    let is_right = |received: &[u8]| check.expected.starts_with(received);
    let may_be_tls = |words: &Option<FirstWords>| words.as_ref().is_some_and(FirstWords::may_be_tls);
    while (received.len() < check.expected.len() || check.last) && is_right(received)
        || !is_right(received) && may_be_tls(first_words)
    {
        let before = received.len();
        // One byte more than expected is enough to be wrong, and a few more show what it is instead.
        let most = (check.expected.len() + SHOWN).saturating_sub(before).max(1);
        (&mut *from_server).take(most as u64).read_buf(received).await?;
        first_words.iter_mut().for_each(|words| words.hear(&received[before..]));
        if received.len() == before {
            break;
        }
    }
    Ok(())
}

fn explain_mismatch(out: &mut impl Write, check: &Check, received: &[u8]) -> io::Result<()> {
    let at = check.expected.iter().zip(received).take_while(|(a, b)| a == b).count();
    // A little of what came before, whole characters as far as the escaping allows.
    let from = at.saturating_sub(SHOWN / 3);
    let part = |bytes: &[u8]| {
        let (from, to) = (from.min(bytes.len()), bytes.len().min(from + SHOWN));
        let cut = |is_cut| if is_cut { "..." } else { "" };
        format!("{}{}{}", cut(from > 0), escape::text(&bytes[from..to]), cut(to < bytes.len()))
    };
    writeln!(out, "{}: the answer differs from byte {at} on", FailureClass::Mismatch)?;
    writeln!(out, "  expected  {}", part(&check.expected))?;
    writeln!(out, "  received  {}", part(received))?;
    if received.starts_with(&check.sent[..check.sent.len().min(received.len())]) {
        writeln!(out, "The server sends the lines back as they are; if that is what it is for, add --expect echo.")?;
    } else if received.starts_with(Reply::PREFIX.as_bytes()) && !check.expected.starts_with(Reply::PREFIX.as_bytes()) {
        writeln!(
            out,
            "The server replies as `resound server` does; if that is what it is for, leave out --expect echo."
        )?;
    } else if check.name == "burst" {
        writeln!(out, "Single lines came back right: the server may take what one read returns for one message.")?;
    }
    Ok(())
}
