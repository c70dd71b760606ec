//! Each mistake has its place and its sentence.

use resound_lab::Defects;

/// A specification, the wrong part of it, and the sentence.
const GOLDEN: &[(&str, &str, &str)] = &[
    ("los=1%", "los", "'los' is not a defect; did you mean `loss`?"),
    ("up: mut=1400", "mut", "'mut' is not a defect; did you mean `mtu`?"),
    ("frobnicate", "frobnicate", "'frobnicate' is not a defect"),
    ("loss=1%;", "", "a defect is missing here, such as `loss=1%` or `mtu=1400`"),
    ("up loss=1%", "up", "a colon follows the direction: `up: loss=1%`"),
    ("1-2 loss=1%", "1-2", "a colon follows the connections: `1-2: loss=1%`"),
    ("loss=1% mtu=1400", "mtu=1400", "a semicolon stands between two defects"),
    ("loss", "", "`loss` needs a value, like `loss=1%`"),
    (
        "loss=1",
        "1",
        "'1' is not a chance like 1%, or four for Gilbert-Elliott: enter/leave/bad/good like 0.5%/20%/100%/0%",
    ),
    ("nat=1", "1", "`nat` takes no value"),
    ("mtu=20", "20", "'20' is not a number of bytes from 68 to 65535"),
    ("delay=5ms+-9ms", "5ms+-9ms", "a delay varies at most by its own length, because it cannot be below zero"),
    ("jitter=x", "x", "'x' is not a time from 1us to 100 years, like 500ms, 10s or 5m"),
    ("rate=1MiB", "1MiB", "'1MiB' is not a rate like 1MiB/s, 500B/s or 10Mbit/s"),
    ("rate=1MiB/s queue=1GiB", "1GiB", "'1GiB' is not possible here: 64MiB are the most"),
    (
        "strip=sac",
        "sac",
        "'sac' is not options like sack+timestamps, of sack, timestamps, wscale, ecn and all-unknown; \
         did you mean `sack`?",
    ),
    ("cap=0", "0", "'0' is not a number from 1 on"),
    (
        "loss=1% brust=5",
        "brust",
        "'brust' is not an option of `loss`: burst=5, port=443, length=1000.., flags=syn+!ack, \
         protocol=tcp; did you mean `burst`?",
    ),
    ("loss=1% silent", "silent", "`silent` is an option of `mtu`, and not of `loss`"),
    ("loss=1% odds=2%", "odds", "the odds of `loss` are its value: `loss=10%`"),
    ("loss=90% burst=2", "2", "90% cannot come in bursts of 2"),
    ("mtu=1400 burst=2", "2", "`burst` is for odds, like `odds=10% burst=5`"),
    ("loss=1% burst", "", "`burst` needs a value, like `burst=5`"),
    ("loss=1% burst=2 burst=3", "burst", "a rule has one `burst`"),
    ("loss=1% port=x", "x", "'x' is not a port like 443 or ports like 1..1023"),
    ("loss=1% port=9..1", "9..1", "'9..1' is not a port like 443 or ports like 1..1023"),
    (
        "loss=1% flags=syn+!syn",
        "syn+!syn",
        "'syn+!syn' is not flags like syn+!ack, of fin, syn, rst, psh, ack, urg, ece and cwr",
    ),
    ("loss=1% protocol=sctp", "sctp", "'sctp' is not a protocol: tcp, udp or icmp"),
    ("loss=1% port=1 port=2", "port=2", "a rule has one `port`"),
    ("loss=1% @message=3", "@message=3", "'@message=3' is not a WHEN: @connect, @64KiB, @packet=3, @2s or @idle=30s"),
    (
        "loss=1% @paket=3",
        "@paket=3",
        "'@paket=3' is not a WHEN: @connect, @64KiB, @packet=3, @2s or @idle=30s; did you mean `@packet`?",
    ),
    ("loss=1% @packet=0", "@packet=0", "'0' is not a packet's number: the first packet is 1"),
    ("loss=1% @1s @2s", "@2s", "a rule has one WHEN"),
    ("nat idle-silent=1s idle-reset=2s", "idle-reset", "`idle-silent` and `idle-reset` exclude each other"),
    ("nat ports=chanegd", "chanegd", "'chanegd' is not `kept` or `changed`; did you mean `changed`?"),
    ("up: nat", "up", "`nat` takes no direction: it concerns both"),
    ("1: nat", "1", "`nat` takes no CONNECTIONS: it concerns all of them"),
    ("nat port=80", "port=80", "`nat` takes no filter: it concerns all packets"),
    ("cap=3 @2s", "@2s", "`cap` takes no WHEN: it applies from the beginning"),
    ("cap=3 50%", "50%", "`cap` takes no chance: it concerns all connections"),
    ("blackhole odds=3%", "odds", "`blackhole` takes no odds: it hits no packet alone"),
    ("nat; nat", "nat; nat", "a path has one `nat`"),
];

#[test]
fn each_mistake_has_its_place_and_its_sentence() {
    for (spec, wrong, sentence) in GOLDEN {
        let error = spec.parse::<Defects>().expect_err(spec);
        assert_eq!((&error.text()[error.range()], error.sentence().as_str()), (*wrong, *sentence), "{spec}");
        assert_eq!(error.text(), *spec);
    }
}
