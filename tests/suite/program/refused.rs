//! io_uring where the system refuses it: a filter in the child (seccomp(2)) does what many
//! containers do.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::child::Program;
use crate::harness::Peer;

/// Every `io_uring_setup` of this child fails with EPERM.
fn without_io_uring(mut command: Command) -> Command {
    use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO};
    let step = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
    let filter = [
        step(BPF_LD | BPF_W | BPF_ABS, 0, 0, 0), // the number of the call
        step(BPF_JMP | BPF_JEQ | BPF_K, libc::SYS_io_uring_setup as u32, 0, 1),
        step(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | libc::EPERM as u32, 0, 0),
        step(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0),
    ];
    let install = move || {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
        // SAFETY: two calls that allocate nothing, with a filter that outlives them.
        #[allow(unsafe_code)]
        let done = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
        };
        if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec only what is safe in a signal handler is called.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(install);
    }
    command
}

#[test]
fn without_io_uring_the_portable_engine_serves_with_a_warning() {
    let mut transcripts = Vec::new();
    for refused in [true, false] {
        let command =
            Program::command(&["server", "127.0.0.1", "0", "--engine", if refused { "auto" } else { "portable" }]);
        let mut server = Program::spawn(if refused { without_io_uring(command) } else { command });
        let line = server.stdout.next();
        let address = line.strip_prefix("TCP Server started on ").expect(&line).parse().unwrap();
        let mut peer = Peer::connect(address);
        peer.ask("hello");
        peer.send("the last, without newline");
        peer.finish();
        assert_eq!(peer.rest(), b"Server received: the last, without newline");
        server.stdout.until("Connection closed");
        server.signal(rustix::process::Signal::TERM);
        let port = peer.0.local_addr().unwrap().port().to_string();
        let rest = server.stdout.rest().join("\n").replace(&port, "PORT");
        transcripts.push(rest);
        let (code, stderr) = server.end();
        assert_eq!(code, Some(0), "{stderr}");
        let says_so =
            "resound: warning: the portable engine serves, for io_uring is not available: the system forbids it";
        assert!(if refused { stderr.starts_with(says_so) } else { stderr.is_empty() }, "{stderr}");
        assert!(stderr.lines().count() <= 1, "{stderr}");
    }
    assert_eq!(transcripts[0], transcripts[1]);
}

#[test]
fn a_handle_has_the_engine_and_the_reason_of_its_choice() {
    use resound::{Echo, Engine, Error, RingFaultConfig, Server};
    let refused = RingFaultConfig { no_uring: true, ..RingFaultConfig::NONE };
    let server = || Server::new().inject_ring_faults(refused).listen("127.0.0.1:0").unwrap();
    let handle = server().serve(|_| Echo).unwrap();
    assert_eq!((handle.engine(), handle.refusal()), (Engine::Portable, Some("a test refuses it")));
    let refused = server().engine(Engine::Uring).serve(|_| Echo);
    assert!(matches!(refused.err(), Some(Error::Uring(_))));
    let portable = server().engine(Engine::Portable).serve(|_| Echo).unwrap();
    assert_eq!((portable.engine(), portable.refusal()), (Engine::Portable, None));
}

#[test]
fn a_refused_engine_is_an_error_with_a_hint() {
    let server = Program::spawn(without_io_uring(Program::command(&["server", "127.0.0.1", "0", "--engine", "uring"])));
    let (code, stderr) = server.end();
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("io_uring is not available: the system forbids it"), "{stderr}");
    assert!(stderr.contains("--engine portable"), "{stderr}");
}
