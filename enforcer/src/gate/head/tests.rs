use proptest::prelude::*;

use super::*;

const POST: &str = "POST /v1.43/containers/create HTTP/1.1\r\nHost: docker\r\n";

fn whole(text: &str) -> Result<Head, Refusal> {
    match progress(text.as_bytes())? {
        Progress::More => panic!("no end: {text:?}"),
        Progress::Whole(end) => {
            let (head, rest) = text.as_bytes().split_at(end);
            let head = read(head)?;
            alone(&head, rest)?;
            Ok(head)
        }
    }
}

#[test]
fn s10_what_clients_send_is_read() {
    let attach = "POST /v1.41/containers/x/attach?stream=1 HTTP/1.1\r\nHost: \r\nContent-Length: 0\r\n\
                  Connection: Upgrade\r\nContent-Type: text/plain\r\nUpgrade: tcp\r\n\r\n";
    let head = whole(attach).expect("as Docker 20.10 writes it");
    assert_eq!((head.length, head.upgrade), (Length::None, Some(Upgrade::Tcp)));
    let head = whole("GET /_ping HTTP/1.1\r\nHost: localhost\r\nUser-Agent: a/1 (b; c)\r\n\r\n");
    let plain = Head {
        method: "GET".to_owned(),
        target: "/_ping".to_owned(),
        length: Length::None,
        upgrade: None,
        is_encoded: false,
    };
    assert_eq!(head, Ok(plain));
    for (headers, length, upgrade) in [
        ("Content-Length: 2\r\nContent-Type: application/json\r\n\r\n{}", Length::Sized(2), None),
        ("Content-Length: 0\r\n\r\n", Length::None, None),
        ("Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", Length::Chunked, None),
        ("Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n", Length::None, Some(Upgrade::Tcp)),
        (
            "Connection: keep-alive, Upgrade\r\nUpgrade: TCP\r\n\r\n",
            Length::None,
            Some(Upgrade::Tcp),
        ),
        (
            "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            Length::None,
            Some(Upgrade::WebSocket(None)),
        ),
        ("Connection: close\r\n\r\n", Length::None, None),
    ] {
        let head = whole(&format!("{POST}{headers}")).expect(headers);
        assert_eq!((head.length, head.upgrade), (length, upgrade), "{headers}");
    }
    let encoded = whole(&format!("{POST}Content-Encoding: gzip\r\n\r\n")).expect("read");
    assert!(encoded.is_encoded);
}

