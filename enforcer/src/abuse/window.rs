//! What one endpoint did within the last window. Its memory is bounded whatever the guest does.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

use super::{
    sight::{Counted, What},
    signal::{Limit, Limits, Signal},
};

/// Most addresses of one endpoint that are told apart.
pub const MOST_ADDRESSES: usize = 1024;
/// Most pairs of address and port. A guest with more has swept, whatever the rest of them are.
pub const MOST_PAIRS: usize = 2048;
/// Looks at the sums within one window; its length is right to one part in so many.
const SLICES: u32 = 32;
/// Ports that a browser, a package manager and a resolver have at many addresses.
const COMMON: [u16; 3] = [53, 80, 443];

/// What one endpoint did.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// Addresses, and when each was last tried.
    addresses: Recent<IpAddr, MOST_ADDRESSES>,
    pairs: Recent<(IpAddr, u16), MOST_PAIRS>,
    sums: Sums,
    /// What the sums were at earlier looks; the first is a window ago, or the beginning.
    looks: VecDeque<(u64, Sums)>,
}

/// Sums since the endpoint exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    counted: Counted,
    failed: u64,
    smtp: u64,
    stratum: u64,
}

impl Window {
    /// Begins at a moment, monotonic ns; what was counted before is not held against anybody.
    #[must_use]
    pub fn new(counted: Counted, now_ns: u64) -> Self {
        let sums = Sums { counted, ..Sums::default() };
        Self { sums, looks: [(now_ns, sums)].into(), ..Self::default() }
    }

    /// Holds against nobody what was counted so far.
    pub fn begin(&mut self, counted: Counted) {
        self.sums.counted = counted;
        for (_, sums) in &mut self.looks {
            sums.counted = counted;
        }
    }

    /// Takes in what the guest did.
    pub fn see(&mut self, what: What, time_ns: u64, limits: &Limits) {
        let (to, port) = match what {
            What::Failed => {
                self.sums.failed += 1;
                return;
            }
            What::Attempt { to, port } => (to, port),
        };
        self.addresses.see(to, time_ns);
        let Some(port) = port else { return };
        self.pairs.see((to, port), time_ns);
        let is_about =
            |signal| limits.get(&signal).is_some_and(|limit| limit.ports.contains(&port));
        self.sums.smtp += u64::from(is_about(Signal::Smtp));
        self.sums.stratum += u64::from(is_about(Signal::Stratum) && is_public(to));
    }

    /// Takes in the kernel's counters, and forgets what is older than a window.
    pub fn look(&mut self, counted: Counted, now_ns: u64, window: Duration) {
        let window_ns = nanos(window);
        let since = now_ns.saturating_sub(window_ns);
        self.addresses.forget(since);
        self.pairs.forget(since);
        self.sums.counted = counted;
        let slice = window_ns / u64::from(SLICES);
        if self.looks.back().is_none_or(|(at, _)| now_ns.saturating_sub(*at) >= slice) {
            self.looks.push_back((now_ns, self.sums));
        }
        // The first one may be older than the window, or there would be none to compare with.
        while self.looks.get(1).is_some_and(|(at, _)| *at <= since) {
            self.looks.pop_front();
        }
    }

    /// How much there is of a signal, if that is enough to speak of.
    #[must_use]
    pub fn measure(&self, signal: Signal, limit: &Limit, window: Duration) -> Option<u64> {
        let (now, before) = (self.sums, self.looks.front().map_or(self.sums, |(_, sums)| *sums));
        let of_counted =
            |count: fn(&Counted) -> u64| count(&now.counted).saturating_sub(count(&before.counted));
        match signal {
            Signal::Destinations => Some(number(self.addresses.0.len())),
            Signal::PortSweep => Some(self.sweep(|(address, _)| Some(*address))),
            Signal::AddressSweep => {
                Some(self.sweep(|(_, port)| (!COMMON.contains(port)).then_some(*port)))
            }
            Signal::FailedConnects => {
                let refused = of_counted(|counted| counted.refused);
                let attempts = of_counted(|counted| counted.opened) + refused;
                let failed = (refused + now.failed - before.failed).min(attempts);
                (attempts > 0 && attempts >= limit.at_least).then(|| failed * 100 / attempts)
            }
            Signal::Smtp => Some(now.smtp - before.smtp),
            Signal::Stratum => Some(now.stratum - before.stratum),
            Signal::DeniedRate => Some(of_counted(|c| c.denied) / window.as_secs().max(1)),
        }
    }

    /// The largest number of pairs that have one thing in common.
    fn sweep<K: Ord>(&self, common: impl Fn(&(IpAddr, u16)) -> Option<K>) -> u64 {
        let pairs = &self.pairs.0;
        if pairs.len() >= MOST_PAIRS {
            return number(MOST_PAIRS);
        }
        let mut sums = BTreeMap::<K, usize>::new();
        for common in pairs.keys().filter_map(common) {
            *sums.entry(common).or_default() += 1;
        }
        number(sums.into_values().max().unwrap_or(0))
    }

    /// Things that it remembers.
    #[cfg(test)]
    pub(super) fn weight(&self) -> usize {
        self.addresses.0.len() + self.pairs.0.len() + self.looks.len()
    }
}

/// Most that a window remembers.
#[cfg(test)]
pub(super) const MOST: usize = MOST_ADDRESSES + MOST_PAIRS + SLICES as usize + 3;

/// Things, and when each was last seen; no more than so many.
#[derive(Clone, Debug)]
struct Recent<K, const MOST: usize>(BTreeMap<K, u64>);

impl<K, const MOST: usize> Default for Recent<K, MOST> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord, const MOST: usize> Recent<K, MOST> {
    /// Where there is no room, what came first stays: it is too much in any case.
    fn see(&mut self, key: K, time_ns: u64) {
        if let Some(last) = self.0.get_mut(&key) {
            *last = time_ns.max(*last);
        } else if self.0.len() < MOST {
            self.0.insert(key, time_ns);
        }
    }

    fn forget(&mut self, since_ns: u64) {
        self.0.retain(|_, last| *last >= since_ns);
    }
}

/// Whether an address may be a pool's: a private one is not.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => !(four.is_private() || four.is_loopback() || four.is_link_local()),
        IpAddr::V6(six) => {
            !(six.is_unique_local() || six.is_loopback() || six.is_unicast_link_local())
        }
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
