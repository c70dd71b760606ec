//! The generator: a closed loop over epoll, one thread.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::net::RecvFlags;

/// How long answers may be missing before the time is looked at again.
const WAIT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

pub(crate) struct LoadBench {
    depth: usize,
    message: Vec<u8>,
    connections: Vec<TcpStream>,
    queue: OwnedFd,
    /// How answers are received.
    receive: RecvFlags,
}

/// What a run showed.
pub(crate) struct Result {
    /// Messages in a second.
    pub(crate) rate: f64,
    /// Microseconds of the server's processor for each message.
    pub(crate) cpu: f64,
    /// Microseconds of a round trip.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl LoadBench {
    pub(crate) fn new(address: SocketAddr, (connections, depth, bytes): (usize, usize, usize)) -> Self {
        let queue = epoll::create(epoll::CreateFlags::empty()).expect("an event queue");
        let connect = |number: usize| {
            let stream = TcpStream::connect(address).expect("a connection");
            stream.set_nodelay(true).expect("an option");
            epoll::add(
                &queue,
                &stream,
                epoll::EventData::new_u64(number as u64),
                epoll::EventFlags::IN,
            )
            .expect("an event");
            stream
        };
        let connections = (0..connections).map(connect).collect();
        Self {
            depth,
            message: vec![b'x'; bytes * depth],
            connections,
            queue,
            receive: RecvFlags::empty(),
        }
    }

    /// The kernel counts the answers and discards them.
    pub(crate) fn discarding(mut self) -> Self {
        self.receive = RecvFlags::TRUNC;
        self
    }

    /// One echo on each connection: from now on each is as idle as it gets.
    pub(crate) fn speak_once(mut self) -> Self {
        let mut answer = vec![0; 64];
        for connection in &mut self.connections {
            connection.write_all(&[b'x'; 64]).expect("a message");
            connection.read_exact(&mut answer).expect("its answer");
        }
        self
    }

    /// Runs for `time`, after a tenth of it to warm up.
    pub(crate) fn run(mut self, time: Duration, cpu: impl Fn() -> Duration) -> Result {
        let mut answered = vec![0; self.connections.len()];
        let mut sent_at = vec![Instant::now(); self.connections.len()];
        for (connection, sent_at) in self.connections.iter_mut().zip(&mut sent_at) {
            *sent_at = Instant::now();
            connection.write_all(&self.message).expect("a message");
            connection.set_nonblocking(true).expect("an option");
        }
        let start = Instant::now();
        let mut warm: Option<(Instant, Duration)> = None;
        let (mut messages, mut times) = (0, Vec::<u32>::new());
        let mut events = Vec::with_capacity(1024);
        let mut buffer = vec![0; 256 * 1024];
        while start.elapsed() < time {
            if warm.is_none() && start.elapsed() > time / 10 {
                warm = Some((Instant::now(), cpu()));
                (messages, times) = (0, Vec::new());
            }
            events.clear();
            let _ = epoll::wait(&self.queue, rustix::buffer::spare_capacity(&mut events), Some(&WAIT));
            for event in &events {
                let number = event.data.u64() as usize;
                let connection = &mut self.connections[number];
                let Ok((_, n @ 1..)) = rustix::net::recv(&*connection, &mut buffer[..], self.receive) else {
                    panic!("a connection was lost")
                };
                answered[number] += n;
                if answered[number] >= self.message.len() {
                    answered[number] -= self.message.len();
                    let now = Instant::now();
                    times.push(u32::try_from((now - sent_at[number]).as_nanos()).unwrap_or(u32::MAX));
                    messages += self.depth;
                    sent_at[number] = now;
                    connection.write_all(&self.message).expect("room for a message");
                }
            }
        }
        let (began, cpu_then) = warm.expect("the run is longer than its beginning");
        let (elapsed, cpu) = (began.elapsed(), cpu() - cpu_then);
        assert!(messages > 0, "no message was answered");
        times.sort_unstable();
        let quantile = |q: f64| f64::from(times.get((times.len() as f64 * q) as usize).copied().unwrap_or(0)) / 1e3;
        Result {
            rate: messages as f64 / elapsed.as_secs_f64(),
            cpu: cpu.as_secs_f64() * 1e6 / messages as f64,
            p50: quantile(0.50),
            p99: quantile(0.99),
        }
    }
}

/// Connect, one echo, close, again and again.
pub(crate) fn accepts(address: SocketAddr, time: Duration) -> f64 {
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < time {
        let mut stream = TcpStream::connect(address).expect("a connection");
        // The reset spares this machine a table full of connections in TIME_WAIT.
        socket2::SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .expect("an option");
        stream.write_all(b"hello").expect("a message");
        stream.read_exact(&mut [0; 5]).expect("its answer");
        count += 1;
    }
    f64::from(count) / start.elapsed().as_secs_f64()
}
