//! Who is there, and what is between: addresses, options, TLS, and servers that know no probe.

use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::sync::mpsc;
use std::time::Duration;

use resound::relay::{Relay, RelayTarget};
use resound::tls::{Identity, TlsClient, TlsServer, TlsServerSettings, Trust};
use resound::{Address, ConnInfo, Echo, Framing, Handle, Handshake, Reply, Server, Service};
use resound_probe::{FarEnd, Sessions};
#[cfg(target_os = "linux")]
use resound_verdict::PathDirection;
use resound_verdict::{CheckId, CheckReport, CheckVerdict, FarKind, Path, PathReport};

/// Nothing moves for so long: no fault here stalls for a shorter time on purpose.
const PATIENCE: Duration = Duration::from_secs(3);

/// A server or a relay that ends with the test.
struct Running(Handle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Running {
    fn address(&self) -> Address {
        self.0.addresses()[0].to_string().parse().unwrap()
    }
}

fn settings() -> Server {
    Server::new().workers(NonZeroUsize::MIN)
}

fn tls_server() -> TlsServer {
    TlsServer::new(&TlsServerSettings::new(Identity::development(&["localhost".into()]).unwrap())).unwrap()
}

fn with_tls(server: Server) -> Server {
    let tls = tls_server();
    server.handshake(move |_: &ConnInfo| Handshake::new().tls_server(&tls))
}

fn serve<S: Service + 'static>(
    server: Server,
    make: impl Fn(&ConnInfo) -> S + Send + Sync + Clone + 'static,
) -> Running {
    Running(server.listen("127.0.0.1:0").unwrap().serve(make).unwrap())
}

fn far_end(server: Server) -> Running {
    let sessions = Sessions::new(None);
    serve(server.save_syns(true), move |_| {
        FarEnd::new(Reply::new(Reply::PREFIX.as_bytes(), Framing::auto()), sessions.clone())
    })
}

fn relay(server: Server, target: &Running, faults: &str) -> Running {
    let relay = Relay::new(server).map("127.0.0.1:0", RelayTarget::new(target.address()).unwrap()).unwrap();
    relay.faults().set(faults.parse().unwrap(), 7).unwrap();
    Running(relay.start().unwrap())
}

fn check_with(path: Path) -> PathReport {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(path.patience(PATIENCE).seed(7).check()).remove(0)
}

fn path(running: &Running) -> Path {
    Path::to(running.address())
}

fn tls_path(running: &Running) -> Path {
    path(running).tls(TlsClient::new("localhost", Trust::Unverified, None, &[]).unwrap())
}

fn who() -> [CheckId; 4] {
    [CheckId::Address, CheckId::Options, CheckId::Tls, CheckId::TlsSplitHello]
}

#[track_caller]
fn expect(report: &PathReport, id: CheckId, verdict: CheckVerdict) -> &CheckReport {
    let check = report.check(id).unwrap_or_else(|| panic!("{id} was not run"));
    assert_eq!(check.verdict, verdict, "{report:#?}");
    check
}

#[test]
fn a_clean_path_has_the_same_addresses_and_options_at_both_ends() {
    let server = far_end(settings());
    let report = check_with(path(&server).only(who()));
    expect(&report, CheckId::Address, CheckVerdict::Pass);
    let linux = if cfg!(target_os = "linux") { CheckVerdict::Pass } else { CheckVerdict::Skip };
    let options = expect(&report, CheckId::Options, linux);
    assert!(!cfg!(target_os = "linux") || options.summary.contains("the SYN arrives as it left"), "{options:?}");
    expect(&report, CheckId::Tls, CheckVerdict::Skip);
    expect(&report, CheckId::TlsSplitHello, CheckVerdict::Skip);
}

#[test]
fn a_relay_has_another_address_and_no_fault() {
    let server = far_end(settings());
    let relay = relay(settings(), &server, "");
    let report = check_with(path(&relay).only(who()));
    let address = expect(&report, CheckId::Address, CheckVerdict::Warn);
    assert!(address.summary.contains("a NAT or a proxy between"), "{address:?}");
    let options = report.check(CheckId::Options).unwrap();
    assert!(matches!(options.verdict, CheckVerdict::Pass | CheckVerdict::Skip), "{options:?}");
}

