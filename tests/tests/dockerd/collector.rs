//! Records at an OTLP collector: the same as everywhere else.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use enforcer::audit::record::Record;
use enforcer_tests::{
    frames::{Ip, Ipv4, ethernet, ethertype, udp_packet},
    harness::{
        dockerd::Options,
        enforcer::{Enforcer, Settings},
        residue::Snapshot,
        run::wait_for,
        topology::{Base, GATEWAY, HUB_PORT, WORLD},
    },
    hex,
    protocol::Send,
};
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest, common::v1::any_value, logs::v1::LogRecord,
};
use prost::Message as _;
use serde_json::Value;

use crate::kept::{directory, records};

/// Where it listens.
const PORT: u16 = 4318;
/// Denials that no rate suppresses.
const DENIALS: u64 = 20;

/// A collector that is overloaded for as long as it is told to be.
#[derive(Clone, Default)]
struct Collector {
    taken: Arc<Mutex<Vec<LogRecord>>>,
    overloaded: Arc<AtomicBool>,
}

impl Collector {
    fn serve(&self, listener: TcpListener) {
        let here = self.clone();
        // They end with the test's process, and keep no namespace alive: a socket does not.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let here = here.clone();
                thread::spawn(move || here.converse(&stream));
            }
        });
    }

    fn converse(&self, mut stream: &TcpStream) -> Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                ensure!(reader.read_line(&mut head)? > 0, "it ended");
            }
            ensure!(head.starts_with("POST /v1/logs HTTP/1.1\r\n"), "{head}");
            let head = head.to_ascii_lowercase();
            ensure!(head.contains("x-scope-orgid: lab\r\n"), "{head}");
            let length = head.split("content-length: ").nth(1).and_then(|it| it.lines().next());
            let mut body = vec![0; length.context("no length")?.parse()?];
            reader.read_exact(&mut body)?;
            let answer = if self.overloaded.load(Ordering::Relaxed) {
                "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"
            } else {
                let request = ExportLogsServiceRequest::decode(&*body)?;
                let scopes = request.resource_logs.into_iter().flat_map(|it| it.scope_logs);
                self.taken().extend(scopes.flat_map(|it| it.log_records));
                "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n"
            };
            stream.write_all(answer.as_bytes())?;
        }
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, Vec<LogRecord>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn body(record: &LogRecord) -> Result<&str> {
    match record.body.as_ref().and_then(|body| body.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => Ok(text),
        other => anyhow::bail!("{other:?}"),
    }
}

