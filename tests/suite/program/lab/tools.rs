//! Each defect, as programs that are not ours show it. `cargo test -- --ignored lab::tools`.

use std::path::Path;

use tempfile::TempDir;

use super::{has, lab};

/// A file of 1 MiB in a folder of its own, which the far end serves.
fn served() -> TempDir {
    let folder = TempDir::new().unwrap();
    let bytes: Vec<u8> = (0..1 << 20).map(|at: u32| (at ^ (at >> 8)) as u8).collect();
    std::fs::write(folder.path().join("file"), bytes).unwrap();
    folder
}

/// Runs a script in the near end while the far end serves the folder over HTTP on port 8000; more
/// for the far end runs first, in that folder. Stdout and stderr, and the exit code.
fn with_http(folder: &Path, defects: &str, more: &str, script: &str) -> (Option<i32>, String) {
    let far = format!("cd {}; {more}\nexec python3 -m http.server 2> log", folder.display());
    let script = format!("cd {}; {script}", folder.display());
    let args = ["--seed", "1", "--defect", defects, "--far", &far, "--", "sh", "-c", &script];
    let (code, stdout, stderr) = lab(&args);
    (code, format!("{stdout}\n{stderr}"))
}

const GET: &str = "curl -sS -m 20 -o got http://10.77.0.2:8000/file";

/// The number in front of a word.
fn before(text: &str, word: &str) -> f64 {
    let end = text.find(word).unwrap_or_else(|| panic!("no {word} in {text}"));
    text[..end].split([' ', '/', '+', '\n', '=']).rfind(|word| !word.is_empty()).unwrap().parse().expect(text)
}

/// The value of a counter of nstat.
fn counter(text: &str, name: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn ping(defects: &str, args: &str) -> String {
    let ping = format!("ping {args} 10.77.0.2 2>&1");
    lab(&["--seed", "1", "--defect", defects, "--", "sh", "-c", &ping]).1
}

/// Average round trip of ping, in milliseconds.
fn average(text: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with("rtt ")).unwrap_or_else(|| panic!("{text}"));
    line.split(['=', '/']).nth(5).unwrap().parse().unwrap_or_else(|_| panic!("{line}"))
}

#[test]
#[ignore = "needs ping; docs/testing.md"]
fn ping_shows_loss_duplicates_delay_and_jitter() {
    if !has("ping", "defects as ping shows them") {
        return;
    }
    let lost = before(&ping("up: loss=20%", "-q -i 0.005 -c 400"), "% packet loss");
    assert!((12.0..28.0).contains(&lost), "{lost} %");
    let lost = before(&ping("loss=1%/20%/100%/0%", "-q -i 0.005 -c 400"), "% packet loss");
    assert!(lost > 3.0, "{lost} %");
    let text = ping("down: duplicate=10%", "-i 0.005 -c 200");
    assert!(text.matches("(DUP!)").count() >= 5, "{text}");
    let text = ping("up: delay=30ms; down: delay=10ms", "-q -i 0.05 -c 10");
    assert!(average(&text) >= 40.0, "{text}");
    let text = ping("up: jitter=40ms", "-q -i 0.05 -c 40");
    assert!(average(&text) >= 8.0 && average(&text) < 100.0, "{text}");
}

#[test]
#[ignore = "needs ping; docs/testing.md"]
fn ping_shows_the_mtu_with_and_without_icmp() {
    if !has("ping", "an MTU as ping shows it") {
        return;
    }
    let text = ping("mtu=1400", "-M do -s 1400 -c 1 -W 2");
    assert!(text.contains("mtu = 1400") || text.contains("mtu=1400"), "{text}");
    let text = ping("mtu=1400 silent", "-M do -s 1400 -c 1 -W 1");
    assert!(text.contains("100% packet loss") && !text.contains("mtu"), "{text}");
    let text = ping("mtu=1400 silent", "-M do -s 1300 -c 1 -W 5");
    assert!(text.contains(" 0% packet loss"), "{text}");
    let text = ping("up: mtu=1400 silent", "-M do -s 1400 -c 1 -W 1");
    assert!(text.contains("100% packet loss"), "{text}");
}

