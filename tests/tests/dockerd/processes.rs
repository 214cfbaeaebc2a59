//! What guests' processes do, on a host whose containers have cgroups in the v2 hierarchy, and on one
//! whose containers have not.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::{
    frames::{Ip, Ipv4, Tcp, ethernet, ethertype, flag},
    harness::{
        client::Actor,
        container::{Container, Spec},
        dockerd::{Cgroups, Options},
        enforcer::{Count, Enforcer, Settings},
        proof::rise,
        residue::Snapshot,
        run::wait_for,
        topology::{Base, GATEWAY, HUB_PORT, Rig, WORLD},
    },
    hex,
    protocol::{Connected, Ran, Request, Sent, Serve},
};
use serde_json::Value;

use crate::flood::Talk;

/// A refusal comes at once.
const AT_ONCE_MS: u64 = 100;
/// Longer than a refusal, shorter than the kernel's first retransmission.
const SILENCE_MS: u64 = 700;
/// Programs of a storm.
const STORM: u64 = 2000;

fn start(options: Options, settings: &Settings) -> Result<(Rig, Enforcer)> {
    let rig = Base::start(options)?.with_guests()?;
    let daemon = Enforcer::start_beside(&rig, settings)?;
    for guest in [&rig.a, &rig.b] {
        daemon.wait_identified(&rig.host, &guest.name, "guest")?;
    }
    Ok((rig, daemon))
}

fn with_cgroups(settings: &Settings) -> Result<(Rig, Enforcer)> {
    let (rig, daemon) = start(Options { cgroups: Cgroups::Two, ..Options::default() }, settings)?;
    for guest in [&rig.a, &rig.b] {
        let found = wait_for("the guest's cgroup", Duration::from_secs(10), || {
            Ok((cgroup(&daemon, &rig, &guest.name)? != 0).then_some(()))
        });
        found.with_context(|| {
            let table = fs::read_to_string(format!("/proc/{}/cgroup", guest.pid));
            format!("{:?} {table:?} {}", daemon.status(&rig.host), daemon.log_text())
        })?;
    }
    Ok((rig, daemon))
}

/// A guest's cgroup, as status has it.
fn cgroup(daemon: &Enforcer, rig: &Rig, name: &str) -> Result<u64> {
    let status = daemon.status(&rig.host)?;
    let endpoints = status["endpoints"].as_array().cloned().unwrap_or_default();
    let endpoint = endpoints.iter().find(|endpoint| endpoint["container"] == name);
    Ok(endpoint.and_then(|endpoint| endpoint["cgroup"].as_u64()).unwrap_or_default())
}

fn run(actor: &Actor, program: &[&str], times: u64) -> Result<Ran> {
    let program = program.iter().map(ToString::to_string).collect();
    actor.call(&Request::Run { program, times })
}

/// Records of a kind about a guest.
fn records(daemon: &Enforcer, kind: &str, guest: &str) -> Vec<Value> {
    let is = |record: &Value| record["event.action"] == kind && record["container.name"] == guest;
    daemon.records().into_iter().filter(is).collect()
}

/// What was told to be lost of a guest's records for a reason.
fn told_lost(daemon: &Enforcer, reason: &str, guest: &str) -> u64 {
    let lost = records(daemon, "loss", guest);
    let of = lost.iter().filter(|record| record["event.reason"] == reason);
    of.filter_map(|record| record["enforcer.count"].as_u64()).sum()
}

