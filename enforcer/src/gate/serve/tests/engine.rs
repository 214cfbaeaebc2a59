//! An engine that writes down what it hears, and answers a few requests.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    time::{sleep, timeout},
};

use super::{fuzz::engine_says, rig::text};

/// Length of the long answer.
pub(super) const BIG: u64 = 64 << 20;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Engine(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    heard: Mutex<Vec<Vec<u8>>>,
    open: AtomicUsize,
    written: AtomicU64,
    misbehaves: AtomicBool,
}

/// Id of each container that it makes.
pub(super) const MADE: &str = "ab00000000000000000000000000000000000000000000000000000000000001";
/// Id of a container of somebody else's.
pub(super) const OTHERS: &str = "cd00000000000000000000000000000000000000000000000000000000000002";

/// What it says. `commands`: how many it has made in its container.
fn said(path: &str, heard: &str, commands: usize) -> (&'static str, String) {
    let conflict = "The container name is in use by container";
    if path == "/v1.43/volumes/create" {
        let body = heard.split("\r\n\r\n").nth(1).and_then(|body| serde_json::from_str(body).ok());
        let name =
            body.map_or_else(String::new, |body: serde_json::Value| body["Name"].to_string());
        return (
            "201 Created",
            format!("{{\"Name\":{name},\"Driver\":\"local\",\"Mountpoint\":\"\"}}"),
        );
    }
    match path.strip_prefix("/v1.43/containers/") {
        Some("create") if heard.contains("name=taken") => {
            ("409 Conflict", format!("{{\"message\":\"{conflict} {OTHERS}\"}}"))
        }
        Some("create") if heard.contains("enforcer.gate") => {
            ("201 Created", format!("{{\"Id\":\"{MADE}\",\"Warnings\":[]}}"))
        }
        Some("json") => ("200 OK", format!("[{{\"Id\":\"{MADE}\"}},{{\"Id\":\"{OTHERS}\"}}]")),
        Some(path) if path.ends_with("/json") => {
            let made = vec!["e"; commands];
            ("200 OK", serde_json::json!({"Name": "/web", "ExecIDs": made}).to_string())
        }
        Some(path) if path.ends_with("/exec") => {
            ("201 Created", format!("{{\"Id\":\"{commands:064x}\"}}"))
        }
        _ => ("201 Created", "{}".to_owned()),
    }
}

/// `Content-Length`.
fn length(heard: &str) -> usize {
    let lower = heard.split("\r\n\r\n").next().unwrap_or_default().to_lowercase();
    let value = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
    value.and_then(|length| length.parse().ok()).unwrap_or_default()
}

/// Length of what it tells of processes: more than a socket holds.
pub(super) const LONG: usize = 2 << 20;

/// A byte of the long answer.
pub(super) fn pattern(at: u64) -> u8 {
    at.wrapping_mul(2_654_435_761).to_be_bytes()[4]
}

