//! A first installation: conntrack knows what was live before, and only some of it goes on.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use enforcer::{
    control::live,
    kernel::{monotonic_ns, observe},
    netlink::{self, conntrack},
};
use enforcer_common::abi::verdict::DropReason;
use tokio::runtime::Runtime;

use super::{
    daemon::Daemon,
    guest,
    world::{GATEWAY, NOTEBOOK_PORT, World},
};
use crate::{
    harness::client::Actor,
    hex,
    protocol::{Id, Received, Request, Sent, Serve},
};

/// A service of the host that guests reach as long as nobody stops them.
const ECHO_PORT: u16 = 9022;
/// Long enough for an answer in the same machine.
const ANSWERED_MS: u64 = 1_500;
/// Long enough for what was dropped meanwhile to be sent again.
const AGAIN_MS: u64 = 20_000;

/// Connections of both directions, before and after installation, without and with the import.
pub fn live_flows() -> Result<()> {
    guest::leave_namespace().context("a network namespace for the host")?;
    guest::own_mounts().context("a mount namespace for the host")?;
    guest::mount_bpffs()?;
    let runtime = Runtime::new()?;
    let _inside = runtime.enter();
    if !track()? {
        eprintln!("skipped: needs the tool nft");
        return Ok(());
    }
    let world = World::create(&runtime)?;
    world.host.listen((GATEWAY, ECHO_PORT), Serve::Echo)?;
    let (host, a) = (&world.host, &world.a.guest.actor);
    let inbound = open(host, (world.a.port.ipv4, NOTEBOOK_PORT))?;
    let outward = open(a, (GATEWAY, ECHO_PORT))?;
    ensure!(answers(host, inbound, "1", ANSWERED_MS)?, "the guest does not answer");
    ensure!(answers(a, outward, "2", ANSWERED_MS)?, "the host does not answer");

    let mut daemon = Daemon::start(&runtime, &world)?;
    let port = world.a.port.ifindex;
    let denied =
        |daemon: &Daemon| Ok::<_, anyhow::Error>(daemon.denials(port, DropReason::NoFlow)?.events);
    ensure!(!answers(host, inbound, "3", ANSWERED_MS)?, "nothing was imported, and yet it lives");
    ensure!(!answers(a, outward, "4", ANSWERED_MS)?, "the guest's own connection was not cut");
    let before = denied(&daemon)?;
    ensure!(before > 0, "the guest's segments were not denied for want of a flow");

    let imported = import(&runtime, &mut daemon)?;
    ensure!(imported == 1, "{imported} flows were imported");
    // What was sent meanwhile is sent again, and answered.
    ensure!(reads(host, inbound, "3", AGAIN_MS)?, "it does not go on");
    ensure!(answers(host, inbound, "5", ANSWERED_MS)?, "it does not go on any longer");
    ensure!(!reads(a, outward, "4", ANSWERED_MS)?, "the guest's own connection goes on");
    ensure!(!answers(a, outward, "6", ANSWERED_MS)?, "the guest's own connection goes on");
    ensure!(denied(&daemon)? > before, "the guest's segments were not denied");
    ensure!(import(&runtime, &mut daemon)? == 0, "what is known was imported again");
    daemon.stop();
    Ok(())
}

/// Has this namespace's conntrack work: one rule that asks for a state is enough.
fn track() -> Result<bool> {
    let commands = [
        "add table ip live",
        "add chain ip live input { type filter hook input priority 0; }",
        "add rule ip live input ct state established accept",
    ];
    for command in commands {
        let status = match Command::new("nft").arg(command).status() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            status => status?,
        };
        ensure!(status.success(), "nft {command}");
    }
    Ok(true)
}

fn import(runtime: &Runtime, daemon: &mut Daemon) -> Result<u64> {
    let handle = netlink::connect()?;
    let local = runtime.block_on(conntrack::local_addresses(&handle))?;
    let observed = observe::maps(&daemon.path.lock().maps)?;
    let flows = live::imports(&conntrack::dump()?, &observed, &local, monotonic_ns());
    let imported = daemon.importer.import(flows)?;
    ensure!(imported.refused() == 0, "{imported:?}");
    Ok(imported.taken())
}

fn open(actor: &Actor, to: (std::net::Ipv4Addr, u16)) -> Result<Id> {
    actor.hold(to, AGAIN_MS)?.id.context("it does not connect")
}

/// Whether an echo sends this text back in time.
fn answers(actor: &Actor, id: Id, text: &str, timeout_ms: u64) -> Result<bool> {
    let _taken: Sent = actor.call(&Request::Write { id, data: hex::encode(text.as_bytes()) })?;
    reads(actor, id, text, timeout_ms)
}

fn reads(actor: &Actor, id: Id, text: &str, timeout_ms: u64) -> Result<bool> {
    let received: Received = actor.call(&Request::Read { id, length: text.len(), timeout_ms })?;
    Ok(received.data == hex::encode(text.as_bytes()))
}
