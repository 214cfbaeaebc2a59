//! A step in words, for logs and status: as short as the step is long.

use std::{fmt, net::IpAddr};

use enforcer_common::{
    abi::{
        endpoint::HubKey,
        policy::{PublishedKey, RuleKey},
    },
    packet::{Family, IPV4},
};

use super::Action;

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Close(closure) => write!(f, "close {:?}", closure.bridges),
            Self::Open => f.write_str("take the closure off"),
            Self::Attach(ifindex, hook) => write!(f, "attach {} to {ifindex}", hook.name()),
            Self::Detach(ifindex, hook) => write!(f, "take {} off {ifindex}", hook.name()),
            Self::PutNetwork(ifindex, network) => {
                write!(f, "write guest bridge {ifindex} as network {}", network.id)
            }
            Self::DropNetwork(ifindex) => write!(f, "forget guest bridge {ifindex}"),
            Self::PutEndpoint(ifindex, endpoint) => {
                write!(f, "write port {ifindex} as endpoint {}", endpoint.id)
            }
            Self::DropEndpoint(ifindex) => write!(f, "forget port {ifindex}"),
            Self::PutCgroup(cgroup, owner) => {
                write!(f, "write cgroup {cgroup} as endpoint {}'s", owner.owner)
            }
            Self::DropCgroup(cgroup) => write!(f, "forget cgroup {cgroup}"),
            Self::CreateUsage(id) => write!(f, "make the flow counters of endpoint {id}"),
            Self::DropUsage(id) => write!(f, "remove the flow counters of endpoint {id}"),
            Self::PutPublished(key) => write!(f, "open published {}", Published(key)),
            Self::DropPublished(key) => write!(f, "close published {}", Published(key)),
            Self::PutHub(key, _) => write!(f, "write {}", At(key)),
            Self::DropHub(key) => write!(f, "forget {}", At(key)),
            Self::PutPolicy(number, policy, rules) => write!(
                f,
                "change policy {number} over to {} rules, epoch {}",
                rules.len(),
                policy.epoch
            ),
            Self::DropPolicy(number) => write!(f, "forget policy {number}"),
            Self::DropRule(RuleKey { epoch, address, port, family, .. }) => {
                write!(f, "forget the rule for {} port {port}, epoch {epoch}", ip(address, *family))
            }
            Self::PutLedger(_) => f.write_str("write down the numbers that were given out"),
            Self::Pin => f.write_str("pin what is not pinned"),
            Self::SetPort(ifindex, _) => write!(f, "set bridge port {ifindex}"),
            Self::SetMac(ifindex, _) => write!(f, "pin the MAC address of bridge port {ifindex}"),
        }
    }
}

struct Published<'a>(&'a PublishedKey);

impl fmt::Display for Published<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PublishedKey { endpoint, port, protocol, .. } = self.0;
        write!(f, "port {port} (protocol {protocol}) of endpoint {endpoint}")
    }
}

struct At<'a>(&'a HubKey);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HubKey { network, address, family, .. } = self.0;
        write!(f, "hub {} on guest bridge {network}", ip(address, *family))
    }
}

/// IPv4 is in the first four bytes.
fn ip(address: &[u8; 16], family: Family) -> IpAddr {
    let [a, b, c, d, ..] = *address;
    if family == IPV4 { IpAddr::from([a, b, c, d]) } else { IpAddr::from(*address) }
}

#[cfg(test)]
mod tests {
    use enforcer_common::abi::policy::{Policy, Rule};

    use super::*;

    #[test]
    fn steps_are_short_however_much_they_do() {
        let rules = vec![(RuleKey::default(), Rule::default()); 10_000];
        let put = Action::PutPolicy(3, Policy { epoch: 7, ..Policy::default() }, rules);
        assert_eq!(put.to_string(), "change policy 3 over to 10000 rules, epoch 7");
        let mut address = [0; 16];
        address[..4].copy_from_slice(&[192, 0, 2, 1]);
        let key = RuleKey { epoch: 2, address, port: 80, protocol: 6, family: IPV4 };
        let drop = Action::DropRule(key);
        assert_eq!(drop.to_string(), "forget the rule for 192.0.2.1 port 80, epoch 2");
    }
}
