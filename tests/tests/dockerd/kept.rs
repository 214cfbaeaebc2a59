//! Records that are kept: whatever becomes of the daemon or the disk, what a guest did is written down,
//! or told to be lost, to the frame.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::{self, File},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::{
    bench::Random,
    frames::{Ip, Ipv4, ethernet, ethertype, udp_packet},
    harness::{
        artifacts,
        enforcer::{Enforcer, Settings},
        residue::Snapshot,
        run::wait_for,
        topology::{GATEWAY, HUB_PORT, NETWORK, Rig, WORLD},
    },
    hex,
    protocol::{Request, Send, Serve},
};
use serde_json::Value;

use crate::{
    flood::{Flood, RATE, Talk, long, start},
    shared,
    storm::{Accounts, Storm, ensure_accounted},
};

/// A store in a directory of the test's own.
pub(super) fn kept(rig_dir: &Path, more: &str) -> Settings {
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
        pub fn new(name: &str) -> io::Result<Self> {
            let path = std::env::temp_dir().join(format!("ef-{name}-{}", std::process::id()));
            fs::create_dir_all(&path)?;
            Ok(Self(path))
        }

        pub fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// Every line in the files, in order.
pub(super) fn records(dir: &Path) -> Result<Vec<Value>> {
    let names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name()));
    let names = names.collect::<Result<Vec<_>>>()?;
    let number = |name: &OsString| name.to_str()?.split_once(".jsonl")?.0.parse::<u64>().ok();
    let numbers: BTreeSet<u64> = names.iter().filter_map(number).collect();
    let mut records = Vec::new();
    for number in numbers {
        for line in segment(dir, number)?.lines() {
            records.push(serde_json::from_str(line).with_context(|| line.to_owned())?);
        }
    }
    Ok(records)
}

/// The lines of a segment, which is a text, a compressed one, or both for a moment.
pub(super) fn segment(dir: &Path, number: u64) -> Result<String> {
    let plain = dir.join(format!("{number:010}.jsonl"));
    match fs::read_to_string(&plain) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        outcome => return Ok(outcome?),
    }
    let packed = plain.with_extension("jsonl.gz");
    let output = Command::new("zcat").arg(&packed).output().context("zcat")?;
    ensure!(output.status.success(), "zcat {}", packed.display());
    Ok(String::from_utf8(output.stdout)?)
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

pub(super) fn verify(rig: &Rig, dir: &Path) -> Result<(i32, String)> {
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

/// A1, F07: of what each of two guests says it sent for each reason, each frame is a record or in a loss
/// record, although the daemon is killed at random points, while it starts as well.
#[test]
fn a1_f07_storms_are_accounted_for_to_the_frame_across_kills() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let kills = if long() { 50 } else { 5 };
    if !long() {
        println!("{kills} kills; 50 take a minute more: ENFORCER_TEST_LONG=1");
    }
    let residue = Snapshot::take();
    let (_owner, dir) = directory("kept")?;
    let (rig, mut daemon) = keeping(&dir, "")?;
    let mut random = Random::of_this_run();
    let binary = || artifacts::enforcer().context("no binary");
    let storm = Storm::start(&rig, 2 + kills * 5 / 4)?;
    let mut lives = Vec::new();
    for kill in 0..kills {
        // Every other one while it starts.
        let life = random.within(Duration::from_millis(if kill % 2 == 0 { 3500 } else { 300 }));
        thread::sleep(life);
        lives.push(life.as_millis());
        daemon.kill_now()?;
        daemon = daemon.relaunch(&rig.host, binary()?)?;
    }
    daemon.wait_ready(&rig.host)?;
    let sent = storm.end()?;
    ensure_accounted("the files", &sent, || records(&dir))?;
    // It stays so: nothing is told twice.
    thread::sleep(Duration::from_secs(2));
    let found = ensure_accounted("the files, later", &sent, || records(&dir))?;
    let accounts = Accounts::of(&found);
    let starts = found.iter().filter(|record| record["enforcer.event"] == "start").count();
    println!(
        "{kills} kills after {lives:?} ms, {starts} daemons wrote; {} sent: {} written, lost by {:?}",
        sent.values().sum::<u64>(),
        accounts.written.values().sum::<u64>(),
        accounts.causes
    );
    let numbers: Vec<u64> =
        found.iter().filter_map(|record| record["event.sequence"].as_u64()).collect();
    ensure!(numbers.is_sorted_by(|one, other| one < other), "numbers come twice");
    let (code, text) = verify(&rig, &dir)?;
    ensure!(code == 0, "{code}: {text}");
    finish(rig, daemon, &residue)
}

