//! Developer verbs of enforcer, one module each. `./x VERB` installs what a verb needs, then calls
//! it here; with everything installed, `cargo xtask VERB` does the same.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod build;
mod demo;
mod package;
mod run;
mod test;
#[path = "../../enforcer/build/toolchain.rs"]
mod toolchain;
mod verifier;
mod vm;
mod workspace;

#[derive(Parser)]
#[command(name = "x", about = "Developer verbs of enforcer")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Measure
    Bench(bench::Arguments),
    /// Build the eBPF programs and the `enforcer` binary that embeds them
    Build(build::Arguments),
    /// Show guests kept apart: a throw-away host, attacked before and after (root)
    Demo(demo::Arguments),
    /// Make a Debian package and a tarball
    Package(package::Arguments),
    /// Build, then run the daemon in the foreground with the example config (root)
    Run(run::Arguments),
    /// Every test, in the order of CI (root)
    Test(test::Arguments),
    /// Compare what the kernel's verifier walks with a committed table (root)
    Verifier(verifier::Arguments),
    /// Run a test binary under Debian's kernels in virtual machines
    Vm(vm::Arguments),
}

fn main() -> ExitCode {
    match verb() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("x: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn verb() -> anyhow::Result<()> {
    let workspace = workspace::Workspace::find()?;
    match Arguments::parse().verb {
        Verb::Bench(arguments) => bench::run(&workspace, &arguments),
        Verb::Build(arguments) => build::run(&workspace, &arguments),
        Verb::Demo(arguments) => demo::run(&workspace, &arguments),
        Verb::Package(arguments) => package::run(&workspace, &arguments),
        Verb::Run(arguments) => run::run(&workspace, &arguments),
        Verb::Test(arguments) => test::run(&workspace, &arguments),
        Verb::Verifier(arguments) => verifier::run(&workspace, &arguments),
        Verb::Vm(arguments) => vm::run(&workspace, &arguments),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_verbs_are_consistent() {
        super::Arguments::command().debug_assert();
    }
}
