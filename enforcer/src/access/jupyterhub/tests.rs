//! Against a server of the test's own that answers byte by byte as it is told, and keeps what it was asked.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::access::store::tests::Dir;

const TOKEN: &str = "5ec7e7-5ec7e7";

/// What the server does with a request.
#[derive(Clone)]
pub(crate) enum Act {
    /// A status and a body.
    Say(u16, String),
    /// These bytes, and the end.
    Bytes(Vec<u8>),
    /// Nothing, for ever.
    Hang,
}

pub(crate) fn say(status: u16, body: &str) -> Act {
    Act::Say(status, body.to_owned())
}

pub(crate) struct Server {
    pub(crate) settings: Settings,
    hub: JupyterHub,
    asked: Arc<Mutex<Vec<String>>>,
    /// Directory of the token.
    dir: Dir,
}

impl Server {
    /// Answers the first request so, the second so, and the rest as the last one.
    pub(crate) async fn start(acts: &[Act]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (kept, acts) = (Arc::clone(&asked), acts.to_vec());
        // It ends with the test's runtime.
        tokio::spawn(async move {
            let mut acts = acts.into_iter();
            let mut act = acts.next().expect("one at least");
            loop {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut head = Vec::new();
                while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read(&mut byte).await.unwrap_or(0) == 0 {
                        break;
                    }
                    head.extend(byte);
                }
                let head = String::from_utf8(head).expect("is text");
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(head);
                let bytes = match &act {
                    Act::Say(status, body) => {
                        let length = body.len();
                        format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nlocation: /\r\n\r\n{body}")
                            .into_bytes()
                    }
                    Act::Bytes(bytes) => bytes.clone(),
                    Act::Hang => std::future::pending().await,
                };
                // Whoever asked may have heard enough.
                let _ = stream.write_all(&bytes).await;
                act = acts.next().unwrap_or(act);
            }
        });
        let dir = Dir::new();
        fs::create_dir(&dir.0).expect("made");
        let token_file = dir.0.join("token");
        fs::write(&token_file, format!("{TOKEN}\n")).expect("written");
        fs::set_permissions(&token_file, Permissions::from_mode(0o600)).expect("set");
        let api = format!("http://127.0.0.1:{port}/hub/api").parse().expect("an address");
        let timeout = Duration::from_millis(500);
        let settings = Settings { api, token_file, timeout };
        Self { hub: JupyterHub::new(settings.clone()), settings, asked, dir }
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// First lines of what it was asked.
    fn lines(&self) -> Vec<String> {
        self.asked().iter().map(|head| head.lines().next().unwrap_or_default().to_owned()).collect()
    }
}

fn user(name: &str) -> UserName {
    name.parse().expect("a user")
}

fn group(name: &str) -> GroupName {
    name.parse().expect("a group")
}

#[tokio::test]
async fn s1_the_groups_of_a_user_are_those_that_the_hub_says_now() {
    let one = r#"{"name": "ann", "groups": ["staff", "a/b", "docker-privileged"], "admin": false}"#;
    let two = r#"{"name": "ann", "groups": [], "kind": "user", "later": {"a": 1}}"#;
    let server = Server::start(&[say(200, one), say(200, two), say(404, "{}")]).await;
    let found = server.hub.groups_of(&user("ann")).await.expect("an answer");
    assert_eq!(found, [group("staff"), group("docker-privileged")]);
    assert_eq!(server.hub.groups_of(&user("ann")).await.expect("asked again"), []);
    assert_eq!(server.hub.groups_of(&user("ann")).await.expect("nobody of that name"), []);
    let asked = server.asked();
    assert_eq!(server.lines(), ["GET /hub/api/users/ann HTTP/1.1"; 3]);
    let header = format!("authorization: token {TOKEN}\r\n");
    assert!(asked.iter().all(|head| head.to_lowercase().contains(&header)), "{asked:?}");
}

