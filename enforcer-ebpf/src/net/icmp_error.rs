//! ICMP errors: they pass when the packet they are about belongs to a live flow of the endpoint,
//! and change nothing.

use enforcer_common::{
    abi::{endpoint::Endpoint, flow::FlowKey, verdict::DropReason},
    guard,
    packet::{Embedded, embedded_tuple},
};

use super::{Frame, conversation::now_ns, flows::Found};

/// An error that the endpoint sends, about a packet that it was sent.
#[inline(never)]
pub fn from_endpoint(frame: &mut Frame, endpoint: &Endpoint) -> Result<(), DropReason> {
    let about = embedded_tuple(&frame.skb, frame.packet)?;
    // The peer of that flow is the only one who may be told.
    if about.source != frame.packet.destination {
        return Err(DropReason::IcmpNoFlow);
    }
    *frame.key = FlowKey {
        endpoint: endpoint.id,
        local_port: about.destination_port,
        remote_port: about.source_port,
        local: about.destination,
        remote: about.source,
        protocol: about.protocol,
        family: about.family,
        reserved: [0; 2],
    };
    belongs(frame.key)
}

/// An error for the endpoint, from anyone on the way, about a packet that it sent.
#[inline(never)]
pub fn to_endpoint(frame: &mut Frame, endpoint: &Endpoint) -> Result<(), DropReason> {
    let about: Embedded = embedded_tuple(&frame.skb, frame.packet)?;
    if !guard::is_own(endpoint, about.family, &about.source) {
        return Err(DropReason::IcmpNoFlow);
    }
    *frame.key = FlowKey {
        endpoint: endpoint.id,
        local_port: about.source_port,
        remote_port: about.destination_port,
        local: about.source,
        remote: about.destination,
        protocol: about.protocol,
        family: about.family,
        reserved: [0; 2],
    };
    belongs(frame.key)
}

#[inline(always)]
fn belongs(key: &FlowKey) -> Result<(), DropReason> {
    if Found::is_live(key, now_ns()) { Ok(()) } else { Err(DropReason::IcmpNoFlow) }
}
