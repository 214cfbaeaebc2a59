//! Maps of one layout become maps of another, with the flows that live in them.

use std::{
    ffi::{CStr, CString},
    fs,
    net::Ipv4Addr,
    os::{fd::AsFd as _, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use aya::Pod;
use enforcer::kernel::{
    convert::{Conversion, Described, Field},
    layout::{self, Description},
    migrate::{Migrated, Source},
};
use enforcer_common::abi::{
    counter::Usage,
    endpoint::Endpoint,
    event::Hook,
    layout::{Field as Own, LAYOUT_BYTES, Layout, MAPS},
    ledger::Ledger,
    policy::{Policy, Quotas},
    verdict::DropReason,
};

use crate::{
    frame::{A, ALLOWED_PORT, GATEWAY, WORLD, forbidden, into, out, segment, syn, v4},
    raw,
    rig::{ALLOW, DENY, GUEST, ID, POLICY, Rig, UPLINK, can_run, policy},
};

const A_ID: u32 = GUEST + ID;
const SYN: u8 = 2;
const ACK: u8 = 16;
const SYN_ACK: u8 = 18;
const FLOWS: u32 = 4096;
const ARRAYS: [&str; 2] = ["POLICIES", "LEDGER"];

/// A BPF file system that only this thread sees, gone with it.
struct Pins(PathBuf);

impl Pins {
    fn new() -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("enforcer-pins-{}", thread_id()));
        fs::create_dir_all(&dir)?;
        let path = CString::new(dir.as_os_str().as_bytes())?;
        // SAFETY: changes only this thread's view.
        let own = unsafe { libc::unshare(libc::CLONE_NEWNS) } == 0;
        let mount = |what: &CStr, at: &CStr, kind: &CStr, flags| {
            // SAFETY: C strings that are alive during the call.
            unsafe {
                libc::mount(what.as_ptr(), at.as_ptr(), kind.as_ptr(), flags, std::ptr::null()) == 0
            }
        };
        let mounted = own
            && mount(c"none", c"/", c"", libc::MS_REC | libc::MS_PRIVATE)
            && mount(c"bpf", &path, c"bpf", 0);
        ensure!(mounted, "mount: {}", std::io::Error::last_os_error());
        Ok(Self(dir))
    }

    fn dir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.0.join(name);
        fs::create_dir(&dir)?;
        Ok(dir)
    }

    /// Pins all maps of an object, with their description.
    fn pin(&self, rig: &Rig, name: &str) -> Result<PathBuf> {
        let dir = self.dir(name)?;
        for (name, map) in rig.ebpf.maps().filter(|(name, _)| !name.starts_with('.')) {
            map.pin(dir.join(name)).context(name.to_owned())?;
        }
        layout::write(&dir)?;
        Ok(dir)
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        // The mount ends with the thread; here it hides an empty directory.
        let _other_view = fs::remove_dir(&self.0);
    }
}

fn thread_id() -> i32 {
    // SAFETY: takes nothing.
    unsafe { libc::gettid() }
}

/// What this thread has computed, without waiting for others.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a live timespec; the clock exists for every thread.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// This layout turned round: fields from the last to the first with gaps between, integers wider,
/// a field more.
fn other() -> Description {
    let turned = |own: &Described| {
        let mut size = 8;
        let more = Field { name: "more".to_owned(), offset: 0, size: 8, element: 8 };
        let mut fields = vec![more];
        for field in own.fields.iter().rev() {
            let wider = if field.element == field.size && field.size < 8 { 2 } else { 1 };
            let (length, element) = (field.size * wider, field.element * wider);
            fields.push(Field { offset: size + 1, size: length, element, ..field.clone() });
            size += 1 + length;
        }
        Described { size, fields }
    };
    let mut description = Description::own();
    description.version = 0x7000_0000;
    for map in &mut description.maps {
        // Arrays have keys of four bytes.
        if !ARRAYS.contains(&map.name.as_str()) {
            map.key = turned(&map.key);
        }
        map.value = turned(&map.value);
    }
    description
}

/// A description as the target of a conversion.
fn target(described: &Described) -> Layout {
    let fields: Vec<Own> = described
        .fields
        .iter()
        .map(|field| Own {
            name: field.name.clone().leak(),
            offset: field.offset,
            size: field.size,
            element: field.element,
            optional: field.name == "more",
        })
        .collect();
    Layout { size: described.size, fields: fields.leak() }
}

