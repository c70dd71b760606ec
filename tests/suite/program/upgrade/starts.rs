//! What a new process finds when it starts, and what it leaves behind when it is killed.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::process::{Pid, Signal, kill_process};

use super::{Generations, linked, replace};
use crate::child::Program;
use crate::harness::{PATIENCE, Peer, eventually};

/// A file that a start reads, and that is given only when the test says so.
struct Gate {
    path: PathBuf,
    reached: Receiver<()>,
    go: Sender<()>,
}

impl Gate {
    fn new(folder: &Path) -> Self {
        let path = folder.join("ca.pem");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let (reach, reached) = channel();
        let (go, goes) = channel();
        let pipe = path.clone();
        std::thread::spawn(move || {
            let pem = rcgen::generate_simple_self_signed(["ca".into()]).unwrap().cert.pem();
            // This waits for a reader.
            let mut to = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
            let is_over = reach.send(()).is_err() || goes.recv().is_err();
            if !is_over {
                // For those who read it again.
                let file = pipe.with_extension("file");
                std::fs::write(&file, &pem).unwrap();
                std::fs::rename(&file, &pipe).unwrap();
                to.write_all(pem.as_bytes()).unwrap();
            }
        });
        Self { path, reached, go }
    }

    fn wait(&self) {
        self.reached.recv_timeout(PATIENCE).expect("a start reads the file");
    }
}

fn ask(path: &Path) {
    let mut peer = UnixStream::connect(path).unwrap();
    peer.write_all(b"x\n").unwrap();
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    peer.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "Server received: x\n");
}

#[test]
fn a_program_that_is_replaced_while_it_starts_is_the_one_that_was_started() {
    let folder = tempfile::TempDir::new().unwrap();
    let (link, gate) = (linked(folder.path()), Gate::new(folder.path()));
    let mut command = Command::new(&link);
    command.args(["server", "127.0.0.1", "0", "--while-stdin", "--tls", "--client-ca"]).arg(&gate.path);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut server = Generations::start(command);
    gate.wait();
    replace(&link, "#!/bin/sh\nexit 3\n");
    gate.go.send(()).unwrap();
    server.address("TCP Server started on ");
    server.signal(Signal::USR2);
    let line = server.stderr.until("resound: warning: no upgrade: ");
    assert!(line.contains("has ended before it could serve: exit status: 3"), "{line}");
    server.end();
}

#[test]
fn a_new_process_that_is_killed_leaves_no_file_of_a_socket_behind() {
    let folder = tempfile::TempDir::new().unwrap();
    let gate = Gate::new(folder.path());
    let [file, own, new] = ["resound.toml", "own", "new"].map(|name| folder.path().join(name));
    let config = |more: &str, sockets: &[&Path]| {
        let sockets: Vec<_> = sockets.iter().map(|path| format!("unix:{}", path.display())).collect();
        let text = format!("[server]\nhost = '127.0.0.1'\nport = 0\nlisten = {sockets:?}\n{more}");
        std::fs::write(&file, text).unwrap();
    };
    config("", &[&own]);
    let command = Program::command(&["server", "--while-stdin", "--config", file.to_str().unwrap()]);
    let mut server = Generations::start(command);
    let address: SocketAddr = server.address("TCP Server started on ");
    ask(&own);
    config(&format!("tls = true\nclient-ca = '{}'\n", gate.path.display()), &[&own, &new]);
    server.signal(Signal::USR2);
    let line = server.program.stdout.until("Upgrading: process ");
    let killed: i32 = line.split(' ').nth(2).unwrap().parse().unwrap();
    gate.wait();
    assert!(new.exists(), "it is bound before the certificates are read");
    kill_process(Pid::from_raw(killed).unwrap(), Signal::KILL).unwrap();
    let line = server.stderr.until("resound: warning: no upgrade: ");
    assert!(line.contains("signal: 9"), "{line}");
    eventually("the file of the killed process is removed", || !new.exists());
    ask(&own);
    // The same path, typed in another way: it is in use, and stays.
    config("", &[&own.with_file_name(".").join("own")]);
    server.signal(Signal::USR2);
    let line = server.stderr.until("resound: warning: no upgrade: ");
    assert!(line.contains("has ended before it could serve"), "{line}");
    ask(&own);
    Peer::connect(address).ask("still served");
    server.end();
    assert!(!own.exists(), "the last process has left its file behind");
}
