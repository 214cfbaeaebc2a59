//! `build`: the release binary; its build script builds and embeds the eBPF object.

use std::{fs, path::PathBuf};

use anyhow::Result;

use crate::workspace::{Workspace, succeed};

/// Every package but the eBPF programs. All of them, whatever is wanted of them: the features of a dependency are
/// those that any selected package asks for, and where they differ it is compiled again, with all above it.
pub(crate) const HOST: [&str; 3] = ["--workspace", "--exclude", "enforcer-ebpf"];

#[derive(clap::Args)]
// Other verbs take these as well, and have a group of this name of their own.
#[group(skip)]
pub(crate) struct Arguments {
    /// Let the eBPF programs log, for development
    #[arg(long)]
    bpf_log: bool,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let mut cargo = workspace.cargo(["build", "--release", "--package", "enforcer"]);
    if arguments.bpf_log {
        cargo.args(["--features", "bpf-log"]);
    }
    succeed(&mut cargo)?;
    println!("{}", workspace.target.join("release/enforcer").display());
    Ok(())
}

/// The daemon of another release: its maps have another layout.
pub(crate) fn other_release(workspace: &Workspace) -> Result<PathBuf> {
    let mut cargo = workspace.cargo(["build", "--bin", "enforcer"]);
    succeed(cargo.args(HOST).args(["--features", "enforcer/other-layout"]))?;
    let other = workspace.target.join("debug/enforcer-other-layout");
    // The next build puts its own there.
    fs::copy(workspace.target.join("debug/enforcer"), &other)?;
    Ok(other)
}
