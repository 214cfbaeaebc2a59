//! The actor: runs in a guest or in a namespace and does what the harness asks over a unix socket.

use std::path::PathBuf;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [verb, name, home] = &arguments[..]
        && verb == "beacon"
    {
        return enforcer_actor::beacon::run(name, home.parse()?);
    }
    if let [verb, path] = &arguments[..]
        && verb == "speak"
    {
        return enforcer_actor::speak::run(path.as_ref());
    }
    if let Some((verb, rest)) = arguments.split_first()
        && verb == "volley"
    {
        return enforcer_actor::volley::run(rest);
    }
    if let Some((verb, rest)) = arguments.split_first()
        && verb == "load"
    {
        return enforcer_actor::load::run(rest);
    }
    if let Some((verb, rest)) = arguments.split_first()
        && verb == "ask"
    {
        return enforcer_actor::ask::run(rest);
    }
    let [socket] = &arguments[..] else {
        bail!("usage: actor SOCKET | beacon NAME ADDRESS:PORT | speak SOCKET")
    };
    let socket = PathBuf::from(socket);
    enforcer_actor::serve(&socket)
}
