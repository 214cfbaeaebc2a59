//! The actor's side of the protocol: a thread for each connection, a registry of what is open.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::Arc,
    thread,
};

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::Value;

use crate::{
    capture, datagram, hex, interface, packet,
    protocol::{Answer, Request},
    registry::Registry,
    run, stream, unix,
};

/// Serves until the process is killed.
pub fn serve(socket: &Path) -> Result<()> {
    // Bound under another name first: who sees the socket can connect to it.
    let early = socket.with_extension("early");
    let listener =
        UnixListener::bind(&early).with_context(|| format!("bind {}", early.display()))?;
    std::fs::rename(&early, socket).context("name the socket")?;
    let registry = Arc::new(Registry::default());
    for client in listener.incoming() {
        let client = client.context("accept")?;
        let registry = Arc::clone(&registry);
        thread::spawn(move || {
            if let Err(error) = answer_client(client, &registry) {
                eprintln!("actor: {error:#}");
            }
        });
    }
    Ok(())
}

fn answer_client(client: UnixStream, registry: &Arc<Registry>) -> Result<()> {
    let mut writer = client.try_clone()?;
    for line in BufReader::new(client).lines() {
        let answer = match serde_json::from_str(&line?)
            .map_err(Into::into)
            .and_then(|request| perform(request, registry))
        {
            Ok(value) => Answer::Done(value),
            Err(error) => Answer::Failed { errno: errno_of(&error), message: format!("{error:#}") },
        };
        let mut line = serde_json::to_string(&answer)?;
        line.push('\n');
        writer.write_all(line.as_bytes())?;
    }
    Ok(())
}

fn errno_of(error: &anyhow::Error) -> Option<i32> {
    error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error)
}

fn json(value: impl Serialize) -> Result<Value> {
    Ok(serde_json::to_value(value)?)
}

fn perform(request: Request, registry: &Arc<Registry>) -> Result<Value> {
    match request {
        Request::Ready => Ok(Value::Null),
        Request::Interface { name } => json(interface::describe(&name)?),
        Request::Send(send) => json(packet::send(&send)?),
        Request::RawIp { to, packets } => json(packet::send_raw_ip(to, &packets)?),
        Request::Connect { to, by, data, timeout_ms, hold } => {
            json(stream::connect(registry, to, by, &data, timeout_ms, hold)?)
        }
        Request::Listen { at, serve } => json(stream::listen(registry, at, serve)?),
        Request::Accept { id, timeout_ms } => json(stream::accept(registry, id, timeout_ms)?),
        Request::Served { id } => json(registry.served(id)?),
        Request::Write { id, data } => json(stream::write(registry, id, &data)?),
        Request::Read { id, length, timeout_ms } => {
            json(stream::read(registry, id, length, timeout_ms)?)
        }
        Request::Close { id, reset } => {
            registry.close(id, reset)?;
            Ok(Value::Null)
        }
        Request::Transfer { to, send, timeout_ms } => json(stream::transfer(to, send, timeout_ms)?),
        Request::UdpListen { at, echo } => json(datagram::listen(registry, at, echo)?),
        Request::UdpExchange { from_port, to, data, count, segment, timeout_ms } => {
            json(datagram::exchange(from_port, to, &data, count, segment, timeout_ms)?)
        }
        Request::UdpSendTo { to, data } => json(datagram::send_to(to, &data)?),
        Request::UdpConnect { to } => json(datagram::connect(to)?),
        Request::Run { program, times } => json(run::run(&program, times)?),
        Request::Unix { to, data, quiet_ms, timeout_ms } => {
            let received = unix::exchange(&to, &hex::decode(&data)?, quiet_ms, timeout_ms)?;
            json(received)
        }
        Request::Echo { to, interface, data, timeout_ms } => {
            json(datagram::echo(to, &interface, &data, timeout_ms)?)
        }
        Request::Capture { interface, filter, outgoing, keep } => {
            json(capture::start(registry, &interface, &filter, outgoing, keep)?)
        }
        Request::CaptureEnd { id, settle_ms } => json(capture::end(registry, id, settle_ms)?),
    }
}
