//! Names in rules: a guest reaches what a name leads to, as long as the resolver told it so.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    process::Child,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::{
    harness::{
        client::Actor,
        container::{Container, Spec},
        dockerd::Options,
        enforcer::{Enforcer, Settings},
        names::Names,
        netns::{die_with_parent, output},
        residue::Snapshot,
        run::wait_for,
        topology::{BANNER, Base, GATEWAY, NETWORK, Rig, UPLINK, WORLD},
    },
    hex,
    protocol::{Exchanged, Received, Request, Serve},
};
use serde_json::Value;

use crate::flood::{binary, finish};

/// Where the index listens, and something else beside it.
const INDEX: u16 = 8080;
const BESIDE: u16 = 8081;
/// A machine within the host's own, private networks.
const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 50, 0, 1);
/// How long a lease lasts here.
const LEASE: Duration = Duration::from_secs(8);

fn config() -> String {
    config_with(LEASE)
}

/// With leases that long.
fn config_with(lease: Duration) -> String {
    format!(
        "\n[dns]\nupstream = [\"{WORLD}:5300\"]\nmin_ttl = \"1s\"\nmax_ttl = \"{}s\"\nlease_grace = \"0s\"\n\
         \n[policies.course]\n[[policies.course.allow]]\nname = [\"index.example.org\", \"*.turns.example.org\"]\n\
         port = {INDEX}\n[[policies.course.deny]]\nname = \"evil.turns.example.org\"\n",
        lease.as_secs()
    )
}

/// N1, P31: `pip install` works by a name that a rule opens. The same address is closed before the name is
/// resolved, on another port, to another guest, and after the lease; what is under way goes on.
#[test]
fn n1_p31_pip_installs_from_an_index_that_a_rule_names() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (rig, daemon) = begin()?;
    let known = [("index.example.org", IpAddr::from(WORLD))];
    let names = Names::serve(rig.world.udp((WORLD, 5300).into())?, &known)?;
    let index = Index::serve(&rig)?;
    rig.world.actor.listen((WORLD, BESIDE), Serve::Banner(BANNER.into()))?;
    rig.world.actor.listen((WORLD, INDEX + 10), Serve::Echo)?;
    let gateway = GATEWAY.to_string();
    let wheels = ["/usr:/usr:ro", "/usr/lib:/lib:ro", "/usr/lib64:/lib64:ro"];
    let spec = Spec {
        name: "student",
        network: NETWORK,
        dns: &[&gateway],
        binds: &wheels,
        ..Spec::default()
    };
    let student = Container::start(&rig.run, &rig.docker, &spec)?;
    daemon.wait_identified(&rig.host, "student", "guest")?;
    let actor = student.actor()?;
    let closed = |what: &str, actor: &Actor, port: u16| -> Result<()> {
        ensure!(!reaches(actor, port)?, "open {what}");
        Ok(())
    };
    let command = pip()?;
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let pip = || student.exec(&rig.docker, &command);
    let (code, said) = pip()?;
    ensure!(code != 0, "without a policy: {said}");
    reload(
        &daemon,
        &rig,
        &(config()
            + &format!(
                "[[policies.course.allow]]\nname = \"index.example.org\"\nport = {}\n",
                INDEX + 10
            )),
    )?;
    closed("before its name is resolved", &actor, INDEX)?;
    let (code, said) = pip()?;
    ensure!(code == 0, "pip: {said}");
    ensure!(names.asked().iter().any(|name| name == "index.example.org"), "{:?}", names.asked());

    // Asked once more, so that the lease is fresh.
    resolve(&actor, "index.example.org")?;
    ensure!(reaches(&actor, INDEX)?, "closed within the lease");
    closed("on another port", &actor, BESIDE)?;
    closed("to another guest", &rig.a.actor, INDEX)?;
    let conversation = actor.hold((WORLD, INDEX + 10), 2000)?.id.context("closed")?;
    std::thread::sleep(LEASE + Duration::from_millis(500));
    closed("after the lease", &actor, INDEX)?;
    let _sent: Value =
        actor.call(&Request::Write { id: conversation, data: hex::encode(b"more") })?;
    let read = Request::Read { id: conversation, length: 4, timeout_ms: 3000 };
    let heard: Received = actor.call(&read)?;
    ensure!(heard.data == hex::encode(b"more"), "{heard:?}");

    // Who asked for what, and for how long it was opened.
    let record = daemon.wait_record("the question", |record| {
        record["event.action"] == "dns_query" && record["enforcer.outcome"] == "answered"
    })?;
    ensure!(record["container.name"] == "student", "{record}");
    let opened = daemon.wait_record("the flow", |record| {
        record["event.action"] == "flow_opened" && record["destination.port"] == INDEX
    })?;
    ensure!(opened["rule.id"].is_u64(), "{opened}");
    for (name, port, verdict, resolved) in [
        ("index.example.org", INDEX, "allow", true),
        ("index.example.org", BESIDE, "by_address", true),
        ("evil.turns.example.org", INDEX, "deny", false),
        ("other.example.org", INDEX, "deny", false),
    ] {
        let to = format!("{name}:{port}");
        let asked = ["--json", "--from", "student", "--to", &to];
        let (code, said) = daemon.verb(&rig.host, "explain", &asked)?;
        let told: Value = serde_json::from_str(&said).with_context(|| format!("{code}: {said}"))?;
        ensure!(told["verdict"] == verdict && told["resolved"] == resolved, "{to}: {told}");
        if verdict == "allow" {
            ensure!(told["rule"] == opened["rule.id"], "{to}: {told}, but {opened}");
            let where_ = told["opens"][0]["name"].as_str().unwrap_or_default();
            ensure!(where_.contains(".toml:"), "no file and line: {told}");
        }
    }
    drop((names, index));
    finish(rig, daemon, &residue)
}

