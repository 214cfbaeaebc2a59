//! An engine that hangs, or dies, while guests are stopped, removed, restarted, reset and started, on a real dockerd: each says
//! so in time, nothing is half done for good, and a retry works.

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::harness::{
    enforcer::Enforcer, residue::Snapshot, run::wait_for, topology::Rig,
};
use serde_json::Value;

use crate::{
    cli::{Cli, STAYS, order, ours, run, start_with, volumes},
    flood::finish,
};

/// Longest that anybody may wait for a word.
const BOUND: Duration = Duration::from_mins(1);
/// What becomes of the engine, and how soon after all have asked: they take a second or two.
const CUTS: [(Cut, Duration); 3] = [
    (Cut::Hangs, Duration::from_millis(600)),
    (Cut::Dies, Duration::from_millis(400)),
    (Cut::Dies, Duration::from_millis(900)),
];
/// The one volume of each guest.
const VOLUME: [&str; 2] = ["--volume", "home:/home/x"];

/// What becomes of the engine.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Hangs,
    Dies,
}

/// All of them at once, with an engine that hangs for as long as they wait, and with one that is killed.
#[test]
fn s3_an_engine_that_hangs_or_dies_in_any_operation_is_told_and_a_retry_works() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (mut rig, daemon) = start_with("")?;
    for (cut, after) in CUTS {
        let cli = Cli { daemon: &daemon, rig: &rig };
        for user in ["ann", "bob", "cat", "eve"] {
            cli.start(user, &[&VOLUME[..], &STAYS].concat())?;
        }
        cli.ok(&["remove", "cat"])?;
        interrupt(&mut rig, &daemon, (cut, after))?;
        let cli = Cli { daemon: &daemon, rig: &rig };
        for (_, words) in asked() {
            // Done already, by whoever asked first.
            let done = ["runs already", "there is no guest"];
            wait_for("a retry that works", Duration::from_secs(45), || {
                let (code, said) = run(&daemon, &rig.host, &words)?;
                ensure!(
                    code == 0 || done.iter().any(|done| said.contains(done)),
                    "{words:?}: {said}"
                );
                Ok(Some(()))
            })
            .with_context(|| format!("{cut:?}: {}", daemon.log_text()))?;
        }
        let listed: Value = serde_json::from_str(&cli.ok(&["list", "--json"])?)?;
        let guests = listed["guests"].as_array().context("no guests")?;
        let of = |key: &str, value: Value| -> BTreeSet<&str> {
            guests
                .iter()
                .filter(|one| one[key] == value)
                .filter_map(|g| g["user"].as_str())
                .collect()
        };
        ensure!(of("state", "running".into()) == ["dan", "eve"].into(), "{cut:?}: {listed}");
        ensure!(of("policed", true.into()) == ["dan", "eve"].into(), "{cut:?}: {listed}");
        ensure!(guests.len() == 3 && ours(&rig.docker)?.len() == 3, "{cut:?}: {listed}");
        // Ann's, bob's, dan's and eve's; cat's are reset.
        ensure!(volumes(&rig.docker)?.len() == 4, "{cut:?}: {:?}", volumes(&rig.docker)?);
        for user in ["ann", "dan", "eve"] {
            cli.away(user, None)?;
        }
        cli.ok(&["reset-volumes", "bob"])?;
        ensure!(ours(&rig.docker)?.is_empty() && volumes(&rig.docker)?.is_empty(), "left: {cut:?}");
    }
    finish(rig, daemon, &residue)
}

/// What is asked for at once, by the name of what it does.
fn asked() -> [(&'static str, Vec<&'static str>); 5] {
    [
        ("stop", vec!["stop", "ann"]),
        ("remove", vec!["remove", "bob"]),
        ("reset", vec!["reset-volumes", "cat"]),
        ("start", order("dan", &[&VOLUME[..], &STAYS].concat())),
        ("restart", vec!["restart", "eve"]),
    ]
}

/// Asks for all, has the engine hang or die meanwhile, and has it back: whoever does not succeed says why, in time.
fn interrupt(rig: &mut Rig, daemon: &Enforcer, (cut, after): (Cut, Duration)) -> Result<()> {
    let Rig { host, docker, .. } = rig;
    let host = &*host;
    let outcome = thread::scope(|scope| {
        let asking = asked().map(|(what, words)| {
            let asking = scope.spawn(move || {
                let begun = Instant::now();
                run(daemon, host, &words).map(|(code, said)| (code, said, begun.elapsed()))
            });
            (what, asking)
        });
        thread::sleep(after);
        match cut {
            Cut::Hangs => docker.signal(libc::SIGSTOP)?,
            Cut::Dies => docker.end(libc::SIGKILL)?,
        }
        for (what, asking) in asking {
            let (code, said, took) =
                asking.join().ok().with_context(|| format!("{what} panicked"))??;
            println!("{cut:?}, {what}: code {code} after {took:?}: {}", said.trim());
            ensure!(code == 0 || said.contains("engine"), "{cut:?}, {what}: {code}: {said}");
            ensure!(took < BOUND, "{cut:?}, {what}: {took:?}");
        }
        Ok(())
    });
    match cut {
        Cut::Hangs => docker.signal(libc::SIGCONT)?,
        Cut::Dies => docker.resume(host)?,
    }
    outcome
}
