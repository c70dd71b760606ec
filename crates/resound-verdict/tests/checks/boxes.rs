//! Boxes of one's own: proxies that change what no fault of the relay changes.

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use resound_verdict::{CheckId, CheckReport, CheckVerdict, FarKind, Path, PathDirection, PathReport};

use super::relayed::{Relayed, check, settings};

/// What a box makes of what it has read of a connection with this number. The last bytes before a
/// FIN are known as such where it looks for them.
type Change = fn(usize, Vec<u8>, bool) -> Vec<u8>;

#[derive(Clone, Copy)]
struct Changes {
    out: Change,
    back: Change,
    /// So long it waits for a FIN after what it has read.
    looks: Option<Duration>,
    /// A FIN of the server ends both directions.
    closes_both: bool,
}

const UNCHANGED: Change = |_, bytes, _| bytes;
const CLEAN: Changes = Changes { out: UNCHANGED, back: UNCHANGED, looks: None, closes_both: false };
const LOOKS: Option<Duration> = Some(Duration::from_millis(100));
const PATIENCE: Duration = Duration::from_secs(10);
/// Where the box costs the patience.
const SHORT: Duration = Duration::from_secs(2);

fn copy(number: usize, mut from: &TcpStream, mut to: &TcpStream, change: Change, looks: Option<Duration>) {
    let mut chunk = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut chunk) {
        let is_last = looks.is_some_and(|limit| {
            from.set_read_timeout(Some(limit)).unwrap();
            let next = from.peek(&mut [0]);
            from.set_read_timeout(None).unwrap();
            matches!(next, Ok(0))
        });
        if to.write_all(&change(number, chunk[..n].to_vec(), is_last)).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Which server the connection with this number gets, by its first bytes, if one answers it at all.
type Choice = fn(usize, &[u8]) -> Option<usize>;

/// A box before these servers.
fn before(targets: Vec<SocketAddr>, choose: Choice, changes: Changes) -> Path {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (number, near) in listener.incoming().enumerate() {
            let Ok(near) = near else { break };
            let targets = targets.clone();
            thread::spawn(move || carry(number, &near, &targets, choose, changes));
        }
    });
    Path::to(address.to_string().parse().unwrap()).seed(7)
}

fn carry(number: usize, near: &TcpStream, targets: &[SocketAddr], choose: Choice, changes: Changes) {
    let mut first = [0; 1024];
    let n = near.peek(&mut first).unwrap_or_default();
    let Some(target) = choose(number, &first[..n]) else {
        let _ = (&mut &*near).read_to_end(&mut Vec::new());
        return;
    };
    let Ok(far) = TcpStream::connect(targets[target]) else { return };
    for end in [near, &far] {
        end.set_nodelay(true).unwrap();
    }
    thread::scope(|scope| {
        scope.spawn(|| copy(number, near, &far, changes.out, changes.looks));
        copy(number, &far, near, changes.back, changes.looks);
        if changes.closes_both {
            let _ = near.shutdown(Shutdown::Both);
            let _ = far.shutdown(Shutdown::Both);
        }
    });
}

fn far() -> Relayed {
    Relayed::direct(settings().listen("127.0.0.1:0").unwrap(), None)
}

fn checked(changes: Changes, ids: &[CheckId], patience: Duration) -> PathReport {
    let far = far();
    check(&before(vec![far.address()], |_, _| Some(0), changes).only(ids.iter().copied()).patience(patience))
}

fn verdict(report: &CheckReport) -> (CheckVerdict, Option<PathDirection>) {
    (report.verdict, report.direction)
}

#[test]
fn a_lost_tail_is_no_matter_of_half_closes_nor_of_transfers() {
    let cut: Change = |_, mut bytes, is_last| {
        bytes.truncate(bytes.len() - usize::from(is_last));
        bytes
    };
    // The last one asks about connections that carry bytes: an answer that is cut is not theirs.
    let ids = [CheckId::CloseTail, CheckId::HalfCloseIn, CheckId::Integrity, CheckId::SplitTcp];
    let report = checked(Changes { back: cut, looks: LOOKS, ..CLEAN }, &ids, PATIENCE);
    let [tail, half_close, integrity, split] = ids.map(|id| report.check(id).unwrap());
    assert_eq!(verdict(tail), (CheckVerdict::Fail, Some(PathDirection::In)), "{report:#?}");
    assert_eq!((half_close.verdict, integrity.verdict), (CheckVerdict::Unknown, CheckVerdict::Pass), "{report:#?}");
    assert!(split.summary.contains("its answer ended after"), "{split:#?}");
}