#[test]
fn a_header_of_this_ends_own_says_nothing_of_the_path() {
    let sessions = Sessions::new(None);
    let proxies = resound::proxy::Proxies::local();
    let requiring =
        settings().handshake(move |conn: &ConnInfo| Handshake::new().expect_header(proxies.header_reader(conn)));
    let server = serve(requiring.save_syns(true), move |_| {
        FarEnd::new(Reply::new(Reply::PREFIX.as_bytes(), Framing::auto()), sessions.clone())
    });
    let header = b"PROXY TCP4 192.0.2.7 192.0.2.8 1234 80\r\n";
    let first_bytes = std::sync::Arc::new(|_: &_, _: &_| Ok(header.to_vec()));
    let report = check_with(path(&server).first_bytes(first_bytes).only(who()));
    expect(&report, CheckId::Address, CheckVerdict::Pass);
}

#[test]
fn one_tls_session_leads_through_a_relay() {
    let server = far_end(with_tls(settings()));
    let relay = relay(settings(), &server, "");
    let report = check_with(tls_path(&relay).only(who()));
    let tls = expect(&report, CheckId::Tls, CheckVerdict::Pass);
    assert!(tls.summary.contains("one session from end to end"), "{tls:?}");
    expect(&report, CheckId::TlsSplitHello, CheckVerdict::Pass);
}

#[test]
fn a_relay_that_ends_tls_is_seen() {
    let server = far_end(settings());
    let relay = relay(with_tls(settings()), &server, "");
    let report = check_with(tls_path(&relay).only(who()));
    let tls = expect(&report, CheckId::Tls, CheckVerdict::Warn);
    assert!(tls.summary.contains("TLS ends before the far end"), "{tls:?}");
}

#[test]
fn a_server_without_tls_is_connected_to_all_the_same() {
    let server = far_end(settings());
    let report = check_with(tls_path(&server));
    expect(&report, CheckId::Connect, CheckVerdict::Pass);
    let tls = expect(&report, CheckId::Tls, CheckVerdict::Fail);
    assert!(tls.summary.contains("does not speak TLS"), "{tls:?}");
    expect(&report, CheckId::TlsSplitHello, CheckVerdict::Unknown);
    expect(&report, CheckId::Integrity, CheckVerdict::Skip);
}

/// The fault holds a connection back by a filter that Linux alone has.
#[cfg(target_os = "linux")]
#[test]
fn a_large_hello_that_is_dropped_is_found_and_the_run_goes_on() {
    let server = far_end(with_tls(settings()));
    let relay = relay(settings(), &server, "split-hello-drop");
    let report = check_with(tls_path(&relay).only(who().into_iter().chain([CheckId::Connect, CheckId::Integrity])));
    let hello = expect(&report, CheckId::TlsSplitHello, CheckVerdict::Fail);
    assert_eq!((hello.direction, hello.ok, hello.tries), (Some(PathDirection::Out), 3, 6));
    expect(&report, CheckId::Connect, CheckVerdict::Pass);
    expect(&report, CheckId::Tls, CheckVerdict::Pass);
    expect(&report, CheckId::Integrity, CheckVerdict::Pass);
}

/// What one end can prove.
const ONE_ENDED: [CheckId; 9] = [
    CheckId::MtuOut,
    CheckId::MtuIn,
    CheckId::Integrity,
    CheckId::BothWays,
    CheckId::Segmentation,
    CheckId::SlowReader,
    CheckId::HalfCloseOut,
    CheckId::Rtt,
    CheckId::Churn,
];

#[test]
fn one_end_alone_passes_what_comes_back() {
    let reply = || Reply::new(Reply::PREFIX.as_bytes(), Framing::auto());
    for (server, has_tls, kind) in [
        (serve(settings(), |_| Echo), false, FarKind::Echo),
        (serve(settings(), move |_| reply()), false, FarKind::Reply),
        (serve(with_tls(settings()), |_| Echo), true, FarKind::Echo),
    ] {
        let path = if has_tls { tls_path(&server) } else { path(&server) };
        let report = check_with(path.only(ONE_ENDED));
        assert_eq!(report.far, kind);
        for id in ONE_ENDED {
            expect(&report, id, CheckVerdict::Pass);
        }
    }
}

