//! HTTP/1.1 as tests need it: requests are bytes that a test writes itself, answers are what came back, whatever it is.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::client::Actor;
use crate::{
    hex,
    protocol::{Received, Request},
};

/// Most milliseconds for an exchange, if nothing else is said.
const PATIENCE: u64 = 20_000;

/// A way to a Docker socket.
#[derive(Clone, Debug)]
pub enum Line {
    /// From this process.
    Here(PathBuf),
    /// From an actor's process, so from its container.
    Through(Actor, String),
}

/// Which bytes are sent, and how long somebody waits for an end that may not come.
#[derive(Clone, Debug)]
pub struct Sending {
    /// What is written.
    pub bytes: Vec<u8>,
    /// Most milliseconds without a byte, once there was one.
    pub quiet_ms: u64,
    /// Most milliseconds for all of it.
    pub timeout_ms: u64,
}

impl Sending {
    /// A request that ends its connection.
    #[must_use]
    pub fn request(method: &str, target: &str, headers: &str, body: &[u8]) -> Self {
        Self {
            bytes: request(method, target, headers, body),
            quiet_ms: PATIENCE,
            timeout_ms: PATIENCE,
        }
    }

    /// Bytes as they are, to which an answer may be none.
    #[must_use]
    pub const fn raw(bytes: Vec<u8>, quiet_ms: u64, timeout_ms: u64) -> Self {
        Self { bytes, quiet_ms, timeout_ms }
    }
}

/// The bytes of a request. `headers` are whole lines.
#[must_use]
pub fn request(method: &str, target: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: docker\r\n{headers}");
    if !headers.to_ascii_lowercase().contains("connection:") {
        head.push_str("Connection: close\r\n");
    }
    if !body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        if !headers.to_ascii_lowercase().contains("content-type:") {
            head.push_str("Content-Type: application/json\r\n");
        }
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// Status of the first answer; 0: there is none.
    pub status: u16,
    /// All of it.
    pub bytes: Vec<u8>,
    /// Body of the first answer, out of its chunks.
    pub body: Vec<u8>,
}

impl Reply {
    fn read(bytes: Vec<u8>) -> Self {
        let end = find(&bytes, b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let status = head.strip_prefix("http/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let rest = &bytes[end..];
        let is_chunked = head.contains("\r\ntransfer-encoding: chunked");
        let body = if is_chunked { unchunked(rest) } else { rest.to_vec() };
        Self { status: status.unwrap_or_default(), body, bytes }
    }

    /// Its body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("no JSON: {}", self.shown()))
    }

    /// Whether it has this anywhere.
    #[must_use]
    pub fn has(&self, text: &str) -> bool {
        [&self.body, &self.bytes].iter().any(|bytes| find(bytes, text.as_bytes()).is_some())
    }

    /// Its beginning, for people.
    #[must_use]
    pub fn shown(&self) -> String {
        let body = self.body.get(..self.body.len().min(300)).unwrap_or_default();
        format!("{} {:?}", self.status, String::from_utf8_lossy(body))
    }
}

/// Where a part begins.
#[must_use]
pub fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len().max(1)).position(|window| window == part)
}

/// Chunks put together; what is not one ends it.
fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(at) = find(rest, b"\r\n") {
        let size = std::str::from_utf8(&rest[..at]).ok();
        let Some(size) = size.and_then(|size| usize::from_str_radix(size, 16).ok()) else { break };
        let Some(chunk) = rest.get(at + 2..at + 2 + size).filter(|_| size > 0) else { break };
        body.extend_from_slice(chunk);
        rest = rest.get(at + 4 + size..).unwrap_or_default();
    }
    body
}

impl Line {
    /// Sends bytes; what came back.
    pub fn send(&self, sending: &Sending) -> Result<Reply> {
        let Sending { bytes, quiet_ms, timeout_ms } = sending;
        let read = match self {
            Self::Here(path) => {
                let path = path.to_str().context("the socket's path")?;
                enforcer_actor::unix::talk(path, bytes, *quiet_ms, *timeout_ms)?.0
            }
            Self::Through(actor, path) => {
                let received: Received = actor.call(&Request::Unix {
                    to: path.clone(),
                    data: hex::encode(bytes),
                    quiet_ms: *quiet_ms,
                    timeout_ms: *timeout_ms,
                })?;
                hex::decode(&received.data)?
            }
        };
        Ok(Reply::read(read))
    }

    /// Makes a request with a JSON body, or with none.
    pub fn ask(&self, method: &str, target: &str, body: Option<&Value>) -> Result<Reply> {
        let body = body.map(ToString::to_string).unwrap_or_default();
        self.send(&Sending::request(method, target, "", body.as_bytes()))
    }

    /// Makes a request that must be granted; its answer's JSON, or `null`.
    pub fn get(&self, method: &str, target: &str, body: Option<&Value>) -> Result<Value> {
        let reply = self.ask(method, target, body)?;
        anyhow::ensure!((200..400).contains(&reply.status), "{method} {target}: {}", reply.shown());
        if reply.body.is_empty() { Ok(Value::Null) } else { reply.json() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_chunks_is_read_whole() {
        let text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n";
        let reply = Reply::read(text.to_vec());
        assert_eq!(reply.status, 200);
        assert_eq!(reply.json().expect("json"), serde_json::json!({"a": 1}));
        assert!(reply.has("\"a\":1") && !reply.has("missing"));
        assert_eq!(Reply::read(Vec::new()).status, 0);
    }
}
