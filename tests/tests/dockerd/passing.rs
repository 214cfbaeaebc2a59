//! The proof that the proofs can fail: with programs that pass everything, the demonstration must.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

/// `ENFORCER_PASSING_BIN` names a daemon that was built with an object whose programs pass.
#[test]
fn demo_fails_when_programs_pass_everything() -> Result<()> {
    let Some(daemon) = std::env::var_os("ENFORCER_PASSING_BIN") else {
        eprintln!("skipped: ENFORCER_PASSING_BIN names no daemon with programs that pass");
        return Ok(());
    };
    if !super::can_run() {
        return Ok(());
    }
    let output = Command::new(env!("CARGO_BIN_EXE_demo"))
        .env("ENFORCER_BIN", daemon)
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(!output.status.success(), "the demo succeeded with programs that pass:\n{text}");
    ensure!(text.contains("PASSES"), "it failed, but saw nothing pass:\n{text}");
    Ok(())
}
