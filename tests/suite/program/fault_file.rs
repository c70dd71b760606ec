//! A file of faults that changes while clients come and go.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::Value;

use super::relay::{relay, server};
use crate::harness::engines;

/// Connections that are open while the file changes.
const OPEN: usize = 1_000;
/// What each connection sends, and receives as far as the faults leave it.
const SENT: [u8; 32] = [b'.'; 32];
/// Versions of the file.
const VERSIONS: u64 = 6;

/// Each version has its own offset, for a fault in each direction.
fn write_version(version: u64, file: &Path) {
    let text = format!(
        "seed = 1\n[[fault]]\nspec = \"up: duplicate=1B @{offset}B\"\n[[fault]]\nspec = \"down: corrupt @{offset}B\"\n",
        offset = version + 8
    );
    let new = file.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, file).unwrap();
}

fn opened(address: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
    client.write_all(&SENT[..1]).unwrap();
    client.read_exact(&mut [0]).unwrap();
    client
}

/// Sends the rest, and returns what came back after the first byte.
fn finish(mut client: TcpStream) -> Vec<u8> {
    client.write_all(&SENT[1..]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    rest
}

/// The first connection that the newest version concerns, as the relay prints it.
fn announced(line: &str) -> u64 {
    let number = line.strip_prefix("Faults from connection ").and_then(|rest| rest.split(' ').next());
    number.and_then(|number| number.parse().ok()).expect(line)
}

#[test]
fn a_changed_file_holds_whole_from_the_next_connection_on() {
    resound::system::raise_descriptor_limit().unwrap();
    for engine in engines().into_iter().filter(|engine| *engine != "threads") {
        let folder = tempfile::tempdir().unwrap();
        let (file, record) = (folder.path().join("faults.toml"), folder.path().join("record"));
        write_version(0, &file);
        let (_server, target) = server(&["-q", "--mode", "echo"]);
        let paths = [&file, &record].map(|path| path.to_str().unwrap());
        let args = ["--engine", engine, "--workers", "2", "--faults", paths[0], "--record", paths[1]];
        let (mut relay, address) = relay(&target, &args);
        let mut froms = vec![announced(&relay.stdout.until("Faults"))];
        let open: Vec<_> = (0..OPEN).map(|_| opened(address)).collect();
        let is_over = AtomicBool::new(false);
        let later = std::thread::scope(|scope| {
            let come_and_go = || {
                let mut count = 0;
                while !is_over.load(Relaxed) {
                    assert_eq!(finish(opened(address)).len(), SENT.len(), "one byte came twice");
                    count += 1;
                }
                count
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(come_and_go)).collect();
            for version in 1..VERSIONS {
                write_version(version, &file);
                froms.push(announced(&relay.stdout.until("Faults")));
                (0..20).for_each(|_| drop(finish(opened(address))));
            }
            is_over.store(true, Relaxed);
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
        });
        for client in open {
            let rest = finish(client);
            let changed: Vec<_> = (1..).zip(&rest).filter(|(_, byte)| **byte != SENT[0]).map(|(at, _)| at).collect();
            assert_eq!((rest.len(), changed), (SENT.len(), vec![8]), "the first version holds for the connection");
        }
        assert!(froms.is_sorted() && froms[1] > OPEN as u64, "{froms:?}");
        relay.signal(rustix::process::Signal::TERM);
        assert_eq!(relay.end().0, Some(0));
        let count = OPEN + later + 20 * (froms.len() - 1);
        let mut faults = vec![Vec::new(); count + 1];
        for line in std::fs::read_to_string(&record).unwrap().lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            if let Some(conn) = event["connection"].as_u64() {
                faults[conn as usize].push((event["kind"].to_string(), event["offset"].as_u64().unwrap()));
            }
        }
        for (conn, mut seen) in faults.into_iter().enumerate().skip(1) {
            seen.sort();
            let version = froms.iter().rposition(|from| *from <= conn as u64).unwrap() as u64;
            let want = ["\"corrupt\"", "\"duplicate\""].map(|kind| (kind.to_string(), version + 8));
            assert_eq!(seen, want, "connection {conn} of {froms:?}");
        }
    }
}
