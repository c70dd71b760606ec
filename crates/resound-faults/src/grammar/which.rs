//! The connections in front of a rule.

use std::net::IpAddr;

use ipnet::IpNet;

use super::part::Part;
use crate::error::{Flaw, SpecProblem};
use crate::rule::Connections;

const MEANT: &str = "a choice of connections or a direction: 3, 1-2, 5-, every 5th, from=10.0.0.0/8, *, up or down";

pub(super) fn connections(part: Part<'_>) -> Result<Connections, Flaw> {
    let text = part.text;
    let amount = |sentence: String| Err(Flaw::new(SpecProblem::Amount, part.range(), sentence));
    if text == "*" {
        return Ok(Connections::All);
    }
    if let Some(rest) = text.strip_prefix("every").filter(|rest| rest.is_empty() || rest.starts_with(' ')) {
        let number = ["st", "nd", "rd", "th"].into_iter().find_map(|end| rest.trim().strip_suffix(end));
        return match number.and_then(number_from_one) {
            Some(number) => Ok(Connections::Every(number)),
            None => amount(format!("'{text}' does not choose connections; write it like every 2nd or every 5th")),
        };
    }
    if let Some(network) = text.strip_prefix("from=") {
        return from(part, network);
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        return Err(Flaw::unknown(part.range(), text, MEANT, ["up", "down", "every"]));
    }
    let (first, last) = text.split_once('-').map_or((text, Some(text)), |(first, last)| (first, Some(last)));
    let last = last.map(str::trim).filter(|last| !last.is_empty());
    let numbers = (number_from_one(first.trim()), last.map(number_from_one));
    match numbers {
        (Some(first), None) => Ok(Connections::Numbers(first, None)),
        (Some(first), Some(Some(last))) if first <= last => Ok(Connections::Numbers(first, Some(last))),
        (Some(_), Some(Some(_))) => amount(format!("'{text}' ends before it begins")),
        _ => amount(format!("'{text}' does not choose connections, which are numbered from 1, like 3, 1-2 or 5-")),
    }
}

fn number_from_one(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_number && *number > 0)
}

/// `10.0.0.0/8`, `192.0.2.7`, `[2001:db8::]/32`.
fn from(part: Part<'_>, text: &str) -> Result<Connections, Flaw> {
    let amount = |sentence: String| Err(Flaw::new(SpecProblem::Amount, part.range(), sentence));
    let bare = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let network = match bare {
        Some((address, prefix)) if address.contains(':') => network(&format!("{address}{prefix}")),
        Some(_) => None,
        None => network(text).filter(|network| network.addr().is_ipv4()),
    };
    match network {
        Some(network) if network != network.trunc() => {
            amount(format!("'{network}' has host bits set; write {}", Connections::From(network.trunc())))
        }
        Some(network) => Ok(Connections::From(unmapped(network))),
        None => amount(format!("'{text}' is not a network; write it like 10.0.0.0/8, 192.0.2.7 or [2001:db8::]/32")),
    }
}

fn network(text: &str) -> Option<IpNet> {
    match text.parse::<IpAddr>() {
        Ok(address) => Some(address.into()),
        Err(_) => text.parse().ok(),
    }
}

/// An IPv4-mapped network becomes IPv4, as the addresses of peers do.
fn unmapped(network: IpNet) -> IpNet {
    match (network.addr().to_canonical(), network) {
        (IpAddr::V4(address), IpNet::V6(v6)) if v6.prefix_len() >= 96 => {
            IpNet::new(address.into(), v6.prefix_len() - 96).unwrap_or(network)
        }
        _ => network,
    }
}
