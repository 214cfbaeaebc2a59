//! Records: reserve first, then say it was recorded; what is not written is counted.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{__sk_buff, BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::{bpf_ringbuf_query, bpf_ringbuf_reserve, bpf_ringbuf_submit},
};
use enforcer_common::{
    abi::{
        counter::{CounterKey, FLOW_CLOSED, FLOW_OPENED},
        event::{EVENT_ABI, EventKind, FlowEnd},
        flow::{FlowKey, FlowRecord},
        verdict::DropReason,
    },
    packet::Bytes as _,
};

use super::{Frame, conversation::now_ns, count};
use crate::{
    maps::{EVENTS, RING_BYTES, SCRATCH},
    skb::Skb,
};

/// Below this the reader's own rhythm is soon enough; above it, it is woken.
const WAKE_AT_BYTES: u64 = RING_BYTES as u64 / 4;

/// A denial.
#[inline(always)]
pub fn denied(frame: &Frame, reason: DropReason) {
    let skb = frame.skb.context();
    write_event(skb, frame.owner, frame.hook as u8, reason as u16, *frame.denied_by);
}

/// A new flow.
#[inline(always)]
pub fn opened(frame: &Frame, rule: u32) {
    write_event(frame.skb.context(), frame.owner, frame.hook as u8, FLOW_OPENED, rule);
}

/// Counts an event of the frame that is judged on this CPU, and records it if there is room. A global function:
/// see [`word`](super::word).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn write_event(
    skb: *mut __sk_buff,
    owner: u32,
    hook: u8,
    reason: u16,
    rule: u32,
) -> u32 {
    let skb = Skb::from_context(skb);
    let Some(counter) = count::bump(skb, owner, hook, reason) else {
        return 0;
    };
    let now = now_ns();
    let recorded = reason != DropReason::NotAddressed as u16;
    if !recorded || !count::take_token(counter, now) {
        counter.suppressed += 1;
        return 0;
    }
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        counter.lost += 1;
        return 0;
    };
    let Some(mut slot) = EVENTS.reserve(0) else {
        counter.lost += 1;
        return 0;
    };
    let kind = if reason == FLOW_OPENED { EventKind::FlowOpened } else { EventKind::Denied };
    // SAFETY: this CPU's own slot; nobody writes it meanwhile.
    let packet = unsafe { &(*scratch).packet };
    // Field by field into the ring: a copy of the event on the stack would not fit.
    // SAFETY: the slot is as large and aligned as an `Event`, and every byte of it is written.
    unsafe {
        let event = slot.as_mut_ptr();
        (*event).abi = EVENT_ABI;
        (*event).kind = kind as u16;
        (*event).owner = owner;
        (*event).time_ns = now;
        (*event).ifindex = skb.ifindex();
        (*event).ingress_ifindex = skb.ingress_ifindex();
        (*event).frame_len = skb.len();
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
        (*event).hook = hook;
    }
    counter.recorded += 1;
    slot.submit(wakeup());
    0
}

/// The end of a flow that nobody else ends. Its owner has a quota of these records of its own.
#[inline(always)]
pub fn closed(key: &FlowKey, flow: *const FlowRecord, cause: u8) {
    // SAFETY: a key and a flow.
    unsafe { write_end(key, flow, cause) };
}

/// As [`closed`]. A global function: see [`word`](super::word).
///
/// # Safety
/// The pointers are null or what their types say.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn write_end(key: *const FlowKey, flow: *const FlowRecord, cause: u8) -> u32 {
    // SAFETY: as promised by the caller; other CPUs may still count a packet that passed.
    let (Some(key), Some(flow)) = (unsafe { (key.as_ref(), flow.as_ref()) }) else { return 0 };
    let about = CounterKey { owner: key.endpoint, reason: FLOW_CLOSED, hook: 0, reserved: 0 };
    let packets = flow.packets_out + flow.packets_in;
    let Some(counter) = count::one(&about, packets, flow.bytes_out + flow.bytes_in) else {
        return 0;
    };
    let now = now_ns();
    if !count::take_token(counter, now) {
        counter.suppressed += 1;
        return 0;
    }
    // The ring's own type is `Event`; its records may have any length.
    // SAFETY: the map is a ring buffer, and the length is a constant, as the verifier wants it.
    let slot = unsafe { bpf_ringbuf_reserve(ring(), size_of::<FlowEnd>() as u64, 0) };
    if slot.is_null() {
        counter.lost += 1;
        return 0;
    }
    let end = slot.cast::<FlowEnd>();
    // SAFETY: the slot is as long as a `FlowEnd` and 8-byte aligned; every byte of it is written.
    unsafe {
        (*end).abi = EVENT_ABI;
        (*end).kind = EventKind::FlowClosed as u16;
        (*end).owner = key.endpoint;
        (*end).time_ns = now;
        (*end).opened_ns = flow.opened_ns;
        (*end).last_seen_ns = flow.last_seen_ns;
        (*end).packets_out = flow.packets_out;
        (*end).bytes_out = flow.bytes_out;
        (*end).packets_in = flow.packets_in;
        (*end).bytes_in = flow.bytes_in;
        (*end).rule = flow.rule;
        (*end).opener = flow.opener;
        (*end).local = key.local;
        (*end).remote = key.remote;
        (*end).local_port = key.local_port;
        (*end).remote_port = key.remote_port;
        (*end).protocol = key.protocol;
        (*end).family = key.family;
        (*end).cause = cause;
        (*end).reserved = 0;
    }
    counter.recorded += 1;
    // SAFETY: reserved above, and given back once.
    unsafe { bpf_ringbuf_submit(slot, wakeup()) };
    0
}

/// The ring, for records of any length: its own type is `Event`.
#[inline(always)]
pub fn ring() -> *mut c_void {
    (&raw const EVENTS).cast_mut().cast()
}

/// Whether the reader is woken for this record.
#[inline(always)]
pub fn wakeup() -> u64 {
    // SAFETY: the map is a ring buffer; the helper only reads its state.
    let waiting = unsafe { bpf_ringbuf_query(ring(), u64::from(BPF_RB_AVAIL_DATA)) };
    u64::from(if waiting > WAKE_AT_BYTES { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP })
}
