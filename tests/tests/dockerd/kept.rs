//! Records that are kept: whatever becomes of the daemon or the disk, what a guest did is written down,
//! or told to be lost, to the frame.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::{
    attacks::Point,
    frames::{Ip, Ipv4, ethernet, ethertype, udp_packet},
    harness::{
        artifacts,
        capture::Captures,
        enforcer::{Enforcer, Settings},
        residue::Snapshot,
        run::wait_for,
        topology::{GATEWAY, HUB_PORT, NETWORK, Rig, WORLD},
    },
    hex,
    protocol::{Filter, Send},
};
use serde_json::Value;

use crate::flood::{Flood, MARKER, RATE, Talk, long, start};

/// A store in a directory of the test's own.
fn kept(rig_dir: &Path, more: &str) -> Settings {
    let more = format!("\n[audit]\ndir = \"{}\"\n{more}", rig_dir.display());
    Settings { more, ..Settings::default() }
}

/// A directory below one that only this run uses.
pub(super) fn directory(name: &str) -> Result<(tempdir::Dir, PathBuf)> {
    let dir = tempdir::Dir::new(name)?;
    let path = dir.path().join("audit");
    Ok((dir, path))
}

pub(super) mod tempdir {
    use std::{
        fs, io,
        path::{Path, PathBuf},
    };

    /// A directory that goes with its owner.
    pub(crate) struct Dir(PathBuf);

    impl Dir {
        pub(super) fn new(name: &str) -> io::Result<Self> {
            let path = std::env::temp_dir().join(format!("ef-{name}-{}", std::process::id()));
            fs::create_dir_all(&path)?;
            Ok(Self(path))
        }

        pub(super) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// Every record in the files, in order.
pub(super) fn records(dir: &Path) -> Result<Vec<Value>> {
    let mut names: Vec<_> =
        fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    names.retain(|path| path.to_string_lossy().contains(".jsonl"));
    names.retain(|path| !path.ends_with("tombstones.jsonl") && !path.ends_with("names.jsonl"));
    names.sort();
    let mut records = Vec::new();
    for name in names {
        let text = if name.extension().is_some_and(|extension| extension == "gz") {
            let output = Command::new("zcat").arg(&name).output().context("zcat")?;
            ensure!(output.status.success(), "zcat {}", name.display());
            String::from_utf8(output.stdout)?
        } else {
            fs::read_to_string(&name)?
        };
        for line in text.lines() {
            records.push(serde_json::from_str(line).with_context(|| line.to_owned())?);
        }
    }
    Ok(records)
}

/// What the records account for of a guest's denials: by reason, how many are written and how many
/// told to be lost, by cause.
fn accounts(records: &[Value], guest: &str, reason: &str) -> BTreeMap<String, u64> {
    let mut accounts = BTreeMap::new();
    let about =
        |record: &&Value| record["container.name"] == guest && record["event.reason"] == reason;
    for record in records.iter().filter(about) {
        let (what, count) = match record["event.action"].as_str() {
            Some("denied") => ("written", 1),
            Some("loss") => (
                record["enforcer.cause"].as_str().unwrap_or(""),
                record["enforcer.count"].as_u64().unwrap_or(0),
            ),
            _ => continue,
        };
        *accounts.entry(what.to_owned()).or_default() += count;
    }
    accounts
}

fn verify(rig: &Rig, dir: &Path) -> Result<(i32, String)> {
    let mut command = rig.host.command(artifacts::enforcer().context("no binary")?);
    let output = command.args(["audit", "verify", "--dir"]).arg(dir).output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.code().context("a signal")?, String::from_utf8_lossy(&text).into_owned()))
}

/// Ends the daemon; nothing but the directory is left.
fn finish(rig: Rig, daemon: Enforcer, residue: &Snapshot) -> Result<()> {
    daemon.stop()?;
    rig.stop()?;
    residue.ensure_nothing_new()
}

/// Starts it with files in `dir`.
fn keeping(dir: &Path, more: &str) -> Result<(Rig, Enforcer)> {
    start(&kept(dir, more))
}

