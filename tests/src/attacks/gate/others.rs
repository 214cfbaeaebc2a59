//! Containers of others, and commands in them: by name, by id, by the first digits of one (S12, S22).

use serde_json::json;

use super::{Book, Effect, Step, ask, container, has, is, on_host, send, upload};

/// Ways to call it.
const CALLED: [&str; 4] = ["victim", "@victim_id@", "@victim_id12@", "@victim_id5@"];

pub(super) fn add(book: &mut Book) {
    looked_at(book);
    done_to(book);
    executed(book);
    of_another_user(book);
    own(book);
}

/// What is told of it.
fn looked_at(book: &mut Book) {
    for called in CALLED {
        book.add(
            "S12",
            format!("another's container {called} is inspected"),
            &["GET /containers/{name}/json"],
            [ask("GET", &format!("/v1.41/containers/{called}/json"))],
            Effect::Answer("SECRET=of-victim"),
        );
    }
    book.add(
        "S12",
        "others' containers are listed",
        &["GET /containers/json"],
        [ask("GET", "/v1.41/containers/json?all=1")],
        Effect::Answer("/victim"),
    );
    book.add(
        "S12",
        "others' containers are found by a filter",
        &["GET /containers/json"],
        [ask("GET", "/v1.41/containers/json?filters=%7B%22name%22%3A%5B%22victim%22%5D%7D")],
        Effect::Answer("/victim"),
    );
    for (name, route, target, part) in [
        ("log is read", "GET /containers/{name}/logs", "logs?stdout=1&tail=5", "MARK-OF-LOG"),
        ("processes are listed", "GET /containers/{name}/top", "top", "MARK-OF-LOG"),
        (
            "use is told",
            "GET /containers/{name}/stats",
            "stats?stream=0&one-shot=1",
            "\"pids_stats\"",
        ),
        ("changed files are listed", "GET /containers/{name}/changes", "changes", "/secret"),
        ("file is read", "GET /containers/{name}/archive", "archive?path=/secret", "MARK-OF-FILE"),
        ("files are all read", "GET /containers/{name}/export", "export", "MARK-OF-FILE"),
    ] {
        let target = format!("/v1.41/containers/victim/{target}");
        let name = format!("another's {name}");
        book.add("S12", name, &[route], [ask("GET", &target)], Effect::Answer(part));
    }
    book.add(
        "S12",
        "another's file is looked for",
        &["HEAD /containers/{name}/archive"],
        [ask("HEAD", "/v1.41/containers/victim/archive?path=/secret")],
        Effect::Answer("X-Docker-Container-Path-Stat"),
    );
    book.add(
        "S12",
        "another's file is read as old engines did it",
        &["POST /containers/{name}/copy"],
        [send("POST", "/v1.23/containers/victim/copy", &json!({"Resource": "/secret"}))],
        Effect::Answer("MARK-OF-FILE"),
    );
    book.add(
        "S12",
        "another's end is waited for",
        &["POST /containers/{name}/wait"],
        [ask("POST", "/v1.41/containers/ended/wait").quiet(500)],
        Effect::Answer("\"StatusCode\":42"),
    );
    book.add(
        "S12",
        "another's output is attached to",
        &["POST /containers/{name}/attach"],
        [ask("POST", "/v1.41/containers/victim/attach?logs=1&stdout=1").quiet(500)],
        Effect::Answer("MARK-OF-LOG"),
    );
    let socket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://docker\r\n";
    book.add(
        "S27",
        "another's output is attached to by a web socket",
        &["GET /containers/{name}/attach/ws"],
        [ask("GET", "/v1.41/containers/victim/attach/ws?logs=1&stdout=1&stream=1")
            .with(socket)
            .quiet(500)],
        Effect::Answer("MARK-OF-LOG"),
    );
}

