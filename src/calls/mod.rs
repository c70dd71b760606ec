//! `--explain`: each call on a socket, and what it does on the wire, as lines on stderr.
//!
//! A line has what a call has returned, what the kernel tells (`TCP_INFO`, the error queue) and
//! what the program itself knows. What follows from these and is not observed is marked `inferred`.

mod client;
mod errors;
mod facts;
mod records;
mod served;
mod story;

use crate::colour::Colour;

pub(crate) use self::client::ClientCalls;
pub(crate) use self::served::{ExplainedServer, ServerCalls};

/// The start of each line, so that it is taken neither for the transcript nor for a peer's bytes.
const MARK: &str = "~ ";

/// Lines as they are printed, each with the name of its connection if it has one.
fn marked(colour: Colour, name: Option<&str>, lines: &[String]) -> String {
    let name = name.map(|name| format!("{name} ")).unwrap_or_default();
    lines.iter().map(|line| colour.aside(&format!("{MARK}{name}{line}")) + "\n").collect()
}
