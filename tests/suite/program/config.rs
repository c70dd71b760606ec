//! A file and variables instead of flags, and what a reload changes, with the program itself.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::child::{Program, run, wait};
use crate::tls::trust::write_pem;

/// A file that changes.
struct ConfigFile {
    folder: TempDir,
}

impl ConfigFile {
    fn new(text: &str) -> Self {
        let file = Self { folder: TempDir::new().unwrap() };
        file.write(text);
        file
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("resound.toml")
    }

    fn name(&self) -> String {
        self.path().to_str().unwrap().into()
    }

    fn write(&self, text: &str) {
        let new = self.path().with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.path()).unwrap();
    }
}

/// Runs the program with variables: exit code, stdout, stderr.
fn run_with(args: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = Program::command(args);
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn what_holds_is_printed_and_means_the_same_when_it_is_read() {
    let file = ConfigFile::new("[server]\nmode = 'echo'\nallow = ['::1']\ndrain-timeout = '1h'\nport = 1\n");
    let variables = [("RESOUND_SERVER_ALLOW", "10.0.0.0/8,::2"), ("RESOUND_SERVER_WORKERS", "2")];
    let args = ["server", "--config", &file.name(), "9999", "--print-config"];
    let (code, printed, stderr) = run_with(&args, &variables);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let said: Vec<_> = printed.lines().filter(|line| !line.starts_with('#')).collect();
    let name = file.name();
    let want = [
        ("[server]", String::new()),
        ("port = 9999", "the command line".into()),
        ("mode = \"echo\"", format!("{name}, line 2, column 1")),
        ("drain-timeout = \"1h\"", format!("{name}, line 4, column 1")),
        ("workers = 2", "the environment (RESOUND_SERVER_WORKERS)".into()),
        ("allow = [\"10.0.0.0/8\", \"::2\"]", "the environment (RESOUND_SERVER_ALLOW)".into()),
    ];
    assert_eq!(said.len(), want.len(), "{printed}");
    for (line, (value, origin)) in said.iter().zip(&want) {
        assert!(line.starts_with(value) && line.ends_with(origin.as_str()), "{line}");
    }
    let left_out = format!("# left out of {name}, line 5, column 1: the command line has the last word");
    assert!(printed.lines().any(|line| line.starts_with("# port = 1 ") && line.ends_with(&left_out)), "{printed}");
    let again = ConfigFile::new(&printed);
    let (code, twice, _) = run_with(&["server", "--config", &again.name(), "--print-config"], &[]);
    let values = |text: &str| -> Vec<String> {
        let said = text.lines().filter(|line| !line.starts_with('#'));
        said.map(|line| line.split(" #").next().unwrap().trim().into()).collect()
    };
    assert_eq!((code, values(&twice)), (Some(0), values(&printed)));
}

#[test]
fn mistakes_are_printed_with_their_lines() {
    let file = ConfigFile::new("[server]\nmode = 'eco'\ndrain-timeout = \"5x\"\nalow = []\n");
    let (code, stdout, stderr) = run(&["server", "0", "--config", &file.name()], b"");
    assert_eq!((code, stdout.len()), (Some(2), 0), "{stderr}");
    let name = file.name();
    let want = format!(
        "resound: {name}, line 2, column 8: invalid value 'eco' for '--mode <MODE>'\n  \
         [possible values: reply, echo, discard, chargen]\n\n  tip: a similar value exists: 'echo'\n  \
         mode = 'eco'\n         ^^^^^\n\
         resound: {name}, line 3, column 17: invalid value '5x' for '--drain-timeout <DURATION>': \
         '5x' is not a duration; write it like 500ms, 10s or 5m\n  \
         drain-timeout = \"5x\"\n                  ^^^^\n\
         resound: {name}, line 4, column 1: there is no `alow` in [server]: perhaps `allow` was meant\n  \
         alow = []\n  ^^^^\n"
    );
    assert_eq!(stderr, want);
    let (code, _, stderr) = run_with(&["server", "0"], &[("RESOUND_SERVER_ALOW", "::1")]);
    let want = "resound: RESOUND_SERVER_ALOW: there is no such variable: perhaps RESOUND_SERVER_ALLOW was meant\n";
    assert_eq!((code, stderr.as_str()), (Some(2), want));
    // What several flags say together names their places.
    let file = ConfigFile::new("[server]\nframing = 'line'\n");
    let (code, _, stderr) = run(&["server", "0", "--mode", "echo", "--config", &file.name()], b"");
    assert_eq!(code, Some(2));
    let want = format!("\n  framing comes from {}, line 2, column 1\n", file.name());
    assert!(stderr.starts_with("resound: --framing and --max-line concern") && stderr.ends_with(&want), "{stderr}");
    let (code, _, stderr) = run_with(&["report", "x.json"], &[("RESOUND_SERVER_ALOW", "1"), ("RESOUND_OTHER", "1")]);
    assert!(code == Some(2) && !stderr.contains("RESOUND_"), "{stderr}");
}

#[test]
fn a_configuration_is_checked_without_a_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let folder = TempDir::new().unwrap();
    let (pem, key) = write_pem(folder.path(), "one", &["one.example"]);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    std::fs::write(path("faults"), "[[fault]]\nspec = 'rest'\n").unwrap();
    let good = format!("port = {port}\ntls = true\ncert = '{pem}'\nkey = '{key}'\nrecord = '{}'", path("record"));
    let check = |command: &str, text: &str| {
        let file = ConfigFile::new(&format!("[{command}]\n{text}"));
        let (code, stdout, stderr) = run(&[command, "--config", &file.name(), "--check-config"], b"");
        (code, String::from_utf8(stdout).unwrap(), stderr.replace(&file.name(), "FILE"))
    };
    let right = (Some(0), "The configuration is right.\n".to_string(), String::new());
    assert_eq!(check("server", &good), right);
    assert!(!std::fs::exists(path("record")).unwrap(), "it writes nothing");
    assert_eq!(check("relay", &format!("target = 'none.invalid:1'\nlisten = '{port}'")), right);
    for command in ["client", "test", "load"] {
        assert_eq!(check(command, "port = 1"), right, "{command}");
    }
    let refused = |text: &str, words: &str, note: &str| {
        let (code, stdout, stderr) = check("server", text);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
        assert!(stderr.contains(words) && stderr.contains(note), "{stderr}");
    };
    let wrong_pair = good.replace(&key, &pem);
    refused(&wrong_pair, "no private key in PEM form", "\n  key comes from FILE, line 5, column 1\n");
    let faults = format!("faults = '{}'", path("faults"));
    refused(&faults, "line 2: 'rest' is not a fault", "\n  faults comes from FILE, line 2, column 1\n");
    refused("replay = '/none'", "--replay /none: ", "\n  replay comes from FILE, line 2, column 1\n");
    refused("fault = 'dial-refuse'", "dial-refuse", "");
    let [log, none] = [path("log"), path("none/log")];
    refused(
        &format!("log-file = '{none}'"),
        "Make its folder first",
        "\n  log-file comes from FILE, line 2, column 1\n",
    );
    assert_eq!(check("server", &format!("log-file = '{log}'")), right);
    #[cfg(unix)]
    {
        let link = path("link");
        std::os::unix::fs::symlink("log", &link).unwrap();
        assert_eq!(check("server", &format!("log-file = '{link}'")), right, "it leads to a file to be made");
    }
    assert!(!std::fs::exists(log).unwrap(), "it writes nothing");
    refused("host = '0.0.0.0'\nproxy-protocol = 'require'", "needs --proxy-from", "\n  proxy-protocol comes from FILE");
    refused("unix-mode = 0o660", "without an address like unix:/path", "\n  unix-mode comes from FILE");
}