/// What is done to it.
fn done_to(book: &mut Book) {
    let says =
        |place, wanted| Effect::Says("/containers/@victim_id@/json".to_owned(), place, wanted);
    for (name, route, steps, effect) in [
        (
            "stopped",
            "POST /containers/{name}/stop",
            vec![ask("POST", "/v1.41/containers/victim/stop?t=0")],
            says("/State/Running", is(json!(false))),
        ),
        (
            "killed by the first digit of its id",
            "POST /containers/{name}/kill",
            vec![ask("POST", "/v1.41/containers/@victim_id12@/kill?signal=KILL")],
            says("/State/Running", is(json!(false))),
        ),
        (
            "restarted",
            "POST /containers/{name}/restart",
            vec![ask("POST", "/v1.41/containers/victim/restart?t=0")],
            Effect::Changes("/containers/@victim_id@/json".to_owned(), "/State/StartedAt"),
        ),
        (
            "paused",
            "POST /containers/{name}/pause",
            vec![ask("POST", "/v1.41/containers/victim/pause")],
            says("/State/Paused", is(json!(true))),
        ),
        (
            "renamed",
            "POST /containers/{name}/rename",
            vec![ask("POST", "/v1.41/containers/victim/rename?name=@name@")],
            says("/Name", is(json!("/@name@"))),
        ),
        (
            "given less memory",
            "POST /containers/{name}/update",
            vec![send("POST", "/v1.41/containers/victim/update", &json!({"CpuShares": 2}))],
            says("/HostConfig/CpuShares", is(json!(2))),
        ),
        (
            "given a file",
            "PUT /containers/{name}/archive",
            vec![upload("PUT", "/v1.41/containers/victim/archive?path=/tmp", "planted.tar")],
            Effect::File("/proc/@victim_pid@/root/tmp/planted".to_owned()),
        ),
        (
            "given another size",
            "POST /containers/{name}/resize",
            vec![ask("POST", "/v1.41/containers/victim/resize?h=77&w=99").quiet(500)],
            Effect::File("/proc/@victim_pid@/root/tmp/size-77-99".to_owned()),
        ),
        (
            "removed",
            "DELETE /containers/{name}",
            vec![ask("DELETE", "/v1.41/containers/victim?force=1&v=1")],
            Effect::Gone("/containers/@victim_id@/json".to_owned()),
        ),
    ] {
        let name = format!("another's container is {name}");
        book.add("S12", name, &[route], steps, effect).harms();
    }
    book.add(
        "S12",
        "another's container is started",
        &["POST /containers/{name}/start"],
        [ask("POST", "/v1.41/containers/idle/start")],
        Effect::Says("/containers/idle/json".to_owned(), "/State/Running", is(json!(true))),
    )
    .harms();
    book.add(
        "S12",
        "another's paused container goes on",
        &["POST /containers/{name}/unpause"],
        [ask("POST", "/v1.41/containers/paused/unpause")],
        Effect::Says("/containers/paused/json".to_owned(), "/State/Paused", is(json!(false))),
    )
    .harms();
    book.add(
        "S22",
        "others' stopped containers are removed with one's own",
        &["POST /containers/prune"],
        [ask("POST", "/v1.41/containers/prune")],
        Effect::Gone("/containers/ended/json".to_owned()),
    )
    .harms();
}

/// Commands in it.
fn executed(book: &mut Book) {
    let exec = |called: &str| {
        let body = json!({"Cmd": ["sh", "-c", "echo > /tmp/@name@"]});
        [
            send("POST", &format!("/v1.41/containers/{called}/exec"), &body),
            send("POST", "/v1.41/exec/@id@/start", &json!({"Detach": true})),
        ]
    };
    for called in CALLED {
        book.add(
            "S12",
            format!("a command runs in another's container {called}"),
            &["POST /containers/{name}/exec"],
            exec(called),
            Effect::File("/proc/@victim_pid@/root/tmp/@name@".to_owned()),
        );
    }
    book.add(
        "S12",
        "another's command is started",
        &["POST /exec/{name}/start"],
        [send("POST", "/v1.41/exec/@exec_idle@/start", &json!({"Detach": true}))],
        Effect::File("/proc/@victim_pid@/root/tmp/started".to_owned()),
    )
    .harms();
    book.add(
        "S12",
        "another's command is inspected",
        &["GET /exec/{name}/json"],
        [ask("GET", "/v1.41/exec/@exec@/json")],
        Effect::Answer("MARK-OF-EXEC"),
    );
    book.add(
        "S12",
        "another's command is given another size",
        &["POST /exec/{name}/resize"],
        [ask("POST", "/v1.41/exec/@exec@/resize?h=66&w=88")],
        Effect::File("/proc/@victim_pid@/root/tmp/exec-66-88".to_owned()),
    )
    .harms();
    let privileged = json!({"Privileged": true, "Cmd": ["true"]});
    book.add(
        "S05",
        "a command in one's own container is privileged",
        &["ExecConfig.Privileged"],
        [send("POST", "/v1.41/containers/@own@/exec", &privileged)],
        Effect::Says("/exec/@id@/json".to_owned(), "/ProcessConfig/privileged", is(json!(true))),
    );
}

