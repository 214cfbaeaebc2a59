//! Attacks on the gate, judged by what is seen on the host of a real engine: each works with the engine's own socket, and
//! none with a filtered one, nor with a hub's that was taken over.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::{
    attacks::gate::{Body, IMAGE, Message, Row, Step, catalogue, covered, everything, harmless},
    harness::{
        container::{Container, Spec},
        dockerd::Options,
        enforcer::{Enforcer, Settings},
        http::{Line, Reply},
        residue::Snapshot,
        tap::Tap,
        topology::{Base, NETWORK},
        yard::{Attacker, Yard},
    },
};
use serde_json::json;

use crate::flood::binary;

/// A group whose members have a socket.
const GROUP: &str = "docker-privileged";
/// Where clients look for the engine.
const SOCKET: &str = "/var/run/docker.sock";

/// Rows of the threat list that are attacks on a socket.
const THREATS: [&str; 19] = [
    "S01", "S02", "S03", "S04", "S05", "S06", "S07", "S08", "S09", "S10", "S11", "S12", "S13",
    "S22", "S23", "S28", "S29", "S30", "N2",
];
/// A hub with a network of its own.
const HUB: &str = "[networks.second]\nbridge = \"second0\"\ncreate = true\nsubnet = \"10.98.0.0/24\"\n\
                   gateway = \"10.98.0.1\"\n[hubs.lab]\nnetworks = [\"second\"]\n\
                   [guests]\nimages = [\"enforcer-test-guest\"]\n";
/// What a hub may do for its guests, and a user may not.
const A_HUB_S: [&str; 9] = [
    // It names its guests, and these names are kept for hubs.
    "S22 a container is made with the name enforcer-hub",
    "S22 a container is made with the name jupyter-victim",
    "S22 a container is made with the name jupyterhub",
    "S22 a container is called guest-local-victim",
    // Names of users have dots.
    "N5 a container is called pypi.org",
    r#"N5 Hostname: \"github.com\""#,
    // It says for whom a guest is: a user of its own name space, which no other hub's is.
    r#"S22 Env: [\"JUPYTERHUB_USER=victim\"]"#,
    // What it makes is a hub's, and the gate says so itself.
    r#"S22 Labels: {\"enforcer.gate\":\"hub\"}"#,
    // Its proxy reaches guests by loopback, at a port that no service has.
    "S28 PortBindings: an address of the host",
];
/// Longest wait for an effect of the engine's own socket.
const EFFECT: Duration = Duration::from_secs(10);
/// Longest wait for one that is not to come.
const NONE: Duration = Duration::from_millis(30);

/// S13: each route and each field of the tables has an attack, or a reason why none could hurt. A row that is taken out
/// of one side is missing on the other.
#[test]
fn s13_every_route_and_field_has_an_attack_or_a_reason() {
    let (rows, all) = (catalogue(), everything());
    let attacked = covered(&rows);
    let excused: BTreeSet<String> = harmless().map(|(one, _)| one.to_owned()).collect();
    let missing: Vec<_> =
        all.iter().filter(|one| !attacked.contains(*one) && !excused.contains(*one)).collect();
    assert!(missing.is_empty(), "neither attacked nor excused: {missing:#?}");
    let unknown: Vec<_> = attacked.union(&excused).filter(|one| !all.contains(*one)).collect();
    assert!(unknown.is_empty(), "in no table of the gate's: {unknown:#?}");
    let both: Vec<_> = attacked.intersection(&excused).collect();
    assert!(both.is_empty(), "attacked, and yet excused: {both:#?}");
    for threat in THREATS {
        assert!(rows.iter().any(|row| row.threat == threat), "{threat} has no attack");
    }
    let titles: BTreeSet<String> = rows.iter().map(Row::title).collect();
    assert_eq!(titles.len(), rows.len(), "two rows have one title");
    for title in A_HUB_S {
        assert!(titles.contains(title), "{title}: no row has this title");
    }
}

/// What a row says that it exercises is in what it sends.
#[test]
fn s13_an_attack_sends_what_it_says_it_exercises() {
    for row in catalogue() {
        for one in &row.covers {
            let is_sent = row.steps.iter().any(|step| sends(step, one));
            assert!(is_sent, "{}: no step of it has {one}", row.title());
        }
    }
}

fn sends(step: &Step, one: &str) -> bool {
    let Message::Request { method, target, body, .. } = &step.message else { return false };
    match (one.split_once(' '), body) {
        (Some((of, path)), _) => of == *method && fits(path, target),
        (None, Body::Text(text)) => {
            let field = one.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
            text.to_ascii_lowercase().contains(&format!("\"{field}\""))
        }
        (None, _) => false,
    }
}

