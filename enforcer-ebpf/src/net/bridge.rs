//! The guest bridge itself: what leaves it for the host, and what the host puts into it.

use enforcer_common::abi::{
    event::Hook,
    verdict::{DropReason, Verdict},
};

use super::{
    Frame,
    stamp::{self, Stamp},
};
use crate::{maps::NETWORKS, skb::Skb};

/// Lets pass what `from_guest` allowed. The port is no longer visible here: the bridge made itself
/// the ingress interface, so the stamp is the only witness.
#[inline(always)]
pub fn from_bridge(skb: Skb) -> Verdict {
    let stamped = Stamp::FromGuest.is_on(skb);
    stamp::clear(skb);
    if stamped { Verdict::Allow } else { deny(skb, Hook::FromBridge, DropReason::Unstamped) }
}

/// Stamps what the host sends or forwards; denies what it only turns round.
#[inline(always)]
pub fn to_bridge(skb: Skb) -> Verdict {
    // A frame of a guest that the host routes back to a guest network, be it over its address, a
    // published port or a redirect, would get past the isolation of the ports.
    // SAFETY: entries are replaced as a whole by the daemon, never written here.
    let hairpin = unsafe { NETWORKS.get(skb.ingress_ifindex()) }.is_some();
    if !hairpin {
        Stamp::FromHost.put(skb);
        return Verdict::Allow;
    }
    deny(skb, Hook::ToBridge, DropReason::Hairpin)
}

#[inline(always)]
fn deny(skb: Skb, hook: Hook, reason: DropReason) -> Verdict {
    // SAFETY: as in `to_bridge`.
    let owner = unsafe { NETWORKS.get(skb.ifindex()) }.map_or(0, |network| network.id);
    if let Some(mut frame) = Frame::new(skb, hook, owner) {
        // For the record only: the verdict stands already.
        let _unused = frame.parse();
        return frame.conclude(Err(reason));
    }
    Verdict::Deny(reason)
}
