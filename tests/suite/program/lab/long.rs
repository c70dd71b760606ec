//! Many labs, large transfers and the router's own cost. `cargo test --release -- --ignored lab`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::endings::{await_none, marked, waiting};
use super::{has, is_allowed, lab, program};

/// The outside, as a lab could have changed it: links and mounts. A namespace without a process, a
/// socket or a mount is gone.
type Outside = (BTreeSet<String>, String);

fn outside() -> Outside {
    let links = fs::read_dir("/sys/class/net").into_iter().flatten().filter_map(Result::ok);
    let links = links.map(|link| link.file_name().to_string_lossy().into_owned()).collect();
    (links, fs::read_to_string("/proc/self/mounts").unwrap())
}

#[test]
#[ignore = "two hundred labs; docs/testing.md"]
fn two_hundred_labs_in_a_row_leave_nothing() {
    if !is_allowed("two hundred labs in a row") {
        return;
    }
    let (before, mark) = (outside(), format!("{}.2", 500_000 + std::process::id()));
    for _ in 0..200 {
        let far = format!("{} server far 8888 -q & sleep {mark}", program());
        let (code, _, stderr) = lab(&["-q", "--far", &far, "--", "sh", "-c", &format!("sleep {mark} & exit 4")]);
        assert_eq!(code, Some(4), "{stderr}");
    }
    assert_eq!(marked(&mark), Vec::<String>::new());
    assert_eq!(outside(), before);
}

