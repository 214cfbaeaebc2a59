//! A client of a Docker socket with a watch: the same thing again and again, and how long each took.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

/// Bytes that are read at a time.
const PART: usize = 256 << 10;

/// `SOCKET ping COUNT | create COUNT IMAGE | stream CONTAINER BYTES`: a line for each, nanoseconds.
pub fn run(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut times = Vec::new();
    match words[..] {
        [socket, "ping", count] => {
            for _ in 0..count.parse::<u32>()? {
                times.push(timed(|| ask(socket, "GET", "/_ping", None).map(drop))?);
            }
        }
        [socket, "create", count, image] => {
            let body = json!({"Image": image, "Cmd": ["true"]});
            for _ in 0..count.parse::<u32>()? {
                times.push(timed(|| {
                    let made = value(socket, "/containers/create", &body)?;
                    let id = made["Id"].as_str().context("no id")?;
                    ask(socket, "DELETE", &format!("/containers/{id}"), None).map(drop)
                })?);
            }
        }
        [socket, "stream", container, bytes] => times.push(stream(socket, container, bytes)?),
        _ => bail!(
            "usage: actor ask SOCKET ping COUNT | create COUNT IMAGE | stream CONTAINER BYTES"
        ),
    }
    let mut out = io::stdout().lock();
    for time in times {
        writeln!(out, "{time}")?;
    }
    Ok(())
}

fn timed(what: impl FnOnce() -> Result<()>) -> Result<u128> {
    let since = Instant::now();
    what()?;
    Ok(since.elapsed().as_nanos())
}

/// So many zeros out of a command in a container, from the request for them to the end.
fn stream(socket: &str, container: &str, bytes: &str) -> Result<u128> {
    let body = json!({"AttachStdout": true, "Cmd": ["busybox", "head", "-c", bytes, "/dev/zero"]});
    let made = value(socket, &format!("/containers/{container}/exec"), &body)?;
    let id = made["Id"].as_str().context("no id")?;
    let body = json!({"Detach": false, "Tty": false}).to_string();
    let request = format!(
        "POST /v1.41/exec/{id}/start HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (least, mut read, mut part) = (bytes.parse::<usize>()?, 0, vec![0; PART]);
    let time = timed(|| {
        let mut stream = UnixStream::connect(socket)?;
        stream.write_all(request.as_bytes())?;
        loop {
            match stream.read(&mut part)? {
                0 => return Ok(()),
                more => read += more,
            }
        }
    })?;
    // The engine puts a head before each part.
    ensure!(read >= least, "only {read} bytes came");
    Ok(time)
}

fn value(socket: &str, target: &str, body: &Value) -> Result<Value> {
    let answer = ask(socket, "POST", target, Some(body))?;
    let start = answer.find('{').context("no JSON")?;
    let end = answer.rfind('}').context("no JSON")?;
    Ok(serde_json::from_str(answer.get(start..=end).unwrap_or_default())?)
}

/// One request, over a connection of its own.
fn ask(socket: &str, method: &str, target: &str, body: Option<&Value>) -> Result<String> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let request = format!(
        "{method} /v1.41{target} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n{kind}Content-Length: \
         {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = UnixStream::connect(socket).with_context(|| format!("connect to {socket}"))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 2"), "{method} {target}: {answer}");
    Ok(answer)
}