/// A2: each program that a guest's process begins has one record, which names the process; those of
/// others have none.
#[test]
fn a2_an_exec_in_a_guest_has_one_record_and_nobody_else_s_has_any() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (rig, daemon) = with_cgroups(&Settings::default())?;
    let spec = Spec { name: "elsewhere", network: "bridge", ..Spec::default() };
    let elsewhere = Container::start(&rig.run, &rig.docker, &spec)?;
    let before = daemon.counts(&rig.host)?;

    // Nobody's guests: the host, and a container on another network.
    let of_host = run(&rig.host.actor, &["/bin/busybox", "true"], 3)?;
    let of_other = run(&elsewhere.actor()?, &["/bin/busybox", "true"], 3)?;
    ensure!((of_host.began, of_other.began) == (3, 3), "{of_host:?} {of_other:?}");
    let actor = rig.a.actor.clone();
    let sleeper = thread::spawn(move || run(&actor, &["/bin/sleep", "3"], 1));
    let record = daemon.wait_record("the exec", |record| record["event.action"] == "exec")?;
    let pid = record["process.pid"].as_u64().context("no pid")?;
    // It still sleeps: the machine's own word for who that is.
    let comm = fs::read_to_string(format!("/proc/{pid}/comm"))?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let ran = sleeper.join().map_err(|panic| anyhow::anyhow!("{panic:?}"))??;
    let inner = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let inner = inner.and_then(|pids| pids.split_whitespace().last()?.parse().ok());
    ensure!(comm.trim() == "sleep" && inner == Some(ran.pid), "{pid} is {comm} {inner:?} {ran:?}");
    for (key, wanted) in [
        ("container.name", Value::from(&*rig.a.name)),
        ("process.name", "sleep".into()),
        ("process.executable", "/bin/sleep".into()),
        ("process.user.id", "0".into()),
        ("process.parent.pid", rig.a.pid.into()),
        ("enforcer.cgroup", cgroup(&daemon, &rig, &rig.a.name)?.into()),
    ] {
        ensure!(record[key] == wanted, "{key}: {record}");
    }
    // Of another cgroup within the guest's own it is the guest's too.
    let within = nest(&rig)?;
    run(&rig.a.actor, &["/bin/cat", "/dev/null"], 1)?;
    let nested = daemon.wait_record("the exec below", |record| {
        record["event.action"] == "exec" && record["process.name"] == "cat"
    })?;
    ensure!(nested["container.name"] == *rig.a.name, "{nested}");
    ensure!(nested["enforcer.cgroup"] == within, "{nested} is not in {within}");

    let rose = rise(&before, &daemon.counts(&rig.host)?);
    let exec = rose.get("exec").copied().unwrap_or_default();
    let expected = Count { events: 2, recorded: 2, ..Count::default() };
    ensure!(exec == expected, "{rose:?}");
    let all: Vec<_> =
        daemon.records().into_iter().filter(|r| r["event.action"] == "exec").collect();
    ensure!(all.len() == 2, "{all:?}");

    // What happens while no daemon runs waits in the kernel.
    let mut daemon = daemon;
    daemon.kill_now()?;
    run(&rig.b.actor, &["/bin/ls", "/"], 2)?;
    let binary = crate::flood::binary()?;
    let daemon = daemon.restart(&rig.host, binary)?;
    wait_for("what nobody read", Duration::from_secs(10), || {
        Ok((records(&daemon, "exec", &rig.b.name).len() >= 2).then_some(()))
    })?;
    run(&rig.b.actor, &["/bin/cat", "/dev/null"], 1)?;
    daemon.wait_record("the next one", |record| record["process.name"] == "cat")?;
    let names: Vec<_> = records(&daemon, "exec", &rig.b.name)
        .iter()
        .map(|record| record["process.name"].as_str().unwrap_or_default().to_owned())
        .collect();
    ensure!(names == ["ls", "ls", "cat"], "{names:?}");
    rig.docker.remove(&elsewhere.name)?;
    uninstall(rig, daemon, &residue)
}

/// Puts A's first process into a cgroup within its own; that one's id.
fn nest(rig: &Rig) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;

    let table = fs::read_to_string(format!("/proc/{}/cgroup", rig.a.pid))?;
    let path = table.lines().find_map(|line| line.strip_prefix("0::")).context("no v2")?;
    let root = format!("/proc/{}/root/sys/fs/cgroup", rig.host.pid());
    let dir = PathBuf::from(format!("{root}{path}/within"));
    fs::create_dir(&dir)?;
    fs::write(dir.join("cgroup.procs"), rig.a.pid.to_string())?;
    Ok(fs::metadata(&dir)?.ino())
}

