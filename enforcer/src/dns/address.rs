//! Which addresses an answer may have in it. Whoever owns a name decides what it stands for: without
//! this, a name that a rule allows is a way to this host, to its neighbours and to the cloud's keys.

use std::net::IpAddr;

use crate::{
    config::presets::{private_networks, public_internet},
    policy::rule::Net,
};

/// Networks by what an answer may say of them.
#[derive(Debug)]
pub struct Ranges {
    public: Range,
    private: Range,
}

/// Networks, and what of them is left out.
#[derive(Debug)]
struct Range {
    within: Vec<Net>,
    except: Vec<Net>,
}

impl Default for Ranges {
    /// As policies have them under the names of their presets.
    fn default() -> Self {
        Self { public: Range::of(public_internet()), private: Range::of(private_networks()) }
    }
}

impl Range {
    fn of((within, except): (Vec<Net>, Vec<Net>)) -> Self {
        Self { within, except }
    }

    fn covers(&self, net: &Net) -> bool {
        let is_left_out = |except: &Net| except.covers(net) || net.covers(except);
        self.within.iter().any(|within| within.covers(net)) && !self.except.iter().any(is_left_out)
    }
}

impl Ranges {
    /// Whether all of a network is publicly routed.
    #[must_use]
    pub fn is_public(&self, net: &Net) -> bool {
        self.public.covers(net)
    }

    /// Whether an answer may have this address in it. Loopback, link-local, multicast, reserved and
    /// metadata addresses never, and nothing of `own`.
    #[must_use]
    pub fn permit(&self, address: IpAddr, private: bool, own: &[Net]) -> bool {
        let net = Net::host(address);
        let is_routed = self.public.covers(&net) || (private && self.private.covers(&net));
        is_routed && !own.iter().any(|own| own.covers(&net))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p31_no_answer_leads_to_this_host_to_metadata_or_to_a_private_network() {
        let ranges = Ranges::default();
        let own = ["192.168.7.0/24", "203.0.113.7", "2001:db8:7::/64"]
            .map(|text| text.parse::<Net>().expect("a network"));
        // Address -> whether any answer may have it, and whether one may of whose rule is `private`.
        let table = [
            ("151.101.0.223", true, true),
            ("2a04:4e42::223", true, true),
            ("10.0.0.1", false, true),
            ("172.16.0.1", false, true),
            ("192.168.1.1", false, true),
            ("100.64.0.1", false, true),
            ("fd00::1", false, true),
            ("192.168.7.9", false, false),
            ("203.0.113.7", false, false),
            ("2001:db8:7::1", false, false),
            ("127.0.0.1", false, false),
            ("::1", false, false),
            ("0.0.0.0", false, false),
            ("::", false, false),
            ("169.254.169.254", false, false),
            ("fd00:ec2::254", false, false),
            ("100.100.100.200", false, false),
            ("168.63.129.16", false, false),
            ("169.254.1.1", false, false),
            ("fe80::1", false, false),
            ("224.0.0.251", false, false),
            ("ff02::1", false, false),
            ("255.255.255.255", false, false),
            ("::ffff:10.0.0.1", false, false),
            ("::ffff:151.101.0.223", false, false),
            ("64:ff9b::a00:1", false, false),
            ("64:ff9b::9765:df", false, false),
            ("2002:a00:1::1", false, false),
            ("2001:0:1::1", false, false),
        ];
        for (text, any, private) in table {
            let address = text.parse().expect("an address");
            assert_eq!(ranges.permit(address, false, &own), any, "{text}");
            assert_eq!(ranges.permit(address, true, &own), private, "{text} private");
        }
    }
}
