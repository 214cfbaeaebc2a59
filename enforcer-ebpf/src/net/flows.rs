//! The flow table: lookup, quotas, accounting, end.

use aya_ebpf::bindings::BPF_NOEXIST;
use enforcer_common::{
    abi::{
        event::EndCause,
        flow::{Check, FlowKey, FlowRecord},
        policy::Policy,
        verdict::DropReason,
    },
    decide::Opener,
    flow::{self, FlowState, Phase, QuotaClass},
    packet::{Bytes as _, Packet, Payload, TCP},
};

use super::{Frame, conversation::Opening, emit, reap};
use crate::{
    atomic,
    maps::{FLOWS, SCRATCH, USAGE},
};

const EEXIST: i32 = -17;

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
        let packets = u64::from(frame.skb.segments());
        let bytes = u64::from(frame.skb.len());
        // SAFETY: the entry is valid for this run; plain words, written racily by design: see
        // `record`. Counters are atomic.
        unsafe {
            let record = self.flow;
            let (packet_total, byte_total) = if from_endpoint {
                (&raw mut (*record).packets_out, &raw mut (*record).bytes_out)
            } else {
                (&raw mut (*record).packets_in, &raw mut (*record).bytes_in)
            };
            atomic::add64(packet_total, packets);
            atomic::add64(byte_total, bytes);
            if refresh && (*record).last_seen_ns != now {
                (*record).last_seen_ns = now;
            }
            if payload == Payload::Tcp {
                flow::track(&mut *record, self.state, from_endpoint, frame.packet);
            }
        }
    }

    /// Moves the flow to another state, within the quotas. A BPF function of its own, for a stack of
    /// its own.
    #[inline(never)]
    pub fn advance(&self, next: FlowState, policy: &Policy, now: u64) -> Result<(), DropReason> {
        if next == self.state {
            return Ok(());
        }
        let (old_class, new_class) = (self.state.quota_class(), next.quota_class());
        let outbound = next.is_outbound();
        let limit = flow::limit(&policy.quotas, new_class, outbound);
        if old_class != new_class
            && let Err(reason) = reserve(self.key.endpoint, new_class, outbound, limit)
        {
            if new_class != QuotaClass::Closing {
                return Err(reason);
            }
            // Too many linger: this one is forgotten at once.
            self.end(EndCause::Closed);
            return Ok(());
        }
        if !swap_state(self.flow, self.state, next) {
            // Another CPU moved it first; its packet counts, this one only passes.
            if old_class != new_class {
                release(self.key.endpoint, new_class, outbound);
            }
            return Ok(());
        }
        if old_class != new_class {
            release(self.key.endpoint, old_class, outbound);
        }
        // SAFETY: as in `record`.
        unsafe { (*self.flow).last_seen_ns = now };
        reap::hasten(self.key, self.flow, flow::timeout_ns(next, self.key.protocol), now);
        Ok(())
    }

    /// A newer epoch of the policy allows it too.
    #[inline(always)]
    pub fn adopt(&self, epoch: u32, rule: u32) {
        // SAFETY: as in `record`.
        unsafe {
            (*self.flow).epoch = epoch;
            (*self.flow).rule = rule;
        }
    }

    /// Ends the flow now.
    #[inline(always)]
    pub fn end(&self, cause: EndCause) {
        end(self.key, self.flow, self.state, cause);
    }
}

