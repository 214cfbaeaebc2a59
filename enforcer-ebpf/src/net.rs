//! The packet's way: parse -> identify -> flow -> policy -> verdict -> event.

mod bridge;
mod conversation;
pub mod count;
pub mod emit;
pub mod flows;
mod from_guest;
mod icmp_error;
mod import;
mod limits;
mod neighbours;
mod open;
pub mod policy;
mod quotas;
mod reap;
mod refuse;
mod stamp;
mod to_guest;
mod word;

pub use bridge::{from_bridge, to_bridge};
pub use from_guest::from_guest;
pub use import::{import_counters, import_flows};
pub use to_guest::to_guest;

use aya_ebpf::bindings::__sk_buff;
use enforcer_common::{
    abi::{
        event::Hook,
        flow::FlowKey,
        verdict::{DropReason, Verdict},
    },
    packet::{Packet, Payload, parse},
};

use crate::{aligned, maps::SCRATCH, skb::Skb};

/// What becomes of a frame that a guest sends.
pub struct Outcome {
    /// The verdict on it.
    pub verdict: Verdict,
    /// Whether it was made an answer to its sender, and is to go where `bpf_redirect` was told.
    pub answered: bool,
}

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
    /// The rule that denied it; 0: none.
    denied_by: &'static mut u32,
}

/// Parses the frame into `SCRATCH`; its payload. A global function: see [`word`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn parse_frame(skb: *mut __sk_buff) -> u32 {
    let skb = Skb::from_context(skb);
    let parsed = match Frame::again(skb, Hook::FromGuest, 0) {
        Some(frame) => parse(&skb, frame.packet),
        None => Err(DropReason::Internal),
    };
    word::of_number(parsed.map(|payload| payload as u32))
}

/// Forgets the frame before. In words: what the compiler makes of a value that is all zero is a call that writes byte
/// after byte.
#[inline(always)]
fn clear(packet: &mut Packet) {
    let words = (&raw mut *packet).cast::<u64>();
    for at in 0..size_of::<Packet>() / size_of::<u64>() {
        // SAFETY: within the packet, whose size and alignment are those of words; all of its bytes may be zero.
        unsafe { words.add(at).write_volatile(0) };
    }
}

impl Frame {
    #[inline(always)]
    fn new(skb: Skb, hook: Hook, owner: u32) -> Option<Self> {
        // SAFETY: this CPU's own slot, and no other reference to it: see `Scratch`.
        let scratch = unsafe { aligned::value_mut(SCRATCH.get_ptr_mut(0)?)? };
        clear(&mut scratch.packet);
        scratch.denied_by = 0;
        Some(Self {
            skb,
            hook,
            owner,
            packet: &mut scratch.packet,
            key: &mut scratch.key,
            denied_by: &mut scratch.denied_by,
        })
    }

    /// The frame that is judged on this CPU, in a global function: see [`word`].
    #[inline(always)]
    fn again(skb: Skb, hook: Hook, owner: u32) -> Option<Self> {
        // SAFETY: this CPU's own slot; who called has lent it, and looks at it again after the call.
        let scratch = unsafe { aligned::value_mut(SCRATCH.get_ptr_mut(0)?)? };
        Some(Self {
            skb,
            hook,
            owner,
            packet: &mut scratch.packet,
            key: &mut scratch.key,
            denied_by: &mut scratch.denied_by,
        })
    }

    /// Parses the frame into [`Frame::packet`].
    #[inline(always)]
    fn parse(&mut self) -> Result<Payload, DropReason> {
        let payload = word::to_number(parse_frame(self.skb.context()))?;
        Payload::from_value(payload).ok_or(DropReason::Internal)
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
