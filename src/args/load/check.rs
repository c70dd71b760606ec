//! Which flags of `resound load` do not go together: nothing that was asked for is left undone in silence.

use anyhow::{Result, bail};
use resound::Address;
use resound_load::RampVariable;

use super::{LoadArgs, ShapeArg, TimestampsArg};
use crate::args::ServerMode;
use crate::args::server::EngineArg;

impl LoadArgs {
    /// Refuses what does not go together, and says which flag to drop or add.
    pub(super) fn check(&self, target: Option<&Address>) -> Result<()> {
        let is = |shape| self.shape == shape;
        let (ramp, connect, stream) = (is(ShapeArg::Ramp), is(ShapeArg::Connect), is(ShapeArg::Stream));
        let raised = self.steps.map(|steps| steps.of);
        let (depth, messages) = (self.depth.is_some(), self.messages.is_some());
        let (rate, duration, think_time) = (self.rate.is_some(), self.duration.is_some(), self.think_time.is_some());
        let (threads, portable) =
            (matches!(self.engine, EngineArg::Threads), matches!(self.engine, EngineArg::Portable));
        let kernel = self.timestamps == Some(TimestampsArg::Kernel);
        let unix = matches!(target, Some(Address::Unix(_)));
        let [discard, chargen] =
            [ServerMode::Discard, ServerMode::Chargen].map(|mode| self.mode.is_some_and(|it| it == mode));
        let (tls, proxy) = (self.tls.is_wanted(), self.send_proxy.is_some());
        for (flag, flag_is_given, other, other_is_given, why) in [
            ("--rate", rate, "--shape ramp", ramp, "its steps say how much"),
            ("--duration", duration, "--shape ramp", ramp, "its steps say how long (--every)"),
            ("--messages", messages, "--shape ramp", ramp, "its steps say how much"),
            ("--rate", rate, "--shape connect", connect, "connections per second are --connect-rate"),
            ("--rate", rate, "--shape stream", stream, "a stream sends as fast as it goes"),
            ("--depth", depth, "--shape stream", stream, "a stream sends as fast as it goes"),
            ("--think-time", think_time, "--shape stream", stream, "a stream sends as fast as it goes"),
            ("--messages", messages, "--shape stream", stream, "a stream is measured by --duration"),
            ("--think-time", think_time, "--rate", rate, "the plan says when messages are sent"),
            (
                "--think-time",
                think_time,
                "--steps",
                raised == Some(RampVariable::Rate),
                "the plan of a ramp says when messages are sent",
            ),
            (
                "--think-time",
                think_time,
                "--mode discard",
                discard,
                "it is a pause behind an answer, and there is none",
            ),
            (
                "--think-time",
                think_time,
                "--mode chargen",
                chargen,
                "it is a pause behind an answer, and there is none",
            ),
            ("--size", self.size.is_some(), "--mode chargen", chargen, "nothing is sent there"),
            (
                "--connections",
                self.connections.is_some(),
                "--steps",
                raised == Some(RampVariable::Connections),
                "the steps say how many",
            ),
            (
                "--busy-poll",
                self.busy_poll.0.is_some(),
                "--engine threads",
                threads,
                "its threads block; take another engine",
            ),
            ("--workers", self.workers.is_some(), "--engine threads", threads, "it has one thread for each connection"),
            ("--ipv4", self.family.ipv4, "--loopback", self.loopback, "its server is on 127.0.0.1"),
            ("--ipv6", self.family.ipv6, "--loopback", self.loopback, "its server is on 127.0.0.1"),
            ("--ipv4", self.family.ipv4, "unix:", unix, "a path has no family"),
            ("--ipv6", self.family.ipv6, "unix:", unix, "a path has no family"),
            (
                "--source",
                !self.source.is_empty(),
                "unix:",
                unix,
                "a unix socket is not connected to from an IP address",
            ),
            ("--congestion", self.congestion.is_some(), "unix:", unix, "it concerns TCP"),
            ("--timestamps kernel", kernel, "--engine portable", portable, "it cannot ask for them"),
            ("--timestamps kernel", kernel, "--shape stream", stream, "a stream has no service times"),
            ("--timestamps kernel", kernel, "--mode discard", discard, "there are no answers"),
            ("--timestamps kernel", kernel, "--mode chargen", chargen, "there are no answers"),
            ("--timestamps kernel", kernel, "--tls", tls, "the kernel sees records, not messages"),
            ("--timestamps kernel", kernel, "--send-proxy", proxy, "the kernel counts the header too"),
            ("--timestamps kernel", kernel, "unix:", unix, "a unix socket has no network device"),
        ] {
            if flag_is_given && other_is_given {
                bail!("{flag} does not go with {other}: {why}. Drop one of them");
            }
        }
        if kernel && cfg!(not(target_os = "linux")) {
            bail!("--timestamps kernel: this system cannot be asked for them (Linux can). Drop it");
        }
        if let Some(flag) = self.tls.details().filter(|_| self.loopback) {
            bail!(
                "{flag} does not go with --loopback: its server is known by its certificate, and asks for none. Drop one of them"
            );
        }
        for (flag, is_given, needs, is_there) in [
            ("--shape ramp", ramp, "--steps, such as --steps 1000..20000+1000", self.steps.is_some()),
            ("--steps", self.steps.is_some(), "--shape ramp", ramp),
            ("--every", self.every.is_some(), "--shape ramp", ramp),
            ("--until", !self.until.is_empty(), "--shape ramp", ramp),
            ("--each", self.each.is_some(), "--shape connect", connect),
            (
                "--arrivals",
                self.arrivals.is_some(),
                "--rate, or --steps of a rate",
                rate || raised == Some(RampVariable::Rate),
            ),
        ] {
            if is_given && !is_there {
                bail!("{flag} takes {needs}: add that, or drop {flag}");
            }
        }
        if let (Some(Address::Tcp { host, .. }), Some((flag, wants_v4))) = (target, self.wanted_family())
            && host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_ipv4() != wants_v4)
        {
            bail!("{host} is no address of the family that {flag} asks for: drop {flag}, or give another address");
        }
        let connections = self.connections();
        if let Some(messages) = self.messages.filter(|messages| messages.get() < connections) {
            bail!("{messages} --messages are too few for {connections} --connections: each sends at least one");
        }
        Ok(())
    }

    fn wanted_family(&self) -> Option<(&'static str, bool)> {
        match (self.family.ipv4, self.family.ipv6) {
            (true, _) => Some(("--ipv4", true)),
            (_, true) => Some(("--ipv6", false)),
            _ => None,
        }
    }
}
