//! The actor: runs in a guest or in a namespace and does what the harness asks over a unix socket.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("beacon", rest)) =
        arguments.split_first().map(|(verb, rest)| (verb.as_str(), rest))
    {
        return enforcer_tests::actor::beacon::run(rest);
    }
    let socket: PathBuf = std::env::args_os().nth(1).context("usage: actor SOCKET")?.into();
    enforcer_tests::actor::serve(&socket)
}
