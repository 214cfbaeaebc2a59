//! The lookups that the decision on a new flow needs.

use enforcer_common::{
    abi::{
        endpoint::Endpoint,
        flow::FlowKey,
        policy::{
            BY_RULE_ONLY, Decision, Direction, LEASED_NAMES, LIMITS_SOURCES, LeaseKey, OPENS_NAMES,
            Policy, PortKey, PrefixKey, PublishedKey,
        },
        verdict::DropReason,
    },
    decide::{self, Denied, Opener, Origin},
    longest::{WIDEST, first_bits, longest},
    packet::{IPV4, TCP, UDP},
};

use super::word;
use crate::aligned;
use crate::maps::{LEASES, NETWORKS, POLICIES, PORTS, PREFIXES, PUBLISHED};

/// The endpoint's policy; epoch 0 is no policy, and denies.
#[inline(always)]
pub fn of(endpoint: &Endpoint) -> Result<&'static Policy, DropReason> {
    match POLICIES.get(endpoint.policy) {
        Some(policy) if epoch_of(policy) != 0 => Ok(policy),
        _ => Err(DropReason::Policy),
    }
}

/// The policy's epoch at this moment: the daemon may change over at any other.
#[inline(always)]
pub fn epoch_of(policy: &Policy) -> u32 {
    // SAFETY: an aligned word, read at once.
    unsafe { (&raw const policy.epoch).read_volatile() }
}

/// Whether an endpoint opens nothing but what a rule opens; one without a policy opens nothing at all.
#[inline(always)]
pub fn is_by_rule_only(endpoint: &Endpoint) -> bool {
    !of(endpoint).is_ok_and(|policy| policy.traits & BY_RULE_ONLY == 0)
}

/// Somebody asks to open the flow `key` of an endpoint.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub endpoint: &'a Endpoint,
    pub policy: &'a Policy,
    /// The policy's epoch, read once: one version answers all of it, and the flow is remembered as that one's.
    pub epoch: u32,
    pub key: &'a FlowKey,
    pub opener: Opener,
    /// Monotonic time, ns.
    pub now: u64,
    /// Whether it is open already, and judged again: as it was opened, by its address or by its name.
    pub again: bool,
    /// Class of the name under whose lease it was opened, of a flow that is judged again; else 0.
    pub name: u32,
}

/// What opens a flow.
#[derive(Clone, Copy)]
pub struct Opens {
    /// Number of the rule; 0: none was needed.
    pub rule: u32,
    /// Class of the name under whose lease; 0: none.
    pub name: u32,
}

/// Whether the opener may open the flow. Where the policy changes meanwhile the old version's rules may have been taken
/// away under the search: then the new one is asked.
#[inline(always)]
pub fn may_open(request: &Request<'_>) -> Result<Opens, Denied> {
    let Request { endpoint, policy, epoch, key, now, .. } = *request;
    let asked = u64::from(request.name) << 32
        | u64::from(request.again) << 8
        | u64::from(request.opener.value());
    // SAFETY: an endpoint, its policy and a key.
    let judge = || unsafe { judge_opening(endpoint, policy, key, asked, now) };
    let first = judge();
    word::to_opens(if epoch_of(policy) == epoch { first } else { judge() })
}

/// A global function: see [`word`]. `asked` is the opener, bit 8 whether it is open already, and in the upper
/// half the name.
///
/// # Safety
/// The pointers are null or what their types say.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn judge_opening(
    endpoint: *const Endpoint,
    policy: *const Policy,
    key: *const FlowKey,
    asked: u64,
    now: u64,
) -> u64 {
    // SAFETY: as promised by the caller.
    let known = unsafe { (aligned::value(endpoint), aligned::value(policy), key.as_ref()) };
    let (Some(endpoint), Some(policy), Some(key)) = known else {
        return word::of_opens(Err(DropReason::Internal.into()));
    };
    let opener = Opener::from_value(word::low(asked & 0xff));
    let (again, name) = (asked & 1 << 8 != 0, word::low(asked >> 32));
    let epoch = epoch_of(policy);
    if epoch == 0 {
        return word::of_opens(Err(DropReason::Policy.into()));
    }
    word::of_opens(opens(&Request { endpoint, policy, epoch, key, opener, now, again, name }))
}

#[inline(always)]
fn opens(request: &Request<'_>) -> Result<Opens, Denied> {
    let Request { endpoint, policy, epoch, key, .. } = *request;
    match request.opener {
        Opener::Endpoint => {
            // SAFETY: entries are replaced as a whole by the daemon, never written here.
            let network = unsafe { aligned::found(NETWORKS.get_ptr(endpoint.network)) }
                .ok_or(DropReason::Internal)?;
            let (decision, name) = outbound(request);
            let (family, remote) = (key.family, &key.remote);
            let allowed = decide::outbound(endpoint, network, family, remote, decision)?;
            let by_rule_only = policy.traits & BY_RULE_ONLY != 0;
            let allowed = if by_rule_only { decide::by_rule(allowed)? } else { allowed };
            Ok(Opens { rule: allowed.rule, name })
        }
        Opener::Peer(origin) => {
            let published = origin == Origin::Beyond && is_published(key);
            let limited = published && policy.traits & LIMITS_SOURCES != 0;
            let sources = if limited { Some(by_address(epoch, key, Direction::In)) } else { None };
            let allowed = decide::inbound(endpoint, origin, published, sources)?;
            Ok(Opens { rule: allowed.rule, name: 0 })
        }
    }
}

