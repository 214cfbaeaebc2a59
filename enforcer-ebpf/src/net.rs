//! The packet's way: parse -> identify -> flow -> policy -> verdict -> event.

mod bridge;
mod conversation;
mod count;
mod emit;
mod expire;
mod flows;
mod from_guest;
mod icmp_error;
mod neighbours;
mod policy;
mod stamp;
mod to_guest;

pub use bridge::{from_bridge, to_bridge};
pub use from_guest::from_guest;
pub use to_guest::to_guest;

use enforcer_common::{
    abi::{
        event::Hook,
        verdict::{DropReason, Verdict},
    },
    packet::Packet,
};

use crate::skb::Skb;

/// What is known of a frame while it is judged.
pub struct Frame {
    /// The frame itself.
    pub skb: Skb,
    /// The program that judges it.
    pub hook: Hook,
    /// Endpoint or network that counters and events are charged to.
    pub owner: u32,
    /// What the parser found.
    pub packet: Packet,
}

impl Frame {
    #[inline(always)]
    fn new(skb: Skb, hook: Hook, owner: u32) -> Self {
        Self { skb, hook, owner, packet: Packet::default() }
    }

    /// The verdict, with its counter and its record.
    #[inline(always)]
    fn conclude(&self, result: Result<(), DropReason>) -> Verdict {
        match result {
            Ok(()) => Verdict::Allow,
            Err(reason) => {
                emit::denied(self, reason);
                Verdict::Deny(reason)
            }
        }
    }
}
