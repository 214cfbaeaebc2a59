//! Fields of `HostConfig`: each with what a stranger would ask of it, seen in the engine's own account of the container.

use serde_json::{Value, json};

use super::{Book, Effect, Is, create, has, is, on_host};

const G: i64 = 1 << 30;

pub(super) fn add(book: &mut Book) {
    for (threat, field, value) in asked() {
        let place: &'static str = place(field);
        book.add(
            threat,
            format!("{field}: {value}"),
            &[&format!("HostConfig.{field}")],
            [create(&on_host(&json!({ field: value })))],
            Effect::Container(place, is(value)),
        );
    }
    said_otherwise(book);
    bounds(book);
    ports(book);
    joined(book);
}

/// What is asked, and comes back as it was.
fn asked() -> Vec<(&'static str, &'static str, Value)> {
    let device = json!([{"PathOnHost": "/dev/mem", "PathInContainer": "/dev/evil",
                         "CgroupPermissions": "rwm"}]);
    let gpu = json!([{"Driver": "nvidia", "Count": -1, "DeviceIDs": null,
                      "Capabilities": [["gpu"]], "Options": {}}]);
    let rate = json!([{"Path": "/dev/zero", "Rate": 1}]);
    vec![
        ("S05", "Privileged", json!(true)),
        ("S05", "CapAdd", json!(["SYS_ADMIN"])),
        ("S05", "CapAdd", json!(["ALL"])),
        ("S05", "CapAdd", json!(["CAP_SYS_PTRACE", "CAP_NET_ADMIN"])),
        ("S05", "Devices", device),
        ("S05", "DeviceCgroupRules", json!(["a *:* rwm"])),
        ("S05", "DeviceRequests", gpu),
        ("S05", "SecurityOpt", json!(["seccomp=unconfined"])),
        ("S05", "SecurityOpt", json!(["apparmor=unconfined"])),
        ("S05", "SecurityOpt", json!(["no-new-privileges:false"])),
        ("S05", "SecurityOpt", json!(["label=disable"])),
        ("S05", "MaskedPaths", json!([])),
        ("S05", "ReadonlyPaths", json!([])),
        ("S05", "PidMode", json!("host")),
        ("S05", "IpcMode", json!("host")),
        ("S05", "UTSMode", json!("host")),
        ("S05", "UsernsMode", json!("host")),
        ("S05", "CgroupnsMode", json!("host")),
        ("S05", "NetworkMode", json!("host")),
        ("S05", "Sysctls", json!({"net.ipv4.ip_forward": "1"})),
        ("S05", "Sysctls", json!({"kernel.shm_rmid_forced": "1"})),
        ("S05", "Runtime", json!("io.containerd.runtime.v1.linux")),
        ("S05", "CgroupParent", json!("/")),
        ("S05", "CgroupParent", json!("/../../evil")),
        ("S05", "GroupAdd", json!(["0"])),
        ("S05", "OomScoreAdj", json!(-1000)),
        ("S05", "OomKillDisable", json!(true)),
        ("S05", "Cgroup", json!("container:victim")),
        ("S05", "Ulimits", json!([{"Name": "core", "Hard": -1, "Soft": -1}])),
        (
            "S23",
            "LogConfig",
            json!({"Type": "syslog",
            "Config": {"syslog-address": "udp://@canary@"}}),
        ),
        ("S23", "LogConfig", json!({"Type": "json-file", "Config": {"max-size": "100g"}})),
        ("S04", "VolumesFrom", json!(["victim"])),
        ("S04", "VolumesFrom", json!(["/victim:rw"])),
        ("S04", "VolumesFrom", json!(["@victim_id@:ro"])),
        ("S28", "PublishAllPorts", json!(true)),
        ("S28", "ExtraHosts", json!(["api:host-gateway"])),
        ("S28", "Dns", json!(["192.0.2.53"])),
        ("S28", "DnsOptions", json!(["attempts:1\nnameserver 192.0.2.1"])),
        ("S28", "DnsSearch", json!(["lan\nnameserver 192.0.2.1"])),
        ("S29", "RestartPolicy", json!({"Name": "always", "MaximumRetryCount": 0})),
        ("S29", "RestartPolicy", json!({"Name": "unless-stopped", "MaximumRetryCount": 0})),
        ("S30", "BlkioDeviceReadBps", rate.clone()),
        ("S30", "BlkioDeviceWriteBps", rate.clone()),
        ("S30", "BlkioDeviceReadIOps", rate.clone()),
        ("S30", "BlkioDeviceWriteIOps", rate),
        ("S30", "CpusetCpus", json!("0")),
        ("S30", "CpusetMems", json!("0")),
        ("S30", "CpuCount", json!(64)),
        ("S30", "KernelMemory", json!(G)),
        ("S30", "KernelMemoryTCP", json!(G)),
        ("S30", "MemorySwappiness", json!(100)),
        ("S30", "CpuRealtimePeriod", json!(1_000_000)),
        ("S30", "CpuRealtimeRuntime", json!(950_000)),
        ("S03", "VolumeDriver", json!("other")),
        ("S30", "CpuShares", json!(262_144)),
        ("S30", "MemorySwap", json!(-1)),
    ]
}

