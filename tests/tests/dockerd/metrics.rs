//! Metrics: exact, in the format, and for this host alone.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr},
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _},
        net::{UnixListener, UnixStream},
    },
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::{
    frames::{Ip, Ipv4, Tcp, ethernet, ethertype, flag},
    harness::{
        artifacts,
        client::Actor,
        dockerd::Options,
        enforcer::{Enforcer, Settings},
        exposition::Page,
        residue::Snapshot,
        run::wait_for,
        topology::{Base, GATEWAY, NETWORK, Rig, UPLINK, WORLD},
    },
    hex,
    protocol::{ConnectBy, Connected, Received, Request, Send, Sent, Serve},
};

/// Frames of the flood.
const FLOOD: u32 = 2500;
const PORT: u16 = 9469;
const GET: &str = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// An answer's status, head and body.
#[derive(Debug)]
struct Answer {
    status: String,
    head: String,
    body: String,
}

impl Answer {
    fn read(bytes: Vec<u8>) -> Result<Self> {
        let text = String::from_utf8(bytes)?;
        let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("{text:?}"))?;
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        let status = status.with_context(|| head.to_owned())?.to_owned();
        Ok(Self { status, head: head.to_owned(), body: body.to_owned() })
    }

    fn page(&self) -> Result<Page> {
        ensure!(self.status == "200", "{self:?}");
        let kind = "content-type: text/plain; version=0.0.4; charset=utf-8";
        ensure!(self.head.lines().any(|line| line == kind), "{}", self.head);
        Page::read(&self.body)
    }
}

fn over_socket(path: &Path, request: &str) -> Result<Answer> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(Duration::from_secs(15)))?;
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Answer::read(bytes)
}

fn over_tcp(host: &Actor, request: &str) -> Result<Answer> {
    let connected: Connected = host.call(&Request::Connect {
        to: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
        by: ConnectBy::Plain,
        data: hex::encode(request.as_bytes()),
        timeout_ms: 2000,
        hold: true,
    })?;
    let id = connected.id.with_context(|| format!("{connected:?}"))?;
    let read = Request::Read { id, length: 1 << 20, timeout_ms: 15_000 };
    let received: Received = host.call(&read)?;
    host.call::<()>(&Request::Close { id, reset: false })?;
    ensure!(received.ended, "{:?}", received.errno);
    Answer::read(hex::decode(&received.data)?)
}

fn start(settings: impl FnOnce(&Rig) -> Result<Settings>) -> Result<(Rig, Enforcer)> {
    let rig = Base::start(Options::default())?.with_guests()?;
    let daemon = Enforcer::start_beside(&rig, &settings(&rig)?)?;
    for guest in [&rig.a, &rig.b] {
        daemon.wait_identified(&rig.host, &guest.name, "guest")?;
    }
    Ok((rig, daemon))
}

/// SYNs to the world from A, as fast as they surely arrive.
fn flood(rig: &Rig) -> Result<usize> {
    let scene = rig.scene()?;
    let ends = Ip::V4(Ipv4::new(scene.a.ipv4, WORLD, 0));
    let packet = Tcp::new(5000, 80, flag::SYN).packet(&ends, b"flood");
    let frame = ethernet(scene.host.mac, scene.a.mac, ethertype::IPV4, &packet);
    let sent: Sent = rig.a.actor.send(Send {
        interface: "eth0".into(),
        frames: vec![hex::encode(&frame)],
        repeat: FLOOD,
        rate: 5000,
        ..Send::default()
    })?;
    ensure!(sent.sent == u64::from(FLOOD), "{sent:?}");
    Ok(frame.len())
}

