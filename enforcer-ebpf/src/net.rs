//! The packet's way: parse -> identify -> flow -> policy -> verdict -> event.

mod bridge;
mod conversation;
pub mod count;
pub mod emit;
pub mod flows;
mod from_guest;
mod icmp_error;
mod import;
mod neighbours;
pub mod policy;
mod reap;
mod stamp;
mod to_guest;

pub use bridge::{from_bridge, to_bridge};
pub use from_guest::from_guest;
pub use import::{import_counters, import_flows};
pub use to_guest::to_guest;

use enforcer_common::{
    abi::{
        event::Hook,
        flow::FlowKey,
        verdict::{DropReason, Verdict},
    },
    packet::{Packet, Payload, parse},
};

use crate::{maps::SCRATCH, skb::Skb};

/// What is known of a frame while it is judged.
pub struct Frame {
    /// The frame itself.
    pub skb: Skb,
    /// The program that judges it.
    pub hook: Hook,
    /// Endpoint or network that counters and events are charged to.
    pub owner: u32,
    /// What the parser found.
    pub packet: &'static mut Packet,
    /// The key of its flow, once there is a flow to look for.
    pub key: &'static mut FlowKey,
}

impl Frame {
    #[inline(always)]
    fn new(skb: Skb, hook: Hook, owner: u32) -> Option<Self> {
        // SAFETY: this CPU's own slot, and no other reference to it: see `Scratch`.
        let scratch = unsafe { &mut *SCRATCH.get_ptr_mut(0)? };
        scratch.packet = Packet::default();
        Some(Self { skb, hook, owner, packet: &mut scratch.packet, key: &mut scratch.key })
    }

    /// Parses the frame into [`Frame::packet`]. A BPF function of its own, for a stack of its own.
    #[inline(never)]
    fn parse(&mut self) -> Result<Payload, DropReason> {
        parse(&self.skb, self.packet)
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