/// Where the engine tells it.
fn place(field: &str) -> &'static str {
    asked_places().iter().find(|(name, _)| *name == field).map_or("", |(_, place)| place)
}

macro_rules! places {
    ($($field:literal)*) => {
        &[$(($field, concat!("/HostConfig/", $field))),*]
    };
}

const fn asked_places() -> &'static [(&'static str, &'static str)] {
    places!("Privileged" "CapAdd" "Devices" "DeviceCgroupRules" "DeviceRequests" "SecurityOpt" "MaskedPaths"
        "ReadonlyPaths" "PidMode" "IpcMode" "UTSMode" "UsernsMode" "CgroupnsMode" "NetworkMode" "Sysctls" "Runtime"
        "CgroupParent" "GroupAdd" "OomScoreAdj" "OomKillDisable" "Cgroup" "Ulimits" "LogConfig" "VolumesFrom"
        "PublishAllPorts" "ExtraHosts" "Dns" "DnsOptions" "DnsSearch" "RestartPolicy" "BlkioDeviceReadBps"
        "BlkioDeviceWriteBps" "BlkioDeviceReadIOps" "BlkioDeviceWriteIOps"
        "CpusetCpus" "CpusetMems" "CpuCount" "KernelMemory"
        "KernelMemoryTCP" "MemorySwappiness" "CpuRealtimePeriod" "CpuRealtimeRuntime" "VolumeDriver" "CpuShares"
        "MemorySwap")
}

