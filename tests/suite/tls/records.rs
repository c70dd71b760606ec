//! The TLS record path under malformed bytes: a plain function that a fuzzer can call, and a corpus
//! that every run replays.

use resound::conn::{Conn, Then};
use resound::tls::{TlsServer, TlsServerSettings};
use resound::{CloseReason, ConnId, ConnInfo, Echo, Endpoint, Handshake, Limits};

use crate::harness::noise;
use crate::proto::bench::Bench;
use crate::tunnel::{client, identity};

fn bench(handshake: Handshake) -> Bench {
    let info = ConnInfo::new(ConnId(1), Endpoint::Unknown, Endpoint::Unknown);
    Bench::of(Conn::with_handshake(info, handshake, |_| Box::new(Echo), Limits::default()))
}

/// Applies `input` to a conversation: each byte cuts, changes, repeats, drops or passes the output
/// of one end. In no case does an end panic or stay open, and no changed record is delivered.
fn records(tls: &TlsServer, input: &[u8]) {
    let mut server = bench(Handshake::new().tls_server(tls));
    let mut peer = bench(Handshake::new().tls_client(client()));
    for step in input.chunks(2) {
        let (what, how) = (step[0], usize::from(*step.last().unwrap_or(&0)));
        let (from, to) = if what & 1 == 0 { (&mut peer, &mut server) } else { (&mut server, &mut peer) };
        let mut bytes = from.take(if what & 2 == 0 { usize::MAX } else { 1 + how });
        match what >> 2 & 7 {
            1 if !bytes.is_empty() => {
                let at = how % bytes.len();
                bytes[at] ^= 1 << (how % 8);
            }
            2 => bytes.extend_from_within(..),
            3 => bytes.truncate(how),
            4 => bytes.extend_from_slice(&noise(how as u64, how)),
            5 => drop(bytes.splice(0..0, [what, 3, 3, 0, how as u8])),
            _ => {}
        }
        to.receive(&bytes);
    }
    for end in [&mut server, &mut peer] {
        end.take_all();
        end.eof();
        end.take_all();
        // An echo sends only what its peer sent.
        assert!(end.observer.messages.is_empty());
        if end.then != Then::Close {
            end.conn.lost(end.now, CloseReason::Cut, &mut end.observer);
        }
    }
}

#[test]
fn the_corpus_is_replayed() {
    let tls = TlsServer::new(&TlsServerSettings::new(identity().clone())).unwrap();
    let handshake: &[u8] = &[0, 0, 1, 0, 0, 0, 1, 0];
    let mut corpus = vec![
        vec![],
        handshake.to_vec(),
        vec![4, 7],                                   // a changed hello
        vec![8, 0, 1, 0],                             // two hellos
        vec![12, 9, 0, 0],                            // a truncated one
        vec![20, 0, 1, 0],                            // a record of nothing before it
        vec![0, 0, 5, 90, 0, 0],                      // a changed answer
        vec![2, 0, 2, 0, 2, 0, 2, 3, 2, 200, 1, 0],   // in small pieces
        [handshake, &[16, 200, 0, 0]].concat(),       // noise behind the handshake
        [handshake, &[20, 0, 20, 5, 0, 0]].concat(),  // empty records
        [handshake, &[17, 200, 1, 0, 4, 4]].concat(), // and towards the client
    ];
    corpus.extend((0..1500).map(|seed| noise(seed, 2 + (seed as usize * 7) % 60)));
    // A handshake that went well, and then anything.
    corpus.extend((0..500).map(|seed| [handshake, &noise(seed, 20)].concat()));
    for input in corpus {
        records(&tls, &input);
    }
}
