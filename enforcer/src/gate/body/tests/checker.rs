//! Whatever is asked for, what goes to the engine is checked by somebody who knows nothing of how it was made.

use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};

use super::super::create;
use super::{
    super::fields::{CREATE, HOST_CONFIG},
    MINE, OWN, Setting, json_of,
};

/// Values that some field takes as something.
fn values() -> impl Strategy<Value = Value> {
    let texts = [
        "",
        "host",
        "none",
        "default",
        "private",
        "mine",
        "container:db",
        "container:hub",
        "vol:/d",
        "/:/d",
        "/var/run/docker.sock:/s",
        "ALL",
        "SYS_ADMIN",
        "NET_RAW",
        "CHOWN",
        "seccomp=unconfined",
        "no-new-privileges",
        "/",
        "always",
        "runc",
        "x",
        "80/tcp",
        "1.1.1.1",
        "db",
        "JUPYTERHUB_USER=ben",
        "A=b",
        "alpine:3",
        "evil",
        "local",
        "size=1m",
    ];
    let mount = (
        select(vec!["bind", "volume", "tmpfs", "image", "npipe", "cluster", ""]),
        select(vec!["/", "vol", "odd", "new", "", "/run/docker.sock"]),
        select(vec!["/d", "/e", "/proc", "/var/run/docker.sock"]),
    )
        .prop_map(
            |(kind, source, target)| json!({"Type": kind, "Source": source, "Target": target}),
        );
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        select(vec![-1_i64, 0, 1, 512, 513, 1_000_000, 1 << 31, i64::MAX, i64::MIN])
            .prop_map(Value::from),
        select(texts.to_vec()).prop_map(Value::from),
        mount,
        Just(json!({"Name": "always"})),
        Just(json!({"80/tcp": [{"HostPort": "8080"}]})),
        Just(json!({"/t": "size=1m"})),
        Just(json!({"EndpointsConfig": {"mine": {"Aliases": ["a"]}}})),
        Just(json!({"EndpointsConfig": {"host": {}}})),
        Just(json!({"enforcer.user": "ben"})),
        Just(json!({"a": "b"})),
        Just(json!({})),
    ];
    prop_oneof![3 => leaf.clone(), 2 => vec(leaf, 0..3).prop_map(Value::from)]
}