/// A1, F07: of what the attacker's own kernel says it sent, each frame is a record or in a loss
/// record, although the daemon is killed again and again.
#[test]
fn a1_f07_a_flood_is_accounted_for_to_the_frame_across_kills() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let kills = if long() { 50 } else { 5 };
    let residue = Snapshot::take();
    let (_owner, dir) = directory("kept")?;
    let (rig, mut daemon) = keeping(&dir, "")?;
    let mut sent = 0;
    for round in 0..kills {
        let flood = Flood::start(&rig, RATE * 2)?;
        // Not at the same moment of its life each time.
        std::thread::sleep(Duration::from_millis(300 + 173 * (round % 9)));
        daemon.kill_now()?;
        daemon = daemon.restart(&rig.host, artifacts::enforcer().context("no binary")?)?;
        let (more, arrived) = flood.end()?;
        ensure!(arrived == 0, "{arrived} of {more} arrived");
        sent += more;
    }
    let found = wait_for("the accounts", Duration::from_secs(20), || {
        let found = accounts(&records(&dir)?, &rig.a.name, "policy");
        Ok((found.values().sum::<u64>() >= sent).then_some(found))
    });
    let found = found.with_context(|| {
        let found = records(&dir).map(|records| accounts(&records, &rig.a.name, "policy"));
        format!("{sent} sent, accounted for: {found:?}")
    })?;
    // It stays so: nothing is told twice.
    std::thread::sleep(Duration::from_secs(3));
    let found_later = accounts(&records(&dir)?, &rig.a.name, "policy");
    ensure!(found_later.values().sum::<u64>() == sent, "{sent} sent, {found:?}, {found_later:?}");
    println!("{kills} kills, {sent} sent: {found:?}");
    let numbers: Vec<u64> =
        records(&dir)?.iter().filter_map(|record| record["event.sequence"].as_u64()).collect();
    ensure!(numbers.is_sorted_by(|one, other| one < other), "numbers come twice");
    let (code, text) = verify(&rig, &dir)?;
    ensure!(code == 0, "{code}: {text}");
    finish(rig, daemon, &residue)
}

/// F07: the flood of one guest hides nothing of another's.
#[test]
fn a1_f07_a_flood_of_one_guest_hides_no_record_of_another() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (_owner, dir) = directory("hide")?;
    let (rig, daemon) = keeping(&dir, "")?;
    let flood = Flood::start(&rig, RATE * 3)?;
    let scene = rig.scene()?;
    let ip = Ip::V4(Ipv4::new(scene.b.ipv4, WORLD, 0));
    let frame = ethernet(
        scene.host.mac,
        scene.b.mac,
        ethertype::IPV4,
        &udp_packet(&ip, 4001, 53, b"one of B's"),
    );
    let mut mine = 0;
    for _ in 0..20 {
        let send =
            Send { interface: "eth0".into(), frames: vec![hex::encode(&frame)], ..Send::default() };
        mine += rig.b.actor.send(send)?.sent;
        std::thread::sleep(Duration::from_millis(100));
    }
    flood.end()?;
    let found = wait_for("B's records", Duration::from_secs(10), || {
        let found = accounts(&records(&dir)?, &rig.b.name, "policy");
        Ok((found.values().sum::<u64>() >= mine).then_some(found))
    })?;
    ensure!(found == BTreeMap::from([("written".to_owned(), mine)]), "{mine} sent: {found:?}");
    finish(rig, daemon, &residue)
}

/// F14: a disk that is full and has room again: policy holds, other sinks get everything, and the
/// files say what they missed.
#[test]
fn f14_a_full_disk_changes_no_verdict_and_its_gap_is_told() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (owner, _) = directory("full")?;
    let mount = owner.path().join("disk");
    fs::create_dir_all(&mount)?;
    // In the daemon's own mount namespace: it goes with it.
    let dir = mount.join("audit");
    let base = enforcer_tests::harness::topology::Base::start(
        enforcer_tests::harness::dockerd::Options::default(),
    )?;
    base.host.run(&format!("mount -t tmpfs -o size=600k tmpfs {}", mount.display()))?;
    let seen = |host: &enforcer_tests::harness::netns::Namespace| {
        PathBuf::from(format!("/proc/{}/root{}", host.pid(), mount.display()))
    };
    let inside = seen(&base.host);
    let rig = base.with_guests()?;
    let daemon = Enforcer::start_beside(&rig, &kept(&dir, "stdout = true\n"))?;
    daemon.wait_identified(&rig.host, &rig.a.name, "guest")?;
    let talk = Talk::open(&rig.host.actor, &rig)?;
    let failing = || -> Result<bool> {
        let reasons = daemon.reasons(&rig.host)?;
        Ok(reasons.iter().any(|reason| reason.contains("not written to files")))
    };
    ensure!(!failing()?, "failing from the start");
    let filler = inside.join("filler");
    let fill = || -> Result<()> {
        let mut file = File::options().create(true).append(true).open(&filler)?;
        while std::io::Write::write_all(&mut file, &[0; 512]).is_ok() {}
        Ok(())
    };
    fill()?;
    let before = daemon.counts(&rig.host)?;
    let flood = Flood::start(&rig, RATE)?;
    wait_for("the failure to be told", Duration::from_secs(10), || {
        fill()?;
        Ok(failing()?.then_some(()))
    })?;
    let (sent, arrived) = flood.end()?;
    ensure!(arrived == 0, "{arrived} of {sent} arrived");
    ensure!(rig.a.actor.connect((GATEWAY, HUB_PORT), 2000)?.errno.is_none(), "the hub is silent");
    talk.go_on("on a full disk")?;
    let denied = enforcer_tests::harness::proof::rise(&before, &daemon.counts(&rig.host)?);
    ensure!(denied.get("policy").is_some_and(|count| count.events == sent), "{sent}: {denied:?}");
    fs::remove_file(&filler)?;
    wait_for("the recovery to be told", Duration::from_secs(10), || {
        Ok((!failing()?).then_some(()))
    })?;
    let found = wait_for("the accounts", Duration::from_secs(10), || {
        let found = accounts(&records(&inside.join("audit"))?, &rig.a.name, "policy");
        Ok((found.values().sum::<u64>() >= sent).then_some(found))
    })?;
    println!("full disk: {sent} sent: {found:?}");
    let told = daemon.records();
    let numbers: Vec<u64> =
        told.iter().filter_map(|record| record["event.sequence"].as_u64()).collect();
    ensure!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "standard output missed some");
    let (code, text) = verify(&rig, &dir)?;
    ensure!(code == 0, "{code}: {text}");

    // A daemon that finds the disk read-only polices, and says what is missing.
    let binary = || artifacts::enforcer().context("no binary");
    let mut daemon = daemon;
    daemon.kill_now()?;
    rig.host.run(&format!("mount -o remount,ro {}", mount.display()))?;
    let mut daemon = daemon.restart(&rig.host, binary()?)?;
    daemon.wait_identified(&rig.host, &rig.a.name, "guest")?;
    wait_for("the failure to be told", Duration::from_secs(10), || {
        let reasons = daemon.reasons(&rig.host)?;
        Ok(reasons.iter().any(|reason| reason.contains("not written to files")).then_some(()))
    })?;
    ensure!(rig.a.actor.connect((GATEWAY, 22), 700)?.errno.is_some(), "port 22 answers");
    ensure!(rig.a.actor.connect((GATEWAY, HUB_PORT), 2000)?.errno.is_none(), "the hub is silent");
    daemon.kill_now()?;
    rig.host.run(&format!("mount -o remount,rw {}", mount.display()))?;
    let daemon = daemon.restart(&rig.host, binary()?)?;
    daemon.wait_identified(&rig.host, &rig.a.name, "guest")?;
    let (code, text) = verify(&rig, &dir)?;
    ensure!(code == 0, "{code}: {text}");
    finish(rig, daemon, &residue)
}