/// A1: one guest's storm hides nothing of another's, and what is not written is told.
#[test]
fn a1_a_storm_of_execs_is_accounted_for_to_the_last_and_hides_nobody() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (rig, daemon) = with_cgroups(&Settings::default())?;
    let storms: Vec<_> = (0..3)
        .map(|_| {
            let actor = rig.a.actor.clone();
            thread::spawn(move || run(&actor, &["/bin/busybox", "true"], STORM / 3))
        })
        .collect();
    for _ in 0..5 {
        run(&rig.b.actor, &["/bin/cat", "/dev/null"], 1)?;
        thread::sleep(Duration::from_millis(50));
    }
    let mut began = 0;
    for storm in storms {
        began += storm.join().map_err(|panic| anyhow::anyhow!("{panic:?}"))??.began;
    }
    ensure!(began == STORM / 3 * 3, "{began}");
    wait_for("B's records", Duration::from_secs(5), || {
        Ok((records(&daemon, "exec", &rig.b.name).len() == 5).then_some(()))
    })?;
    ensure!(told_lost(&daemon, "exec", &rig.b.name) == 0, "B lost something");
    let account = || {
        let written = records(&daemon, "exec", &rig.a.name).len() as u64;
        (written, told_lost(&daemon, "exec", &rig.a.name))
    };
    let summed = wait_for("the account", Duration::from_secs(10), || {
        let (written, lost) = account();
        Ok((written + lost == began).then_some((written, lost)))
    });
    let (written, lost) = summed.with_context(|| format!("{:?} of {began}", account()))?;
    ensure!(written > 0 && lost > 0, "no storm: {written} written, {lost} lost");
    thread::sleep(Duration::from_secs(2));
    ensure!(account() == (written, lost), "later more: {:?}", account());
    println!("storm: {began} began, {written} written, {lost} told to be lost");
    uninstall(rig, daemon, &residue)
}