#[test]
#[ignore = "needs curl and nstat; docs/testing.md"]
fn nstat_shows_reordering_and_wrong_checksums() {
    if !has("nstat", "defects as nstat shows them") || !has("curl", "defects as nstat shows them") {
        return;
    }
    let folder = served();
    for (defects, name) in [
        ("down: reorder=5% length=1000..", "TcpExtTCPOFOQueue"),
        ("down: loss=2%", "TcpExtTCPOFOQueue"),
        ("down: corrupt-checksum=2%", "TcpInCsumErrors"),
        ("1: up: syn-loss=100% flags=syn @packet=1; ", "TcpRetransSegs"),
    ] {
        let defects = if defects.contains("syn-loss") { "up: syn-loss=50%" } else { defects };
        let script = format!(
            "{GET}; for i in 1 2 3 4; do curl -s -o again http://10.77.0.2:8000/file; done; \
             nstat -az {name}; cmp got file && echo same"
        );
        let (code, text) = with_http(folder.path(), defects, "", &script);
        assert!(counter(&text, name) > 0.0, "{defects}: {code:?} {text}");
        assert!(text.contains("same"), "{defects}: {text}");
    }
}

#[test]
#[ignore = "needs curl; docs/testing.md"]
fn curl_shows_bad_memory_in_the_path() {
    if !has("curl", "a changed payload as curl shows it") || !has("nstat", "a changed payload") {
        return;
    }
    let folder = served();
    let script = format!("{GET}; cmp got file || echo differs; nstat -az TcpInCsumErrors");
    let (_, text) = with_http(folder.path(), "down: corrupt-payload=1% length=1000..", "", &script);
    assert!(text.contains("differs") && counter(&text, "TcpInCsumErrors") == 0.0, "{text}");
}

#[test]
#[ignore = "needs openssl; docs/testing.md"]
fn openssl_shows_bad_memory_in_the_path() {
    if !has("openssl", "a changed payload as openssl shows it") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let far = format!(
        "cd {}; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem \
         -days 1 -subj /CN=far 2> log; exec openssl s_server -accept 4433 -cert cert.pem -key key.pem -www > log 2>&1",
        folder.path().display()
    );
    let near = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | openssl s_client -connect 10.77.0.2:4433 -quiet 2>&1";
    let run = |defects: &str| lab(&["--defect", defects, "--seed", "1", "--far", &far, "--", "sh", "-c", near]).1;
    let whole = run("mtu=9000");
    assert!(whole.contains("Secure Renegotiation IS"), "{whole}");
    let bad = run("down: corrupt-payload=100% length=200.. @1KiB");
    assert!(bad.contains("bad record mac") || bad.contains("decrypt"), "{bad}");
}

#[test]
#[ignore = "needs curl and ping; docs/testing.md"]
fn curl_shows_a_rate_and_ping_its_queue() {
    if !has("curl", "a rate as curl shows it") || !has("ping", "a queue as ping shows it") {
        return;
    }
    let folder = served();
    let script = "ping -q -i 0.05 -c 30 10.77.0.2 & curl -sS -o got -w '%{speed_download} speed\\n' \
                  http://10.77.0.2:8000/file; wait";
    let (_, text) = with_http(folder.path(), "down: rate=500KiB/s queue=200KiB", "", script);
    let speed = before(&text, " speed");
    assert!((200_000.0..530_000.0).contains(&speed), "{speed} B/s: {text}");
    // A queue of 200 KiB is 400 ms long at that rate.
    assert!(average(&text) > 20.0, "{text}");
}

