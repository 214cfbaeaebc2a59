//! What is in memory whole: how much of it at a time, and for how long (S26).

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::sleep,
};

use super::{
    HOST,
    engine::LONG,
    rig::{self, Rig},
};
use crate::access::grant::Kind;

/// A user with a container, whose engine has a lot to tell of it.
async fn start() -> Rig {
    let rig = Rig::start(Kind::Filtered).await;
    let body = "{\"Image\":\"python:3\"}";
    let create = format!(
        "POST /containers/create?name=web HTTP/1.1\r\n{HOST}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = rig.ask(create.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    rig
}

async fn ask(rig: &Rig) -> UnixStream {
    let mut client = rig.connect();
    let request = format!("GET /containers/web/top HTTP/1.1\r\n{HOST}\r\n");
    client.write_all(request.as_bytes()).await.expect("written");
    client
}

#[tokio::test]
async fn s26_an_answer_that_nobody_takes_is_given_up() {
    let mut rig = start().await;
    Arc::get_mut(&mut rig.server).expect("nobody is served").taking = Duration::from_millis(200);
    let mut client = ask(&rig).await;
    rig::head(&mut client).await;
    let records = rig.records(2).await;
    assert_eq!(records.len(), 2, "it is still open: {records:?}");
    assert_eq!(records[1].event, "cut");
    assert!(records[1].why.as_deref().is_some_and(|why| why.contains("for its answer")));
    let mut rest = Vec::new();
    let _reset = client.read_to_end(&mut rest).await;
    assert!(rest.len() < LONG, "{}", rest.len());
    // Whoever takes it in time has all of it.
    let mut client = ask(&rig).await;
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.expect("read");
    assert!(all.len() > LONG, "{}", all.len());
}

#[tokio::test]
async fn s26_of_what_is_kept_whole_a_user_has_a_few_on_their_way_and_the_rest_wait() {
    let rig = start().await;
    let before = rig.engine.connections();
    let mut clients = Vec::new();
    for _ in 0..7 {
        clients.push(ask(&rig).await);
    }
    while rig.engine.connections() < before + 4 {
        sleep(Duration::from_millis(5)).await;
    }
    sleep(Duration::from_millis(200)).await;
    assert_eq!(rig.engine.connections(), before + 4);
    // What is not kept does not wait for them.
    let answer = rig.ask(format!("GET /_ping HTTP/1.1\r\n{HOST}\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // As one is done, another one is.
    let taking = clients.into_iter().map(|mut client| async move {
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.expect("read");
        all.len()
    });
    let taken = futures_util::future::join_all(taking).await;
    assert!(taken.iter().all(|length| *length > LONG), "{taken:?}");
    assert_eq!(rig.engine.connections(), before + 8);
}
