//! Records: reserve first, then say it was recorded; what is not written is counted.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::bpf_ringbuf_query,
};
use enforcer_common::{
    abi::{
        ABI_VERSION,
        counter::FLOW_OPENED,
        event::{Event, EventKind},
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
    let packet = &frame.packet;
    slot.write(Event {
        abi: ABI_VERSION as u16,
        kind: kind as u16,
        owner: frame.owner,
        time_ns: now,
        ifindex: frame.skb.ifindex(),
        ingress_ifindex: frame.skb.ingress_ifindex(),
        frame_len: frame.skb.len(),
        rule,
        source: packet.source,
        destination: packet.destination,
        source_port: packet.source_port,
        destination_port: packet.destination_port,
        ethertype: packet.ethertype,
        reason,
        source_mac: packet.source_mac,
        destination_mac: packet.destination_mac,
        protocol: packet.protocol,
        family: packet.family,
        tcp_flags: packet.tcp_flags,
        hook: frame.hook as u8,
    });
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