#[test]
#[ignore = "needs curl; docs/testing.md"]
fn curl_hangs_in_an_mtu_black_hole_and_in_a_black_hole() {
    if !has("curl", "black holes as curl shows them") {
        return;
    }
    let folder = served();
    let small = "echo small > small; curl -sS -m 20 http://10.77.0.2:8000/small";
    let get = "curl -sS -m 3 -o got -w '%{size_download} bytes\\n' http://10.77.0.2:8000/file";
    let (code, text) = with_http(folder.path(), "down: mtu=1400 silent", "", &format!("{small}; {get}"));
    assert!(code == Some(28) && text.contains("small\n"), "{code:?} {text}");
    let (code, text) = with_http(folder.path(), "down: blackhole @64KiB", "", get);
    assert_eq!(code, Some(28), "{text}");
    assert!((10_000.0..70_000.0).contains(&before(&text, " bytes")), "{text}");
}

#[test]
#[ignore = "needs curl; docs/testing.md"]
fn curl_shows_resets_of_a_box_and_what_a_cap_and_half_a_firewall_do() {
    if !has("curl", "resets as curl shows them") || !has("ss", "half a firewall as ss shows it") {
        return;
    }
    let folder = served();
    let get = "curl -sS -m 3 -o got http://10.77.0.2:8000/file";
    let (code, text) = with_http(folder.path(), "rst-inject @64KiB", "", get);
    assert!(code == Some(56) && text.contains("reset"), "{code:?} {text}");
    let hold = "python3 -c 'import socket,time; s=[socket.create_connection((\"10.77.0.2\",8000)) for i in range(2)]; \
                print(\"held\",flush=True); time.sleep(60)' > held & until grep -q held held; do :; done";
    let (code, text) = with_http(folder.path(), "cap=2 reset", "", &format!("{hold}; {get}"));
    assert!(matches!(code, Some(7 | 56)), "{code:?} {text}");
    let (code, text) = with_http(folder.path(), "cap=2", "", &format!("rm held; {hold}; {get}"));
    assert_eq!(code, Some(28), "{text}");
    let look = "(until ss -Htn state syn-recv | grep -q 8000; do :; done; echo seen > half) &";
    let (code, text) = with_http(folder.path(), "up: asymmetric-conntrack", look, &format!("{get}; cat half"));
    assert!(text.contains("seen"), "{code:?} {text}");
}

#[test]
#[ignore = "needs ss; docs/testing.md"]
fn ss_shows_which_options_a_box_takes_away() {
    if !has("ss", "options as ss shows them") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path().display();
    let serve = "python3 -c 'import socket,subprocess\ns=socket.create_server((\"10.77.0.2\",8000))\nc,_=s.accept()\n\
                 \
                 c.recv(1)\nopen(\"far\",\"w\")\
                 .write(subprocess.getoutput(\"ss -Htino sport = :8000\"))\nc.send(b\"x\")\nc.recv(1)'";
    let far = format!("cd {path}; sysctl -qw net.ipv4.tcp_ecn=1; exec {serve}");
    let near = "sysctl -qw net.ipv4.tcp_ecn=1; python3 -c 'import socket,subprocess\n\
                c=socket.create_connection((\"10.77.0.2\",8000))\nc.send(b\"x\")\nc.recv(1)\n\
                print(subprocess.getoutput(\"ss -Htino dport = :8000\"))'";
    let both = |defects: &str| {
        let (code, stdout, stderr) = lab(&["--defect", defects, "--far", &far, "--", "sh", "-c", near]);
        assert_eq!(code, Some(0), "{stderr}");
        let words = |text: &str| text.split_whitespace().map(String::from).collect::<Vec<_>>();
        (words(&stdout), words(&std::fs::read_to_string(folder.path().join("far")).unwrap()))
    };
    let is_in = |words: &[String], option: &str| words.iter().any(|word| word.split(':').next() == Some(option));
    let (near_words, far_words) = both("mtu=9000");
    for option in ["ts", "sack", "wscale", "ecn"] {
        assert!(is_in(&near_words, option) && is_in(&far_words, option), "{option}: {near_words:?} {far_words:?}");
    }
    for (strip, option) in [("timestamps", "ts"), ("sack", "sack"), ("wscale", "wscale"), ("ecn", "ecn")] {
        let (near_words, far_words) = both(&format!("strip={strip}"));
        assert!(!is_in(&near_words, option) && !is_in(&far_words, option), "{strip}: {near_words:?}");
    }
    let (near_words, far_words) = both("one-sided-strip=timestamps");
    assert!(!is_in(&near_words, "ts") && is_in(&far_words, "ts"), "{near_words:?} {far_words:?}");
    let (near_words, _) = both("mss-clamp=1300");
    let mss = near_words.iter().find_map(|word| word.strip_prefix("mss:")).unwrap();
    assert!(mss.parse::<u32>().unwrap() <= 1300, "{near_words:?}");
}

