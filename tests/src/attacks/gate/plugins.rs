//! Plugins, which run with the rights of the host (S13).

use serde_json::json;

use super::{Book, Effect, ask, has, is, send, upload};

pub(super) fn add(book: &mut Book) {
    let says = |place, wanted| Effect::Says("/plugins/idle-plugin/json".to_owned(), place, wanted);
    book.add(
        "S13",
        "a plugin is made",
        &["POST /plugins/create"],
        [upload("POST", "/v1.41/plugins/create?name=@name@", "plugin.tar")],
        Effect::Says("/plugins/@name@/json".to_owned(), "/Name", has("@name@")),
    );
    for (name, route, target) in [
        ("plugins are listed", "GET /plugins", "/v1.41/plugins"),
        ("a plugin is inspected", "GET /plugins/{image}/json", "/v1.41/plugins/idle-plugin/json"),
    ] {
        book.add("S13", name, &[route], [ask("GET", target)], Effect::Answer("SECRET-OF-PLUGIN"));
    }
    book.add(
        "S13",
        "a plugin is changed",
        &["POST /plugins/{image}/set"],
        [send("POST", "/v1.41/plugins/idle-plugin/set", &json!(["WORD=changed"]))],
        says("/Settings/Env", has("WORD=changed")),
    );
    book.add(
        "S13",
        "a plugin is started",
        &["POST /plugins/{image}/enable"],
        [ask("POST", "/v1.41/plugins/idle-plugin/enable?timeout=5")],
        says("/Enabled", is(json!(true))),
    )
    // The next row stops it.
    .harms = false;
    book.add(
        "S13",
        "a plugin is stopped",
        &["POST /plugins/{image}/disable"],
        [ask("POST", "/v1.41/plugins/idle-plugin/disable?force=1")],
        says("/Enabled", is(json!(false))),
    );
    let privileges = json!([]);
    for (name, route, step) in [
        (
            "a plugin is pulled",
            "POST /plugins/pull",
            send("POST", "/v1.41/plugins/pull?remote=@canary@/x:1&name=@name@", &privileges),
        ),
        (
            "a registry is asked what a plugin wants",
            "GET /plugins/privileges",
            ask("GET", "/v1.41/plugins/privileges?remote=@canary@/x:1"),
        ),
        (
            "a plugin is replaced by another",
            "POST /plugins/{image}/upgrade",
            send("POST", "/v1.41/plugins/idle-plugin/upgrade?remote=@canary@/x:1", &privileges),
        ),
        (
            "a plugin is pushed",
            "POST /plugins/{image}/push",
            ask("POST", "/v1.41/plugins/@canary@/plug:1/push").with("X-Registry-Auth: e30=\r\n"),
        ),
    ] {
        book.add("S23", name, &[route], [step], Effect::Canary);
    }
    book.add(
        "S13",
        "a plugin is removed",
        &["DELETE /plugins/{image}"],
        [ask("DELETE", "/v1.41/plugins/idle-plugin?force=1")],
        Effect::Gone("/plugins/idle-plugin/json".to_owned()),
    )
    .harms();
}
