//! Attacks on the gate, judged by what is seen on the host of a real engine: each works with the engine's own socket, and
//! none with a filtered one.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, ensure};
use enforcer_tests::{
    attacks::gate::{Body, Message, Row, Step, catalogue, covered, everything, harmless},
    harness::{
        container::{Container, Spec},
        dockerd::Options,
        enforcer::{Enforcer, Settings},
        http::Line,
        residue::Snapshot,
        tap::Tap,
        topology::{Base, NETWORK},
        yard::{Attacker, Yard},
    },
};

use crate::{
    flood::binary,
    gate::{GROUP, SOCKET, command, left_behind},
};

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

/// S01 to S13, S22, S23, S27 to S30: whatever a stranger asks for, nothing of it is seen on the host; asked of the engine
/// itself, all of it is.
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
        more: "\n[gate]\nimages = [\"enforcer-test-guest\"]\n".to_owned(),
        ..Settings::default()
    };
    let daemon = Enforcer::start(&base, &settings)?;
    let socket = left_behind(&daemon)?;
    let daemon = daemon.end()?.restart(&base.host, binary()?)?;
    command(&daemon, &base.host, "grant", &["set", GROUP, "filtered"])?;
    command(&daemon, &base.host, "group", &["add", GROUP, "ann"])?;
    let mount = format!("{}:{SOCKET}", socket.display());
    let notebook = Spec {
        name: "of-ann",
        network: NETWORK,
        labels: &["enforcer.user=ann", "enforcer.hub=local"],
        binds: &[&mount],
        ..Spec::default()
    };
    let notebook = Container::start(&base.run, &base.docker, &notebook)?;
    let line = Line::Through(notebook.actor()?, SOCKET.to_owned());

    let mut yard = Yard::open(&base.run, &base.docker, &base.host)?;
    let stranger =
        Attacker { own: own(&line, &tap)?, line, notebook: notebook.name.clone(), letter: 'g' };
    let master = Attacker {
        line: yard.engine.clone(),
        own: "rawown".to_owned(),
        notebook: "rawown".to_owned(),
        letter: 'r',
    };
    yard.keep_all()?;
    let mut failures = Vec::new();
    for (index, row) in chosen().iter().enumerate() {
        let tried = attack(&mut yard, (row, index), &stranger, &master, &tap);
        failures.extend(tried.unwrap_or_else(|error| vec![format!("{}: {error:#}", row.title())]));
    }
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

/// What the stranger may have: a container of their own, made through the gate. So a gate that refuses everything
/// proves nothing.
fn own(line: &Line, tap: &Tap) -> Result<String> {
    let body = serde_json::json!({"Image": "enforcer-test-guest", "StopSignal": "SIGKILL",
                                  "Cmd": ["sh", "-c", "mkdir -p /tmp; sleep 600"]});
    line.get("POST", "/v1.41/containers/create?name=annown", Some(&body))?;
    line.get("POST", "/v1.41/containers/annown/start", None)?;
    ensure!(tap.has("annown"), "what goes to the engine is not seen");
    Ok("annown".to_owned())
}

/// Tries one both ways; what is wrong.
fn attack(
    yard: &mut Yard<'_>,
    (row, index): (&Row, usize),
    stranger: &Attacker,
    master: &Attacker,
    tap: &Tap,
) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    for (who, expected) in [(stranger, false), (master, !row.is_refused_by_engine)] {
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
        let said: Vec<String> = replies.iter().map(|reply| reply.shown()).collect();
        if seen != expected {
            let what = match (expected, seen) {
                (true, _) => "proves nothing: the engine's own socket",
                (false, _) if who.letter == 'r' => "is not refused by the engine",
                (false, _) => "GOT THROUGH",
            };
            failures.push(format!("{}: {what}: {}", row.title(), said.join("; ")));
        }
        let is_bytes = row.steps.iter().any(|step| matches!(step.message, Message::Bytes(_)));
        if who.letter == 'g' && is_bytes && tap.has(&words.fill("@name@")) {
            failures.push(format!("{}: reached the engine: {}", row.title(), said.join("; ")));
        }
        // What was refused left nothing that was not looked for.
        if who.letter == 'r' || is_granted {
            yard.tidy(&row.effect, row.harms && expected)?;
        }
    }
    Ok(failures)
}
