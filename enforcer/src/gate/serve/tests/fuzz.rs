//! Requests as clients make them, broken in the ways in which bytes break, before an engine whose answers are broken as well.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::timeout,
};

use super::{
    super::{Principal, Server, Visitor, serve},
    engine::{MADE, OTHERS},
    rig::Rig,
};
use crate::{
    access::grant::Kind,
    gate::{
        pace::Pace,
        table::{Answer, ROUTES, Route},
    },
};

/// Requests of a usual run, which takes a few seconds, and of a long one.
const USUAL: u64 = 6_000;
const LONG: u64 = 10_000_000;
/// From which all of them are made.
const SEED: u64 = 0x51_31;
/// At a time.
const BESIDE: u64 = 24;
/// Longest that nothing of an answer comes to who listens.
const QUIET: Duration = Duration::from_millis(100);
/// Longest that a connection outlives its client.
const LEFT: Duration = Duration::from_secs(20);

const NAMES: &[&str] = &[
    "web",
    "taken",
    "x",
    MADE,
    OTHERS,
    "python",
    "python:3",
    "..",
    "%2e%2e",
    "a%2Fb",
    "%00",
    "%zz",
    "\u{e9}",
    "library/python",
    "json",
];
const QUERIES: &[&str] = &[
    "",
    "?",
    "?name=web",
    "?name=taken",
    "?name=%2fweb",
    "?all=1&limit=5",
    "?filters=%7B%22label%22%3A%5B%22a%3Db%22%5D%7D",
    "?filters=%7B%22label%22%3A%7B%22a%22%3Atrue%7D%7D",
    "?filters=%7B",
    "?fromImage=python&tag=3",
    "?fromImage=python%3A3",
    "?t=mine&dockerfile=Dockerfile&buildargs=%7B%22A%22%3Anull%7D",
    "?stdout=1&stderr=1&follow=1&tail=all",
    "?stream=1&stdin=1&stdout=1",
    "?signal=SIGKILL",
    "?t=10",
    "?h=24&w=80",
    "?since=1&until=2",
    "?force=1&v=1",
    "?repo=mine&tag=latest",
    "?stream=0&one-shot=1",
    "?condition=not-running",
    "?force=1&force=0",
    "?=&&=",
];
const HEADERS: &[&str] = &[
    "Content-Type: application/json\r\n",
    "Connection: Upgrade\r\nUpgrade: tcp\r\n",
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "X-Registry-Auth: e30=\r\n",
    "X-Registry-Config: e30=\r\n",
    "Expect: 100-continue\r\n",
    "Transfer-Encoding: chunked\r\n",
    "User-Agent: a\u{7f}b\r\n",
    "Content-Encoding: gzip\r\n",
];
/// What is sent where a path ends so.
const FITTING: &[(&str, &[usize])] = &[
    ("/containers/create", &[2, 3]),
    ("/exec", &[4]),
    ("/start", &[5]),
    ("/volumes/create", &[6]),
    ("/networks/create", &[7]),
    ("connect", &[8]),
    ("/update", &[9]),
    ("/build", &[11]),
];
const BODIES: &[&str] = &[
    "",
    "{}",
    "{\"Image\":\"python:3\",\"Cmd\":[\"sh\"],\"HostConfig\":{\"Memory\":1048576,\"Binds\":[\"v:/v\"],\"NetworkMode\":\"n\"}}",
    "{\"Image\":\"python:3\",\"HostConfig\":{\"Privileged\":true,\"PortBindings\":{\"80/tcp\":[{\"HostPort\":\"\"}]}},\"NetworkingConfig\":{\"EndpointsConfig\":{\"n\":{\"Aliases\":[\"a\"]}}}}",
    "{\"Cmd\":[\"sh\"],\"AttachStdin\":true,\"Tty\":true,\"Env\":[\"A=b\"]}",
    "{\"Detach\":false,\"Tty\":true}",
    "{\"Name\":\"v\",\"Driver\":\"local\",\"Labels\":{\"a\":\"b\"}}",
    "{\"Name\":\"n\",\"Driver\":\"bridge\",\"IPAM\":{\"Config\":[]}}",
    "{\"Container\":\"web\",\"EndpointConfig\":{}}",
    "{\"Memory\":1048576,\"RestartPolicy\":{\"Name\":\"no\"}}",
    "[[[[[[[[[[[[[[[[[[",
    "FROM python:3\nRUN --mount=type=bind true\n",
];
/// What an engine might say.
const ANSWERS: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nnull\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1f\r\n{\"Type\":\"container\",\"Actor\":[]}\n\r\n3\r\n{}\n\r\n0\r\n\r\n",
    "HTTP/1.1 500 Oops\r\nContent-Length: 13\r\n\r\n{\"message\":1}",
    "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nabc",
    "HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n[{\"Id\":",
    "HTTP/1.1 201 Created\r\nContent-Length: 85\r\n\r\n{\"Id\":\"ab00000000000000000000000000000000000000000000000000000000000001\",\"Warnings\":[]}",
    "HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n[{\"Id\":7,\"Names\":null,\"Labels\":[],\"NetworkSettings\":\"none\"}]",
    "HTTP/1.1 200 OK\r\nContent-Length: 41\r\n\r\n{\"Networks\":{},\"Containers\":[1],\"Volumes\":0",
];