#[tokio::test]
async fn s1_whatever_a_name_holds_it_is_one_segment_of_the_path() {
    for (name, path) in [
        ("ann@example.org", "ann%40example.org"),
        ("a b?c#d&e", "a%20b%3Fc%23d%26e"),
        ("a%2f..%2fb", "a%252f..%252fb"),
        ("jörg", "j%C3%B6rg"),
        ("a\\b;c", "a%5Cb%3Bc"),
    ] {
        let body = serde_json::json!({"name": name, "groups": ["staff"]}).to_string();
        let server = Server::start(&[say(200, &body)]).await;
        assert_eq!(server.hub.groups_of(&user(name)).await.expect(name), [group("staff")]);
        assert_eq!(server.lines(), [format!("GET /hub/api/users/{path} HTTP/1.1")]);
    }
}

#[tokio::test]
async fn s1_a_hub_that_does_not_answer_as_it_should_is_unavailable() {
    let endless = |body: &str| {
        let mut bytes = b"HTTP/1.1 200 x\r\ncontent-length: 9000000\r\n\r\n".to_vec();
        bytes.extend(body.repeat(9_000_000 / body.len() + 1).bytes());
        Act::Bytes(bytes)
    };
    let of_ann = r#"{"name": "ann", "groups": ["staff"]}"#;
    for (act, words) in [
        (say(500, ""), "answered 500"),
        (say(302, of_ann), "answered 302"),
        (say(401, of_ann), "answered 401"),
        (say(403, of_ann), "read:users:groups"),
        (say(200, "<html>"), "no such JSON"),
        (say(200, "[]"), "no such JSON"),
        (say(200, r#"{"name": "ann", "groups": "staff"}"#), "no such JSON"),
        (say(200, r#"{"name": "ben", "groups": ["staff"]}"#), "another user"),
        (say(200, r#"{"name": "ann"}"#), "read:users:groups"),
        (Act::Bytes(Vec::new()), "http://127.0.0.1"),
        (Act::Bytes(b"SSH-2.0-x\r\n".to_vec()), "http://127.0.0.1"),
        (
            Act::Bytes(b"HTTP/1.1 200 x\r\ncontent-length: 99\r\n\r\n{}".to_vec()),
            "http://127.0.0.1",
        ),
        (endless("{\"name\": \"ann\"} "), "length limit"),
        (Act::Hang, "no answer within 500ms"),
    ] {
        let server = Server::start(&[act]).await;
        let error = server.hub.groups_of(&user("ann")).await.expect_err(words);
        let told = format!("{error} {error:?}");
        assert!(told.contains(words), "{told}");
        assert!(!told.contains(TOKEN), "{told}");
        assert_eq!(server.asked().len(), 1, "asked once, and nothing is followed: {told}");
    }
    // Nobody is there.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let api = format!("http://{}/hub/api", listener.local_addr().expect("an address"));
    drop(listener);
    let server = Server::start(&[Act::Hang]).await;
    let token_file = server.dir.0.join("token");
    let settings = Settings {
        api: api.parse().expect("an address"),
        token_file,
        timeout: Duration::from_secs(3),
    };
    let error =
        JupyterHub::new(settings).groups_of(&user("ann")).await.expect_err("nobody is there");
    assert!(matches!(error, Unavailable::Silent { .. }), "{error:?}");
}

#[tokio::test]
async fn s1_a_token_is_read_each_time_and_not_from_a_file_that_others_may_read() {
    let server = Server::start(&[say(200, r#"{"name": "ann", "groups": []}"#)]).await;
    let path = server.dir.0.join("token");
    let set = |mode| fs::set_permissions(&path, Permissions::from_mode(mode)).expect("set");
    for mode in [0o644, 0o660, 0o604] {
        set(mode);
        let error = server.hub.groups_of(&user("ann")).await.expect_err("others may read it");
        assert!(matches!(error, Unavailable::Token { .. }), "{mode:o}: {error}");
    }
    set(0o640);
    for text in ["", "\n", "two words", "a\nb", "\u{7}"] {
        fs::write(&path, text).expect("written");
        let error = server.hub.groups_of(&user("ann")).await.expect_err("no token");
        assert!(matches!(error, Unavailable::Token { .. }), "{text:?}: {error}");
    }
    // Somebody else's file, and a link to a good one.
    fs::write(&path, "token\n").expect("written");
    let elsewhere = server.dir.0.join("elsewhere");
    fs::rename(&path, &elsewhere).expect("moved");
    std::os::unix::fs::symlink(&elsewhere, &path).expect("linked");
    let error = server.hub.groups_of(&user("ann")).await.expect_err("a link");
    assert!(error.to_string().contains("symbolic link"), "{error}");
    fs::rename(&elsewhere, &path).expect("put back");
    // Only root can give a file away.
    if std::os::unix::fs::chown(&path, Some(12345), None).is_ok() {
        let error = server.hub.groups_of(&user("ann")).await.expect_err("a stranger's");
        assert!(error.to_string().contains("another user's"), "{error}");
        std::os::unix::fs::chown(&path, Some(0), None).expect("put back");
    }
    assert_eq!(server.asked().len(), 0, "the hub never heard of it");
    fs::write(&path, " another \n").expect("written");
    server.hub.groups_of(&user("ann")).await.expect("an answer");
    let asked = server.asked();
    assert!(asked[0].to_lowercase().contains("authorization: token another\r\n"), "{asked:?}");
    fs::remove_file(&path).expect("removed");
    assert!(server.hub.groups_of(&user("ann")).await.is_err());
}

#[tokio::test]
async fn a_list_of_groups_is_read_to_its_end_whether_or_not_it_comes_in_pages() {
    let page = |name: &str, next: &str| {
        say(
            200,
            &format!(
                r#"{{"items": [{{"name": "{name}", "users": []}}], "_pagination": {{"offset": 0, "next": {next}}}}}"#
            ),
        )
    };
    let acts = [page("a", r#"{"offset": 100, "limit": 100}"#), page("b", "null")];
    let server = Server::start(&acts).await;
    assert_eq!(server.hub.groups().await.expect("groups"), [group("a"), group("b")]);
    let asked =
        ["0", "100"].map(|at| format!("GET /hub/api/groups?offset={at}&limit=100 HTTP/1.1"));
    assert_eq!(server.lines(), asked);
    let server =
        Server::start(&[say(200, r#"[{"name": "a"}, {"name": "b", "users": ["ann"]}]"#)]).await;
    assert_eq!(server.hub.groups().await.expect("groups"), [group("a"), group("b")]);
    let server = Server::start(&[page("a", r#"{"offset": 0}"#)]).await;
    let error = server.hub.groups().await.expect_err("it goes round");
    assert!(matches!(error, Unavailable::Strange { .. }), "{error}");
}

#[tokio::test]
async fn s1_a_built_in_group_that_is_missing_is_made() {
    let staff = r#"{"name": "staff", "users": ["ann", "b/n"]}"#;
    let (missing, made) = (say(404, "{}"), say(201, staff));
    let acts = [say(200, staff), missing.clone(), made, missing, say(409, "{}")];
    let server = Server::start(&acts).await;
    let groups = [group("staff"), group("a b"), group("c")];
    assert_eq!(server.hub.ensure(&groups).await.expect("ensured"), [group("a b")]);
    let expected = [
        "GET /hub/api/groups/staff HTTP/1.1",
        "GET /hub/api/groups/a%20b HTTP/1.1",
        "POST /hub/api/groups/a%20b HTTP/1.1",
        "GET /hub/api/groups/c HTTP/1.1",
        "POST /hub/api/groups/c HTTP/1.1",
    ];
    assert_eq!(server.lines(), expected);
    let server = Server::start(&[say(404, "{}"), say(403, "{}")]).await;
    let error = server.hub.ensure(&groups).await.expect_err("it may not");
    assert!(matches!(error, Unavailable::Forbidden { .. }), "{error}");
    let server =
        Server::start(&[say(200, staff), say(404, "{}"), say(200, r#"{"name": "staff"}"#)]).await;
    let members = server.hub.members(&group("staff")).await.expect("members");
    assert_eq!(members, Some(vec![user("ann")]));
    assert_eq!(server.hub.members(&group("staff")).await.expect("no such group"), None);
    assert!(server.hub.members(&group("staff")).await.is_err(), "it does not say");
}
