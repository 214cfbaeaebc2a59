//! What an engine was told of netfilter and docker-proxy: one that was told otherwise, and one that was told what doctor
//! prints.

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::harness::{artifacts, dockerd::Options, residue::Snapshot, topology::Base};
use serde_json::Value;

use super::check;

/// Checks, and words of what they print.
const SETTINGS: [(&str, &str); 3] = [
    ("docker_iptables", "--iptables=false from dockerd's arguments"),
    ("docker_ip6tables", "\"ip6tables\": true"),
    ("docker_userland_proxy", "\"userland-proxy\": false"),
];

/// What doctor says beside an engine with these options; a guest network has IPv6, and a rule is about who comes in.
fn beside(options: Options) -> Result<Value> {
    let base = Base::start(options)?;
    let dir = base.run.make_dir("doctor")?;
    let config = dir.join("enforcer.toml");
    let text = format!(
        "[docker]\nsocket = '{}'\n[daemon]\nrun_dir = '{}'\n[networks.lone]\nbridge = 'br-lone'\ncreate = false\n\
         subnet = '172.30.9.0/24'\nsubnet6 = 'fd00:9::/64'\npolicy = 'visited'\n\
         [[policies.visited.allow]]\nfrom = '192.0.2.0/24'\nport = 8888\n",
        base.docker_socket().display(),
        dir.display()
    );
    std::fs::write(&config, text)?;
    let mut command = base.host.command(artifacts::enforcer().context("no binary")?);
    let output = command.args(["doctor", "--json", "--config"]).arg(&config).output()?;
    let answer: Value =
        serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))?;
    ensure!(check(&answer, "config")?["grade"] == "ok", "{answer:#}");
    Ok(answer)
}

#[test]
fn n4_doctor_tells_what_docker_was_told_otherwise_and_docker_told_as_it_prints_is_well()
-> Result<()> {
    if !crate::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let spoilt = Options { iptables: false, ip6tables: Some(false), ..Options::default() };
    let mended = Options { ip6tables: Some(true), userland_proxy: false, ..Options::default() };
    let answer = beside(spoilt)?;
    for (name, mend) in SETTINGS {
        let found = check(&answer, name)?;
        let printed = found["mend"].as_str().unwrap_or_default();
        ensure!(found["grade"] == "warn" && printed.contains(mend), "{found}");
    }
    let answer = beside(mended)?;
    for (name, _) in SETTINGS {
        let found = check(&answer, name)?;
        ensure!(found["grade"] == "ok", "what was printed does not mend it: {found}");
    }
    residue.ensure_nothing_new()
}
