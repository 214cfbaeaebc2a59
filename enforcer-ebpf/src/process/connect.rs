//! A process of a guest asks for a conversation: it is told at once what its packet would meet.

use aya_ebpf::helpers::generated::{bpf_ringbuf_reserve, bpf_ringbuf_submit};
use enforcer_common::{
    abi::{
        cgroup::CgroupOwner,
        counter::{CONNECT_REFUSED, CounterKey},
        endpoint::Endpoint,
        event::{Call, ConnectRefused, EVENT_ABI, EventKind},
        flow::FlowKey,
    },
    decide::{Denied, Opener, is_left_to_packets, own_address},
    packet::{Family, UDP},
};

use super::who;
use crate::{
    maps::{ENDPOINTS, NETWORKS},
    net::{
        count::OfProcess,
        emit::{ring, wakeup},
        flows::Found,
        policy::{self, Request},
    },
};

/// Where a call wants to go.
pub struct Destination {
    pub address: [u8; 16],
    pub port: u16,
    pub family: Family,
}

/// What calls.
pub struct Socket {
    pub call: Call,
    pub protocol: u8,
    /// Its own port; 0: none yet.
    pub port: u16,
}

/// Whether the call may go on. What is no guest's, or not certain to be denied, does.
#[inline(always)]
pub fn judge(socket: &Socket, to: &Destination) -> bool {
    let Some(owner) = who::guest() else { return true };
    // SAFETY: entries are replaced as a whole by the daemon, never written here.
    let Some(endpoint) = (unsafe { ENDPOINTS.get(owner.ifindex) }) else { return true };
    // SAFETY: as above.
    let Some(network) = (unsafe { NETWORKS.get(endpoint.network) }) else { return true };
    if endpoint.id != owner.owner || is_left_to_packets(endpoint, network, to.family, &to.address) {
        return true;
    }
    let key = key(endpoint, socket, to);
    // What an answer is, only packets tell; an older epoch's flow they decide anew.
    let now = who::now_ns();
    if socket.protocol == UDP && Found::is_live(&key, now) {
        return true;
    }
    let opens = policy::of(endpoint).map_err(Denied::from).and_then(|policy| {
        let opener = Opener::Endpoint;
        policy::may_open(&Request {
            endpoint,
            policy,
            epoch: policy::epoch_of(policy),
            key: &key,
            opener,
            now,
            again: false,
            name: 0,
        })
    });
    match opens {
        Ok(_opens) => true,
        Err(denied) => {
            record(owner, socket, to, denied);
            cfg!(feature = "pass")
        }
    }
}

/// The flow that a packet of the call would belong to.
#[inline(always)]
fn key(endpoint: &Endpoint, socket: &Socket, to: &Destination) -> FlowKey {
    FlowKey {
        endpoint: endpoint.id,
        local_port: socket.port,
        remote_port: to.port,
        local: own_address(endpoint, to.family, &to.address),
        remote: to.address,
        protocol: socket.protocol,
        family: to.family,
        reserved: [0; 2],
    }
}

#[inline(always)]
fn record(owner: &CgroupOwner, socket: &Socket, to: &Destination, denied: Denied) {
    let key = CounterKey { owner: owner.owner, reason: CONNECT_REFUSED, hook: 0, reserved: 0 };
    let Some(counter) = OfProcess::one(&key) else { return };
    let now = who::now_ns();
    if !counter.take_token(now) {
        counter.suppressed();
        return;
    }
    // SAFETY: the map is a ring buffer, and the length is a constant, as the verifier wants it.
    let slot = unsafe { bpf_ringbuf_reserve(ring(), size_of::<ConnectRefused>() as u64, 0) };
    if slot.is_null() {
        counter.lost();
        return;
    }
    let event = slot.cast::<ConnectRefused>();
    // SAFETY: the slot is as long as a `ConnectRefused` and 8-byte aligned; every byte is written.
    unsafe {
        (*event).abi = EVENT_ABI;
        (*event).kind = EventKind::ConnectRefused as u16;
        (*event).owner = owner.owner;
        (*event).time_ns = now;
        who::describe(&raw mut (*event).process, 0);
        (*event).destination = to.address;
        (*event).destination_port = to.port;
        (*event).reason = denied.reason as u16;
        (*event).protocol = socket.protocol;
        (*event).family = to.family;
        (*event).call = socket.call as u8;
        (*event).reserved = 0;
        (*event).rule = denied.rule;
        (*event).padding = 0;
    }
    counter.recorded();
    // SAFETY: reserved above, and given back once.
    unsafe { bpf_ringbuf_submit(slot, wakeup()) };
}
