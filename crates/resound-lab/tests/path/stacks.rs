//! Two TCP stacks (smoltcp, not ours) talk through a path: what a defect promises to leave whole
//! arrives whole, and what it promises to break is broken.

use std::collections::VecDeque;
use std::time::Duration;

use resound_lab::{Decision, LabPath, PathOutput, StreamDirection, Summary};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use crate::bench::{DOWN, UP, is_right, pattern};

/// Packets that came and packets that leave.
struct Wire {
    came: VecDeque<Vec<u8>>,
    leaves: VecDeque<Vec<u8>>,
}

struct Came(Vec<u8>);
struct Leaves<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Came {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Leaves<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.push_back(packet);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Came;
    type TxToken<'a> = Leaves<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Came, Leaves<'_>)> {
        let packet = self.came.pop_front()?;
        Some((Came(packet), Leaves(&mut self.leaves)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Leaves<'_>> {
        Some(Leaves(&mut self.leaves))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        (capabilities.medium, capabilities.max_transmission_unit) = (Medium::Ip, 1500);
        capabilities
    }
}

struct Stack {
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    to_send: Vec<u8>,
    sent: usize,
    received: Vec<u8>,
    is_closed: bool,
    is_first: bool,
}

impl Stack {
    fn new(v4: [u8; 4], v6_last: u16, to_send: Vec<u8>) -> Self {
        let mut wire = Wire { came: VecDeque::new(), leaves: VecDeque::new() };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = u64::from(v6_last);
        let mut interface = Interface::new(config, &mut wire, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(IpAddress::v4(v4[0], v4[1], v4[2], v4[3]), 24)).unwrap();
            addresses.push(IpCidr::new(IpAddress::v6(0xfd77, 0, 0, 0, 0, 0, 0, v6_last), 64)).unwrap();
        });
        let buffer = || SocketBuffer::new(vec![0; 64 * 1024]);
        let mut sockets = SocketSet::new(Vec::new());
        let socket = sockets.add(Socket::new(buffer(), buffer()));
        Self {
            wire,
            interface,
            sockets,
            socket,
            to_send,
            sent: 0,
            received: Vec::new(),
            is_closed: false,
            is_first: v6_last == 1,
        }
    }

    fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.socket)
    }

    fn poll(&mut self, now: Instant) {
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
        let (to_send, sent) = (std::mem::take(&mut self.to_send), self.sent);
        let socket = self.sockets.get_mut::<Socket<'_>>(self.socket);
        // The far end answers when all has come: smoltcp does not survive losses in both directions
        // at once, because its ACKs are old then.
        let may_begin = self.is_first || socket.state() == State::CloseWait;
        if socket.may_send() && may_begin {
            self.sent += socket.send_slice(&to_send[sent..]).unwrap_or_default();
        }
        while let Ok(taken) = socket.recv(|bytes| (bytes.len(), bytes.to_vec())) {
            if taken.is_empty() {
                break;
            }
            self.received.extend(taken);
        }
        // Its FIN comes after all that it has to say.
        if self.sent == to_send.len() && socket.may_send() && !self.is_closed {
            self.is_closed = true;
            socket.close();
        }
        self.to_send = to_send;
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
    }
}

struct Between<'a> {
    near: &'a mut VecDeque<Vec<u8>>,
    far: &'a mut VecDeque<Vec<u8>>,
    wrong: u32,
}

impl PathOutput for Between<'_> {
    fn send(&mut self, direction: StreamDirection, packet: &[u8]) {
        self.wrong += u32::from(!is_right(packet));
        if direction == UP { self.far.push_back(packet.to_vec()) } else { self.near.push_back(packet.to_vec()) }
    }

    fn note(&mut self, _: &Decision<'_>) {}
}

/// What the far end received, what the near end received, and how it went.
struct Outcome {
    up: Vec<u8>,
    down: Vec<u8>,
    states: (State, State),
    time: Duration,
    summary: Summary,
    /// Packets with a wrong checksum that left the router.
    wrong: u32,
}

const UP_BYTES: usize = 200_000;
const DOWN_BYTES: usize = 100_000;

fn talk(spec: &str, is_v6: bool) -> Outcome {
    let defects = spec.parse().unwrap_or_else(|error| panic!("{error}"));
    let mut path = LabPath::new(&defects, 11);
    let mut near = Stack::new([10, 77, 0, 1], 1, pattern(UP_BYTES));
    let mut far = Stack::new([10, 77, 0, 2], 2, pattern(DOWN_BYTES));
    far.socket().listen(80).unwrap();
    let target = if is_v6 { IpAddress::v6(0xfd77, 0, 0, 0, 0, 0, 0, 2) } else { IpAddress::v4(10, 77, 0, 2) };
    let socket = near.sockets.get_mut::<Socket<'_>>(near.socket);
    socket.connect(near.interface.context(), (target, 80), 40_000).unwrap();
    let (mut now, mut wrong) = (Duration::ZERO, 0);
    for _ in 0..2_000_000 {
        let instant = Instant::from_micros(now.as_micros() as i64);
        near.poll(instant);
        far.poll(instant);
        let up: Vec<_> = near.wire.leaves.drain(..).collect();
        let down: Vec<_> = far.wire.leaves.drain(..).collect();
        let mut between = Between { near: &mut near.wire.came, far: &mut far.wire.came, wrong: 0 };
        let was_quiet = up.is_empty() && down.is_empty();
        up.iter().for_each(|packet| path.receive(UP, packet, now, &mut between));
        down.iter().for_each(|packet| path.receive(DOWN, packet, now, &mut between));
        path.run_due(now, &mut between);
        wrong += between.wrong;
        if !was_quiet || !near.wire.came.is_empty() || !far.wire.came.is_empty() {
            continue;
        }
        let ends = (near.socket().state(), far.socket().state());
        let is_over = |state| matches!(state, State::Closed | State::TimeWait);
        if is_over(ends.0) && is_over(ends.1) || now > Duration::from_secs(600) {
            break;
        }
        let delay = |stack: &mut Stack| {
            let at = stack.interface.poll_at(instant, &stack.sockets)?;
            Some(Duration::from_micros(at.total_micros().max(0) as u64))
        };
        let next = [delay(&mut near), delay(&mut far), path.next_due()].into_iter().flatten().min();
        let Some(next) = next else { break };
        now = next.max(now + Duration::from_micros(1));
    }
    let states = (near.socket().state(), far.socket().state());
    Outcome { up: far.received, down: near.received, states, time: now, summary: path.summary(), wrong }
}

