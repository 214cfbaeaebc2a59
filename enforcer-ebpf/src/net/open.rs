//! How a flow gets into the table: a place of the quota, the entry, somebody who will reap it.

use aya_ebpf::bindings::{__sk_buff, BPF_NOEXIST};
use enforcer_common::{
    abi::{
        flow::{Check, FlowKey, FlowRecord},
        policy::Policy,
        verdict::DropReason,
    },
    decide::Opener,
    flow::{self, FlowState},
    packet::{Bytes as _, TCP},
};

use super::{
    flows::take_out,
    policy::Opens,
    quotas::{release, reserve},
    reap, word,
};
use crate::{
    maps::{FLOWS, SCRATCH, Scratch},
    skb::Skb,
};

const EEXIST: i32 = -17;

/// Puts the flow of the frame that is judged on this CPU into the table; 1 if it did so, 0 if another CPU did just
/// now. `by` is the opener, and in the upper half the epoch of the policy that was asked. A global function: see [`word`].
///
/// # Safety
/// `policy` is null or a policy.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn open_flow(
    skb: *mut __sk_buff,
    policy: *const Policy,
    by: u64,
    opens: u64,
    now: u64,
) -> u32 {
    // SAFETY: as promised by the caller; this CPU's own slot, which who called has lent.
    let known = unsafe { (policy.as_ref(), SCRATCH.get_ptr_mut(0).map(|scratch| &mut *scratch)) };
    let ((Some(policy), Some(scratch)), Ok(opens)) = (known, word::to_opens(opens)) else {
        return word::of_number(Err(DropReason::Internal));
    };
    let (sender, epoch) = (Opener::from_value(word::low(by)), word::low(by >> 32));
    let opening = Opening { sender, epoch, opens, now };
    word::of_number(insert(Skb::from_context(skb), policy, scratch, &opening).map(u32::from))
}

/// A flow that policy allows, on its way into the table.
struct Opening {
    sender: Opener,
    epoch: u32,
    opens: Opens,
    now: u64,
}

/// Puts a new flow into the table; false: another CPU did so just now.
#[inline(always)]
fn insert(
    skb: Skb,
    policy: &Policy,
    scratch: &mut Scratch,
    opening: &Opening,
) -> Result<bool, DropReason> {
    let from_endpoint = opening.sender == Opener::Endpoint;
    let state = FlowState::open(from_endpoint);
    let key = &scratch.key;
    let let_in = LetIn {
        key,
        state,
        limit: flow::opening_limit(&policy.quotas, opening.sender),
        checks: flow::checks_limit(&policy.quotas, opening.sender),
        left_ns: flow::timeout_ns(state, key.protocol),
        now: opening.now,
    };
    let_in.reserve()?;

    let (packets, bytes) = (u64::from(skb.segments()), u64::from(skb.len()));
    let record = &mut scratch.flow;
    *record = FlowRecord {
        last_seen_ns: opening.now,
        opened_ns: opening.now,
        state: state.word(),
        epoch: opening.epoch,
        rule: opening.opens.rule,
        name: opening.opens.name,
        opener: opening.sender.value(),
        ..FlowRecord::default()
    };
    if from_endpoint {
        (record.packets_out, record.bytes_out) = (packets, bytes);
    } else {
        (record.packets_in, record.bytes_in) = (packets, bytes);
    }
    if key.protocol == TCP {
        flow::track(record, state, from_endpoint, &scratch.packet);
    }
    let_in.put(record, &mut scratch.check)
}

/// How a flow gets into the table, whoever knows of it.
pub struct LetIn<'a> {
    pub key: &'a FlowKey,
    pub state: FlowState,
    /// How many flows of its class there may be.
    pub limit: u32,
    /// How many checks of the endpoint's there may be.
    pub checks: u32,
    /// How long it lives if nothing happens.
    pub left_ns: u64,
    pub now: u64,
}

impl LetIn<'_> {
    /// Takes a place of the endpoint's quota.
    #[inline(always)]
    pub fn reserve(&self) -> Result<(), DropReason> {
        if !reap::has_room(self.key.endpoint, self.checks) {
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
