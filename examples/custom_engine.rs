//! An engine of one's own: the connection without I/O, over stdin and stdout.
//!
//!     printf 'a\nb' | cargo run --example custom_engine
//!     socat TCP-LISTEN:9999,fork EXEC:target/debug/examples/custom_engine
//!
//! [`Conn`] decides what is sent and when a connection ends; the engine moves the bytes, and does
//! what its actions say. This engine blocks in `read` and `write`, serves one connection and has no
//! timer, which is enough for a program that inetd or socat starts for each connection.

use std::io::{self, Read, Write};
use std::time::Instant;

use resound::conn::{Action, Conn, Then};
use resound::{ConnId, ConnInfo, Endpoint, Limits, Reply};

fn main() -> io::Result<()> {
    let info = ConnInfo::new(ConnId(1), Endpoint::Unknown, Endpoint::Unknown);
    let limits = Limits { write_timeout: None, ..Limits::default() };
    let mut conn = Conn::new(info, Box::new(Reply::default()), limits);
    match converse(&mut conn) {
        Ok(()) => conn.closed(Instant::now(), &mut ()),
        Err(error) => {
            conn.lost(Instant::now(), resound::CloseReason::of(&error), &mut ());
            return Err(error);
        }
    }
    Ok(())
}

fn converse(conn: &mut Conn) -> io::Result<()> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut wire = vec![0; 64 * 1024];
    let mut out = Vec::new();
    let mut action: Action = conn.open(Instant::now(), &mut out, &mut ());
    loop {
        // First send what the action says, in this order, and report it: that may produce more.
        let sent = action.echo.len() + out.len();
        if sent > 0 {
            output.write_all(&wire[action.echo.clone()])?;
            output.write_all(&out)?;
            output.flush()?;
            out.clear();
            action = conn.sent(Instant::now(), sent, &mut out, &mut ());
            continue;
        }
        // Then obey. Both halves of this transport close when the process ends.
        match action.then {
            Then::Go => {}
            Then::HalfClose | Then::Close | Then::Reset => return Ok(()),
        }
        // Then wait for the peer.
        action = match input.read(&mut wire)? {
            0 => conn.received_eof(Instant::now(), &mut out, &mut ()),
            n => conn.received(Instant::now(), &mut wire[..n], &mut out, &mut ()),
        };
    }
}
