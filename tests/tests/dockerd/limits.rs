//! Limits of rates, as guests and their neighbours meet them.

use std::{
    fs,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::{
    frames::{Ip, Ipv4, Tcp, ethernet, ethertype},
    harness::{
        client::Actor,
        container::{Container, Spec},
        enforcer::{Enforcer, Settings},
        proof::rise,
        residue::Snapshot,
        topology::{GATEWAY, HUB_PORT, NETWORK, NOTEBOOK_PORT, Rig},
    },
    hex,
    protocol::{Received, Request, Send, Sent, Serve, Transferred},
};
use serde_json::Value;

use crate::flood::{finish, long, start};

const SINK: u16 = 7200;
const SOURCE: u16 = 7201;
/// What takes 20 s at 10 Mbit/s, headers and all.
const CAPPED_BYTES: u64 = 23_500_000;
const NEIGHBOUR_BYTES: u64 = 256 << 20;
const CAP: &str = "bits_per_second_out = \"10 Mbit\"\nbits_per_second_in = \"10 Mbit\"\n";

fn transfer(from: &Actor, to: SocketAddr, send: u64) -> Result<Transferred> {
    from.call(&Request::Transfer { to, send, timeout_ms: 90_000 })
}

fn kbit_per_second(done: &Transferred) -> u64 {
    done.bytes * 8 / done.took_ms.max(1)
}

/// Goodput of a guest that nothing limits, to the host; the best of some, for the machine has other work.
fn neighbour(rig: &Rig) -> Result<u64> {
    let mut best = 0;
    for _ in 0..6 {
        let done = transfer(&rig.host.actor, rig.a.at(SOURCE), 0)?;
        best = best.max(kbit_per_second(&done));
    }
    Ok(best)
}

/// Limits of a guest, as status has them; null: none.
fn limits_of(daemon: &Enforcer, rig: &Rig, name: &str) -> Result<Value> {
    let status = daemon.status(&rig.host)?;
    let endpoints = status["endpoints"].as_array().context("no endpoints")?;
    let guest = endpoints.iter().find(|endpoint| endpoint["container"] == name);
    Ok(guest.context("not in status")?["limits"].clone())
}

fn reload(daemon: &Enforcer, rig: &Rig, text: &str) -> Result<()> {
    fs::write(daemon.config(), text)?;
    let (code, said) = daemon.verb(&rig.host, "reload", &[])?;
    ensure!(code == 0, "{code}: {said}");
    Ok(())
}

/// C1: at a cap of 10 Mbit/s each way a guest has 7 to 10.5 Mbit/s of goodput, each way, over 20 s; what another
/// one has, which is not limited, hardly changes meanwhile. Status and explain tell of the limit.
#[test]
fn c1_a_capped_guest_keeps_to_its_rate_and_its_neighbour_to_its_own() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (rig, daemon) = start(&Settings::default())?;
    let spec = Spec { name: "capped", network: NETWORK, labels: &["slow"], ..Spec::default() };
    let capped = Container::start(&rig.run, &rig.docker, &spec)?.actor()?;
    daemon.wait_identified(&rig.host, "capped", "guest")?;
    let address = capped.interface("eth0")?.ipv4.context("no address")?;
    let any = [0, 0, 0, 0];
    capped.listen((any, SINK), Serve::Sink)?;
    capped.listen((any, SOURCE), Serve::Source(CAPPED_BYTES))?;
    rig.a.actor.listen((any, SOURCE), Serve::Source(NEIGHBOUR_BYTES))?;
    let whole = |what: &str| -> Result<()> {
        let free = transfer(&rig.host.actor, (address, SOURCE).into(), 0)?;
        ensure!(kbit_per_second(&free) > 50_000, "{what}: {free:?}");
        Ok(())
    };
    whole("without a limit")?;

    let text = fs::read_to_string(daemon.config())?;
    let limited = format!(
        "{text}\n[policies.slow.limits]\n{CAP}\n[[networks.{NETWORK}.override]]\nlabel = \"slow\"\n\
         policy = \"slow\"\n"
    );
    reload(&daemon, &rig, &limited)?;
    let limits = limits_of(&daemon, &rig, "capped")?;
    ensure!(limits["bits_per_second_out"] == 10_000_000, "{limits}");
    ensure!(limits["burst_in"] == 262_144, "{limits}");
    ensure!(limits_of(&daemon, &rig, &rig.a.name)?.is_null(), "its neighbour is limited, too");
    let hub = format!("{GATEWAY}:{HUB_PORT}");
    let (_, said) = daemon.verb(&rig.host, "explain", &["--from", "capped", "--to", &hub])?;
    let told = "limits: out 10 Mbit/s (burst 262144 bytes); in 10 Mbit/s (burst 262144 bytes)\n";
    ensure!(said.contains(told), "{said}");

    let alone = neighbour(&rig)?;
    for (way, port, send) in [("in", SINK, CAPPED_BYTES), ("out", SOURCE, 0)] {
        let from = rig.host.actor.clone();
        let task = thread::spawn(move || transfer(&from, (address, port).into(), send));
        thread::sleep(Duration::from_secs(2));
        let beside = neighbour(&rig)?;
        let done = task.join().map_err(|panic| anyhow::anyhow!("{panic:?}"))??;
        let goodput = kbit_per_second(&done);
        println!(
            "{way}: {goodput} kbit/s for {} ms; its neighbour {alone} kbit/s alone, {beside} beside it",
            done.took_ms
        );
        ensure!((7_000..=10_500).contains(&goodput), "{way}: {goodput} kbit/s, {done:?}");
        ensure!(beside * 2 >= alone, "{way}: the neighbour had {alone}, then {beside} kbit/s");
    }
    let counts = daemon.counts(&rig.host)?;
    let of_rate: Vec<_> = counts.iter().filter(|(key, _)| key.reason == "rate_bits").collect();
    for hook in ["from_guest", "to_guest"] {
        ensure!(
            of_rate.iter().any(|(key, count)| key.hook == hook && count.events > 0),
            "{of_rate:?}"
        );
    }
    ensure!(of_rate.iter().all(|(key, _)| key.endpoint == "capped"), "{of_rate:?}");
    daemon.wait_record("a denial for the rate", |record| {
        record["event.action"] == "denied" && record["event.reason"] == "rate_bits"
    })?;

    reload(&daemon, &rig, &text)?;
    ensure!(limits_of(&daemon, &rig, "capped")?.is_null(), "the limit stayed");
    whole("without the limit again")?;
    rig.docker.remove("capped")?;
    finish(rig, daemon, &residue)
}

