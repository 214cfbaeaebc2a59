//! `enforcer doctor` beside a daemon and an engine: what it finds, and that the mends it prints mend.

#[path = "doctor/engine.rs"]
mod engine;
#[path = "doctor/mends.rs"]
mod mends;

use anyhow::{Context as _, Result, ensure};
use enforcer::kernel::features;
use enforcer_tests::{harness::topology::BRIDGE, vm::foreign::Foreign};
use serde_json::Value;

use crate::shared::{self, Shared};

/// The exit code, and the findings by check.
fn doctor(shared: &Shared) -> Result<(i32, Value)> {
    let (code, text) = shared.daemon.verb(&shared.rig.host, "doctor", &["--json"])?;
    let answer: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    Ok((code, answer))
}

fn check<'a>(answer: &'a Value, name: &str) -> Result<&'a Value> {
    let checks = answer["checks"].as_array().context("no checks")?;
    let found = checks.iter().find(|check| check["check"] == name);
    found.with_context(|| format!("no {name} in {answer:#}"))
}

/// Spoils something, sees that it is found, does what the answer says, and sees that it is well again.
fn mends(shared: &Shared, name: &str, spoil: &str) -> Result<()> {
    let host = &shared.rig.host;
    ensure!(check(&doctor(shared)?.1, name)?["grade"] == "ok", "{name} is not well to begin with");
    host.run(spoil)?;
    let answer = doctor(shared)?.1;
    let found = check(&answer, name)?;
    let mend = found["mend"].as_str().context("no mend")?.to_owned();
    let output = host.command("sh").args(["-c", &mend]).output()?;
    ensure!(found["grade"] == "warn", "{found}");
    ensure!(output.status.success(), "{mend}: {output:?}");
    let answer = doctor(shared)?.1;
    let found = check(&answer, name)?;
    ensure!(found["grade"] == "ok", "{mend} did not mend it: {found}");
    Ok(())
}

#[test]
fn o1_doctor_sees_the_daemon_the_engine_and_its_settings_as_they_are() -> Result<()> {
    shared::with(|shared| {
        let (code, answer) = doctor(shared)?;
        for name in ["kernel_release", "btf", "docker", "config", "closed", "vlan_filtering"] {
            let found = check(&answer, name)?;
            ensure!(found["grade"] == "ok", "{found}");
        }
        // Known only of the process behind the socket.
        for name in ["docker_iptables", "docker_userland_proxy"] {
            check(&answer, name)?;
        }
        ensure!(
            check(&answer, "other_tc_programs")?["grade"] == "ok",
            "ours are taken for others': {answer:#}"
        );
        ensure!(check(&answer, "daemon")?["grade"] != "fail", "{answer:#}");
        ensure!(code == 0, "{code}: {answer:#}");
        Ok(())
    })
}

#[test]
fn o1_what_doctor_prints_as_a_mend_mends() -> Result<()> {
    shared::with(|shared| {
        // A kernel without CONFIG_BRIDGE_VLAN_FILTERING has no such file, and none that filters.
        let switch = format!("/sys/class/net/{BRIDGE}/bridge/vlan_filtering");
        if shared.rig.host.run(&format!("cat {switch}")).is_ok() {
            let on = format!("ip link set {BRIDGE} type bridge vlan_filtering 1");
            mends(shared, "vlan_filtering", &on)?;
        }
        mends(shared, "ip_forward", "sysctl -qw net.ipv4.ip_forward=0")?;
        shared.ensure_legal()
    })
}

/// Somebody else's program on a guest bridge: what is printed takes that one off, and none of ours.
#[test]
fn n6_doctor_tells_of_a_program_of_others_and_what_it_prints_takes_it_off() -> Result<()> {
    const CHECK: &str = "other_tc_programs";
    shared::with(|shared| {
        let host = &shared.rig.host;
        let mut foreign = Foreign::load()?;
        let link = host.within(|| foreign.attach_first(BRIDGE, features::has_tcx()))?;
        let answer = doctor(shared)?.1;
        let found = check(&answer, CHECK)?;
        let mend = found["mend"].as_str().unwrap_or_default();
        let (look, mend) = mend.split_once("# whose is it? then: ").context(found.to_string())?;
        ensure!(found["grade"] == "warn" && look.contains(&foreign.id()?.to_string()), "{found}");
        host.run(mend)?;
        let answer = doctor(shared)?.1;
        let found = check(&answer, CHECK)?;
        ensure!(found["grade"] == "ok", "{mend} did not mend it: {found}");
        // Its end finds nothing to take off any more.
        host.within(|| {
            drop(link);
            Ok(())
        })?;
        ensure!(check(&doctor(shared)?.1, "daemon")?["grade"] != "fail", "ours is gone");
        shared.ensure_legal()
    })
}

#[test]
fn o2_f24_without_a_daemon_or_with_a_bad_config_doctor_fails_and_names_the_line() -> Result<()> {
    shared::with(|shared| {
        let dir = shared.rig.run.make_dir("doctor")?;
        let file = dir.join("bad.toml");
        std::fs::write(&file, "[networks.guests]\nno_such_key = 1\n")?;
        let file = file.to_str().context("the path")?;
        let (code, text) =
            shared.daemon.raw(&shared.rig.host, "doctor", &["--json", "--config", file])?;
        let answer: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        // Its run directory is the usual one, where nobody answers.
        for name in ["config", "daemon"] {
            let found = check(&answer, name)?;
            ensure!(found["grade"] == "fail", "{found}");
        }
        let found = check(&answer, "config")?["found"].as_str().unwrap_or_default();
        ensure!(found.contains(":2:1:") && found.contains("no_such_key"), "{found}");
        ensure!(code == 3 && answer["grade"] == "fail", "{code}: {answer:#}");
        Ok(())
    })
}