#[test]
#[ignore = "needs tcpdump; docs/testing.md"]
fn tcpdump_shows_dscp_and_fragments_at_the_far_end() {
    if !has("tcpdump", "packets as tcpdump shows them") || !has("ping", "packets as tcpdump shows them") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path().display();
    let far = format!("cd {path}; exec tcpdump -l -n -v -i eth0 --immediate-mode > dump 2> log");
    let seen = |defects: &str, args: &str| {
        let near = format!(
            "cd {path}; until grep -q listening log; do :; done; ping -c 2 -i 0.2 {args} 10.77.0.2 > p; \
             until grep -q reply dump; do :; done; cat dump"
        );
        let _ = std::fs::remove_file(folder.path().join("log"));
        let (_, stdout, stderr) =
            lab(&["--defect", defects, "--far", &far, "--far-wait", "10ms", "--", "timeout", "20", "sh", "-c", &near]);
        format!("{stdout}\n{stderr}")
    };
    let text = seen("mtu=9000", "-Q 0xb8");
    assert!(text.contains("tos 0xb8"), "{text}");
    let text = seen("up: dscp-bleach", "-Q 0xb8");
    assert!(!text.lines().any(|line| line.contains("tos 0xb8") && line.contains("request")), "{text}");
    let text = seen("up: fragment=576", "-s 1400");
    assert!(text.contains("flags [+]") && text.contains("reply"), "{text}");
}

#[test]
#[ignore = "needs tcpdump and curl; docs/testing.md"]
fn tcpdump_shows_that_unknown_options_are_taken_away() {
    if !has("tcpdump", "unknown options as tcpdump shows them") || !has("curl", "unknown options") {
        return;
    }
    let folder = served();
    let dump = "tcpdump -l -n -i eth0 --immediate-mode tcp > dump 2> log & until grep -q listening log; do :; done";
    // The request for a cookie of TCP Fast Open is an option that an old box does not know.
    let get = "sysctl -qw net.ipv4.tcp_fastopen=3; curl --tcp-fastopen -sS -m 20 -o got http://10.77.0.2:8000/file";
    let has_cookie = |defects: &str| {
        let (_, text) = with_http(folder.path(), defects, dump, &format!("{get}; cmp got file && echo same; cat dump"));
        assert!(text.contains("same"), "{text}");
        text.lines().any(|line| line.contains("Flags [S]") && line.contains("tfo"))
    };
    assert!(has_cookie("mtu=9000"));
    assert!(!has_cookie("strip=all-unknown"));
}

/// A server in the far end that tells each client its address, and then echoes.
const ECHO: &str = "exec python3 -c 'import socket\ns=socket.create_server((\"10.77.0.2\",8000))\nc,peer=s.accept()\n\
                    c.sendall((peer[0]+\" \"+str(peer[1])+\"\\n\").encode())\nwhile True:\n d=c.recv(99)\n\
                    \x20if not d: break\n c.sendall(d)\ntry:\n import time\n time.sleep(WAIT)\n c.sendall(b\"late\")\n\
                    except OSError: pass\nc.close()'";

