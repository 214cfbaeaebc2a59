//! HTTP/1 for one page. Whoever connects gets little of this process: few connections at once, a
//! short head, no body, one answer, and a time limit on all of it.

use std::{convert::Infallible, net::IpAddr, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body as _, Incoming},
    header::{ALLOW, CONTENT_TYPE, HOST, HeaderValue},
    http::{request::Parts, uri::Authority},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    listen::Listener,
    page::{Desk, Reports, print},
};

/// Connections at once; further ones wait in the kernel's queue.
const AT_ONCE: usize = 8;
/// Longest wait for the head of a request.
const HEAD: Duration = Duration::from_secs(10);
/// Longest that one conversation may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Longest head of a request, bytes.
const MAX_HEAD: usize = 16 << 10;
/// What refusals are written in.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// The exposition format.
const PAGE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Serves metrics until dropped, or until nobody gives reports any more.
pub async fn serve(listener: Listener, reports: Reports) {
    let (desk, press) = print(reports);
    let over = match listener {
        Listener::Tcp(_) => Over::Tcp,
        Listener::Unix(..) => Over::Unix,
    };
    tokio::select! {
        () = press.run() => {}
        () = accept(&listener, over, &desk, HEAD) => {}
    }
}

/// What a connection came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Tcp,
    Unix,
}

async fn accept(listener: &Listener, over: Over, desk: &Desk, head: Duration) {
    let mut connections = JoinSet::new();
    loop {
        if connections.len() >= AT_ONCE {
            connections.join_next().await;
        }
        while connections.try_join_next().is_some() {}
        let accepted = match listener {
            Listener::Tcp(tcp) => tcp.accept().await.map(|(stream, _)| {
                connections.spawn(converse(stream, over, desk.clone(), head));
            }),
            Listener::Unix(unix, _) => unix.accept().await.map(|(stream, _)| {
                connections.spawn(converse(stream, over, desk.clone(), head));
            }),
        };
        if let Err(error) = accepted {
            tracing::warn!(%error, "metrics: connection not accepted");
            sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    over: Over,
    desk: Desk,
    head: Duration,
) {
    let service = service_fn(|request| {
        let desk = desk.clone();
        async move { Ok::<_, Infallible>(answer(request, over, &desk).await) }
    });
    let mut http = http1::Builder::new();
    // One answer a connection: an idle one would keep others out.
    http.timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false);
    let conversation = http.serve_connection(TokioIo::new(stream), service);
    // A client that goes away, dawdles or talks nonsense is its own problem.
    let _ended = timeout(LIMIT, conversation).await;
}

async fn answer(request: Request<Incoming>, over: Over, desk: &Desk) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    if let Err((status, why)) = judge(&head, body.is_end_stream(), over) {
        return refuse(status, why);
    }
    match desk.page().await {
        Some(page) => response(StatusCode::OK, PAGE, page),
        None => refuse(StatusCode::SERVICE_UNAVAILABLE, "the daemon is busy"),
    }
}

/// Whether this is a question for the page, by somebody who means this server.
fn judge(head: &Parts, bodiless: bool, over: Over) -> Result<(), (StatusCode, &'static str)> {
    // A page in a browser on this host may have any name lead to a loopback address, but it cannot
    // choose the name that the browser then sends.
    let stranger = (StatusCode::MISDIRECTED_REQUEST, "not a name of this server");
    let mut hosts = head.headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err((StatusCode::BAD_REQUEST, "exactly one Host, please"));
    };
    if !host.to_str().is_ok_and(|host| is_meant(host, over)) {
        return Err(stranger);
    }
    if head.uri.authority().is_some_and(|authority| !is_meant(authority.as_str(), over)) {
        return Err(stranger);
    }
    if head.uri.path() != "/metrics" {
        return Err((StatusCode::NOT_FOUND, "there is only /metrics"));
    }
    if ![Method::GET, Method::HEAD].contains(&head.method) {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD"));
    }
    if !bodiless {
        return Err((StatusCode::PAYLOAD_TOO_LARGE, "no body, please"));
    }
    Ok(())
}

/// Whether a Host means this server: a loopback address, or `localhost`. Over a unix socket it may
/// also be empty, as HTTP has it where there is no host.
fn is_meant(host: &str, over: Over) -> bool {
    if host.is_empty() {
        return over == Over::Unix;
    }
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let is_loopback = bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    !host.contains('@') && (is_loopback || name.eq_ignore_ascii_case("localhost"))
}