/// A1: a collector gets each record that the files and standard output get, once, also those of the
/// time when it had no room.
#[test]
fn a1_a_collector_gets_what_the_files_get_once_it_has_room() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (_owner, dir) = directory("otlp")?;
    let base = Base::start(Options::default())?;
    let collector = Collector::default();
    collector.serve(base.host.listen(PORT)?);
    let rig = base.with_guests()?;
    let more = format!(
        "\n[audit]\ndir = \"{}\"\nstdout = true\n[audit.otlp]\n\
         endpoint = \"http://127.0.0.1:{PORT}\"\nheaders = {{ X-Scope-OrgID = \"lab\" }}\n",
        dir.display()
    );
    let daemon = Enforcer::start_beside(&rig, &Settings { more, ..Settings::default() })?;
    for guest in [&rig.a, &rig.b] {
        daemon.wait_identified(&rig.host, &guest.name, "guest")?;
    }
    let failing = || -> Result<bool> {
        let reasons = daemon.reasons(&rig.host)?;
        Ok(reasons.iter().any(|it| it.contains("otlp") && it.contains("503 Service Unavailable")))
    };
    // Guests are denied other things, too: what their kernels send by themselves.
    let denied = |name: &str, destination: Ipv4Addr| -> Result<u64> {
        let destination = format!("\"{destination}\"");
        let taken = collector.taken();
        let bodies = taken.iter().filter(|record| record.event_name == "enforcer.denied").map(body);
        let bodies = bodies.collect::<Result<Vec<_>>>()?;
        let is = |body: &&&str| body.contains(name) && body.contains(&destination);
        Ok(bodies.iter().filter(is).count() as u64)
    };
    let scene = rig.scene()?;
    let ip = Ip::V4(Ipv4::new(scene.b.ipv4, WORLD, 0));
    let packet = udp_packet(&ip, 4001, 53, b"one of B's");
    let frame = ethernet(scene.host.mac, scene.b.mac, ethertype::IPV4, &packet);
    for number in 0..DENIALS {
        if number == DENIALS / 2 {
            let half = wait_for("the first half", Duration::from_secs(10), || {
                Ok((denied(&rig.b.name, WORLD)? == number).then_some(()))
            });
            half.with_context(|| format!("{:?}; {}", collector.taken(), daemon.log_text()))?;
            collector.overloaded.store(true, Ordering::Relaxed);
        }
        let send =
            Send { interface: "eth0".into(), frames: vec![hex::encode(&frame)], ..Send::default() };
        ensure!(rig.b.actor.send(send)?.sent == 1, "not sent");
        thread::sleep(Duration::from_millis(100));
    }
    wait_for("the failure to be told", Duration::from_secs(10), || Ok(failing()?.then_some(())))?;
    ensure!(denied(&rig.b.name, WORLD)? == DENIALS / 2, "taken, and refused");
    // Policy and other sinks do not notice.
    ensure!(rig.a.actor.connect((GATEWAY, HUB_PORT), 2000)?.errno.is_none(), "the hub is silent");
    ensure!(rig.a.actor.connect((GATEWAY, 22), 700)?.errno.is_some(), "port 22 answers");
    wait_for("the others' records", Duration::from_secs(5), || {
        let text = serde_json::to_string(&daemon.records())?;
        Ok((text.matches(&rig.b.name).count() as u64 >= DENIALS).then_some(()))
    })?;
    collector.overloaded.store(false, Ordering::Relaxed);
    wait_for("the second half", Duration::from_secs(10), || {
        Ok((denied(&rig.b.name, WORLD)? == DENIALS && denied(&rig.a.name, GATEWAY)? > 0)
            .then_some(()))
    })?;
    wait_for(
        "the recovery to be told",
        Duration::from_secs(5),
        || Ok((!failing()?).then_some(())),
    )?;
    let status = daemon.status(&rig.host)?;
    let sinks = status["sinks"].as_array().context("no sinks")?;
    let otlp = sinks.iter().find(|sink| sink["name"] == "otlp").context("no otlp")?;
    ensure!(otlp["missed"] == 0 && otlp["taken"].as_u64() > Some(DENIALS), "{otlp}");

    let told = daemon.stop()?;
    let taken = collector.taken().clone();
    let bodies: Vec<Value> = taken
        .iter()
        .map(|record| Ok(serde_json::from_str(body(record)?)?))
        .collect::<Result<_>>()?;
    // Number for number, from the first to the daemon's last word.
    ensure!(bodies == told, "{} of {}: {bodies:?}, {told:?}", bodies.len(), told.len());
    // The files have lines of their own, too: where trust begins, and where a file ends.
    let read = |lines: Vec<Value>| -> Vec<Record> {
        lines.into_iter().filter_map(|line| serde_json::from_value(line).ok()).collect()
    };
    let (kept, here) = (read(records(&dir)?), read(bodies));
    ensure!(kept == here, "{} in files, {}: {kept:?}, {here:?}", kept.len(), here.len());
    let numbers: Vec<u64> = here.iter().map(|record| record.seq).collect();
    ensure!(numbers == (1..=told.len() as u64).collect::<Vec<_>>(), "{numbers:?}");
    let mut severities = BTreeMap::<_, u64>::new();
    for record in &taken {
        *severities.entry((&*record.event_name, record.severity_number)).or_default() += 1;
    }
    println!("{severities:?}");
    ensure!(severities.get(&("enforcer.denied", 13)) > Some(&DENIALS), "{severities:?}");
    ensure!(severities.get(&("enforcer.daemon", 9)) == Some(&2), "{severities:?}");
    rig.stop()?;
    residue.ensure_nothing_new()
}
