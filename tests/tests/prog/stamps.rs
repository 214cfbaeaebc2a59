//! Marks and interfaces: what is stamped, what is cleared, what is left alone.

use std::net::Ipv4Addr;

use anyhow::Result;
use enforcer_common::abi::{event::Hook, verdict::DropReason};

use crate::{
    frame::{A, A_MAC, BRIDGE_MAC, GATEWAY, WORLD, forbidden, framed, into, segment, syn, v4},
    rig::{
        ALLOW, BRIDGE, DENY, FROM_GUEST, FROM_HOST, GUEST, HUB_PORT, ID, MASK, Meta, OTHER_GUEST,
        Rig, STRANGER, Seen, UPLINK, can_run,
    },
};

/// Bits of the mark that belong to others.
const OTHERS: u32 = 0x0bad_cafe & !MASK;

/// A SYN to A's published port.
fn visit(from: Ipv4Addr) -> Vec<u8> {
    into(&v4(from, A), &segment(50000, 8888, 2, 1, 0))
}

#[test]
fn n5_stamps_are_put_and_cleared_and_other_marks_left() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let rig = Rig::new()?;
    for forged in [0, FROM_GUEST, FROM_HOST, MASK] {
        let mark = OTHERS | forged;
        let guest = Meta { ifindex: GUEST, ingress: GUEST, mark, ..Meta::default() };
        let passed = rig.run(Hook::FromGuest, &syn(40000), guest)?;
        assert_eq!(passed, Seen { code: ALLOW, mark: OTHERS | FROM_GUEST });
        let denied = rig.run(Hook::FromGuest, &forbidden(), guest)?;
        assert_eq!(denied, Seen { code: DENY, mark: OTHERS });

        let stamped = forged == FROM_GUEST;
        let bridge = Meta { ifindex: BRIDGE, ingress: BRIDGE, mark, ..Meta::default() };
        let left = rig.run(Hook::FromBridge, &syn(40000), bridge)?;
        let code = if stamped { ALLOW } else { DENY };
        assert_eq!(left, Seen { code, mark: OTHERS });

        for (ingress, from) in [(0, GATEWAY), (UPLINK, WORLD)] {
            let entering = rig.run(Hook::ToBridge, &visit(from), Meta { ingress, ..bridge })?;
            assert_eq!(entering, Seen { code: ALLOW, mark: OTHERS | FROM_HOST });
            let code = if forged == FROM_HOST { ALLOW } else { DENY };
            let delivered = rig.run(Hook::ToGuest, &visit(from), Meta { ingress, ..guest })?;
            assert_eq!(delivered, Seen { code, mark: OTHERS }, "from {ingress}");
        }
    }
    Ok(())
}

#[test]
fn n6_interfaces_of_others_pass_untouched() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    for hook in [Hook::FromGuest, Hook::ToGuest] {
        for mark in [0, OTHERS, FROM_GUEST, FROM_HOST, u32::MAX] {
            for frame in [syn(1), forbidden(), visit(GATEWAY), vec![0xff; 60]] {
                let meta = Meta { ifindex: STRANGER, ingress: STRANGER, mark, segments: 0 };
                assert_eq!(rig.run(hook, &frame, meta)?, Seen { code: ALLOW, mark });
            }
        }
    }
    assert!(rig.counters()?.is_empty() && rig.events()?.is_empty() && rig.flows()?.is_empty());
    Ok(())
}

#[test]
fn n2_a_mark_alone_admits_nothing_between_guests() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let ip = v4(crate::frame::B, A);
    let frame =
        framed(A_MAC, crate::frame::B_MAC, &ip, &segment(1, 8888, 2, 1, 0).packet(&ip, &[]));
    for mark in [0, FROM_GUEST, FROM_HOST, MASK] {
        let meta = Meta { ifindex: GUEST, ingress: OTHER_GUEST, mark, segments: 0 };
        assert_eq!(rig.run(Hook::ToGuest, &frame, meta)?.code, DENY);
        assert_eq!(rig.only_reason()?, Some(DropReason::GuestToGuest));
        // A hub's port needs the stamp of its own program.
        let ip = v4(crate::frame::HUB, A);
        let tcp = segment(1, 8888, 2, 1, 0).packet(&ip, &[]);
        let frame = framed(A_MAC, crate::frame::HUB_MAC, &ip, &tcp);
        let meta = Meta { ingress: HUB_PORT, ..meta };
        let code = if mark == FROM_GUEST { ALLOW } else { DENY };
        assert_eq!(rig.run(Hook::ToGuest, &frame, meta)?.code, code);
        rig.events()?;
    }
    Ok(())
}

#[test]
fn p14_what_a_guest_bridge_sent_does_not_come_back_to_one() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let frame = framed(A_MAC, BRIDGE_MAC, &v4(crate::frame::B, A), &[0x45; 40]);
    for mark in [0, FROM_GUEST, FROM_HOST] {
        let meta = Meta { ifindex: BRIDGE, ingress: BRIDGE, mark, segments: 0 };
        assert_eq!(rig.run(Hook::ToBridge, &frame, meta)?.code, DENY);
        let events = rig.events()?;
        assert_eq!(events.len(), 1);
        assert_eq!((events[0].owner, events[0].reason), (BRIDGE + ID, DropReason::Hairpin as u16));
    }
    Ok(())
}
