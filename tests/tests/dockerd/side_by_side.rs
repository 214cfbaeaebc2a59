//! The classic recipe beside enforcer: what both block, what both let through, and what only the
//! recipe lets through. Prints the table.

use anyhow::{Result, ensure};
use enforcer_tests::{
    attacks::{Through, catalogue},
    harness::{
        classic,
        enforcer::Mode,
        proof::{Observation, judge, observe},
        topology::{BRIDGE, Rig},
    },
    protocol::{Request, Serve, Transferred},
};

use crate::shared::{self, Shared};

/// Attacks that the recipe stops; enforcer must, too.
const BLOCKED: [&str; 5] = [
    "P15 connect() to the world",
    "P15 connect() to B",
    "P15 UDP to the world",
    "P09 every other IP protocol to B",
    "P27 multicast in unicast frames",
];
/// Leaks of the recipe.
const LEAKS: [&str; 10] = [
    "P01 raw Ethernet to B",
    "P02 VLAN tags to B",
    "P04 the host's neighbour table",
    "P05 router advertisements, redirects, forged neighbours",
    "P06 link-local IPv6 to B",
    "P06 link-local IPv6 to the host",
    "P07 an answer to the world as B",
    "P08 all 64 sets of TCP flags to the world",
    "P11 the host's TCP services",
    "P11 the host's UDP services",
];
const ANSWER: u64 = 16 << 20;

#[test]
fn enforcer_blocks_what_the_recipe_blocks_and_what_it_leaks() -> Result<()> {
    shared::with(|shared| {
        let rig = Rig::start()?;
        classic::apply(&rig.host, BRIDGE)?;
        let mut complaints = Vec::new();
        println!("{:62} {:>14} {:>14}", "", "iptables", "enforcer");
        legal(&rig, shared, &mut complaints)?;
        for (titles, leaks) in [(&BLOCKED[..], false), (&LEAKS[..], true)] {
            for title in titles {
                let (recipe, ours) = attack(&rig, shared, title, &mut complaints)?;
                row(title, &wire(&recipe), &wire(&ours));
                if leaks != (recipe.through() != Through::Nothing) {
                    complaints.push(format!("{title}: leaks under iptables: {}", !leaks));
                }
            }
        }
        flush(&rig, shared, &mut complaints)?;
        rig.stop()?;
        ensure!(complaints.is_empty(), "\n{}", complaints.join("\n"));
        Ok(())
    })
}

fn row(what: &str, recipe: &str, ours: &str) {
    println!("{what:62} {recipe:>14} {ours:>14}");
}

fn wire(seen: &Observation) -> String {
    format!("{} of {}", seen.reached, seen.sent)
}

/// Both work for what is legal.
fn legal(classic: &Rig, shared: &Shared, complaints: &mut Vec<String>) -> Result<()> {
    let word = |works: bool| if works { "works" } else { "FAILS" };
    let ours = shared.rig.legal_traffic()?;
    for ((what, recipe), (_, ours)) in classic.legal_traffic()?.into_iter().zip(ours) {
        row(what, word(recipe), word(ours));
        if !(recipe && ours) {
            complaints.push(format!("{what}: iptables {recipe}, enforcer {ours}"));
        }
    }
    let mut large = [false; 2];
    for (rig, works) in [classic, &shared.rig].into_iter().zip(&mut large) {
        let source = rig.a.actor.listen(([0, 0, 0, 0], 7200), Serve::Source(ANSWER))?;
        let moved: Transferred = rig.host.actor.call(&Request::Transfer {
            to: rig.a.at(7200),
            send: 0,
            timeout_ms: 20_000,
        })?;
        *works = moved.bytes == ANSWER;
        rig.a.actor.call::<()>(&Request::Close { id: source.id, reset: false })?;
    }
    row("a guest's answer of 16 MB", word(large[0]), word(large[1]));
    if large != [true, true] {
        complaints.push(format!("large answers: {large:?}"));
    }
    Ok(())
}

/// The same attack in both rigs.
fn attack(
    rig: &Rig,
    shared: &Shared,
    title: &str,
    complaints: &mut Vec<String>,
) -> Result<(Observation, Observation)> {
    let find = |rig: &Rig| -> Result<_> {
        let found = catalogue(&rig.scene()?).into_iter().find(|attack| attack.title() == title);
        found.ok_or_else(|| anyhow::anyhow!("no attack is called {title}"))
    };
    let recipe = observe(rig, Mode::Classic, None, &find(rig)?)?;
    let own = find(&shared.rig)?;
    let ours = observe(&shared.rig, Mode::Enforcing, Some(&shared.daemon), &own)?;
    complaints.extend(judge(Mode::Enforcing, &own, &ours).iter().map(ToString::to_string));
    Ok((recipe, ours))
}

/// Somebody reloads the host's firewall: the recipe is gone.
fn flush(classic: &Rig, shared: &Shared, complaints: &mut Vec<String>) -> Result<()> {
    let mut open = [false; 2];
    for (rig, open) in [classic, &shared.rig].into_iter().zip(&mut open) {
        let before = rig.host.run("iptables-save")?;
        rig.host.run("iptables -w -F")?;
        rig.host.run("iptables -w -P FORWARD ACCEPT")?;
        let to_peer = rig.a.actor.connect(rig.b.at(22), 500)?.errno.is_none();
        let to_world = rig
            .a
            .actor
            .connect((enforcer_tests::harness::topology::WORLD, 80), 500)?
            .errno
            .is_none();
        *open = to_peer && to_world;
        if to_peer != to_world {
            complaints.push(format!("after a flush: to B {to_peer}, to the world {to_world}"));
        }
        let saved = rig.run.dir().join("iptables");
        std::fs::write(&saved, before)?;
        rig.host.run(&format!("iptables-restore {}", saved.display()))?;
    }
    let word = |open| if open { "open" } else { "closed" };
    row("to B and the world after iptables -F", word(open[0]), word(open[1]));
    if open != [true, false] {
        complaints.push(format!("open after iptables -F: {open:?}"));
    }
    shared.ensure_legal()
}
