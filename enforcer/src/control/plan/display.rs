//! A step in words, for logs and status: as short as the step is long.

use std::fmt;

use enforcer_common::abi::{endpoint::HubKey, policy::PublishedKey};

use super::Action;
use crate::control::desired::abi_ip;

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
            Self::PutPolicy(number, policy, tables) => write!(
                f,
                "change policy {number} over to {} entries, epoch {}",
                tables.len(),
                policy.epoch
            ),
            Self::DropPolicy(number) => write!(f, "forget policy {number}"),
            Self::DropRules(epoch, tables) => {
                write!(f, "forget {} entries of epoch {epoch}", tables.len())
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
        write!(f, "hub {} on guest bridge {network}", abi_ip(*address, *family))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use enforcer_common::abi::policy::{Policy, Prefix, PrefixKey};

    use super::*;
    use crate::policy::compile::Tables;

    #[test]
    fn steps_are_short_however_much_they_do() {
        let prefix = |length| (PrefixKey { length, ..PrefixKey::default() }, Prefix::default());
        let prefixes: BTreeMap<_, _> = (0..100).map(prefix).collect();
        let tables = Arc::new(Tables { prefixes, ..Tables::default() });
        let policy = Policy { epoch: 7, ..Policy::default() };
        let put = Action::PutPolicy(3, policy, Arc::clone(&tables));
        assert_eq!(put.to_string(), "change policy 3 over to 100 entries, epoch 7");
        let drop = Action::DropRules(2, tables);
        assert_eq!(drop.to_string(), "forget 100 entries of epoch 2");
    }
}
