//! The proof that the proofs can fail: with programs that pass everything, the demonstration must.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

/// `ENFORCER_PASSING_OBJECT` names the eBPF object built with the feature `pass`, which a development
/// build of the daemon loads in place of its own.
#[test]
fn demo_fails_when_programs_pass_everything() -> Result<()> {
    let Some(object) = std::env::var_os("ENFORCER_PASSING_OBJECT") else {
        ensure!(std::env::var_os("CI").is_none(), "CI must name ENFORCER_PASSING_OBJECT");
        eprintln!("skipped: ENFORCER_PASSING_OBJECT names no object with programs that pass");
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