#[test]
fn a_loopback_server_is_that_of_the_run_whatever_the_environment_says() {
    let variables =
        [("RESOUND_SERVER_MODE", "discard"), ("RESOUND_SERVER_DENY", "127.0.0.0/8"), ("RESOUND_LOAD_MESSAGES", "3")];
    let (code, stdout, stderr) = run_with(&["load", "--loopback", "--json", "--engine", "portable"], &variables);
    assert_eq!(code, Some(0), "{stderr}");
    let document: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert!(document.to_string().contains("echo"), "{document}");
}

#[test]
fn a_server_starts_with_what_its_file_says() {
    let file = ConfigFile::new("[server]\nhost = '127.0.0.1'\nport = 0\nmode = 'echo'\nlog-format = 'json'\n");
    let mut server = Program::spawn(Program::command(&["server", "--config", &file.name(), "--log-format=text"]));
    let line = server.stdout.next();
    let address = line.strip_prefix("TCP Server started on 127.0.0.1:").expect(&line);
    assert_eq!(run(&["client", address], b"bytes").1, b"bytes");
    server.child.kill().unwrap();
    wait(&mut server.child);
}

#[cfg(unix)]
mod reload {
    use std::net::SocketAddr;

    use rustix::process::Signal;
    use serde_json::Value;

