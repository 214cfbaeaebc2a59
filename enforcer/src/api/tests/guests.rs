//! Guests by the API: orders in lines, and a hub's own guests only.

use super::{
    rig::{Server, json, talk},
    who::{HUB, as_user, is_root, roles},
};
use crate::{
    api::{ControlError, asked::Step, client},
    model::guest::{ExecOrder, GuestOrder, GuestsQuestion, LogsQuestion, ResetOrder, WhichGuest},
};

fn order(image: &str) -> GuestOrder {
    GuestOrder { user: "ann".to_owned(), image: image.to_owned(), ..GuestOrder::default() }
}

#[tokio::test]
async fn an_order_is_answered_with_how_far_it_is_and_then_how_it_ended() {
    let server = Server::start("guests");
    let dir = server.dir();
    let mut heard = Vec::new();
    let started = client::start_guest(dir, &order("python:3"), |word| heard.push(word)).await;
    let started = started.expect("started");
    assert_eq!((started.hub.as_str(), started.user.as_str()), ("local", "ann"));
    assert_eq!(started.image, "an admin");
    assert!(heard.iter().any(|word| word.step == Some(Step::Pull)), "{heard:?}");
    let full = client::start_guest(dir, &order("full"), |_| {}).await;
    assert!(matches!(full, Err(ControlError::Refused(why)) if why == "there is no room"));
    let which = |user: &str| WhichGuest { user: user.to_owned(), ..WhichGuest::default() };
    client::stop_guest(dir, &which("ann")).await.expect("stopped");
    let gone = client::remove_guest(dir, &which("nobody")).await;
    assert!(matches!(gone, Err(ControlError::Refused(why)) if why.contains("no guest")));
    let command = vec!["id".to_owned(), "-u".to_owned()];
    let exec = ExecOrder { user: "ann".to_owned(), command, ..ExecOrder::default() };
    let ran = client::exec_in_guest(dir, &exec).await.expect("ran");
    assert_eq!((ran.exit_code, ran.stdout.as_str()), (Some(3), "id -u"));
    let asked = LogsQuestion {
        hub: Some("lab".to_owned()),
        user: "ann b".to_owned(),
        server: Some("two".to_owned()),
        tail: Some(5),
    };
    let logs = client::guest_logs(dir, &asked).await.expect("logs");
    assert_eq!(logs.text, "ann b of hub lab, server two");
    let reset = ResetOrder { user: "ann".to_owned(), ..ResetOrder::default() };
    let removed = client::reset_volumes(dir, &reset).await.expect("reset");
    assert_eq!(removed, ["home", "workspace", "cache"], "left out: all");
    let bad = ResetOrder { volumes: vec!["root".to_owned()], ..reset };
    let refused = client::reset_volumes(dir, &bad).await;
    assert!(matches!(refused, Err(ControlError::Refused(why)) if why.contains("home, workspace")));
    let all = client::guests(dir, &GuestsQuestion::default()).await.expect("a list");
    assert_eq!(all.guests[0].hub, "every hub");
    let slash = client::stop_guest(dir, &which("a/b")).await;
    assert!(matches!(slash, Err(ControlError::Refused(why)) if why.contains("no '/'")));
}

#[tokio::test]
async fn s17_a_hub_starts_and_ends_guests_of_its_own_users_only() {
    if !is_root("s17_a_hub_starts_and_ends_guests_of_its_own_users_only") {
        return;
    }
    let server = Server::start("hub-guests");
    server.roles.send_replace(roles());
    server.socket.open_to(&roles().others()).expect("opened");
    let ask = async |request| as_user(HUB, server.dir(), request).await.expect("an answer");
    let own = ask("GET /v1/guests HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(json(&own)["guests"][0]["hub"], "lab", "{own}");
    for request in [
        "GET /v1/guests?hub=local HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /v1/guests?hub=course HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /v1/guests/inspect?hub=course&user=ann HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /v1/guests/logs?hub=local&user=ann HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /v1/guests/start HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: 46\r\n\r\n{\"hub\":\"course\",\"user\":\"ann\",\"image\":\"python\"}",
        "POST /v1/guests/remove HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: 29\r\n\r\n{\"hub\":\"local\",\"user\":\"ann\" }",
    ] {
        let answer = ask(request).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{request}\n{answer}");
    }
    let started =
        ask("POST /v1/guests/start HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: 31\r\n\r\n{\"user\":\"ann\",\"image\":\"python\"}")
        .await;
    let line = started.lines().find(|line| line.starts_with("{\"done\":{")).expect("an outcome");
    assert!(line.contains("\"hub\":\"lab\"") && line.contains("a hub"), "{line}");
    // Its groups and grants are none of its business.
    let groups = ask("GET /v1/groups HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(groups.starts_with("HTTP/1.1 403 "), "{groups}");
    assert!(
        talk(server.dir(), b"GET /v1/guests HTTP/1.1\r\nHost: x\r\n\r\n").await.contains("every")
    );
}
