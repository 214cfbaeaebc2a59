//! A denied SYN or datagram becomes the answer to itself, so that its sender does not wait: where no program knows
//! the guest's processes (no cgroup v2, several endpoints), this is what makes a refusal prompt.
//!
//! Fails: closed; a frame that cannot be answered is dropped, as it was to be.
//! Kernel: 6.1.
//! Cost: only denied frames of such guests; at most [`enforcer_common::limit::ANSWERS`] of them.

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_redirect};
use enforcer_common::{
    abi::{event::Hook, verdict::DropReason},
    packet::ETHERNET_LEN,
    refusal::{Answer, QUOTE_4, QUOTE_6, QUOTE_AT_4, QUOTE_AT_6, ROOM},
};

use super::{Frame, limits, stamp::Stamp, word};
use crate::skb::Skb;

/// What `bpf_redirect` returns when it takes the frame.
const REDIRECT: i64 = 7;

/// Makes the frame an answer, out of the port that it came in by; false: it is to be dropped. Its denial has been
/// counted and recorded. Its source is the endpoint's own: policy is asked behind the source guard only.
#[inline(always)]
pub fn answer(frame: &Frame, reason: DropReason) -> bool {
    answer_frame(frame.skb.context(), frame.owner, reason as u32) != 0
}

/// A global function: see [`word`]. The frame is the one that is judged on this CPU.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn answer_frame(skb: *mut __sk_buff, owner: u32, reason: u32) -> u32 {
    let Some(frame) = Frame::again(Skb::from_context(skb), Hook::FromGuest, owner) else {
        return 0;
    };
    answered(&frame, word::reason(reason)).into()
}

#[inline(always)]
fn answered(frame: &Frame, reason: DropReason) -> bool {
    let Some(answer) = Answer::to(reason, frame.packet) else { return false };
    if !limits::answer(frame.owner) {
        return false;
    }
    let mut reply = [0; ROOM];
    let skb = frame.skb;
    let quoted = match answer {
        Answer::Unreachable4 => skb.read_into::<QUOTE_4>(ETHERNET_LEN, &mut reply, QUOTE_AT_4),
        Answer::Unreachable6 => skb.read_into::<QUOTE_6>(ETHERNET_LEN, &mut reply, QUOTE_AT_6),
        Answer::Reset4 | Answer::Reset6 => true,
    };
    if !quoted {
        return false;
    }
    answer.write(frame.packet, &mut reply);
    #[expect(clippy::cast_possible_truncation, reason = "answers are short")]
    let len = answer.length() as u32;
    if !skb.become_bytes(&reply, len) {
        return false;
    }
    Stamp::Answer.put(skb);
    // SAFETY: takes numbers only.
    unsafe { bpf_redirect(skb.ifindex(), 0) == REDIRECT }
}