#[test]
fn one_end_alone_finds_what_does_not_come_back() {
    let server = serve(settings(), |_| Echo);
    let corrupt = relay(settings(), &server, "down: corrupt @20KiB");
    let changed = check_with(path(&corrupt).only(ONE_ENDED));
    let integrity = expect(&changed, CheckId::Integrity, CheckVerdict::Fail);
    assert!(integrity.summary.contains("byte 20480 came back changed: the server or the path"), "{integrity:?}");
    expect(&changed, CheckId::BothWays, CheckVerdict::Unknown);
    // Without the delay an answer may be back before the relay meets the FIN.
    let closing = relay(settings(), &server, "down: delay=50ms; up: close-on-eof");
    let closes = check_with(path(&closing).only(ONE_ENDED));
    let half_close = expect(&closes, CheckId::HalfCloseOut, CheckVerdict::Warn);
    assert!(half_close.summary.ends_with("the server or the path"), "{half_close:?}");
    expect(&closes, CheckId::Integrity, CheckVerdict::Pass);
}

/// A server of the standard library's, for one kind of words; returns what clients sent to it.
fn words(banner: &'static [u8], answer: &'static [u8]) -> (Address, mpsc::Receiver<Vec<u8>>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string().parse().unwrap();
    let (send, sent) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(mut stream), send) = (stream, send.clone()) else { return };
            std::thread::spawn(move || {
                let _ = stream.write_all(banner);
                let mut bytes = [0; 1024];
                while let Ok(n @ 1..) = stream.read(&mut bytes) {
                    if send.send(bytes[..n].to_vec()).is_err() || stream.write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, sent)
}

#[test]
fn nothing_is_sent_to_a_server_that_speaks_first() {
    let (address, sent) = words(b"SSH-2.0-OpenSSH_9.2\r\n", b"");
    let report = check_with(Path::to(address));
    assert_eq!((report.far, report.far_name.as_deref()), (FarKind::SpeaksFirst, Some("SSH-2.0-OpenSSH_9.2")));
    expect(&report, CheckId::AcceptTruth, CheckVerdict::Pass);
    expect(&report, CheckId::Address, CheckVerdict::Skip);
    let integrity = expect(&report, CheckId::Integrity, CheckVerdict::Skip);
    assert!(integrity.summary.contains("speaks first"), "{integrity:?}");
    assert_eq!(sent.try_recv().ok(), None);
}

#[test]
fn a_server_that_answers_something_else_gets_a_line_on_each_of_three_connections() {
    let (address, sent) = words(b"", b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let report = check_with(Path::to(address));
    assert_eq!(report.far, FarKind::Answers);
    for id in [CheckId::Connect, CheckId::AcceptTruth] {
        expect(&report, id, CheckVerdict::Pass);
    }
    let is_bad = |check: &&CheckReport| !matches!(check.verdict, CheckVerdict::Pass | CheckVerdict::Skip);
    assert_eq!(report.checks.iter().find(is_bad), None);
    for _ in 0..3 {
        let line = sent.recv().unwrap();
        assert!(line.starts_with(b"resound-probe/1 ") && line.iter().filter(|byte| **byte == b'\n').count() == 1);
    }
    assert_eq!(sent.try_recv().ok(), None);
    assert_eq!(expect(&report, CheckId::Connect, CheckVerdict::Pass).tries, 3);
}

#[test]
#[cfg(unix)]
fn a_unix_socket_has_each_check_once_and_none_of_tcp() {
    let path = std::env::temp_dir().join(format!("resound-verdict-{}", std::process::id()));
    let address = format!("unix:{}", path.display());
    let sessions = Sessions::new(None);
    let make = move |_: &ConnInfo| FarEnd::new(Reply::new(Reply::PREFIX.as_bytes(), Framing::auto()), sessions.clone());
    let server = settings().listen(&address).unwrap().serve(make).unwrap();
    let ids = [CheckId::Connect, CheckId::Integrity, CheckId::MtuOut, CheckId::ResetIn, CheckId::Options];
    let verdicts = || {
        let path = Path::to(address.parse().unwrap()).seed(7).patience(PATIENCE).only(ids);
        let report = crate::relayed::check(&path);
        report.checks.into_iter().map(|check| (check.id, check.verdict)).collect::<Vec<_>>()
    };
    let [pass, fail, skip] = [CheckVerdict::Pass, CheckVerdict::Fail, CheckVerdict::Skip];
    let in_order = |verdicts: [CheckVerdict; 5]| {
        let mut all: Vec<_> = ids.into_iter().zip(verdicts).collect();
        all.sort_by_key(|(id, _)| CheckId::ALL.iter().position(|one| one == id));
        all
    };
    assert_eq!(verdicts(), in_order([pass, pass, skip, skip, skip]));
    server.drain(PATIENCE);
    server.wait();
    assert_eq!(verdicts(), in_order([fail, skip, skip, skip, skip]));
}
