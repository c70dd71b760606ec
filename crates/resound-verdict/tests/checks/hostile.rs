//! Far ends that answer what no far end does: a run ends with a verdict, whatever they say.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use resound::server::Access;
use resound::{Address, Engine, Framing, Handle, Reply, Server};
use resound_probe::{FarEnd, ProbeAnswer, ProbeRequest, Sessions, Step};
use resound_verdict::{CheckId, CheckVerdict, Path, PathReport};

/// A far end that never stops would say so much more than any line has.
const ENDLESS: usize = 64 << 20;

/// Serves each connection behind its first line. The receiver gets what `answer` returns.
fn far_end<T: Send + 'static>(
    answer: impl Fn(&mut TcpStream, &str) -> T + Send + Clone + 'static,
) -> (Address, Receiver<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::parse(&listener.local_addr().unwrap().to_string(), 0).unwrap();
    let (told, tells) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (answer, told) = (answer.clone(), told.clone());
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut line = String::new();
                let _ = BufReader::new(&stream).read_line(&mut line);
                // The test may be over.
                let _ = told.send(answer(&mut stream, &line));
            });
        }
    });
    (address, tells)
}

fn checked(address: Address, only: CheckId) -> PathReport {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let path = Path::to(address).only([only]).patience(Duration::from_secs(2)).seed(7);
    runtime.block_on(path.check()).remove(0)
}

/// Writes until the client has had enough. Returns how much that took.
fn write_on(stream: &mut TcpStream) -> usize {
    let mut written = 0;
    while written < ENDLESS && stream.write_all(&[b'x'; 4096]).is_ok() {
        written += 4096;
    }
    written
}

#[test]
fn a_line_without_an_end_is_given_up() {
    let (address, written) = far_end(|stream, _| {
        let _ = stream.write_all(b"resound-probe/1 ");
        write_on(stream)
    });
    let report = checked(address, CheckId::AcceptTruth);
    assert_eq!(report.check(CheckId::AcceptTruth).unwrap().verdict, CheckVerdict::Pass, "something answers");
    assert!(written.recv().unwrap() < ENDLESS);
}

#[test]
fn a_stream_without_an_end_is_given_up() {
    let (address, written) = far_end(|stream, _| {
        let _ = stream.write_all(ProbeAnswer::Hello(Box::default()).line().as_bytes());
        let _ = stream.set_read_timeout(Some(Duration::from_millis(1)));
        let _ = stream.read(&mut [0; 4096]);
        write_on(stream)
    });
    let report = checked(address, CheckId::ResetIn);
    assert_ne!(report.check(CheckId::ResetIn).unwrap().verdict, CheckVerdict::Pass);
    assert!(written.recv().unwrap() < ENDLESS);
}

#[test]
fn an_end_of_a_connection_that_no_far_end_knows_is_no_fault_of_the_path() {
    let (address, _told) = far_end(|stream, line| {
        let answer = match line.contains("play") {
            true => ProbeAnswer::Hello(Box::default()),
            false => ProbeAnswer::Session(Box::default()),
        };
        let _ = stream.write_all(answer.line().as_bytes());
        // Unread bytes would end the connection with a RST.
        let _ = stream.set_read_timeout(Some(Duration::from_millis(300)));
        let _ = stream.shutdown(std::net::Shutdown::Write);
        while stream.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {}
    });
    let report = checked(address, CheckId::Integrity);
    let integrity = report.check(CheckId::Integrity).unwrap();
    assert_eq!(integrity.verdict, CheckVerdict::Error, "{integrity:?}");
}

struct Running(Handle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.stop();
    }
}

#[test]
fn limits_of_the_far_end_are_no_fault_of_the_path() {
    let sessions = Sessions::new(None).limits_connections(true);
    let server = Server::new().workers(NonZeroUsize::MIN).access(Access::new().max_per_ip(NonZeroU32::MIN));
    let service = move |_: &_| FarEnd::new(Reply::new(Reply::PREFIX.as_bytes(), Framing::auto()), sessions.clone());
    let server = Running(server.listen("127.0.0.1:0").unwrap().serve(service).unwrap());
    let address = Address::parse(&server.0.addresses()[0].to_string(), 0).unwrap();
    let report = checked(address, CheckId::Churn);
    let churn = report.check(CheckId::Churn).unwrap();
    assert_eq!(churn.verdict, CheckVerdict::Unknown, "{churn:?}");
    assert!(churn.summary.contains("the far end itself limits its connections"), "{churn:?}");
}

#[test]
fn a_reset_of_a_held_session_leaves_its_bytes_counted() {
    for engine in [Engine::default(), Engine::Portable, Engine::Threads] {
        let sessions = Sessions::new(None);
        let service = move |_: &_| FarEnd::new(Reply::new(Reply::PREFIX.as_bytes(), Framing::auto()), sessions.clone());
        let server = Server::new().engine(engine).workers(NonZeroUsize::MIN);
        let server = Running(server.listen("127.0.0.1:0").unwrap().serve(service).unwrap());
        let request = |request: &ProbeRequest| {
            let mut stream = TcpStream::connect(server.0.addresses()[0].to_string()).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            stream.write_all(request.line().as_bytes()).unwrap();
            // The answer is there.
            stream.peek(&mut [0]).unwrap();
            stream
        };
        let mut held = request(&ProbeRequest::play("held", 1, &[Step::Hold(600_000), Step::Read(1000)]));
        held.write_all(&[b'x'; 1000]).unwrap();
        // The hello is unread, so that the close sends a RST.
        drop(held);
        let log = loop {
            let mut line = String::new();
            BufReader::new(request(&ProbeRequest::ask("held"))).read_line(&mut line).unwrap();
            let Some(ProbeAnswer::Session(log)) = ProbeAnswer::parse(line.as_bytes()) else { panic!("{line}") };
            if log.closed.is_some() {
                break log;
            }
        };
        assert_eq!((log.closed.as_deref(), log.received), (Some("reset"), 0), "{engine:?}: {log:?}");
        assert!(!cfg!(unix) || log.unread == 1000, "{engine:?}: {log:?}");
    }
}
