//! `resound load` as a user sees it.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::child::{Program, run, wait};
#[cfg(unix)]
use crate::harness::PATIENCE;
use crate::harness::engines;

/// The result, which is the last line of the output.
fn result(stdout: &str) -> Value {
    serde_json::from_str(stdout.lines().last().expect("a result")).expect(stdout)
}

#[test]
fn one_command_shows_the_whole() {
    for engine in engines() {
        let args = ["load", "--loopback", "--engine", engine, "-n", "300", "-c", "3", "--json"];
        let (code, stdout, stderr) = run(&args, b"");
        let stdout = String::from_utf8(stdout).unwrap();
        assert_eq!(code, Some(0), "{stdout}{stderr}");
        let total = &result(&stdout)["total"];
        for (count, n) in [("sent", 300), ("received", 300), ("verified", 300), ("opened", 3), ("errors", 0)] {
            assert_eq!(total[count], n, "{count}: {stdout}");
        }
    }
}

#[test]
fn a_stream_reports_bits_per_second() {
    for (mode, ways) in [("discard", &["sent"][..]), ("chargen", &["received"]), ("echo", &["sent", "received"])] {
        let args = ["load", "--loopback", "--shape", "stream", "--mode", mode, "-d", "300ms", "--interval", "100ms"];
        let (code, stdout, stderr) = run(&args, b"");
        let stdout = String::from_utf8(stdout).unwrap();
        assert_eq!(code, Some(0), "{stdout}{stderr}");
        let rate = stdout.lines().find(|line| line.starts_with("  rate ")).expect(&stdout);
        let lines = stderr.lines().filter(|line| line.contains("bit/s") && line.ends_with("0 errors")).count();
        assert!(lines > 0 && rate.contains("bit/s") && stdout.contains("Over the run"), "{stdout}{stderr}");
        for way in ["sent", "received"] {
            assert_eq!(rate.contains(way), ways.contains(&way), "{mode}: {rate}");
        }
    }
}

#[test]
fn the_mode_of_the_target_is_detected() {
    for (mode, extra) in [("reply", None), ("echo", None), ("chargen", Some("--shape=stream"))] {
        let (_server, address) = Program::server(&["--mode", mode]);
        let address = address.to_string();
        let amount = if extra.is_some() { ["-d", "50ms"] } else { ["-n", "50"] };
        let args = [&["load", &address, "--json"][..], &amount, &extra.into_iter().collect::<Vec<_>>()].concat();
        let (code, stdout, stderr) = run(&args, b"");
        let stdout = String::from_utf8(stdout).unwrap();
        assert_eq!(code, Some(0), "{mode}: {stdout}{stderr}");
        assert!(stdout.to_lowercase().contains(mode), "{mode}: {stdout}");
    }
}

#[test]
fn a_target_that_answers_nothing_is_not_taken_for_one_that_discards() {
    for args in [["--mode", "discard"], ["--fault", "never-read"]] {
        let (_server, address) = Program::server(&args);
        let (code, stdout, stderr) = run(&["load", &address.to_string(), "-n", "50"], b"");
        let stdout = String::from_utf8(stdout).unwrap();
        assert!(code == Some(1) && stdout.ends_with("0.00 msg/s, 1 error\n"), "{stdout}{stderr}");
        assert!(stderr.contains("timeout: the target has not answered one line within 2 s"), "{stderr}");
        assert!(stderr.contains("choose --mode discard; otherwise it may hang"), "{stderr}");
    }
    let (_server, address) = Program::server(&["--mode", "discard"]);
    let (code, _, stderr) = run(&["load", &address.to_string(), "-n", "50", "--mode", "discard"], b"");
    assert_eq!(code, Some(0), "{stderr}");
}

#[test]
fn an_unknown_target_is_reported_with_a_hint() {
    let port = crate::client::basics::foreign(|listener: TcpListener| {
        use std::io::Write;
        // Once it is sent one line, and once it is only listened to.
        for mut peer in listener.incoming().take(2).flatten() {
            let _ = peer.write_all(b"220 mail.example ESMTP\r\n");
            let _ = std::io::copy(&mut peer, &mut std::io::sink());
        }
    });
    let (code, _, stderr) = run(&["load", "127.0.0.1", &port], b"");
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("mismatch: the target speaks first, with 220 mail.example ESMTP"), "{stderr}");
}

