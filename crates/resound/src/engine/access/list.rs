//! [`AccessList`]: networks that are allowed or denied.

use std::net::IpAddr;

use ipnet::IpNet;
use resound_proto::canonical;

/// Networks that are allowed or denied, and the decision about an address.
#[derive(Clone, Debug, Default)]
pub(super) struct AccessList {
    /// The longest prefixes first, and of equally long ones those that deny: the first that
    /// contains an address decides.
    rules: Vec<(IpNet, bool)>,
}

impl AccessList {
    pub(super) fn add(&mut self, network: IpNet, allow: bool) {
        let network = canonical(network);
        self.rules.push((network, allow));
        self.rules.sort_by_key(|(network, allow)| (u8::MAX - network.prefix_len(), *allow));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Does the list allow a network, and so deny every other address?
    pub(super) fn allows_any(&self) -> bool {
        self.rules.iter().any(|(_, allow)| *allow)
    }

    pub(super) fn admits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let decides = self.rules.iter().find(|(network, _)| network.contains(&address));
        decides.map_or_else(|| !self.allows_any(), |(_, allow)| *allow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(rules: &[&str]) -> AccessList {
        let mut list = AccessList::default();
        for rule in rules {
            let (sign, network) = rule.split_at(1);
            list.add(network.parse().unwrap(), sign == "+");
        }
        list
    }

    #[test]
    fn the_longest_prefix_decides_and_of_equal_ones_a_denial() {
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
            // Equally long once both are written alike; and bits after a prefix have no meaning.
            (&["+::ffff:10.0.0.0/104", "-10.0.0.0/8"], "10.0.0.1", false),
            (&["+::ffff:10.66.7.8/112", "-10.1.2.3/8"], "10.66.0.1", true),
            (&["-::ffff:192.0.2.7/128"], "192.0.2.7", false),
        ];
        for (rules, address, want) in cases {
            assert_eq!(list(rules).admits(address.parse().unwrap()), want, "{rules:?} {address}");
        }
    }
}
