//! What a new process finds when it starts.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::process::Signal;

use super::{Generations, linked, replace};
use crate::harness::PATIENCE;

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
