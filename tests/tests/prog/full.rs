//! Tables that hold as much as they can: what is new is denied, what is in them goes on.

use anyhow::Result;
use aya::Pod;
use enforcer_common::{
    abi::{
        endpoint::{Endpoint, Hub, HubKey, Network, Role},
        event::Hook,
        policy::{PortKey, Prefix, PrefixKey, PublishedKey, Rule},
    },
    packet::{IPV4, TCP},
};

use crate::{
    frame::{A_MAC, forbidden, syn},
    rig::{ALLOW, BRIDGE, DENY, GUEST, HUB_PORT, Meta, Rig, STRANGER, can_run},
};

/// Errno of an entry too many (`kernel/bpf/hashtab.c`).
const FULL: i32 = libc::E2BIG;

/// Puts entries until no more are taken; how many were.
fn fill<K: Pod, V: Pod + Default>(
    rig: &mut Rig,
    name: &'static str,
    key: impl Fn(u32) -> K,
) -> Result<u32> {
    let mut map = rig.map::<K, V>(name)?;
    for number in 0.. {
        match map.insert(key(number), V::default(), 0) {
            Ok(()) => {}
            Err(aya::maps::MapError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(FULL) =>
            {
                return Ok(number);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(u32::MAX)
}

#[test]
fn f08_full_tables_deny_what_is_new_and_keep_what_is_there() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    // Far away from the numbers of the cast.
    let number = |number: u32| 1_000_000 + number;
    let taken = [
        fill::<u32, Endpoint>(&mut rig, "ENDPOINTS", number)?,
        fill::<u32, Network>(&mut rig, "NETWORKS", number)?,
        fill::<HubKey, Hub>(&mut rig, "HUBS", |n| HubKey {
            network: number(n),
            ..HubKey::default()
        })?,
        fill::<PrefixKey, Prefix>(&mut rig, "PREFIXES", |n| PrefixKey {
            epoch: number(n),
            family: IPV4,
            ..PrefixKey::default()
        })?,
        fill::<PortKey, Rule>(&mut rig, "PORTS", |n| PortKey {
            epoch: number(n),
            protocol: TCP,
            ..PortKey::default()
        })?,
        fill::<PublishedKey, u32>(&mut rig, "PUBLISHED", |n| PublishedKey {
            endpoint: number(n),
            ..PublishedKey::default()
        })?,
    ];
    assert!(taken.iter().all(|taken| *taken > 100), "{taken:?}");

    assert_eq!(rig.sent_by_a(&syn(40_000))?, ALLOW, "what is there goes on");
    assert_eq!(rig.sent_by_a(&forbidden())?, DENY, "and is judged as before");
    // No identity for a new port: it gets nowhere, by the bridge or to another port.
    let new = Endpoint { mac: A_MAC, role: Role::Guest as u8, ..Endpoint::default() };
    assert!(rig.endpoint(STRANGER, new).is_err(), "there was room left");
    let from_new = Meta { ifindex: STRANGER, ingress: STRANGER, ..Meta::default() };
    let mark = rig.run(Hook::FromGuest, &syn(40_001), from_new)?.mark;
    let bridge = Meta { ifindex: BRIDGE, ingress: BRIDGE, mark, ..Meta::default() };
    assert_eq!(rig.run(Hook::FromBridge, &syn(40_001), bridge)?.code, DENY);
    for port in [GUEST, HUB_PORT] {
        let to = Meta { ifindex: port, ingress: STRANGER, mark, ..Meta::default() };
        assert_eq!(rig.run(Hook::ToGuest, &syn(40_001), to)?.code, DENY, "to {port}");
    }
    Ok(())
}
