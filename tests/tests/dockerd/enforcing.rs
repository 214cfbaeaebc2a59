//! The same catalogue against the daemon: nothing arrives, everything is counted and recorded.

use anyhow::{Result, ensure};
use enforcer_tests::{
    attacks::catalogue,
    harness::{
        artifacts,
        dockerd::Options,
        enforcer::{Enforcer, Mode},
        proof::{judge, observe},
        residue::Snapshot,
        topology::Base,
    },
};

#[test]
fn enforcer_denies_the_catalogue_and_breaks_nothing() -> Result<()> {
    if !super::can_run() {
        return Ok(());
    }
    if artifacts::enforcer().is_none() {
        eprintln!("skipped: no enforcer binary; build it or set ENFORCER_BIN");
        return Ok(());
    }
    let before = Snapshot::take();
    let base = Base::start(Options::default())?;
    let daemon = Enforcer::start(&base.run, &base.host, &base.docker_socket())?;
    let rig = base.with_guests()?;
    for guest in [&rig.a, &rig.b] {
        daemon.wait_identified(&rig.host, &guest.name)?;
    }
    let mut complaints = Vec::new();
    for attack in &catalogue(&rig.scene()?) {
        let seen = observe(&rig, Mode::Enforcing, Some(&daemon), attack)?;
        println!("{:60} {:5} of {:5} {}", attack.title(), seen.reached, seen.sent, seen.reasons());
        complaints.extend(judge(Mode::Enforcing, attack, &seen).iter().map(ToString::to_string));
        for (what, works) in rig.legal_traffic()? {
            if !works {
                complaints
                    .push(format!("{}: after it, legal traffic fails: {what}", attack.title()));
            }
        }
    }
    ensure!(complaints.is_empty(), "\n{}\n{}", complaints.join("\n"), daemon.log_text());
    daemon.stop()?;
    rig.stop()?;
    before.ensure_nothing_new()
}
