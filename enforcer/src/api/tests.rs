//! The API over a real socket, with a supervisor that answers by rote.

mod access;
mod document;
mod guests;
mod limits;
mod rig;
mod who;

use axum::{Router, routing::get};
use tokio::net::UnixListener;

use self::rig::{RunDir, Server, body, json, talk};
use super::{ControlError, client, routes::guarded};
use crate::model::{
    flows::{FlowOrder, FlowsQuestion},
    status::ExplainQuestion,
};

#[tokio::test]
async fn every_question_of_the_command_line_is_answered() {
    let server = Server::start("answers");
    let dir = server.dir();
    assert_eq!(client::status(dir).await.expect("a report").pid, 42);
    client::reload(dir).await.expect("reloaded");
    let ended = client::pardon(dir, "ann".to_owned()).await.expect("pardoned");
    assert_eq!(ended, ["ann is no longer cut off"]);
    let question =
        FlowsQuestion { guest: Some("a b&c=d".to_owned()), limit: 7, order: FlowOrder::Age };
    // The supervisor says back whom it was asked about.
    assert_eq!(client::flows(dir, &question).await.expect("flows").flows[0].guest, "a b&c=d");
    let to = "2001:db8::1".parse().expect("an address");
    let question = ExplainQuestion { from: "ann".to_owned(), to, protocol: 6, port: 443 };
    assert_eq!(client::explain(dir, &question).await.expect("explained").guest, "ann");
    client::stop(dir).await.expect("stopped");
    let callers = server.callers();
    let who = callers.first().expect("a caller");
    assert_eq!(who.uid, Some(rig::own_uid()));
    assert_eq!(who.pid, Some(std::process::id()));
    assert!(who.comm.as_ref().is_some_and(|comm| !comm.is_empty()), "{who:?}");
    assert_eq!(callers.len(), 3, "reload, pardon, stop");
}

