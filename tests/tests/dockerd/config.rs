//! Configs that are changed under way: good ones at once and as a whole, bad ones not at all.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::harness::{
    enforcer::{Enforcer, Settings},
    proof::rise,
    residue::Snapshot,
    run::wait_for,
    topology::{GATEWAY, HUB_PORT},
};
use serde_json::Value;

use crate::{
    flood::{Flood, RATE, Talk, finish, long, start},
    lifecycle::reaches,
};

/// Files that are no config, and what the answer must name.
fn bad_files(good: &str) -> Vec<(String, &'static str)> {
    let swap = |from: &str, to: &str| good.replace(from, to);
    let mut files = vec![
        (String::new(), "no guest network"),
        ("[networks".to_owned(), ":1:"),
        ("\u{0}\u{1}\u{2}".to_owned(), ":1:"),
        (swap("[docker]", "[dokcer]"), "dokcer"),
        (swap("socket", "sokcet"), "sokcet"),
        (swap("run_dir", "rundir"), "rundir"),
        (swap("state_dir = \"/", "state_dir = \"/elsewhere/"), "state_dir"),
        (swap("bridge =", "brigde ="), "brigde"),
        (swap("create = true", "create = \"yes\""), ":11:10: invalid type"),
        (swap("create = true", "create = 1"), ":11:10: invalid type"),
        (swap("10.99.0.0/24", "10.99.0.0/0"), "/0"),
        (swap("10.99.0.0/24", "10.99.0.0/33"), "33"),
        (swap("10.99.0.0/24", "10.99.0.7/24"), "10.99.0"),
        (swap("10.99.0.0/24", "300.1.2.3/24"), "300.1.2.3"),
        (swap("10.99.0.0/24", "fd00::/64"), "fd00"),
        (swap("\"10.99.0.1\"", "\"10.98.0.1\""), "10.98.0.1"),
        (swap("\"10.99.0.1\"", "\"10.99.0.0\""), "10.99.0.0"),
        (swap("\"10.99.0.1\"", "\"gateway\""), "gateway"),
        (swap("guests0", "a-name-that-is-too-long"), "15"),
        (swap("\"guests0\"", "\"\""), "bridge"),
        (swap("\"guests0\"", "\"a/b\""), "a/b"),
        (swap("\"guests0\"", "7"), ":10:10: invalid type"),
        (swap("port = 8081", "port = 0"), "port"),
        (swap("port = 8081", "port = 65536"), "65536"),
        (swap("port = 8081", "port = -1"), "port"),
        (swap("port = 8081", "port = \"http\""), ":17:8: invalid type"),
        (swap("port = 8081", ""), "port"),
        (swap("\"tcp\"", "\"icmp\""), "icmp"),
        (swap("\"tcp\"", "6"), ":18:12: invalid type"),
        (swap("gateway = true", "gateway = false"), "gateway"),
        (swap("gateway = true", "address = \"nowhere\""), "nowhere"),
        (swap("gateway = true", "gateway = true\naddress = \"192.0.2.1\""), "one of"),
        (swap("gateway = true", "contianer = \"hub\""), "contianer"),
        (format!("{good}\n[networks.guests]\nbridge = \"other\"\n"), ":20:11: duplicate"),
        (format!("{good}\n[networks.second]\nbridge = \"guests0\"\n"), "guests0"),
        (format!("{good}\n[networks.guests.quotas]\nclosing = -1\n"), "quota -1"),
        (format!("{good}\n[networks.guests.quotas]\nclosing = 99999999999\n"), "quota 99999999999"),
        (format!("{good}\n[networks.guests.quotas]\nclosed = 1\n"), "closed"),
        (format!("{good}\n[nonsense]\nx = 1\n"), "nonsense"),
        (good.replacen("[daemon]", "[daemon]\nmark_mask = 1", 1), "mark_mask"),
        (good.replacen("[daemon]", "[daemon]\nmax_flows = 2048", 1), "max_flows"),
        (good.replacen("[daemon]", "[daemon]\npin_dir = \"/sys/fs/bpf/elsewhere\"", 1), "restart"),
    ];
    let half: String = good.chars().take(good.len() / 2).collect();
    files.push((half.trim_end_matches(char::is_alphanumeric).to_owned(), ":"));
    files
}

