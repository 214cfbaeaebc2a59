//! Named bundles of destinations, with the names that operators know from zero-to-jupyterhub.
//!
//! None of them ever means this host or a guest network: those are named by `host`, and by hubs.

use crate::policy::rule::Net;

/// Every preset.
pub(super) const NAMES: [&str; 3] = ["public-internet", "private-networks", "cloud-metadata"];

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
/// Global unicast (RFC 4291) is all that is given out of IPv6.
const PUBLIC: &[&str] = &["0.0.0.0/0", "2000::/3"];

/// Destinations of a preset, and what of them is left out.
pub(super) fn preset(name: &str) -> Option<(Vec<Net>, Vec<Net>)> {
    match name {
        "public-internet" => {
            let except = [NOT_PUBLIC, PRIVATE, METADATA].concat();
            Some((nets(PUBLIC), nets(&except)))
        }
        "private-networks" => Some((nets(PRIVATE), nets(METADATA))),
        "cloud-metadata" => Some((nets(METADATA), Vec::new())),
        _ => None,
    }
}

/// Every address.
pub(super) fn any() -> Vec<Net> {
    nets(&["0.0.0.0/0", "::/0"])
}

fn nets(texts: &[&str]) -> Vec<Net> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_known_and_every_network_in_it_is_one() {
        for name in NAMES {
            assert!(preset(name).is_some_and(|(to, _)| !to.is_empty()), "{name}");
        }
        for list in [METADATA, PRIVATE, NOT_PUBLIC, PUBLIC] {
            assert_eq!(nets(list).len(), list.len(), "{list:?}");
        }
        assert_eq!(any().len(), 2);
    }

    #[test]
    fn n1_the_public_internet_has_no_private_corner() {
        let (to, except) = preset("public-internet").expect("a preset");
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