fn is_whole(spec: &str, is_v6: bool) -> Outcome {
    let outcome = talk(spec, is_v6);
    let (up, down) = (outcome.up.len(), outcome.down.len());
    let text = format!(
        "{spec} (IPv6: {is_v6}): {up} up, {down} down, {:?} {:?}\n{}",
        outcome.states, outcome.time, outcome.summary
    );
    assert!(outcome.up == pattern(UP_BYTES) && outcome.down == pattern(DOWN_BYTES), "{text}");
    outcome
}

#[test]
fn a_clean_path_carries_a_connection() {
    for is_v6 in [false, true] {
        let outcome = is_whole("", is_v6);
        assert_eq!((outcome.wrong, outcome.summary.up.dropped, outcome.time.as_secs() < 20), (0, 0, true));
    }
}

#[test]
fn tcp_gets_through_what_it_is_made_for() {
    for spec in [
        "loss=3%",
        "loss=2% burst=3",
        "duplicate=20%",
        "reorder=10% by=3",
        "delay=30ms+-5ms~normal",
        "jitter=3ms",
        "rate=1MiB/s queue=20KiB",
        "mss-clamp=500",
        "strip=sack+timestamps+wscale+ecn+all-unknown",
        "dscp-bleach",
        "syn-loss=50%",
        "nat",
        "nat ports=changed",
        "loss=1%; delay=5ms; reorder=2%; duplicate=2%; mss-clamp=900; nat ports=changed",
    ] {
        for is_v6 in [false, true] {
            assert_eq!(is_whole(spec, is_v6).wrong, 0, "{spec}");
        }
    }
}

#[test]
fn a_wrong_checksum_is_a_loss() {
    let outcome = is_whole("corrupt-checksum=2%", false);
    assert!(outcome.wrong > 3, "{}", outcome.wrong);
}

#[test]
fn a_corrupt_payload_arrives() {
    let outcome = talk("up: corrupt-payload=2%", false);
    assert_eq!((outcome.wrong, outcome.up.len()), (0, UP_BYTES));
    assert!(outcome.up != pattern(UP_BYTES) && outcome.down == pattern(DOWN_BYTES));
}

#[test]
fn a_forged_rst_ends_both_ends() {
    let outcome = talk("up: rst-inject @50KiB", false);
    assert_eq!(outcome.states, (State::Closed, State::Closed));
    assert!(outcome.up.len() < UP_BYTES && pattern(UP_BYTES).starts_with(&outcome.up));
}

#[test]
fn a_box_that_splits_connections_relays_every_byte() {
    for spec in [
        "split-tcp",
        "split-tcp; delay=20ms",
        "split-tcp; loss=3%",
        "split-tcp; loss=2% burst=3; reorder=5%; duplicate=5%; jitter=2ms",
        // smoltcp has no path MTU discovery, and the box has.
        "split-tcp; up: mtu=400",
        "split-tcp; rate=200KiB/s queue=10KiB",
        "split-tcp; syn-loss=60%",
        "split-tcp; nat ports=changed; loss=1%",
        "split-tcp; corrupt-checksum=2%",
    ] {
        for is_v6 in [false, true] {
            let outcome = is_whole(spec, is_v6);
            assert!(outcome.summary.up.made > 10 && outcome.summary.down.made > 10, "{}", outcome.summary);
        }
    }
    // Without a timeout where a segment that arrives says more.
    for (spec, most) in
        [("split-tcp; delay=5ms; loss=2%", 8), ("split-tcp; delay=5ms; reorder=5%", 2), ("split-tcp; rate=200KiB/s", 3)]
    {
        let time = is_whole(spec, false).time;
        assert!(time < Duration::from_secs(most), "{spec}: {time:?}");
    }
    // It answers before the far end does, and in spite of it.
    let outcome = talk("split-tcp; blackhole", false);
    assert!(outcome.down.is_empty() && outcome.summary.down.made > 5, "{}", outcome.summary);
    assert_eq!(outcome.states.0, State::Closed);
    // Others pass it by.
    assert_eq!(is_whole("split-tcp port=81", false).summary.up.made, 0);
}
