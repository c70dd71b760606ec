use std::io::Write;

use super::*;

impl Destination for Stuck {}
impl Destination for Slow {}

fn never_fails(error: &io::Error) {
    panic!("{error}");
}

/// An output that is stuck until it is released.
struct Stuck(mpsc::Receiver<()>, mpsc::Sender<Vec<u8>>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = self.0.recv();
        self.1.send(bytes.to_vec()).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stuck_output_never_blocks_and_losses_are_counted() {
    let (go, gate) = mpsc::channel();
    let (seen, written) = mpsc::channel();
    let skipped_text = |skipped: SkippedEvents| format!("[{} {}]", skipped.messages, skipped.events);
    let (printer, ending) = Printer::new(Stuck(gate, seen), 1, skipped_text, never_fails);
    let event = vec![b'x'; 1024];
    for _ in 0..5000 {
        printer.print(0, EventWeight::Message, |to| to.extend_from_slice(&event));
    }
    printer.print(0, EventWeight::Event, |to| to.extend_from_slice(b"end"));
    drop(go);
    ending.finish(Duration::from_secs(60));
    let all: Vec<u8> = written.iter().flatten().collect();
    let text = String::from_utf8(all).unwrap();
    let kept = text.bytes().filter(|&b| b == b'x').count() / 1024;
    let lost: usize =
        text.split('[').skip(1).map(|count| count.split(' ').next().unwrap().parse::<usize>().unwrap()).sum();
    assert!(lost > 0, "5 MB do not fit a lane");
    assert_eq!(kept + lost, 5000);
    assert!(text.contains("end"), "an event still finds a place");
}

/// An output that takes a little at a time, as a terminal far away.
struct Slow(mpsc::Sender<Vec<u8>>);

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        thread::park_timeout(Duration::from_millis(20));
        let taken = &bytes[..bytes.len().min(1024)];
        self.0.send(taken.to_vec()).map_err(std::io::Error::other)?;
        Ok(taken.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_slow_output_still_gets_the_last_words() {
    let (seen, written) = mpsc::channel();
    let skipped_text = |skipped: SkippedEvents| format!("[{}]\n", skipped.lines + skipped.messages);
    let (printer, ending) = Printer::new(Slow(seen), 1, skipped_text, never_fails);
    let total = 20_000;
    for _ in 0..total {
        printer.print(0, EventWeight::Message, |to| to.extend_from_slice(b"a message of some length\n"));
    }
    printer.last_lines(|to| to.extend_from_slice(b"the last words\n"));
    ending.finish(Duration::from_secs(2));
    drop(printer);
    let text = String::from_utf8(written.iter().flatten().collect()).unwrap();
    assert!(text.ends_with("the last words\n"), "{}", &text[text.len() - 200..]);
    let kept = text.lines().filter(|line| line.starts_with("a message")).count();
    let lost: usize =
        text.lines().filter_map(|line| line.strip_prefix('[')?.strip_suffix(']')?.parse::<usize>().ok()).sum();
    assert!(lost > 0);
    assert_eq!(kept + lost, total);
}

#[test]
fn an_output_that_fails_is_tried_again_and_what_was_skipped_is_counted() {
    static REPORTS: AtomicU64 = AtomicU64::new(0);
    /// A file system that is full until there is room again.
    struct Full(Arc<AtomicBool>, mpsc::Sender<Vec<u8>>, mpsc::Sender<()>);
    impl Destination for Full {}
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !self.0.load(Ordering::SeqCst) {
                let _ = self.2.send(());
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.1.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (room, (seen, written), (fails, failed)) = (Arc::new(AtomicBool::new(false)), mpsc::channel(), mpsc::channel());
    let skipped_text = |skipped: SkippedEvents| format!("[{}]\n", skipped.messages + skipped.events);
    let failing = |_: &io::Error| {
        REPORTS.fetch_add(1, Ordering::SeqCst);
    };
    let (printer, ending) = Printer::new(Full(Arc::clone(&room), seen, fails), 1, skipped_text, failing);
    let total = 5000;
    let line = [vec![b'x'; 1023], vec![b'\n']].concat();
    for _ in 0..total {
        printer.print(0, EventWeight::Message, |to| to.extend_from_slice(&line));
    }
    (0..3).for_each(|_| failed.recv().unwrap());
    room.store(true, Ordering::SeqCst);
    assert!(ending.finish(Duration::from_secs(60)).is_none());
    let text = String::from_utf8(written.try_iter().flatten().collect()).unwrap();
    let skipped = |line: &str| line.strip_prefix('[')?.strip_suffix(']')?.parse::<usize>().ok();
    let lost: usize = text.lines().filter_map(skipped).sum();
    let kept = text.lines().filter(|line| line.len() == 1023).count();
    assert!(lost > 0, "5 MB do not fit a lane");
    assert_eq!((kept + lost, REPORTS.load(Ordering::SeqCst)), (total, 1));
}

#[test]
fn last_words_that_cannot_be_written_are_counted_with_all_that_waits_by_then() {
    /// Full from the last words on. Meanwhile another thread could print.
    struct NoRoom(Arc<OnceLock<Arc<Printer>>>);
    impl Destination for NoRoom {}
    impl Write for NoRoom {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !bytes.starts_with(b"last") {
                return Ok(bytes.len());
            }
            let printer = self.0.get().unwrap();
            assert!(printer.last_lines.try_lock().is_some(), "a thread that has last words would hang");
            printer.print(0, EventWeight::Event, |to| to.extend_from_slice(b"late\n"));
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let later = Arc::new(OnceLock::new());
    let (printer, ending) = Printer::new(NoRoom(Arc::clone(&later)), 1, |_| String::new(), |_| {});
    assert!(later.set(printer.clone()).is_ok());
    printer.print(0, EventWeight::Event, |to| to.extend_from_slice(b"early\n"));
    printer.last_lines(|to| to.extend_from_slice(b"last\nwords\n"));
    // The two, and a line for each of the two attempts.
    let unwritten = ending.finish(Duration::from_secs(60)).expect("there was no room");
    assert_eq!((unwritten.lines, unwritten.error.kind()), (4, io::ErrorKind::StorageFull));
}

#[test]
fn what_a_stuck_output_has_not_taken_at_the_end_is_counted() {
    let (go, gate) = mpsc::channel();
    let (seen, written) = mpsc::channel();
    let (printer, ending) = Printer::new(Stuck(gate, seen), 2, |_| "skipped\n".into(), never_fails);
    go.send(()).unwrap();
    printer.print(0, EventWeight::Event, |to| to.extend_from_slice(b"taken\n"));
    assert_eq!(written.recv().unwrap(), b"taken\n");
    let line = [vec![b'x'; 1023], vec![b'\n']].concat();
    let total = 3000;
    for n in 0..total {
        printer.print(n % 2, EventWeight::Message, |to| to.extend_from_slice(&line));
    }
    printer.last_lines(|to| to.extend_from_slice(b"last\n"));
    let unwritten = ending.finish(Duration::from_millis(10)).expect("it is stuck");
    assert_eq!((unwritten.lines, unwritten.error.kind()), (total as u64 + 1, io::ErrorKind::TimedOut));
    drop(go);
}

#[test]
fn a_broken_output_is_given_up_quietly() {
    struct Broken;
    impl Destination for Broken {}
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (printer, ending) = Printer::new(Broken, 2, |_| String::new(), never_fails);
    printer.print(1, EventWeight::Event, |to| to.push(b'x'));
    ending.ended.recv().unwrap();
    assert!(printer.broken.load(Ordering::SeqCst));
}
