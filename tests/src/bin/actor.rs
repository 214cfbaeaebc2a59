//! The actor: runs in a guest or in a namespace and does what the harness asks over a unix socket.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

fn main() -> Result<()> {
    let socket: PathBuf = std::env::args_os().nth(1).context("usage: actor SOCKET")?.into();
    enforcer_tests::actor::serve(&socket)
}
