//! Records: reserve first, then say it was recorded; what is not written is counted.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::bpf_ringbuf_query,
};
use enforcer_common::{
    abi::{
        counter::FLOW_OPENED,
        event::{EVENT_ABI, EventKind},
        verdict::DropReason,
    },
    packet::Bytes as _,
};

use super::{Frame, conversation::now_ns, count};
use crate::maps::{EVENTS, RING_BYTES};

/// Below this the reader's own rhythm is soon enough; above it, it is woken.
const WAKE_AT_BYTES: u64 = RING_BYTES as u64 / 4;

/// A denial.
#[inline(always)]
pub fn denied(frame: &Frame, reason: DropReason) {
    write(frame, EventKind::Denied, reason as u16, 0, reason != DropReason::NotAddressed);
}

/// A new flow.
#[inline(always)]
pub fn opened(frame: &Frame, rule: u32) {
    write(frame, EventKind::FlowOpened, FLOW_OPENED, rule, true);
}

/// Not inlined: programs have several ends, and one copy is enough.
#[inline(never)]
fn write(frame: &Frame, kind: EventKind, reason: u16, rule: u32, recorded: bool) {
    let Some(counter) = count::bump(frame, reason) else {
        return;
    };
    let now = now_ns();
    if !recorded || !count::take_token(counter, now) {
        counter.suppressed += 1;
        return;
    }
    let Some(mut slot) = EVENTS.reserve(0) else {
        counter.lost += 1;
        return;
    };
    let packet = &*frame.packet;
    // Field by field into the ring: a copy of the event on the stack would not fit.
    // SAFETY: the slot is as large and aligned as an `Event`, and every byte of it is written.
    unsafe {
        let event = slot.as_mut_ptr();
        (*event).abi = EVENT_ABI;
        (*event).kind = kind as u16;
        (*event).owner = frame.owner;
        (*event).time_ns = now;
        (*event).ifindex = frame.skb.ifindex();
        (*event).ingress_ifindex = frame.skb.ingress_ifindex();
        (*event).frame_len = frame.skb.len();
        (*event).rule = rule;
        (*event).source = packet.source;
        (*event).destination = packet.destination;
        (*event).source_port = packet.source_port;
        (*event).destination_port = packet.destination_port;
        (*event).ethertype = packet.ethertype;
        (*event).reason = reason;
        (*event).source_mac = packet.source_mac;
        (*event).destination_mac = packet.destination_mac;
        (*event).protocol = packet.protocol;
        (*event).family = packet.family;
        (*event).tcp_flags = packet.tcp_flags;
        (*event).hook = frame.hook as u8;
    }
    counter.recorded += 1;
    // SAFETY: the map is a ring buffer; the helper only reads its state.
    let waiting = unsafe {
        bpf_ringbuf_query((&raw const EVENTS).cast_mut().cast(), u64::from(BPF_RB_AVAIL_DATA))
    };
    slot.submit(u64::from(if waiting > WAKE_AT_BYTES {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    }));
}