/// N7: what a daemon told a guest is open under the next one, for as long as it was told, and to no other.
#[test]
fn n7_a_lease_outlives_the_daemon() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (rig, mut daemon) = begin()?;
    let known = [("index.example.org", IpAddr::from(WORLD))];
    let names = Names::serve(rig.world.udp((WORLD, 5300).into())?, &known)?;
    rig.world.actor.listen((WORLD, INDEX), Serve::Banner(BANNER.into()))?;
    reload(&daemon, &rig, &config_with(Duration::from_mins(5)))?;
    ensure!(!reaches(&rig.a.actor, INDEX)?, "open before it asked");
    resolve(&rig.a.actor, "index.example.org")?.context("no answer")?;
    ensure!(reaches(&rig.a.actor, INDEX)?, "closed within the lease");
    let asked = names.asked().len();

    daemon.kill_now()?;
    ensure!(reaches(&rig.a.actor, INDEX)?, "closed with the daemon");
    let daemon = daemon.restart(&rig.host, binary()?)?;
    daemon.wait_identified(&rig.host, &rig.a.name, "guest")?;
    ensure!(reaches(&rig.a.actor, INDEX)?, "closed under the next daemon");
    ensure!(!reaches(&rig.a.actor, BESIDE)?, "another port is open");
    ensure!(!reaches(&rig.b.actor, INDEX)?, "open to another guest");
    ensure!(names.asked().len() == asked, "asked again: {:?}", names.asked());
    drop(names);
    finish(rig, daemon, &residue)
}

/// P31: whoever owns a name cannot turn it to this host, to a guest, or to what is private here; names that a
/// rule denies and names that no rule opens are not resolved. Nothing is opened.
#[test]
fn p31_a_name_that_turns_inwards_opens_nothing() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (rig, daemon) = begin()?;
    let b = rig.b.actor.interface("eth0")?.ipv4.context("no address")?;
    let inwards: Vec<(&str, IpAddr)> = vec![
        ("metadata.turns.example.org", Ipv4Addr::new(169, 254, 169, 254).into()),
        ("private.turns.example.org", INSIDE.into()),
        ("neighbour.turns.example.org", b.into()),
        ("gateway.turns.example.org", GATEWAY.into()),
        ("loopback.turns.example.org", Ipv4Addr::LOCALHOST.into()),
        ("uplink.turns.example.org", UPLINK.into()),
    ];
    let mut known = inwards.clone();
    known.push(("fine.turns.example.org", WORLD.into()));
    known.push(("evil.turns.example.org", WORLD.into()));
    known.push(("other.example.org", WORLD.into()));
    let names = Names::serve(rig.world.udp((WORLD, 5300).into())?, &known)?;
    reload(&daemon, &rig, &config())?;
    wait_for("the resolver", Duration::from_secs(10), || {
        Ok(resolve(&rig.a.actor, "fine.turns.example.org")?.filter(|(code, _)| *code == 0))
    })?;
    for (name, address) in &inwards {
        let (code, addresses) =
            resolve(&rig.a.actor, name)?.with_context(|| format!("{name}: no answer"))?;
        ensure!(code != 0 && addresses == 0, "{name}: {code}, {addresses}");
        let IpAddr::V4(address) = address else { continue };
        if !address.is_loopback() {
            let connected = rig.a.actor.connect((*address, INDEX), 500)?;
            ensure!(connected.errno.is_some(), "{name}: {connected:?}");
        }
    }
    for name in ["evil.turns.example.org", "other.example.org"] {
        let (code, addresses) =
            resolve(&rig.a.actor, name)?.with_context(|| format!("{name}: no answer"))?;
        ensure!(code != 0 && addresses == 0, "{name}: {code}, {addresses}");
        ensure!(!names.asked().iter().any(|asked| asked == name), "{name} was asked for");
    }
    let refused = daemon
        .wait_record("the refusal", |record| record["enforcer.outcome"] == "refused_address")?;
    ensure!(refused["container.name"] == rig.a.name.as_str(), "{refused}");
    drop(names);
    finish(rig, daemon, &residue)
}

