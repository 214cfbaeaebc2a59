//! What a cell in a notebook tries to reach, and what it was told.

use anyhow::{Context as _, Result, ensure};

const CELL: &str = include_str!("reach.py");
/// What a refusal is told by.
const REFUSED: [&str; 5] = ["ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "EACCES", "EPERM"];

/// An address and a port.
pub type Target = (String, u16);

/// A cell that tries each of them.
pub fn cell(targets: &[Target]) -> String {
    let tuples: Vec<String> =
        targets.iter().map(|(at, port)| format!("({at:?}, {port}),")).collect();
    format!("TARGETS = [{}]\n{CELL}", tuples.concat())
}

/// Holds what it printed against this: every one but the last was refused, at once, and the last is open.
pub fn ensure_only_last_open(printed: &str, targets: &[Target]) -> Result<()> {
    let lines: Vec<&str> = printed.lines().collect();
    ensure!(lines.len() == targets.len(), "{printed}");
    let (open, closed) = targets.split_last().context("nothing was tried")?;
    for (line, (at, port)) in lines.iter().zip(closed) {
        let told = REFUSED.iter().any(|errno| *line == format!("{at} {port} {errno} True"));
        ensure!(told, "{at}:{port} is not refused at once: {printed}");
    }
    let (at, port) = open;
    ensure!(lines.last() == Some(&format!("{at} {port} open True").as_str()), "{printed}");
    Ok(())
}
