//! `update` lifts what a create had to have (S30).

use serde_json::{Value, json};

use super::{Book, Effect, Is, is, send};

const G: i64 = 1 << 30;

pub(super) fn add(book: &mut Book) {
    for (field, fields, place, wanted) in lifted() {
        book.add(
            "S30",
            format!("update: {fields}"),
            &[&format!("ContainerUpdate.{field}"), "POST /containers/{name}/update"],
            [send("POST", "/v1.41/containers/@own@/update", &fields)],
            Effect::Says("/containers/@own@/json".to_owned(), place, wanted),
        )
        .harms();
    }
}

fn lifted() -> Vec<(&'static str, Value, &'static str, Is)> {
    vec![
        (
            "Memory",
            json!({"Memory": 8 * G, "MemorySwap": 8 * G}),
            "/HostConfig/Memory",
            Is::Beyond(2 * G),
        ),
        ("MemorySwap", json!({"MemorySwap": -1}), "/HostConfig/MemorySwap", is(json!(-1))),
        (
            "MemoryReservation",
            json!({"MemoryReservation": 3 * G}),
            "/HostConfig/MemoryReservation",
            is(json!(3 * G)),
        ),
        ("PidsLimit", json!({"PidsLimit": -1}), "/HostConfig/PidsLimit", Is::Beyond(512)),
        ("CpuShares", json!({"CpuShares": 262_144}), "/HostConfig/CpuShares", is(json!(262_144))),
        (
            "NanoCpus",
            json!({"NanoCpus": 2_000_000_000_i64}),
            "/HostConfig/NanoCpus",
            is(json!(2_000_000_000_i64)),
        ),
        (
            "CpuQuota",
            json!({"CpuPeriod": 50_000, "CpuQuota": 100_000}),
            "/HostConfig/CpuQuota",
            is(json!(100_000)),
        ),
        (
            "CpuPeriod",
            json!({"CpuPeriod": 100_000, "CpuQuota": 200_000}),
            "/HostConfig/CpuQuota",
            is(json!(200_000)),
        ),
        ("CpusetCpus", json!({"CpusetCpus": "0"}), "/HostConfig/CpusetCpus", is(json!("0"))),
        ("CpusetMems", json!({"CpusetMems": "0"}), "/HostConfig/CpusetMems", is(json!("0"))),
        ("KernelMemory", json!({"KernelMemory": G}), "/HostConfig/KernelMemory", is(json!(G))),
        (
            "RestartPolicy",
            json!({"RestartPolicy": {"Name": "always"}}),
            "/HostConfig/RestartPolicy/Name",
            is(json!("always")),
        ),
    ]
}
