//! `enforcer`: arguments, logging and the exit code.

use std::{io::IsTerminal as _, process::ExitCode};

use clap::Parser as _;
use enforcer::{
    audit::record::shown_lines,
    cli::{Cli, Exit, dispatch},
};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .with_env_var("ENFORCER_LOG")
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let exit = dispatch(cli).await.unwrap_or_else(|error| {
        // It may quote what others wrote.
        eprintln!("enforcer: {}", shown_lines(&format!("{error:#}")));
        Exit::Error
    });
    ExitCode::from(exit as u8)
}