/// Whether a target is of a path of the table, in which `{…}` stands for something.
fn fits(path: &str, target: &str) -> bool {
    let asked = target.split('?').next().unwrap_or_default();
    let asked: Vec<&str> = asked.split('/').filter(|part| !part.is_empty()).collect();
    let asked = match asked.split_first() {
        Some((version, rest)) if version.starts_with("v1.") => rest.to_vec(),
        _ => asked,
    };
    let path: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let at = path.iter().position(|part| part.starts_with('{')).unwrap_or(path.len());
    let after = path.get(at + 1..).unwrap_or_default();
    asked.starts_with(&path[..at]) && asked.ends_with(after) && asked.len() >= path.len()
}

/// S01 to S13, S22, S23, S27 to S30, N2: whatever a stranger asks for, nothing of it is seen on the host, and as little of
/// what a hub asks for that somebody has taken over; asked of the engine itself, all of it is.
#[test]
fn s03_no_attack_has_an_effect_through_a_filtered_socket() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let base = Base::start(Options::default())?;
    let tap = Tap::start(&base.run.dir().join("tap.sock"), &base.docker.socket())?;
    let settings = Settings {
        engine: Some(tap.socket.clone()),
        more: format!("\n[gate]\nimages = [\"enforcer-test-guest\"]\n{HUB}"),
        ..Settings::default()
    };
    let daemon = Enforcer::start(&base, &settings)?;
    let sockets = (daemon.leave_socket("ann")?, daemon.leave_socket("ben")?);
    let daemon = daemon.end()?.restart(&base.host, binary()?)?;
    command(&daemon, &base, "grant", &["set", GROUP, "filtered"])?;
    for user in ["ann", "ben"] {
        command(&daemon, &base, "group", &["add", GROUP, user])?;
    }
    let line = notebook(&base, "ann", &sockets.0)?;
    let ben = notebook(&base, "ben", &sockets.1)?;
    make(&ben, "bens", "echo MARK-OF-BEN; mkdir -p /tmp; sleep 60606", &tap)?;
    make(&line, "annown", "mkdir -p /tmp; sleep 60606", &tap)?;
    let hub = Line::Here(daemon.config().with_file_name("run").join("gate/lab.sock"));
    make(&hub, "hubown", "mkdir -p /tmp; sleep 60606", &tap)?;
    for (line, name) in [(&ben, "bens-net"), (&line, "own-net")] {
        line.get("POST", "/v1.41/networks/create", Some(&json!({"Name": name})))?;
    }

    let mut yard = Yard::open(&base.run, &base.docker, &base.host)?;
    let attacker = |line, own: &str, notebook: &str, letter| Attacker {
        line,
        own: own.to_owned(),
        notebook: notebook.to_owned(),
        letter,
    };
    let attackers = [
        attacker(line, "annown", "of-ann", 'g'),
        attacker(hub, "hubown", "of-ann", 'h'),
        attacker(yard.engine.clone(), "rawown", "rawown", 'r'),
    ];
    let mut failures = Vec::new();
    for (index, row) in chosen().iter().enumerate() {
        let tried = attack(&mut yard, (row, index), &attackers, &tap);
        failures.extend(tried.unwrap_or_else(|error| vec![format!("{}: {error:#}", row.title())]));
    }
    let ids = ["victim_id", "bens_id"].map(|word| yard.word(word));
    let ids = ids.into_iter().collect::<Result<Vec<_>>>()?;
    let names = ["victim", "bens", "foreign-net", "foreign-volume", "bens-volume", "bens-net"];
    let ids = [ids, names.map(str::to_owned).to_vec()].concat();
    ensure_all_are_missing(&attackers[0].line, &ids)?;
    yard.close()?;
    ensure!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    daemon.stop()?;
    drop(base);
    residue.ensure_nothing_new()
}

/// All of them, or those whose title has a word.
fn chosen() -> Vec<Row> {
    let word = std::env::var("ENFORCER_TEST_ATTACKS").unwrap_or_default();
    catalogue().into_iter().filter(|row| row.title().contains(&word)).collect()
}

fn command(daemon: &Enforcer, base: &Base, verb: &str, arguments: &[&str]) -> Result<()> {
    let (code, said) = daemon.verb(&base.host, verb, arguments)?;
    ensure!(code == 0, "{verb} {arguments:?}: {code}: {said}");
    Ok(())
}

/// A user's notebook, and from it the way to their socket.
fn notebook(base: &Base, user: &str, socket: &Path) -> Result<Line> {
    let (name, label) = (format!("of-{user}"), format!("enforcer.user={user}"));
    let spec = Spec {
        name: &name,
        network: NETWORK,
        labels: &[&label, "enforcer.hub=local"],
        binds: &[&format!("{}:{SOCKET}", socket.display())],
        ..Spec::default()
    };
    let notebook = Container::start(&base.run, &base.docker, &spec)?;
    Ok(Line::Through(notebook.actor()?, SOCKET.to_owned()))
}

