//! The lookups that the decision on a new flow needs.

use enforcer_common::{
    abi::{
        endpoint::Endpoint,
        flow::FlowKey,
        policy::{Policy, PublishedKey, RuleKey},
        verdict::DropReason,
    },
    decide::{self, Allowed, Opener, Origin},
    packet::{TCP, UDP},
};

use crate::maps::{NETWORKS, POLICIES, PUBLISHED, RULES};

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
            let rule = rule(of(endpoint)?.epoch, key);
            decide::outbound(endpoint, network, key.family, &key.remote, rule)
        }
        Opener::Peer(origin) => {
            let published = origin == Origin::Beyond && is_published(key);
            decide::inbound(endpoint, origin, published)
        }
    }
}

#[inline(always)]
fn rule(epoch: u32, key: &FlowKey) -> Option<u32> {
    // Echo has an identifier where the others have ports.
    let port = if key.protocol == TCP || key.protocol == UDP { key.remote_port } else { 0 };
    let key =
        RuleKey { epoch, address: key.remote, port, protocol: key.protocol, family: key.family };
    // SAFETY: as in `may_open`.
    unsafe { RULES.get(key) }.map(|rule| rule.id)
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