/// Makes maps of the other layout and fills them with what the rig's maps hold.
fn pin_turned(rig: &mut Rig, dir: &Path) -> Result<()> {
    const ARRAY: u32 = 2;
    const HASH: u32 = 1;
    let description = other();
    for (own, map) in MAPS.iter().zip(&description.maps) {
        let sizes = (usize::from(map.key.size), usize::from(map.value.size));
        let kind = if ARRAYS.contains(&own.name) { ARRAY } else { HASH };
        let pinned = raw::pinned_map(kind, sizes, 512, &dir.join(own.name))?;
        let way = |own: &Layout, other| {
            Conversion::new(&Described::from(own), &target(other)).context("compatible")
        };
        let (keys, values) = (way(&own.key, &map.key)?, way(&own.value, &map.value)?);
        for (key, value) in entries(rig, own.name)? {
            let key = keys.convert(&key).context("key")?;
            raw::put(pinned.as_fd(), &key, &values.convert(&value).context("value")?)?;
        }
    }
    let mut bytes = description.encode();
    bytes.resize(LAYOUT_BYTES * 2, 0);
    let map = raw::pinned_map(ARRAY, (4, bytes.len()), 1, &dir.join(layout::MAP))?;
    raw::put(map.as_fd(), &0_u32.to_ne_bytes(), &bytes)
}

/// The entries of a map of the rig, as bytes.
fn entries(rig: &mut Rig, name: &'static str) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    use enforcer_common::abi::{
        endpoint::{Hub, HubKey, Network},
        flow::{FlowKey, FlowRecord},
        policy::{PortKey, Prefix, PrefixKey, PublishedKey, Rule},
    };
    match name {
        "PREFIXES" => list::<PrefixKey, Prefix>(rig, name),
        "PORTS" => list::<PortKey, Rule>(rig, name),
        "NETWORKS" => list::<u32, Network>(rig, name),
        "HUBS" => list::<HubKey, Hub>(rig, name),
        "PUBLISHED" => list::<PublishedKey, u32>(rig, name),
        "USAGE" => list::<u32, Usage>(rig, name),
        "ENDPOINTS" => list::<u32, Endpoint>(rig, name),
        "FLOWS" => list::<FlowKey, FlowRecord>(rig, name),
        "LEDGER" => Ok(vec![(bytes(&0_u32), bytes(&Ledger { last_id: 200, last_epoch: 1 }))]),
        "POLICIES" => {
            let map = rig.ebpf.map(name).context(name)?;
            let policies = aya::maps::Array::<_, Policy>::try_from(map)?;
            Ok(vec![(bytes(&POLICY), bytes(&policies.get(&POLICY, 0)?))])
        }
        _ => Ok(Vec::new()),
    }
}

fn list<K: Pod, V: Pod>(rig: &mut Rig, name: &'static str) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let map = rig.map::<K, V>(name)?;
    map.iter().map(|entry| entry.map(|(k, v)| (bytes(&k), bytes(&v)))).map(|e| Ok(e?)).collect()
}

fn bytes<T: Pod>(value: &T) -> Vec<u8> {
    // SAFETY: plain integers without padding (`Pod`).
    unsafe { std::slice::from_raw_parts((&raw const *value).cast::<u8>(), size_of::<T>()) }.to_vec()
}

/// An established connection from the host, one that A has just opened, and a closed door.
fn open_flows(rig: &Rig) -> Result<()> {
    let (from, to) = (v4(A, GATEWAY), v4(GATEWAY, A));
    rig.sent_to_a(0, &into(&to, &segment(50000, 8888, SYN, 99, 0)))?;
    rig.sent_by_a(&out(&from, &segment(8888, 50000, SYN_ACK, 7, 100)))?;
    assert_eq!(rig.sent_to_a(0, &into(&to, &segment(50000, 8888, ACK, 100, 8)))?, ALLOW);
    assert_eq!(rig.sent_by_a(&syn(40000))?, ALLOW);
    Ok(())
}

