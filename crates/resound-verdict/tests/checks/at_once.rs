//! Paths that answer so many connections at once, and let further ones wait.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use resound_verdict::{CheckId, CheckVerdict, Path};

use super::relayed::{Relayed, check, settings};

const PATIENCE: Duration = Duration::from_secs(10);

/// A proxy with so many threads, each of which serves one client after the other.
fn with_threads(threads: usize, target: SocketAddr) -> SocketAddr {
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    for _ in 0..threads {
        let listener = Arc::clone(&listener);
        thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                let far = TcpStream::connect(target).unwrap();
                thread::scope(|scope| {
                    scope.spawn(|| copy(&near, &far));
                    copy(&far, &near);
                });
            }
        });
    }
    address
}

fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    for end in [from, to] {
        end.set_nodelay(true).unwrap();
    }
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

fn path(threads: usize, far: &Relayed) -> Path {
    let address = with_threads(threads, far.address());
    Path::to(address.to_string().parse().unwrap()).seed(7).patience(PATIENCE)
}

fn far() -> Relayed {
    Relayed::direct(settings().listen("127.0.0.1:0").unwrap(), None)
}

#[test]
fn connections_that_wait_for_others_are_named_and_spoil_no_check() {
    let far = far();
    let ids = [CheckId::Churn, CheckId::HiddenBuffer, CheckId::SlowReader, CheckId::HalfCloseOut, CheckId::Integrity];
    let report = check(&path(3, &far).only(ids));
    let verdicts = ids.map(|id| report.check(id).unwrap().verdict);
    let pass = CheckVerdict::Pass;
    assert_eq!(verdicts, [CheckVerdict::Warn, pass, pass, pass, pass], "{report:#?}");
    let churn = report.check(CheckId::Churn).unwrap();
    assert_eq!(churn.summary, "only 3 connections are answered at a time: further ones wait until one ends");
    assert!(churn.suspect[0].contains("`maxconn`"), "{churn:#?}");
}

#[test]
fn what_needs_a_second_connection_is_not_judged_where_one_is_answered_at_once() {
    let far = far();
    let ids = [CheckId::Churn, CheckId::Integrity, CheckId::SlowReader, CheckId::Idle];
    let report = check(&path(1, &far).only(ids));
    let verdicts = ids.map(|id| report.check(id).unwrap().verdict);
    let [pass, warn, unknown] = [CheckVerdict::Pass, CheckVerdict::Warn, CheckVerdict::Unknown];
    assert_eq!(verdicts, [warn, pass, unknown, unknown], "{report:#?}");
    let summary = &report.check(CheckId::SlowReader).unwrap().summary;
    assert_eq!(summary, "not judged on a path that answers only one connection at a time");
}