/// A container that another user made, through a gate as well: it has the same labels but for the name.
fn of_another_user(book: &mut Book) {
    for called in ["bens", "@bens_id@"] {
        for (name, target, part) in [
            ("inspected", "json", "SECRET=of-ben"),
            ("listened to", "logs?stdout=1", "MARK-OF-BEN"),
            ("watched", "top", "sleep 60606"),
        ] {
            book.add(
                "S12",
                format!("another user's container {called} is {name}"),
                &[],
                [ask("GET", &format!("/v1.41/containers/{called}/{target}"))],
                Effect::Answer(part),
            );
        }
        for (field, place) in [
            ("NetworkMode", "/HostConfig/NetworkMode"),
            ("PidMode", "/HostConfig/PidMode"),
            ("IpcMode", "/HostConfig/IpcMode"),
        ] {
            let body = on_host(&json!({ field: format!("container:{called}") }));
            book.add(
                "S04",
                format!("{field} of another user's container {called}"),
                &[],
                [super::create(&body)],
                Effect::Container(place, is(json!("container:@bens_id@"))),
            );
        }
        book.add(
            "S04",
            format!("the mounts of another user's container {called}"),
            &[],
            [super::create(&on_host(&json!({"VolumesFrom": [called]})))],
            Effect::Container("/Mounts", has("/bens-data")),
        );
        let body = json!({"Cmd": ["sh", "-c", "echo > /tmp/@name@"]});
        book.add(
            "S12",
            format!("a command runs in another user's container {called}"),
            &[],
            [
                send("POST", &format!("/v1.41/containers/{called}/exec"), &body),
                send("POST", "/v1.41/exec/@id@/start", &json!({"Detach": true})),
            ],
            Effect::File("/proc/@bens_pid@/root/tmp/@name@".to_owned()),
        );
        book.add(
            "S12",
            format!("another user's container {called} is killed"),
            &[],
            [ask("POST", &format!("/v1.41/containers/{called}/kill"))],
            Effect::Says("/containers/bens/json".to_owned(), "/State/Running", is(json!(false))),
        )
        .harms();
    }
    book.add(
        "S12",
        "another user's container is listed",
        &["GET /containers/json"],
        [ask("GET", "/v1.41/containers/json?all=1")],
        Effect::Answer("/bens"),
    );
    book.add(
        "S12",
        "another user's volume is listed",
        &["GET /volumes"],
        [ask("GET", "/v1.41/volumes")],
        Effect::Answer("bens-volume"),
    );
    book.add(
        "S12",
        "what another user does is told",
        &["GET /events"],
        [ask("GET", "/v1.41/events?since=1&until=@now@").quiet(2_000)],
        Effect::Answer("bens"),
    );
}

/// One's own, made something else.
fn own(book: &mut Book) {
    for name in ["jupyter-victim", "jupyterhub", "enforcer-hub"] {
        book.add(
            "S22",
            format!("one's own container takes the name {name}"),
            &["POST /containers/{name}/rename"],
            [ask("POST", &format!("/v1.41/containers/@own@/rename?name={name}"))],
            Effect::Says(format!("/containers/{name}/json"), "/Name", has(name)),
        )
        .harms();
        book.add(
            "S22",
            format!("a container is made with the name {name}"),
            &["POST /containers/create"],
            [send(
                "POST",
                &format!("/v1.41/containers/create?name={name}"),
                &container(&json!({})),
            )],
            Effect::Container("/Name", has(name)),
        );
    }
    book.add(
        "S13",
        "one's own container becomes an image that others use",
        &["POST /commit"],
        [ask("POST", "/v1.41/commit?container=@own@&repo=python&tag=3")],
        Effect::Says("/images/python:3/json".to_owned(), "/RepoTags", has("python:3")),
    );
    let link: Step = send(
        "POST",
        "/v1.41/containers/create?name=@name@",
        &on_host(&json!({"NetworkMode": "default", "Links": ["/victim:/victim"]})),
    );
    book.add(
        "D17",
        "one's own container has the variables of another",
        &["HostConfig.Links"],
        [link],
        Effect::Container("/HostConfig/Links", has("victim")),
    );
}
