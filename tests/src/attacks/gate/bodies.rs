//! Bodies that two readers take for two things (S06, S07): each asks for a privileged container.

use std::fmt::Write as _;

use serde_json::json;

use super::{Body, Book, Effect, IMAGE, Step, container, create, is, send};

/// A create of a text.
fn text(body: impl Into<String>) -> Step {
    Step::new("POST", "/v1.41/containers/create?name=@name@", Body::Text(body.into()))
}

/// What is seen: a privileged container.
pub(super) fn privileged() -> Effect {
    Effect::Container("/HostConfig/Privileged", is(json!(true)))
}

pub(super) fn add(book: &mut Book) {
    let host =
        |host: &str| format!("{{\"Image\":\"{IMAGE}\",\"Cmd\":[\"sleep\"],\"HostConfig\":{host}}}");
    for (name, body) in [
        ("small letters", host("{\"privileged\":true}")),
        ("capitals", host("{\"PRIVILEGED\":true}")),
        (
            "an object in small letters",
            format!(
                "{{\"image\":\"{IMAGE}\",\"cmd\":[\"sleep\"],\"hostconfig\":{{\"Privileged\":true}}}}"
            ),
        ),
        ("an escaped letter", host("{\"\\u0050rivileged\":true}")),
        (
            "an escaped name of an object",
            format!(
                "{{\"Image\":\"{IMAGE}\",\"Cmd\":[\"sleep\"],\"\\u0048ostConfig\":{{\"Privileged\":true}}}}"
            ),
        ),
        ("the last of two", host("{\"Privileged\":false,\"Privileged\":true}")),
        ("the last of two spellings", host("{\"Privileged\":false,\"privileged\":true}")),
        (
            "the last of two objects",
            format!(
                "{{\"Image\":\"{IMAGE}\",\"Cmd\":[\"sleep\"],\"HostConfig\":{{}},\"HostConfig\":{{\"Privileged\":true}}}}"
            ),
        ),
        (
            "a part in each of two objects",
            format!(
                "{{\"Image\":\"{IMAGE}\",\"Cmd\":[\"sleep\"],\"HostConfig\":{{\"Privileged\":true}},\"HostConfig\":{{\"Init\":true}}}}"
            ),
        ),
        (
            "a long s in a name",
            format!(
                "{{\"Image\":\"{IMAGE}\",\"Cmd\":[\"sleep\"],\"Ho\u{17f}tConfig\":{{\"Privileged\":true}}}}"
            ),
        ),
        ("something after it", host("{\"Privileged\":true}") + "{\"HostConfig\":{}}"),
        ("no JSON after it", host("{\"Privileged\":true}") + "]]]]"),
        ("an unknown field before it", host("{\"Evil\":1,\"Privileged\":true}")),
        (
            "a null before it",
            format!(
                "{{\"Image\":\"{IMAGE}\",\"Cmd\":[\"sleep\"],\"HostConfig\":null,\"HostConfig\":{{\"Privileged\":true}}}}"
            ),
        ),
        ("bytes that are no text", host("{\"Privileged\":true,\"Evil\":\"\\ud800\"}")),
        (
            "a depth of 5,000",
            host(&format!(
                "{{\"Evil\":{}1{},\"Privileged\":true}}",
                "[".repeat(5_000),
                "]".repeat(5_000)
            )),
        ),
        ("a megabyte of blanks", " ".repeat(1 << 20) + &host("{\"Privileged\":true}")),
        (
            "half a megabyte of a text",
            host(&format!("{{\"Evil\":\"{}\",\"Privileged\":true}}", "x".repeat(600_000))),
        ),
        ("a hundred thousand fields", many_fields()),
    ] {
        book.add("S07", format!("privileged, with {name}"), &[], [text(body)], privileged());
    }
    for (name, body) in [
        ("a byte order mark", format!("\u{feff}{}", host("{\"Privileged\":true}"))),
        ("no number", host("{\"Memory\":NaN,\"Privileged\":true}")),
        ("a comment", host("{/**/\"Privileged\":true}")),
        ("one quote", host("{'Privileged':true}")),
    ] {
        book.add("S07", format!("privileged, with {name}"), &[], [text(body)], privileged())
            .refused_by_engine();
    }
    // Up to version 1.23 a start said how the container was to be.
    let late = send(
        "POST",
        "/v1.23/containers/@name@/start",
        &json!({"Privileged": true, "Binds": ["/:/host"]}),
    );
    let steps = [create(&container(&json!({}))), late];
    book.add(
        "S06",
        "a start that says how it is to be",
        &["POST /containers/{name}/start"],
        steps,
        privileged(),
    );
}

fn many_fields() -> String {
    let mut body = format!("{{\"Image\":\"{IMAGE}\",\"Cmd\":[\"sleep\"],\"HostConfig\":{{");
    for field in 0..100_000 {
        // Writing to a text does not fail.
        let _ = write!(body, "\"e{field}\":0,");
    }
    body + "\"Privileged\":true}}"
}