/// Guests, and port 53 of the host free for the resolver.
fn begin() -> Result<(Rig, Enforcer)> {
    let base = Base::start(Options::default())?;
    base.free_dns()?;
    let rig = base.with_guests()?;
    let daemon = Enforcer::start_beside(&rig, &Settings::default())?;
    for guest in [&rig.a, &rig.b] {
        daemon.wait_identified(&rig.host, &guest.name, "guest")?;
    }
    Ok((rig, daemon))
}

/// Whether a connection is made and then closed.
fn reaches(actor: &Actor, port: u16) -> Result<bool> {
    let connected = actor.connect((WORLD, port), 2000)?;
    Ok(connected.errno.is_none())
}

/// Asks the gateway for an IPv4 address: the code of the answer, and how many addresses it has.
fn resolve(actor: &Actor, name: &str) -> Result<Option<(u8, u16)>> {
    let mut question = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len())?);
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    let exchanged: Exchanged = actor.call(&Request::UdpExchange {
        from_port: 0,
        to: (GATEWAY, 53).into(),
        data: hex::encode(&question),
        count: 1,
        segment: 0,
        timeout_ms: 1500,
    })?;
    let Some(answer) = exchanged.answer else { return Ok(None) };
    let answer = hex::decode(&answer)?;
    let [_, _, _, code, _, _, high, low, ..] = answer[..] else { return Ok(None) };
    Ok(Some((code & 0xf, u16::from_be_bytes([high, low]))))
}

fn reload(daemon: &Enforcer, rig: &Rig, more: &str) -> Result<()> {
    let plain = fs::read_to_string(daemon.config())?;
    let gateway = format!("gateway = \"{GATEWAY}\"\n");
    let text = plain.replacen(&gateway, &format!("{gateway}policy = \"course\"\n"), 1) + more;
    fs::write(daemon.config(), text)?;
    let (code, said) = daemon.verb(&rig.host, "reload", &[])?;
    ensure!(code == 0, "{code}: {said}");
    Ok(())
}

/// A package index in the world: Python's own web server over a folder.
struct Index(Child);

impl Index {
    fn serve(rig: &Rig) -> Result<Self> {
        const MAKE: &str = r#"
import sys, zipfile
folder = sys.argv[1]
with zipfile.ZipFile(folder + "/taster-1.0-py3-none-any.whl", "w") as wheel:
    wheel.writestr("taster.py", "GREETING = 'it works'\n")
    info = "taster-1.0.dist-info/"
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: taster\nVersion: 1.0\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(info + "RECORD", "taster.py,,\n")
"#;
        let root = rig.run.make_dir("index")?;
        let folder = root.join("simple/taster");
        fs::create_dir_all(&folder)?;
        output(rig.world.command("python3").args(["-c", MAKE]).arg(&folder), "a wheel")?;
        let mut server = rig.world.command("python3");
        server.args(["-m", "http.server", &INDEX.to_string(), "--bind", &WORLD.to_string()]);
        server.arg("--directory").arg(&root);
        server.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        die_with_parent(&mut server, libc::SIGKILL);
        let index = Self(server.spawn().context("the index")?);
        wait_for("the index", Duration::from_secs(20), || {
            let connected = rig.world.actor.connect((WORLD, INDEX), 500)?;
            Ok(connected.errno.is_none().then_some(()))
        })?;
        Ok(index)
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// What the guest runs.
fn pip() -> Result<Vec<String>> {
    let mut wheels = fs::read_dir("/usr/share/python-wheels").context("python3-pip-whl")?;
    let wheel = wheels.find_map(|entry| {
        let path = entry.ok()?.path();
        path.file_name()?.to_str()?.starts_with("pip-").then_some(path)
    });
    let wheel = wheel.context("no wheel of pip")?.join("pip");
    let url = format!("http://index.example.org:{INDEX}/simple");
    let program = wheel.to_str().context("a path")?;
    let words = [
        "/usr/bin/python3",
        program,
        "install",
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--retries",
        "1",
        "--timeout",
        "5",
        "--no-deps",
        "--index-url",
        &url,
        "--trusted-host",
        "index.example.org",
        "--target",
        "/tmp/site",
        "--upgrade",
        "taster",
    ];
    Ok(words.map(str::to_owned).to_vec())
}