#[test]
fn s06_s09_s10_what_two_readers_could_take_for_two_things_is_refused() {
    let get = "GET /_ping HTTP/1.1\r\nHost: x\r\n";
    for (text, rule) in [
        // Two lengths, in any way (S06, S10).
        (format!("{POST}Content-Length: 2\r\nContent-Length: 2\r\n\r\n{{}}"), "head.twice"),
        (format!("{POST}Content-Length: 2\r\ncontent-length: 5\r\n\r\n{{}}"), "head.twice"),
        (format!("{POST}Content-Length: 2, 2\r\n\r\n{{}}"), "head.length"),
        (format!("{POST}Content-Length: +2\r\n\r\n{{}}"), "head.length"),
        (format!("{POST}Content-Length: 0x2\r\n\r\n{{}}"), "head.length"),
        (format!("{POST}Content-Length: -1\r\n\r\n"), "head.length"),
        (format!("{POST}Content-Length: \r\n\r\n"), "head.length"),
        (format!("{POST}Content-Length: 00000000000000000002\r\n\r\n{{}}"), "head.length"),
        (format!("{POST}Content-Length: 99999999999999999999\r\n\r\n"), "head.length"),
        (
            format!("{POST}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"),
            "head.two-lengths",
        ),
        (
            format!("{POST}Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n"),
            "head.two-lengths",
        ),
        (format!("{POST}Transfer-Encoding: gzip, chunked\r\n\r\n"), "head.encoding"),
        (format!("{POST}Transfer-Encoding: chunked, identity\r\n\r\n"), "head.encoding"),
        (format!("{POST}Transfer-Encoding: xchunked\r\n\r\n"), "head.encoding"),
        (format!("{POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n"), "head.twice"),
        (format!("{POST}Trailer: Host\r\nTransfer-Encoding: chunked\r\n\r\n"), "head.refused"),
        (format!("{POST}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"), "head.refused"),
        (format!("{POST}Content-Length: 0\r\n\r\n{{\"HostConfig\":1}}"), "head.beyond"),
        (format!("{POST}\r\n{{\"HostConfig\":1}}"), "head.beyond"),
        (format!("{POST}Content-Length: 2\r\n\r\n{{}}POST / HTTP/1.1\r\n"), "head.beyond"),
        (format!("{get}Content-Length: 2\r\n\r\n{{}}"), "head.body"),
        (format!("{get}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "head.body"),
        // Two requests in one write (S10).
        (format!("{get}\r\nPOST /containers/create HTTP/1.1\r\n\r\n"), "head.beyond"),
        // Lines (S10).
        (format!("{get}A: b\n\r\n"), "head.line"),
        ("GET /_ping HTTP/1.1\nHost: x\n\n".to_owned(), "head.line"),
        ("\nGET /_ping HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "head.line"),
        ("\r\nGET /_ping HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "head.request"),
        (format!("{get}A: b\r\n c\r\n\r\n"), "head.header"),
        (format!("{get}A: b\r\n\tc: d\r\n\r\n"), "head.header"),
        (format!("{get}A : b\r\n\r\n"), "head.header"),
        (format!("{get}: b\r\n\r\n"), "head.header"),
        (format!("{get}A\r\n\r\n"), "head.header"),
        (format!("{get}A: b\rc: d\r\n\r\n"), "head.header"),
        (format!("{get}A: \0\r\n\r\n"), "head.header"),
        (format!("{get}A: \u{7f}\r\n\r\n"), "head.header"),
        (format!("{get}A: é\r\n\r\n"), "head.bytes"),
        // Who and what (S08, S10).
        (format!("{get}Host: y\r\n\r\n"), "head.twice"),
        ("GET /_ping HTTP/1.1\r\n\r\n".to_owned(), "head.host"),
        ("GET /_ping HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned(), "head.host"),
        ("GET  /_ping HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "head.request"),
        ("GET /_ping HTTP/1.1 \r\nHost: x\r\n\r\n".to_owned(), "head.request"),
        ("GET /_ping\r\nHost: x\r\n\r\n".to_owned(), "head.request"),
        ("GET\t/_ping\tHTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "head.request"),
        ("GET http://x/_ping HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "head.target"),
        ("GET /_ping#a HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "head.target"),
        ("GET /a\\..\\b HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "head.target"),
        ("GET * HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "head.target"),
        ("get /_ping HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "head.method"),
        ("CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "head.method"),
        ("TRACE / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "head.method"),
        ("GET /_ping HTTP/1.0\r\nHost: x\r\n\r\n".to_owned(), "head.version"),
        ("GET /_ping http/1.1\r\nHost: x\r\n\r\n".to_owned(), "head.version"),
        // Other protocols (S09).
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), "head.version"),
        (format!("{POST}Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"), "head.h2c"),
        (format!("{POST}Upgrade: h2c\r\n\r\n"), "head.h2c"),
        (
            format!(
                "{POST}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n\r\n"
            ),
            "head.refused",
        ),
        (format!("{POST}Connection: Upgrade\r\nUpgrade: tcp, h2c\r\n\r\n"), "head.upgrade"),
        (format!("{POST}Connection: Upgrade\r\n\r\n"), "head.upgrade"),
        (format!("{POST}Upgrade: tcp\r\n\r\n"), "head.upgrade"),
        (
            format!("{POST}Connection: close, Content-Length\r\nContent-Length: 2\r\n\r\n{{}}"),
            "head.connection",
        ),
    ] {
        let refusal = whole(&text).expect_err(&text);
        assert_eq!(refusal.rule, rule, "{text:?}: {refusal}");
    }
}

#[test]
fn s26_a_head_is_short_and_has_few_lines() {
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}", "a".repeat(MAX_HEAD));
    assert_eq!(progress(long.as_bytes()).expect_err("long").rule, "head.long");
    assert_eq!(progress(b"GET / HTTP/1.1\r\nHost: x\r\n"), Ok(Progress::More));
    // Clients end the lines of a body as they like.
    assert_eq!(progress(b"GET / HTTP/1.1\r\n\r\n{}\n"), Ok(Progress::Whole(18)));
    assert!(progress(b"GET / HTTP/1.1\n\r\n{}").is_err());
    let many =
        (0..MAX_HEADERS).map(|number| format!("A{number}: b\r\n")).collect::<Vec<_>>().concat();
    let many = whole(&format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n"));
    assert_eq!(many.expect_err("many").rule, "head.many");
}

proptest! {
    /// hyper reads the target again: it is the same one.
    #[test]
    fn s10_what_passes_has_one_request_line_and_a_target_that_hyper_reads_as_it_is(
        method in "GET|POST|PUT|DELETE|HEAD|get|P ST",
        target in "/[a-z0-9/?=&%.:#\\\\ ]{0,12}",
        names in proptest::collection::vec("[A-Za-z-]{1,6}[ :]?", 0..4),
        value in "[ -~\t]{0,8}",
    ) {
        let headers = names.iter().map(|name| format!("{name}: {value}\r\n")).collect::<Vec<_>>().concat();
        let text = format!("{method} {target} HTTP/1.1\r\nHost: docker\r\n{headers}\r\n");
        if let Ok(head) = read(text.as_bytes()) {
            let lines: Vec<&str> = text.trim_end().split("\r\n").collect();
            prop_assert_eq!(lines[0], format!("{} {} HTTP/1.1", head.method, head.target));
            if let Ok(uri) = head.target.parse::<hyper::Uri>() {
                prop_assert_eq!(uri.to_string(), head.target);
            }
        }
    }
}

#[test]
fn s27_a_web_socket_begins_with_one_key_of_sixteen_bytes() {
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    let long = format!("{key}{key}");
    for (version, said, is_one) in [
        ("13", key, true),
        ("8", key, false),
        ("", key, false),
        ("13", "", false),
        ("13", &long, false),
        ("13", "dGhlIHNhbXBsZSBub25jZQ=", false),
        ("13", "dGhlIHNhbXBsZSBub25jZQAA", false),
        ("13", "dGhlIHNhbXBsZSBub25j\"Q==", false),
        ("13", "dGhlIHNhbXBsZS-ub25j_Q==", false),
    ] {
        let head = format!(
            "GET /containers/x/attach/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: {version}\r\nSec-WebSocket-Key: {said}\r\n\r\n"
        );
        let Some(Upgrade::WebSocket(found)) = whole(&head).expect(said).upgrade else {
            panic!("{head}: no web socket")
        };
        assert_eq!(
            found.map(|key| key.text().to_owned()),
            is_one.then(|| key.to_owned()),
            "{head}"
        );
    }
}