/// N8: a refused connection fails at once, with an errno and a record that names the process; what
/// policy allows, and what stays in the guest, works.
#[test]
fn n8_a_refused_call_fails_at_once_and_names_its_process() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let options = Options { cgroups: Cgroups::Two, ..Options::default() };
    let rig = Base::start(options)?.with_guests()?;
    let a = &rig.a.actor;
    let open = a.connect((WORLD, 80), 3000)?;
    ensure!(open.errno.is_none(), "without enforcer: {open:?}");

    let settings = Settings { refuse_at_connect: true, ..Settings::default() };
    let mut daemon = Enforcer::start_beside(&rig, &settings)?;
    for guest in [&rig.a, &rig.b] {
        wait_for("the guest's cgroup", Duration::from_secs(10), || {
            Ok((cgroup(&daemon, &rig, &guest.name)? != 0).then_some(()))
        })?;
    }
    let before = daemon.counts(&rig.host)?;
    let sent =
        |to, data: &[u8]| a.call::<Sent>(&Request::UdpSendTo { to, data: hex::encode(data) });
    let beyond = (WORLD, 80).into();
    for (to, reason) in [(beyond, "policy"), (rig.b.at(22), "guest_to_guest")] {
        let refused = a.connect(to, SILENCE_MS)?;
        ensure!(refused.errno == Some(libc::EPERM), "{to}: {refused:?}");
        ensure!(refused.took_ms < AT_ONCE_MS, "{to}: {refused:?}");
        println!("refused {to} within {} ms", refused.took_ms);
        let record = daemon.wait_record("the refusal", |record| {
            record["event.action"] == "connect_refused"
                && record["destination.ip"] == to.ip().to_string()
        })?;
        for (key, wanted) in [
            ("container.name", Value::from(&*rig.a.name)),
            ("process.name", "actor".into()),
            ("process.pid", rig.a.pid.into()),
            ("process.user.id", "0".into()),
            ("event.reason", reason.into()),
            ("enforcer.call", "connect".into()),
            ("enforcer.verdict", "deny".into()),
            ("destination.port", to.port().into()),
        ] {
            ensure!(record[key] == wanted, "{key}: {record}");
        }
    }
    let datagram = sent((WORLD, 53).into(), b"?")?;
    ensure!(datagram.errno == Some(libc::EPERM), "{datagram:?}");
    daemon.wait_record("the datagram", |record| record["enforcer.call"] == "sendmsg")?;
    // As `getaddrinfo` does to sort addresses: neither refused nor recorded.
    let sorting: Connected = a.call(&Request::UdpConnect { to: (WORLD, 53).into() })?;
    ensure!(sorting.errno.is_none() && sorting.local.is_some(), "{sorting:?}");

    // Nothing of that was a packet.
    let rose = rise(&before, &daemon.counts(&rig.host)?);
    let refused = rose.get("connect_refused").copied().unwrap_or_default();
    ensure!(refused == Count { events: 3, recorded: 3, ..Count::default() }, "{rose:?}");
    ensure!(!rose.contains_key("policy") && !rose.contains_key("guest_to_guest"), "{rose:?}");
    // One that is made without a call is still denied as one.
    let raw = raw_syn(&rig)?;
    ensure!(raw.sent == 1, "{raw:?}");
    let rose = rise(&before, &daemon.counts(&rig.host)?);
    ensure!(rose.get("policy").is_some_and(|count| count.events == 1), "{rose:?}");

    // What is allowed, what is inside, and everybody else.
    let inside = a.listen(([127, 0, 0, 1], 0), Serve::Echo)?;
    let own = a.listen((rig.a.ipv4, 0), Serve::Echo)?;
    for (from, to) in [
        (a, (GATEWAY, HUB_PORT).into()),
        (a, inside.at),
        (a, own.at),
        (&rig.host.actor, beyond),
        (&rig.host.actor, rig.b.at(22)),
    ] {
        let connected = from.connect(to, 2000)?;
        ensure!(connected.errno.is_none(), "{to}: {connected:?}");
    }
    for to in [(rig.a.ipv4, 9).into(), ([127, 0, 0, 1], 9).into()] {
        ensure!(sent(to, b"to myself")?.sent == 1, "{to}");
    }
    // An answer, by sendto, to a peer that policy lets nobody open to.
    answers(&rig)?;
    let failed: Vec<_> = rig.legal_traffic()?.into_iter().filter(|(_, works)| !works).collect();
    ensure!(failed.is_empty(), "{failed:?}");
    let after = rise(&before, &daemon.counts(&rig.host)?);
    ensure!(after.get("connect_refused").map(|c| c.events) == Some(3), "{after:?}");

    // It holds without a daemon, and for the next one.
    let talk = Talk::open(&rig.host.actor, &rig)?;
    daemon.kill_now()?;
    let alone = a.connect(beyond, SILENCE_MS)?;
    ensure!(alone.errno == Some(libc::EPERM) && alone.took_ms < AT_ONCE_MS, "{alone:?}");
    let daemon = daemon.restart(&rig.host, crate::flood::binary()?)?;
    talk.go_on("still here")?;
    let next = a.connect(beyond, SILENCE_MS)?;
    ensure!(next.errno == Some(libc::EPERM), "{next:?}");
    wait_for("both records", Duration::from_secs(10), || {
        Ok((records(&daemon, "connect_refused", &rig.a.name).len() == 2).then_some(()))
    })?;

    // Switched off, the packet is denied in silence.
    let text = fs::read_to_string(daemon.config())?;
    let off = text.replace("refuse_at_connect = true", "refuse_at_connect = false");
    ensure!(off != text, "nothing to switch off");
    fs::write(daemon.config(), off)?;
    let (code, said) = daemon.verb(&rig.host, "reload", &[])?;
    ensure!(code == 0, "{said}");
    let silent = a.connect(beyond, SILENCE_MS)?;
    ensure!(silent.errno == Some(libc::ETIMEDOUT), "{silent:?}");
    ensure!(silent.took_ms >= SILENCE_MS, "{silent:?}");
    uninstall(rig, daemon, &residue)
}

