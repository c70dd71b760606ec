//! Connections that are made instead of accepted: what holds for every engine.

use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
#[cfg(target_os = "linux")]
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use resound::client::{DialPlan, DialRequest, DialTiming, NextDial};
use resound::{CloseReason, ConnInfo, Cx, Dialer, Discard, Echo, Endpoint, Engine, Handle, Service};

use crate::harness::{PATIENCE, Running, dialer, eventually, on_each_engine_plainly, replying, server};

on_each_engine_plainly! {
    dials_are_accepted_and_both_ends_agree,
    a_refused_dial_is_reported,
    an_unanswered_dial_times_out,
    a_source_address_is_used,
    a_drain_reaches_the_services_and_cuts_the_rest,
    a_stop_ends_dials_under_way,
    a_plan_may_wait_for_an_end,
    a_plan_may_wait_for_an_instant,
    an_event_comes_before_a_later_instant,
    a_panic_ends_what_panicked_only,
    a_unix_socket_is_dialled,
    services_are_woken_together,
}

/// An event of a plan.
#[derive(Debug)]
enum News {
    Failed(u64, io::ErrorKind, #[cfg_attr(not(target_os = "linux"), expect(dead_code))] Duration),
    Closed(CloseReason),
}

/// Makes so many calls, all at once where `at_once` allows it.
struct Plan {
    left: u64,
    at_once: usize,
    open: Rc<RefCell<usize>>,
    call: DialRequest,
    since: Instant,
    news: Sender<News>,
    talk: Talk,
}

#[derive(Clone, Copy)]
enum Talk {
    /// Sends so many lines, each after the answer to the one before, and closes.
    Lines(u32),
    /// Sends nothing, until it is drained.
    Silent,
    /// Sends nothing, even then.
    Stubborn,
    Panics,
}

impl DialPlan for Plan {
    fn next(&mut self, _now: Instant) -> NextDial {
        if self.left == 0 {
            return NextDial::Done;
        }
        if *self.open.borrow() >= self.at_once {
            return NextDial::Wait;
        }
        self.left -= 1;
        *self.open.borrow_mut() += 1;
        self.call.number += 1;
        self.since = Instant::now();
        NextDial::Dial(self.call.clone())
    }

    fn answered(&mut self, call: &DialRequest, _took: DialTiming, conn: &ConnInfo) -> Box<dyn Service> {
        assert_eq!(conn.peer, call.target);
        Box::new(Talker { talk: self.talk, open: Rc::clone(&self.open), news: self.news.clone(), answer: Vec::new() })
    }

    fn failed(&mut self, call: &DialRequest, error: &io::Error, now: Instant) {
        *self.open.borrow_mut() -= 1;
        let _ = self.news.send(News::Failed(call.number, error.kind(), now - self.since));
    }
}

struct Talker {
    talk: Talk,
    open: Rc<RefCell<usize>>,
    news: Sender<News>,
    answer: Vec<u8>,
}

impl Service for Talker {
    fn open(&mut self, cx: &mut Cx<'_>) {
        match self.talk {
            Talk::Lines(_) => cx.send(b"line\n"),
            Talk::Silent | Talk::Stubborn => {}
            Talk::Panics => panic!("as the test wants it"),
        }
    }

    fn data(&mut self, bytes: &[u8], cx: &mut Cx<'_>) {
        self.answer.extend_from_slice(bytes);
        let Talk::Lines(left) = &mut self.talk else { return };
        while self.answer.starts_with(b"Server received: line\n") {
            self.answer.drain(..b"Server received: line\n".len());
            *left -= 1;
            if *left == 0 {
                return cx.close();
            }
            cx.send(b"line\n");
        }
    }

    fn wake(&mut self, cx: &mut Cx<'_>) {
        cx.close();
    }

    fn drain(&mut self, cx: &mut Cx<'_>) {
        if !matches!(self.talk, Talk::Stubborn) {
            cx.finish();
        }
    }

