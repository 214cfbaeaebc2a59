//! What happens without enforcer: the negative controls, and the classic recipe beside them.

use anyhow::{Result, ensure};
use enforcer_tests::{
    attacks::{Through, catalogue},
    harness::{
        classic,
        enforcer::Mode,
        proof::{judge, observe},
        residue::Snapshot,
        topology::{BRIDGE, Rig},
    },
};

#[test]
fn without_protection_attacks_succeed() -> Result<()> {
    if !super::can_run() {
        return Ok(());
    }
    let before = Snapshot::take();
    let rig = Rig::start()?;
    ensure_all_hold(&rig, Mode::Absent)?;
    rig.stop()?;
    before.ensure_nothing_new()
}

#[test]
fn classic_recipe_blocks_and_leaks() -> Result<()> {
    if !super::can_run() {
        return Ok(());
    }
    let rig = Rig::start()?;
    classic::apply(&rig.host, BRIDGE)?;
    ensure_all_hold(&rig, Mode::Classic)?;
    // A reload of anybody's firewall, and the recipe is gone.
    rig.host.run("iptables -w -F FORWARD")?;
    rig.host.run("iptables -w -P FORWARD ACCEPT")?;
    let connected = rig.a.actor.connect(rig.b.at(22), 1000)?;
    ensure!(connected.errno.is_none(), "guest to guest after a flush: {connected:?}");
    rig.stop()
}

/// Performs the catalogue, prints it as a table, and fails with every broken expectation.
fn ensure_all_hold(rig: &Rig, mode: Mode) -> Result<()> {
    for (what, works) in rig.legal_traffic()? {
        ensure!(works, "legal traffic fails: {what}");
    }
    let mut complaints = Vec::new();
    let mut stopped = 0;
    let attacks = catalogue(&rig.scene()?);
    for attack in &attacks {
        let mut seen = observe(rig, mode, None, attack)?;
        // A machine that is busy answers late: what gets through at the second try gets through.
        if !judge(mode, attack, &seen).is_empty() {
            seen = observe(rig, mode, None, attack)?;
        }
        stopped += usize::from(seen.through() == Through::Nothing);
        println!(
            "{:60} to {:8} {:5} of {:5}",
            attack.title(),
            attack.at.name(),
            seen.reached,
            seen.sent
        );
        complaints.extend(judge(mode, attack, &seen).iter().map(ToString::to_string));
    }
    println!("{mode:?}: {stopped} of {} attacks stopped", attacks.len());
    ensure!(complaints.is_empty(), "\n{}", complaints.join("\n"));
    Ok(())
}