#[tokio::test]
async fn an_erasure_tells_how_far_it_is_and_then_how_it_ended() {
    let server = Server::start("erase");
    let dir = server.dir();
    let names = |who: &str| vec![who.to_owned(); 3];
    let mut heard = Vec::new();
    let count =
        client::erase(dir, "/a".into(), names("p-1"), |word| heard.push((word.done, word.of)));
    assert_eq!(count.await.expect("erased"), 9);
    assert_eq!(heard, [(1, 3), (2, 3), (3, 3)]);
    let failed = client::erase(dir, "/a".into(), names("bad"), |_| {}).await;
    assert!(matches!(failed, Err(ControlError::Refused(why)) if why == "the disk is full"));
    let gone = client::erase(dir, "/a".into(), names("vanish"), |_| {}).await;
    assert!(matches!(gone, Err(ControlError::Refused(why)) if why == "the daemon is stopping"));
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_with_status_and_code() {
    let server = Server::start("wrong");
    let post = |path: &str, body: &str| {
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
    };
    let plain = |line: &str| format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n");
    let untyped =
        "POST /v1/pardon HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\n\r\n{\"guest\":\"ann\"}";
    let deep = format!("{{\"guest\":{}", "[".repeat(5000));
    for (request, status, code) in [
        (plain("GET /v1/halt"), 404, "no_such_call"),
        (plain("GET /"), 404, "no_such_call"),
        (plain("GET /v1/status/"), 404, "no_such_call"),
        (plain("GET //v1/status"), 404, "no_such_call"),
        (plain("POST /v1/status"), 405, "wrong_verb"),
        (plain("HEAD /v1/status"), 405, ""),
        (plain("PATCH /v1/status"), 405, "wrong_verb"),
        (plain("GET /v1/stop"), 405, "wrong_verb"),
        (plain("GET /v1/status?verbose=1"), 400, "bad_request"),
        (plain("GET /v1/flows?limit=many"), 400, "bad_request"),
        (plain("GET /v1/flows?limit=1&limit=2"), 400, "bad_request"),
        (plain("GET /v1/flows?halt=1"), 400, "bad_request"),
        (plain("GET /v1/explain?from=a"), 400, "bad_request"),
        (plain("GET /v1/flows?guest=nobody"), 404, "not_found"),
        (post("/v1/reload", "{}"), 413, "too_large"),
        (post("/v1/pardon", "{\"guest\":\"two\"}"), 409, "conflict"),
        (post("/v1/pardon", "{\"guest\":\"late\"}"), 504, "not_yet"),
        (post("/v1/pardon", "{\"guest\":\"ann\",\"by\":\"root\"}"), 400, "bad_request"),
        (post("/v1/pardon", "{\"guest\":\"ann\",\"guest\":\"ben\"}"), 400, "bad_request"),
        (post("/v1/pardon", "{\"Guest\":\"ann\"}"), 400, "bad_request"),
        (post("/v1/pardon", "{\"guest\":7}"), 400, "bad_request"),
        (post("/v1/pardon", "{\"guest\":\"ann\"} {}"), 400, "bad_request"),
        (post("/v1/pardon", ""), 400, "bad_request"),
        (post("/v1/pardon", &deep), 400, "bad_request"),
        (post("/v1/pardon?x", "{\"guest\":\"ann\"}"), 400, "bad_request"),
        (untyped.to_owned(), 415, "not_json"),
    ] {
        let answer = talk(server.dir(), request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.60}: {answer}");
        if !code.is_empty() {
            assert_eq!(json(&answer)["error"]["code"], code, "{request:.60}");
        }
        assert!(answer.contains("server: enforcer/"), "{answer}");
    }
    let answer = talk(server.dir(), plain("GET /v1/stop").as_bytes()).await;
    assert!(answer.contains("allow: POST\r\n"), "{answer}");
    // The control: the same calls as they are meant.
    for request in [plain("GET /v1/flows?limit=1"), post("/v1/pardon", "{\"guest\":\"ann\"}")] {
        let answer = talk(server.dir(), request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    assert_eq!(server.refused(), 0, "nobody lacked a role");
}

#[tokio::test]
async fn what_is_not_http_gets_an_error_and_disturbs_nobody() {
    let server = Server::start("garbage");
    for garbage in
        ["\n\n\n", "{\"ask\":\"status\"}\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\0\0\0"]
    {
        let answer = talk(server.dir(), garbage.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{garbage:?}: {answer}");
    }
    assert_eq!(client::status(server.dir()).await.expect("a report").pid, 42);
}

#[tokio::test]
async fn n6_a_call_that_the_router_has_and_the_table_has_not_is_denied() {
    let router = |api| {
        let known = get(|| async { "served" });
        guarded(Router::new().route("/v1/secret", known.clone()).route("/v1/version", known), api)
    };
    let server = Server::with("secret", router);
    let ask = async |path: &str| {
        talk(server.dir(), format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await
    };
    let answer = ask("/v1/secret").await;
    assert!(answer.starts_with("HTTP/1.1 403 ") && !answer.contains("served"), "{answer}");
    assert_eq!(server.refused(), 1);
    assert_eq!(body(&ask("/v1/version").await), "served");
}

#[tokio::test]
async fn a_daemon_that_is_stopping_or_gone_says_so() {
    let server = Server::start("stopping");
    server.forget_supervisor().await;
    let stopping = client::status(server.dir()).await;
    assert!(matches!(stopping, Err(ControlError::Refused(why)) if why == "the daemon is stopping"));
    let dir = server.end().await;
    let gone = client::status(&dir.0).await;
    assert!(matches!(gone, Err(ControlError::NotRunning(_))), "{gone:?}");
}

#[tokio::test]
async fn a_daemon_of_another_version_is_named() {
    // One of before HTTP.
    let dir = RunDir::new("old");
    let listener = UnixListener::bind(super::path(&dir.0)).expect("listens");
    let old =
        tokio::spawn(rig::answer_all(listener, "{\"error\":\"not a question that I know\"}\n"));
    let told = client::status(&dir.0).await.expect_err("is not understood").to_string();
    old.abort();
    assert!(told.contains("is it another version?"), "{told}");
    // One that lacks a call.
    let server = Server::with("older", |api| guarded(Router::new(), api));
    let told = client::status(server.dir()).await.expect_err("there is none").to_string();
    assert!(told.starts_with("the daemon does not know \"status\": it is enforcer/0."), "{told}");
    // One that answers otherwise.
    let dir = RunDir::new("newer");
    let listener = UnixListener::bind(super::path(&dir.0)).expect("listens");
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{\"state\":\"ok\"}";
    let newer = tokio::spawn(rig::answer_all(listener, answer));
    let told = client::status(&dir.0).await.expect_err("is not understood").to_string();
    newer.abort();
    assert!(told.contains("is it another version?"), "{told}");
}
