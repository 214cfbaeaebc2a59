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
    let mut frame = frame_of_bridge(skb, Hook::FromBridge);
    let stamped = Stamp::FromGuest.is_on(skb);
    stamp::clear(skb);
    if stamped {
        return Verdict::Allow;
    }
    describe(&mut frame);
    frame.conclude(Err(DropReason::Unstamped))
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
    let mut frame = frame_of_bridge(skb, Hook::ToBridge);
    describe(&mut frame);
    frame.conclude(Err(DropReason::Hairpin))
}

#[inline(always)]
fn frame_of_bridge(skb: Skb, hook: Hook) -> Frame {
    // SAFETY: as in `to_bridge`.
    let owner = unsafe { NETWORKS.get(skb.ifindex()) }.map_or(0, |network| network.id);
    Frame::new(skb, hook, owner)
}

/// Fills in the packet for the record; the verdict stands already.
#[inline(always)]
fn describe(frame: &mut Frame) {
    let _unused = enforcer_common::packet::parse(&frame.skb, &mut frame.packet);
}