/// A2, A3: who talked to an address is one question; who changed a line is another.
#[test]
fn a2_a3_the_files_say_who_it_was_and_whether_somebody_changed_them() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (_owner, dir) = directory("who")?;
    let (rig, daemon) = keeping(&dir, "")?;
    ensure!(rig.a.actor.connect((GATEWAY, HUB_PORT), 2000)?.errno.is_none(), "the hub is silent");
    let filter = Filter { marker: hex::encode(MARKER), ..Filter::default() };
    let captures = Captures::start(&[(Point::World, &rig.world.actor, "wan0")], &filter)?;
    ensure!(rig.b.actor.connect((WORLD, 443), 700)?.errno.is_some(), "the world answers");
    captures.end()?;
    let ask = |to: &str, more: &[&str]| -> Result<(i32, String)> {
        let mut command = rig.host.command(artifacts::enforcer().context("no binary")?);
        command.args(["audit", "query", "--json", "--to", to, "--dir"]).arg(&dir).args(more);
        let output = command.output()?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.code().context("signal")?, String::from_utf8_lossy(&text).into_owned()))
    };
    for (to, who, kind) in [
        (format!("{WORLD}:443"), &rig.b.name, "denied"),
        (format!("{GATEWAY}:{HUB_PORT}"), &rig.a.name, "flow_opened"),
    ] {
        let text = wait_for("the answer", Duration::from_secs(10), || {
            let (code, text) = ask(&to, &["--since", "5m"])?;
            ensure!(code == 0, "{code}: {text}");
            Ok(text.contains(kind).then_some(text))
        })?;
        let all: Vec<Value> = text
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()
            .context(text.clone())?;
        ensure!(all.iter().all(|record| record["container.name"] == **who), "{to}: {text}");
        ensure!(all.iter().all(|record| record["network.name"] == NETWORK), "{to}: {text}");
    }
    let (code, text) = verify(&rig, &dir)?;
    ensure!(code == 0, "{code}: {text}");
    daemon.stop()?;
    let live = fs::read_dir(&dir)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .context("no segment")?;
    let good = fs::read_to_string(&live)?;
    let forged = good.replacen(&format!("\"{}\"", rig.b.name), "\"somebody-else\"", 1);
    ensure!(forged != good, "B is not named");
    fs::write(&live, forged)?;
    let (code, text) = verify(&rig, &dir)?;
    ensure!(code == 6 && text.contains(".jsonl"), "{code}: {text}");
    fs::write(&live, good)?;
    let (code, text) = verify(&rig, &dir)?;
    ensure!(code == 0, "{code}: {text}");
    rig.stop()?;
    residue.ensure_nothing_new()
}