#[test]
fn answers_that_are_lost_before_a_fin_have_a_direction() {
    let drops: Change = |_, bytes, is_last| if is_last { Vec::new() } else { bytes };
    let ids = [CheckId::CloseTail, CheckId::Integrity];
    let report = checked(Changes { back: drops, looks: LOOKS, ..CLEAN }, &ids, PATIENCE);
    let tail = report.check(CheckId::CloseTail).unwrap();
    assert_eq!(verdict(tail), (CheckVerdict::Fail, Some(PathDirection::In)), "{report:#?}");
    assert_eq!(report.check(CheckId::Integrity).unwrap().verdict, CheckVerdict::Pass, "{report:#?}");
}

#[test]
fn a_box_that_closes_both_directions_may_lose_what_it_holds_too() {
    let cut: Change = |_, bytes, is_last| if is_last && !bytes.starts_with(b"resound-") { Vec::new() } else { bytes };
    let changes = Changes { back: cut, looks: LOOKS, closes_both: true, ..CLEAN };
    let report = checked(changes, &[CheckId::HalfCloseIn], PATIENCE);
    let half_close = report.check(CheckId::HalfCloseIn).unwrap();
    assert_eq!(verdict(half_close), (CheckVerdict::Fail, Some(PathDirection::In)), "{report:#?}");
    assert!(half_close.summary.contains("the far end's FIN"), "{half_close:#?}");
    assert!(half_close.evidence.iter().any(|seen| seen.contains("of 65536 bytes before it")), "{half_close:#?}");
}

#[test]
fn bytes_behind_the_last_ones_are_named_as_such() {
    let adds: Change = |_, bytes, is_last| if is_last { [&bytes, &b"<!-- end -->"[..]].concat() } else { bytes };
    let ids = [CheckId::CloseTail, CheckId::Integrity];
    let report = checked(Changes { out: adds, looks: LOOKS, ..CLEAN }, &ids, PATIENCE);
    let tail = report.check(CheckId::CloseTail).unwrap();
    assert_eq!(verdict(tail), (CheckVerdict::Fail, Some(PathDirection::Out)), "{report:#?}");
    assert!(tail.summary.ends_with("something adds bytes to the last ones"), "{tail:#?}");
    assert!(tail.suspect[0].contains("bytes of its own"), "{tail:#?}");
    assert_eq!(report.check(CheckId::Integrity).unwrap().verdict, CheckVerdict::Pass, "{report:#?}");
}

#[test]
fn single_bytes_that_are_lost_on_the_way_in_are_named() {
    let drops: Change = |_, bytes, _| if bytes.len() == 1 { Vec::new() } else { bytes };
    let report = checked(Changes { back: drops, ..CLEAN }, &[CheckId::Segmentation], SHORT);
    let segmentation = report.check(CheckId::Segmentation).unwrap();
    assert_eq!(verdict(segmentation), (CheckVerdict::Fail, Some(PathDirection::In)), "{report:#?}");
}

#[test]
fn a_request_that_arrives_damaged_was_damaged_on_the_way_out() {
    let loses: Change =
        |number, bytes, _| if number % 9 == 8 && bytes.starts_with(b"resound-") { bytes[1..].to_vec() } else { bytes };
    let report = checked(Changes { out: loses, ..CLEAN }, &[CheckId::Integrity, CheckId::Churn], PATIENCE);
    let integrity = report.check(CheckId::Integrity).unwrap();
    assert_eq!(verdict(integrity), (CheckVerdict::Flaky, Some(PathDirection::Out)), "{report:#?}");
}

thread_local! {
    /// Whether this connection's answer is changed.
    static IS_HIT: Cell<bool> = const { Cell::new(false) };
}

/// Changes the answers on the connections that were hit.
const CHANGES_ANSWERS: Change = |_, mut bytes, _| {
    bytes.get_mut(60).filter(|_| IS_HIT.get()).into_iter().for_each(|byte| *byte ^= 4);
    bytes
};

/// The verdicts of `integrity` and of another check where some answers are changed.
fn with_changed_answers(hit: Choice, other: CheckId) -> [CheckVerdict; 2] {
    let far = far();
    let path = before(vec![far.address()], hit, Changes { back: CHANGES_ANSWERS, ..CLEAN }).patience(PATIENCE);
    let report = check(&path.only([CheckId::Integrity, other]));
    [CheckId::Integrity, other].map(|id| report.check(id).unwrap().verdict)
}