#[test]
fn f15_o2_a_bad_config_changes_nothing_and_a_good_one_changes_over() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (rig, daemon) = start(&Settings::default())?;
    let good = fs::read_to_string(daemon.config())?;
    let hub = (GATEWAY, HUB_PORT);
    let rules = |daemon: &Enforcer| -> Result<Value> {
        let status = daemon.status(&rig.host)?;
        Ok(serde_json::json!([status["networks"], status["programs"]]))
    };
    let before = rules(&daemon)?;
    let bad = bad_files(&good);
    ensure!(bad.len() >= 40, "{}", bad.len());
    let mut wrong = Vec::new();
    for (text, named) in &bad {
        fs::write(daemon.config(), text)?;
        let (code, said) = daemon.verb(&rig.host, "reload", &[])?;
        if code != 2 || !said.contains(named) {
            wrong.push(format!("{code}, not about {named}: {said}"));
        }
        daemon.hang_up()?;
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    fs::write(daemon.config(), &good)?;
    ensure!(rules(&daemon)? == before, "something changed");
    ensure!(reaches(&rig.a, hub)?, "the hub does not answer any more");
    ensure!(!reaches(&rig.a, (GATEWAY, 22))?, "another port answers");
    // By signal, each is refused in the log and in the stream as well.
    daemon.wait_record("a refusal", |r| {
        r["event.action"] == "config" && r["enforcer.event"] == "refused"
    })?;

    let loaded = daemon.wait_record("the config of the start", |r| {
        r["event.action"] == "config" && r["enforcer.event"] == "loaded"
    })?;
    let digest = |text: &str| Value::from(enforcer::digest::of_text(text));
    ensure!(loaded["file.hash.sha256"] == digest(&good), "{loaded}");

    let other = good.replace("port = 8081", "port = 22");
    fs::write(daemon.config(), &other)?;
    let (code, said) = daemon.verb(&rig.host, "reload", &[])?;
    ensure!(code == 0, "{code}: {said}");
    // At once: the answer comes when the kernel holds it.
    ensure!(!reaches(&rig.a, hub)?, "the old port is still open");
    ensure!(reaches(&rig.a, (GATEWAY, 22))?, "the new port is not open");
    // What was taken, and what that made of the policies.
    // The last of the signals may have come when the good file was back: that is a reload as well.
    daemon.wait_record("the new config", |r| {
        r["enforcer.event"] == "reloaded" && r["file.hash.sha256"] == digest(&other)
    })?;
    let policies = || -> Vec<Value> {
        let changed = |r: &Value| r["event.action"] == "policy" && r["enforcer.event"] == "changed";
        daemon.records().into_iter().filter(changed).collect()
    };
    let (first, changed) = wait_for("its policy", Duration::from_secs(5), || {
        let told = policies();
        let last = told.last().cloned().unwrap_or_default();
        let of_it = |r: &&Value| r["enforcer.policy"] == last["enforcer.policy"];
        let first = told.iter().find(of_it).cloned().unwrap_or_default();
        let after = last["event.sequence"].as_u64() > loaded["event.sequence"].as_u64();
        Ok((after && first != last).then_some((first, last)))
    })?;
    ensure!(first["enforcer.digest"] != changed["enforcer.digest"], "{first}\n{changed}");
    fs::write(daemon.config(), &good)?;
    daemon.hang_up()?;
    wait_for("the first config again", Duration::from_secs(5), || {
        Ok(reaches(&rig.a, hub)?.then_some(()))
    })?;
    finish(rig, daemon, &residue)
}