impl Engine {
    pub(super) fn start(path: PathBuf) -> Self {
        let listener = UnixListener::bind(path).expect("bound");
        let engine = Self::default();
        let this = engine.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let this = this.clone();
                this.0.open.fetch_add(1, Ordering::SeqCst);
                let number = {
                    let mut heard = this.0.heard.lock().expect("not poisoned");
                    heard.push(Vec::new());
                    heard.len() - 1
                };
                tokio::spawn(async move {
                    this.answer(stream, number).await;
                    this.0.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        engine
    }

    /// From now on it says what no engine says, to most of those who connect; and forgets what it hears.
    pub(super) fn misbehave(&self, does: bool) {
        self.0.misbehaves.store(does, Ordering::SeqCst);
    }

    /// Connections so far.
    pub(super) fn connections(&self) -> usize {
        self.0.heard.lock().expect("not poisoned").len()
    }

    /// All that came over one.
    pub(super) fn heard(&self, number: usize) -> Vec<u8> {
        self.0.heard.lock().expect("not poisoned")[number].clone()
    }

    /// Commands that it was asked to make.
    fn commands(&self) -> usize {
        let heard = self.0.heard.lock().expect("not poisoned");
        heard.iter().filter(|heard| text(heard).contains("/exec HTTP/1.1\r\n")).count()
    }

    /// Bytes of the long answer that somebody took.
    pub(super) fn written(&self) -> u64 {
        self.0.written.load(Ordering::SeqCst)
    }

    /// Waits until nobody is connected.
    pub(super) async fn all_closed(&self) {
        let closed = async {
            while self.0.open.load(Ordering::SeqCst) > 0 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(2), closed).await.expect("still connected");
    }

    /// Reads on until what was heard is as wanted; `false`: it ended before.
    async fn hear(
        &self,
        stream: &mut UnixStream,
        number: usize,
        is_all: impl Fn(&str) -> bool,
    ) -> bool {
        loop {
            if is_all(&text(&self.heard(number))) {
                return true;
            }
            let mut bytes = vec![0; 64 << 10];
            match stream.read(&mut bytes).await {
                Ok(0) | Err(_) => return false,
                Ok(more) => {
                    let mut heard = self.0.heard.lock().expect("not poisoned");
                    heard[number].extend_from_slice(&bytes[..more]);
                }
            }
        }
    }

    async fn answer(&self, mut stream: UnixStream, number: usize) {
        if !self.hear(&mut stream, number, |heard| heard.contains("\r\n\r\n")).await {
            return;
        }
        let heard = text(&self.heard(number));
        if self.0.misbehaves.load(Ordering::SeqCst)
            && let Some(answer) = engine_says(u64::try_from(number).unwrap_or_default())
        {
            self.0.heard.lock().expect("not poisoned")[number].clear();
            let _gone = stream.write_all(&answer).await;
            return;
        }
        let target = heard.split(' ').nth(1).unwrap_or_default();
        let upgraded = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
        match target.split('?').next().unwrap_or_default() {
            "/v1.43/_ping" => {
                let answer = "HTTP/1.1 200 OK\r\nApi-Version: 1.43\r\nOstype: linux\r\n\
                              Builder-Version: 2\r\nServer: Docker\r\nContent-Length: 2\r\n\r\nOK";
                let _gone = stream.write_all(answer.as_bytes()).await;
            }
            // A pull that goes on until its client has gone.
            "/v1.43/events" | "/v1.43/images/create" => {
                let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n";
                let _gone = stream.write_all(answer.as_bytes()).await;
                self.hear(&mut stream, number, |_| false).await;
            }
            "/v1.43/containers/x/attach" => {
                let _gone = stream.write_all(upgraded.as_bytes()).await;
                let (mut from, mut to) = stream.split();
                let _gone = tokio::io::copy(&mut from, &mut to).await;
                let _gone = to.write_all(b"bye").await;
            }
            path if path.ends_with("/top") => {
                let start = format!("HTTP/1.1 200 OK\r\nContent-Length: {LONG}\r\n\r\n");
                let _gone = stream.write_all(start.as_bytes()).await;
                let _gone = stream.write_all(&vec![b' '; LONG]).await;
            }
            "/v1.43/exec/big/start" => {
                let _gone = stream.write_all(upgraded.as_bytes()).await;
                self.write_big(&mut stream).await;
            }
            _ => {
                let is_chunked = heard.to_lowercase().contains("chunked");
                let is_all = |heard: &str| {
                    let body = heard.split_once("\r\n\r\n").map_or("", |(_, body)| body);
                    if is_chunked {
                        body.ends_with("0\r\n\r\n")
                    } else {
                        body.len() >= length(heard)
                    }
                };
                if self.hear(&mut stream, number, is_all).await {
                    let heard = text(&self.heard(number));
                    let path = target.split('?').next().unwrap_or_default();
                    let (status, body) = said(path, &heard, self.commands());
                    let length = body.len();
                    let answer =
                        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
                    let _gone = stream.write_all(answer.as_bytes()).await;
                }
            }
        }
    }

    async fn write_big(&self, stream: &mut UnixStream) {
        let mut at = 0;
        while at < BIG {
            let length = (BIG - at).min(64 << 10);
            let bytes: Vec<u8> = (at..at + length).map(pattern).collect();
            if stream.write_all(&bytes).await.is_err() {
                return;
            }
            at += length;
            self.0.written.store(at, Ordering::SeqCst);
        }
    }
}
