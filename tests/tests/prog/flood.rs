//! A1 under a flood: what happened = recorded + suppressed + lost, to the last frame.

use std::thread;

use anyhow::{Context as _, Result};
use aya::maps::PerCpuArray;
use enforcer_common::abi::{
    counter::{RECORD_BURST, RECORDS_PER_SECOND},
    endpoint::Endpoint,
    event::Hook,
    verdict::DropReason,
};

use crate::{
    frame::{B_MAC, forbidden, patched},
    rig::{DENY, GUEST, ID, Meta, OTHER_GUEST, Rig, can_run},
};

const POLICY: u16 = DropReason::Policy as u16;

fn uncounted(rig: &Rig) -> Result<u64> {
    let map = PerCpuArray::<_, u64>::try_from(rig.ebpf.map("UNCOUNTED").context("UNCOUNTED")?)?;
    Ok(map.get(&0, 0)?.iter().sum())
}

#[test]
fn a1_f07_a_flood_is_accounted_for_to_the_frame() -> Result<()> {
    const FRAMES: u32 = 100_000;
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let meta = Meta { ifindex: GUEST, ingress: GUEST, ..Meta::default() };
    // Two senders at once, on whatever CPUs they get.
    thread::scope(|scope| -> Result<()> {
        let rig = &rig;
        let send = move || rig.repeat(Hook::FromGuest, &forbidden(), meta, FRAMES / 2);
        let senders = [scope.spawn(send), scope.spawn(send)];
        for sender in senders {
            assert_eq!(sender.join().expect("a sender")?.code, DENY);
        }
        Ok(())
    })?;
    let counter = rig.counter(GUEST + ID, POLICY, Hook::FromGuest)?;
    assert_eq!(counter.events, u64::from(FRAMES));
    assert_eq!(counter.packets, u64::from(FRAMES));
    assert_eq!(counter.recorded + counter.suppressed + counter.lost, u64::from(FRAMES));
    assert_eq!(rig.events()?.len() as u64, counter.recorded);
    assert!(counter.recorded <= 4 * (RECORD_BURST + 60 * RECORDS_PER_SECOND));
    assert_eq!(uncounted(&rig)?, 0);

    // Another guest's first denial is on record all the same.
    let b: Endpoint = rig.map("ENDPOINTS")?.get(&OTHER_GUEST, 0)?;
    let frame = patched(patched(forbidden(), 6, &B_MAC), 26, &b.ipv4);
    let meta = Meta { ifindex: OTHER_GUEST, ingress: OTHER_GUEST, ..Meta::default() };
    assert_eq!(rig.run(Hook::FromGuest, &frame, meta)?.code, DENY);
    let events = rig.events()?;
    assert_eq!((events.len(), events[0].owner), (1, OTHER_GUEST + ID));
    Ok(())
}

#[test]
fn a1_f07_a_full_ring_is_counted_as_loss() -> Result<()> {
    const GUESTS: u32 = 1000;
    const EACH: u32 = 100;
    if !can_run() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let a: Endpoint = rig.map("ENDPOINTS")?.get(&GUEST, 0)?;
    let meta = Meta { ifindex: GUEST, ingress: GUEST, ..Meta::default() };
    for guest in 0..GUESTS {
        rig.map("ENDPOINTS")?.insert(GUEST, Endpoint { id: 5000 + guest, ..a }, 0)?;
        rig.repeat(Hook::FromGuest, &forbidden(), meta, EACH)?;
    }
    let counters = rig.counters()?;
    assert_eq!(counters.len(), usize::try_from(GUESTS)?);
    let (mut recorded, mut lost) = (0, 0);
    for (key, counter) in counters {
        assert_eq!(counter.events, u64::from(EACH), "{key:?}");
        assert_eq!(counter.recorded + counter.suppressed + counter.lost, u64::from(EACH));
        recorded += counter.recorded;
        lost += counter.lost;
    }
    assert!(lost > 0, "the ring was never full: nothing is proven");
    assert_eq!(rig.events()?.len() as u64, recorded);
    assert_eq!(uncounted(&rig)?, 0);
    // With room again, records go on.
    assert_eq!(rig.repeat(Hook::FromGuest, &patched(forbidden(), 6, &B_MAC), meta, 1)?.code, DENY);
    assert_eq!(rig.events()?.len(), 1);
    Ok(())
}