    use super::ConfigFile;
    use crate::child::{Lines, Program};
    use crate::harness::{Peer, engines};
    use crate::tls::trust::write_pem;

    /// A server or a relay with a configuration, and the lines of its stderr.
    struct Reloading {
        program: Program,
        stderr: Lines,
        address: SocketAddr,
        file: ConfigFile,
    }

    impl Reloading {
        fn start(command: &str, text: &str, args: &[&str]) -> Self {
            let file = ConfigFile::new(&format!("[{command}]\n{text}"));
            let mut program = Program::spawn(Program::command(&[&[command, "--config", &file.name()], args].concat()));
            let stderr = Lines::of(program.child.stderr.take().unwrap());
            let line = program.stdout.until("TCP ");
            let address = line.split(' ').find_map(|word| word.trim_end_matches(',').parse().ok()).expect(&line);
            program.stdout.until("Waiting for client connections...");
            Self { program, stderr, address, file }
        }

        fn connect(&self) -> Peer {
            Peer::connect(self.address)
        }

        /// Reloads, and returns what the server says of it.
        fn reload(&mut self, text: &str) -> String {
            self.file.write(text);
            self.program.signal(Signal::HUP);
            let line = self.program.stdout.until("Configuration reloaded from ");
            line.rsplit_once("resound.toml: ").expect(&line).1.to_string()
        }

        /// Reloads, and returns the mistake.
        fn fail_to_reload(&mut self, text: &str) -> String {
            self.file.write(text);
            self.program.signal(Signal::HUP);
            let line = self.stderr.until("resound: warning: the configuration stays as it was: ");
            line.replace(&self.file.name(), "FILE")
        }

        fn end(self) {
            self.program.signal(Signal::TERM);
            assert_eq!(self.program.end().0, Some(0));
        }
    }

    #[test]
    fn rules_and_limits_change_and_a_mistake_changes_nothing() {
        for engine in engines() {
            let mut server = Reloading::start("server", "port = 0", &["-v", "--engine", engine]);
            let mut open = server.connect();
            open.ask("no rule");
            let denied = "[server]\nport = 0\ndeny = ['127.0.0.0/8']\nmax-connections = 1\n";
            assert_eq!(server.reload(denied), "changed deny, max-connections");
            assert!(server.connect().is_reset());
            let mistake = format!("{denied}idle-timeout = '5x'\n");
            let error = server.fail_to_reload(&mistake.replace("deny = ['127.0.0.0/8']\n", ""));
            assert!(error.contains("FILE, line 4, column 16: invalid value '5x'"), "{error}");
            assert!(server.connect().is_reset(), "the rules stay");
            let error = server.fail_to_reload("[server]\nport = 0\nmode = 'echo'\nframing = 'line'\n");
            assert!(error.contains("--framing and --max-line concern"), "{error}");
            assert!(server.connect().is_reset(), "the rules stay");
            assert_eq!(server.reload(denied), "no change");
            let error = server.fail_to_reload("# half written\n");
            assert!(error.ends_with("its table is gone from the file"), "{error}");
            assert!(server.connect().is_reset(), "the rules stay");

            assert_eq!(server.reload("[server]\nport = 0\nmax-connections = 1\n"), "changed deny");
            let mut second = server.connect();
            second.send("waits\n");
            assert_eq!(server.reload("[server]\nport = 0\n"), "changed max-connections");
            second.expect("Server received: waits\n");
            assert_eq!(server.reload("[server]\nport = 0\nmax-line = 3\n"), "changed max-line");
            let mut longer = server.connect();
            longer.send("longer\n");
            assert_eq!(longer.rest(), b"Error: line longer than 3 bytes\n");
            open.ask("longer, with the limits that it began with");
            assert_eq!(server.reload("[server]\nport = 0\nidle-timeout = '100ms'\n"), "changed idle-timeout, max-line");
            assert!(server.connect().rest().is_empty());
            open.ask("still here");
            assert_eq!(server.reload(denied), "changed deny, idle-timeout, max-connections");
            open.ask("still here");
            drop((open, second));
            server.end();
        }
    }

