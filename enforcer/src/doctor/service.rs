//! Config, daemon and units.

use super::{
    Finding,
    facts::{Facts, ProcessFacts},
    mend_config,
};
use crate::model::status::HealthState;

/// A descriptor for each link and map, and a few for each guest.
const FEW_FILES: u64 = 4096;

pub(super) fn examine(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![config(facts), daemon(facts)];
    findings.extend(facts.daemon.report.as_ref().ok().map(|report| closed(&report.closure)));
    findings.extend(facts.daemon.process.iter().flat_map(process));
    findings.push(units(facts));
    findings
}

fn config(facts: &Facts) -> Finding {
    const CHECK: &str = "config";
    let file = facts.config_file.display();
    match &facts.config {
        Ok(wanted) => Finding::ok(CHECK, format!("{file} is valid: {}", wanted.bridges.join(", "))),
        Err(why) => Finding::fail(CHECK, why.clone())
            .so("enforcer does not start with it; a daemon that runs keeps the one it has")
            .mend(mend_config(facts)),
    }
}

/// Has the units do something. Without a config what closes fails at each boot, and Docker does not start after it.
fn by_units(facts: &Facts, command: &str) -> String {
    let first = if facts.config.is_ok() { "" } else { "first mend the config; then " };
    format!("{first}{command}")
}

fn daemon(facts: &Facts) -> Finding {
    const CHECK: &str = "daemon";
    const START: &str = "systemctl enable --now enforcer-closed.service enforcer.service";
    let report = match &facts.daemon.report {
        Ok(report) => report,
        Err(why) => {
            return Finding::fail(CHECK, why.clone())
                .so("guests that it policed stay policed, others have no network, and nothing is recorded")
                .mend(by_units(facts, START));
        }
    };
    let reasons = report.health.reasons.join("; ");
    match report.health.state {
        HealthState::Enforcing => {
            Finding::ok(CHECK, format!("enforcing, as measured now; version {}", report.version))
        }
        HealthState::Degraded => Finding::warn(CHECK, format!("degraded: {reasons}"))
            .so("policy holds, but something is missing")
            .mend("enforcer status; journalctl -u enforcer"),
        HealthState::NotEnforcing => Finding::fail(CHECK, format!("not enforcing: {reasons}"))
            .so("a guest could do what policy forbids, or nobody knows")
            .mend("enforcer status; journalctl -u enforcer; systemctl restart enforcer"),
    }
}

fn closed(closure: &crate::model::status::ClosureStatus) -> Finding {
    const CHECK: &str = "closed";
    match (closure.wanted, closure.closed) {
        (true, true) => Finding::ok(CHECK, "guest bridges are closed where no program sits"),
        (false, _) => Finding::warn(CHECK, "guest bridges are open where no program sits")
            .so("the config says so")
            .mend("set closed_by = \"nft\" under [daemon] and systemctl restart enforcer"),
        (true, false) => Finding::fail(CHECK, "guest bridges are OPEN where no program sits")
            .so("a port that is not policed yet reaches others and this host")
            .mend("enforcer close; nft list table bridge enforcer"),
    }
}

fn process(process: &ProcessFacts) -> Vec<Finding> {
    vec![open_files(process.open_files), watchdog(process)]
}

fn open_files(most: Option<u64>) -> Finding {
    const CHECK: &str = "open_files";
    const MORE: &str =
        "set LimitNOFILE=65536 (systemctl edit enforcer) and systemctl restart enforcer";
    match most {
        Some(most) if most >= FEW_FILES => {
            Finding::ok(CHECK, format!("the daemon may have {most} open"))
        }
        Some(most) => Finding::warn(CHECK, format!("the daemon may have {most} open"))
            .so("each hook of each guest takes one: further guests get no network")
            .mend(MORE),
        None => {
            Finding::warn(CHECK, "the daemon's limit cannot be read").mend("sudo enforcer doctor")
        }
    }
}

fn watchdog(process: &ProcessFacts) -> Finding {
    const CHECK: &str = "watchdog";
    match (process.has_manager, process.has_watchdog) {
        (true, true) => Finding::ok(CHECK, "systemd ends a frozen daemon and starts another"),
        (true, false) => Finding::warn(CHECK, "the unit has no watchdog")
            .so("a frozen daemon changes no verdict, but sees no new container until somebody restarts it")
            .mend("set WatchdogSec=30 (systemctl edit enforcer) and systemctl restart enforcer"),
        (false, _) => Finding::warn(CHECK, "the daemon was not started by systemd")
            .so("nobody starts it again when it ends or freezes")
            .mend("systemctl enable --now enforcer.service"),
    }
}

fn units(facts: &Facts) -> Finding {
    const CHECK: &str = "boot";
    let Some(units) = facts.units else {
        return Finding::warn(CHECK, "systemd does not run here")
            .so("nothing is known to close guest networks at boot before Docker starts containers")
            .mend(
                "have your own init run enforcer close before dockerd, and enforcer run beside it",
            );
    };
    let missing = [
        (units.closed_enabled, "enforcer-closed.service"),
        (units.daemon_enabled, "enforcer.service"),
    ];
    let missing: Vec<&str> =
        missing.iter().filter(|(there, _)| !there).map(|(_, unit)| *unit).collect();
    if !missing.is_empty() {
        return Finding::warn(CHECK, format!("not enabled: {}", missing.join(", ")))
            .so("after a boot guests are not policed, or not closed until they are")
            .mend(by_units(facts, &format!("systemctl enable {}", missing.join(" "))));
    }
    if !units.docker_waits {
        return Finding::warn(CHECK, "Docker does not wait for enforcer")
            .so("at boot its containers may start before guest networks are closed")
            .mend("systemctl reenable enforcer-closed.service enforcer.service");
    }
    Finding::ok(CHECK, "guest networks are closed first, then policed, then Docker starts")
}