fn refuse(status: StatusCode, why: &'static str) -> Response<Full<Bytes>> {
    let text = format!("{} {why}\n", status.as_u16());
    let mut response = response(status, TEXT, Bytes::from(text));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

fn response(status: StatusCode, kind: HeaderValue, text: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
        sync::{mpsc, oneshot},
        time::Instant,
    };

    use super::*;
    use crate::model::status::StatusReport;

    fn verdict(request: &str, over: Over) -> u16 {
        let mut lines = request.lines();
        let words: Vec<&str> = lines.next().expect("a line").split(' ').collect();
        let mut built = Request::builder().method(words[0]).uri(words[1]);
        for line in lines {
            let (name, value) = line.split_once(": ").expect("a header");
            built = built.header(name, value);
        }
        let (head, ()) = built.body(()).expect("a request").into_parts();
        judge(&head, true, over).map_or_else(|(status, _)| status.as_u16(), |()| 200)
    }

    #[test]
    fn only_the_page_is_served_and_only_to_who_means_this_server() {
        for (status, request) in [
            (200, "GET /metrics\nHost: 127.0.0.1:9469"),
            (200, "HEAD /metrics?x=1\nHost: LOCALHOST"),
            (200, "GET /metrics\nHost: [::1]:9469"),
            (200, "GET http://localhost/metrics\nHost: 127.9.9.9"),
            (421, "GET /metrics\nHost: evil.example:9469"),
            (421, "GET /metrics\nHost: localhost.evil.example"),
            (421, "GET /metrics\nHost: 127.0.0.1.evil.example"),
            (421, "GET /metrics\nHost: localhost@evil.example"),
            (421, "GET /metrics\nHost: evil.example@localhost"),
            (421, "GET /metrics\nHost: 0.0.0.0:9469"),
            (421, "GET /metrics\nHost: 10.0.0.1"),
            (421, "GET /metrics\nHost: [::]"),
            (421, "GET /metrics\nHost: "),
            (421, "GET http://evil.example/metrics\nHost: localhost"),
            // Refused before anything is told of paths and methods.
            (421, "POST /\nHost: evil.example"),
            (400, "GET /metrics"),
            (400, "GET /metrics\nHost: localhost\nHost: localhost"),
            (404, "GET /\nHost: localhost"),
            (404, "GET /metrics/\nHost: localhost"),
            (404, "GET //metrics\nHost: localhost"),
            (404, "OPTIONS *\nHost: localhost"),
            (405, "POST /metrics\nHost: localhost"),
            (405, "OPTIONS /metrics\nHost: localhost"),
            (405, "get /metrics\nHost: localhost"),
        ] {
            assert_eq!(verdict(request, Over::Tcp), status, "{request}");
        }
        assert_eq!(verdict("GET /metrics\nHost: ", Over::Unix), 200);
        assert_eq!(verdict("GET /metrics\nHost: localhost", Over::Unix), 200);
        assert_eq!(verdict("GET /metrics\nHost: evil.example", Over::Unix), 421);
    }

    /// A server over TCP, which ends with the set. `head` is how long it waits for a request.
    async fn server(tasks: &mut JoinSet<()>, head: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let at = listener.local_addr().expect("an address");
        let (reports, mut asked) = mpsc::channel::<oneshot::Sender<_>>(1);
        let (desk, press) = print(reports);
        tasks.spawn(press.run());
        tasks.spawn(async move { accept(&Listener::Tcp(listener), Over::Tcp, &desk, head).await });
        tasks.spawn(async move {
            while let Some(reply) = asked.recv().await {
                let _ = reply.send(StatusReport::default());
            }
        });
        at
    }

    async fn ask(at: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(at).await.expect("connected");
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut answer = Vec::new();
        // The server may hang up before it has read all of it.
        let _cut = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).expect("text")
    }

    #[tokio::test]
    async fn one_answer_a_connection_and_no_body() {
        let mut tasks = JoinSet::new();
        let at = server(&mut tasks, HEAD).await;
        let get = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n";
        let answer = ask(at, &format!("{get}\r\n{get}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
        assert_eq!(answer.matches("# TYPE enforcer_healthy gauge\n").count(), 1, "{answer}");
        let answer = ask(at, "HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200 ") && body.is_empty(), "{answer}");
        for (more, status) in [
            ("Content-Length: 1\r\n\r\nx", " 413 "),
            ("Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", " 413 "),
            (&format!("X: {}\r\n\r\n", "x".repeat(MAX_HEAD)), " 431 "),
        ] {
            let answer = ask(at, &format!("{get}{more}")).await;
            assert!(answer.starts_with(&format!("HTTP/1.1{status}")), "{more:.30}: {answer}");
        }
        let answer = ask(at, "POST /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert!(answer.contains("allow: GET, HEAD\r\n"), "{answer}");
    }

    #[tokio::test]
    async fn those_who_dawdle_are_few_and_lose_their_place() {
        const WAIT: Duration = Duration::from_secs(1);
        let mut tasks = JoinSet::new();
        let at = server(&mut tasks, WAIT).await;
        let mut idle = Vec::new();
        for _ in 0..AT_ONCE {
            let mut stream = TcpStream::connect(at).await.expect("connected");
            stream.write_all(b"GET /metrics HTTP/1.1\r\n").await.expect("written");
            idle.push(stream);
        }
        let begun = Instant::now();
        let scrape = ask(at, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        // One too many: it waits until somebody else's time is over.
        let answer = timeout(10 * WAIT, scrape).await.expect("a place");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(begun.elapsed() > WAIT / 2, "{:?}", begun.elapsed());
        for mut stream in idle {
            let mut answer = Vec::new();
            let _cut = timeout(10 * WAIT, stream.read_to_end(&mut answer)).await.expect("closed");
            assert!(!answer.starts_with(b"HTTP/1.1 200 "));
        }
    }
}
