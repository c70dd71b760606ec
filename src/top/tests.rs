//! What is drawn, and what becomes of servers that mean harm.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use unicode_width::UnicodeWidthStr;

use super::columns::TopColumn;
use super::document::{LiveNews, TopList};
use super::feed::{self, TopEvents};
use super::http::AdminAddress;
use super::input::TopKey;
use super::model::{FeedNews, TopModel};
use super::view::{self, TopLook};
use super::{once, samples};
use crate::report::Glyphs;

const LOOK: TopLook = TopLook { has_colours: false, glyphs: Glyphs::Blocks };

fn model() -> TopModel {
    let mut model = TopModel::new("127.0.0.1:9464".into(), TopColumn::In);
    for rate in [0, 10, 20, 40] {
        let json = samples::live().replace("\"accepted_per_second\":40", &format!("\"accepted_per_second\":{rate}"));
        model.take(FeedNews::Live(Box::new(LiveNews::parse(json.as_bytes()).unwrap())));
    }
    model.take(FeedNews::List(TopList::parse(samples::list(12).as_bytes()).unwrap()));
    model
}

/// The screen as text.
fn drawn(model: &mut TopModel, columns: usize, rows: usize) -> String {
    let (lines, page) = view::draw(model, LOOK, columns, rows);
    model.page = page;
    lines.iter().map(|line| line.text().trim_end().to_string() + "\n").collect()
}

/// Compares with a file. With `RESOUND_WRITE_TOP=1` the test writes it.
fn is_golden(name: &str, text: &str) {
    let path = format!("{}/src/top/golden/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("RESOUND_WRITE_TOP").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap().replace("\r\n", "\n"), "{path}");
}

#[test]
fn a_usual_window_shows_rates_workers_and_connections() {
    is_golden("80x24", &drawn(&mut model(), 80, 24));
}

#[test]
fn a_small_window_drops_columns() {
    is_golden("60x15", &drawn(&mut model(), 60, 15));
}

#[test]
fn a_narrow_window_cuts_no_figure() {
    let text = drawn(&mut model(), 38, 24);
    let wide = drawn(&mut model(), 80, 24);
    for name in ["accepted/s", "messages/s", "closed/s", "in/s", "open", "out/s"] {
        let figure = |text: &str| {
            let from = text.find(&format!("{name} ")).unwrap() + name.len();
            text[from..].split_whitespace().next().unwrap().to_string()
        };
        assert_eq!(figure(&text), figure(&wide), "{name}\n{text}");
    }
}

#[test]
fn any_window_is_drawn() {
    let mut shown = model();
    for key in ["", "?", "?t", "/x"] {
        for c in key.chars() {
            shown.press(TopKey::Char(c));
        }
        for (columns, rows) in (1..130).flat_map(|columns| [1, 2, 5, 9, 10, 11, 24].map(|rows| (columns, rows))) {
            let text = drawn(&mut shown, columns, rows);
            assert_eq!(text.lines().count(), rows);
            assert!(text.lines().all(|line| line.width() <= columns), "{columns} {rows}\n{text}");
        }
    }
    // The table alone, and what sorts it.
    shown = model();
    shown.press(TopKey::Char('w'));
    let text = drawn(&mut shown, 22, 6);
    assert_eq!(text.lines().nth(2), Some("peer             wrk"), "{text}");
}

#[test]
fn help_and_a_lost_server_are_shown() {
    let mut shown = model();
    shown.press(TopKey::Char('?'));
    let help = drawn(&mut shown, 80, 24);
    for column in TopColumn::ALL {
        assert!(help.contains(column.words().2), "{column:?}\n{help}");
    }
    shown.press(TopKey::Char('?'));
    shown.take(FeedNews::Lost("refused: nothing listens on 127.0.0.1:9464".into()));
    let text = drawn(&mut shown, 80, 24);
    assert!(text.ends_with("No answer for 0s: refused: nothing listens on 127.0.0.1:9464. Trying again\n"), "{text}");
}

#[test]
fn text_for_scripts_is_lined_up() {
    is_golden("once", &once::text(&model()));
}

/// A server that answers each request with these bytes, and then more of the others for as long as
/// they are taken.
async fn hostile(first: &str, forever: &'static [u8]) -> (AdminAddress, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = AdminAddress::parse(&listener.local_addr().unwrap().to_string()).unwrap();
    let first = first.to_string();
    let serving = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut request).await.unwrap();
            }
            if stream.write_all(first.as_bytes()).await.is_ok() && !forever.is_empty() {
                while stream.write_all(forever).await.is_ok() {}
            }
        }
    });
    (address, serving)
}

const OK: &str = "HTTP/1.1 200 OK\r\n\r\n";
const LONG: &[u8] = &[b'x'; 64 * 1024];

#[tokio::test]
async fn no_answer_takes_more_than_its_bounds() {
    for (first, forever, want) in [
        (OK, LONG, "a line of "),
        (OK, b"".as_slice(), "ended the connection"),
        (&format!("{OK}data: {{\"open\":1}}\n\n"), b"", "is not that of resound --admin"),
        (&format!("{OK}data: {}\n", "[".repeat(100_000)), b"", "is not that of resound --admin"),
        ("HTTP/1.1 302 Found\r\nLocation: http://example.com/\r\n\r\n", b"", "answers 302 to /live"),
        ("HTTP/1.1 503 No\r\nContent-Length: 17\r\n\r\n{\"error\":\"\\u001b\"}", b"", "answers 503: \\x1b"),
        ("HTTP/1.1 404 No\r\n\r\n", LONG, "answers 404 to /live"),
        ("SSH-2.0-OpenSSH_9\r\n", b"", "does not speak HTTP"),
        ("HTTP/1.1 200 OK\r\nX: ", LONG, "does not speak HTTP"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", LONG, "in chunks"),
    ] {
        let (address, serving) = hostile(first, forever).await;
        let asked = async { TopEvents::open(&address).await?.next().await };
        let failure = asked.await.unwrap_err().to_string();
        assert!(failure.contains(want), "{want}: {failure}");
        serving.abort();
    }
}

#[tokio::test]
async fn a_list_is_bounded_too() {
    let wanted = model().wanted();
    for (first, forever, want) in [
        (OK, LONG, "is too long"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", LONG, "is too long"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}", b"", "ended the connection"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", LONG, "is not that of resound --admin"),
    ] {
        let (address, serving) = hostile(first, forever).await;
        let failure = feed::list(&address, &wanted).await.unwrap_err().to_string();
        assert!(failure.contains(want), "{want}: {failure}");
        serving.abort();
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = AdminAddress::parse(&listener.local_addr().unwrap().to_string()).unwrap();
    drop(listener);
    let failure = tokio::time::timeout(Duration::from_secs(60), feed::list(&address, &wanted)).await.unwrap();
    assert_eq!(failure.unwrap_err().to_string(), format!("refused: nothing listens on {address}"));
}
