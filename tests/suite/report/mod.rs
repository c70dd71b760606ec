//! Reports of load runs.

#[cfg(unix)]
mod output;