#[test]
fn changed_answers_to_questions_about_connections_are_flaky() {
    static QUESTIONS: AtomicUsize = AtomicUsize::new(0);
    let hit: Choice = |_, first| {
        let is_question = String::from_utf8_lossy(first).contains("\"ask\":\"");
        IS_HIT.set(is_question && QUESTIONS.fetch_add(1, Ordering::Relaxed) % 2 == 1);
        Some(0)
    };
    let verdicts = with_changed_answers(hit, CheckId::HalfCloseIn);
    assert_eq!(verdicts, [CheckVerdict::Flaky, CheckVerdict::Pass]);
}

#[test]
fn changed_answers_on_connections_that_only_wait_are_flaky() {
    static OPEN: AtomicUsize = AtomicUsize::new(0);
    struct OpenConnection;
    impl Drop for OpenConnection {
        fn drop(&mut self) {
            OPEN.fetch_sub(1, Ordering::Relaxed);
        }
    }
    thread_local!(static THIS: RefCell<Option<OpenConnection>> = const { RefCell::new(None) });
    // `churn` itself has at most ten connections open.
    let hit: Choice = |_, _| {
        THIS.set(Some(OpenConnection));
        IS_HIT.set(OPEN.fetch_add(1, Ordering::Relaxed) > 20);
        Some(0)
    };
    assert_eq!(with_changed_answers(hit, CheckId::Churn), [CheckVerdict::Flaky, CheckVerdict::Pass]);
}

#[test]
fn connections_that_are_accepted_and_never_answered_are_flaky() {
    let far = far();
    let some: Choice = |number, _| (number % 7 != 6).then_some(0);
    let path = before(vec![far.address()], some, CLEAN).patience(SHORT);
    let report = check(&path.only([CheckId::Churn]));
    let churn = report.check(CheckId::Churn).unwrap();
    assert_eq!(churn.verdict, CheckVerdict::Flaky, "{report:#?}");
    assert!(churn.summary.ends_with("nothing answered the first line"), "{churn:#?}");
}

#[test]
fn a_server_that_answers_questions_alone_counts_as_a_backend() {
    let (first, second) = (far(), far());
    let targets = vec![first.address(), second.address()];
    let by_first: Choice = |_, first| {
        let request = String::from_utf8_lossy(first);
        Some(usize::from(request.starts_with("resound-probe/1 ") && !request.contains("\"play\":")))
    };
    let path = before(targets, by_first, CLEAN);
    let report = check(&path.only([CheckId::HalfCloseIn, CheckId::Backends]).patience(PATIENCE));
    let backends = report.check(CheckId::Backends).unwrap();
    assert_eq!(backends.measured["backends"].to_string(), "2", "{report:#?}");
    assert!(backends.evidence[1].ends_with("only answered queries about other connections"), "{backends:#?}");
}

#[test]
fn line_endings_that_are_changed_both_ways_are_the_paths() {
    let to_crlf: Change = |_, bytes, _| {
        let lines = bytes.iter().flat_map(|&byte| if byte == b'\n' { vec![b'\r', b'\n'] } else { vec![byte] });
        lines.collect()
    };
    let report = checked(Changes { out: to_crlf, back: to_crlf, ..CLEAN }, &[CheckId::Integrity], PATIENCE);
    assert_eq!(report.far, FarKind::Probe);
    let integrity = report.check(CheckId::Integrity).unwrap();
    assert_eq!(verdict(integrity), (CheckVerdict::Fail, Some(PathDirection::Both)), "{report:#?}");
}

#[test]
fn a_fin_that_never_arrives_is_noticed_from_one_end_too() {
    for (faults, want) in [("", CheckVerdict::Pass), ("up: eat-fin", CheckVerdict::Warn)] {
        let report = check(&Relayed::without_probe().behind_relay(faults).path(SHORT).only([CheckId::HalfCloseOut]));
        let half_close = report.check(CheckId::HalfCloseOut).unwrap();
        assert_eq!(half_close.verdict, want, "{faults}: {report:#?}");
        let is_told = half_close.summary.contains("no FIN after it, so this end's FIN may not have arrived");
        assert_eq!(is_told, want == CheckVerdict::Warn, "{half_close:#?}");
    }
}
