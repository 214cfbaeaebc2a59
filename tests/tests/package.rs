//! The Debian package on a host of its own: this machine's files under a layer that is thrown away, with a network
//! namespace around it. `./x test --stage packages` makes the packages and names them in `ENFORCER_DEB` and, one revision
//! later, `ENFORCER_NEXT_DEB`. Needs root; without it or them it says so and passes.

#[path = "package/host.rs"]
mod host;
#[path = "package/units.rs"]
mod units;

use std::{env, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use host::Host;
use serde_json::Value;

/// A config that this release takes.
const CONFIG: &str =
    "[audit]\ndir = \"/var/lib/enforcer/audit\"\n\n[networks.guests]\nbridge = \"br-guests\"\n";
const CONFIG_FILE: &str = "etc/enforcer/enforcer.toml";
/// What the scripts ask systemd for, which a program that notes it answers in its place.
const STARTED: [&str; 4] = [
    "daemon-reload",
    "enable enforcer-closed.service enforcer.service",
    "reload-or-restart enforcer-closed.service",
    "start enforcer.service",
];
const WHO_REQUIRES: &str = "show --property=RequiredBy --value enforcer-closed.service";

/// Both packages, if whoever runs the tests has made them.
fn packages() -> Option<[PathBuf; 2]> {
    // SAFETY: takes nothing.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: needs root");
        return None;
    }
    let named = |name: &str| env::var_os(name).map(PathBuf::from);
    let both = named("ENFORCER_DEB").zip(named("ENFORCER_NEXT_DEB"));
    if both.is_none() {
        eprintln!("skipped: ENFORCER_DEB and ENFORCER_NEXT_DEB name no packages");
    }
    both.map(Into::into)
}

#[test]
fn f23_a_package_without_a_config_has_its_files_polices_nothing_and_says_how_to_begin() -> Result<()>
{
    let Some([deb, _]) = packages() else { return Ok(()) };
    host::with(move |host| {
        let said = host.install(&deb)?;
        ensure!(said.contains("systemctl enable --now enforcer-closed enforcer"), "{said}");
        for file in [
            "usr/bin/enforcer",
            "usr/lib/systemd/system/enforcer.service",
            "usr/lib/systemd/system/enforcer-closed.service",
            "usr/lib/tmpfiles.d/enforcer.conf",
            "usr/lib/sysusers.d/enforcer.conf",
            "usr/share/man/man1/enforcer.1.gz",
            "usr/share/man/man1/enforcer-audit-query.1.gz",
            "usr/share/man/man5/enforcer.toml.5.gz",
            "usr/share/bash-completion/completions/enforcer",
            "usr/share/zsh/vendor-completions/_enforcer",
            "usr/share/fish/vendor_completions.d/enforcer.fish",
            "usr/share/doc/enforcer/copyright",
            "usr/share/doc/enforcer/examples/enforcer.toml",
            "usr/share/doc/enforcer/docs/guide.md",
            "usr/share/doc/enforcer/docs/spawn.png",
            "usr/share/doc/enforcer/integrations/jupyterhub/jupyterhub_config.py",
            "usr/share/doc/enforcer/integrations/jupyterhub/requirements.txt",
            "usr/share/doc/enforcer/integrations/jupyterhub/image/offline.sh",
        ] {
            ensure!(host.path(file).is_file(), "{file} is missing");
        }
        let version = host.run(&["enforcer", "--version"])?;
        ensure!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
        host.run(&["enforcer", "check", "/usr/share/doc/enforcer/examples/enforcer.toml"])?;
        let log = host.run(&["stat", "-c", "%a %U:%G", "/var/log/enforcer"])?;
        ensure!(log.trim() == "750 root:adm", "{log}");
        units::verify(host)?;
        // Nobody can be policed, so nothing is there to be opened.
        host.run(&["dpkg", "--no-triggers", "--purge", "enforcer"])?;
        ensure!(!host.path("usr/bin/enforcer").exists() && !host.path("etc/enforcer").exists());
        Ok(())
    })
}