/// F15: what both configs deny stays denied, and what both allow stays allowed, whichever of them
/// holds and while one follows the other.
#[test]
fn f15_reloads_under_load_mix_nothing() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let times = if long() { 200 } else { 20 };
    let residue = Snapshot::take();
    let (rig, daemon) = start(&Settings::default())?;
    let hub = (GATEWAY, HUB_PORT);
    let good = fs::read_to_string(daemon.config())?;
    let with =
        |port: u16| format!("{good}\n[[networks.guests.hub]]\ngateway = true\nport = {port}\n");
    let talk = Talk::open(&rig.host.actor, &rig)?;
    let before = daemon.counts(&rig.host)?;
    let (mut sent, mut arrived) = (0, 0);
    for round in 0..times {
        let flood = Flood::start(&rig, RATE / 2)?;
        let (opened, closed) = if round % 2 == 0 { (8000, 9090) } else { (9090, 8000) };
        fs::write(daemon.config(), with(opened))?;
        let (code, said) = daemon.verb(&rig.host, "reload", &[])?;
        ensure!(code == 0, "{code}: {said}");
        ensure!(reaches(&rig.a, hub)?, "round {round}: the hub does not answer");
        ensure!(reaches(&rig.a, (GATEWAY, opened))?, "round {round}: {opened} does not answer");
        ensure!(!reaches(&rig.a, (GATEWAY, closed))?, "round {round}: {closed} still answers");
        talk.go_on("another config")?;
        let (more, through) = flood.end()?;
        (sent, arrived) = (sent + more, arrived + through);
    }
    ensure!(arrived == 0, "{arrived} of {sent} forbidden datagrams arrived");
    let denied = rise(&before, &daemon.counts(&rig.host)?);
    let policy = denied.get("policy").copied().unwrap_or_default();
    // The refused connections are counted as well.
    ensure!(policy.events >= sent, "{sent} sent, counted: {denied:?}");
    println!("{times} reloads, {sent} forbidden datagrams, 0 arrived");
    finish(rig, daemon, &residue)
}

/// F08: rules that make more entries than a policy may have. The network keeps the policy that it had.
#[test]
fn f08_a_policy_that_does_not_fit_changes_nothing_and_is_told() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (rig, daemon) = start(&Settings::default())?;
    let hub = (GATEWAY, HUB_PORT);
    let text = fs::read_to_string(daemon.config())?;
    let (head, tail) = text.split_once("[networks.guests]\n").context("no network")?;
    // Each of these networks has 30 ranges of ports, and an entry for each.
    let with = |nets: u16| -> String {
        let rules = (0..nets).map(|n| {
            let [high, low] = n.to_be_bytes();
            format!("[[policies.large.allow]]\nto = \"10.{high}.{low}.0/24\"\nport = \"1-65534\"\n")
        });
        let rules: String = rules.collect();
        format!("{head}{rules}[networks.guests]\npolicy = \"large\"\n{tail}")
    };
    let reload = |text: String| -> Result<(i32, String)> {
        fs::write(daemon.config(), text)?;
        daemon.verb(&rig.host, "reload", &[])
    };
    let (code, said) = reload(with(10_000))?;
    ensure!(code == 2 && said.contains("policy \"large\": its rules make more"), "{code}: {said}");
    ensure!(said.len() < 2000, "{} bytes of explanation: {said}", said.len());
    ensure!(reaches(&rig.a, hub)?, "the hub does not answer any more");
    ensure!(!reaches(&rig.a, (GATEWAY, 22))?, "another port answers");
    let (code, said) = reload(text.clone())?;
    ensure!(code == 0, "{code}: {said}");
    ensure!(reaches(&rig.a, hub)? && !reaches(&rig.a, (GATEWAY, 22))?, "not as before");
    finish(rig, daemon, &residue)
}