/// What a user may have: a container of their own, made through the gate. So a gate that refuses everything proves
/// nothing.
fn make(line: &Line, name: &str, command: &str, tap: &Tap) -> Result<()> {
    let body = json!({
        "Image": IMAGE, "StopSignal": "SIGKILL", "Cmd": ["sh", "-c", command],
        "Env": [format!("SECRET=of-{}", name.get(..3).unwrap_or_default())],
        "HostConfig": {"Binds": [format!("{name}-volume:/{name}-data")]},
    });
    let target = format!("/v1.41/containers/create?name={name}");
    line.get("POST", &target, Some(&body))?;
    line.get("POST", &format!("/v1.41/containers/{name}/start"), None)?;
    ensure!(tap.has(name), "what goes to the engine is not seen");
    Ok(())
}

/// S12: what is another's, and what is nowhere, is answered alike: in status, in words, and in time.
fn ensure_all_are_missing(line: &Line, ids: &[String]) -> Result<()> {
    let calls = [
        ("GET", "/v1.41/containers/{}/json"),
        ("GET", "/v1.41/containers/{}/logs?stdout=1"),
        ("POST", "/v1.41/containers/{}/start"),
        ("POST", "/v1.41/containers/{}/stop"),
        ("DELETE", "/v1.41/containers/{}"),
        ("GET", "/v1.41/networks/{}"),
        ("DELETE", "/v1.41/networks/{}"),
        ("GET", "/v1.41/volumes/{}"),
        ("DELETE", "/v1.41/volumes/{}"),
        ("GET", "/v1.41/images/{}/json"),
        ("GET", "/v1.41/exec/{}/json"),
    ];
    for (method, target) in calls {
        let answer = |called: &str| {
            let reply = line.ask(method, &target.replace("{}", called), None)?;
            let said = String::from_utf8_lossy(&reply.body).replace(called, "{}");
            Ok::<_, anyhow::Error>((reply.status, said))
        };
        let nowhere = answer("nowhere")?;
        ensure!(nowhere.0 == 404, "{method} {target}: {nowhere:?}");
        for id in ids {
            let other = answer(id)?;
            ensure!(other == nowhere, "{method} {target}: {id}: {other:?}, not {nowhere:?}");
        }
    }
    // One after the other, so that what else the machine does falls on both.
    let mut took = [Vec::new(), Vec::new()];
    let other = ids.first().context("no ids")?;
    for _ in 0..40 {
        for (called, took) in [other.as_str(), "nowhere"].into_iter().zip(&mut took) {
            let since = Instant::now();
            line.ask("GET", &format!("/v1.41/containers/{called}/json"), None)?;
            took.push(since.elapsed());
        }
    }
    let [other, nowhere] = took.map(|mut took| {
        took.sort_unstable();
        took[took.len() / 2]
    });
    // An engine that was asked would take longer than all of the rest.
    let most = nowhere.mul_f64(1.5) + Duration::from_millis(1);
    ensure!(
        other < most && nowhere < other.mul_f64(1.5) + Duration::from_millis(1),
        "another's: {other:?}, nowhere: {nowhere:?}"
    );
    Ok(())
}

/// Tries one each way; what is wrong.
fn attack(
    yard: &mut Yard<'_>,
    (row, index): (&Row, usize),
    attackers: &[Attacker],
    tap: &Tap,
) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    for who in attackers {
        let expected = match who.letter {
            'r' => !row.is_refused_by_engine,
            'h' => A_HUB_S.contains(&row.title().as_str()),
            _ => false,
        };
        let mut words = yard.words(row, index, who)?;
        let before = yard.before(&row.effect, &words)?;
        tap.forget();
        let replies = yard.perform(row, &mut words, who)?;
        let is_granted = replies.iter().any(|reply| (1..400).contains(&reply.status));
        let within = match (expected, is_granted) {
            (true, _) => EFFECT,
            (false, true) => NONE,
            (false, false) => Duration::ZERO,
        };
        let seen = yard.has_effect(&row.effect, (&words, &before, &replies), within)?;
        let said: Vec<String> = replies.iter().map(Reply::shown).collect();
        if seen != expected {
            let what = match (expected, seen) {
                (true, _) if who.letter == 'h' => "is not for hubs any more",
                (true, _) => "proves nothing: the engine's own socket",
                (false, _) if who.letter == 'r' => "is not refused by the engine",
                (false, _) if who.letter == 'h' => "GOT THROUGH for a hub",
                (false, _) => "GOT THROUGH",
            };
            failures.push(format!("{}: {what}: {}", row.title(), said.join("; ")));
        }
        let is_bytes = row.steps.iter().any(|step| matches!(step.message, Message::Bytes(_)));
        if who.letter != 'r' && is_bytes && tap.has(&words.fill("@name@")) {
            failures.push(format!("{}: reached the engine: {}", row.title(), said.join("; ")));
        }
        // What was refused left nothing that was not looked for.
        if who.letter == 'r' || is_granted {
            yard.tidy(&row.effect, row.harms && expected)?;
        }
    }
    Ok(failures)
}
