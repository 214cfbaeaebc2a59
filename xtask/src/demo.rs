//! `demo`: hands over to the demo of the tests crate.

use anyhow::Result;

use crate::workspace::{Workspace, become_command, require_root, succeed};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Passed on to the demo
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    require_root("demo", "makes network namespaces of its own and loads eBPF programs")?;
    succeed(&mut workspace.cargo(["build", "--package", "enforcer"]))?;
    let mut cargo = workspace.cargo(["run"]);
    cargo.args(["--package", "enforcer-tests", "--bin", "demo", "--"]).args(&arguments.rest);
    become_command(&mut cargo)
}
