//! Flags of `resound load` that exclude or need each other. No flag is ignored in silence.

use anyhow::{Result, bail};
use resound::Address;
use resound_load::RampVariable;

use super::{LoadArgs, ShapeArg, TimestampsArg};
use crate::args::serving::EngineArg;
use crate::server::ServerMode;

/// Two flags that exclude each other, and the reason. Clap excludes flags, not values of flags.
pub(in crate::args) const CONFLICTS: &[[&str; 3]] = &[
    ["--rate", "--shape ramp", "its steps say how much"],
    ["--duration", "--shape ramp", "its steps say how long (--every)"],
    ["--messages", "--shape ramp", "its steps say how much"],
    ["--rate", "--shape connect", "connections per second are --connect-rate"],
    ["--rate", "--shape stream", "a stream sends as fast as it goes"],
    ["--depth", "--shape stream", "a stream sends as fast as it goes"],
    ["--think-time", "--shape stream", "a stream sends as fast as it goes"],
    ["--messages", "--shape stream", "a stream is measured by --duration"],
    ["--think-time", "--rate", "the plan says when messages are sent"],
    ["--think-time", "--steps of a rate", "the plan of a ramp says when messages are sent"],
    ["--think-time", "--mode discard", "it is a pause after an answer, and there is none"],
    ["--think-time", "--mode chargen", "it is a pause after an answer, and there is none"],
    ["--size", "--mode chargen", "nothing is sent there"],
    ["--connections", "--steps of connections", "the steps say how many"],
    ["--busy-poll", "--engine threads", "its threads block; take another engine"],
    ["--workers", "--engine threads", "it has one thread for each connection"],
    ["--loopback", "--ipv4", "its server is on 127.0.0.1"],
    ["--loopback", "--ipv6", "its server is on 127.0.0.1"],
    ["--ipv4", "a unix socket", "a path has no family"],
    ["--ipv6", "a unix socket", "a path has no family"],
    ["--source", "a unix socket", "a unix socket has no source address"],
    ["--congestion", "a unix socket", "it concerns TCP"],
    ["--timestamps kernel", "--engine portable", "that engine does not read them"],
    ["--timestamps kernel", "--shape stream", "a stream has no service times"],
    ["--timestamps kernel", "--mode discard", "there are no answers"],
    ["--timestamps kernel", "--mode chargen", "there are no answers"],
    ["--timestamps kernel", "--tls", "the kernel sees records, not messages"],
    ["--timestamps kernel", "--send-proxy", "the kernel counts the header too"],
    ["--timestamps kernel", "a unix socket", "a unix socket has no network device"],
];

/// A flag, what it needs, and the same in words.
const NEEDS: &[(&str, &[&str], &str)] = &[
    ("--shape ramp", &["--steps"], "--steps, such as --steps 1000..20000+1000"),
    ("--steps", &["--shape ramp"], "--shape ramp"),
    ("--every", &["--shape ramp"], "--shape ramp"),
    ("--until", &["--shape ramp"], "--shape ramp"),
    ("--each", &["--shape connect"], "--shape connect"),
    ("--arrivals", &["--rate", "--steps of a rate"], "--rate, or --steps of a rate"),
];

impl LoadArgs {
    /// Refuses flags that do not go together, and names the flag to drop or add.
    pub(super) fn check(&self, target: Option<&Address>) -> Result<()> {
        let is_given = |term: &&str| self.is_given(term, target);
        if let Some([flag, other, why]) =
            CONFLICTS.iter().find(|[flag, other, _]| [flag, other].into_iter().all(is_given))
        {
            bail!("{flag} does not go with {other}: {why}. Drop one of them");
        }
        if is_given(&"--timestamps kernel") && cfg!(not(target_os = "linux")) {
            bail!("--timestamps kernel: only Linux has them. Drop the flag");
        }
        if let Some(flag) = self.tls.details().filter(|_| self.loopback) {
            bail!(
                "{flag} does not go with --loopback: its server has a certificate of its own, and asks for none. \
                 Drop one of them"
            );
        }
        let unmet = NEEDS.iter().find(|(flag, needs, _)| is_given(flag) && !needs.iter().any(is_given));
        if let Some((flag, _, needs)) = unmet {
            bail!("{flag} takes {needs}: add that, or drop {flag}");
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

    /// Does the command line contain a term of the tables above?
    fn is_given(&self, term: &str, target: Option<&Address>) -> bool {
        match term {
            "--rate" => self.rate.is_some(),
            "--duration" => self.duration.is_some(),
            "--messages" => self.messages.is_some(),
            "--depth" => self.depth.is_some(),
            "--think-time" => self.think_time.is_some(),
            "--size" => self.size.is_some(),
            "--connections" => self.connections.is_some(),
            "--busy-poll" => self.busy_poll.0.is_some(),
            "--workers" => self.workers.is_some(),
            "--loopback" => self.loopback,
            "--ipv4" => self.family.ipv4,
            "--ipv6" => self.family.ipv6,
            "--source" => !self.source.is_empty(),
            "--congestion" => self.congestion.is_some(),
            "--arrivals" => self.arrivals.is_some(),
            "--each" => self.each.is_some(),
            "--every" => self.every.is_some(),
            "--until" => !self.until.is_empty(),
            "--steps" => self.steps.is_some(),
            "--steps of a rate" => self.raised() == Some(RampVariable::Rate),
            "--steps of connections" => self.raised() == Some(RampVariable::Connections),
            "--tls" => self.tls.is_wanted(),
            "--send-proxy" => self.send_proxy.is_some(),
            "--shape connect" => self.shape == ShapeArg::Connect,
            "--shape stream" => self.shape == ShapeArg::Stream,
            "--shape ramp" => self.shape == ShapeArg::Ramp,
            "--mode discard" => self.mode == Some(ServerMode::Discard),
            "--mode chargen" => self.mode == Some(ServerMode::Chargen),
            "--engine threads" => matches!(self.engine, EngineArg::Threads),
            "--engine portable" => matches!(self.engine, EngineArg::Portable),
            "--timestamps kernel" => self.timestamps == Some(TimestampsArg::Kernel),
            "a unix socket" => matches!(target, Some(Address::Unix(_))),
            _ => unreachable!("{term} has no arm"),
        }
    }

    fn wanted_family(&self) -> Option<(&'static str, bool)> {
        match (self.family.ipv4, self.family.ipv6) {
            (true, _) => Some(("--ipv4", true)),
            (_, true) => Some(("--ipv6", false)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, CliCommand};

    #[test]
    fn each_term_of_the_tables_has_an_arm() {
        let CliCommand::Load(args) = Cli::try_parse_from(["resound", "load"]).unwrap().command else {
            panic!("load was typed")
        };
        let needed = NEEDS.iter().flat_map(|(flag, needs, _)| std::iter::once(flag).chain(*needs));
        for term in CONFLICTS.iter().flat_map(|[flag, other, _]| [flag, other]).chain(needed) {
            assert!(!args.is_given(term, None), "{term}");
        }
    }
}
