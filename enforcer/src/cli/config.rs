//! `enforcer config`: a first config file, whether one is valid, and what is in force with it.

mod init;
mod show;

use clap::{Args, Subcommand};

use super::{CheckArgs, Exit, check};

/// Arguments of `config`.
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    verb: ConfigVerb,
}

#[derive(Debug, Subcommand)]
enum ConfigVerb {
    /// Write a first config file: asks a few questions, or takes flags.
    Init(init::InitArgs),
    /// The same as `enforcer check`: say what a config file would police, or what is wrong with it.
    Check(CheckArgs),
    /// Show every value that is in force with a config file, and where it comes from.
    Show(show::ShowArgs),
}

/// Does what is asked.
pub(super) async fn config(args: ConfigArgs) -> anyhow::Result<Exit> {
    match args.verb {
        ConfigVerb::Init(args) => init::init(args).await,
        ConfigVerb::Check(args) => check::check(&args),
        ConfigVerb::Show(args) => show::show(&args),
    }
}
