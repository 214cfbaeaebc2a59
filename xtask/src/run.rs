//! `run`: the daemon in the foreground, on this machine's own engine.

use std::path::PathBuf;

use anyhow::Result;

use crate::{
    build,
    workspace::{Workspace, become_command, is_root, succeed},
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The config file
    #[arg(long, default_value = "examples/enforcer.toml")]
    config: PathBuf,
    #[command(flatten)]
    build: build::Arguments,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    build::run(workspace, &arguments.build)?;
    let daemon = workspace.target.join("release/enforcer");
    let mut command = if is_root()? {
        workspace.command(daemon)
    } else {
        println!("The daemon loads eBPF programs, so it needs root: asking sudo.");
        succeed(workspace.command("sudo").arg("--validate"))?;
        let mut sudo = workspace.command("sudo");
        sudo.arg(daemon);
        sudo
    };
    become_command(command.args(["run", "--config"]).arg(&arguments.config))
}
