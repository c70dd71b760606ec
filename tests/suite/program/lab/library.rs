//! Labs in a test, without the program.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};

use resound_lab::{Lab, Side};

use super::is_allowed;

#[test]
fn a_path_in_three_lines() {
    if !is_allowed("a lab in a test") {
        return;
    }
    let lab = Lab::builder().start().unwrap();
    let listener = lab.far_end().listen(0).unwrap();
    let mut client = lab.near_end().connect(listener.local_addr().unwrap()).unwrap();

    let (mut served, peer) = listener.accept().unwrap();
    assert_eq!(peer.ip(), IpAddr::V4(Side::Near.ipv4()));
    client.write_all(b"Hello").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut received = String::new();
    served.read_to_string(&mut received).unwrap();
    assert_eq!(received, "Hello");
    let report = lab.finish().unwrap();
    assert!(!report.router.was_bottleneck(), "{}", report.router);
}

#[test]
fn several_labs_do_not_meet() {
    if !is_allowed("several labs in a test") {
        return;
    }
    let labs: Vec<_> = (0..3).map(|_| Lab::builder().start().unwrap()).collect();
    let listeners: Vec<_> = labs.iter().map(|lab| lab.far_end().listen(7000).unwrap()).collect();
    for (at, (lab, listener)) in labs.iter().zip(&listeners).enumerate() {
        let mut client = lab.near_end().connect(SocketAddr::new(IpAddr::V4(Side::Far.ipv4()), 7000)).unwrap();
        client.write_all(&[at as u8]).unwrap();
        let mut byte = [9];
        listener.accept().unwrap().0.read_exact(&mut byte).unwrap();
        assert_eq!(usize::from(byte[0]), at);
    }
    // One end of one lab ends, and the others go on.
    drop(labs);
}

#[test]
fn a_command_in_an_end_of_a_lab() {
    if !is_allowed("a command in a lab of a test") {
        return;
    }
    let lab = Lab::builder().mtu(1400).start().unwrap();
    let output = lab.far_end().output(&["sh", "-c", "exit 3"]).unwrap();
    assert_eq!(output.status.code(), Some(3));
    let error = lab.near_end().output(&["/no/such/command"]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    assert!(lab.near_end().output::<&str>(&[]).is_err() && lab.near_end().output(&["a\0b"]).is_err());
    assert!(!lab.far_end().is_listening().unwrap());
    let _listener = lab.far_end().listen(0).unwrap();
    assert!(lab.far_end().is_listening().unwrap() && !lab.near_end().is_listening().unwrap());
}

#[test]
fn a_lab_holds_no_descriptor_of_its_owner() {
    if !is_allowed("descriptors of a lab's owner") {
        return;
    }
    let (one, mut other) = std::os::unix::net::UnixStream::pair().unwrap();
    let lab = Lab::builder().start().unwrap();
    other.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
    // A copy of it in the lab's processes would keep it open.
    drop(one);
    assert_eq!(other.read(&mut [0]).unwrap(), 0);
    let (code, open) = {
        let output = lab.near_end().output(&["sh", "-c", "ls /proc/self/fd"]).unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).split_whitespace().count())
    };
    // The standard streams, and the folder that ls reads.
    assert_eq!((code, open), (Some(0), 4));
}

#[test]
fn ipv6_is_ready_when_a_lab_has_started() {
    if !is_allowed("IPv6 in a lab") || !std::path::Path::new("/proc/net/if_inet6").exists() {
        return;
    }
    // Many at once keep the kernel's own threads busy, one of which makes an address ready.
    let threads: Vec<_> = (0..32)
        .map(|_| {
            std::thread::spawn(|| {
                let lab = Lab::builder().start().unwrap();
                for (end, octet) in [(lab.far_end(), 2), (lab.near_end(), 1)] {
                    let output = end.output(&["cat", "/proc/net/ipv6_route"]).unwrap();
                    let routes = String::from_utf8_lossy(&output.stdout);
                    let own = format!("fd77{octet:028} 80 ");
                    assert!(routes.lines().any(|line| line.starts_with(&own)), "{routes}");
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}
