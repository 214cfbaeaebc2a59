//! The worst of them, seen in the kernel: what the process of the container really has.

use serde_json::json;

use super::{Book, Effect, create, on_host, start};

/// `CAP_SYS_ADMIN`.
const SYS_ADMIN: u32 = 21;
/// `CAP_NET_RAW`, which the engine gives by itself.
const NET_RAW: u32 = 13;

pub(super) fn add(book: &mut Book) {
    let device = json!([{"PathOnHost": "/dev/kmsg", "PathInContainer": "/dev/evil",
                         "CgroupPermissions": "rwm"}]);
    for (name, fields, effect) in [
        ("it may mount", json!({"CapAdd": ["SYS_ADMIN"]}), Effect::Capability(SYS_ADMIN)),
        ("it may send raw frames", json!({}), Effect::Capability(NET_RAW)),
        ("it may gain privileges", json!({}), Effect::Status("NoNewPrivs:\t0")),
        (
            "no filter of calls is on it",
            json!({"SecurityOpt": ["seccomp=unconfined"]}),
            Effect::Status("Seccomp:\t0"),
        ),
        ("it sees the host's processes", json!({"PidMode": "host"}), Effect::Namespace("pid")),
        ("it has the host's network", json!({"NetworkMode": "host"}), Effect::Namespace("net")),
        ("it has the host's shared memory", json!({"IpcMode": "host"}), Effect::Namespace("ipc")),
        ("it has the host's name", json!({"UTSMode": "host"}), Effect::Namespace("uts")),
        (
            "it has a device of the host",
            json!({"Devices": device}),
            Effect::Inside("/dev/evil".into()),
        ),
        (
            "it wrote to the host",
            json!({"Binds": ["@run@:/host"]}),
            Effect::File("@run@/@name@".into()),
        ),
    ] {
        let mut body = on_host(&fields);
        body["Cmd"] = json!(["sh", "-c", "echo > /host/@name@; sleep 600"]);
        book.add("S05", name, &[], [create(&body), start()], effect);
    }
}
