//! The floors of an established flow: the least that can be done of each thing that its packets take, by programs of a
//! few instructions on the maps of the programs that ship. Their sum is what no program that does these things can cost less than.

use std::{mem::offset_of, os::fd::BorrowedFd};

use anyhow::{Context as _, Result, bail};
use aya::maps::Map;
use enforcer_common::{
    abi::flow::{FlowKey, FlowRecord},
    packet::{Family, IPV4, IPV6, TCP, widen},
};
use enforcer_tests::prog::{
    frame::{A, A6, ALLOWED_PORT, WORLD, WORLD6},
    raw,
    rig::{BRIDGE, GUEST, ID, POLICY, Rig},
};

use crate::paths::{PORT, Path};

const BOTH: &[Family] = &[IPV4, IPV6];
/// Ethernet, IP and TCP without options.
const HEADERS4: u16 = 14 + 20 + 20;
const HEADERS6: u16 = 14 + 40 + 20;

/// Every floor, each once.
pub fn all(rig: &Rig) -> Result<Vec<Path>> {
    let lookup =
        |map, key: &[u8], counters: &[usize]| raw::looking_up(fd(rig, map)?, key, counters);
    let counters = [offset_of!(FlowRecord, packets_out), offset_of!(FlowRecord, bytes_out)];
    let floor = Path::floor;
    Ok(vec![
        floor("headers, IPv4", &[IPV4], raw::reading(HEADERS4)?),
        floor("headers, IPv6", &[IPV6], raw::reading(HEADERS6)?),
        floor("room to work", BOTH, lookup("SCRATCH", &[0; 4], &[])?),
        floor("guest of the interface", BOTH, lookup("ENDPOINTS", &GUEST.to_ne_bytes(), &[])?),
        floor("network of the guest", BOTH, lookup("NETWORKS", &BRIDGE.to_ne_bytes(), &[])?),
        floor("policy of the guest", BOTH, lookup("POLICIES", &POLICY.to_ne_bytes(), &[])?),
        floor("clock", BOTH, raw::timing()?),
        floor("flow and its counters, IPv4", &[IPV4], lookup("FLOWS", &flow(IPV4), &counters)?),
        floor("flow and its counters, IPv6", &[IPV6], lookup("FLOWS", &flow(IPV6), &counters)?),
    ])
}

fn fd<'a>(rig: &'a Rig, name: &'static str) -> Result<BorrowedFd<'a>> {
    use std::os::fd::AsFd as _;
    match rig.ebpf.map(name).context(name)? {
        Map::HashMap(map) | Map::Array(map) | Map::PerCpuArray(map) => Ok(map.fd().as_fd()),
        _ => bail!("{name} is of a kind that nobody expects"),
    }
}

/// The key of A's flow to the world, as it is in memory.
fn flow(family: Family) -> Vec<u8> {
    let (local, remote) = if family == IPV6 {
        (A6.octets(), WORLD6.octets())
    } else {
        (widen(A.octets()), widen(WORLD.octets()))
    };
    let FlowKey { endpoint, local_port, remote_port, local, remote, protocol, family, reserved } =
        FlowKey {
            endpoint: GUEST + ID,
            local_port: PORT,
            remote_port: ALLOWED_PORT,
            local,
            remote,
            protocol: TCP,
            family,
            reserved: [0; 2],
        };
    [
        &endpoint.to_ne_bytes()[..],
        &local_port.to_ne_bytes(),
        &remote_port.to_ne_bytes(),
        &local,
        &remote,
        &[protocol, family],
        &reserved,
    ]
    .concat()
}