/// What the rules say of a destination, and the class of the name under which they say it. A rule about
/// the address itself comes first: a name opens nothing that one denies.
#[inline(always)]
fn outbound(request: &Request<'_>) -> (Decision, u32) {
    let Request { policy, epoch, key, now, name, .. } = *request;
    let decision = by_address(epoch, key, Direction::Out);
    if !decision.is_left_to_names() || policy.traits & OPENS_NAMES == 0 {
        return (decision, 0);
    }
    if name != 0 {
        // It goes on as long as the name is open, whatever became of the lease.
        // SAFETY: a key.
        let found = unsafe { port_of(epoch, key, name, key.remote_port) };
        return if found == 0 { (decision, 0) } else { (Decision::from_word(found), name) };
    }
    if request.again {
        return (decision, 0);
    }
    for place in 0..LEASED_NAMES as u64 {
        // SAFETY: a key.
        let name = unsafe { leased_name(key, now, place) };
        if name == NOT_LEASED {
            break;
        }
        // SAFETY: a key.
        let found = unsafe { port_of(epoch, key, name, key.remote_port) };
        if found != 0 {
            return (Decision::from_word(found), name);
        }
    }
    // Audit mode, if it is that, has the last word.
    (decision, 0)
}

/// What the rules say of the flow's remote address.
#[inline(always)]
fn by_address(epoch: u32, key: &FlowKey, direction: Direction) -> Decision {
    // SAFETY: a key.
    let class = unsafe { class_of(epoch, key, direction as u8) };
    if class == NOT_KNOWN {
        return Decision::UNKNOWN;
    }
    if class == 0 {
        // No rule is about it, and no port needs to be looked at.
        return Decision::NONE;
    }
    let inwards = direction == Direction::In;
    let port = if inwards { key.local_port } else { key.remote_port };
    // SAFETY: a key.
    Decision::from_word(unsafe { port_of(epoch, key, class, port) })
}

// The three searches call nothing, and each has a stack of its own: 6.1 adds up those of a chain of calls.

/// [`class_of`]: there is no key. It is no class: those of addresses are counted from 1.
const NOT_KNOWN: u32 = u32::MAX;

/// The class of the flow's remote address; 0: none. The number of lookups does not depend on how many rules
/// there are. A global function: see [`word`].
///
/// # Safety
/// `key` is null or a key.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn class_of(epoch: u32, key: *const FlowKey, direction: u8) -> u32 {
    // SAFETY: as promised by the caller.
    let Some(key) = (unsafe { key.as_ref() }) else { return NOT_KNOWN };
    let words = words(&key.remote);
    let prefix = |length: u8| {
        let bits = first_bits(words, length);
        let key = PrefixKey { epoch, family: key.family, length, direction, reserved: 0, bits };
        // SAFETY: as in `may_open`.
        unsafe { PREFIXES.get(key) }.map(|prefix| prefix.class)
    };
    let class = if key.family == IPV4 { longest(32, prefix) } else { longest(WIDEST, prefix) };
    class.unwrap_or(0)
}

/// What the rules say of a port of a class, as [`Decision::word`]. A global function: see [`word`].
///
/// # Safety
/// `key` is null or a key.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn port_of(epoch: u32, key: *const FlowKey, class: u32, port: u16) -> u32 {
    // SAFETY: as promised by the caller.
    let Some(key) = (unsafe { key.as_ref() }) else { return Decision::UNKNOWN.word() };
    let at = |length: u8| {
        let port = if length == 0 { 0 } else { port & (u16::MAX << ((16 - length) & 15)) };
        let key = PortKey { epoch, class, port, length, protocol: key.protocol };
        // SAFETY: as in `may_open`.
        unsafe { PORTS.get(key) }.map(|rule| rule.decision)
    };
    let has_ports = key.protocol == TCP || key.protocol == UDP;
    // Echo has an identifier where the others have ports.
    let decision = if has_ports { longest(16, at) } else { at(0) };
    decision.unwrap_or(0)
}

/// [`leased`]: the address is not leased at all.
const NOT_LEASED: u32 = u32::MAX;

/// The class of the name at one place of the lease of the flow's remote address; 0: nothing holds there. A
/// global function: see [`word`].
///
/// # Safety
/// `key` is null or a key.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn leased_name(key: *const FlowKey, now: u64, place: u64) -> u32 {
    // SAFETY: as promised by the caller.
    // Nothing holds here, and whoever asks what the rules say of that is denied.
    let Some(key) = (unsafe { key.as_ref() }) else { return 0 };
    let Ok(place) = usize::try_from(place) else { return NOT_LEASED };
    let lease = LeaseKey {
        endpoint: key.endpoint,
        address: key.remote,
        family: key.family,
        reserved: [0; 3],
    };
    // SAFETY: as in `may_open`.
    let Some(lease) = (unsafe { LEASES.get(lease) }) else { return NOT_LEASED };
    match (lease.names.get(place), lease.until_ns.get(place)) {
        (Some(name), Some(until)) if *until > now => *name,
        _ => 0,
    }
}

/// An address as a number.
#[inline(always)]
#[expect(clippy::many_single_char_names, reason = "sixteen bytes in their order")]
fn words(address: &[u8; 16]) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *address;
    [u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes([i, j, k, l, m, n, o, p])]
}

#[inline(always)]
fn is_published(key: &FlowKey) -> bool {
    let transport = key.protocol == TCP || key.protocol == UDP;
    let key = PublishedKey {
        endpoint: key.endpoint,
        port: key.local_port,
        protocol: key.protocol,
        reserved: 0,
    };
    // SAFETY: as in `may_open`.
    transport && unsafe { PUBLISHED.get(key) }.is_some()
}
