//! What keeps guest bridges closed where no program of ours sits.

use std::collections::{BTreeMap, BTreeSet};

use super::link::{LinkKind, Links};

/// How the names of own networks' bridges begin: no config names such a bridge. These are closed whatever the config
/// has, also at boot, when nobody has read yet which of them there are.
pub const OWN_BRIDGES: &str = "en-own-";

/// Guest bridges that carry only frames with a stamp, and what a stamp is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closure {
    /// Names of the bridges, whether or not they exist; [`OWN_BRIDGES`] are always among them, and not here.
    pub bridges: BTreeSet<String>,
    /// Bits of a frame's mark that are ours.
    pub mark_mask: u32,
    /// Their value once a program has let the frame out of a port.
    pub from_guest: u32,
    /// Their value once a program has let the frame of the host in.
    pub from_host: u32,
    /// What tells a guest bridge's frames from others.
    pub by: By,
}

/// What tells a guest bridge's frames from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// The bridge. Closes every way: between ports, to the host and from it.
    Bridge,
    /// The ports, on kernels that do not tell the bridge's name (`CONFIG_NFT_BRIDGE_META`): frames
    /// from one veth to another, both of which are not known to be ports of other bridges. The ways
    /// to the host and from it are closed by the programs on the bridge alone.
    Ports {
        /// veths that are ports of other bridges.
        others: BTreeSet<String>,
    },
}

impl Closure {
    /// Whether a bridge of this name is closed.
    #[must_use]
    pub fn covers(&self, bridge: &str) -> bool {
        bridge.starts_with(OWN_BRIDGES) || self.bridges.contains(bridge)
    }

    /// The same, told by ports.
    #[must_use]
    pub fn by_ports(mut self, links: &Links) -> Self {
        let guest_bridge =
            |master: &u32| links.get(master).is_some_and(|bridge| self.covers(&bridge.name));
        let others = links
            .values()
            .filter(|link| link.kind == LinkKind::Veth)
            .filter(|link| link.master.is_some_and(|master| !guest_bridge(&master)))
            .map(|link| link.name.clone())
            .collect();
        self.by = By::Ports { others };
        self
    }
}

/// Frames that the closure dropped, by where on their way.
pub type Drops = BTreeMap<String, u64>;

/// The two stamps: the lowest two bits of the mask, one for each. The first is `from_guest`'s.
#[must_use]
pub fn stamps(mask: u32) -> Option<(u32, u32)> {
    let first = mask & mask.wrapping_neg();
    let rest = mask & !first;
    let second = rest & rest.wrapping_neg();
    (second != 0).then_some((first, second))
}

#[cfg(test)]
mod tests {
    use super::stamps;

    #[test]
    fn stamps_are_two_bits_of_the_mask() {
        assert_eq!(stamps(0x0600_0000), Some((0x0200_0000, 0x0400_0000)));
        assert_eq!(stamps(0x8000_0001), Some((1, 0x8000_0000)));
        assert_eq!(stamps(0x10), None);
        assert_eq!(stamps(0), None);
    }
}