/// The same danger in other words: what clients and older engines understand too.
fn said_otherwise(book: &mut Book) {
    for (threat, name, fields, effect) in [
        (
            "S05",
            "Privileged: true, spelled privileged",
            json!({"privileged": true}),
            Effect::Container("/HostConfig/Privileged", is(json!(true))),
        ),
        (
            "S05",
            "CapAdd: in small letters",
            json!({"CapAdd": ["sys_admin"]}),
            Effect::Container("/HostConfig/CapAdd", has("sys_admin")),
        ),
        (
            "S05",
            "PidMode: with other things beside it",
            json!({"PidMode": "host", "IpcMode": "private", "CapDrop": ["ALL"]}),
            Effect::Container("/HostConfig/PidMode", is(json!("host"))),
        ),
        (
            "S28",
            "Links: to another",
            json!({"NetworkMode": "default", "Links": ["victim:x"]}),
            Effect::Container("/HostConfig/Links", has("victim")),
        ),
        (
            "S30",
            "Ulimits: a limit that is the host's",
            json!({"Ulimits": [{"Name": "rtprio", "Soft": 99, "Hard": 99}]}),
            Effect::Container("/HostConfig/Ulimits", has("rtprio")),
        ),
        (
            "S30",
            "Ulimits: Soft and Hard without a bound",
            json!({"Ulimits": [{"Name": "memlock", "Soft": -1, "Hard": -1}]}),
            Effect::Container("/HostConfig/Ulimits", has("memlock")),
        ),
        (
            "S29",
            "RestartPolicy: any number of retries",
            json!({"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 1_000_000}}),
            Effect::Container("/HostConfig/RestartPolicy/MaximumRetryCount", is(json!(1_000_000))),
        ),
        (
            "S23",
            "LogConfig: a socket of the host",
            json!({"LogConfig": {"Type": "fluentd", "Config": {"fluentd-address": "unix://@socket@"}}}),
            Effect::Container("/HostConfig/LogConfig/Type", is(json!("fluentd"))),
        ),
    ] {
        let covers: Vec<String> = fields
            .as_object()
            .into_iter()
            .flatten()
            .map(|(field, _)| {
                if field == "privileged" {
                    "HostConfig.Privileged".into()
                } else {
                    format!("HostConfig.{field}")
                }
            })
            .chain(parts(name))
            .collect();
        let covers: Vec<&str> = covers.iter().map(String::as_str).collect();
        let covers: Vec<&str> =
            covers.into_iter().filter(|field| !HARMLESS_HERE.contains(field)).collect();
        book.add(threat, name, &covers, [create(&on_host(&fields))], effect);
    }
}

/// What stands beside a danger, and is none.
const HARMLESS_HERE: [&str; 1] = ["HostConfig.CapDrop"];

/// Fields of what is in a field.
fn parts(name: &str) -> Vec<String> {
    let of: &[&str] = match name.split(':').next() {
        Some("Ulimits") => &["Ulimit.Name", "Ulimit.Soft", "Ulimit.Hard"],
        Some("RestartPolicy") => &["RestartPolicy.Name", "RestartPolicy.MaximumRetryCount"],
        Some("LogConfig") => &["LogConfig.Type", "LogConfig.Config"],
        _ => &[],
    };
    of.iter().map(ToString::to_string).collect()
}

/// More than anybody may have (S30): also where nothing is asked for.
fn bounds(book: &mut Book) {
    for (field, place, value, most) in [
        ("Memory", "/HostConfig/Memory", json!(8 * G), 2 * G),
        ("NanoCpus", "/HostConfig/NanoCpus", json!(2_000_000_000_i64), 1_000_000_000),
        ("PidsLimit", "/HostConfig/PidsLimit", json!(100_000), 512),
        ("PidsLimit", "/HostConfig/PidsLimit", json!(-1), 512),
        ("ShmSize", "/HostConfig/ShmSize", json!(64 * G), 2 * G),
        ("MemoryReservation", "/HostConfig/MemoryReservation", json!(3 * G), 2 * G),
    ] {
        let wanted = match field {
            // No reservation is none, and the engine has a size of its own for shared memory.
            "MemoryReservation" | "ShmSize" => is(value.clone()),
            _ => Is::Beyond(most),
        };
        let body = on_host(&json!({ field: value }));
        let covers = [format!("HostConfig.{field}")];
        let name = format!("{field}: {value}");
        book.add("S30", name, &[&covers[0]], [create(&body)], Effect::Container(place, wanted));
    }
    for (name, place, most) in [
        ("nobody asks for a bound of memory", "/HostConfig/Memory", 2 * G),
        ("nobody asks for a bound of processes", "/HostConfig/PidsLimit", 512),
        ("nobody asks for a bound of CPU time", "/HostConfig/NanoCpus", 1_000_000_000),
    ] {
        let effect = Effect::Container(place, Is::Beyond(most));
        book.add("S30", name, &[], [create(&on_host(&json!({})))], effect);
    }
    let body = on_host(&json!({"CpuPeriod": 50_000, "CpuQuota": 100_000}));
    let effect = Effect::Container("/HostConfig/CpuQuota", is(json!(100_000)));
    let fields = ["HostConfig.CpuPeriod", "HostConfig.CpuQuota"];
    book.add("S30", "CpuQuota: two CPUs", &fields, [create(&body)], effect);
}

/// Ports of the host outside those that may be published (S28).
fn ports(book: &mut Book) {
    for (name, bindings, part) in [
        ("a port of the host's own", json!([{"HostIp": "", "HostPort": "22"}]), "\"22\""),
        ("all addresses", json!([{"HostIp": "0.0.0.0", "HostPort": "80"}]), "0.0.0.0"),
        (
            "an address of the host",
            json!([{"HostIp": "127.0.0.1", "HostPort": "8080"}]),
            "127.0.0.1",
        ),
        ("any port", json!([{"HostIp": "", "HostPort": ""}]), "HostPort"),
        ("a range", json!([{"HostIp": "", "HostPort": "1-1023"}]), "1-1023"),
        (
            "a port twice",
            json!([{"HostIp": "", "HostPort": "8080"}, {"HostIp": "", "HostPort": "22"}]),
            "\"22\"",
        ),
    ] {
        let bindings = json!({"PortBindings": {"80/tcp": bindings}});
        book.add(
            "S28",
            format!("PortBindings: {name}"),
            &["HostConfig.PortBindings", "PortBinding.HostIp", "PortBinding.HostPort"],
            [create(&on_host(&bindings))],
            Effect::Container("/HostConfig/PortBindings", has(part)),
        );
    }
}

/// Networks that are not the attacker's (D05, S04).
fn joined(book: &mut Book) {
    // The engine writes whose it is by the id.
    let other = "container:@victim_id@";
    for (field, place) in [
        ("NetworkMode", "/HostConfig/NetworkMode"),
        ("PidMode", "/HostConfig/PidMode"),
        ("IpcMode", "/HostConfig/IpcMode"),
    ] {
        for mode in ["container:victim", "container:@victim_id12@", other] {
            book.add(
                "S04",
                format!("{field}: {mode}"),
                &[&format!("HostConfig.{field}")],
                [create(&on_host(&json!({ field: mode })))],
                Effect::Container(place, is(json!(other))),
            );
        }
    }
    for mode in ["foreign-net", "@foreign_net_id@"] {
        let effect = Effect::Container("/HostConfig/NetworkMode", is(json!(mode)));
        let body = on_host(&json!({"NetworkMode": mode}));
        let name = format!("NetworkMode: {mode}");
        book.add("D04", name, &["HostConfig.NetworkMode"], [create(&body)], effect);
    }
    // The engine's own network is nobody's to police.
    for mode in ["bridge", "default"] {
        let effect = Effect::Container("/HostConfig/NetworkMode", is(json!(mode)));
        let body = on_host(&json!({"NetworkMode": mode}));
        book.add(
            "D05",
            format!("NetworkMode: {mode}"),
            &["HostConfig.NetworkMode"],
            [create(&body)],
            effect,
        );
    }
}
