//! Programs, one after the other.

use std::{
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result};

use crate::protocol::Ran;

/// Runs a program to its end, so many times.
pub(super) fn run(program: &[String], times: u64) -> Result<Ran> {
    let (path, arguments) = program.split_first().context("no program")?;
    let since = Instant::now();
    let mut ran = Ran::default();
    for _ in 0..times {
        let mut command = Command::new(path);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Spawning fails where the program cannot begin.
        let mut child = command.spawn().with_context(|| format!("run {path}"))?;
        ran.began += 1;
        ran.pid = child.id();
        child.wait()?;
    }
    ran.took_ms = u64::try_from(since.elapsed().as_millis())?;
    Ok(ran)
}