#[test]
fn f23_n7_an_upgrade_restarts_the_daemon_alone_and_removal_opens_nothing_until_purge_does()
-> Result<()> {
    let Some([deb, next]) = packages() else { return Ok(()) };
    host::with(move |host| {
        host.pretend_systemd()?;
        host.write(CONFIG_FILE, CONFIG)?;
        host.install(&deb)?;
        ensure!(host.asked()? == STARTED, "first: {:?}", host.asked()?);

        host.run(&["enforcer", "close"])?;
        host.forget_asked()?;
        host.install(&next)?;
        ensure!(
            host.asked()? == ["daemon-reload", "try-restart enforcer.service"],
            "upgrade: {:?}",
            host.asked()?
        );
        ensure!(is_closed(host), "the upgrade opened");

        host.forget_asked()?;
        let said = host.run(&["dpkg", "--no-triggers", "--remove", "enforcer"])?;
        let asked = host.asked()?;
        ensure!(
            asked
                == [
                    "disable enforcer-closed.service enforcer.service",
                    "stop enforcer.service",
                    WHO_REQUIRES,
                    "daemon-reload"
                ],
            "removal: {asked:?}"
        );
        ensure!(is_closed(host), "removal opened");
        ensure!(said.contains("guests stay policed") && said.contains("dpkg --purge"), "{said}");

        host.write("var/lib/enforcer/audit/000001.jsonl", "{}\n")?;
        host.write("var/lib/enforcer/elsewhere/host1/audit.pub", "key\n")?;
        host.write("var/lib/enforcer/groups.redb", "")?;
        host.forget_asked()?;
        let said = host.run(&["dpkg", "--no-triggers", "--purge", "enforcer"])?;
        ensure!(!is_closed(host), "purge opens: {said}");
        // Else it would say "active", and a later installation in the same boot would close nothing.
        let asked = host.asked()?;
        ensure!(asked == [WHO_REQUIRES, "stop enforcer-closed.service"], "purge: {asked:?}");
        ensure!(said.contains("records are kept in /var/lib/enforcer"), "{said}");
        let records = host.read("var/log/enforcer/records.jsonl")?;
        ensure!(records.contains("\"uninstall\""), "{records}");
        for kept in ["audit/000001.jsonl", "elsewhere/host1/audit.pub"] {
            ensure!(host.path("var/lib/enforcer").join(kept).is_file(), "{kept} is gone");
        }
        for gone in ["var/lib/enforcer/groups.redb", "var/lib/enforcer/uninstaller", "etc/enforcer"]
        {
            ensure!(!host.path(gone).exists(), "{gone} is still there");
        }
        Ok(())
    })
}

/// The program that opens guests is kept for purge before anything ends; where that fails the daemon is up.
#[test]
fn f23_a_removal_that_cannot_be_prepared_leaves_the_daemon_up() -> Result<()> {
    let Some([deb, _]) = packages() else { return Ok(()) };
    host::with(move |host| {
        host.pretend_systemd()?;
        host.write(CONFIG_FILE, CONFIG)?;
        host.install(&deb)?;
        host.forget_asked()?;
        // No directory can be made there.
        host.write("var/lib/enforcer", "")?;
        let removed = host.run(&["dpkg", "--no-triggers", "--remove", "enforcer"]);
        ensure!(removed.is_err(), "{removed:?}");
        let asked = host.asked()?;
        let again = ["enable enforcer-closed.service enforcer.service", "start enforcer.service"];
        ensure!(asked == again, "{asked:?}");
        ensure!(host.path("usr/bin/enforcer").is_file(), "it is removed");
        Ok(())
    })
}

#[test]
fn o2_n7_an_upgrade_that_refuses_the_config_leaves_the_daemon_that_runs() -> Result<()> {
    let Some([deb, next]) = packages() else { return Ok(()) };
    host::with(move |host| {
        host.pretend_systemd()?;
        host.write(CONFIG_FILE, CONFIG)?;
        host.install(&deb)?;
        host.forget_asked()?;
        host.write(CONFIG_FILE, "[networks.guests]\nno_such_key = 1\n")?;
        let said = host.install(&next)?;
        ensure!(host.asked()? == ["daemon-reload"], "{:?}", host.asked()?);
        ensure!(said.contains("refuses") && said.contains("no_such_key"), "{said}");
        Ok(())
    })
}

