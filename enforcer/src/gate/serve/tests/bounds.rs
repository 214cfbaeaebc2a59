//! What a user may not pile up at the engine (S30), and how fast one is served (A1).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{io::AsyncWriteExt as _, net::UnixStream, time::sleep};

use super::{
    HOST, MADE, OTHERS, create,
    rig::{Rig, head, text},
};
use crate::{
    access::{grant::Kind, name::HubName},
    gate::{pace::Pace, principal::Principal, turns::MOST_PULLS},
};

const IMAGE: &str = "{\"Image\":\"python:3\"}";

#[tokio::test]
async fn s30_a_prune_takes_the_volumes_along_that_nobody_would_have() {
    let rig = Rig::start(Kind::Filtered).await;
    let answer = rig.ask(&create("/containers/create?name=web", IMAGE)).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    let prune = format!("POST /containers/prune HTTP/1.1\r\n{HOST}\r\n");
    let answer = rig.ask(prune.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let shown = format!("{{\"ContainersDeleted\":[\"{MADE}\"],\"SpaceReclaimed\":0}}");
    assert!(answer.contains(&shown) && !answer.contains(OTHERS), "{answer}");
    let heard = |number: usize| text(&rig.engine.heard(number));
    assert!(
        heard(1).starts_with("GET /v1.43/containers/json?all=1&size=1&filters="),
        "{}",
        heard(1)
    );
    assert!(heard(1).contains("enforcer.user%3Dann"), "{}", heard(1));
    let removes = format!("DELETE /v1.43/containers/{MADE}?v=1 ");
    assert!(heard(2).starts_with(&removes), "{}", heard(2));
    assert_eq!(rig.engine.connections(), 3, "what is another's stays");
    assert!(rig.server.facts(&rig.principal()).containers.is_empty());
}

#[tokio::test]
async fn s30_commands_that_are_never_started_do_not_pile_up_at_the_engine() {
    let rig = Rig::start(Kind::Filtered).await;
    let answer = rig.ask(&create("/containers/create?name=web", IMAGE)).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    let exec = create("/containers/web/exec", "{\"Cmd\":[\"true\"]}");
    for number in 0..64 {
        let answer = rig.ask(&exec).await;
        assert!(answer.starts_with("HTTP/1.1 201 "), "{number}: {answer}");
    }
    let before = rig.engine.connections();
    let answer = rig.ask(&exec).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.contains("(rule quota.commands)"), "{answer}");
    // It was asked how many there are, and for nothing else.
    assert_eq!(rig.engine.connections(), before + 1);
    let asked = text(&rig.engine.heard(before));
    assert!(asked.starts_with(&format!("GET /v1.43/containers/{MADE}/json ")), "{asked}");
}

/// Begins a pull.
async fn pull(rig: &Rig, principal: Principal) -> UnixStream {
    let mut client = rig.connect_to(principal, Ok(()));
    let pull = format!("POST /images/create?fromImage=python&tag=3 HTTP/1.1\r\n{HOST}\r\n");
    client.write_all(pull.as_bytes()).await.expect("written");
    client
}

#[tokio::test]
async fn s30_of_a_user_s_pulls_one_is_on_its_way_and_the_next_waits_for_its_end() {
    let rig = Rig::start(Kind::Filtered).await;
    let mut first = pull(&rig, rig.principal()).await;
    assert!(head(&mut first).await.starts_with("HTTP/1.1 200 "));
    let mut second = pull(&rig, rig.principal()).await;
    sleep(Duration::from_millis(200)).await;
    assert_eq!(rig.engine.connections(), 1, "both are on their way");
    // A hub has its own.
    let mut of_hub = pull(&rig, Principal::Hub(HubName::local())).await;
    assert!(head(&mut of_hub).await.starts_with("HTTP/1.1 200 "));
    drop(first);
    assert!(head(&mut second).await.starts_with("HTTP/1.1 200 "));
    drop((second, of_hub));
    rig.engine.all_closed().await;
}

#[tokio::test]
async fn s30_all_users_pulls_together_are_few() {
    let rig = Rig::start(Kind::Filtered).await;
    let all = u32::try_from(MOST_PULLS).expect("few");
    let others = rig.server.pulling.acquire_many(all).await.expect("nobody pulls");
    let mut waits = pull(&rig, rig.principal()).await;
    sleep(Duration::from_millis(200)).await;
    assert_eq!(rig.engine.connections(), 0);
    drop(others);
    assert!(head(&mut waits).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a1_who_asks_too_fast_waits_and_is_not_refused() {
    let mut rig = Rig::start(Kind::Filtered).await;
    let server = Arc::get_mut(&mut rig.server).expect("nobody is served yet");
    server.pace = Pace::of(Duration::from_millis(20), 10);
    let ping = format!("GET /_ping HTTP/1.1\r\n{HOST}\r\n");
    let begun = Instant::now();
    for number in 0..35 {
        let answer = rig.ask(ping.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{number}: {answer}");
    }
    assert!(begun.elapsed() >= Duration::from_millis(500), "{:?}", begun.elapsed());
}
