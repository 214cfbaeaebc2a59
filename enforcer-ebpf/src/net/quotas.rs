//! How many flows of each class an endpoint has, against how many it may have.

use enforcer_common::{abi::verdict::DropReason, flow::QuotaClass};

use crate::{atomic, maps::USAGE};

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