#[test]
fn a_target_that_cannot_be_loaded_is_named_with_the_flag_that_helps() {
    let (mut secure, secured) = Program::server(&["--tls"]);
    let print = secure.stdout.until("TLS certificate").rsplit(' ').next().unwrap().to_string();
    let (_plain, plain) = Program::server(&["--mode", "echo"]);
    let (_behind, behind) = Program::server(&["--proxy-protocol", "require", "--proxy-from", "127.0.0.1"]);
    let web = crate::client::basics::foreign(|listener: TcpListener| {
        use std::io::{Read, Write};
        let (mut peer, _) = listener.accept().unwrap();
        let _ = peer.read(&mut [0; 1024]);
        let _ = peer.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    });
    let (other, web) = ("0".repeat(64), format!("127.0.0.1:{web}"));
    let [secured, plain, behind] = [secured, plain, behind].map(|address| address.to_string());
    for (args, class, what, advice) in [
        (&[&secured[..]][..], "tls", "the target speaks TLS", "--tls"),
        (&[&secured, "--tls"], "tls", "no trusted authority has signed", "--pin"),
        (&[&secured, "--tls", "--mode=reply", "--shape=connect"], "tls", "no trusted authority has signed", "--pin"),
        (&[&secured, "--tls", "--pin", &other], "tls", "is not the pinned one", "compare its fingerprint"),
        (&[&plain, "--tls", "--insecure"], "tls", "the peer does not speak TLS", "leave --tls out"),
        (&[&behind], "reset", "reset the connection", "--send-proxy"),
        (&[&plain, "--send-proxy", "v1"], "mismatch", "answered the PROXY header", "leave out --send-proxy"),
        (&[&web], "mismatch", "is an HTTP server", "HTTP has its own generators"),
    ] {
        let (code, stdout, stderr) = run(&[&["load", "--json"][..], args].concat(), b"");
        let failure = &result(std::str::from_utf8(&stdout).unwrap())["failures"][0];
        assert_eq!((code, &failure["class"]), (Some(1), &json!(class)), "{args:?}: {stderr}");
        assert!(stderr.contains(what) && stderr.contains(advice), "{args:?}: {stderr}");
    }
    let pinned = ["load", &secured, "--tls", "--pin", &print, "-n", "50", "--json"];
    let (code, stdout, stderr) = run(&pinned, b"");
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(result(std::str::from_utf8(&stdout).unwrap())["total"]["verified"], 50);
    let (code, stdout, stderr) = run(&["load", &secured, "--tls", "--insecure", "-n", "50"], b"");
    let stdout = String::from_utf8(stdout).unwrap();
    assert_eq!(code, Some(0), "{stderr}");
    for text in [&stderr, &stdout] {
        assert!(text.contains("certificate") && text.contains("not checked"), "{text}");
    }
}

#[test]
fn one_command_shows_it_behind_a_proxy_header_and_tls() {
    for engine in engines() {
        let flags = ["--tls", "--tls-group", "x25519", "--send-proxy", "v2,src=192.0.2.7:4000"];
        let args = ["load", "--loopback", "--engine", engine, "--shape", "connect", "-n", "30", "-c", "3", "--json"];
        let (code, stdout, stderr) = run(&[&args[..], &flags].concat(), b"");
        let result = result(std::str::from_utf8(&stdout).unwrap());
        assert_eq!(code, Some(0), "{stderr}");
        assert_eq!((&result["total"]["verified"], &result["total"]["errors"]), (&json!(30), &json!(0)));
        for times in ["connect", "handshake"] {
            assert_eq!(result["total"][times]["count"], result["total"]["opened"]);
        }
        let tls = json!({"checked": true, "resumes": false, "version": "TLSv1.3", "group": "x25519",
                         "cipher_suite": "TLS_AES_256_GCM_SHA384"});
        assert_eq!((&result["settings"]["tls"], &result["settings"]["proxy"]), (&tls, &json!(2)));
    }
    for args in [&["--loopback", "--tls", "--insecure"][..], &["--tls-resume", "on"], &["--tls", "--tls-group", "none"]]
    {
        let (code, _, stderr) = run(&[&["load"][..], args].concat(), b"");
        assert_eq!(code, Some(2), "{args:?}: {stderr}");
    }
}

