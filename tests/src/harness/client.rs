//! The harness's side of the actor's protocol.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;

use super::run::wait_for;
use crate::protocol::{
    Answer, ConnectBy, Connected, Id, Interface, Listening, Request, Send, Sent, Serve, Served,
};

/// Longest that any command takes.
const DEADLINE: Duration = Duration::from_mins(3);

/// An actor, by the path of its socket.
#[derive(Clone, Debug)]
pub struct Actor {
    socket: PathBuf,
}

impl Actor {
    /// Waits until it answers.
    pub fn wait(socket: PathBuf) -> Result<Self> {
        let actor = Self { socket };
        wait_for("the actor", Duration::from_secs(20), || {
            actor.call::<()>(&Request::Ready).map(Some)
        })?;
        Ok(actor)
    }

    /// Asks for one thing. Each call has its own connection, so calls may overlap.
    pub fn call<T: DeserializeOwned>(&self, request: &Request) -> Result<T> {
        let stream = UnixStream::connect(&self.socket)
            .with_context(|| format!("connect to {}", self.socket.display()))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let mut line = serde_json::to_string(request)?;
        line.push('\n');
        (&stream).write_all(line.as_bytes())?;
        let mut answer = String::new();
        BufReader::new(&stream).read_line(&mut answer)?;
        match serde_json::from_str(&answer).context("the actor's answer")? {
            Answer::Done(value) => Ok(serde_json::from_value(value)?),
            Answer::Failed { message, errno } => bail!("actor: {message} (errno {errno:?})"),
        }
    }

    /// Describes an interface.
    pub fn interface(&self, name: &str) -> Result<Interface> {
        self.call(&Request::Interface { name: name.into() })
    }

    /// Sends frames.
    pub fn send(&self, send: Send) -> Result<Sent> {
        self.call(&Request::Send(send))
    }

    /// Listens on TCP.
    pub fn listen(&self, at: impl Into<SocketAddr>, serve: Serve) -> Result<Listening> {
        self.call(&Request::Listen { at: at.into(), serve })
    }

    /// Listens on UDP and answers.
    pub fn udp_echo(&self, at: impl Into<SocketAddr>) -> Result<Listening> {
        self.call(&Request::UdpListen { at: at.into(), echo: true })
    }

    /// What a listener saw.
    pub fn served(&self, id: Id) -> Result<Served> {
        self.call(&Request::Served { id })
    }

    /// Opens a TCP connection, reads a little, closes.
    pub fn connect(&self, to: impl Into<SocketAddr>, timeout_ms: u64) -> Result<Connected> {
        self.call(&Request::Connect {
            to: to.into(),
            by: ConnectBy::Plain,
            data: String::new(),
            timeout_ms,
            hold: false,
        })
    }

    /// Opens a TCP connection and keeps it.
    pub fn hold(&self, to: impl Into<SocketAddr>, timeout_ms: u64) -> Result<Connected> {
        self.call(&Request::Connect {
            to: to.into(),
            by: ConnectBy::Plain,
            data: String::new(),
            timeout_ms,
            hold: true,
        })
    }
}
