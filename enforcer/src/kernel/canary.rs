//! The self-probe: a forbidden frame, run through the programs that the kernel says are attached.
//!
//! The frame belongs to an endpoint that exists for the probe only, behind the loopback interface,
//! where no program of ours sits. A program that works on other maps than this daemon's does not
//! know that endpoint and lets the frame pass; so does one that fails open.

use std::{io, os::fd::AsFd as _};

use enforcer_common::abi::{
    counter::CounterKey,
    endpoint::{Endpoint, Network, Role},
    event::Hook,
};

use super::{
    KernelError, bpf,
    maps::{CounterMap, Maps},
};

/// Owner of what the probe causes. No endpoint has this id, and no record is made of it.
pub const OWNER: u32 = u32::MAX;

/// Loopback, in every network namespace.
const LOOPBACK: u32 = 1;
/// Verdict of a program that denies (`TCX_DROP`, `TC_ACT_SHOT`).
const DROP: u32 = 2;
/// A run that a frame of a guest interrupted on the same CPU may see parts of that frame.
const ATTEMPTS: usize = 3;

const GUEST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const BRIDGE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Runs the frame through each of these programs; returns those that let it pass.
pub fn run(maps: &mut Maps, programs: &[(Hook, u32)]) -> Result<Vec<(Hook, u32)>, KernelError> {
    maps.networks.put(
        &LOOPBACK,
        &Network {
            id: OWNER,
            gateway4: [192, 0, 2, 1],
            subnet4: [192, 0, 2, 0],
            mac: BRIDGE_MAC,
            prefix4: 24,
            ..Network::default()
        },
    )?;
    let endpoint = Endpoint {
        id: OWNER,
        network: LOOPBACK,
        ipv4: [192, 0, 2, 2],
        mac: GUEST_MAC,
        role: Role::Guest as u8,
        ..Endpoint::default()
    };
    let outcome = maps.endpoints.put(&LOOPBACK, &endpoint).and_then(|()| {
        let mut passed = Vec::new();
        for (hook, program) in programs {
            if !is_denied(*hook, *program)? {
                passed.push((*hook, *program));
            }
        }
        Ok(passed)
    });
    maps.endpoints.remove(&LOOPBACK)?;
    maps.networks.remove(&LOOPBACK)?;
    outcome
}

/// Forgets what the probe counted.
pub fn forget(counters: &mut CounterMap) -> Result<(), KernelError> {
    for (key, _) in counters.list()? {
        let CounterKey { owner, .. } = key;
        if owner == OWNER {
            counters.remove(&key)?;
        }
    }
    Ok(())
}

fn is_denied(hook: Hook, program: u32) -> Result<bool, KernelError> {
    let failed = |source: io::Error| KernelError::Probe { program: hook.name(), source };
    let fd = bpf::program_by_id(program).map_err(failed)?;
    // What the host only turns round is what `to_bridge` denies; the others deny whatever comes
    // from nowhere without a stamp.
    let ingress = if hook == Hook::ToBridge { LOOPBACK } else { 0 };
    for _ in 0..ATTEMPTS {
        if bpf::test_run(fd.as_fd(), &frame(), ingress).map_err(failed)? == DROP {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A SYN to an address that no policy opens, in network order.
fn frame() -> [u8; 54] {
    let mut frame = [0; 54];
    let mut put = |at: usize, bytes: &[u8]| frame[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &BRIDGE_MAC);
    put(6, &GUEST_MAC);
    put(12, &[0x08, 0x00]);
    // IPv4: 20 bytes of header, 40 in all, TTL 64, TCP, 192.0.2.2 to 203.0.113.1.
    put(14, &[0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 2, 203, 0, 113, 1]);
    // TCP: 1024 to 9, SYN, window 1024.
    put(34, &[4, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 4, 0, 0, 0, 0, 0]);
    frame
}