fn assert_goes_on(rig: &mut Rig) -> Result<()> {
    let expected = Usage { inbound_established: 1, outbound_half_open: 1, ..Usage::default() };
    assert_eq!(rig.usage(A_ID)?, expected);
    let (from, to) = (v4(A, GATEWAY), v4(GATEWAY, A));
    assert_eq!(rig.sent_by_a(&out(&from, &segment(8888, 50000, ACK, 8, 100)))?, ALLOW);
    assert_eq!(rig.sent_to_a(0, &into(&to, &segment(50000, 8888, ACK, 100, 8)))?, ALLOW);
    let world = v4(WORLD, A);
    let answer = segment(ALLOWED_PORT, 40000, SYN_ACK, 499, 1000);
    assert_eq!(rig.sent_to_a(UPLINK, &into(&world, &answer))?, ALLOW);
    // Everything else is decided as before: by the policy, the rules, the addresses.
    assert_eq!(rig.sent_by_a(&forbidden())?, DENY);
    assert_eq!(rig.sent_by_a(&syn(40001))?, ALLOW);
    assert_eq!(rig.sent_to_a(UPLINK, &into(&world, &segment(9, 8888, SYN, 1, 0)))?, ALLOW);
    assert_eq!(rig.sent_to_a(UPLINK, &into(&world, &segment(9, 8889, SYN, 1, 0)))?, DENY);
    let flow = rig.flows()?.into_iter().find(|flow| flow.packets_in == 3);
    assert_eq!(flow.context("its counters go on")?.packets_out, 2);
    Ok(())
}

#[test]
fn n7_flows_survive_an_upgrade_to_another_layout() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let pins = Pins::new()?;
    let mut old = Rig::new()?;
    open_flows(&old)?;
    let dir = pins.dir("other")?;
    pin_turned(&mut old, &dir)?;
    drop(old);

    let mut new = Rig::empty(FLOWS)?;
    let target = pins.pin(&new, "new")?;
    let mut source = Source::open(&dir)?;
    assert_eq!(source.version(), 0x7000_0000);
    assert_eq!(source.flows(&mut new.importer)?, Migrated { flows: 0, cut: 2 }, "no endpoints");
    let carried = source.control(&target)?;
    // The ledger, 5 endpoints and their usage, a network, a hub, a policy, 3 prefixes and 2 ports that it opens, a published port.
    assert_eq!((carried.entries, carried.cut), (1 + 5 + 5 + 1 + 1 + 1 + 3 + 2 + 1, 0));
    assert_eq!(source.flows(&mut new.importer)?, Migrated { flows: 2, cut: 0 });
    assert_eq!(source.flows(&mut new.importer)?, Migrated { flows: 0, cut: 0 });
    assert_goes_on(&mut new)
}

#[test]
fn n7_what_happens_between_the_passes_is_carried_too() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let pins = Pins::new()?;
    let old = Rig::new()?;
    let (from, to) = (v4(A, GATEWAY), v4(GATEWAY, A));
    old.sent_to_a(0, &into(&to, &segment(50000, 8888, SYN, 99, 0)))?;
    let dir = pins.pin(&old, "old")?;
    let mut new = Rig::empty(FLOWS)?;
    let target = pins.pin(&new, "new")?;
    let mut source = Source::open(&dir)?;
    source.control(&target)?;
    assert_eq!(source.flows(&mut new.importer)?, Migrated { flows: 1, cut: 0 });
    // The old programs still run: the handshake ends, and another connection opens.
    old.sent_by_a(&out(&from, &segment(8888, 50000, SYN_ACK, 7, 100)))?;
    old.sent_to_a(0, &into(&to, &segment(50000, 8888, ACK, 100, 8)))?;
    assert_eq!(old.sent_by_a(&syn(40000))?, ALLOW);
    assert_eq!(source.flows(&mut new.importer)?, Migrated { flows: 1, cut: 0 });
    drop(old);
    assert_goes_on(&mut new)
}

#[test]
fn n7_a_full_house_is_carried_over_at_once() -> Result<()> {
    const MANY: u32 = 50_000;
    if !can_run() {
        return Ok(());
    }
    let pins = Pins::new()?;
    let mut old = Rig::with_flows(2 * MANY)?;
    let quotas = Quotas { inbound_half_open: MANY, ..policy(1).quotas };
    old.policy(POLICY, Policy { quotas, ..policy(1) })?;
    let flow = |number: u32| {
        let port = u16::try_from(number % 1000 + 1)?;
        let source = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + number / 1000);
        Ok::<_, anyhow::Error>(into(&v4(source, A), &segment(port, 8888, SYN, 99, 0)))
    };
    for number in 0..MANY {
        assert_eq!(old.sent_to_a(0, &flow(number)?)?, ALLOW);
    }
    let dir = pins.pin(&old, "old")?;
    let mut new = Rig::empty(2 * MANY)?;
    let target = pins.pin(&new, "new")?;
    let mut source = Source::open(&dir)?;
    source.control(&target)?;
    let start = cpu_time();
    assert_eq!(source.flows(&mut new.importer)?, Migrated { flows: MANY.into(), cut: 0 });
    let first = cpu_time().saturating_sub(start);
    assert_eq!(source.flows(&mut new.importer)?, Migrated::default());
    let both = cpu_time().saturating_sub(start);
    println!("{MANY} flows: {first:?}, and when nothing changed {:?}", both.saturating_sub(first));
    assert_eq!(new.usage(A_ID)?.inbound_half_open, MANY);
    assert!(both < Duration::from_secs(20), "{first:?}, {both:?}");
    Ok(())
}