#[test]
fn metrics_over_a_socket_are_exact_and_roots_alone() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let mut at = None;
    let (rig, mut daemon) = start(|rig| {
        let path = rig.run.make_dir("metrics")?.join("metrics.sock");
        let more = format!("\n[metrics]\nsocket = \"{}\"\n", path.display());
        at = Some(path);
        Ok(Settings { more, ..Settings::default() })
    })?;
    let at = at.context("no path")?;
    let found = fs::symlink_metadata(&at)?;
    ensure!(found.file_type().is_socket() && found.mode() & 0o7777 == 0o660, "{found:?}");
    ensure!((found.uid(), found.gid()) == (0, 0), "{found:?}");

    let of_a = [("container", &*rig.a.name), ("network", NETWORK), ("hook", "from_guest")];
    let policy = |page: &Page, what: &str| {
        let labels = [&of_a[..], &[("reason", "policy")]].concat();
        page.sum(&format!("enforcer_{what}_total"), &labels).unwrap_or_default()
    };
    let before = over_socket(&at, GET)?.page()?;
    let quiet = policy(&before, "denied_events");
    let length = flood(&rig)?;
    // A page is good for a second: then there is another.
    let page = wait_for("the flood", Duration::from_secs(10), || {
        let page = over_socket(&at, GET)?.page()?;
        Ok((policy(&page, "denied_events") >= quiet + u64::from(FLOOD)).then_some(page))
    })?;
    let rise = |what: &str| policy(&page, what) - policy(&before, what);
    let bytes = u32::try_from(length)? * FLOOD;
    for (what, expected) in
        [("denied_events", FLOOD), ("denied_packets", FLOOD), ("denied_bytes", bytes)]
    {
        ensure!(rise(what) == u64::from(expected), "{what} rose by {}", rise(what));
    }
    let records = ["records_written", "records_suppressed", "records_lost"].map(rise);
    ensure!(records.iter().sum::<u64>() == u64::from(FLOOD), "{records:?}");
    ensure!(records[0] > 0 && records[1] > 0, "{records:?}");
    // What status says, in words that are not the page's.
    for (family, labels, expected) in [
        ("enforcer_network_guests", &[("network", NETWORK)][..], 2),
        ("enforcer_healthy", &[], 1),
        ("enforcer_health", &[("state", "enforcing")], 1),
        ("enforcer_health", &[], 1),
        ("enforcer_docker_connected", &[], 1),
        ("enforcer_closure_closed", &[], 1),
        ("enforcer_programs_attached", &[("program", "from_guest")], 2),
        ("enforcer_programs_attached", &[("program", "to_bridge")], 1),
        ("enforcer_build_info", &[], 1),
        ("enforcer_queue_lost_records_total", &[], 0),
    ] {
        let found = page.sum(family, labels);
        ensure!(found == Some(expected), "{family}{labels:?}: {found:?}, not {expected}");
    }
    let flows = page.series.keys().filter(|(name, _)| name == "enforcer_flows");
    ensure!(flows.count() == 10, "not five classes for each of two guests");

    // A change of where they are takes a restart; nothing changes before.
    let config = fs::read_to_string(daemon.config())?;
    fs::write(daemon.config(), config.replace("metrics.sock", "other.sock"))?;
    let (code, said) = daemon.verb(&rig.host, "reload", &[])?;
    ensure!(code == 2 && said.contains("[metrics] cannot change while"), "{code}: {said}");
    fs::write(daemon.config(), &config)?;

    // Killed, it leaves its socket behind; the next one replaces it, and goes on counting.
    daemon.kill_now()?;
    ensure!(at.exists(), "who removed it?");
    let binary = artifacts::enforcer().context("no binary")?;
    let daemon = daemon.restart(&rig.host, binary)?;
    let sum = policy(&page, "denied_events");
    wait_for("the same count again", Duration::from_secs(10), || {
        let page = over_socket(&at, GET).and_then(|answer| answer.page());
        Ok(page.is_ok_and(|page| policy(&page, "denied_events") == sum).then_some(()))
    })?;
    // Its end, and `uninstall` after one that was killed, leave none behind.
    let dir = at.parent().context("no directory")?;
    for verb in [&["stop"][..], &["uninstall", "--yes"]] {
        let (code, said) = daemon.verb(&rig.host, verb[0], &verb[1..])?;
        ensure!(code == 0, "{code}: {said}");
        wait_for("no socket", Duration::from_secs(5), || {
            Ok((fs::read_dir(dir)?.count() == 0).then_some(()))
        })?;
        drop(UnixListener::bind(&at)?);
    }
    drop(daemon);
    rig.stop()?;
    residue.ensure_nothing_new()
}