/// Numbers that look like chance (splitmix64).
pub(super) struct Dice(u64);

impl Dice {
    /// Those of one case.
    pub(super) const fn of_case(number: u64) -> Self {
        Self(SEED ^ number.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        let most = u64::try_from(most.max(1)).unwrap_or(1);
        usize::try_from(self.roll() % most).unwrap_or_default()
    }

    fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    /// Breaks bytes in one place.
    fn break_one(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        let end = (at + 1 + self.below(24)).min(bytes.len());
        match self.below(6) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.insert(at, self.roll().to_le_bytes()[0]),
            3 => {
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            4 => bytes.insert(at, *b"\r\n\0 \t:%&?{}\"\\/".get(self.below(14)).unwrap_or(&0)),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << self.below(8);
                }
            }
        }
    }

    /// Breaks bytes, or in some cases does not.
    fn break_some(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..[0, 0, 0, 0, 1, 1, 4][self.below(7)] {
            self.break_one(bytes);
        }
    }
}

/// A request, and whether a hub sends it. Of what it is made half is as clients say it.
fn request(number: u64) -> Tried {
    let mut dice = Dice::of_case(number);
    let served: Vec<&Route> =
        ROUTES.iter().filter(|route| matches!(route.user, Answer::Judge(_))).collect();
    let route = if dice.one_in(5) {
        &ROUTES[dice.below(ROUTES.len())]
    } else {
        served[dice.below(served.len())]
    };
    let called =
        if dice.one_in(3) { dice.of(NAMES) } else { dice.of(&["web", "python", "v", "n"]) };
    let part = |part: &'static str| if part.starts_with('{') { called } else { part };
    let path: Vec<&str> = route.path.split('/').map(part).collect();
    let version =
        if dice.one_in(8) { dice.of(&["/v1.99", "/v1.24", "/v2", "//"]) } else { "/v1.41" };
    let query = if dice.one_in(3) { dice.of(QUERIES) } else { "" };
    let fitting = FITTING.iter().find(|(end, _)| route.path.ends_with(end));
    let body = match fitting {
        _ if dice.one_in(5) => dice.of(BODIES),
        Some((_, fitting)) => BODIES[fitting[dice.below(fitting.len())]],
        None => "",
    };
    let mut text =
        format!("{} {version}{}{query} HTTP/1.1\r\nHost: d\r\n", route.method, path.join("/"));
    for _ in 0..[0, 0, 0, 0, 1, 2][dice.below(6)] {
        text.push_str(dice.of(HEADERS));
    }
    if text.contains("chunked") {
        text = format!("{text}\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    } else if body.is_empty() {
        text.push_str("\r\n");
    } else {
        text = format!(
            "{text}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
    }
    let mut bytes = text.into_bytes();
    dice.break_some(&mut bytes);
    (bytes, dice.one_in(4))
}

/// What the engine says to its `number`th connection; in many cases nothing that is broken: then `None`.
pub(super) fn engine_says(number: u64) -> Option<Vec<u8>> {
    let mut dice = Dice::of_case(!number);
    if dice.one_in(3) {
        return None;
    }
    let mut bytes = dice.of(ANSWERS).as_bytes().to_vec();
    dice.break_some(&mut bytes);
    Some(bytes)
}

/// What was answered, and whether its connection ended.
type Tried = (Vec<u8>, bool);

/// How it went.
#[derive(Default)]
struct Seen {
    refused: u64,
    failures: Vec<String>,
}

/// One request, from its first byte to the end of its connection.
async fn try_one(server: Arc<Server>, user: Principal, number: u64) -> (Vec<u8>, bool) {
    let (bytes, is_hub) = request(number);
    let principal = if is_hub { Principal::Hub("lab".parse().expect("a hub")) } else { user };
    let (mut client, stream) = UnixStream::pair().expect("a pair");
    let conversation = tokio::spawn(async move {
        let seats = if is_hub { &server.hubs } else { &server.users };
        let seat = seats.take(1).expect("a place");
        serve(stream, &seat, &principal, &server, (Visitor::default(), Ok(()))).await;
    });
    // It may have been answered before all of it was taken.
    let _refused = client.write_all(&bytes).await;
    if number.is_multiple_of(8) {
        let _refused = client.shutdown().await;
    }
    let mut answer = vec![0; 16 << 10];
    let mut length = 0;
    while let Ok(Ok(more @ 1..)) = timeout(QUIET, client.read(&mut answer[length..])).await {
        length += more;
    }
    answer.truncate(length);
    drop(client);
    let is_over = matches!(timeout(LEFT, conversation).await, Ok(Ok(())));
    (answer, is_over)
}

/// S31: whatever is asked and whatever the engine says, a connection ends without a panic and takes no other with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s31_no_bytes_of_a_client_or_of_the_engine_break_more_than_their_connection() {
    let mut rig = Rig::start(Kind::Filtered).await;
    Arc::get_mut(&mut rig.server).expect("nobody is served yet").pace = Pace::of(Duration::ZERO, 1);
    let create =
        "POST /containers/create?name=web HTTP/1.1\r\nHost: d\r\nContent-Length: 20\r\n\r\n";
    let answer = rig.ask(format!("{create}{{\"Image\":\"python:3\"}}").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    rig.engine.misbehave(true);
    let count = if std::env::var_os("ENFORCER_TEST_LONG").is_some() { LONG } else { USUAL };
    let mut seen = Seen::default();
    let mut running = tokio::task::JoinSet::new();
    for number in 0..count {
        let tried = try_one(Arc::clone(&rig.server), rig.principal(), number);
        running.spawn(async move { (number, tried.await) });
        if number >= BESIDE || number + 1 == count {
            note(&mut seen, running.join_next().await);
        }
    }
    while let Some(done) = running.join_next().await {
        note(&mut seen, Some(done));
    }
    assert!(seen.failures.is_empty(), "{:#?}", seen.failures);
    // Otherwise nothing was shown of what comes after the first look.
    let reached = rig.engine.connections();
    assert!(reached as u64 * 33 > count, "{reached} of {count} reached the engine");
    assert!(seen.refused * 5 > count, "{} of {count} were refused", seen.refused);
    rig.engine.misbehave(false);
    let answer = rig.ask(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    rig.engine.all_closed().await;
}

fn note(seen: &mut Seen, done: Option<Result<(u64, Tried), tokio::task::JoinError>>) {
    let Some(Ok((number, (answer, is_over)))) = done else {
        seen.failures.push("a client panicked".to_owned());
        return;
    };
    if answer.starts_with(b"HTTP/1.1 4") {
        seen.refused += 1;
    }
    if !is_over {
        let bytes = request(number).0;
        seen.failures.push(format!("request {number}: {}", super::rig::text(&bytes)));
    }
}
