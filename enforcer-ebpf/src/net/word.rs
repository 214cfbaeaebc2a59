//! Results as one integer, which is all that a global function may return.
//!
//! The verifier walks a global function once, by itself, and at its calls it knows nothing of what it
//! returns; any other function it walks again for each state in which it is called.
//!
//! Such a function has a name that is exported and the C ABI. It is given the context, numbers, and pointers to
//! plain values that may be written; any of these it must expect to be null. 6.1 takes no key of a map from behind
//! such a pointer: keys are on the function's own stack or in `SCRATCH`, where the frame is, too.

use enforcer_common::{
    abi::{policy::Decision, verdict::DropReason},
    decide::Denied,
};

use super::policy::Opens;

/// Above every number that is returned.
const DENIED: u32 = 1 << 16;

/// 0: it is allowed so far.
#[inline(always)]
pub fn of(result: Result<(), DropReason>) -> u32 {
    match result {
        Ok(()) => 0,
        Err(reason) => reason as u32,
    }
}

/// The result of a word made by [`of`]; any other denies.
#[inline(always)]
pub fn to_result(word: u32) -> Result<(), DropReason> {
    if word == 0 { Ok(()) } else { Err(reason(word)) }
}

/// A small number, or a denial.
#[inline(always)]
pub fn of_number(result: Result<u32, DropReason>) -> u32 {
    match result {
        Ok(number) => number,
        Err(reason) => DENIED | reason as u32,
    }
}

/// What a word made by [`of_number`] says.
#[inline(always)]
pub fn to_number(word: u32) -> Result<u32, DropReason> {
    if word & DENIED == 0 { Ok(word) } else { Err(reason(word & !DENIED)) }
}

/// The rule is below, with [`Decision::DENIES`] if policy denies: no rule that opens has that bit. Above is the class
/// of the name, or the reason.
#[inline(always)]
pub fn of_opens(opens: Result<Opens, Denied>) -> u64 {
    match opens {
        Ok(opens) => u64::from(opens.name) << 32 | u64::from(opens.rule),
        Err(denied) => (denied.reason as u64) << 32 | u64::from(denied.rule | Decision::DENIES),
    }
}

/// What a word made by [`of_opens`] says.
#[inline(always)]
pub fn to_opens(word: u64) -> Result<Opens, Denied> {
    let (above, rule) = (low(word >> 32), low(word));
    if rule & Decision::DENIES == 0 {
        return Ok(Opens { rule, name: above });
    }
    Err(Denied { reason: reason(above), rule: rule & !Decision::DENIES })
}

/// The reason with this number; an unknown one is [`DropReason::Internal`].
#[inline(always)]
pub fn reason(word: u32) -> DropReason {
    u16::try_from(word).ok().and_then(DropReason::from_value).unwrap_or(DropReason::Internal)
}

/// The lower half of a word.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the other half is something else")]
pub fn low(word: u64) -> u32 {
    word as u32
}
