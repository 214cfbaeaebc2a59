//! Named bundles of destinations, with the names that operators know from zero-to-jupyterhub.
//!
//! None of them ever means this host or a guest network, but for `dns`, the resolver of this host, and `hub`,
//! the hubs of the network, which are open at their ports without it, too.

use std::net::IpAddr;

use enforcer_common::packet::{TCP, UDP};

use super::Place;
use crate::policy::rule::{Net, Ports};

/// Every preset.
pub(super) const NAMES: [&str; 5] =
    ["public-internet", "private-networks", "cloud-metadata", "dns", "hub"];

/// Where the resolver listens.
pub(super) const DNS: [Ports; 2] = [Ports::one(UDP, 53), Ports::one(TCP, 53)];

/// Where clouds tell a machine its secrets. Azure's and Oracle's are public addresses.
const METADATA: &[&str] =
    &["169.254.169.254", "fd00:ec2::254", "168.63.129.16", "100.100.100.200", "192.0.0.192"];
/// RFC 1918, RFC 6598 (carrier-grade NAT) and RFC 4193.
const PRIVATE: &[&str] =
    &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"];
/// What is no address of somebody else's machine (RFC 6890): this network, loopback, link-local, protocol
/// assignments, multicast and reserved; and tunnels that carry an IPv4 address, perhaps a private one.
const NOT_PUBLIC: &[&str] = &[
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "192.0.0.0/24",
    "224.0.0.0/3",
    "2001::/32",
    "2002::/16",
];
/// Nobody's beyond the next machine.
const LINK_LOCAL: &[&str] = &["169.254.0.0/16", "fe80::/10"];
/// IPv6 addresses that carry an IPv4 one, perhaps that of a metadata service: mapped, NAT64, Teredo, 6to4.
const CARRIERS: &[&str] = &["::/8", "2001::/32", "2002::/16"];
/// Global unicast (RFC 4291) is all that is given out of IPv6.
const PUBLIC: &[&str] = &["0.0.0.0/0", "2000::/3"];

/// What a preset opens, and which ports there.
pub(super) fn preset(name: &str) -> Option<(Place, Vec<Ports>)> {
    let nets = |(to, except)| Some((Place::Nets { to, except }, Ports::ALL.to_vec()));
    match name {
        "dns" => Some((Place::Resolver { any: true }, DNS.to_vec())),
        // They are open at their own ports anyway.
        "hub" => Some((Place::Hubs, Vec::new())),
        "private-networks" => nets(private_networks()),
        "cloud-metadata" => nets((read(METADATA), Vec::new())),
        "public-internet" => nets(public_internet()),
        _ => None,
    }
}

/// Addresses that are given out, and what of them is no machine of somebody else's.
pub(crate) fn public_internet() -> (Vec<Net>, Vec<Net>) {
    (read(PUBLIC), read(&[NOT_PUBLIC, PRIVATE, METADATA].concat()))
}

/// Addresses of private networks, and what of them is none of a machine's.
pub(crate) fn private_networks() -> (Vec<Net>, Vec<Net>) {
    (read(PRIVATE), read(METADATA))
}

/// What audit mode lets through, and what of that not: where clouds tell secrets, also by link-local addresses
/// and by IPv6 addresses that carry an IPv4 one.
pub(super) fn audited() -> (Vec<Net>, Vec<Net>) {
    (any(), read(&[METADATA, LINK_LOCAL, CARRIERS].concat()))
}

/// Every address.
pub(super) fn any() -> Vec<Net> {
    read(&["0.0.0.0/0", "::/0"])
}

/// Where an address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// To somebody else's machine on the public internet.
    Public,
    /// To the metadata service of a cloud.
    Metadata,
    /// Elsewhere.
    Private,
}

/// Where an address leads.
#[must_use]
pub fn reach(address: IpAddr) -> Reach {
    let address = Net::host(address);
    if read(METADATA).contains(&address) {
        return Reach::Metadata;
    }
    if is_public(&address) { Reach::Public } else { Reach::Private }
}

/// Whether an address may be opened to one guest for a while: a machine's, beyond this one, and no metadata service,
/// by none of its names.
#[must_use]
pub fn is_for_a_while(address: IpAddr) -> bool {
    let is_machine = match address {
        IpAddr::V4(address) => {
            let [first, ..] = address.octets();
            !matches!(first, 0 | 127 | 224..)
        }
        IpAddr::V6(address) => !address.is_multicast(),
    };
    let net = Net::host(address);
    // NAT64 (RFC 6052): the well-known prefix, and the one for local use.
    let closed = [METADATA, LINK_LOCAL, CARRIERS, &["64:ff9b::/96", "64:ff9b:1::/48"]].concat();
    is_machine && !read(&closed).iter().any(|closed| closed.covers(&net))
}

/// Whether all of a network is public, as preset `public-internet` has it.
#[must_use]
pub fn is_public(net: &Net) -> bool {
    let (to, except) = public_internet();
    to.iter().any(|to| to.covers(net))
        && !except.iter().any(|except| except.covers(net) || net.covers(except))
}

fn read(texts: &[&str]) -> Vec<Net> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_known_and_every_network_in_it_is_one() {
        for name in NAMES {
            let (to, ports) = preset(name).expect(name);
            assert!((name == "hub") == ports.is_empty());
            assert!(!matches!(to, Place::Nets { to, .. } if to.is_empty()));
        }
        for list in [METADATA, PRIVATE, NOT_PUBLIC, PUBLIC, LINK_LOCAL, CARRIERS] {
            assert_eq!(read(list).len(), list.len(), "{list:?}");
        }
        assert_eq!(any().len(), 2);
    }

    #[test]
    fn n1_the_public_internet_has_no_private_corner() {
        let Some((Place::Nets { to, except }, _)) = preset("public-internet") else {
            panic!("it is networks");
        };
        let is_in = |text: &str| {
            let net: Net = text.parse().expect("an address");
            to.iter().any(|to| to.covers(&net)) && !except.iter().any(|net2| net2.covers(&net))
        };
        for inside in
            ["1.1.1.1", "151.101.0.223", "172.32.0.1", "2606:4700::1111", "2a04:4e42::223"]
        {
            assert!(is_in(inside), "{inside}");
        }
        for outside in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "fd00::1",
            "fe80::1",
            "ff02::1",
            "2002:a00:1::",
            "2001:0:1::",
        ] {
            assert!(!is_in(outside), "{outside}");
        }
    }
}
