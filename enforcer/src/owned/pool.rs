//! Which subnet an own network has. Pure.

use std::net::{IpAddr, Ipv4Addr};

use crate::{config::OWNED_PREFIX, policy::rule::Net};

/// The first subnet of the pool that overlaps nothing of these. A network that the pool is only a part of does not
/// count: whoever chose the pool chose it in there.
#[must_use]
pub fn choose((pool, length): (Ipv4Addr, u8), taken: &[Net]) -> Option<(Ipv4Addr, u8)> {
    let whole = Net::new(IpAddr::V4(pool), length)?;
    let last = last(&whole)?;
    let taken: Vec<&Net> = taken.iter().filter(|net| !around(net, &whole)).collect();
    let mut next = pool;
    loop {
        let subnet = Net::new(IpAddr::V4(next), OWNED_PREFIX)?;
        let overlaps = |net: &&&Net| net.covers(&subnet) || subnet.covers(net);
        let Some(other) = taken.iter().find(overlaps) else {
            return Some((next, OWNED_PREFIX));
        };
        let past = last_of(&[&subnet, other])?;
        if past >= last {
            return None;
        }
        next = Ipv4Addr::from_bits(past.to_bits().checked_add(1)?);
    }
}

/// The address of its bridge: the first one of a subnet.
#[must_use]
pub const fn gateway(subnet: Ipv4Addr) -> Ipv4Addr {
    Ipv4Addr::from_bits(subnet.to_bits() | 1)
}

fn around(net: &Net, pool: &Net) -> bool {
    net.length() < pool.length() && net.covers(pool)
}

/// The last address of those, which are aligned: the next subnet begins after it.
fn last_of(nets: &[&Net]) -> Option<Ipv4Addr> {
    nets.iter().filter_map(|net| last(net)).max()
}

fn last(net: &Net) -> Option<Ipv4Addr> {
    let IpAddr::V4(address) = net.address() else { return None };
    let hosts = u32::MAX.checked_shr(net.length().into()).unwrap_or(0);
    Some(Ipv4Addr::from_bits(address.to_bits() | hosts))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 201, 0, 0), 24);

    fn net(text: &str) -> Net {
        let (address, length) = text.split_once('/').expect("a network");
        Net::new(address.parse().expect("an address"), length.parse().expect("a length"))
            .expect("a network")
    }

    fn chosen(taken: &[&str]) -> Option<String> {
        let taken: Vec<Net> = taken.iter().map(|text| net(text)).collect();
        choose(POOL, &taken).map(|(address, length)| format!("{address}/{length}"))
    }

    #[test]
    fn a_subnet_overlaps_nothing_that_is_there() {
        assert_eq!(chosen(&[]).as_deref(), Some("10.201.0.0/26"));
        for (taken, expected) in [
            (&["10.201.0.0/26"][..], Some("10.201.0.64/26")),
            (&["10.201.0.70/32"], Some("10.201.0.0/26")),
            (&["10.201.0.7/32", "10.201.0.64/26"], Some("10.201.0.128/26")),
            (&["10.201.0.64/26", "10.201.0.0/25"], Some("10.201.0.128/26")),
            (&["10.201.0.0/25", "10.201.0.128/26", "10.201.0.255/32"], None),
            (&["10.201.0.0/24"], None),
            (&["10.0.0.0/8", "fd00::/8", "192.0.2.0/24"], Some("10.201.0.0/26")),
        ] {
            assert_eq!(chosen(taken).as_deref(), expected, "{taken:?}");
        }
    }

    #[test]
    fn a_pool_at_the_end_of_all_addresses_ends() {
        let pool = (Ipv4Addr::new(255, 255, 255, 192), 26);
        assert_eq!(choose(pool, &[net("255.255.255.255/32")]), None);
        assert_eq!(gateway(Ipv4Addr::new(10, 201, 0, 64)), Ipv4Addr::new(10, 201, 0, 65));
    }
}