fn names(model: &'static super::super::fields::Model) -> impl Strategy<Value = &'static str> {
    select(model.fields.iter().map(|field| field.name).collect::<Vec<_>>())
}

fn bodies() -> impl Strategy<Value = Value> {
    let top = vec((names(&CREATE), values()), 0..3);
    let host = vec((names(&HOST_CONFIG), values()), 0..5);
    (top, host).prop_map(|(top, host)| {
        let mut body =
            json!({"Image": "alpine:3", "Env": ["JUPYTERHUB_USER=ada"], "HostConfig": {}});
        for (name, value) in top {
            body[name] = value;
        }
        for (name, value) in host {
            if body["HostConfig"].is_object() {
                body["HostConfig"][name] = value;
            }
        }
        body
    })
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().map(|item| item.as_str().expect("a text")).collect()
}

/// Fields of a create that may go on; no other.
const KNOWN: &str = "Hostname Domainname User AttachStdin AttachStdout AttachStderr ExposedPorts Tty OpenStdin \
    StdinOnce Env Cmd Healthcheck Image Volumes WorkingDir Entrypoint Labels StopSignal StopTimeout \
    HostConfig NetworkingConfig";
/// The same of `HostConfig`.
const KNOWN_OF_HOST: &str = "Memory MemorySwap MemoryReservation NanoCpus PidsLimit CpuShares Ulimits NetworkMode \
    CgroupnsMode LogConfig CapAdd CapDrop SecurityOpt IpcMode PidMode AutoRemove Init ReadonlyRootfs \
    RestartPolicy PortBindings Dns DnsOptions DnsSearch ExtraHosts ConsoleSize ShmSize Tmpfs VolumesFrom Mounts";
/// Capabilities that do a container's own root no harm to others.
const HARMLESS: &str =
    "CHOWN DAC_OVERRIDE FOWNER FSETID KILL NET_BIND_SERVICE SETGID SETPCAP SETUID SYS_CHROOT";

fn has(words: &str, word: &str) -> bool {
    words.split_whitespace().any(|known| known == word)
}

/// `None`: nothing of the host is in it, and it is bounded.
fn danger(body: &Value, socket: Option<&str>) -> Option<String> {
    let host = &body["HostConfig"];
    let unknown = |value: &Value, known: &str| {
        value.as_object().and_then(|map| map.keys().find(|key| !has(known, key)).cloned())
    };
    unknown(body, KNOWN)
        .or_else(|| unknown(host, KNOWN_OF_HOST))
        .or_else(|| of_body(body))
        .or_else(|| of_privileges(host))
        .or_else(|| of_resources(host))
        .or_else(|| of_mounts(host, socket))
}

/// The first check that fails.
fn failed(checks: &[(&str, bool)]) -> Option<String> {
    checks.iter().find(|(_, is_fine)| !is_fine).map(|(name, _)| (*name).to_owned())
}

fn of_body(body: &Value) -> Option<String> {
    let networks = |name: &str| name == "guests" || name == MINE;
    let mode = body["HostConfig"]["NetworkMode"].as_str().unwrap_or("?");
    let endpoints = body["NetworkingConfig"]["EndpointsConfig"].as_object();
    let labels = &body["Labels"];
    failed(&[
        ("network", networks(mode) || mode == "none" || mode == format!("container:{OWN}")),
        ("endpoints", endpoints.is_some_and(|map| map.keys().all(|name| networks(name)))),
        ("user", labels["enforcer.user"] == "ada" && labels["enforcer.hub"] == "lab"),
        ("image", matches!(body["Image"].as_str(), Some("alpine:3" | "alpine:latest"))),
    ])
}

fn of_privileges(host: &Value) -> Option<String> {
    let shared = format!("container:{OWN}");
    let namespace = |name: &str, own: &str| match host[name].as_str() {
        None => host.get(name).is_none(),
        Some(mode) => mode == shared || has(own, mode),
    };
    let dropped = texts(&host["CapDrop"]);
    failed(&[
        ("ipc", namespace("IpcMode", "private none shareable")),
        ("pid", namespace("PidMode", "")),
        ("cgroup namespace", host["CgroupnsMode"] == "private"),
        ("security", host["SecurityOpt"] == json!(["no-new-privileges"])),
        ("added", texts(&host["CapAdd"]).iter().all(|name| has(HARMLESS, name))),
        (
            "dropped",
            dropped == ["ALL"] || ["MKNOD", "NET_RAW"].iter().all(|name| dropped.contains(name)),
        ),
        ("lent", texts(&host["VolumesFrom"]).iter().all(|from| from.starts_with(OWN))),
    ])
}

fn of_resources(host: &Value) -> Option<String> {
    let within =
        |name: &str, most: i64| host[name].as_i64().is_some_and(|value| value > 0 && value <= most);
    let published = host["PortBindings"].as_object().into_iter().flat_map(|map| map.values());
    let in_range = |binding: &Value| {
        let port = binding["HostPort"].as_str().and_then(|port| port.parse::<u16>().ok());
        port.is_some_and(|port| (8000..9000).contains(&port))
    };
    failed(&[
        ("memory", within("Memory", 2 << 30) && host["MemorySwap"] == host["Memory"]),
        ("processes", within("PidsLimit", 512)),
        ("cpu", within("NanoCpus", 1_000_000_000)),
        ("log", matches!(host["LogConfig"]["Type"].as_str(), Some("json-file" | "none"))),
        (
            "restart",
            matches!(host["RestartPolicy"]["Name"].as_str(), None | Some("no" | "on-failure")),
        ),
        ("ports", published.flat_map(|all| all.as_array().expect("a list")).all(in_range)),
    ])
}

fn of_mounts(host: &Value, socket: Option<&str>) -> Option<String> {
    let is_bad = |mount: &&Value| match mount["Type"].as_str() {
        Some("volume") => {
            let is_ours = |name: &str| {
                name.starts_with("enforcer-") && !name.contains('/') && !name.ends_with("-odd")
            };
            !mount["Source"].as_str().is_none_or(is_ours)
                || mount["VolumeOptions"]["DriverConfig"] != json!({"Name": "local"})
        }
        Some("tmpfs") => {
            let size = mount["TmpfsOptions"]["SizeBytes"].as_i64();
            mount.get("Source").is_some() || size.is_none_or(|size| size <= 0)
        }
        Some("bind") => socket.is_none_or(|socket| {
            mount["Source"] != socket || mount["Target"] != "/var/run/docker.sock"
        }),
        _ => true,
    };
    host["Mounts"].as_array().into_iter().flatten().find(is_bad).map(Value::to_string)
}

#[test]
fn s05_the_checker_sees_what_is_dangerous() {
    let body = Setting::of_user().create(&json!({"Image": "alpine:3"})).expect("plain").body;
    assert_eq!(danger(&body, None), None);
    for (name, value) in [
        ("Privileged", json!(true)),
        ("Binds", json!(["/:/x"])),
        ("NetworkMode", json!("host")),
        ("PidMode", json!("host")),
        ("CapAdd", json!(["SYS_ADMIN"])),
        ("SecurityOpt", json!([])),
        ("Memory", json!(0)),
        ("PidsLimit", json!(-1)),
        ("Mounts", json!([{"Type": "bind", "Source": "/", "Target": "/x"}])),
        ("Mounts", json!([{"Type": "volume", "Source": "other"}])),
        ("VolumesFrom", json!(["hub"])),
        ("MaskedPaths", json!([])),
        ("CapDrop", json!([])),
        ("PortBindings", json!({"80/tcp": [{"HostPort": "80"}]})),
        ("LogConfig", json!({"Type": "syslog"})),
        ("RestartPolicy", json!({"Name": "always"})),
    ] {
        let mut bad = body.clone();
        bad["HostConfig"][name] = value;
        assert_ne!(danger(&bad, None), None, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn s3_whatever_a_user_sends_what_goes_on_is_harmless(body in bodies()) {
        let setting = Setting::of_user();
        if let Ok(judged) = create::judge(&json_of(&body), &setting.context()) {
            prop_assert_eq!(danger(&judged.body, None), None, "{} became {}", body, judged.body);
        }
    }

    #[test]
    fn s1_whatever_a_hub_sends_the_only_bind_is_the_gate_s(body in bodies()) {
        let socket = "/run/enforcer/gate/u.sock";
        let mut setting = Setting::of_hub();
        setting.rules.host_ports = Some((8000, 8999));
        setting.facts.socket = Some(socket.into());
        if let Ok(judged) = create::judge(&json_of(&body), &setting.context()) {
            // Whom a hub names is the hub's business.
            let mut judged = judged.body;
            judged["Labels"]["enforcer.user"] = json!("ada");
            prop_assert_eq!(danger(&judged, Some(socket)), None, "{} became {}", body, judged);
        }
    }
}