/// A SYN to the world that no call was made for.
fn raw_syn(rig: &Rig) -> Result<Sent> {
    let scene = rig.scene()?;
    let packet =
        Tcp::new(4000, 80, flag::SYN).packet(&Ip::V4(Ipv4::new(scene.a.ipv4, WORLD, 0)), b"");
    let frame = ethernet(scene.host.mac, scene.a.mac, ethertype::IPV4, &packet);
    rig.a.actor.send(enforcer_tests::protocol::Send {
        interface: "eth0".into(),
        frames: vec![hex::encode(&frame)],
        repeat: 1,
        ..Default::default()
    })
}

/// The host asks a guest by UDP; the guest's service answers from a socket that is not connected.
fn answers(rig: &Rig) -> Result<()> {
    let exchanged: enforcer_tests::protocol::Exchanged =
        rig.host.actor.call(&Request::UdpExchange {
            from_port: 0,
            to: rig.a.at(5353),
            data: hex::encode(b"ping"),
            count: 1,
            segment: 0,
            timeout_ms: 2000,
        })?;
    ensure!(exchanged.answer == Some(hex::encode(b"ping")), "{exchanged:?}");
    Ok(())
}

/// Guests without cgroups of their own are policed as ever; that nobody sees their processes is told,
/// once for each.
#[test]
fn a2_where_guests_have_no_cgroup_of_their_own_that_is_told() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    if !Path::new("/sys/fs/cgroup/unified").exists() {
        eprintln!("skipped: this machine has no v1 hierarchies");
        return Ok(());
    }
    let options = Options { cgroups: Cgroups::One, ..Options::default() };
    let (rig, daemon) = start(options, &Settings::default())?;
    let told = || {
        let is = |record: &Value| {
            record["event.action"] == "unseen" && record["enforcer.what"] == "processes"
        };
        let mut names: Vec<_> = daemon
            .records()
            .into_iter()
            .filter(is)
            .map(|record| record["container.name"].as_str().unwrap_or_default().to_owned())
            .collect();
        names.sort();
        names
    };
    wait_for("both are told", Duration::from_secs(20), || {
        Ok((told() == ["guest-a", "guest-b"]).then_some(()))
    })?;
    let status = daemon.status(&rig.host)?;
    let unseen = status["unseen"].to_string();
    ensure!(unseen.contains("guest-a") && unseen.contains("cgroup v2"), "{unseen}");
    run(&rig.a.actor, &["/bin/busybox", "true"], 3)?;
    ensure!(rig.a.actor.connect((WORLD, 80), SILENCE_MS)?.errno.is_some(), "the world answers");
    let failed: Vec<_> = rig.legal_traffic()?.into_iter().filter(|(_, works)| !works).collect();
    ensure!(failed.is_empty(), "{failed:?}");
    thread::sleep(Duration::from_secs(6));
    ensure!(told() == ["guest-a", "guest-b"], "told again: {:?}", told());
    ensure!(daemon.records().iter().all(|record| record["event.action"] != "exec"), "whose is it?");
    uninstall(rig, daemon, &residue)
}

fn uninstall(rig: Rig, daemon: Enforcer, residue: &Snapshot) -> Result<()> {
    let (code, said) = daemon.verb(&rig.host, "uninstall", &["--yes"])?;
    ensure!(code == 0, "{said}");
    let open = rig.a.actor.connect((WORLD, 80), 3000)?;
    ensure!(open.errno.is_none(), "after uninstall: {open:?}");
    drop(daemon);
    rig.stop()?;
    residue.ensure_nothing_new()
}
