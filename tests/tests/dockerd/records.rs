//! The stream of records: what is in it, and who gets it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::net::UnixDatagram,
    process::Stdio,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::{
    harness::{
        artifacts,
        enforcer::Settings,
        netns::die_with_parent,
        residue::Snapshot,
        run::wait_for,
        topology::{GATEWAY, HUB_PORT, NETWORK},
    },
    hex,
    protocol::{Request, Sent, Serve, Served},
};
use serde_json::Value;

use crate::{
    flood::{Flood, finish, start},
    shared,
};

/// A port of A's that takes a transfer.
const SINK: u16 = 7300;

/// A1, A2: a flow's end says whose it was, who opened it, how long it lasted and what it carried.
#[test]
fn a1_the_end_of_a_flow_is_recorded_with_its_bytes() -> Result<()> {
    const BYTES: usize = 60_000;
    shared::with(|shared| {
        let rig = &shared.rig;
        let sink = rig.a.actor.listen(([0, 0, 0, 0], SINK), Serve::Sink)?;
        let host = &rig.host.actor;
        let id = host.hold(rig.a.at(SINK), 2000)?.id.context("no connection")?;
        host.call::<Sent>(&Request::Write { id, data: hex::encode(&vec![7; BYTES]) })?;
        wait_for("its bytes", Duration::from_secs(5), || {
            let served: Served = rig.a.actor.served(sink.id)?;
            Ok((served.received == BYTES as u64).then_some(()))
        })?;
        host.call::<()>(&Request::Close { id, reset: true })?;
        rig.a.actor.call::<()>(&Request::Close { id: sink.id, reset: false })?;
        // The kernel looks at it once its linger of 10 s is over; nobody asks it to.
        let record = wait_for("the flow's end", Duration::from_secs(30), || {
            Ok(shared.daemon.records().into_iter().find(|record| {
                record["event.action"] == "flow_closed" && record["destination.port"] == SINK
            }))
        })?;
        for (key, wanted) in [
            ("container.name", Value::from(&*rig.a.name)),
            ("network.name", NETWORK.into()),
            ("enforcer.cause", "closed".into()),
            ("enforcer.opener", "host".into()),
            ("source.ip", GATEWAY.to_string().into()),
            ("destination.ip", rig.a.ipv4.to_string().into()),
            ("network.iana_number", 6.into()),
        ] {
            ensure!(record[key] == wanted, "{key}: {record}");
        }
        let number = |key: &str| record[key].as_u64().unwrap_or_default();
        let (into, out) = (number("source.bytes"), number("destination.bytes"));
        // Headers of 54 bytes or more for each segment, and not a tenth of it sent again.
        let sent = BYTES as u64;
        ensure!(into > sent && into < sent + sent / 5, "{record}");
        ensure!(out > 0 && out < sent / 10 && number("source.packets") > 40, "{record}");
        ensure!(number("event.duration") < 30_000_000_000, "{record}");
        Ok(())
    })
}

/// Every sink tells the same, and one that nobody reads makes nobody wait.
#[test]
fn a1_followers_and_the_journal_get_what_standard_output_gets() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let settings = Settings { more: "\n[audit]\njournald = true\n".into(), ..Settings::default() };
    let (rig, daemon) = start(&settings)?;
    let binary = artifacts::enforcer().context("no binary")?;
    let events = |more: &[&str]| {
        let mut command = rig.host.command(&binary);
        command.args(["events", "--json", "--config"]).arg(daemon.config()).args(more);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        die_with_parent(&mut command, libc::SIGKILL);
        command
    };
    // One that reads, one that never does.
    let mut follower = events(&["--follow", "--from", "1"]).spawn()?;
    let mut lazy = events(&["--follow"]).spawn()?;
    let output = follower.stdout.take().context("no output")?;
    let hearing = thread::spawn(move || -> Vec<String> {
        BufReader::new(output).lines().map_while(Result::ok).collect()
    });
    let failing = || -> Result<bool> {
        let reasons = daemon.reasons(&rig.host)?;
        Ok(reasons.iter().any(|reason| reason.contains("journald")))
    };
    wait_for("the journal's absence to be told", Duration::from_secs(10), || {
        Ok(failing()?.then_some(()))
    })?;
    let flood = Flood::start(&rig, 5000)?;
    ensure!(rig.a.actor.connect((GATEWAY, 22), 700)?.errno.is_some(), "port 22 answers");
    ensure!(rig.a.actor.connect((GATEWAY, HUB_PORT), 2000)?.errno.is_none(), "the hub is silent");
    let (sent, arrived) = flood.end()?;
    ensure!(sent == 5000 && arrived == 0, "{arrived} of {sent} arrived");

    // The journal comes late, and gets what it missed.
    let run = format!("/proc/{}/root/run/systemd/journal", rig.host.pid());
    fs::create_dir_all(&run)?;
    let journal = UnixDatagram::bind(format!("{run}/socket"))?;
    journal.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut entries = Vec::new();
    let mut bytes = vec![0; 1 << 16];
    while let Ok(length) = journal.recv(&mut bytes) {
        entries.push(String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).into_owned());
    }
    wait_for("the journal's presence to be told", Duration::from_secs(5), || {
        Ok((!failing()?).then_some(()))
    })?;
    let pid = i32::try_from(lazy.id())?;
    // SAFETY: our own child, not yet waited for.
    ensure!(unsafe { libc::kill(pid, libc::SIGKILL) } == 0, "kill");
    lazy.wait()?;
    let records = daemon.stop()?;
    follower.wait()?;
    let heard = hearing.join().map_err(|panic| anyhow::anyhow!("{panic:?}"))?;

    ensure!(records.len() > 50, "only {} records", records.len());
    for (number, record) in records.iter().enumerate() {
        ensure!(record["event.sequence"] == number as u64 + 1, "{record} at {number}");
    }
    let told: Vec<Value> =
        heard.iter().map(|line| serde_json::from_str(line)).collect::<Result<_, _>>()?;
    // The last words may be said after the socket is closed.
    ensure!(told.len() + 5 >= records.len() && told[..] == records[..told.len()], "differ");
    let numbers: Vec<String> =
        (1..=entries.len()).map(|number| format!("ENFORCER_EVENT_SEQUENCE={number}")).collect();
    ensure!(entries.len() > 50, "only {} entries", entries.len());
    for (entry, number) in entries.iter().zip(&numbers) {
        ensure!(entry.lines().any(|line| line == number), "{number}: {entry}");
    }
    rig.stop()?;
    residue.ensure_nothing_new()
}

/// The verb without a daemon says what to do.
#[test]
fn events_without_a_daemon_say_so() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (rig, mut daemon) = start(&Settings::default())?;
    let (code, text) = daemon.verb(&rig.host, "events", &["--guest", &rig.a.name])?;
    ensure!(code == 0 && text.contains("kind"), "{code}: {text}");
    daemon.kill_now()?;
    let (code, text) = daemon.verb(&rig.host, "events", &[])?;
    ensure!(code == 1 && text.contains("is the daemon running?"), "{code}: {text}");
    let binary = artifacts::enforcer().context("no binary")?;
    let daemon = daemon.restart(&rig.host, binary)?;
    finish(rig, daemon, &residue)
}
