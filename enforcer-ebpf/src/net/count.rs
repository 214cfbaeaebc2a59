//! Counters by owner, reason and hook, on each CPU; and how many records of them are written.

use enforcer_common::{
    abi::{
        counter::{Counter, CounterKey, RECORD_BURST, RECORDS_PER_SECOND},
        import::ImportCounter,
    },
    packet::Bytes as _,
};

use crate::{
    atomic,
    maps::{COUNTERS, SCRATCH, UNCOUNTED},
    skb::Skb,
};

const NS_PER_RECORD: u64 = 1_000_000_000 / RECORDS_PER_SECOND;

/// Counts one event of the frame; the counter, for what becomes of its record.
#[inline(always)]
pub fn bump(skb: Skb, owner: u32, hook: u8, reason: u16) -> Option<&'static mut Counter> {
    let key = CounterKey { owner, reason, hook, reserved: 0 };
    one(&key, u64::from(skb.segments()), u64::from(skb.len()))
}

/// Counts one event of so many packets and bytes.
#[inline(always)]
pub fn one(key: &CounterKey, packets: u64, bytes: u64) -> Option<&'static mut Counter> {
    let Some(counter) = entry(key) else {
        if let Some(uncounted) = UNCOUNTED.get_ptr_mut(0) {
            // SAFETY: this CPU's own slot; programs do not preempt one another on a CPU.
            unsafe { *uncounted += 1 };
        }
        return None;
    };
    counter.events += 1;
    counter.packets += packets;
    counter.bytes += bytes;
    Some(counter)
}

/// Adds counts of another table. A packet may interrupt this on the same CPU, so each sum is one
/// instruction; the packet path itself is not interrupted.
#[inline(never)]
pub fn add(import: &ImportCounter) {
    let more = &import.counter;
    let Some(counter) = entry(&import.key) else {
        if let Some(uncounted) = UNCOUNTED.get_ptr_mut(0) {
            // SAFETY: this CPU's own slot, valid for this run.
            unsafe { atomic::add64(uncounted, more.events) };
        }
        return;
    };
    // SAFETY: this CPU's own value, valid for this run.
    unsafe {
        atomic::add64(&raw mut counter.events, more.events);
        atomic::add64(&raw mut counter.packets, more.packets);
        atomic::add64(&raw mut counter.bytes, more.bytes);
        atomic::add64(&raw mut counter.recorded, more.recorded);
        atomic::add64(&raw mut counter.suppressed, more.suppressed);
        atomic::add64(&raw mut counter.lost, more.lost);
    }
}

/// Takes one record from the owner's rate for this reason, if one is left.
#[inline(always)]
pub fn take_token(counter: &mut Counter, now: u64) -> bool {
    if cfg!(feature = "every-record") || cfg!(feature = "no-records") {
        return cfg!(feature = "every-record");
    }
    let earned = now.saturating_sub(counter.refilled_ns) / NS_PER_RECORD;
    if earned > 0 {
        let tokens = counter.tokens + earned;
        counter.tokens = if tokens > RECORD_BURST { RECORD_BURST } else { tokens };
        counter.refilled_ns = now;
    }
    if counter.tokens == 0 {
        return false;
    }
    counter.tokens -= 1;
    true
}

/// A counter of what processes do. A program that runs for a process may be interrupted by a packet, or
/// by another process on the same CPU, so each sum is one instruction.
#[derive(Clone, Copy)]
pub struct OfProcess(*mut Counter);

impl OfProcess {
    /// Counts one event; `None`: there is no room for its counter, and that is counted.
    #[inline(always)]
    pub fn one(key: &CounterKey) -> Option<Self> {
        let Some(counter) = entry(key) else {
            if let Some(uncounted) = UNCOUNTED.get_ptr_mut(0) {
                // SAFETY: this CPU's own slot, valid for this run.
                unsafe { atomic::add64(uncounted, 1) };
            }
            return None;
        };
        let counter = &raw mut *counter;
        // SAFETY: this CPU's own value, valid for this run; programs do not change their CPU.
        unsafe { atomic::add64(&raw mut (*counter).events, 1) };
        Some(Self(counter))
    }

    /// Takes one record from the owner's rate, if one is left. Two processes that interrupt one another
    /// may share a token: a record more, never one that is not counted.
    #[inline(always)]
    pub fn take_token(self, now: u64) -> bool {
        // SAFETY: as above; aligned words, each read and written at once.
        unsafe {
            let (tokens, refilled) = (&raw mut (*self.0).tokens, &raw mut (*self.0).refilled_ns);
            let earned = now.saturating_sub(refilled.read_volatile()) / NS_PER_RECORD;
            let mut left = tokens.read_volatile();
            if earned > 0 {
                let sum = left.saturating_add(earned);
                left = if sum > RECORD_BURST { RECORD_BURST } else { sum };
                refilled.write_volatile(now);
            }
            let taken = left > 0;
            tokens.write_volatile(if taken { left - 1 } else { 0 });
            taken
        }
    }

    /// Its record is written.
    #[inline(always)]
    pub fn recorded(self) {
        // SAFETY: as above.
        unsafe { atomic::add64(&raw mut (*self.0).recorded, 1) };
    }

    /// The owner's rate is used up.
    #[inline(always)]
    pub fn suppressed(self) {
        // SAFETY: as above.
        unsafe { atomic::add64(&raw mut (*self.0).suppressed, 1) };
    }

    /// The ring is full.
    #[inline(always)]
    pub fn lost(self) {
        // SAFETY: as above.
        unsafe { atomic::add64(&raw mut (*self.0).lost, 1) };
    }
}

#[inline(always)]
fn entry(key: &CounterKey) -> Option<&'static mut Counter> {
    if let Some(counter) = COUNTERS.get_ptr_mut(key) {
        // SAFETY: this CPU's own value; programs do not preempt one another on a CPU.
        return Some(unsafe { &mut *counter });
    }
    let scratch = SCRATCH.get_ptr_mut(0)?;
    // Lost when another CPU was faster: then the lookup below finds its entry.
    // SAFETY: this CPU's own slot, and nobody writes this part of it.
    let _exists = COUNTERS.insert(key, unsafe { &(*scratch).zero }, 1);
    // SAFETY: as above.
    COUNTERS.get_ptr_mut(key).map(|counter| unsafe { &mut *counter })
}
