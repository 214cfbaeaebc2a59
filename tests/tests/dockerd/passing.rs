//! The proof that the proofs can fail: with programs that pass everything, the demonstration must.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Result, ensure};
use enforcer_tests::harness::{enforcer::Settings, residue::Snapshot};

use crate::flood::{finish, start};

/// `ENFORCER_PASSING_OBJECT` names the eBPF object built with the feature `pass`, which a development
/// build of the daemon loads in place of its own.
fn object() -> Option<PathBuf> {
    let object = std::env::var_os("ENFORCER_PASSING_OBJECT");
    if object.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI must name ENFORCER_PASSING_OBJECT");
        eprintln!("skipped: ENFORCER_PASSING_OBJECT names no object with programs that pass");
    }
    object.map(PathBuf::from)
}

#[test]
fn demo_fails_when_programs_pass_everything() -> Result<()> {
    let Some(object) = object() else {
        return Ok(());
    };
    if !super::can_run() {
        return Ok(());
    }
    let output = Command::new(env!("CARGO_BIN_EXE_demo"))
        .env("ENFORCER_TEST_OBJECT", object)
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(!output.status.success(), "the demo succeeded with programs that pass:\n{text}");
    ensure!(text.contains("PASSES"), "it failed, but saw nothing pass:\n{text}");
    Ok(())
}

/// O1, F24: programs that sit where they should and let a forbidden frame pass make status red.
#[test]
fn f24_o1_status_is_red_when_the_probe_passes() -> Result<()> {
    let Some(object) = object() else {
        return Ok(());
    };
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let settings = Settings { object: Some(object), ..Settings::default() };
    let (rig, daemon) = start(&settings)?;
    let (code, text) = daemon.verb(&rig.host, "status", &[])?;
    ensure!(code == 5, "{code}: {text}");
    for program in ["from_guest", "to_guest", "from_bridge", "to_bridge"] {
        ensure!(text.contains(&format!("{program} (program ")), "{program} passed: {text}");
    }
    ensure!(text.contains("let a forbidden frame pass"), "{text}");
    finish(rig, daemon, &residue)
}
