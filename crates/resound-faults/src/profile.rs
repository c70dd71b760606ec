//! Named profiles: what real boxes in the path do to a connection, by their documentation or an
//! issue.

use crate::spec::FaultSpec;

/// The faults of a real box in the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultProfile {
    /// Its name, such as `azure-lb`.
    pub name: &'static str,
    /// Its faults, as a specification.
    pub faults: &'static str,
    /// What it does to a connection, as one short sentence without its full stop.
    pub what: &'static str,
    /// The address of the page or issue that says so.
    pub source: &'static str,
}

/// All profiles, in the order of their names.
pub const PROFILES: &[FaultProfile] = &[
    FaultProfile {
        name: "aws-nlb",
        faults: "idle-silent=350s",
        what: "forgets a connection that is idle for 350 s and tells neither end (it answers later bytes with a RST, \
               which this does not)",
        source: concat!(
            "https://aws.amazon.com/blogs/networking-and-content-delivery/",
            "introducing-nlb-tcp-configurable-idle-timeout/"
        ),
    },
    FaultProfile {
        name: "azure-lb",
        faults: "idle-silent=240s",
        what: "forgets a connection that is idle for 4 minutes and tells neither end",
        source: "https://learn.microsoft.com/en-us/azure/load-balancer/load-balancer-tcp-reset",
    },
    FaultProfile {
        name: "azure-lb-reset",
        faults: "idle-reset=240s",
        what: "resets both ends of a connection that is idle for 4 minutes, where TCP reset is turned on",
        source: "https://learn.microsoft.com/en-us/azure/load-balancer/load-balancer-tcp-reset",
    },
    FaultProfile {
        name: "docker-proxy-2016",
        faults: "close-on-eof",
        what: "takes a FIN of one end for the end of both directions: the reply is lost",
        source: "https://github.com/moby/moby/issues/27539",
    },
    FaultProfile {
        name: "envoy-before-2026",
        faults: "rst-to-fin",
        what: "passes a RST on as a FIN, so that an aborted answer looks complete",
        source: "https://github.com/envoyproxy/envoy/pull/44148",
    },
    FaultProfile {
        name: "ipvs",
        faults: "idle-silent=900s; half-closed-idle=60s",
        what: "forgets idle connections after 15 minutes, and half-closed ones after one",
        source: "https://github.com/moby/moby/issues/31208",
    },
    FaultProfile {
        name: "keploy",
        faults: "up: eat-fin",
        what: "never passes a client's FIN on: a server that answers at the end of its input waits for ever",
        source: "https://github.com/keploy/keploy/pull/4542",
    },
    FaultProfile {
        name: "nginx-stream-default",
        faults: "idle-close=600s",
        what: "closes a connection that is idle for 10 minutes (`proxy_timeout`)",
        source: "https://nginx.org/en/docs/stream/ngx_stream_proxy_module.html#proxy_timeout",
    },
    FaultProfile {
        name: "podman-rootless",
        faults: "accept-then-reset",
        what: "accepts on a published port that nothing listens on, and then resets",
        source: "https://github.com/containers/podman/issues/12237",
    },
];

impl FaultProfile {
    /// The profile of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        PROFILES.iter().find(|profile| profile.name == name)
    }

    /// Its faults; `None` would be a mistake in the table, which a test excludes.
    #[must_use]
    pub fn spec(&self) -> Option<FaultSpec> {
        self.faults.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Role;

    #[test]
    fn each_profile_is_a_specification_for_a_relay() {
        for profile in PROFILES {
            let spec: FaultSpec = profile.faults.parse().unwrap_or_else(|error| panic!("{}: {error}", profile.name));
            assert_eq!(profile.spec().as_ref(), Some(&spec));
            assert_eq!(spec.check_for(Role::Relay), Ok(()), "{}", profile.name);
            assert!(profile.source.starts_with("https://") && !profile.what.ends_with('.'), "{}", profile.name);
            assert_eq!(FaultProfile::named(profile.name), Some(profile));
        }
        assert!(PROFILES.is_sorted_by_key(|profile| profile.name));
    }
}
