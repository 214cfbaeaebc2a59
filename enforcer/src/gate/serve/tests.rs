//! Sockets with an engine of the test's own behind them, byte by byte.

mod bounds;
mod engine;
mod fuzz;
mod rig;
mod whole;

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use self::{
    engine::{BIG, MADE, OTHERS, pattern},
    rig::{Rig, text},
};
use super::*;
use crate::{
    access::{
        grant::Kind,
        name::{HubName, User},
    },
    gate::store::tests::Disk,
    model::owned::Prepared,
};

const HOST: &str = "Host: docker\r\n";

#[tokio::test]
async fn s06_s09_s10_what_is_ambiguous_is_refused_and_the_engine_hears_nothing() {
    let rig = Rig::start(Kind::Raw).await;
    let create = "POST /v1.43/containers/create HTTP/1.1\r\n";
    let body = "{\"HostConfig\":{\"Privileged\":true}}";
    for bytes in [
        format!("{create}{HOST}Content-Length: 0\r\n\r\n{body}"),
        format!("{create}{HOST}\r\n{body}"),
        format!("{create}{HOST}Content-Length: 2\r\nContent-Length: 2\r\n\r\n{{}}"),
        format!("{create}{HOST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("{create}{HOST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        format!("{create}{HOST}Expect: 100-continue\r\nContent-Length: 34\r\n\r\n"),
        format!("{create}{HOST}A: b\r\n c: d\r\n\r\n"),
        format!("{create}{HOST}A: b\n\r\n"),
        format!("GET /_ping HTTP/1.1\r\n{HOST}\r\n{create}{HOST}\r\n"),
        format!("GET http://x/_ping HTTP/1.1\r\n{HOST}\r\n"),
        format!("GET /_ping HTTP/1.0\r\n{HOST}\r\n"),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0".to_owned(),
        format!("POST /session HTTP/1.1\r\n{HOST}Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"),
        format!("GET /grpc HTTP/1.1\r\n{HOST}Upgrade: h2c\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{HOST}A: {}\r\n\r\n", "a".repeat(1 << 20)),
    ] {
        let answer = rig.ask(bytes.as_bytes()).await;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(status.starts_with('4') || status == "505", "{bytes:.200}: {answer}");
        assert!(answer.contains("{\"message\":\"enforcer: "), "{answer}");
    }
    assert_eq!(rig.engine.connections(), 0);
    let records = rig.records(15).await;
    assert!(records.iter().all(|record| record.verdict == "deny" && record.rule.is_some()));
}

#[tokio::test]
async fn s10_a_raw_request_goes_on_whole_over_a_connection_of_its_own_and_alone() {
    let rig = Rig::start(Kind::Raw).await;
    let request = "POST /v1.43/containers/create?name=x HTTP/1.1\r\nHost: evil\r\nX-Registry-Auth: abc\r\n\
                   Keep-Alive: 5\r\nConnection: keep-alive\r\nContent-Length: 14\r\n\r\n{\"Image\":\"a\"} ";
    for _ in 0..2 {
        let answer = rig.ask(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
        assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    }
    assert_eq!(rig.engine.connections(), 2);
    let heard = text(&rig.engine.heard(0));
    assert!(heard.starts_with("POST /v1.43/containers/create?name=x HTTP/1.1\r\n"), "{heard}");
    assert!(heard.ends_with("\r\n\r\n{\"Image\":\"a\"} "), "{heard}");
    assert!(heard.contains("x-registry-auth: abc\r\n") && heard.contains("host: docker\r\n"));
    assert!(!heard.contains("evil") && !heard.to_lowercase().contains("keep-alive"), "{heard}");
    let records = rig.records(2).await;
    let record = &records[0];
    assert_eq!(record.path.as_deref(), Some("/v1.43/containers/create"));
    assert_eq!((record.query.as_deref(), record.status), (Some("name=x"), Some(201)));
    assert_eq!((&*record.verdict, record.rule.as_deref()), ("allow", Some("grant.raw")));
    assert_eq!(record.sent, Some(u64::try_from(request.len()).expect("short")));
    assert_eq!((record.user.as_deref(), &*record.hub), (Some("ann"), "local"));
}

#[tokio::test]
async fn s06_what_stands_after_a_chunked_body_does_not_reach_the_engine() {
    let rig = Rig::start(Kind::Raw).await;
    let create = format!(
        "POST /v1.43/containers/create HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n"
    );
    let answer = rig.ask(format!("{create}2\r\n{{}}\r\n0\r\n\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let answer = rig.ask(format!("{create}2\r\n{{}}\r\n0\r\nX-Evil: 1\r\n\r\n").as_bytes()).await;
    assert!(!answer.starts_with("HTTP/1.1 201"), "{answer}");
    let heard = text(&rig.engine.heard(1));
    assert!(!heard.contains("Evil") && !heard.contains("evil"), "{heard}");
    assert!(!heard.ends_with("0\r\n\r\n"), "the body did not end: {heard}");
}

#[tokio::test]
async fn s02_s13_of_a_filtered_socket_s_requests_what_was_judged_goes_on_and_nothing_else() {
    let rig = Rig::start(Kind::Filtered).await;
    let answer =
        rig.ask(format!("GET /_ping HTTP/1.1\r\n{HOST}X-Evil: 1\r\n\r\n").as_bytes()).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("\r\n\r\n2\r\nOK\r\n0")
            || answer.ends_with("\r\n\r\nOK"),
        "{answer}"
    );
    let lower = answer.to_lowercase();
    assert!(lower.contains("api-version: 1.43") && lower.contains("ostype: linux"), "{answer}");
    assert!(!lower.contains("server:") && !lower.contains("builder-version"), "{answer}");
    let heard = text(&rig.engine.heard(0));
    assert!(
        heard.starts_with("GET /v1.43/_ping HTTP/1.1\r\n") && !heard.contains("vil"),
        "{heard}"
    );
    let create = "POST /containers/create HTTP/1.1\r\n";
    for (request, status) in [
        (format!("POST /commit HTTP/1.1\r\n{HOST}\r\n"), "403"),
        (format!("{create}{HOST}Content-Length: 2\r\n\r\n{{}}"), "400"),
        (format!("{create}{HOST}Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{{}}"), "415"),
        (format!("{create}{HOST}Content-Length: 67108864\r\n\r\n"), "413"),
        (format!("{create}{HOST}Content-Length: 8\r\n\r\n{{\"a\":1,}}"), "400"),
        (format!("POST /containers/{OTHERS}/kill HTTP/1.1\r\n{HOST}\r\n"), "404"),
    ] {
        let answer = rig.ask(request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
    }
    assert_eq!(rig.engine.connections(), 1);
}

/// Most of what a client sends whole before it listens, as some libraries do.
const WHOLE: usize = 8 << 20;

#[tokio::test]
async fn s13_who_sends_a_long_body_hears_why_it_is_refused() {
    let rig = Rig::start(Kind::Filtered).await;
    let sized = format!("Content-Length: {WHOLE}\r\n\r\n");
    let chunk = [format!("{WHOLE:x}\r\n").into_bytes(), vec![b'x'; WHOLE]].concat();
    let chunked = [&*chunk, b"\r\n0\r\n\r\n"].concat();
    for (line, rule) in [
        ("POST /v1.43/images/load?quiet=1", "route.load"),
        ("POST /v1.43/images/create?fromSrc=-&repo=mine", "image.import"),
        ("PUT /v1.43/containers/x/archive?path=%2F", "route.archive"),
        ("POST /v1.43/build?t=x&networkmode=host", "image.tag-name"),
        ("POST /v1.43/containers/create", "body.long"),
        ("POST /v1.43/containers/x/start", "body.long"),
    ] {
        for (how, body) in
            [(&*sized, &*vec![b'x'; WHOLE]), ("Transfer-Encoding: chunked\r\n\r\n", &*chunked)]
        {
            let mut client = rig.connect();
            let head = format!("{line} HTTP/1.1\r\n{HOST}{how}");
            client.write_all(head.as_bytes()).await.expect("written");
            let sending = timeout(Duration::from_secs(10), client.write_all(body)).await;
            assert!(matches!(sending, Ok(Ok(()))), "{head}: all of it is taken: {sending:?}");
            let mut answer = String::new();
            let reading =
                timeout(Duration::from_secs(10), client.read_to_string(&mut answer)).await;
            assert!(matches!(reading, Ok(Ok(_))), "{head}: it ends: {reading:?}");
            assert!(answer.contains(&format!("(rule {rule}")), "{head}: {answer}");
        }
    }
    assert_eq!(rig.engine.connections(), 0);
}

/// Who sends nothing more is told at once, and left soon.
#[tokio::test]
async fn s26_a_refused_client_that_only_announces_a_body_is_left() {
    let rig = Rig::start(Kind::Filtered).await;
    let mut client = rig.connect();
    let head = format!("POST /images/load HTTP/1.1\r\n{HOST}Content-Length: {WHOLE}\r\n\r\n");
    client.write_all(head.as_bytes()).await.expect("written");
    let told = timeout(Duration::from_millis(500), rig::head(&mut client)).await;
    assert!(told.expect("told at once").starts_with("HTTP/1.1 403 "));
    let mut rest = Vec::new();
    let ended = timeout(Duration::from_secs(5), client.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "it stays open");
}

#[tokio::test]
async fn s02_s3_what_a_socket_makes_is_its_user_s_and_is_made_anew_from_what_was_judged() {
    let rig = Rig::start(Kind::Filtered).await;
    let create = |name: &str| {
        let body = "{\"Image\": \"python:3\", \"HostConfig\": {\"Memory\": 0}}";
        let length = body.len();
        format!(
            "POST /containers/create?name={name} HTTP/1.1\r\n{HOST}Content-Length: {length}\r\n\r\n{body}"
        )
    };
    let answer = rig.ask(create("taken").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 409 ") && !answer.contains(OTHERS), "{answer}");
    let answer = rig.ask(create("web").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 201 ") && answer.contains(MADE), "{answer}");
    let heard = text(&rig.engine.heard(1));
    assert!(heard.starts_with("POST /v1.43/containers/create?name=web HTTP/1.1\r\n"), "{heard}");
    assert!(heard.contains("\"enforcer.user\":\"ann\"") && heard.contains("\"Memory\":2147483648"));
    let kill = format!("POST /containers/web/kill HTTP/1.1\r\n{HOST}\r\n");
    assert!(rig.ask(kill.as_bytes()).await.starts_with("HTTP/1.1 201 "));
    let killed = text(&rig.engine.heard(2));
    assert!(killed.starts_with(&format!("POST /v1.43/containers/{MADE}/kill HTTP/1.1\r\n")));
    // The engine lists more than it was asked for: that goes no further.
    let answer = rig.ask(format!("GET /containers/json HTTP/1.1\r\n{HOST}\r\n").as_bytes()).await;
    assert!(answer.contains(MADE) && !answer.contains(OTHERS), "{answer}");
    let records = rig.records(4).await;
    assert!(records.iter().all(|record| record.rule.as_deref() == Some("judged")), "{records:?}");
    assert!(records[1].request.as_deref().is_some_and(|judged| judged.contains("python:3")));
}

/// A create with a JSON body.
fn create(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\n{HOST}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

#[tokio::test]
async fn s3_what_cannot_be_noted_is_taken_away_at_the_engine_and_what_was_there_stays() {
    let mut rig = Rig::start(Kind::Filtered).await;
    let disk = Disk::default();
    let store = Arc::new(disk.store());
    Arc::get_mut(&mut rig.server).expect("nobody is served yet").store = store;
    let volume = |name: &str| create("/volumes/create", &format!("{{\"Name\":\"{name}\"}}"));
    let answer = rig.ask(&volume("kept")).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    disk.fill();

    let failed = |answer: &str| {
        assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("gate.store"), "{answer}");
        assert!(!answer.contains(MADE), "{answer}");
    };
    let image = "{\"Image\":\"python:3\"}";
    failed(&rig.ask(&create("/containers/create?name=web", image)).await);
    let heard = |number: usize| text(&rig.engine.heard(number));
    assert!(heard(1).starts_with("POST /v1.43/containers/create?name=web "), "{}", heard(1));
    let removes = format!("DELETE /v1.43/containers/{MADE}?force=1&v=1 ");
    assert!(heard(2).starts_with(&removes), "{}", heard(2));
    failed(&rig.ask(&volume("new")).await);
    assert!(heard(4).starts_with("DELETE /v1.43/volumes/enforcer-"), "{}", heard(4));
    // What is in it was there before.
    failed(&rig.ask(&volume("kept")).await);
    // A volume that a container brings along is noted first: the engine is not asked.
    let bound = "{\"Image\":\"python:3\",\"HostConfig\":{\"Binds\":[\"data:/data\"]}}";
    failed(&rig.ask(&create("/containers/create?name=web", bound)).await);
    assert_eq!(rig.engine.connections(), 6, "{}", heard(5));

    let facts = rig.server.facts(&rig.principal());
    assert!(facts.containers.is_empty(), "{:?}", facts.containers);
    assert_eq!(facts.volumes.iter().map(|own| &*own.name).collect::<Vec<_>>(), ["kept"]);
}

/// Somebody who takes their time to prepare a network.
#[derive(Debug, Default)]
struct Slow {
    begun: tokio::sync::Notify,
    go_on: tokio::sync::Notify,
    abandoned: tokio::sync::Notify,
}

impl OwnNetworks for Slow {
    fn prepare<'a>(
        &'a self,
        _owner: &'a User,
        _name: &'a str,
    ) -> BoxFuture<'a, Result<Prepared, Refusal>> {
        Box::pin(async {
            self.begun.notify_one();
            self.go_on.notified().await;
            Ok(Prepared::made_up().clone())
        })
    }

    fn settle<'a>(
        &'a self,
        _prepared: &'a Prepared,
        _id: &'a str,
    ) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(async { Ok(()) })
    }

    fn abandon<'a>(&'a self, _prepared: &'a Prepared) -> BoxFuture<'a, ()> {
        Box::pin(async { self.abandoned.notify_one() })
    }

    fn removed<'a>(&'a self, _id: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}

#[tokio::test]
async fn s26_a_network_that_nobody_waits_for_any_more_is_given_up() {
    let mut rig = Rig::start(Kind::Filtered).await;
    let slow = Arc::new(Slow::default());
    let networks: Arc<dyn OwnNetworks> = Arc::<Slow>::clone(&slow);
    Arc::get_mut(&mut rig.server).expect("nobody is served yet").networks = Some(networks);
    let body = "{\"Name\":\"app\"}";
    let mut client = rig.connect();
    let request = format!(
        "POST /networks/create HTTP/1.1\r\n{HOST}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write_all(request.as_bytes()).await.expect("written");
    slow.begun.notified().await;
    drop(client);
    sleep(Duration::from_millis(100)).await;
    slow.go_on.notify_one();
    let abandoned = timeout(Duration::from_secs(2), slow.abandoned.notified()).await;
    assert!(abandoned.is_ok(), "its place is kept for nobody");
    assert_eq!(rig.engine.connections(), 0);
}

#[tokio::test]
async fn s3_a_client_that_leaves_before_the_answer_still_owns_what_was_made() {
    let rig = Rig::start(Kind::Filtered).await;
    let body = "{\"Image\":\"python:3\"}";
    let mut client = rig.connect();
    let request = format!(
        "POST /containers/create?name=web HTTP/1.1\r\n{HOST}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write_all(request.as_bytes()).await.expect("written");
    while rig.engine.connections() == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    drop(client);
    let noted = async {
        while rig.server.facts(&rig.principal()).containers.is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(2), noted).await.expect("it is noted");
}

#[tokio::test]
async fn s27_a_stream_is_byte_exact_both_ways_and_no_second_request_is_read_in_it() {
    let rig = Rig::start(Kind::Raw).await;
    let mut client = rig.connect();
    let attach = "POST /v1.43/containers/x/attach?stream=1 HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\n\
                  Upgrade: tcp\r\n\r\n";
    client.write_all(attach.as_bytes()).await.expect("written");
    let head = rig::head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let within: Vec<u8> =
        b"GET /containers/json HTTP/1.1\r\nHost: x\r\n\r\n\0\xff\r\n".repeat(5000);
    let (mut from, mut to) = client.into_split();
    let sent = within.clone();
    let sending = tokio::spawn(async move {
        to.write_all(&sent).await.expect("written");
        to.shutdown().await.expect("shut");
    });
    let mut echoed = Vec::new();
    from.read_to_end(&mut echoed).await.expect("read");
    sending.await.expect("sent");
    // The engine says this only once it has seen the end.
    assert!(echoed.strip_suffix(b"bye").is_some_and(|echo| echo == within), "{}", echoed.len());
    assert_eq!(rig.engine.connections(), 1);
    let records = rig.records(1).await;
    assert_eq!((records.len(), records[0].status), (1, Some(101)));
    let length = u64::try_from(within.len() + attach.len()).expect("short");
    assert_eq!(records[0].sent, Some(length));
}

#[tokio::test]
async fn s27_what_a_stream_begins_with_does_not_come_together_with_the_head() {
    let rig = Rig::start(Kind::Raw).await;
    let mut client = rig.connect();
    let start = format!(
        "POST /v1.43/exec/big/start HTTP/1.1\r\n{HOST}Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
    );
    client.write_all(start.as_bytes()).await.expect("written");
    while rig.engine.written() == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    sleep(Duration::from_millis(50)).await;
    let mut first = vec![0; 64 << 10];
    let length = client.read(&mut first).await.expect("read");
    let first = text(&first[..length]);
    assert!(first.starts_with("HTTP/1.1 101 ") && first.ends_with("\r\n\r\n"), "{first:.300}");
    assert_eq!(client.read_u8().await.expect("the stream"), pattern(0));
}

#[tokio::test]
async fn s27_what_is_large_is_not_kept() {
    let rig = Rig::start(Kind::Raw).await;
    let mut client = rig.connect();
    let start = format!(
        "POST /v1.43/exec/big/start HTTP/1.1\r\n{HOST}Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
    );
    client.write_all(start.as_bytes()).await.expect("written");
    rig::head(&mut client).await;
    // As long as nobody reads, the engine cannot write more than buffers hold.
    sleep(Duration::from_millis(300)).await;
    let early = rig.engine.written();
    assert!(early < 4 << 20, "{early} bytes are under way");
    let (mut read, mut buffer) = (0_u64, vec![0; 1 << 20]);
    loop {
        match client.read(&mut buffer).await.expect("read") {
            0 => break,
            more => {
                let expected = pattern(read);
                assert_eq!(buffer[0], expected);
                read += u64::try_from(more).expect("short");
            }
        }
    }
    assert_eq!(read, BIG);
}

#[tokio::test]
async fn s19_an_open_stream_ends_within_a_second_when_its_grant_does() {
    for weaker in [false, true] {
        let rig = Rig::start(Kind::Raw).await;
        let mut events = rig.connect();
        let request = format!("GET /v1.43/events HTTP/1.1\r\n{HOST}\r\n");
        events.write_all(request.as_bytes()).await.expect("written");
        rig::head(&mut events).await;
        let mut attached = rig.connect();
        let request = format!(
            "POST /v1.43/containers/x/attach HTTP/1.1\r\n{HOST}Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        );
        attached.write_all(request.as_bytes()).await.expect("written");
        rig::head(&mut attached).await;
        if weaker {
            rig.grant(Kind::Filtered).await;
        } else {
            rig.leave().await;
        }
        for stream in [&mut events, &mut attached] {
            let mut rest = Vec::new();
            let ended = timeout(Duration::from_secs(1), stream.read_to_end(&mut rest)).await;
            assert!(ended.is_ok(), "it is still open");
        }
        rig.engine.all_closed().await;
        let answer = rig.ask(format!("POST /commit HTTP/1.1\r\n{HOST}\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        let records = rig.records(3).await;
        let cut: Vec<_> = records.iter().filter(|record| record.event == "cut").collect();
        assert_eq!(cut.len(), 2, "{records:?}");
        assert!(cut.iter().all(|record| record.why.is_some() && record.verdict == "allow"));
        let rule = if weaker { "route.commit" } else { "grant.none" };
        assert!(records.iter().any(|record| record.rule.as_deref() == Some(rule)), "{records:?}");
    }
}

#[tokio::test]
async fn s17_who_is_not_served_is_told_and_recorded_and_the_engine_hears_nothing() {
    let rig = Rig::start(Kind::Raw).await;
    let mut client = rig.connect_as(Err(Stranger::Others));
    let request = format!("GET /v1.43/events HTTP/1.1\r\n{HOST}\r\n");
    client.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("read");
    assert!(
        answer.starts_with("HTTP/1.1 403 ") && answer.contains("not for this container"),
        "{answer}"
    );
    let records = rig.records(1).await;
    assert_eq!(records[0].rule.as_deref(), Some("identity.stranger"));
    assert_eq!(records[0].path.as_deref(), Some("/v1.43/events"));
    assert_eq!(rig.engine.connections(), 0);
}

#[tokio::test]
async fn s26_a_head_that_does_not_come_and_a_client_that_leaves_end_their_connection() {
    let rig = Rig::start(Kind::Raw).await;
    let mut slow = rig.connect();
    slow.write_all(b"GET /_ping HT").await.expect("written");
    let mut nothing = Vec::new();
    let ended = timeout(Duration::from_secs(5), slow.read_to_end(&mut nothing)).await;
    assert!(ended.is_ok() && nothing.is_empty(), "{nothing:?}");
    let mut events = rig.connect();
    let request = format!("GET /v1.43/events HTTP/1.1\r\n{HOST}\r\n");
    events.write_all(request.as_bytes()).await.expect("written");
    rig::head(&mut events).await;
    drop(events);
    rig.engine.all_closed().await;
    assert_eq!(rig.records(1).await.len(), 1);
}

/// Needs root, as whom a hub's socket serves it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s26_idle_slow_and_greedy_clients_of_one_socket_keep_nobody_out_of_another() {
    // SAFETY: takes nothing.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: not root");
        return;
    }
    let rig = Rig::start(Kind::Raw).await;
    let (lab, two) = (rig.listen("lab", 1), rig.listen("two", 2));
    let mut idle = Vec::new();
    for _ in 0..350 {
        idle.push(UnixStream::connect(&lab.path).await.expect("connected"));
    }
    for slow in idle.iter_mut().take(50) {
        // Those that had to give way have gone.
        let _ = slow.write_all(b"GET /_pi").await;
    }
    let ping = format!("GET /_ping HTTP/1.1\r\n{HOST}\r\n");
    for path in [&two.path, &lab.path] {
        let begun = std::time::Instant::now();
        let mut client = UnixStream::connect(path).await.expect("connected");
        client.write_all(ping.as_bytes()).await.expect("written");
        let mut answer = String::new();
        let read = timeout(Duration::from_secs(1), client.read_to_string(&mut answer)).await;
        assert!(
            read.is_ok() && answer.starts_with("HTTP/1.1 200"),
            "{:?} {answer}",
            begun.elapsed()
        );
    }
    assert!(rig.server.hubs.taken() <= HUBS.each + 1);
    // A socket that is closed ends what goes over it.
    drop(lab);
    let ended = timeout(Duration::from_secs(1), async {
        let mut byte = [0];
        idle.last_mut().expect("one").read(&mut byte).await
    });
    assert_eq!(ended.await.expect("ended").unwrap_or_default(), 0);
}

#[tokio::test]
async fn s17_a_hub_s_own_calls_are_answered_at_its_socket_and_never_go_to_the_engine() {
    let rig = Rig::start(Kind::Filtered).await;
    let hub = |name: &str| Principal::Hub(name.parse().expect("a hub"));
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes();
    let body = r#"{"user":"ann","groups":["staff"],"client":"192.0.2.7","image":"python:3"}"#;
    let post = format!(
        "POST /enforcer/v1/spawns HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let who = rig.ask_at(hub("lab"), &get("/enforcer/v1/hub")).await;
    assert!(who.starts_with("HTTP/1.1 200") && who.contains(r#""hub":"lab""#), "{who}");
    let said = rig.ask_at(hub("lab"), post.as_bytes()).await;
    assert!(said.contains(r#""image_may_be_used":"#) && said.contains("announced"), "{said}");
    let spawn = get("/enforcer/v1/spawns?user=ann");
    let found = rig.ask_at(hub("lab"), &spawn).await;
    assert!(found.contains(r#""stage":"announced""#), "{found}");
    let other = rig.ask_at(hub("two"), &spawn).await;
    assert!(other.contains(r#""stage":"unknown""#), "{other}");
    // A user's socket has nothing of the kind.
    let user = rig.ask(&spawn).await;
    assert!(user.starts_with("HTTP/1.1 403") && user.contains("route.unknown"), "{user}");
    let odd = rig.ask_at(hub("lab"), &get("/enforcer/v1/groups")).await;
    assert!(odd.starts_with("HTTP/1.1 403") && odd.contains("hub.unknown"), "{odd}");
    assert_eq!(rig.engine.connections(), 0);
    let records = rig.records(6).await;
    let verdicts: Vec<_> = records.iter().map(|call| call.verdict.as_str()).collect();
    assert_eq!(verdicts, ["allow", "allow", "allow", "allow", "deny", "deny"]);
    let told = serde_json::to_string(&records[..4]).expect("JSON");
    assert!(told.contains("/enforcer/v1/spawns"), "{told}");
    assert!(!told.contains("192.0.2.7") && !told.contains("ann"), "{told}");
    assert_eq!(records[1].about.user.as_deref(), Some("ann"), "what pseudonyms are made of");
    assert!(records[..4].iter().all(|call| call.query.is_none()), "{told}");
}

#[tokio::test]
async fn s30_of_one_visitor_s_polls_two_wait_and_the_others_are_answered_at_once() {
    let rig = Rig::start(Kind::None).await;
    let hub = || Principal::Hub(HubName::local());
    let poll = |user: &str| {
        format!("GET /enforcer/v1/spawns?user={user}&seen=unknown HTTP/1.1\r\n{HOST}\r\n")
            .into_bytes()
    };
    let (ann, ben) = (poll("ann"), poll("ben"));
    let mut first = std::pin::pin!(rig.ask_at(hub(), &ann));
    let mut second = std::pin::pin!(rig.ask_at(hub(), &ann));
    let short = Duration::from_millis(200);
    assert!(timeout(short, &mut first).await.is_err(), "it waits");
    assert!(timeout(short, &mut second).await.is_err(), "it waits");
    let third = timeout(Duration::from_secs(3), rig.ask_at(hub(), &ann)).await.expect("at once");
    assert!(third.contains(r#""stage":"unknown""#), "{third}");
    let other = timeout(short, rig.ask_at(hub(), &ben)).await;
    assert!(other.is_err(), "another's waits: {other:?}");
}

#[tokio::test]
async fn a2_a_guest_bears_what_its_hub_said_of_its_user_and_no_other_guest_does() {
    let rig = Rig::start(Kind::None).await;
    let hub = || Principal::Hub(HubName::local());
    let post = |target: &str, body: &str| {
        let length = body.len();
        format!("POST {target} HTTP/1.1\r\n{HOST}Content-Length: {length}\r\n\r\n{body}")
            .into_bytes()
    };
    let said = r#"{"user":"ann","groups":["course-7"],"client":"192.0.2.7"}"#;
    let answer = rig.ask_at(hub(), &post("/enforcer/v1/spawns", said)).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for (number, user, groups, client) in [
        (0, "ann", r#""enforcer.groups":"docker-privileged/course-7""#, true),
        (1, "ben", "", false),
    ] {
        let create = format!(r#"{{"Image":"python:3","Env":["JUPYTERHUB_USER={user}"]}}"#);
        let made = rig.ask_at(hub(), &post("/containers/create", &create)).await;
        assert!(made.starts_with("HTTP/1.1 201"), "{made}");
        let heard = text(&rig.engine.heard(number));
        assert!(heard.contains(groups), "{heard}");
        assert_eq!(heard.contains(r#""enforcer.client":"192.0.2.7""#), client, "{heard}");
        assert_eq!(heard.contains("enforcer.groups"), client, "{heard}");
        let spawn = format!("GET /enforcer/v1/spawns?user={user} HTTP/1.1\r\n{HOST}\r\n");
        let stage = rig.ask_at(hub(), spawn.as_bytes()).await;
        assert!(stage.contains(r#""stage":"asked""#), "{stage}");
    }
}
