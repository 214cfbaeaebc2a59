//! `build`: the release binary; its build script builds and embeds the eBPF object.

use anyhow::Result;

use crate::workspace::{Workspace, succeed};

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