/// What a client of that server prints; the server waits so many seconds after a half-close.
fn with_echo(defects: &str, wait: &str, rest: &str) -> String {
    let near = format!(
        "import socket,time\nc=socket.create_connection((\"10.77.0.2\",8000))\nc.settimeout(3)\n\
         print(c.recv(99).decode().strip(), c.getsockname()[1])\ntry:\n\
         {rest}except OSError as e: print(type(e).__name__)\n"
    );
    lab(&["--defect", defects, "--far", &ECHO.replace("WAIT", wait), "--", "python3", "-c", &near]).1
}

#[test]
#[ignore = "needs Python; docs/testing.md"]
fn python_shows_a_nat_that_forgets_and_a_fin_that_is_eaten() {
    if !has("python3", "endings as Python shows them") {
        return;
    }
    let echo = " time.sleep(1.5)\n c.sendall(b\"again\")\n print(c.recv(9))\n print(c.recv(9))\n";
    let ports = |defects: &str| {
        let text = with_echo(defects, "0", echo);
        let words: Vec<_> = text.split_whitespace().map(String::from).collect();
        (words[0].clone(), words[1] == words[2])
    };
    assert_eq!(ports("mtu=9000"), ("10.77.0.1".into(), true));
    assert_eq!(ports("nat"), ("10.77.0.254".into(), true));
    assert_eq!(ports("nat ports=changed"), ("10.77.0.254".into(), false));
    let text = with_echo("nat idle-silent=1s", "0", echo);
    assert!(text.contains("imeout"), "{text}");
    let text = with_echo("nat idle-reset=1s", "0", echo);
    assert!(text.contains("ConnectionResetError") || text.contains("BrokenPipe"), "{text}");

    let finish = " c.shutdown(1)\n print(c.recv(9))\n";
    assert!(with_echo("mtu=9000", "1.5", finish).contains("b'late'"));
    let text = with_echo("nat half-closed-idle=1s", "1.5", finish);
    assert!(text.contains("imeout"), "{text}");
    let text = with_echo("up: eat-fin", "0", finish);
    assert!(text.contains("imeout"), "{text}");
}

#[test]
#[ignore = "needs Python; docs/testing.md"]
fn python_shows_black_holes_after_a_time_and_after_packets() {
    if !has("python3", "black holes as Python shows them") {
        return;
    }
    let count = |defects: &str| {
        let rest = " for i in range(40):\n  c.sendall(b\"x\")\n  c.recv(9)\n  print(\"echo\")\n  time.sleep(0.05)\n";
        with_echo(defects, "0", rest).matches("echo").count()
    };
    assert_eq!(count("mtu=9000"), 40);
    assert!((5..30).contains(&count("blackhole @1s")));
    assert!((3..20).contains(&count("up: blackhole @packet=20")));
}

#[test]
#[ignore = "needs tcpdump and curl; docs/testing.md"]
fn tcpdump_shows_that_a_box_ends_each_connection_itself() {
    if !has("tcpdump", "a proxying box as tcpdump shows it") || !has("curl", "a proxying box") {
        return;
    }
    let folder = served();
    let dump = |name: &str| {
        format!(
            "tcpdump -l -n -S -i eth0 --immediate-mode tcp > {name} 2> {name}.log & \
             until grep -q listening {name}.log; do :; done"
        )
    };
    let first = |name: &str| {
        let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
        let line = text.lines().find(|line| line.contains("Flags [S.]")).unwrap_or_else(|| panic!("{text}"));
        line.split("seq ").nth(1).unwrap().split(',').next().unwrap().to_string()
    };
    for (defects, is_split) in [("mtu=9000", false), ("split-tcp", true)] {
        let script = format!("{}; {GET}; cmp got file && echo same", dump("near"));
        let (_, text) = with_http(folder.path(), defects, &dump("far"), &script);
        assert!(text.contains("same"), "{text}");
        assert_eq!(first("near") != first("far"), is_split, "{defects}");
    }
}