    #[test]
    fn what_cannot_change_is_named_and_stays_so() {
        let mut server = Reloading::start("server", "port = 0\nworkers = 1", &["--drain-timeout", "1h"]);
        let other = "[server]\nport = 1\nworkers = 2\ntls = true\nmode = 'echo'\nallow = '::1'\ndrain-timeout = 1\n\
                     admin = 9464\nadmin-host = 'web'\n";
        let needs = "admin, admin-host, mode, port, tls, workers";
        assert_eq!(server.reload(other), format!("changed allow; {needs} as before, until a restart"));
        server.stderr.until(&format!("resound: warning: {needs} cannot change without a restart"));
        assert!(server.connect().is_reset(), "the rest holds");
        assert_eq!(server.reload(other), format!("no change; {needs} as before, until a restart"));
        assert_eq!(server.reload("[server]\nport = 0\nworkers = 1\n"), "changed allow");
        server.connect().ask("in plain text, in reply mode");
        server.end();
    }

    #[test]
    fn certificates_and_faults_change_together_or_not_at_all() {
        let folder = tempfile::TempDir::new().unwrap();
        let [one, two] = ["one", "two"].map(|name| write_pem(folder.path(), name, &["localhost"]));
        let text = |(pem, key): &(String, String), more: &str| {
            format!("port = 0\ntls = true\ncert = '{pem}'\nkey = '{key}'\n{more}")
        };
        let whole = |pair, more: &str| format!("[server]\n{}", text(pair, more));
        let faults = "fault = '9: reset'\nseed = 1\n";
        let mut server = Reloading::start("server", &text(&one, faults), &[]);
        server.program.stdout.until("Faults from connection 1 on, seed 1: 9: reset");
        let other = "fault = ['1-: reset @0B']\nseed = 1\n";
        let wrong_pair = (two.0.clone(), one.1.clone());
        let error = server.fail_to_reload(&whole(&wrong_pair, other));
        assert!(error.contains("belongs to another certificate"), "{error}");
        let error = server.fail_to_reload(&whole(&two, "fault = '1-: refuse'\nseed = 1\n"));
        assert!(error.contains("refuse"), "{error}");
        server.file.write(&whole(&two, other));
        server.program.signal(Signal::HUP);
        // Nothing was printed of what failed.
        assert_eq!(server.program.stdout.next(), "Faults from connection 1 on, seed 1: 1-: reset @0B");
        assert!(server.program.stdout.next().starts_with("TLS certificate (reloaded) for localhost"));
        let line = server.program.stdout.next();
        assert!(line.ends_with("resound.toml: changed cert, fault, key"), "{line}");
        server.end();
    }

