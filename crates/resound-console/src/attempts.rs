//! The addresses that were tried before a connect attempt failed.

use resound::client::DialError;
use resound_load::figures::elapsed;

/// A line for each address that was tried, if there were several.
pub fn lines(error: &DialError) -> impl Iterator<Item = String> {
    let several = error.attempts.iter().filter(|_| error.attempts.len() > 1);
    several.map(|tried| format!("  {:<40} {} after {}\n", tried.address, tried.cause(), elapsed(tried.took)))
}