#[test]
fn nothing_to_connect_to_is_a_network_failure() {
    let (_held, address) = crate::client::connecting::closed_port();
    let port = address.port().to_string();
    for mode in [&["--mode", "echo"][..], &[]] {
        let (code, _, stderr) = run(&[&["load", "127.0.0.1", &port][..], mode].concat(), b"");
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains("refused"), "{stderr}");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_prints_the_results_so_far() {
    let (mut server, address) = Program::server(&["--mode", "echo"]);
    let address = address.to_string();
    let mut command = Program::command(&["load", &address, "--mode", "echo", "-d", "1h", "--json"]);
    let load = Program::spawn({
        command.stdin(std::process::Stdio::null());
        command
    });
    // It is at work once the server has logged a few messages.
    (0..20).for_each(|_| drop(server.stdout.until("Received ")));
    load.signal(rustix::process::Signal::INT);
    let mut load = load;
    let stdout = load.stdout.rest().join("\n");
    assert_eq!(wait(&mut load.child).code(), Some(130));
    let result = result(&stdout);
    assert!(result["total"]["received"].as_u64().is_some_and(|received| received >= 19), "{stdout}");
    assert_eq!(result["total"]["sent"], result["total"]["received"], "{stdout}");
}

#[cfg(unix)]
#[test]
fn a_server_of_our_own_does_not_outlive_us() {
    use std::io::Read;
    let mut load =
        Program::spawn(Program::command(&["load", "--loopback", "-d", "1h", "--json", "--interval", "100ms"]));
    load.stdout.next();
    load.signal(rustix::process::Signal::KILL);
    // The server writes to the same stderr, which ends once both are gone.
    let mut stderr = load.child.stderr.take().unwrap();
    let (send, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || send.send(stderr.read_to_end(&mut Vec::new()).is_ok()));
    assert_eq!(ended.recv_timeout(PATIENCE), Ok(true));
}

#[test]
fn a_run_without_a_reader_ends() {
    let args = ["load", "--loopback", "-r", "100", "-d", "1h", "--json", "--interval", "100ms", "--quiet"];
    let mut child = Program::command(&args).spawn().unwrap();
    let mut line = String::new();
    // As `| head -1` does.
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("\"event\":\"interval\""), "{line}");
    assert_eq!(wait(&mut child).code(), Some(0));
}

#[test]
fn a_ramp_reports_what_it_raised() {
    let steps = ["--shape", "ramp", "--steps", "1c..2c+1c", "--every", "100ms", "--until", "p99>1h"];
    let (code, stdout, stderr) = run(&[&["load", "--loopback", "--json"][..], &steps].concat(), b"");
    assert_eq!(code, Some(0), "{stderr}");
    let result: Value = serde_json::from_slice(&stdout).unwrap();
    let want = json!({"raises": "connections", "from": 1.0, "to": 2.0, "by": 1.0, "every_s": 0.1, "until": ["p99>1h"]});
    assert_eq!(result["settings"]["ramp"], want);
    let (code, stdout, stderr) = run(&[&["load", "--loopback"][..], &steps].concat(), b"");
    let stdout = String::from_utf8(stdout).unwrap();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("ramp, 1 to 2 connections by 1, a step every 100 ms until"), "{stdout}");
    assert!(stdout.contains("\n  2 connections "), "{stdout}");
}

#[cfg(target_os = "linux")]
#[test]
fn too_few_descriptors_are_reported_at_the_start() {
    let program = env!("CARGO_BIN_EXE_resound");
    let script = format!("ulimit -n 100; exec {program} load 127.0.0.1 1 --mode echo -c 200");
    let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("200 connections need more") && stderr.contains("`ulimit -n 512`"), "{stderr}");
    // Besides them there are queues of events, for a few workers, and the program's own files.
    let most = stderr.split_once(" at most").and_then(|(before, _)| before.rsplit(' ').next()).expect(&stderr);
    assert!((36..96).contains(&most.parse::<u32>().unwrap()), "{stderr}");
}

#[test]
fn flags_that_do_not_go_together_are_refused() {
    for args in [
        &["--shape", "ramp"][..],
        &["--shape", "ramp", "--steps", "1..5+1", "-d", "1s"],
        &["--shape", "stream", "--rate", "5"],
        &["--each", "3"],
        &["-n", "3", "-c", "5"],
        &["--rate", "5", "--think-time", "1s"],
        &["--every", "1s"],
        &["--arrivals", "poisson"],
        &["--mode", "discard", "--think-time", "1ms"],
        &["--shape", "ramp", "--steps", "1..5+1", "--think-time", "1s"],
        &["unix:/no/such/socket", "--source", "127.0.0.2"],
        &["--loopback", "localhost"],
        &["::1", "--mode", "echo", "--ipv4"],
        &["--shape", "ramp", "--steps", "9..1+1"],
        &["--size", "9..1"],
    ] {
        let (code, _, stderr) = run(&[&["load"][..], args].concat(), b"");
        assert_eq!(code, Some(2), "{args:?}: {stderr}");
        assert!(stderr.len() > 20, "{stderr}");
    }
}

