//! Clients that dawdle, flood or stop half-way.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, timeout},
};

use super::rig::{HEAD, Server, connect, json, read, talk};
use crate::api::{client, request::MAX_BODY, serve::EACH};

const STATUS: &[u8] = b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n";

fn pardon(length: usize) -> String {
    format!(
        "POST /v1/pardon HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n"
    )
}

#[tokio::test]
async fn sixty_four_idle_connections_keep_nobody_out() {
    let server = Server::start("idle");
    let mut idle = Vec::new();
    for number in 0..64 {
        let mut stream = connect(server.dir()).await;
        // Some say nothing, some begin and do not end.
        if number % 2 == 0 {
            stream.write_all(b"GET /v1/status HT").await.expect("written");
        }
        idle.push(stream);
    }
    let begun = Instant::now();
    assert_eq!(client::status(server.dir()).await.expect("a report").pid, 42);
    assert!(begun.elapsed() < HEAD, "it waited for others: {:?}", begun.elapsed());
    // The oldest gave way at once, the latest are still there.
    let mut latest = idle.pop().expect("there");
    let oldest = timeout(HEAD / 4, read(&mut idle[0])).await.expect("closed");
    assert_eq!(oldest, "");
    latest.write_all(STATUS).await.expect("written");
    assert!(read(&mut latest).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn who_does_not_ask_in_time_loses_the_connection() {
    let server = Server::start("slow-head");
    let mut stream = connect(server.dir()).await;
    stream.write_all(b"GET /v1/status HTTP/1.1\r\nHost:").await.expect("written");
    let begun = Instant::now();
    let answer = timeout(HEAD * 4, read(&mut stream)).await.expect("closed");
    assert!(begun.elapsed() >= HEAD / 2, "{:?}", begun.elapsed());
    assert!(!answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_body_that_is_too_long_or_too_slow_is_not_waited_for() {
    let server = Server::start("body");
    let whole = |text: &str| [pardon(text.len()).as_bytes(), text.as_bytes()].concat();
    let guest = |length: usize| format!("{{\"guest\":\"{}\"}}", "x".repeat(length - 12));
    // The most there may be, and one byte more, by word or by deed.
    let answer = talk(server.dir(), &whole(&guest(MAX_BODY))).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:.200}");
    let answer = talk(server.dir(), &whole(&guest(MAX_BODY + 1))).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer:.200}");
    let answer = talk(server.dir(), pardon(1 << 40).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer:.200}");
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
    let chunked = pardon(0).replace("Content-Length: 0", "Transfer-Encoding: chunked");
    let answer = talk(server.dir(), (chunked + &chunk.repeat(3)).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer:.200}");
    // A head that is too long.
    let long = format!("GET /v1/status HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(64 << 10));
    let answer = talk(server.dir(), long.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer:.200}");
    // One that never comes.
    let mut stream = connect(server.dir()).await;
    stream.write_all(pardon(15).as_bytes()).await.expect("written");
    let answer = timeout(Duration::from_secs(15), read(&mut stream)).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(json(&answer)["error"]["code"], "too_slow");
}

#[tokio::test]
async fn a_body_that_ends_half_way_is_none() {
    let server = Server::start("half-body");
    let answer = talk(server.dir(), (pardon(15) + "{\"guest\":").as_bytes()).await;
    assert!(!answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(server.callers(), [], "nobody was pardoned");
}

#[tokio::test]
async fn who_has_said_everything_may_close_that_half() {
    let server = Server::start("half-closed");
    // `talk` closes its half before it reads.
    assert!(talk(server.dir(), STATUS).await.starts_with("HTTP/1.1 200 "));
    let mut stream = connect(server.dir()).await;
    stream.shutdown().await.expect("shut down");
    let answer = timeout(HEAD * 4, read(&mut stream)).await.expect("closed");
    assert_eq!(answer, "");
}

#[tokio::test]
async fn there_is_one_answer_a_connection() {
    let server = Server::start("once");
    let answer = talk(server.dir(), &STATUS.repeat(3)).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
}

#[tokio::test]
async fn a_user_whose_calls_fill_every_place_is_told_so() {
    let server = Server::start("full");
    let mut waiting = Vec::new();
    for _ in 0..EACH {
        let mut stream = connect(server.dir()).await;
        // A call whose body does not come. The server has read its head when it asks for the body.
        let head = pardon(15).replace("Host: x\r\n", "Host: x\r\nExpect: 100-continue\r\n");
        stream.write_all(head.as_bytes()).await.expect("written");
        let mut go_on = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
        stream.read_exact(&mut go_on).await.expect("asked for");
        assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
        waiting.push(stream);
    }
    let refused = talk(server.dir(), STATUS).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert_eq!(json(&refused)["error"]["code"], "unavailable");
    // One that ends makes room.
    let mut first = waiting.remove(0);
    first.write_all(b"{\"guest\":\"ann\"}").await.expect("written");
    assert!(read(&mut first).await.starts_with("HTTP/1.1 200 "));
    let answer = talk(server.dir(), STATUS).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
