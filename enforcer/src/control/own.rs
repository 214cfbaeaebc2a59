//! Control path 1b: what is this host's own, or a guest network's: what a rule never means by a number. Pure.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::{
    config::Config,
    model::{
        inventory::Inventory,
        link::{Link, Links, OnNet},
    },
    policy::rule::Net,
};

/// Networks of at least so many bits have no broadcast address (RFC 3021), and no anycast address of their
/// routers (RFC 6164).
const POINT_TO_POINT: (u8, u8) = (31, 127);

/// Addresses of this host, whatever else reaches it, and the guest networks.
pub(super) fn own(config: &Config, inventory: &Inventory, links: &Links) -> Vec<Net> {
    let addresses = links.values().flat_map(|link| {
        let ipv4 = link.ipv4.iter().copied().map(IpAddr::V4);
        ipv4.chain(link.ipv6.iter().copied().map(IpAddr::V6))
    });
    let subnets = config.networks.iter().flat_map(|(name, network)| {
        let ipv4 = network.subnet4.and_then(|(address, length)| Net::new(address.into(), length));
        let ipv6 = network.subnet6.and_then(|(address, length)| Net::new(address.into(), length));
        let docker = inventory.networks.values().filter(move |docker| docker.name == *name);
        let docker = docker.flat_map(|docker| &docker.subnets);
        let docker = docker.filter_map(|subnet| Net::new(subnet.address, subnet.prefix));
        ipv4.into_iter().chain(ipv6).chain(docker)
    });
    let also = links.values().flat_map(also);
    let own: BTreeSet<Net> = addresses.map(Net::host).chain(also).chain(subnets).collect();
    own.into_iter().collect()
}

/// What the kernel takes for this host beside a link's own addresses: the broadcast addresses of its
/// networks, the one that stands for the routers of an IPv6 network (RFC 4291, 2.6.1), and on a loopback
/// interface whole IPv4 networks.
fn also(link: &Link) -> impl Iterator<Item = Net> {
    link.on.iter().flat_map(|on| match on.address {
        IpAddr::V4(address) => of_ipv4(on, address, link.loopback),
        IpAddr::V6(address) => {
            let routers = first(address, on.prefix).filter(|_| on.prefix < POINT_TO_POINT.1);
            routers.map(|routers| Net::host(routers.into())).into_iter().collect()
        }
    })
}

fn of_ipv4(on: &OnNet, address: Ipv4Addr, loopback: bool) -> Vec<Net> {
    if loopback {
        return Net::new(address.into(), on.prefix).into_iter().collect();
    }
    let hosts = u32::MAX.checked_shr(on.prefix.into()).unwrap_or(0);
    let last = Ipv4Addr::from_bits(address.to_bits() | hosts);
    // The kernel has both, should somebody have given another one.
    let last = (on.prefix < POINT_TO_POINT.0).then_some(last);
    last.into_iter().chain(on.broadcast).map(|address| Net::host(address.into())).collect()
}

fn first(address: Ipv6Addr, prefix: u8) -> Option<Ipv6Addr> {
    let hosts = u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
    (prefix <= 128).then(|| Ipv6Addr::from_bits(address.to_bits() & !hosts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::link::LinkKind;

    /// Address, prefix length, broadcast address.
    type On = (&'static str, u8, Option<[u8; 4]>);

    fn own_of(loopback: bool, on: &[On]) -> Vec<String> {
        let on = on.iter().map(|(address, prefix, broadcast)| OnNet {
            address: address.parse().expect("an address"),
            prefix: *prefix,
            broadcast: broadcast.map(Ipv4Addr::from),
        });
        let link = Link {
            ifindex: 3,
            name: "lan0".to_owned(),
            kind: LinkKind::Other,
            master: None,
            mac: [0; 6],
            peer: None,
            peer_netns: None,
            peer_mac: None,
            port: None,
            loopback,
            ipv4: Vec::new(),
            ipv6: Vec::new(),
            on: on.collect(),
        };
        let links = Links::from([(3, link)]);
        let own = own(&Config::default(), &Inventory::default(), &links);
        own.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn n3_what_reaches_this_host_by_a_network_of_its_own_is_its_own() {
        #[rustfmt::skip]
        let table: [(&str, bool, &[On], &[&str]); 10] = [
            ("a LAN", false, &[("192.0.2.7", 24, Some([192, 0, 2, 255]))], &["192.0.2.255"]),
            ("a LAN without a broadcast address", false, &[("192.0.2.7", 24, None)], &["192.0.2.255"]),
            ("with another one", false, &[("192.0.2.7", 24, Some([192, 0, 2, 0]))], &["192.0.2.0", "192.0.2.255"]),
            ("not at a byte", false, &[("10.5.6.7", 13, None)], &["10.7.255.255"]),
            ("two addresses of one LAN", false, &[("192.0.2.7", 24, None), ("192.0.2.8", 24, None)], &["192.0.2.255"]),
            ("point to point", false, &[("192.0.2.7", 31, None), ("192.0.2.9", 32, None)], &[]),
            ("a single address that has one", false, &[("192.0.2.9", 32, Some([192, 0, 2, 63]))], &["192.0.2.63"]),
            ("loopback", true, &[("127.0.0.1", 8, None), ("198.51.100.0", 28, None)], &["127.0.0.0/8", "198.51.100.0/28"]),
            ("routers of IPv6 networks", false, &[("2001:db8:1:2::7", 64, None), ("fe80::1", 64, None)], &["2001:db8:1:2::", "fe80::"]),
            ("IPv6 point to point", false, &[("2001:db8::1", 127, None), ("2001:db8::3", 128, None)], &[]),
        ];
        for (what, loopback, on, expected) in table {
            assert_eq!(own_of(loopback, on), expected, "{what}");
        }
        assert_eq!(
            own_of(false, &[("0.0.0.0", 0, None), ("::", 0, None)]),
            ["255.255.255.255", "::"]
        );
    }
}