#[test]
fn a1_counts_move_to_the_new_maps_and_are_counted_once() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let pins = Pins::new()?;
    let old = Rig::new()?;
    for _ in 0..200 {
        assert_eq!(old.sent_by_a(&forbidden())?, DENY);
    }
    let reason = DropReason::Policy as u16;
    let then = old.counter(A_ID, reason, Hook::FromGuest)?;
    let dir = pins.pin(&old, "old")?;
    let mut new = Rig::new()?;
    assert_eq!(new.sent_by_a(&forbidden())?, DENY, "the new programs count already");
    let before = new.counter(A_ID, reason, Hook::FromGuest)?;
    let mut source = Source::open(&dir)?;
    assert_eq!(source.counters(&mut new.importer)?, 1);
    assert_eq!(source.counters(&mut new.importer)?, 0, "nothing is left");
    let after = new.counter(A_ID, reason, Hook::FromGuest)?;
    assert_eq!((then.events, before.events), (200, 1));
    assert_eq!(after, then.plus(&before));
    // The endpoint's rate is its own still, on whatever CPU the counts were added.
    assert_eq!(new.sent_by_a(&forbidden())?, DENY);
    assert_eq!(new.counter(A_ID, reason, Hook::FromGuest)?.events, 202);
    Ok(())
}

#[test]
fn f03_what_the_new_maps_hold_is_not_replaced() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let pins = Pins::new()?;
    let old = Rig::new()?;
    let dir = pins.pin(&old, "old")?;
    let mut new = Rig::empty(FLOWS)?;
    let target = pins.pin(&new, "new")?;
    let other = Endpoint { id: 9000, ..Endpoint::default() };
    new.endpoint_as(GUEST, other)?;
    let tight = Policy { epoch: 7, ..Policy::default() };
    new.policy(POLICY, tight)?;
    let source = Source::open(&dir)?;
    source.control(&target)?;
    assert_eq!(new.map::<u32, Endpoint>("ENDPOINTS")?.get(&GUEST, 0)?, other);
    let map = new.ebpf.map("POLICIES").context("POLICIES")?;
    assert_eq!(aya::maps::Array::<_, Policy>::try_from(map)?.get(&POLICY, 0)?, tight);
    Ok(())
}

#[test]
fn f10_maps_that_nobody_described_are_not_read() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let pins = Pins::new()?;
    let old = Rig::new()?;
    let dir = pins.pin(&old, "old")?;
    // A description of other maps than these.
    let mut wrong = Description::own();
    wrong.maps[0].value.size += 4;
    let mut bytes = wrong.encode();
    bytes.resize(LAYOUT_BYTES, 0);
    let map = aya::maps::MapData::from_pin(dir.join(layout::MAP))?;
    raw::put(map.fd().as_fd(), &0_u32.to_ne_bytes(), &bytes)?;
    let error = Source::open(&dir).expect_err("sizes differ");
    assert!(error.to_string().contains(MAPS[0].name), "{error}");
    raw::put(map.fd().as_fd(), &0_u32.to_ne_bytes(), &[0; LAYOUT_BYTES])?;
    Source::open(&dir).expect_err("nothing is described");
    fs::remove_file(dir.join(layout::MAP))?;
    Source::open(&dir).expect_err("there is no description");
    Ok(())
}

#[test]
fn f10_the_description_is_that_of_the_object() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let pins = Pins::new()?;
    let dir = pins.pin(&Rig::empty(FLOWS)?, "own")?;
    for map in MAPS {
        let info = aya::maps::MapInfo::from_pin(dir.join(map.name))?;
        let sizes = (u32::from(map.key.size), u32::from(map.value.size));
        assert_eq!((info.key_size(), info.value_size()), sizes, "{}", map.name);
    }
    Ok(())
}
