//! The demonstration: the main job on an embedded default, from nothing to nothing in a minute.
//!
//! A dockerd of its own, a guest network, a stand-in for the hub, two guests and an outside host,
//! all in namespaces; enforcer between them. Attacks and legal traffic run, and one table says what
//! was seen on the wire. `--absent` runs it without enforcer: the expectations then fail.

use std::{process::ExitCode, time::Instant};

use anyhow::{Context as _, Result, bail};
use enforcer_tests::{
    attacks::{Attack, Scene, catalogue},
    harness::{
        dockerd::Options,
        enforcer::{Enforcer, Mode, Settings},
        proof::{Observation, judge, observe},
        residue::Snapshot,
        run,
        topology::{Base, Rig},
    },
};

/// Attacks to show: those whose title starts like this.
const SHOWN: [&str; 14] = [
    "P01 raw Ethernet to B",
    "P02 VLAN tags to B",
    "P04 ARP that claims",
    "P04 the host's neighbour",
    "P05 router adv",
    "P06 link-local IPv6 to the host",
    "P07 B's MAC",
    "P07 data into",
    "P08 all 64 sets of TCP flags to the world",
    "P09 every other IP protocol to B",
    "P11 the host's TCP",
    "P14 B's published",
    "P15 connect() to the world",
    "P17 fragments to the host",
];
/// Records to print at the end.
const RECORDS: usize = 12;

fn main() -> ExitCode {
    let absent = std::env::args().any(|argument| argument == "--absent");
    match demonstrate(absent) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demonstrate(absent: bool) -> Result<()> {
    if let Some(why) = run::obstacle() {
        bail!("cannot run here: {why}");
    }
    let started = Instant::now();
    let say = |what: &str| println!("[{:5.1} s] {what}", started.elapsed().as_secs_f32());
    let before = Snapshot::take();
    say("starting an outside host, a host, its dockerd, the guest network and a hub");
    let base = Base::start(Options::default())?;
    let daemon = if absent {
        None
    } else {
        say("starting enforcer");
        Some(Enforcer::start(&base, &Settings::default())?)
    };
    say("starting guests A and B");
    let rig = base.with_guests()?;
    if let Some(daemon) = &daemon {
        for guest in [&rig.a, &rig.b] {
            daemon.wait_identified(&rig.host, &guest.name, "guest")?;
        }
    }
    say("attacking from A, and using what is allowed");
    let failed = show(&rig, daemon.as_ref())?;
    if let Some(daemon) = daemon {
        print_records(daemon.stop().context("stop enforcer")?);
    }
    say("taking everything down");
    rig.stop()?;
    before.ensure_nothing_new()?;
    say("nothing is left behind");
    if failed > 0 {
        bail!("{failed} expectations failed");
    }
    Ok(())
}

/// Runs everything, prints the table, and counts the expectations that failed.
fn show(rig: &Rig, daemon: Option<&Enforcer>) -> Result<usize> {
    print_row(["from", "to", "what", "verdict", "reason", "on the wire"]);
    let mut complaints = Vec::new();
    for (what, works) in rig.legal_traffic()? {
        let (from, to) = what.split_once(" to ").unwrap_or((what, ""));
        let verdict = if works { "allow" } else { "FAILS" };
        print_row([from, to, "TCP, there and back", verdict, "", if works { "yes" } else { "no" }]);
        if !works {
            complaints.push(format!("legal traffic fails: {what}"));
        }
    }
    for attack in shown(&rig.scene()?) {
        let seen = observe(rig, Mode::Enforcing, daemon, &attack)?;
        print_attack(&attack, &seen);
        complaints.extend(judge(Mode::Enforcing, &attack, &seen).iter().map(ToString::to_string));
    }
    for complaint in &complaints {
        println!("FAILED {complaint}");
    }
    Ok(complaints.len())
}

fn shown(scene: &Scene) -> Vec<Attack> {
    catalogue(scene)
        .into_iter()
        .filter(|attack| SHOWN.iter().any(|start| attack.title().starts_with(start)))
        .collect()
}

fn print_attack(attack: &Attack, seen: &Observation) {
    let verdict = if seen.reached == 0 { "deny" } else { "PASSES" };
    let wire = format!("{} of {}", seen.reached, seen.sent);
    print_row(["guest A", attack.at.name(), attack.name, verdict, &seen.reasons(), &wire]);
}

fn print_row([from, to, what, verdict, reason, wire]: [&str; 6]) {
    println!("{from:8} {to:16} {what:50} {verdict:8} {reason:22} {wire}");
}

fn print_records(records: Vec<serde_json::Value>) {
    println!("the last of {} records:", records.len());
    let skip = records.len().saturating_sub(RECORDS);
    for record in records.into_iter().skip(skip) {
        println!("  {}", in_order(&record));
    }
}

/// A record with what a reader looks for first; the rest of it is left out here.
fn in_order(record: &serde_json::Value) -> String {
    const FIRST: [&str; 12] = [
        "@timestamp",
        "event.action",
        "enforcer.event",
        "enforcer.cause",
        "enforcer.count",
        "container.name",
        "enforcer.hook",
        "event.reason",
        "network.iana_number",
        "source.ip",
        "destination.ip",
        "destination.port",
    ];
    let shown = FIRST.iter().filter_map(|key| Some(format!("\"{key}\":{}", record.get(key)?)));
    format!("{{{},...}}", shown.collect::<Vec<_>>().join(","))
}
