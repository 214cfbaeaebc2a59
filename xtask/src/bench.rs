//! `bench`: what things cost, measured by programs of the tests crate.

use anyhow::Result;

use crate::workspace::{Workspace, become_command, require_root};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Each path of each eBPF program, as a multiple of an empty program (root)
    Packet(Packet),
}

#[derive(clap::Args)]
struct Packet {
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Fewer and shorter rounds: a look, not a figure to quote
    #[arg(long)]
    quick: bool,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let What::Packet(packet) = &arguments.what;
    require_root("bench packet", "loads eBPF programs in a network namespace of its own")?;
    let mut cargo = workspace.cargo(["run", "--quiet", "--package", "enforcer-tests"]);
    cargo.args(["--bin", "bench_packet", "--"]);
    cargo.args(packet.json.then_some("--json")).args(packet.quick.then_some("--quick"));
    become_command(&mut cargo)
}
