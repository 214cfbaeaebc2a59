//! Own networks: guest networks that an owner made through the gate. No file has them; the daemon adds them to
//! the config that it acts on, so that they are policed as the others are.

use std::collections::BTreeMap;

use enforcer_common::abi::policy::Quotas;

use super::{Config, GuestNetwork, Limits};
use crate::{access::name::User, model::provenance::Provenance};

/// Most own networks on this host. Each has a policy's slot of its own, which it keeps as long as it exists.
pub const OWNED_SLOTS: u32 = 128;
/// Bits of each own network's subnet: 61 containers, the gateway apart.
pub const OWNED_PREFIX: u8 = 26;

/// How many flows a container may have on one: both sides of each are the owner's, so that nobody else would fill the
/// table sooner. All networks of a user with default bounds have a quarter of the default table.
const QUOTAS: Quotas = Quotas {
    inbound_half_open: 128,
    inbound_established: 512,
    outbound_half_open: 128,
    outbound_established: 512,
    closing: 512,
};

/// Label of a container: the hub of the user whose it is.
const HUB: &str = "enforcer.hub";

/// Whose network it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The owner: containers of theirs talk to one another here, and nobody else's is let in. `None`: nobody's, and
    /// nobody is let in.
    pub owner: Option<User>,
    /// Its slot, below [`OWNED_SLOTS`]. Networks that are nobody's have the last one together.
    pub slot: u32,
}

impl Owned {
    /// Whether a container is the owner's, as whoever created it said.
    #[must_use]
    pub fn admits(&self, container: &Provenance) -> bool {
        let Some(owner) = &self.owner else { return false };
        let hub = container.labels.get(HUB).map(String::as_str);
        container.is_told
            && container.user.as_deref() == Some(owner.name.as_str())
            && hub == Some(owner.hub.as_str())
    }
}

impl GuestNetwork {
    /// An own network. Its containers reach one another and nothing else; Docker chooses its addresses.
    #[must_use]
    pub fn of_owner(owned: Owned, bridge: String) -> Self {
        Self {
            bridge,
            create: false,
            subnet4: None,
            gateway4: None,
            subnet6: None,
            policy: None,
            overrides: Vec::new(),
            hubs: Vec::new(),
            services: Vec::new(),
            quotas: QUOTAS,
            limits: Limits::default(),
            owned: Some(owned),
        }
    }
}

impl Config {
    /// The same with these own networks, instead of those that it had. What the file has comes first: an own network
    /// never takes its name.
    #[must_use]
    pub fn with_owned(&self, owned: &BTreeMap<String, GuestNetwork>) -> Self {
        let mut config = self.clone();
        config.networks.retain(|_, network| network.owned.is_none());
        for (name, network) in owned {
            config.networks.entry(name.clone()).or_insert_with(|| network.clone());
        }
        config
    }

    /// Its own networks.
    #[must_use]
    pub fn owned(&self) -> BTreeMap<String, GuestNetwork> {
        let owned = self.networks.iter().filter(|(_, network)| network.owned.is_some());
        owned.map(|(name, network)| (name.clone(), network.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(slot: u32) -> Owned {
        let name = "ann".parse().expect("a name");
        Owned { owner: Some(User { hub: "lab".parse().expect("a name"), name }), slot }
    }

    #[test]
    fn n2_an_own_network_admits_its_owner_s_containers_alone() {
        let labels = [("enforcer.hub".to_owned(), "lab".to_owned())];
        let hers = Provenance {
            is_told: true,
            user: Some("ann".to_owned()),
            labels: labels.into(),
            ..Provenance::default()
        };
        assert!(owned(0).admits(&hers));
        let elsewhere = [("enforcer.hub".to_owned(), "course".to_owned())];
        for other in [
            Provenance { user: Some("ben".to_owned()), ..hers.clone() },
            Provenance { user: None, ..hers.clone() },
            Provenance { labels: elsewhere.into(), ..hers.clone() },
            Provenance { labels: BTreeMap::new(), ..hers.clone() },
            Provenance { is_told: false, ..hers.clone() },
        ] {
            assert!(!owned(0).admits(&other), "{other:?}");
        }
        let nobody_s = Owned { owner: None, slot: 0 };
        assert!(!nobody_s.admits(&hers) && !nobody_s.admits(&Provenance::default()));
    }

    #[test]
    fn an_own_network_never_takes_the_place_of_one_of_the_file() {
        let text = "[networks.lab]\nbridge = \"br-lab\"";
        let config = crate::config::parse(text, "f").expect("valid");
        let network = |slot| GuestNetwork::of_owner(owned(slot), format!("en-{slot}"));
        let both = [("lab".to_owned(), network(0)), ("own".to_owned(), network(1))];
        let with = config.with_owned(&both.into());
        assert_eq!(with.networks["lab"], config.networks["lab"]);
        assert_eq!(with.owned().into_keys().collect::<Vec<_>>(), ["own"]);
        assert_eq!(with.with_owned(&BTreeMap::new()), config, "they are gone");
    }
}
