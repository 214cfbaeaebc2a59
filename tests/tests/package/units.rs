//! The units as systemd's own tools see them: each loads, may do little, and each capability has its reason.

use std::{collections::BTreeSet, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::host::Host;

/// Units, and the most that `systemd-analyze security` of systemd 252 may count against them, in tenths; `docs/systemd.md`
/// has the same numbers.
const EXPOSED: [(&str, u32); 2] = [("enforcer.service", 33), ("enforcer-closed.service", 20)];

/// The units that a package has put on a host are understood by its systemd, without a complaint.
pub(crate) fn verify(host: &Host) -> Result<()> {
    const TOOL: &str = "usr/bin/systemd-analyze";
    if !host.path(TOOL).exists() {
        eprintln!("skipped: no {TOOL}");
        return Ok(());
    }
    for (unit, _) in EXPOSED {
        let unit = format!("/usr/lib/systemd/system/{unit}");
        let said = host.run(&["systemd-analyze", "--man=no", "verify", &unit])?;
        ensure!(!said.contains("enforcer"), "{said}");
    }
    Ok(())
}

fn source(unit: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd").join(unit)
}

#[test]
fn n7_units_are_no_more_exposed_than_recorded() -> Result<()> {
    let recorded = std::fs::read_to_string(
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/systemd.md"),
    )?;
    for (unit, most) in EXPOSED {
        let row = format!("| `{unit}` | {}.{} |", most / 10, most % 10);
        ensure!(recorded.contains(&row), "docs/systemd.md has no row {row}");
        let mut analyze = Command::new("systemd-analyze");
        analyze.args(["security", "--offline=yes", "--no-pager"]).arg(source(unit));
        // The level is in the last line, also where it is not to the tool's liking.
        let output = match analyze.output() {
            Ok(output) => output,
            Err(error) => {
                eprintln!("skipped: systemd-analyze: {error}");
                return Ok(());
            }
        };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let level = said.rsplit_once(&format!("{unit}: ")).context(said.clone())?.1;
        let level: f64 = level.split(' ').next().unwrap_or_default().parse()?;
        ensure!(level * 10.0 <= f64::from(most) + 0.5, "{unit}: {level}\n{said}");
    }
    Ok(())
}

#[test]
fn each_capability_of_the_daemon_has_its_reason_in_the_unit() -> Result<()> {
    let text = std::fs::read_to_string(source("enforcer.service"))?;
    let bounded = text.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let bounded: BTreeSet<&str> = bounded.context("it is not bounded")?.split(' ').collect();
    let reasons = text.lines().filter_map(|line| line.strip_prefix("#   ")?.split_once("  "));
    let explained: BTreeSet<&str> =
        reasons.filter(|(_, why)| !why.trim().is_empty()).map(|(name, _)| name).collect();
    ensure!(bounded == explained, "{bounded:?} is not {explained:?}");
    Ok(())
}
