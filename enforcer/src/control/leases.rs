//! Addresses that the resolver told guests, and under which names they are open to whom. Pure: what it says
//! is to be written is written into map `LEASES`, which it is read from at the start.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_common::abi::policy::{Lease, LeaseKey};

use super::desired::abi_ip;
use crate::policy::rule::Net;

/// Most addresses that are open to one endpoint at once: a guest that asks for name after name fills its
/// own share of the map.
pub const MAX_ADDRESSES: usize = 1024;

/// Why an address is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Too many addresses.
    #[error("the guest has {MAX_ADDRESSES} addresses open, which is as many as it may")]
    TooMany,
    /// Too many names.
    #[error("the address is open under as many names as it may be")]
    TooManyNames,
    /// No address of another machine.
    #[error("the address is this host's, or a guest's")]
    Own,
}

/// Every lease.
#[derive(Clone, Debug, Default)]
pub struct Leases(BTreeMap<LeaseKey, Lease>);

impl Leases {
    /// Those that an earlier daemon wrote.
    #[must_use]
    pub fn known(entries: impl IntoIterator<Item = (LeaseKey, Lease)>) -> Self {
        Self(entries.into_iter().collect())
    }

    /// Opens an address under the name of this class until then: the entry that says so. A lease is
    /// prolonged and never shortened. Times are monotonic ns.
    pub fn grant(
        &mut self,
        key: LeaseKey,
        name: u32,
        until_ns: u64,
        now_ns: u64,
    ) -> Result<Lease, LeaseError> {
        let of_endpoint = LeaseKey { endpoint: key.endpoint, ..LeaseKey::default() };
        let next = LeaseKey { endpoint: key.endpoint + 1, ..LeaseKey::default() };
        if !self.0.contains_key(&key) && self.0.range(of_endpoint..next).count() >= MAX_ADDRESSES {
            return Err(LeaseError::TooMany);
        }
        let mut lease = self.0.get(&key).copied().unwrap_or_default();
        let places = || lease.names.iter().zip(&lease.until_ns);
        let same = places().position(|(known, _)| *known == name);
        let free = || places().position(|(known, until)| *known == 0 || *until <= now_ns);
        let place = same.or_else(free).ok_or(LeaseError::TooManyNames)?;
        if let (Some(known), Some(until)) =
            (lease.names.get_mut(place), lease.until_ns.get_mut(place))
        {
            *until = if *known == name { until_ns.max(*until) } else { until_ns };
            *known = name;
        }
        self.0.insert(key, lease);
        Ok(lease)
    }

    /// Forgets leases that are over, or whose endpoint is gone, or whose address is this host's or a guest's
    /// by now: those to remove.
    pub fn sweep(&mut self, endpoints: &BTreeSet<u32>, own: &[Net], now_ns: u64) -> Vec<LeaseKey> {
        let goes = |key: &LeaseKey, lease: &Lease| {
            let open = lease.names.iter().zip(&lease.until_ns);
            let is_over = !open.into_iter().any(|(name, until)| *name != 0 && *until > now_ns);
            is_over || !endpoints.contains(&key.endpoint) || is_own(key, own)
        };
        let gone: Vec<LeaseKey> =
            self.0.iter().filter(|(key, lease)| goes(key, lease)).map(|(key, _)| *key).collect();
        self.0.retain(|key, _| gone.binary_search(key).is_err());
        gone
    }
}

/// Whether an address is this host's, or in a guest network.
#[must_use]
pub fn is_own(key: &LeaseKey, own: &[Net]) -> bool {
    let address = Net::host(abi_ip(key.address, key.family));
    own.iter().any(|net| net.covers(&address))
}

#[cfg(test)]
mod tests {
    use enforcer_common::packet::IPV4;

    use super::*;

    fn key(endpoint: u32, number: u16) -> LeaseKey {
        let [high, low] = number.to_be_bytes();
        let mut address = [0; 16];
        address[..4].copy_from_slice(&[192, 0, high, low]);
        LeaseKey { endpoint, address, family: IPV4, reserved: [0; 3] }
    }

    #[test]
    fn p31_a_lease_is_prolonged_and_never_shortened() {
        let mut leases = Leases::default();
        let first = leases.grant(key(1, 1), 7, 100, 10).expect("there is room");
        assert_eq!((first.names, first.until_ns), ([7, 0, 0, 0], [100, 0, 0, 0]));
        let shorter = leases.grant(key(1, 1), 7, 50, 20).expect("it is there");
        assert_eq!(shorter, first);
        let longer = leases.grant(key(1, 1), 7, 200, 20).expect("it is there");
        assert_eq!(longer.until_ns, [200, 0, 0, 0]);
        let both = leases.grant(key(1, 1), 8, 90, 20).expect("there is room");
        assert_eq!((both.names, both.until_ns), ([7, 8, 0, 0], [200, 90, 0, 0]));
        // The place of a name whose lease is over is free, with the time of the new one.
        for (name, until) in [(9, 300), (10, 300), (11, 80)] {
            leases.grant(key(1, 1), name, until, 95).expect("there is room");
        }
        let full = leases.grant(key(1, 1), 12, 300, 79);
        assert_eq!(full, Err(LeaseError::TooManyNames));
        let again = leases.grant(key(1, 1), 12, 70, 80).expect("one is over");
        assert_eq!((again.names, again.until_ns), ([7, 9, 10, 12], [200, 300, 300, 70]));
    }

    #[test]
    fn p31_a_guest_fills_its_own_share_only() {
        let mut leases = Leases::default();
        for number in 0..1024 {
            leases.grant(key(5, number), 7, 100, 10).expect("there is room");
        }
        assert_eq!(leases.grant(key(5, 1024), 7, 100, 10), Err(LeaseError::TooMany));
        assert!(leases.grant(key(5, 3), 7, 200, 10).is_ok(), "what is there is prolonged");
        assert!(leases.grant(key(4, 1024), 7, 100, 10).is_ok());
        assert!(leases.grant(key(6, 1024), 7, 100, 10).is_ok());
        assert_eq!(leases.sweep(&[5, 6].into(), &[], 100).len(), 1025, "all but two");
        assert!(leases.grant(key(5, 1024), 7, 200, 100).is_ok());
    }

    #[test]
    fn p31_what_became_an_address_of_this_host_is_closed() {
        let mut leases = Leases::known([]);
        leases.grant(key(1, 1), 7, 100, 10).expect("there is room");
        leases.grant(key(1, 300), 7, 100, 10).expect("there is room");
        let own = ["192.0.1.0/24".parse().expect("a network")];
        assert_eq!(leases.sweep(&[1].into(), &own, 20), [key(1, 300)]);
        assert_eq!(leases.sweep(&[1].into(), &own, 20), []);
    }
}
