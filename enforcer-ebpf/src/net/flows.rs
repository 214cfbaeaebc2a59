//! The flow table: lookup, accounting, end.

use aya_ebpf::bindings::__sk_buff;
use enforcer_common::{
    abi::{
        event::EndCause,
        flow::{FlowKey, FlowRecord},
        policy::Policy,
        verdict::DropReason,
    },
    flow::{self, FlowState, Phase, QuotaClass},
    packet::{Bytes as _, Packet, Payload},
};

use super::{
    Frame, emit,
    policy::Opens,
    quotas::{release, reserve},
    reap, word,
};
use crate::{
    aligned, atomic,
    maps::{FLOWS, SCRATCH},
    skb::Skb,
};

/// Makes the key of the packet's flow, seen from the endpoint.
#[inline(always)]
pub fn fill_key(
    key: &mut FlowKey,
    packet: &Packet,
    endpoint: u32,
    from_endpoint: bool,
    payload: Payload,
) {
    let (source_port, destination_port) = match payload {
        Payload::EchoRequest | Payload::EchoReply => {
            let identifier = packet.echo_identifier();
            (identifier, identifier)
        }
        _ => (packet.source_port, packet.destination_port),
    };
    let (local, remote) = if from_endpoint {
        (packet.source, packet.destination)
    } else {
        (packet.destination, packet.source)
    };
    let (local_port, remote_port) = if from_endpoint {
        (source_port, destination_port)
    } else {
        (destination_port, source_port)
    };
    *key = FlowKey {
        endpoint,
        local_port,
        remote_port,
        local,
        remote,
        protocol: packet.protocol,
        family: packet.family,
        reserved: [0; 2],
    };
}

/// A live flow in the table.
pub struct Found<'a> {
    pub key: &'a FlowKey,
    pub state: FlowState,
    flow: *mut FlowRecord,
}

impl<'a> Found<'a> {
    /// The flow, unless it is over. One that is over but not reaped yet is ended here.
    #[inline(always)]
    pub fn live(key: &'a FlowKey, now: u64) -> Option<Self> {
        let found = Self::known(key)?;
        if found.is_over(now) {
            found.end(flow::end_cause(found.state));
            return None;
        }
        Some(found)
    }

    /// Whether there is such a flow and it is not over; nothing is changed.
    #[inline(always)]
    pub fn is_live(key: &'a FlowKey, now: u64) -> bool {
        Self::known(key).is_some_and(|found| !found.is_over(now))
    }

    #[inline(always)]
    fn known(key: &'a FlowKey) -> Option<Self> {
        let flow = FLOWS.get_ptr_mut(key)?;
        let found = Self { key, state: load_state(flow), flow };
        if found.state.phase() == Phase::Dead { None } else { Some(found) }
    }

    #[inline(always)]
    fn is_over(&self, now: u64) -> bool {
        flow::is_expired(self.record(), self.state, self.key.protocol, now)
    }

    /// What is remembered of the flow.
    #[inline(always)]
    pub fn record(&self) -> &FlowRecord {
        // SAFETY: the entry stays valid for this run of the program (RCU). Other CPUs may write
        // its words meanwhile; each word is read on its own and any mixture is a state that a
        // reordered packet could have made too.
        unsafe { &*self.flow }
    }

    /// Counts a packet that passed; `refresh` when it keeps the flow alive.
    #[inline(always)]
    pub fn account(
        &self,
        frame: &Frame,
        payload: Payload,
        from_endpoint: bool,
        refresh: bool,
        now: u64,
    ) {
        let how = if from_endpoint { FROM_ENDPOINT } else { 0 }
            | if refresh { REFRESH } else { 0 }
            | if payload == Payload::Tcp { TRACK } else { 0 }
            | u64::from(self.state.word());
        // SAFETY: a flow and a packet.
        unsafe { account_packet(frame.skb.context(), self.flow, frame.packet, how, now) };
    }

    /// Moves the flow to another state, within the quotas.
    #[inline(always)]
    pub fn advance(&self, next: FlowState, policy: &Policy, now: u64) -> Result<(), DropReason> {
        if next == self.state {
            return Ok(());
        }
        let (state, next) = (self.state.word(), next.word());
        // SAFETY: a flow and a policy.
        let moved = unsafe { advance_flow(self.flow, state, next, policy, now) };
        if word::to_number(moved)? == 0 {
            // Too many linger: this one is forgotten at once.
            self.end(EndCause::Closed);
        }
        Ok(())
    }

    /// A newer epoch of the policy allows it too.
    #[inline(always)]
    pub fn adopt(&self, epoch: u32, opens: Opens) {
        // SAFETY: as in `record`.
        unsafe {
            (*self.flow).epoch = epoch;
            (*self.flow).rule = opens.rule;
            (*self.flow).name = opens.name;
        }
    }

    /// Ends the flow now. It is that of the frame that is judged on this CPU.
    #[inline(always)]
    pub fn end(&self, cause: EndCause) {
        // SAFETY: a flow.
        unsafe { end_flow(self.flow, self.state.word(), cause as u8) };
    }
}

/// Of [`account_packet`]: the endpoint sends it.
const FROM_ENDPOINT: u64 = 1 << 32;
/// It keeps the flow alive.
const REFRESH: u64 = 1 << 33;
/// It has TCP's numbers.
const TRACK: u64 = 1 << 34;