#[test]
fn metrics_on_loopback_answer_this_host_alone() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let mut taken = None;
    let (rig, daemon) = start(|rig| {
        let banner = Serve::Banner("taken".into());
        taken = Some(rig.host.actor.listen((Ipv4Addr::LOCALHOST, PORT), banner)?.id);
        let more = format!("\n[metrics]\nlisten = \"127.0.0.1:{PORT}\"\n");
        Ok(Settings { more, ..Settings::default() })
    })?;
    // Guests are policed all the same, and what is missing is said.
    let missing = format!("metrics are not served: cannot listen on 127.0.0.1:{PORT}");
    let (code, said) = daemon.verb(&rig.host, "status", &[])?;
    ensure!(code == 4 && said.contains(&missing), "{code}: {said}");
    ensure!(daemon.log_text().contains(&missing), "{}", daemon.log_text());
    let host = &rig.host.actor;
    host.call::<()>(&Request::Close { id: taken.context("no listener")?, reset: false })?;
    wait_for("metrics", Duration::from_secs(15), || {
        Ok(daemon.reasons(&rig.host)?.is_empty().then_some(()))
    })?;
    let page = over_tcp(host, GET)?.page()?;

    for (request, status) in [
        ("HEAD /metrics HTTP/1.1\r\nHost: 127.0.0.1:9469\r\n\r\n", "200"),
        ("GET /metrics HTTP/1.1\r\nHost: rebound.example:9469\r\n\r\n", "421"),
        ("GET /metrics HTTP/1.1\r\nHost: 10.99.0.1:9469\r\n\r\n", "421"),
        ("GET http://rebound.example/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", "421"),
        ("GET /metrics HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "404"),
        ("GET /metrics/x HTTP/1.1\r\nHost: localhost\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", "405"),
        ("DELETE /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", "405"),
        ("GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nxx", "413"),
        ("no HTTP at all\r\n\r\n", "400"),
    ] {
        let answer = over_tcp(host, request)?;
        ensure!(answer.status == status, "{request}: {answer:?}");
        // Only the page's own answer has anything of the page.
        ensure!(!answer.body.contains("enforcer_"), "{request}: {answer:?}");
    }

    // Beyond loopback nobody listens, and a guest does not even get that answer.
    let other = host.connect((GATEWAY, PORT), 700)?;
    ensure!(other.errno == Some(libc::ECONNREFUSED), "{other:?}");
    for address in [GATEWAY, UPLINK] {
        let tried = rig.a.actor.connect((address, PORT), 700)?;
        ensure!(tried.errno == Some(libc::ETIMEDOUT), "{address}: {tried:?}");
    }
    let denied = |page: &Page| {
        let labels = [("container", &*rig.a.name), ("reason", "policy"), ("hook", "from_guest")];
        page.sum("enforcer_denied_events_total", &labels).unwrap_or_default()
    };
    wait_for("both denials", Duration::from_secs(5), || {
        Ok((denied(&over_tcp(host, GET)?.page()?) >= denied(&page) + 2).then_some(()))
    })?;
    daemon.stop()?;
    rig.stop()?;
    residue.ensure_nothing_new()
}

/// The reader of the tests above believes nothing.
#[test]
fn metrics_are_read_strictly() {
    let good = "# HELP a_total A.\n# TYPE a_total counter\na_total{x=\"1\\\"\\\\\\n\"} 2\na_total 3\n\
                # HELP b B.\n# TYPE b gauge\nb 0.5\n";
    let page = Page::read(good).expect("it is the format");
    assert_eq!(page.sum("a_total", &[]), Some(5));
    assert_eq!(page.sum("a_total", &[("x", "1\"\\\n")]), Some(2));
    assert_eq!((page.sum("b", &[]), page.sum("a_total", &[("x", "")])), (None, None));
    for (from, to) in [
        ("b 0.5\n", "b 0.5"),
        ("b 0.5\n", "b 0.5\r\n"),
        ("b 0.5\n", "b  0.5\n"),
        ("b 0.5\n", "b 0.5 7\n"),
        ("b 0.5\n", "b NaN\n"),
        ("b 0.5\n", "b -1\n"),
        ("b 0.5\n", "c 0.5\n"),
        ("b 0.5\n", "b 0.5\nb 0.6\n"),
        ("b 0.5\n", "b{} 0.5\n"),
        ("b 0.5\n", "b 0.5\n\n"),
        ("b 0.5\n", "b 0.5\n# HELP c C.\n"),
        ("# HELP b B.\n", ""),
        ("# TYPE b gauge\n", ""),
        ("# TYPE b gauge\n", "# TYPE b counter\n"),
        ("# HELP b B.\n# TYPE b gauge\nb ", "# HELP a_total A.\n# TYPE a_total counter\na_total "),
        ("# TYPE a_total counter", "# TYPE a_total gauge"),
        ("{x=\"1", "{1x=\"1"),
        ("{x=\"1", "{x=\"\"1"),
        ("{x=\"1", "{x=\"\\t"),
        ("{x=\"1", "{x=\"1\" ,y=\"1"),
        ("{x=\"1", "{x=\"1\",x=\"1"),
        ("\\n\"} 2", "\\\"} 2"),
        ("a_total 3", "a_total{x=\"1\\\"\\\\\\n\"} 3"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert!(bad != good && Page::read(&bad).is_err(), "taken: {bad}");
    }
}
