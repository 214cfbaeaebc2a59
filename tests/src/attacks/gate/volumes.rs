//! Volumes: those of others, and such as are directories of the host (S03).

use serde_json::json;

use super::{Book, Effect, ask, is, on_host, send};

pub(super) fn add(book: &mut Book) {
    let volume = |body| send("POST", "/v1.41/volumes/create", &body);
    for (name, options) in [
        ("the root", json!({"type": "none", "o": "bind", "device": "/"})),
        ("the engine's directory", json!({"type": "none", "o": "rbind,ro", "device": "@run@"})),
        ("an overlay", json!({"type": "overlay", "device": "overlay", "o": "lowerdir=/etc"})),
        ("another host's", json!({"type": "nfs", "o": "addr=127.0.0.1,rw", "device": ":/"})),
        ("a tmpfs without a bound", json!({"type": "tmpfs", "device": "tmpfs", "o": "size=100%"})),
    ] {
        let body = json!({"Name": "@name@", "Driver": "local", "DriverOpts": options});
        book.add(
            "S03",
            format!("a volume that is {name}"),
            &["POST /volumes/create", "VolumeCreateRequest.DriverOpts"],
            [volume(body)],
            Effect::Volume("/Options/type", is(options["type"].clone())),
        );
    }
    book.add(
        "S03",
        "a volume that is the root, and is mounted",
        &["VolumeCreateRequest.Name"],
        [
            volume(json!({"Name": "@name@-v", "DriverOpts":
                {"type": "none", "o": "bind", "device": "@run@"}})),
            super::create(&on_host(&json!({"Binds": ["@name@-v:/host"]}))),
            super::start(),
        ],
        Effect::Inside("/host/marker".to_owned()),
    );
    book.add(
        "S22",
        "a volume with the labels of another's",
        &["VolumeCreateRequest.Labels"],
        [volume(json!({"Name": "@name@", "Labels": {"enforcer.user": "victim"}}))],
        Effect::Volume("/Labels/enforcer.user", is(json!("victim"))),
    );
    book.add(
        "S12",
        "others' volumes are listed",
        &["GET /volumes"],
        [ask("GET", "/v1.41/volumes")],
        Effect::Answer("SECRET-OF-VOLUME"),
    );
    book.add(
        "S12",
        "another's volume is inspected",
        &["GET /volumes/{name}"],
        [ask("GET", "/v1.41/volumes/foreign-volume")],
        Effect::Answer("SECRET-OF-VOLUME"),
    );
    book.add(
        "S12",
        "another's volume is taken for one's own",
        &["VolumeCreateRequest.Name"],
        [volume(json!({"Name": "foreign-volume"}))],
        Effect::Answer("SECRET-OF-VOLUME"),
    );
    book.add(
        "S12",
        "another's volume is removed",
        &["DELETE /volumes/{name}"],
        [ask("DELETE", "/v1.41/volumes/idle-volume?force=1")],
        Effect::Gone("/volumes/idle-volume".to_owned()),
    )
    .harms();
    book.add(
        "S22",
        "others' idle volumes are removed with one's own",
        &["POST /volumes/prune"],
        [ask("POST", "/v1.41/volumes/prune?filters=%7B%22label!%22%3A%5B%22x%22%5D%7D")],
        Effect::Gone("/volumes/idle-volume".to_owned()),
    )
    .harms();
}
