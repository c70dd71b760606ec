//! Defects of a lab: how they are given, drawn and reported.

use std::time::Duration;

use resound_lab::Lab;
use tempfile::TempDir;

use super::{is_allowed, lab, program};
use crate::child::Program;
use crate::harness::eventually;

/// Which of many datagrams arrive.
fn arrived(seed: u64) -> Vec<u32> {
    let lab = Lab::builder().defects("up: loss=20%".parse().unwrap()).seed(seed).start().unwrap();
    let receiver = lab.far_end().datagrams(0).unwrap();
    let sender = lab.near_end().datagrams(0).unwrap();
    let to = receiver.local_addr().unwrap();
    let mut arrived = Vec::new();
    // The last one is sent until it arrives: all before it have arrived or never will.
    receiver.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    for number in 0..200_u32 {
        sender.send_to(&number.to_be_bytes(), to).unwrap();
    }
    let mut bytes = [0; 4];
    loop {
        sender.send_to(&u32::MAX.to_be_bytes(), to).unwrap();
        while receiver.recv(&mut bytes).is_ok() {
            match u32::from_be_bytes(bytes) {
                u32::MAX => return arrived,
                number => arrived.push(number),
            }
        }
    }
}

#[test]
fn the_same_seed_drops_the_same_packets() {
    if !is_allowed("seeds of a lab") {
        return;
    }
    let first = arrived(7);
    assert!((120..190).contains(&first.len()), "{} of 200 arrived", first.len());
    assert_eq!(arrived(7), first);
    assert_ne!(arrived(8), first);
}

/// The comments of a file of packets, in their order.
fn comments(file: &std::path::Path) -> Vec<String> {
    let bytes = std::fs::read(file).unwrap();
    let starts = bytes.windows(4).enumerate().filter(|(_, window)| *window == b"udp ").map(|(at, _)| at);
    let text = |at: usize| {
        let end = bytes[at..].iter().position(|byte| !(b' '..=b'~').contains(byte)).unwrap_or(bytes.len() - at);
        String::from_utf8_lossy(&bytes[at..at + end]).into_owned()
    };
    starts.map(text).collect()
}

#[test]
fn the_same_seed_decides_the_same_in_the_file_of_packets() {
    if !is_allowed("decisions in a file of packets") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let decisions = |seed| {
        let file = folder.path().join("lab.pcapng");
        let defects = "loss=10%; up: duplicate=10%; up: corrupt-payload=10%; down: reorder=10%".parse().unwrap();
        let lab = Lab::builder().defects(defects).seed(seed).capture(&file).start().unwrap();
        let (receiver, sender) = (lab.far_end().datagrams(0).unwrap(), lab.near_end().datagrams(0).unwrap());
        let to = receiver.local_addr().unwrap();
        for _ in 0..200 {
            sender.send_to(&[0; 32], to).unwrap();
        }
        // What was sent has reached the router's ring; the router takes all of it before it ends.
        lab.finish().unwrap();
        comments(&file)
    };
    let first = decisions(21);
    assert!(first.len() > 30 && first.iter().any(|comment| comment.contains("loss: dropped")), "{first:?}");
    assert_eq!(decisions(21), first);
    assert_ne!(decisions(22), first);
}

#[test]
fn a_wrong_defect_is_named_with_its_place() {
    let (code, _, stderr) = lab(&["--defect", "up: los=1%", "--", "true"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("did you mean `loss`?") && stderr.contains("^^^"), "{stderr}");
    let (code, _, stderr) = lab(&["--loss", "lots", "--", "true"]);
    assert!(code == Some(2) && stderr.contains("loss=lots"), "{stderr}");
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("defects");
    std::fs::write(&file, "# a slow line\ndelay=1ms\n\ndely=1ms # a slip\n").unwrap();
    let (code, _, stderr) = lab(&["--defects", file.to_str().unwrap(), "--", "true"]);
    assert!(code == Some(2) && stderr.contains("line 4") && stderr.contains("did you mean `delay`?"), "{stderr}");
}

#[test]
fn defects_of_flags_file_and_specification_add_up() {
    if !is_allowed("the summary of a lab") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let (file, json) = (folder.path().join("defects"), folder.path().join("lab.json"));
    std::fs::write(&file, "up: delay=1ms\n").unwrap();
    let files = ["--defects", file.to_str().unwrap(), "--json", json.to_str().unwrap()];
    let args = [&files[..], &["--loss", "0.5%", "--nat", "--defect", "down: mtu=1400", "--seed", "3"]].concat();
    let (code, _, stderr) = lab(&[&args[..], &["--", "sh", "-c", "exit 6"]].concat());
    assert_eq!(code, Some(6), "{stderr}");
    assert!(stderr.contains("seed 3; router: "), "{stderr}");
    let document: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!((&document["seed"], &document["exit_code"]), (&3.into(), &6.into()), "{document}");
    let defects = document["defects"].as_str().unwrap();
    for part in ["up: delay=1ms", "loss=0.5%", "nat", "down: mtu=1400"] {
        assert!(defects.contains(part), "{defects}");
    }
    assert!(document["router"]["lost"] == 0 && document["summary"].is_object(), "{document}");
}

#[test]
fn the_file_of_packets_can_be_read_while_the_lab_runs() {
    if !is_allowed("a file of packets that grows") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lab.pcapng");
    let connect = format!("'{}' client far 9 --timeout 5s; cat", program());
    let args = ["lab", "-q", "--pcap", file.to_str().unwrap(), "--", "sh", "-c", &connect];
    let mut command = Program::command(&args);
    command.stdin(std::process::Stdio::piped());
    let _lab = Program::spawn(command);
    // A SYN and a RST of each family, on both sides.
    eventually("eight packets are in the file", || std::fs::metadata(&file).is_ok_and(|file| file.len() > 8 * 60));
}