#[test]
fn f23_a_package_that_comes_back_after_removal_starts_again() -> Result<()> {
    let Some([deb, _]) = packages() else { return Ok(()) };
    host::with(move |host| {
        host.pretend_systemd()?;
        host.write(CONFIG_FILE, CONFIG)?;
        host.install(&deb)?;
        host.run(&["dpkg", "--no-triggers", "--remove", "enforcer"])?;
        let kept = host.path("var/lib/enforcer/uninstaller");
        ensure!(kept.is_file(), "nothing is kept for purge");
        host.forget_asked()?;
        host.install(&deb)?;
        ensure!(host.asked()? == STARTED, "{:?}", host.asked()?);
        ensure!(!kept.exists(), "it stays behind");
        Ok(())
    })
}

#[test]
fn f23_a_purge_does_not_stop_what_docker_still_requires_and_says_what_to_remove() -> Result<()> {
    let Some([deb, _]) = packages() else { return Ok(()) };
    host::with(move |host| {
        host.pretend_systemd()?;
        host.write(CONFIG_FILE, CONFIG)?;
        host.install(&deb)?;
        host.systemd_says("docker.service\n")?;
        host.forget_asked()?;
        let said = host.run(&["dpkg", "--no-triggers", "--purge", "enforcer"])?;
        let asked = host.asked()?;
        ensure!(asked.last().is_some_and(|last| last == WHO_REQUIRES), "{asked:?}");
        ensure!(said.contains("remove docker.service.d/enforcer.conf"), "{said}");
        Ok(())
    })
}

/// By systemd's own tool: it makes and removes the links of units wherever it is told to, also where it does not run.
#[test]
fn n7_what_doctor_prints_has_the_units_start_at_boot_and_docker_wait_for_them() -> Result<()> {
    const LINKS: &str = "etc/systemd/system";
    let Some([deb, _]) = packages() else { return Ok(()) };
    host::with(move |host| {
        host.install(&deb)?;
        if !host.path("usr/bin/systemctl").exists() {
            eprintln!("skipped: no systemctl");
            return Ok(());
        }
        std::fs::create_dir_all(host.path("run/systemd/system"))?;
        let all = ["enforcer-closed.service", "enforcer.service"];
        // Enabled without a config, they would keep Docker from starting.
        let found = boot(host)?;
        let first = "first mend the config; then systemctl enable";
        ensure!(found["mend"].as_str().is_some_and(|mend| mend.starts_with(first)), "{found}");
        host.write(CONFIG_FILE, CONFIG)?;
        mends_boot(host, "not enabled", &all)?;
        for unit in all {
            offline(host, &format!("systemctl disable {unit}"))?;
            mends_boot(host, "not enabled", &[unit])?;
        }
        for waits in ["docker.service.requires", "docker.service.wants"] {
            std::fs::remove_dir_all(host.path(LINKS).join(waits))?;
        }
        mends_boot(host, "does not wait", &all)
    })
}

/// Doctor finds that, names these units, and finds it well after what it has printed was done.
fn mends_boot(host: &Host, wrong: &str, units: &[&str]) -> Result<()> {
    let found = boot(host)?;
    let mend = found["mend"].as_str().unwrap_or_default();
    let says = found["found"].as_str().unwrap_or_default();
    ensure!(found["grade"] == "warn" && says.contains(wrong), "{found}");
    let named: Vec<&str> = mend.split(' ').filter(|word| word.ends_with(".service")).collect();
    ensure!(named == units, "{found}");
    offline(host, mend)?;
    let found = boot(host)?;
    ensure!(found["grade"] == "ok", "{mend} does not mend it: {found}");
    Ok(())
}

/// Runs a line where systemd is only its files.
fn offline(host: &Host, line: &str) -> Result<String> {
    host.run(&["env", "SYSTEMD_OFFLINE=1", "sh", "-c", line])
}

/// What doctor says of the units.
fn boot(host: &Host) -> Result<Value> {
    // It fails: there is no engine.
    let said = host.run(&["sh", "-c", "enforcer doctor --json 2> /dev/null || [ $? = 3 ]"])?;
    let answer: Value = serde_json::from_str(&said).with_context(|| said.clone())?;
    let checks = answer["checks"].as_array().context("no checks")?;
    let found = checks.iter().find(|check| check["check"] == "boot").cloned();
    found.with_context(|| format!("no boot in {answer}"))
}

/// Whether the table that closes guest bridges is in the kernel.
fn is_closed(host: &Host) -> bool {
    host.run(&["nft", "list", "table", "bridge", "enforcer"]).is_ok()
}