#[test]
#[ignore = "eight labs at once; docs/testing.md"]
fn eight_labs_at_once_leave_nothing() {
    if !is_allowed("eight labs at once") {
        return;
    }
    let (before, mark) = (outside(), format!("{}.4", 500_000 + std::process::id()));
    for _ in 0..5 {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let far = format!("{} server far 8888 -q & sleep {mark}", program());
                std::thread::spawn(move || {
                    let (code, stdout, stderr) = lab(&["-q", "--far", &far, "--", program(), "test", "far", "8888"]);
                    assert_eq!(code, Some(0), "{stdout}{stderr}");
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
    assert_eq!(marked(&mark), Vec::<String>::new());
    assert_eq!(outside(), before);
}

#[test]
#[ignore = "kills labs at random moments; docs/testing.md"]
fn labs_killed_at_random_moments_leave_nothing() {
    if !is_allowed("killed labs") {
        return;
    }
    let (before, mark) = (outside(), format!("{}.3", 500_000 + std::process::id()));
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for at in 0..20 {
        let command = format!("sleep {mark} & echo begun; exec sleep {mark}");
        // One of three after both ends run, the others while the lab starts.
        let killed = match at % 3 {
            0 => waiting(&mark, &command),
            _ => {
                let far = format!("{} server far 8888 -q & sleep {mark}", program());
                let args = ["lab", "-q", "--far", &far, "--", "sh", "-c", &command];
                let started = crate::child::Program::spawn(crate::child::Program::command(&args));
                std::thread::park_timeout(Duration::from_micros(random.u64(..150_000)));
                started
            }
        };
        killed.signal(Signal::KILL);
        assert_eq!(killed.end().0, None, "seed {seed}");
        await_none(&mark);
    }
    assert_eq!(outside(), before);
}

#[test]
#[ignore = "10 GiB by iperf3; docs/testing.md"]
fn ten_gibibytes_pass_a_clean_lab_without_a_retransmission() {
    if !has("iperf3", "10 GiB by iperf3") {
        return;
    }
    let bytes = std::env::var("RESOUND_LAB_BYTES").unwrap_or_else(|_| "10G".into());
    let near = format!("iperf3 -c 10.77.0.2 -n {bytes} -J");
    let (code, stdout, stderr) = run_long(&["--far", "exec iperf3 -s > /dev/null", "--", "sh", "-c", &near]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    let result: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let sent = &result["end"]["sum_sent"];
    assert_eq!(sent["retransmits"], 0, "{sent} {stderr}");
}

/// Runs a lab that takes longer than a test waits for a program.
fn run_long(args: &[&str]) -> (Option<i32>, String, String) {
    let output = std::process::Command::new(program()).arg("lab").args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// The sequence numbers of data segments in one direction of a file of packets, as tcpdump reads it
/// from one interface of it.
fn segments(file: &Path, interface: &str) -> Vec<(u64, u64)> {
    let args = ["-nn", "-S", "-r"];
    let output = std::process::Command::new("tcpdump").args(args).arg(file).arg("src host 10.77.0.2 and tcp").output();
    let text = String::from_utf8_lossy(&output.unwrap().stdout).into_owned();
    let lines = text.lines().filter(|line| interface.is_empty() || line.contains(interface));
    let range = |line: &str| {
        let (first, end) = line.split("seq ").nth(1)?.split(',').next()?.split_once(':')?;
        Some((first.parse().ok()?, end.parse().ok()?))
    };
    lines.filter_map(range).collect()
}

#[test]
#[ignore = "needs tcpdump and curl; docs/testing.md"]
fn what_a_loss_has_dropped_is_sent_again_and_nothing_else_is_missing() {
    if !has("tcpdump", "losses in a file of packets") || !has("curl", "losses in a file of packets") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    fs::write(path.join("file"), vec![b'x'; 8 << 20]).unwrap();
    let file = path.join("lab.pcapng");
    let far = format!(
        "cd {}; tcpdump -U -w far.pcap -i eth0 --immediate-mode -B 65536 tcp 2> log & \
                       exec python3 -m http.server 2> /dev/null",
        path.display()
    );
    let near = format!(
        "cd {0}; until grep -q listening log; do :; done; \
                        tcpdump -U -w near.pcap -i eth0 --immediate-mode -B 65536 tcp 2> log2 & \
                        until grep -q listening {0}/log2; do :; done; \
                        curl -sS -o {0}/got http://10.77.0.2:8000/file && cmp {0}/got {0}/file && \
                        kill -INT $! && wait $!",
        path.display()
    );
    let defects = ["--defect", "down: loss=1%", "--seed", "11", "--pcap", file.to_str().unwrap()];
    let (code, stdout, stderr) = lab(&[&defects[..], &["--far", &far, "--", "sh", "-c", &near]].concat());
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    // Each range that the far end has sent arrives at the near end, if not at first.
    let (sent, received) = (segments(&path.join("far.pcap"), ""), segments(&path.join("near.pcap"), ""));
    let covered = |ranges: &[(u64, u64)]| {
        let mut sorted = ranges.to_vec();
        sorted.sort_unstable();
        sorted.iter().fold((0, 0), |(total, end): (u64, u64), &(first, last)| {
            (total + last.saturating_sub(end.max(first)), end.max(last))
        })
    };
    assert_eq!(covered(&sent), covered(&received));
    let packets = fs::read(&file).unwrap();
    let dropped = packets.windows(13).filter(|window| *window == b"loss: dropped").count();
    assert!(dropped > 20, "{dropped} comments");
}

#[test]
#[ignore = "measures the router's time; docs/testing.md"]
fn a_clean_lab_adds_little_to_a_round_trip_and_delays_are_kept() {
    if !has("ping", "round trips of a lab")
        || !has("python3", "round trips of a lab")
        || !has("iperf3", "50,000 packets per second in a lab")
    {
        return;
    }
    // Of a rare ping, for the record: between packets a virtual machine's idle processors fall
    // asleep, and each takes 40 us to wake up, whatever wakes it.
    let (_, stdout, _) = run_long(&["-q", "--", "ping", "-q", "-i", "0.002", "-c", "1000", "10.77.0.2"]);
    println!("{}", stdout.lines().last().unwrap_or_default());
    let serve = "python3 -c 'import socket\ns=socket.create_server((\"0.0.0.0\",8000))\nwhile True:\n c,_=s.accept()\n \
                 c.setsockopt(6,1,1)\n while c.send(c.recv(1)): pass'";
    let near = "(SERVE) 2> log & python3 -c 'import socket,sys,time\ndef median(host):\n t=[]\n\
                \x20while True:\n  try: c=socket.create_connection((host,8000)); break\n  except OSError: pass\n\
                \x20c.setsockopt(6,1,1)\n for i in range(5000):\n  s=time.perf_counter(); c.send(b\"x\"); c.recv(1)\n\
                \x20\x20t.append(time.perf_counter()-s)\n return sorted(t)[2500]\n\
                print(median(\"10.77.0.2\")-median(\"127.0.0.1\"))'";
    let near = near.replace("SERVE", serve).replace("2> log", "2> /dev/null");
    let (code, stdout, stderr) = run_long(&["-q", "--far", serve, "--", "sh", "-c", &near]);
    assert_eq!(code, Some(0), "{stderr}");
    let added: f64 = stdout.trim().parse().unwrap();
    println!("a clean lab adds {:.0} us to a round trip of Python", added * 1e6);
    assert!(added <= 60e-6, "{added} s");
    // 50,000 datagrams of 100 bytes in a second.
    let near = "iperf3 -u -c 10.77.0.2 -b 40M -l 100 -t 5 --pacing-timer 100 > /dev/null";
    let args = ["--delay", "5ms", "--json", "-", "--far", "exec iperf3 -s > /dev/null", "--", "sh", "-c", near];
    let (code, stdout, stderr) = run_long(&args);
    assert_eq!(code, Some(0), "{stderr}");
    let document: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let router = &document["router"];
    println!("at 50,000 packets per second: {router}");
    assert!(router["late_p99_us"].as_f64().unwrap() <= 100.0 && router["lost"] == 0, "{router}");
}
