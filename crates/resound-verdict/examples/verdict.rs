//! Tests a path and prints what each check found: `cargo run --example verdict -- 127.0.0.1:8888`.
//! Further arguments are checks: those alone are made. `--idle 60` looks for idle connections that
//! die, for so many seconds. `TLS=1` in the environment makes all of them with TLS, whatever the
//! certificate.

use std::time::Duration;

use resound::tls::{TlsClient, Trust};
use resound_verdict::{CheckId, Path, Profile, Progress};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8888".into());
    let mut path = Path::to(resound::Address::parse(&address, 8888)?);
    let mut only: Vec<CheckId> = Vec::new();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--idle" => path = path.idle(Duration::from_secs_f64(arguments.next().unwrap_or_default().parse()?)),
            "--find-idle-timeout" => path = path.find_idle_timeout(),
            "--thorough" => path = path.profile(Profile::Thorough),
            name => only.push(name.parse()?),
        }
    }
    path = path.only(only);
    if std::env::var_os("TLS").is_some() {
        path = path.tls(TlsClient::new("localhost", Trust::Unverified, None, &[])?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(path.check_and_tell(&|progress| match progress {
        Progress::Begins(address) => println!("Testing {address}"),
        Progress::Announces(what) => println!("{what}"),
        Progress::Checked(check) => {
            println!("{:<8} {:<16} {}/{}  {}", check.verdict, check.id, check.ok, check.tries, check.summary);
            check.evidence.iter().for_each(|line| println!("{:27}{line}", ""));
        }
        _ => {}
    }));
    Ok(())
}
