//! Tests a path and prints what each check found: `cargo run --example verdict -- 127.0.0.1:8888`,
//! with a number behind it for so many connections at once.

use resound_verdict::{Path, Progress};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8888".into());
    let mut path = Path::to(resound::Address::parse(&address, 8888)?);
    if let Some(most) = std::env::args().nth(2) {
        path = path.connections(most.parse()?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(path.check_and_tell(&|progress| match progress {
        Progress::Begins(address) => println!("Testing {address}"),
        Progress::Checked(check) => {
            println!("{:<8} {:<16} {}/{}  {}", check.verdict, check.id, check.ok, check.tries, check.summary);
            check.evidence.iter().for_each(|line| println!("{:27}{line}", ""));
        }
        _ => {}
    }));
    Ok(())
}
