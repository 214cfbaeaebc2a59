//! Requests byte by byte (S06, S08, S09, S10): what one reader takes for one thing and another for two, or for another
//! thing. Each asks for a privileged container, somewhere.

use super::{Book, IMAGE, Message, Step, bodies::privileged};

/// A body that asks for it. `@name@` is as long as what stands for it.
fn body() -> String {
    format!("{{\"Image\":\"{IMAGE}\",\"Cmd\":[\"sleep\"],\"HostConfig\":{{\"Privileged\":true}}}}")
}

const TARGET: &str = "/v1.41/containers/create?name=@name@";
const JSON: &str = "Content-Type: application/json\r\n";
/// A request that anybody may make.
const PING: &str = "GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n";

/// A request with these lines, and what follows.
fn post(target: &str, lines: &str, body: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: docker\r\n{JSON}{lines}\r\n{body}")
}

/// With its length.
fn whole(target: &str, lines: &str) -> String {
    let body = body();
    post(target, &format!("Content-Length: {}\r\n{lines}", body.len()), &body)
}

fn chunk(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n", body.len())
}

/// Whether the engine does it, and what it is.
type Case = (&'static str, bool, String);

pub(super) fn add(book: &mut Book) {
    for (threat, cases) in
        [("S06", lengths()), ("S08", targets()), ("S09", protocols()), ("S10", several())]
    {
        for (name, is_done_by_engine, text) in cases {
            let step = Step { message: Message::Bytes(text.into_bytes()), quiet_ms: Some(100) };
            let row = book.add(threat, name, &[], [step], privileged());
            if !is_done_by_engine {
                row.refused_by_engine();
            }
        }
    }
}

/// Where a body ends.
fn lengths() -> Vec<Case> {
    let (body, length) = (body(), body().len());
    let chunked = |lines: &str, body: &str| {
        post(TARGET, &format!("Transfer-Encoding: chunked\r\n{lines}"), body)
    };
    let chunks = chunk(&body);
    let end = "0\r\n\r\n";
    vec![
        ("a body of no length", false, post(TARGET, "Content-Length: 0\r\n", &body)),
        ("a body without a length", false, post(TARGET, "", &body)),
        ("a body in chunks", true, chunked("", &format!("{chunks}{end}"))),
        (
            "chunks with words beside their sizes",
            true,
            chunked("", &format!("{length:x};evil=1\r\n{body}\r\n{end}")),
        ),
        (
            "a chunk's size with zeros",
            true,
            chunked("", &format!("000{length:x}\r\n{body}\r\n{end}")),
        ),
        (
            "lines after the chunks",
            true,
            chunked("Trailer: X-Evil\r\n", &format!("{chunks}0\r\nX-Evil: 1\r\n\r\n")),
        ),
        (
            "lines after the chunks that nobody told of",
            true,
            chunked("", &format!("{chunks}0\r\nContent-Length: 3\r\n\r\n")),
        ),
        ("a length and chunks", true, chunked("Content-Length: 3\r\n", &format!("{chunks}{end}"))),
        (
            "chunks and a length",
            true,
            post(
                TARGET,
                "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
                &format!("{chunks}{end}"),
            ),
        ),
        ("the same length twice", true, whole(TARGET, &format!("Content-Length: {length}\r\n"))),
        ("two lengths", false, whole(TARGET, "Content-Length: 0\r\n")),
        (
            "a length with a sign",
            false,
            post(TARGET, &format!("Content-Length: +{length}\r\n"), &body),
        ),
        (
            "two codings",
            false,
            chunked("Transfer-Encoding: identity\r\n", &format!("{chunks}{end}")),
        ),
        (
            "a coding that is almost chunked",
            false,
            post(TARGET, "Transfer-Encoding: xchunked\r\n", &format!("{chunks}{end}")),
        ),
        (
            "a coding before a blank",
            false,
            post(TARGET, "Transfer-Encoding : chunked\r\n", &format!("{chunks}{end}")),
        ),
        ("a body that is to be continued", true, whole(TARGET, "Expect: 100-continue\r\n")),
        ("a body that says it is compressed", true, whole(TARGET, "Content-Encoding: gzip\r\n")),
        ("a body of a megabyte and more", true, {
            let body = " ".repeat((1 << 20) + 1) + &body;
            post(TARGET, &format!("Content-Length: {}\r\n", body.len()), &body)
        }),
    ]
}

/// What a target is.
fn targets() -> Vec<Case> {
    let of = |target: &str| whole(target, "");
    vec![
        ("an encoded slash", true, of("/v1.41/containers%2Fcreate?name=@name@")),
        ("an encoded letter", true, of("/v1.41/%63ontainers/create?name=@name@")),
        ("an encoded letter of the verb", true, of("/v1.41/containers/%63reate?name=@name@")),
        ("an encoded version", true, of("/v%31.41/containers/create?name=@name@")),
        ("an encoded name of a key", true, of("/v1.41/containers/create?%6eame=@name@")),
        ("a whole address", true, of("http://docker/v1.41/containers/create?name=@name@")),
        (
            "another host's address",
            true,
            of("http://127.0.0.1:1/v1.41/containers/create?name=@name@"),
        ),
        ("no version", true, of("/containers/create?name=@name@")),
        ("an old version", true, of("/v1.12/containers/create?name=@name@")),
        ("a version that is none", false, of("/v1.99/containers/create?name=@name@")),
        ("version 0", false, of("/v0/containers/create?name=@name@")),
        ("two versions", false, of("/v1.41/v1.41/containers/create?name=@name@")),
        ("two slashes", false, of("//v1.41/containers/create?name=@name@")),
        ("two slashes within", false, of("/v1.41//containers/create?name=@name@")),
        ("a way up", false, of("/v1.41/containers/x/../create?name=@name@")),
        ("an encoded way up", false, of("/v1.41/containers/x/%2e%2e/create?name=@name@")),
        ("a dot", false, of("/v1.41/./containers/create?name=@name@")),
        ("a slash at the end", false, of("/v1.41/containers/create/?name=@name@")),
        ("capitals", false, of("/v1.41/Containers/Create?name=@name@")),
        ("a semicolon", false, of("/v1.41/containers/create;x?name=@name@")),
        ("a backslash", false, of("/v1.41\\containers\\create?name=@name@")),
        ("an encoded U+0000", false, of("/v1.41/containers/create%00?name=@name@")),
        ("a number sign", false, of("/v1.41/containers/create#?name=@name@")),
        ("a key twice", true, of("/v1.41/containers/create?name=@name@&name=other")),
        ("a key that nobody knows", true, of("/v1.41/containers/create?name=@name@&evil=1")),
        ("a broken escape", false, of("/v1.41/containers/create?name=@name@&x=%zz")),
        (
            "another method's name in a header",
            false,
            whole(TARGET, "X-HTTP-Method-Override: POST\r\n").replacen("POST", "PUT", 1),
        ),
        ("a method in small letters", false, of(TARGET).replacen("POST", "post", 1)),
    ]
}

/// What a connection is.
fn protocols() -> Vec<Case> {
    let upgrade = |to: &str| {
        whole(
            TARGET,
            &format!(
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {to}\r\nHTTP2-Settings: AAMAAABk\r\n"
            ),
        )
    };
    vec![
        ("HTTP/2 at once", false, format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{}", whole(TARGET, ""))),
        ("HTTP/2 by an upgrade", true, upgrade("h2c")),
        (
            "an upgrade where there is none",
            true,
            whole(TARGET, "Connection: Upgrade\r\nUpgrade: tcp\r\n"),
        ),
        (
            "a web socket where there is none",
            true,
            whole(
                TARGET,
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n",
            ),
        ),
        ("HTTP/1.0", true, whole(TARGET, "").replacen("HTTP/1.1", "HTTP/1.0", 1)),
        ("HTTP/0.9", false, whole(TARGET, "").replacen(" HTTP/1.1", "", 1)),
        ("HTTP/1.2", true, whole(TARGET, "").replacen("HTTP/1.1", "HTTP/1.2", 1)),
    ]
}

/// Several requests where one is meant, and lines that end elsewhere.
fn several() -> Vec<Case> {
    let create = whole(TARGET, "");
    let hidden = chunk(&create);
    vec![
        ("a second request", true, format!("{PING}{create}")),
        ("two of them", true, format!("{PING}{PING}{create}")),
        ("an empty line before it", false, format!("\r\n{create}")),
        (
            "a second request after a body of no length",
            true,
            PING.replacen("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n", 1) + &create,
        ),
        (
            "a second request after the end of chunks",
            true,
            PING.replacen("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n", 1)
                + "0\r\n\r\n"
                + &create,
        ),
        (
            "a request that one of two lengths hides",
            true,
            format!(
                "POST /v1.41/auth HTTP/1.1\r\nHost: docker\r\n{JSON}Content-Length: {}\r\n\
                 Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{create}",
                create.len() + 5
            ),
        ),
        (
            "a request in a chunk",
            false,
            format!(
                "POST /v1.41/containers/none/start HTTP/1.1\r\nHost: docker\r\nTransfer-Encoding: chunked\r\n\r\n{hidden}0\r\n\r\n"
            ),
        ),
        (
            "a request after a hijack",
            false,
            "POST /v1.41/containers/none/attach?stream=1&stdin=1 HTTP/1.1\r\nHost: docker\r\n\
                 Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
                .to_owned()
                + "evil\r\n"
                + &create,
        ),
        ("lines that end with LF", true, create.replace("\r\n", "\n")),
        ("one line that ends with LF", true, create.replacen("docker\r\n", "docker\n", 1)),
        ("lines that end with CR", false, create.replace("\r\n", "\r")),
        ("a folded line", true, whole(TARGET, "X-Evil: 1\r\n 2\r\n")),
        ("a folded length", true, create.replacen("Length: ", "Length:\r\n ", 1)),
        ("a line without a name", true, whole(TARGET, ": evil\r\n")),
        ("a line that is none", false, whole(TARGET, "evil\r\n")),
        ("a blank in a name", false, whole(TARGET, "X Evil: 1\r\n")),
        ("U+0000 in a line", false, whole(TARGET, "X-Evil: a\0b\r\n")),
        ("a long line", true, whole(TARGET, &format!("X-Evil: {}\r\n", "x".repeat(20_000)))),
        ("many lines", true, whole(TARGET, &"X-Evil: 1\r\n".repeat(200))),
        ("no host", false, create.replacen("Host: docker\r\n", "", 1)),
        ("two hosts", false, whole(TARGET, "Host: other\r\n")),
        ("a line for the connection alone", true, whole(TARGET, "Connection: Content-Length\r\n")),
    ]
}
