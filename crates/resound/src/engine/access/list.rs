//! Which addresses are let in.

use std::net::IpAddr;

use ipnet::IpNet;
use resound_proto::canonical;

/// Networks that are allowed or denied.
#[derive(Clone, Debug, Default)]
pub(super) struct AccessList {
    /// The longest prefixes first, and of equally long ones those that deny: the first that holds an address decides.
    rules: Vec<(IpNet, bool)>,
    any_allowed: bool,
}

impl AccessList {
    pub(super) fn add(&mut self, network: IpNet, allow: bool) {
        let network = canonical(network);
        self.rules.push((network, allow));
        self.rules.sort_by_key(|(network, allow)| (u8::MAX - network.prefix_len(), *allow));
        self.any_allowed |= allow;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Is anything allowed, and so everything else kept out?
    pub(super) fn are_listed(&self) -> bool {
        self.any_allowed
    }

    pub(super) fn admit(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let decides = self.rules.iter().find(|(network, _)| network.contains(&address));
        decides.map_or(!self.any_allowed, |(_, allow)| *allow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(rules: &[&str]) -> AccessList {
        let mut networks = AccessList::default();
        for rule in rules {
            let (sign, network) = rule.split_at(1);
            networks.add(network.parse().unwrap(), sign == "+");
        }
        networks
    }

    #[test]
    fn the_longest_prefix_decides_and_of_equals_the_one_that_denies() {
        let cases: [(&[&str], &str, bool); 24] = [
            (&[], "192.0.2.1", true),
            (&["-192.0.2.0/24"], "192.0.2.1", false),
            (&["-192.0.2.0/24"], "192.0.3.1", true),
            (&["+192.0.2.0/24"], "192.0.2.1", true),
            (&["+192.0.2.0/24"], "192.0.3.1", false),
            (&["+192.0.2.0/24"], "::1", false),
            (&["+10.0.0.0/8", "-10.66.0.0/16"], "10.66.0.1", false),
            (&["+10.0.0.0/8", "-10.66.0.0/16"], "10.67.0.1", true),
            (&["-10.0.0.0/8", "+10.66.0.0/16"], "10.66.0.1", true),
            (&["-10.0.0.0/8", "+10.66.0.0/16"], "10.67.0.1", false),
            (&["+10.0.0.0/8", "-10.0.0.0/8"], "10.0.0.1", false),
            (&["-10.0.0.0/8", "+10.0.0.0/8"], "10.0.0.1", false),
            (&["-0.0.0.0/0", "+192.0.2.1/32"], "192.0.2.1", true),
            (&["-::/0"], "192.0.2.1", true),
            (&["-::/0"], "::ffff:192.0.2.1", true),
            (&["-192.0.2.0/24"], "::ffff:192.0.2.1", false),
            (&["-::ffff:192.0.2.0/120"], "192.0.2.1", false),
            (&["-::ffff:192.0.2.0/120"], "::ffff:192.0.2.1", false),
            (&["-::ffff:192.0.2.0/120"], "192.0.3.1", true),
            (&["+::ffff:0:0/96"], "192.0.2.1", true),
            (&["+::ffff:0:0/96"], "2001:db8::1", false),
            // As long as each other, once both are written alike; and what stands behind a prefix
            // has no meaning.
            (&["+::ffff:10.0.0.0/104", "-10.0.0.0/8"], "10.0.0.1", false),
            (&["+::ffff:10.66.7.8/112", "-10.1.2.3/8"], "10.66.0.1", true),
            (&["-::ffff:192.0.2.7/128"], "192.0.2.7", false),
        ];
        for (rules, address, want) in cases {
            assert_eq!(networks(rules).admit(address.parse().unwrap()), want, "{rules:?} {address}");
        }
    }
}