/// docs/load.md lists for each flag the flags that it conflicts with. The program reports each
/// conflict in one line that names both.
#[test]
fn flags_that_exclude_each_other_are_in_the_guide_and_refused() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/load.md")).unwrap();
    let tables = readme.split("| Default | Not with |\n").skip(1);
    // A value for each flag that takes one.
    let typed = |flag: &str| -> Vec<String> {
        let value = match flag {
            "--rate" | "--depth" | "--connections" | "--workers" => "5",
            "--messages" | "--size" => "64",
            "--duration" | "--think-time" | "--busy-poll" => "1s",
            "--shape ramp" => return ["--shape", "ramp", "--steps", "1..5+1"].map(String::from).to_vec(),
            "--timestamps" => "kernel",
            "--send-proxy" => "v1",
            "--steps of a rate" => return ["--shape", "ramp", "--steps", "1..5+1"].map(String::from).to_vec(),
            "--steps of connections" => return ["--shape", "ramp", "--steps", "1c..5c+1c"].map(String::from).to_vec(),
            _ => return flag.split(' ').map(String::from).collect(),
        };
        vec![flag.into(), value.into()]
    };
    let mut pairs = Vec::new();
    for row in tables.flat_map(|table| table.lines().take_while(|row| row.starts_with('|'))) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let (first, last) = (cells[0], *cells.last().unwrap());
        let flag = first.split('`').nth(1).unwrap_or_default().split(' ').next().unwrap();
        for part in last.split([',', ':']).map(str::trim).filter(|part| part.starts_with("`--")) {
            pairs.push((flag.to_string(), part.replace('`', "")));
        }
    }
    assert!(pairs.len() >= 18, "{pairs:?}");
    for (flag, other) in pairs {
        let args: Vec<_> = typed(&flag).into_iter().chain(typed(&other)).collect();
        let loopback = if flag == "--loopback" { "--quiet" } else { "--loopback" };
        let args: Vec<&str> = ["load", loopback].into_iter().chain(args.iter().map(String::as_str)).collect();
        let (code, stdout, stderr) = run(&args, b"");
        assert_eq!((code, stdout.len()), (Some(2), 0), "{args:?}: {stderr}");
        let other = other.split(" of ").next().unwrap();
        assert!(stderr.contains(&flag) && stderr.contains(other), "{args:?}: {stderr}");
        assert!(stderr.contains("Drop one of them"), "{args:?}: {stderr}");
    }
}

#[test]
fn a_flag_that_needs_another_names_it() {
    for (args, wanted) in [
        (
            &["--shape", "ramp"][..],
            "--shape ramp takes --steps, such as --steps 1000..20000+1000: add that, or drop --shape ramp",
        ),
        (&["--steps", "1..5+1"], "--steps takes --shape ramp: add that, or drop --steps"),
        (&["--every", "1s"], "--every takes --shape ramp"),
        (&["--until", "errors>0"], "--until takes --shape ramp"),
        (&["--each", "3"], "--each takes --shape connect"),
        (&["--arrivals", "poisson"], "--arrivals takes --rate, or --steps of a rate"),
        (&["-n", "3", "-c", "5"], "3 --messages are too few for 5 --connections"),
        (&["--shape", "ramp", "--steps", "9..1+1"], "'9..1+1' goes down"),
    ] {
        let (code, _, stderr) = run(&[&["load", "--loopback"][..], args].concat(), b"");
        assert!(code == Some(2) && stderr.contains(wanted), "{args:?}: {stderr}");
    }
}

#[test]
fn a_source_of_another_machine_is_refused_at_the_start() {
    // An address of TEST-NET-1 (RFC 5737), which no machine has.
    for source in ["192.0.2.1", "192.0.2.1-192.0.2.3"] {
        let (code, stdout, stderr) = run(&["load", "--loopback", "--source", source, "-n", "10"], b"");
        assert_eq!((code, stdout.len()), (Some(2), 0), "{stderr}");
        assert!(stderr.contains("--source 192.0.2.1 is not an address of this machine"), "{stderr}");
    }
    let (code, _, stderr) = run(&["load", "::1", "1", "--mode", "echo", "--source", "127.0.0.1"], b"");
    assert!(code == Some(2) && stderr.contains("--source 127.0.0.1 cannot reach [::1]:1"), "{stderr}");
}

#[cfg(unix)]
#[test]
fn an_error_of_a_unix_socket_names_its_path() {
    for command in ["load", "client", "test"] {
        let (code, _, stderr) = run(&[command, "unix:/nowhere/at/all"], b"");
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains("Nothing listens on that path") && !stderr.contains("port"), "{command}: {stderr}");
    }
}
