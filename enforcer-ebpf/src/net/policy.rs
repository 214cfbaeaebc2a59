//! The lookups that the decision on a new flow needs.

use enforcer_common::{
    abi::{
        endpoint::Endpoint,
        flow::FlowKey,
        policy::{Policy, PortKey, PrefixKey, PublishedKey},
        verdict::DropReason,
    },
    decide::{self, Allowed, Opener, Origin},
    longest::{WIDEST, first_bits, longest},
    packet::{IPV4, TCP, UDP},
};

use crate::maps::{NETWORKS, POLICIES, PORTS, PREFIXES, PUBLISHED};

/// The endpoint's policy; epoch 0 is no policy, and denies.
#[inline(always)]
pub fn of(endpoint: &Endpoint) -> Result<&'static Policy, DropReason> {
    match POLICIES.get(endpoint.policy) {
        Some(policy) if policy.epoch != 0 => Ok(policy),
        _ => Err(DropReason::Policy),
    }
}

/// Whether `opener` may open the flow `key` of this endpoint.
#[inline(always)]
pub fn may_open(endpoint: &Endpoint, key: &FlowKey, opener: Opener) -> Result<Allowed, DropReason> {
    match opener {
        Opener::Endpoint => {
            // SAFETY: entries are replaced as a whole by the daemon, never written here.
            let network = unsafe { NETWORKS.get(endpoint.network) }.ok_or(DropReason::Internal)?;
            let rule = match rule(of(endpoint)?.epoch, key) {
                0 => None,
                rule => Some(rule),
            };
            decide::outbound(endpoint, network, key.family, &key.remote, rule)
        }
        Opener::Peer(origin) => {
            let published = origin == Origin::Beyond && is_published(key);
            decide::inbound(endpoint, origin, published)
        }
    }
}

/// The rule that opens a destination; 0: none does. The number of lookups does not depend on how many
/// rules there are. A function of its own, with a stack of its own.
#[inline(never)]
fn rule(epoch: u32, key: &FlowKey) -> u32 {
    let words = words(&key.remote);
    let prefix = |length: u8| {
        let bits = first_bits(words, length);
        let key = PrefixKey { epoch, family: key.family, length, reserved: [0; 2], bits };
        // SAFETY: as in `may_open`.
        unsafe { PREFIXES.get(key) }.map(|prefix| prefix.class)
    };
    let class = if key.family == IPV4 { longest(32, prefix) } else { longest(WIDEST, prefix) };
    // Nothing is open, and no port needs to be looked at.
    let Some(class @ 1..) = class else { return 0 };
    let port = |length: u8| {
        let port =
            if length == 0 { 0 } else { key.remote_port & (u16::MAX << ((16 - length) & 15)) };
        let key = PortKey { epoch, class, port, length, protocol: key.protocol };
        // SAFETY: as in `may_open`.
        unsafe { PORTS.get(key) }.map(|rule| rule.id)
    };
    let has_ports = key.protocol == TCP || key.protocol == UDP;
    // Echo has an identifier where the others have ports.
    let rule = if has_ports { longest(16, port) } else { port(0) };
    rule.unwrap_or(0)
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
