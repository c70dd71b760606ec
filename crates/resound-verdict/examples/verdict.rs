//! Tests a path and prints what each check found: `cargo run --example verdict -- 127.0.0.1:8888`.
//! Further arguments are checks: those alone are made. `TLS=1` in the environment makes them with
//! TLS, whatever the certificate.

use resound::tls::{TlsClient, Trust};
use resound_verdict::{CheckId, Path, Progress};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8888".into());
    let only: Vec<CheckId> = std::env::args().skip(2).map(|name| name.parse()).collect::<Result<_, _>>()?;
    let mut path = Path::to(resound::Address::parse(&address, 8888)?).only(only);
    if std::env::var_os("TLS").is_some() {
        path = path.tls(TlsClient::new("localhost", Trust::Unverified, None, &[])?);
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