    #[test]
    fn a_file_of_faults_is_read_again_or_takes_the_place_of_another() {
        let folder = tempfile::TempDir::new().unwrap();
        let write = |name: &str, spec: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, format!("seed = 1\n[[fault]]\nspec = '{spec}'\n")).unwrap();
            format!("port = 0\nfaults = '{}'\n", path.display())
        };
        let (one, two) = (write("one", "9: reset"), write("two", "1-: close @0B"));
        let mut server = Reloading::start("server", &one, &[]);
        server.program.stdout.until("Faults from connection 1 on, seed 1: 9: reset");
        write("two", "1-: clse");
        let error = server.fail_to_reload(&format!("[server]\n{two}deny = '127.0.0.1'\n"));
        assert!(error.contains("--faults") && error.contains("'clse' is not a fault"), "{error}");
        server.connect().ask("as before");
        write("two", "2-: reset @0B");
        assert_eq!(server.reload(&format!("[server]\n{two}")), "changed faults");
        let mut other = server.connect();
        other.send("reset\n");
        assert!(other.is_reset());
        // Without a flag about faults nothing stands ready for them.
        let mut plain = Reloading::start("server", "port = 0", &[]);
        let needs = "no change; fault as before, until a restart";
        assert_eq!(plain.reload("[server]\nport = 0\nfault = '1-: reset @0B'\n"), needs);
        plain.connect().ask("as before");
        plain.end();
        server.end();
    }

    #[test]
    fn trusted_proxies_change() {
        let text =
            |from: &str| format!("port = 0\nproxy-protocol = 'require'\nproxy-from = ['192.0.2.0/24', '{from}']\n");
        let mut server = Reloading::start("server", &text("127.0.0.1"), &[]);
        let header = "PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n";
        let mut peer = server.connect();
        peer.send(header);
        peer.ask("trusted");
        assert_eq!(server.reload(&format!("[server]\n{}", text("127.0.0.2"))), "changed proxy-from");
        // It is reset before it has sent a header: a write could meet that in place of the read.
        assert!(server.connect().is_reset());
        assert_eq!(
            server.reload("[server]\nport = 0\nproxy-protocol = 'require'\n"),
            "no change; proxy-from as before, until a restart",
            "an address that other machines reach would need some"
        );
        server.end();
    }

    #[test]
    fn a_relay_reloads_its_rules_and_faults() {
        let (_target, address) = Program::server(&["-q"]);
        let text = format!("listen = '127.0.0.1:0'\ntarget = '{address}'\n");
        for engine in engines().into_iter().filter(|engine| *engine != "threads") {
            let mut relay =
                Reloading::start("relay", &text, &["--engine", engine, "--seed", "1", "--fault", "99: reset"]);
            relay.connect().ask("through");
            assert_eq!(
                relay.reload(&format!("[relay]\n{text}deny = '127.0.0.1'\nfault = '1: reset'")),
                "changed deny",
                "a flag has the last word"
            );
            assert!(relay.connect().is_reset());
            assert_eq!(
                relay.reload(&format!("[relay]\n{text}connect-timeout = 1\nsend-proxy = 'v2'\n")),
                "changed deny; connect-timeout, send-proxy as before, until a restart"
            );
            relay.connect().ask("through again");
            relay.end();
        }
    }

    #[test]
    fn a_reload_is_an_event_of_the_log_and_never_a_drain() {
        let file = ConfigFile::new("[server]\nport = 0\n");
        let args = ["server", "--config", &file.name(), "--log-format", "json"];
        let mut server = Program::spawn(Program::command(&args));
        let event = |server: &mut Program, name: &str| -> Value {
            let lines = std::iter::repeat_with(|| serde_json::from_str::<Value>(&server.stdout.next()).unwrap());
            { lines }.find(|event| event["event"] == name).unwrap()
        };
        let started = event(&mut server, "started");
        let mut peer = Peer::connect(started["address"].as_str().unwrap().parse().unwrap());
        peer.ask("hello");
        for (text, changed, needs_restart) in [
            ("[server]\nport = 0\n", "[]", "[]"),
            ("[server]\nport = 0\nallow = ['127.0.0.1', '::1']\nbusy-poll = '1us'\n", "[\"allow\"]", "[\"busy-poll\"]"),
        ] {
            file.write(text);
            server.signal(Signal::HUP);
            let event = event(&mut server, "reloaded");
            assert_eq!(event["file"], file.name());
            assert_eq!([&event["changed"], &event["needs_restart"]].map(Value::to_string), [changed, needs_restart]);
            peer.ask("still here");
        }
        server.signal(Signal::TERM);
        event(&mut server, "draining");
        drop(peer);
        assert_eq!(server.end().0, Some(0));
    }
}
