//! `bench`: what things cost, measured by programs of the tests crate.

use std::{fs, path::PathBuf};

use anyhow::Result;

use crate::{
    toolchain::Toolchain,
    workspace::{Workspace, become_command, require_root, succeed},
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// The audit pipeline, stage by stage and as a whole under a flood (root)
    Audit(Audit),
    /// Traffic and floods beside no firewall, the classic recipe and empty programs (root)
    Net(Net),
    /// What the gate adds to a request, beside `HAProxy` and a direct call (root, dockerd, haproxy)
    Gate(Options),
    /// Each path of each eBPF program, as a multiple of an empty program (root)
    Packet(Options),
    /// Whether a packet costs more with many rules, endpoints and flows; fails if so (root)
    Policy(Options),
    /// Packets, starts, reloads and memory with up to 1,000 guests, 10,000 rules, 1,000,000 flows (root)
    Scale(Options),
    /// Whether a shorter way than the bridge beats no firewall: an experiment, without the daemon (root)
    Shortcut(Options),
}

#[derive(clap::Args)]
struct Options {
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Fewer and shorter rounds: a look, not a figure to quote
    #[arg(long)]
    quick: bool,
}

#[derive(clap::Args)]
struct Audit {
    #[command(flatten)]
    options: Options,
    /// Only the stages, on one thread: no daemon, no dockerd, no root
    #[arg(long)]
    stages: bool,
}

#[derive(clap::Args)]
struct Net {
    #[command(flatten)]
    options: Options,
    /// Write a picture of each metric there
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
}

impl Options {
    fn flags(&self) -> impl Iterator<Item = &'static str> {
        let json = self.json.then_some("--json");
        json.into_iter().chain(self.quick.then_some("--quick"))
    }
}

/// Daemons that are measured: what their eBPF programs are built with, and where their path goes.
const DAEMONS: [(Option<&str>, &str); 3] = [
    (None, "ENFORCER_BIN"),
    (Some("every-record"), "ENFORCER_EVERY_RECORD_BIN"),
    (Some("no-records"), "ENFORCER_NO_RECORDS_BIN"),
];

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    match &arguments.what {
        What::Audit(audit) => run_audit(workspace, audit),
        What::Net(net) => run_net(workspace, net),
        What::Gate(options) => run_gate(workspace, options),
        What::Packet(options) => run_programs(workspace, ("bench packet", "bench_packet"), options),
        What::Policy(options) => run_programs(workspace, ("bench policy", "bench_policy"), options),
        What::Scale(options) => run_scale(workspace, options),
        What::Shortcut(options) => {
            run_programs(workspace, ("bench shortcut", "bench_shortcut"), options)
        }
    }
}

/// A bench of the eBPF programs alone, which are optimised whatever the profile.
fn run_programs(workspace: &Workspace, (verb, bin): (&str, &str), options: &Options) -> Result<()> {
    require_root(verb, "loads eBPF programs in a network namespace of its own")?;
    let mut cargo = workspace.cargo(["run", "--quiet", "--package", "enforcer-tests"]);
    become_command(cargo.args(["--bin", bin, "--"]).args(options.flags()))
}

fn run_audit(workspace: &Workspace, audit: &Audit) -> Result<()> {
    // What ships is measured, so with optimisation.
    let mut cargo = workspace.cargo(["run", "--quiet", "--release", "--package", "enforcer-tests"]);
    cargo.args(["--bin", "bench_audit", "--"]).args(audit.options.flags());
    if audit.stages {
        return become_command(cargo.arg("--stages"));
    }
    require_root("bench audit", "starts a dockerd and the daemon in namespaces of their own")?;
    // The shipped one is built last: the others stand in its place meanwhile.
    for (feature, variable) in DAEMONS.into_iter().rev() {
        cargo.env(variable, daemon(workspace, feature)?);
    }
    become_command(&mut cargo)
}

fn run_net(workspace: &Workspace, net: &Net) -> Result<()> {
    require_root("bench net", "starts dockerds and the daemon in namespaces of their own")?;
    let mut cargo = workspace.cargo(["run", "--quiet", "--release", "--package", "enforcer-tests"]);
    cargo.args(["--bin", "bench_net", "--"]).args(net.options.flags());
    if let Some(dir) = &net.plots {
        cargo.arg("--plots").arg(dir);
    }
    become_command(cargo.env("ENFORCER_BIN", daemon(workspace, None)?))
}

fn run_scale(workspace: &Workspace, options: &Options) -> Result<()> {
    require_root("bench scale", "starts the daemon in namespaces of its own")?;
    // What ships is measured, so with optimisation.
    let daemon = daemon(workspace, None)?;
    let mut cargo = workspace.cargo(["run", "--quiet", "--release", "--package", "enforcer-tests"]);
    cargo.args(["--bin", "bench_scale", "--"]).args(options.flags());
    become_command(cargo.env("ENFORCER_BIN", daemon))
}

fn run_gate(workspace: &Workspace, options: &Options) -> Result<()> {
    require_root("bench gate", "starts a dockerd and the daemon in namespaces of their own")?;
    // What ships is measured, so with optimisation.
    let daemon = daemon(workspace, None)?;
    let mut cargo = workspace.cargo(["run", "--quiet", "--release", "--package", "enforcer-tests"]);
    cargo.args(["--bin", "bench_gate", "--"]).args(options.flags());
    become_command(cargo.env("ENFORCER_BIN", daemon))
}

/// Builds a release daemon around programs with this feature.
fn daemon(workspace: &Workspace, feature: Option<&str>) -> Result<PathBuf> {
    let mut build = workspace.cargo(["build", "--quiet", "--release", "--package", "enforcer"]);
    let binary = workspace.target.join("release/enforcer");
    let Some(feature) = feature else {
        succeed(&mut build)?;
        return Ok(binary);
    };
    let target = workspace.target.join(feature);
    let toolchain = Toolchain::find(&workspace.target).map_err(anyhow::Error::msg)?;
    let mut programs = toolchain.cargo("build", &target);
    succeed(programs.current_dir(&workspace.root).args(["--features", feature]))?;
    succeed(build.env("ENFORCER_BPF_OBJECT", toolchain.object(&target)))?;
    let kept = workspace.target.join(format!("release/enforcer-{feature}"));
    fs::copy(binary, &kept)?;
    Ok(kept)
}