/// Ends a flow; of several that try, one gives its quota back and records the end.
#[inline(always)]
pub fn end(key: &FlowKey, flow: *mut FlowRecord, state: FlowState, cause: EndCause) {
    // Who found it dead did not end it, and leaves it to who did.
    if state != FlowState::DEAD && swap_state(flow, state, FlowState::DEAD) {
        emit::closed(key, flow, cause as u8);
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

/// Puts a new flow into the table; false: another CPU did so just now.
#[inline(always)]
pub fn insert(frame: &Frame, policy: &Policy, opening: &Opening<'_>) -> Result<bool, DropReason> {
    let from_endpoint = opening.sender == Opener::Endpoint;
    let state = FlowState::open(from_endpoint);
    let let_in = LetIn {
        key: opening.key,
        state,
        limit: flow::opening_limit(&policy.quotas, opening.sender),
        left_ns: flow::timeout_ns(state, opening.key.protocol),
        now: opening.now,
    };
    let_in.reserve()?;

    let (packets, bytes) = (u64::from(frame.skb.segments()), u64::from(frame.skb.len()));
    // SAFETY: this CPU's own slot; the other parts of it are behind `frame`.
    let scratch = unsafe { &mut *SCRATCH.get_ptr_mut(0).ok_or(DropReason::Internal)? };
    let record = &mut scratch.flow;
    *record = FlowRecord {
        last_seen_ns: opening.now,
        opened_ns: opening.now,
        state: state.word(),
        epoch: policy.epoch,
        rule: opening.rule,
        opener: opening.sender.value(),
        ..FlowRecord::default()
    };
    if from_endpoint {
        (record.packets_out, record.bytes_out) = (packets, bytes);
    } else {
        (record.packets_in, record.bytes_in) = (packets, bytes);
    }
    if opening.key.protocol == TCP {
        flow::track(record, state, from_endpoint, frame.packet);
    }
    let_in.put(record, &mut scratch.check)
}

/// How a flow gets into the table, whoever knows of it.
pub struct LetIn<'a> {
    pub key: &'a FlowKey,
    pub state: FlowState,
    /// How many flows of its class there may be.
    pub limit: u32,
    /// How long it lives if nothing happens.
    pub left_ns: u64,
    pub now: u64,
}

impl LetIn<'_> {
    /// Takes a place of the endpoint's quota.
    #[inline(always)]
    pub fn reserve(&self) -> Result<(), DropReason> {
        if !reap::has_room(self.key.endpoint) {
            return Err(DropReason::QuotaHalfOpen);
        }
        reserve(self.key.endpoint, self.state.quota_class(), self.state.is_outbound(), self.limit)
    }

    /// Puts the record on the reserved place; false: there is an entry already.
    #[inline(always)]
    pub fn put(&self, record: &FlowRecord, check: &mut Check) -> Result<bool, DropReason> {
        if let Err(error) = FLOWS.insert(self.key, record, u64::from(BPF_NOEXIST)) {
            release(self.key.endpoint, self.state.quota_class(), self.state.is_outbound());
            return if error == EEXIST { Ok(false) } else { Err(DropReason::FlowTableFull) };
        }
        let Some(flow) = FLOWS.get_ptr_mut(self.key) else {
            return Err(DropReason::Internal);
        };
        reap::ensure_ticking();
        if reap::schedule(self.key, flow, self.left_ns, self.now, check).is_err() {
            // Nobody would reap it.
            take_out(self.key, flow, self.state);
            return Err(DropReason::FlowTableFull);
        }
        Ok(true)
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

/// Takes one place of a class, if the quota has one left.
#[inline(always)]
pub fn reserve(
    endpoint: u32,
    class: QuotaClass,
    outbound: bool,
    limit: u32,
) -> Result<(), DropReason> {
    let counter = usage(endpoint, class, outbound).ok_or(DropReason::Internal)?;
    // SAFETY: `usage` returns a word of an entry that is valid for this run.
    unsafe {
        if atomic::fetch_add(counter, 1) < limit {
            return Ok(());
        }
        atomic::fetch_sub(counter, 1);
    }
    Err(match class {
        QuotaClass::HalfOpen => DropReason::QuotaHalfOpen,
        QuotaClass::Established | QuotaClass::Closing => DropReason::QuotaEstablished,
        QuotaClass::None => DropReason::Internal,
    })
}

#[inline(always)]
pub fn release(endpoint: u32, class: QuotaClass, outbound: bool) {
    if let Some(counter) = usage(endpoint, class, outbound) {
        // SAFETY: as in `reserve`.
        unsafe {
            // A counter that was made anew while flows lived must not wrap round.
            if atomic::fetch_sub(counter, 1) == 0 {
                atomic::fetch_add(counter, 1);
            }
        }
    }
}

#[inline(always)]
fn usage(endpoint: u32, class: QuotaClass, outbound: bool) -> Option<*mut u32> {
    let usage = USAGE.get_ptr_mut(endpoint)?;
    // SAFETY: only computes addresses within the entry.
    unsafe {
        Some(match (class, outbound) {
            (QuotaClass::HalfOpen, false) => &raw mut (*usage).inbound_half_open,
            (QuotaClass::HalfOpen, true) => &raw mut (*usage).outbound_half_open,
            (QuotaClass::Established, false) => &raw mut (*usage).inbound_established,
            (QuotaClass::Established, true) => &raw mut (*usage).outbound_established,
            (QuotaClass::Closing, _) => &raw mut (*usage).closing,
            (QuotaClass::None, _) => return None,
        })
    }
}
