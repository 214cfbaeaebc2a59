//! An engine that only answers: what the daemon asks of Docker about one network and its containers. It speaks
//! as much HTTP/1.1 as that takes.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::Arc,
    thread,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::world::{self, GATEWAY, NETWORK};

const NETWORK_ID: &str = "6e00000000000000000000000000000000000000000000000000000000000000";
const STARTED: &str = "2024-01-01T00:00:00Z";

/// What is asked for, by path behind the version.
struct Answers {
    guests: u16,
}

/// Answers on `socket` for as long as the process lives.
pub fn serve(socket: &Path, guests: u16) -> Result<()> {
    let listener = UnixListener::bind(socket).context("the engine's socket")?;
    let answers = Arc::new(Answers { guests });
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answers = Arc::clone(&answers);
            // A connection that breaks is the daemon's end.
            thread::spawn(move || drop(answers.converse(&stream)));
        }
    });
    Ok(())
}

fn id(guest: u16) -> String {
    format!("{:064x}", 0xc0_0000 + u32::from(guest))
}

/// A path without `/v1.NN`.
fn without_version(path: &str) -> &str {
    let behind = |rest: &'_ str| rest.find('/').map(|at| path.len() - rest.len() + at);
    let at = path.strip_prefix("/v1.").and_then(behind);
    at.and_then(|at| path.get(at..)).unwrap_or(path)
}

fn joined() -> Value {
    json!({NETWORK: {"NetworkID": NETWORK_ID}})
}

impl Answers {
    fn converse(&self, mut stream: &UnixStream) -> Result<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let mut request = String::new();
            if reader.read_line(&mut request)? == 0 {
                return Ok(());
            }
            let mut header = String::new();
            while reader.read_line(&mut header)? > 0 && header.trim_end() != "" {
                header.clear();
            }
            let target = request.split(' ').nth(1).unwrap_or_default();
            let path = target.split('?').next().unwrap_or_default();
            let path = without_version(path);
            if path == "/events" {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")?;
                // Nothing ever happens here.
                reader.read_line(&mut header)?;
                return Ok(());
            }
            let (status, body) = match self.answer(path) {
                Some(body) => ("200 OK", body),
                None => ("404 Not Found", json!({"message": "no such thing"})),
            };
            let body = body.to_string();
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nApi-Version: 1.47\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
        }
    }

    fn answer(&self, path: &str) -> Option<Value> {
        let container =
            path.strip_prefix("/containers/").and_then(|rest| rest.strip_suffix("/json"));
        Some(match path {
            "/version" => json!({"Version": "27.0.0", "ApiVersion": "1.47"}),
            "/info" => json!({"SecurityOptions": []}),
            "/networks" => json!([{"Name": NETWORK, "Id": NETWORK_ID, "Driver": "bridge"}]),
            "/containers/json" => (0..self.guests).map(listed).collect(),
            _ if path.strip_prefix("/networks/") == Some(NETWORK_ID) => self.network(),
            _ => {
                let number = (0..self.guests).find(|guest| Some(&*id(*guest)) == container)?;
                inspected(number)
            }
        })
    }

    fn network(&self) -> Value {
        let endpoint = |guest: u16| {
            let address = format!("{}/{}", world::address(guest), world::PREFIX);
            let endpoint = json!({"Name": world::name(guest), "IPv4Address": address, "IPv6Address": "",
                "MacAddress": world::colons(world::mac(guest))});
            (id(guest), endpoint)
        };
        let containers: serde_json::Map<_, _> = (0..self.guests).map(endpoint).collect();
        json!({"Name": NETWORK, "Id": NETWORK_ID, "Driver": "bridge", "EnableIPv6": false, "Internal": false,
            "IPAM": {"Config": [{"Subnet": world::SUBNET, "Gateway": GATEWAY.to_string()}]},
            "Options": {"com.docker.network.bridge.name": world::BRIDGE}, "Containers": containers})
    }
}

fn listed(guest: u16) -> Value {
    json!({"Id": id(guest), "Names": [format!("/{}", world::name(guest))], "Ports": [], "State": "running",
        "NetworkSettings": {"Networks": joined()}})
}

fn inspected(guest: u16) -> Value {
    json!({"Id": id(guest), "Name": format!("/{}", world::name(guest)),
        "State": {"Running": true, "StartedAt": STARTED}, "Config": {"Image": "guest"},
        "HostConfig": {"NetworkMode": NETWORK},
        "NetworkSettings": {"SandboxKey": format!("/run/netns/{}", world::name(guest)), "Ports": {},
            "Networks": joined()}})
}