/// F07: the flood of one guest hides nothing of another's.
#[test]
fn a1_f07_a_flood_of_one_guest_hides_no_record_of_another() -> Result<()> {
    /// Nobody else sends from it.
    const PORT: u16 = 4001;
    shared::with(|shared| {
        let rig = &shared.rig;
        let flood = Flood::start(rig, RATE * 2)?;
        let scene = rig.scene()?;
        let ip = Ip::V4(Ipv4::new(scene.b.ipv4, WORLD, 0));
        let packet = udp_packet(&ip, PORT, 53, b"one of B's");
        let frame = ethernet(scene.host.mac, scene.b.mac, ethertype::IPV4, &packet);
        let mut mine = 0;
        for _ in 0..18 {
            let frames = vec![hex::encode(&frame)];
            let send = Send { interface: "eth0".into(), frames, ..Send::default() };
            mine += rig.b.actor.send(send)?.sent;
            thread::sleep(Duration::from_millis(100));
        }
        flood.end()?;
        let is_mine = |record: &&Value| {
            record["event.action"] == "denied"
                && record["container.name"] == *rig.b.name
                && record["source.port"] == PORT
        };
        wait_for("B's records", Duration::from_secs(10), || {
            let found = records(&shared.records)?.iter().filter(is_mine).count() as u64;
            ensure!(found <= mine, "{mine} sent, {found} written");
            Ok((found == mine).then_some(()))
        })
    })
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
        while io::Write::write_all(&mut file, &[0; 512]).is_ok() {}
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
    /// No other test uses it.
    const PORT: u16 = 7443;
    shared::with(|shared| {
        let (rig, dir) = (&shared.rig, &shared.records);
        let listening = rig.a.actor.listen(([0, 0, 0, 0], PORT), Serve::Echo)?;
        ensure!(rig.host.actor.connect(rig.a.at(PORT), 2000)?.errno.is_none(), "A is silent");
        rig.a.actor.call::<()>(&Request::Close { id: listening.id, reset: false })?;
        ensure!(rig.b.actor.connect((WORLD, PORT), 700)?.errno.is_some(), "the world answers");
        let ask = |to: SocketAddr| -> Result<(i32, String)> {
            let mut command = rig.host.command(artifacts::enforcer().context("no binary")?);
            command.args(["audit", "query", "--json", "--since", "5m", "--to"]);
            let output = command.arg(to.to_string()).arg("--dir").arg(dir).output()?;
            let text = [output.stdout, output.stderr].concat();
            let code = output.status.code().context("signal")?;
            Ok((code, String::from_utf8_lossy(&text).into_owned()))
        };
        for (to, who, kind) in [
            ((WORLD, PORT).into(), &rig.b.name, "denied"),
            (rig.a.at(PORT), &rig.a.name, "flow_opened"),
        ] {
            let text = wait_for("the answer", Duration::from_secs(10), || {
                let (code, text) = ask(to)?;
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
        let (code, text) = verify(rig, dir)?;
        ensure!(code == 0, "{code}: {text}");
        forge(rig, dir)
    })
}

/// Changes one name in a copy of the files, and changes it back.
fn forge(rig: &Rig, dir: &Path) -> Result<()> {
    let (_owner, copy) = directory("forged")?;
    // One that was taken while something was written does not verify.
    wait_for("a copy", Duration::from_secs(10), || {
        let _absent = fs::remove_dir_all(&copy);
        rig.host.run(&format!("cp -r {} {}", dir.display(), copy.display()))?;
        Ok((verify(rig, &copy)?.0 == 0).then_some(()))
    })?;
    let mut files = fs::read_dir(&copy)?.filter_map(|entry| Some(entry.ok()?.path()));
    let names_b = |path: &PathBuf| {
        let is_plain = path.extension().is_some_and(|extension| extension == "jsonl");
        is_plain && fs::read_to_string(path).is_ok_and(|text| text.contains(&rig.b.name))
    };
    let file = files.find(names_b).context("B is not named")?;
    let good = fs::read_to_string(&file)?;
    let forged = good.replacen(&format!("\"{}\"", rig.b.name), "\"somebody-else\"", 1);
    fs::write(&file, &forged)?;
    let (code, text) = verify(rig, &copy)?;
    ensure!(forged != good && code == 6 && text.contains(".jsonl"), "{code}: {text}");
    fs::write(&file, good)?;
    let (code, text) = verify(rig, &copy)?;
    ensure!(code == 0, "{code}: {text}");
    Ok(())
}
