//! Swarms, and what a manager of one may do to its host (S13). The engine joins one with the first row, and leaves it
//! with the last.

use serde_json::{Value, json};

use super::{Book, Effect, IMAGE, ask, has, is, send};

pub(super) fn add(book: &mut Book) {
    let state =
        |wanted: &str| Effect::Says("/info".to_owned(), "/Swarm/LocalNodeState", is(json!(wanted)));
    let init = json!({"ListenAddr": "127.0.0.1:2377", "AdvertiseAddr": "127.0.0.1"});
    book.add(
        "S13",
        "the engine becomes a manager",
        &["POST /swarm/init"],
        [send("POST", "/v1.41/swarm/init", &init)],
        state("active"),
    )
    .harms();
    swarm(book);
    services(book);
    for (kind, data) in [("secrets", "U0VDUkVU"), ("configs", "Q09ORklH")] {
        kept(book, kind, data);
    }
    book.add(
        "S13",
        "the engine leaves its swarm",
        &["POST /swarm/leave"],
        [ask("POST", "/v1.41/swarm/leave?force=1")],
        state("inactive"),
    )
    .harms();
}

fn swarm(book: &mut Book) {
    for (name, route, target, part) in [
        ("what lets others join is read", "GET /swarm", "/v1.41/swarm", "SWMTKN-"),
        (
            "what unlocks a manager is read",
            "GET /swarm/unlockkey",
            "/v1.41/swarm/unlockkey",
            "UnlockKey",
        ),
        ("nodes are listed", "GET /nodes", "/v1.41/nodes", "ManagerStatus"),
        ("a node is inspected", "GET /nodes/{name}", "/v1.41/nodes/@node@", "ManagerStatus"),
    ] {
        book.add("S13", name, &[route], [ask("GET", target)], Effect::Answer(part));
    }
    book.add(
        "S13",
        "a node is changed",
        &["POST /nodes/{name}/update"],
        [send(
            "POST",
            "/v1.41/nodes/@node@/update?version=@node_version@",
            &json!({"Role": "manager", "Availability": "active", "Labels": {"evil": "1"}}),
        )],
        Effect::Says("/nodes/@node@".to_owned(), "/Spec/Labels", has("evil")),
    );
    book.add(
        "S13",
        "the swarm is changed",
        &["POST /swarm/update"],
        [send(
            "POST",
            "/v1.41/swarm/update?version=@swarm_version@",
            &json!({"Name": "default", "Labels": {"evil": "1"}}),
        )],
        Effect::Says("/swarm".to_owned(), "/Spec/Labels", has("evil")),
    );
}

/// A service without a task: it says what it would mount.
fn service() -> Value {
    let mounts = json!([{"Type": "bind", "Source": "/", "Target": "/host"}]);
    let container = json!({"Image": IMAGE, "Mounts": mounts, "Env": ["SECRET=of-service"]});
    json!({"Name": "@name@", "TaskTemplate": {"ContainerSpec": container},
           "Mode": {"Replicated": {"Replicas": 0}}})
}

fn services(book: &mut Book) {
    book.add(
        "S13",
        "a service is made",
        &["POST /services/create"],
        [send("POST", "/v1.41/services/create", &service())],
        Effect::Says("/services/@name@".to_owned(), "/Spec/Name", is(json!("@name@"))),
    );
    for (name, route, target, part) in [
        ("services are listed", "GET /services", "/v1.41/services", "SECRET=of-service"),
        (
            "a service is inspected",
            "GET /services/{name}",
            "/v1.41/services/foreign",
            "SECRET=of-service",
        ),
        ("tasks are listed", "GET /tasks", "/v1.41/tasks", "SECRET=of-service"),
        ("a task is inspected", "GET /tasks/{name}", "/v1.41/tasks/@task@", "SECRET=of-service"),
    ] {
        book.add("S13", name, &[route], [ask("GET", target)], Effect::Answer(part));
    }
    for (name, route, target) in [
        (
            "a service's log is read",
            "GET /services/{name}/logs",
            "/v1.41/services/foreign/logs?stdout=1",
        ),
        ("a task's log is read", "GET /tasks/{name}/logs", "/v1.41/tasks/@task@/logs?stdout=1"),
    ] {
        book.add(
            "S13",
            name,
            &[route],
            [ask("GET", target).quiet(1_000)],
            Effect::Answer("MARK-OF-TASK"),
        );
    }
    let mut changed = service();
    changed["Name"] = json!("foreign");
    changed["Labels"] = json!({"evil": "1"});
    book.add(
        "S13",
        "a service is changed",
        &["POST /services/{name}/update"],
        [send("POST", "/v1.41/services/foreign/update?version=@service_version@", &changed)],
        Effect::Says("/services/foreign".to_owned(), "/Spec/Labels", has("evil")),
    );
    book.add(
        "S13",
        "a service is removed",
        &["DELETE /services/{name}"],
        [ask("DELETE", "/v1.41/services/foreign")],
        Effect::Gone("/services/foreign".to_owned()),
    );
}

/// Secrets and configs.
fn kept(book: &mut Book, kind: &'static str, data: &str) {
    let at = |rest: &str| format!("/v1.41/{kind}{rest}");
    let body = json!({"Name": "@name@", "Data": data});
    book.add(
        "S13",
        format!("one of the {kind} is made"),
        &[&format!("POST /{kind}/create")],
        [send("POST", &at("/create"), &body)],
        Effect::Says(format!("/{kind}/@name@"), "/Spec/Name", is(json!("@name@"))),
    );
    for (name, route, target) in [
        ("listed", format!("GET /{kind}"), at("")),
        ("inspected", format!("GET /{kind}/{{name}}"), at("/foreign")),
    ] {
        let name = format!("{kind} are {name}");
        book.add("S13", name, &[&route], [ask("GET", &target)], Effect::Answer("SECRET-OF-SWARM"));
    }
    let changed = json!({"Name": "foreign", "Labels": {"evil": "1", "secret": "SECRET-OF-SWARM"}});
    book.add(
        "S13",
        format!("one of the {kind} is changed"),
        &[&format!("POST /{kind}/{{name}}/update")],
        [send("POST", &at(&format!("/foreign/update?version=@{kind}_version@")), &changed)],
        Effect::Says(format!("/{kind}/foreign"), "/Spec/Labels", has("evil")),
    );
    book.add(
        "S13",
        format!("one of the {kind} is removed"),
        &[&format!("DELETE /{kind}/{{name}}")],
        [ask("DELETE", &at("/foreign"))],
        Effect::Gone(format!("/{kind}/foreign")),
    );
}