    fn closed(&mut self, why: &CloseReason) {
        *self.open.borrow_mut() -= 1;
        let _ = self.news.send(News::Closed(*why));
    }
}

fn call(target: impl Into<Endpoint>) -> DialRequest {
    DialRequest { number: 0, target: target.into(), source: None, timeout: PATIENCE }
}

/// Each worker makes so many calls.
fn start(engine: Engine, each: u64, at_once: usize, call: DialRequest, talk: Talk) -> (Handle, Receiver<News>) {
    start_with(dialer(engine), each, at_once, call, talk)
}

fn start_with(dialer: Dialer, each: u64, at_once: usize, call: DialRequest, talk: Talk) -> (Handle, Receiver<News>) {
    let _ = resound::system::raise_descriptor_limit();
    let (send, news) = mpsc::channel();
    let handle = dialer
        .start(move |_| Plan {
            left: each,
            at_once,
            open: Rc::default(),
            call: call.clone(),
            since: Instant::now(),
            news: send.clone(),
            talk,
        })
        .unwrap();
    (handle, news)
}

fn next_news(news: &Receiver<News>) -> News {
    news.recv_timeout(PATIENCE).expect("news")
}

fn dials_are_accepted_and_both_ends_agree(engine: Engine) {
    let server = replying(engine);
    // On the threads engine one after the other, elsewhere all at once.
    let (dialer, news) = start(engine, 50, usize::MAX, call(server.address()), Talk::Lines(20));
    let ours = dialer.wait();
    let theirs = server.drain();
    assert_eq!((ours.opened, theirs.opened, theirs.messages), (100, 100, 2000));
    assert_eq!((ours.bytes_in, ours.bytes_out), (theirs.bytes_out, theirs.bytes_in));
    assert_eq!(ours.closed(CloseReason::ServiceClosed), 100);
    assert_eq!(theirs.closed(CloseReason::Finished), 100);
    assert_eq!(news.try_iter().filter(|news| matches!(news, News::Closed(CloseReason::ServiceClosed))).count(), 100);
}

fn a_refused_dial_is_reported(engine: Engine) {
    let (_held, gone) = crate::client::connecting::closed_port();
    let (dialer, news) = start(engine, 5, 1, call(gone), Talk::Silent);
    assert_eq!(dialer.wait().opened, 0);
    let events: Vec<_> = news.try_iter().collect();
    assert_eq!(events.len(), 10);
    for news in events {
        assert!(matches!(news, News::Failed(1..=5, io::ErrorKind::ConnectionRefused, _)), "{news:?}");
    }
}

/// An address that never answers: a backlog that is full drops what comes.
#[cfg(target_os = "linux")]
pub(crate) fn silent() -> (SocketAddr, Vec<socket2::Socket>) {
    use socket2::{Domain, Socket, Type};
    let silent = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    silent.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    silent.listen(0).unwrap();
    let address = silent.local_addr().unwrap().as_socket().unwrap();
    let mut kept = vec![silent];
    for _ in 0..3 {
        let filler = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        filler.set_nonblocking(true).unwrap();
        let _ = filler.connect(&address.into());
        kept.push(filler);
    }
    (address, kept)
}

fn an_unanswered_dial_times_out(engine: Engine) {
    #[cfg(not(target_os = "linux"))]
    let _ = engine;
    #[cfg(target_os = "linux")]
    {
        let (address, _kept) = silent();
        let timeout = Duration::from_millis(50);
        let (dialer, news) = start(engine, 2, 2, DialRequest { timeout, ..call(address) }, Talk::Silent);
        assert_eq!(dialer.wait().opened, 0);
        let events: Vec<_> = news.try_iter().collect();
        assert_eq!(events.len(), 4);
        for news in events {
            let News::Failed(_, io::ErrorKind::TimedOut, took) = news else { panic!("{news:?}") };
            assert!(took >= timeout, "{took:?}");
        }
    }
}

fn a_source_address_is_used(engine: Engine) {
    let source: IpAddr = "127.0.0.7".parse().unwrap();
    if let Err(error) = std::net::TcpListener::bind((source, 0)) {
        return crate::not_tested::not_tested("a second address of loopback", &error.to_string());
    }
    let server = replying(engine);
    let (dialer, _news) =
        start(engine, 1, 1, DialRequest { source: Some(source), ..call(server.address()) }, Talk::Lines(1));
    dialer.wait();
    for _ in 0..2 {
        loop {
            if let crate::harness::Event::Opened(_, Endpoint::Tcp(peer)) = server.event() {
                assert_eq!(peer.ip(), source);
                break;
            }
        }
    }
}

fn a_drain_reaches_the_services_and_cuts_the_rest(engine: Engine) {
    let server = Running::start(server(engine), |_| Discard);
    for (talk, want) in [(Talk::Silent, CloseReason::Drained), (Talk::Stubborn, CloseReason::Cut)] {
        let (dialer, news) = start(engine, 3, 3, call(server.address()), talk);
        let expected = if engine == Engine::Threads { 2 } else { 6 };
        // The server may have a connection before the dialer sees it.
        eventually("our ends are open", || dialer.totals().opened == expected as u64);
        dialer.drain(Duration::from_millis(if want == CloseReason::Cut { 10 } else { 60_000 }));
        assert_eq!(dialer.wait().live(), 0);
        let reasons: Vec<_> = news.try_iter().collect();
        assert_eq!(reasons.len(), expected);
        for news in reasons {
            assert!(matches!(news, News::Closed(reason) if reason == want), "{news:?}, not {want:?}");
        }
    }
}

fn a_stop_ends_dials_under_way(engine: Engine) {
    #[cfg(not(target_os = "linux"))]
    let _ = engine;
    #[cfg(target_os = "linux")]
    {
        let (address, _kept) = silent();
        let (dialer, news) = start(engine, 2, 2, call(address), Talk::Silent);
        dialer.stop();
        assert_eq!(dialer.wait().opened, 0);
        assert_eq!(news.try_iter().count(), 0, "the stop ended them, which is no failure");
    }
}

fn a_plan_may_wait_for_an_end(engine: Engine) {
    let server = replying(engine);
    let (dialer, news) = start(engine, 20, 3, call(server.address()), Talk::Lines(2));
    assert_eq!(dialer.wait().opened, 40);
    assert_eq!(news.try_iter().count(), 40);
}

fn a_plan_may_wait_for_an_instant(engine: Engine) {
    struct Later(Option<Instant>, u32, DialRequest);
    impl DialPlan for Later {
        fn next(&mut self, now: Instant) -> NextDial {
            match self.0 {
                Some(at) if now < at => NextDial::At(at),
                _ if self.1 == 0 => NextDial::Done,
                _ => {
                    self.1 -= 1;
                    self.0 = Some(now + Duration::from_millis(3));
                    NextDial::Dial(self.2.clone())
                }
            }
        }
        fn answered(&mut self, _: &DialRequest, _: DialTiming, _: &ConnInfo) -> Box<dyn Service> {
            Box::new(Closing)
        }
        fn failed(&mut self, _: &DialRequest, error: &io::Error, _: Instant) {
            panic!("{error}");
        }
    }
    struct Closing;
    impl Service for Closing {
        fn open(&mut self, cx: &mut Cx<'_>) {
            cx.close();
        }
        fn data(&mut self, _: &[u8], _: &mut Cx<'_>) {}
    }
    let server = Running::start(server(engine), |_| Echo);
    let call = call(server.address());
    let dialer = dialer(engine).start(move |_| Later(None, 5, call.clone())).unwrap();
    assert_eq!(dialer.wait().opened, 10);
}

fn an_event_comes_before_a_later_instant(engine: Engine) {
    /// Where the plan would wait for an event, it names an instant after the end of the test.
    struct HourLater(Plan);
    impl DialPlan for HourLater {
        fn next(&mut self, now: Instant) -> NextDial {
            match self.0.next(now) {
                NextDial::Wait => NextDial::At(now + Duration::from_secs(3600)),
                next => next,
            }
        }
        fn answered(&mut self, call: &DialRequest, took: DialTiming, conn: &ConnInfo) -> Box<dyn Service> {
            self.0.answered(call, took, conn)
        }
        fn failed(&mut self, call: &DialRequest, error: &io::Error, now: Instant) {
            self.0.failed(call, error, now);
        }
    }
    let server = replying(engine);
    let (_held, gone) = crate::client::connecting::closed_port();
    for call in [call(server.address()), call(gone)] {
        let (send, news) = mpsc::channel();
        let plan = move |_| {
            let (open, since, news, talk) = (Rc::default(), Instant::now(), send.clone(), Talk::Lines(1));
            HourLater(Plan { left: 3, at_once: 1, open, call: call.clone(), since, news, talk })
        };
        let dialer = dialer(engine).start(plan).unwrap();
        for _ in 0..6 {
            next_news(&news);
        }
        dialer.wait();
    }
}

fn a_panic_ends_what_panicked_only(engine: Engine) {
    let server = replying(engine);
    let (dialer, news) = start(engine, 3, 1, call(server.address()), Talk::Panics);
    assert_eq!(dialer.wait().closed(CloseReason::Panicked), 6);
    assert_eq!(news.try_iter().count(), 6);
    // A plan that panics is over, and so is its worker.
    let dialer = crate::harness::dialer(engine).start(|_| -> Plan { panic!("as the test wants it") }).unwrap();
    assert_eq!(dialer.wait().opened, 0);
}

fn a_unix_socket_is_dialled(engine: Engine) {
    #[cfg(not(unix))]
    crate::not_tested::not_tested(&format!("unix sockets, {engine:?}"), "this system has none");
    #[cfg(unix)]
    {
        let folder = tempfile::TempDir::new().unwrap();
        let address = format!("unix:{}", folder.path().join("socket").display());
        let server = Running::start_on(server(engine).listen(&address).unwrap(), |_| resound::Reply::default());
        let target = server.handle.addresses()[0].clone();
        let (dialer, _news) = start(engine, 10, 10, call(target), Talk::Lines(3));
        assert_eq!(dialer.wait().closed(CloseReason::ServiceClosed), 20);
        assert_eq!(server.drain().messages, 60);
    }
}

fn services_are_woken_together(engine: Engine) {
    let server = Running::start(server(engine), |_| Discard);
    let (dialer, news) = start(engine, 1, 1, call(server.address()), Talk::Stubborn);
    server.opened();
    server.opened();
    // The server may have a connection before the dialer sees it.
    eventually("both connections are open", || dialer.totals().opened >= 2);
    dialer.wake_all();
    assert_eq!(dialer.wait().opened, 2);
    for _ in 0..2 {
        assert!(matches!(next_news(&news), News::Closed(CloseReason::ServiceClosed)));
    }
}

#[test]
fn an_unknown_congestion_control_is_refused_at_once() {
    let plans = |_| -> Plan { unreachable!("nothing starts") };
    let Err(error) = Dialer::new().congestion("none-such").start(plans) else { panic!("it started") };
    assert!(matches!(error, resound::Error::Congestion { .. }), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn without_descriptors_a_dialer_neither_spins_nor_gives_up() {
    for engine in crate::harness::engines() {
        let script = format!(
            "ulimit -n 64 && exec '{}' --exact --ignored {}::emfile_in_a_process_of_its_own --nocapture",
            std::env::current_exe().unwrap().display(),
            module_path!().trim_start_matches("suite::")
        );
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &script]).env("RESOUND_TEST_ENGINE", engine);
        let output = command.stdin(std::process::Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{engine}: {text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("1 passed"), "{text}");
    }
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "run by the test above, under a limit of 64 descriptors"]
fn emfile_in_a_process_of_its_own() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

    /// Dials once the table is full, and again until it is answered.
    struct Stubborn {
        full: Arc<AtomicBool>,
        call: Option<DialRequest>,
        calling: bool,
        errors: Sender<Option<i32>>,
    }
    impl DialPlan for Stubborn {
        fn next(&mut self, now: Instant) -> NextDial {
            match &self.call {
                None => NextDial::Done,
                Some(_) if self.calling => NextDial::Wait,
                Some(_) if !self.full.load(SeqCst) => NextDial::At(now + Duration::from_millis(1)),
                Some(call) => {
                    self.calling = true;
                    NextDial::Dial(call.clone())
                }
            }
        }
        fn answered(&mut self, _: &DialRequest, _: DialTiming, _: &ConnInfo) -> Box<dyn Service> {
            self.call = None;
            Box::new(Discard)
        }
        fn failed(&mut self, _: &DialRequest, error: &io::Error, _: Instant) {
            self.calling = false;
            let _ = self.errors.send(error.raw_os_error());
        }
    }

    let engine = crate::harness::engine(&std::env::var("RESOUND_TEST_ENGINE").unwrap_or_default());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (full, (errors, codes)) = (Arc::new(AtomicBool::new(false)), mpsc::channel());
    let (call, theirs) = (call(listener.local_addr().unwrap()), Arc::clone(&full));
    let dialer = Dialer::new().engine(engine).workers(std::num::NonZeroUsize::MIN);
    let plan = move |_| Stubborn {
        full: Arc::clone(&theirs),
        call: Some(call.clone()),
        calling: false,
        errors: errors.clone(),
    };
    let dialer = dialer.start(plan).unwrap();
    let mut hoard = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        hoard.push(file);
    }
    let start = Instant::now();
    full.store(true, SeqCst);
    for _ in 0..4 {
        assert_eq!(codes.recv_timeout(PATIENCE).unwrap(), Some(libc::EMFILE));
    }
    assert!(start.elapsed() >= Duration::from_millis(300), "four calls in {:?}", start.elapsed());
    drop(hoard);
    drop(listener.accept().unwrap());
    assert_eq!(dialer.wait().opened, 1);
}
