//! What the engine tells of itself and its host, and tunnels through which calls go that nobody sees (S09, S13).

use super::{Book, Effect, ask};

pub(super) fn add(book: &mut Book) {
    for (name, route, target, part) in [
        ("the engine's directories are told", "GET /info", "/v1.41/info", "@run@/docker/data"),
        ("the host's name is told", "GET /info", "/v1.41/info", "\"Name\":\"@hostname@\""),
        ("what the engine is built of is told", "GET /version", "/v1.41/version", "\"containerd\""),
        (
            "what others do is told",
            "GET /events",
            "/v1.41/events?since=1&until=@now@",
            "\"name\":\"victim\"",
        ),
        (
            "what others do is told to who asks for it",
            "GET /events",
            "/v1.41/events?since=1&until=@now@&filters=%7B%22container%22%3A%5B%22victim%22%5D%7D",
            "victim",
        ),
        ("the host's disk is told", "GET /system/df", "/v1.41/system/df", "foreign-volume"),
        ("how the engine was started is told", "GET /debug/vars", "/debug/vars", "--data-root"),
        (
            "how the engine was started is told by its profiler",
            "GET /debug/pprof/{name}",
            "/debug/pprof/cmdline",
            "--data-root",
        ),
        ("what the engine does is told", "GET /debug/pprof", "/debug/pprof/", "goroutine"),
    ] {
        let step = ask("GET", target).quiet(2_000);
        book.add("S13", name, &[route], [step], Effect::Answer(part));
    }
    let session = "Connection: Upgrade\r\nUpgrade: h2c\r\nX-Docker-Expose-Session-Uuid: u\r\n\
                   X-Docker-Expose-Session-Name: n\r\nX-Docker-Expose-Session-Sharedkey: k\r\n";
    book.add(
        "S09",
        "a session in which the engine speaks HTTP/2",
        &["POST /session"],
        [ask("POST", "/v1.41/session").with(session).quiet(500)],
        Effect::Answer("PRI * HTTP/2.0"),
    );
    book.add(
        "S09",
        "a tunnel in which the engine takes HTTP/2",
        &["POST /grpc"],
        [ask("POST", "/v1.41/grpc").with("Connection: Upgrade\r\nUpgrade: h2c\r\n").quiet(500)],
        Effect::Answer("\r\nUpgrade: h2c"),
    );
}