/// Counts a packet in its flow. `how` is the flow's state and the bits above. A global function: see [`word`].
///
/// # Safety
/// `flow` is null or an entry of the table, `packet` null or a packet.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn account_packet(
    skb: *mut __sk_buff,
    flow: *mut FlowRecord,
    packet: *const Packet,
    how: u64,
    now: u64,
) -> u32 {
    // SAFETY: as promised by the caller.
    let Some(packet) = (unsafe { aligned::value(packet) }) else { return 0 };
    if flow.is_null() {
        return 0;
    }
    let skb = Skb::from_context(skb);
    let from_endpoint = how & FROM_ENDPOINT != 0;
    // SAFETY: the entry is valid for this run; plain words, written racily by design: see
    // `Found::record`. Counters are atomic.
    unsafe {
        let (packet_total, byte_total) = if from_endpoint {
            (&raw mut (*flow).packets_out, &raw mut (*flow).bytes_out)
        } else {
            (&raw mut (*flow).packets_in, &raw mut (*flow).bytes_in)
        };
        atomic::add64(packet_total, u64::from(skb.segments()));
        atomic::add64(byte_total, u64::from(skb.len()));
        if how & REFRESH != 0 && (*flow).last_seen_ns != now {
            (*flow).last_seen_ns = now;
        }
        if how & TRACK != 0 {
            let state = FlowState::from_word(word::low(how));
            flow::track(&mut *flow, state, from_endpoint, packet);
        }
    }
    0
}

/// Moves the flow of the frame that is judged on this CPU to another state; 0: it is to end instead. A global
/// function: see [`word`].
///
/// # Safety
/// `flow` is null or that flow's entry, `policy` null or a policy.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn advance_flow(
    flow: *mut FlowRecord,
    state: u32,
    next: u32,
    policy: *const Policy,
    now: u64,
) -> u32 {
    // SAFETY: as promised by the caller.
    let (Some(policy), Some(key)) = (unsafe { aligned::value(policy) }, judged_key()) else {
        return word::of_number(Err(DropReason::Internal));
    };
    if flow.is_null() {
        return word::of_number(Err(DropReason::Internal));
    }
    let (state, next) = (FlowState::from_word(state), FlowState::from_word(next));
    let found = Found { key, state, flow };
    word::of_number(advanced(&found, next, policy, now).map(u32::from))
}

#[inline(always)]
fn advanced(
    found: &Found<'_>,
    next: FlowState,
    policy: &Policy,
    now: u64,
) -> Result<bool, DropReason> {
    let endpoint = found.key.endpoint;
    let (old_class, new_class) = (found.state.quota_class(), next.quota_class());
    let outbound = next.is_outbound();
    let limit = flow::limit(&policy.quotas, new_class, outbound);
    if old_class != new_class
        && let Err(reason) = reserve(endpoint, new_class, outbound, limit)
    {
        if new_class != QuotaClass::Closing {
            return Err(reason);
        }
        return Ok(false);
    }
    if !swap_state(found.flow, found.state, next) {
        // Another CPU moved it first; its packet counts, this one only passes.
        if old_class != new_class {
            release(endpoint, new_class, outbound);
        }
        return Ok(true);
    }
    if old_class != new_class {
        release(endpoint, old_class, outbound);
    }
    // SAFETY: as in `record`.
    unsafe { (*found.flow).last_seen_ns = now };
    reap::hasten(found.key, found.flow, flow::timeout_ns(next, found.key.protocol), now);
    Ok(true)
}

/// Ends the flow of the frame that is judged on this CPU. A global function: see [`word`].
///
/// # Safety
/// `flow` is null or that flow's entry.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn end_flow(flow: *mut FlowRecord, state: u32, cause: u8) -> u32 {
    if let (false, Some(key)) = (flow.is_null(), judged_key()) {
        end(key, flow, FlowState::from_word(state), cause);
    }
    0
}

/// The key of the flow of the frame that is judged on this CPU. Not an argument of global functions: 6.1 takes
/// no key of a map from what a function was given.
#[inline(always)]
fn judged_key() -> Option<&'static FlowKey> {
    // SAFETY: this CPU's own slot; who called has lent it.
    SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &(*scratch).key })
}

/// Ends a flow; of several that try, one gives its quota back and records the end.
#[inline(always)]
pub fn end(key: &FlowKey, flow: *mut FlowRecord, state: FlowState, cause: u8) {
    // Who found it dead did not end it, and leaves it to who did.
    if state != FlowState::DEAD && swap_state(flow, state, FlowState::DEAD) {
        emit::closed(key, flow, cause);
        release(key.endpoint, state.quota_class(), state.is_outbound());
        // Fails only when the entry is gone already.
        let _gone = FLOWS.remove(key);
    }
}

/// Takes a flow out of the table without a word: one that was never opened, or one that another table
/// knows to be over. Test runs may not record: a frame may interrupt them.
#[inline(always)]
pub fn take_out(key: &FlowKey, flow: *mut FlowRecord, state: FlowState) {
    if swap_state(flow, state, FlowState::DEAD) {
        release(key.endpoint, state.quota_class(), state.is_outbound());
        // Fails only when the entry is gone already.
        let _gone = FLOWS.remove(key);
    }
}

#[inline(always)]
pub fn load_state(flow: *mut FlowRecord) -> FlowState {
    // SAFETY: the entry is valid for this run; an aligned word is read at once.
    FlowState::from_word(unsafe { (&raw const (*flow).state).read_volatile() })
}

#[inline(always)]
pub fn swap_state(flow: *mut FlowRecord, old: FlowState, new: FlowState) -> bool {
    // SAFETY: the entry is valid for this run.
    unsafe { atomic::replace(&raw mut (*flow).state, old.word(), new.word()) }
}