/// F06: a guest opens flows as fast as its machine can. What it may open a second passes, the rest is denied and
/// counted, to the frame; and of another guest's 200 live sessions, which idle all the while, not one is reset. That
/// is 10 s and 60,000 tuples; with `ENFORCER_TEST_LONG` 10 minutes and more than a million.
#[test]
fn f06_a_flood_of_new_flows_is_counted_to_the_frame_and_resets_nobody() -> Result<()> {
    const LIVE: u32 = 200;
    const FRAMES: u16 = 60_000;
    const FRAMES_PER_SECOND: u32 = 6_000;
    const RATE: u64 = 50;
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let more = format!("\n[networks.{NETWORK}.limits]\nnew_flows_per_second = {RATE}\n");
    let (rig, daemon) = start(&Settings { more, ..Settings::default() })?;
    let host = &rig.host.actor;
    let held: Vec<_> = (0..LIVE)
        .map(|_| host.hold(rig.b.at(NOTEBOOK_PORT), 5000)?.id.context("a session of B's"))
        .collect::<Result<_>>()?;
    let scene = rig.scene()?;
    let ip = Ip::V4(Ipv4::new(scene.a.ipv4, GATEWAY, 0));
    let syn = |port: u16| {
        let packet = Tcp::new(port, HUB_PORT, 2).packet(&ip, &[]);
        hex::encode(&ethernet(scene.host.mac, scene.a.mac, ethertype::IPV4, &packet))
    };
    let frames: Vec<String> = (1000..1000 + FRAMES).map(syn).collect();
    let flood = || -> Result<Sent> {
        let (interface, frames) = ("eth0".into(), frames.clone());
        let flood =
            Send { interface, frames, repeat: 1, rate: FRAMES_PER_SECOND, ..Send::default() };
        let sent: Sent = rig.a.actor.send(flood)?;
        ensure!(sent.sent == u64::from(FRAMES), "{sent:?}");
        Ok(sent)
    };
    let before = daemon.counts(&rig.host)?;
    let began = Instant::now();
    let sent = flood()?;
    let took = began.elapsed();
    let mut after = daemon.counts(&rig.host)?;
    // What A opened is half-open still, so that only the first round can be counted to the frame.
    let idle = Duration::from_secs(if long() { 600 } else { 10 });
    while began.elapsed() < idle {
        flood()?;
    }
    for (number, id) in held.iter().enumerate() {
        let data = hex::encode(format!("session {number}").as_bytes());
        let _: Sent = host.call(&Request::Write { id: *id, data: data.clone() })?;
        let read = Request::Read { id: *id, length: data.len() / 2, timeout_ms: 10_000 };
        let heard: Received = host.call(&read)?;
        ensure!(heard.data == data, "session {number}: {heard:?}");
    }
    let mut beside = daemon.counts(&rig.host)?;
    beside.retain(|key, _| key.endpoint == rig.b.name);
    let beside = rise(&before, &beside);
    let reset = |reason: &&str| beside.contains_key(*reason);
    let resets: Vec<_> = ["no_flow", "flow_state", "quota_half_open", "quota_established"]
        .iter()
        .filter(|r| reset(r))
        .collect();
    ensure!(resets.is_empty(), "B is denied: {beside:?}");
    after.retain(|key, _| key.endpoint == rig.a.name && key.hook == "from_guest");
    let counted = rise(&before, &after);
    let events = |reason: &str| counted.get(reason).map_or(0, |count| count.events);
    let (opened, denied) = (events("flow_opened"), events("rate_new_flows"));
    println!("{} SYNs in {} ms: {opened} opened, {denied} denied", sent.sent, took.as_millis());
    ensure!(opened + denied == sent.sent, "{counted:?}");
    let most = 2 * RATE + RATE * (took.as_secs() + 1);
    ensure!((2 * RATE..=most).contains(&opened), "{opened} opened, {most} at most: {counted:?}");
    let account = counted.get("rate_new_flows").context("nothing was denied")?;
    let told = account.recorded + account.suppressed + account.lost;
    ensure!(told == account.events, "{account:?}");
    finish(rig, daemon, &residue)
}
