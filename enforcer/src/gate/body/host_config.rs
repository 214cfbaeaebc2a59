//! `HostConfig` of a create: what stands between a container and the host.

use serde_json::{Map, Value, json};

use super::{
    super::verdict::Refusal,
    Context, Notes,
    mounts::Mounted,
    networking::{self, Mode},
    object::{At, Object},
    plain, ports,
    resources::{self, Time},
};

/// What the engine gives a container by itself, by moby's names.
const DEFAULT: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// Of these, what no container of a stranger needs: raw frames, device nodes, files that give capabilities, lines
/// in the host's audit log.
const DROPPED: [&str; 4] = ["AUDIT_WRITE", "MKNOD", "NET_RAW", "SETFCAP"];

/// Size of a container's log, and how many such files: bounded, and read with `docker logs`.
const LOG_SIZE: &str = "10m";
const LOG_FILES: &str = "3";

/// The rest of `HostConfig` once its network and mounts are judged.
pub(super) fn judge(
    host: &Object<'_>,
    mode: &Mode,
    mounted: Mounted,
    context: &Context<'_>,
    notes: &mut Notes,
) -> Result<Map<String, Value>, Refusal> {
    let mut config = resources::judge(host, context, Time::Create, notes)?;
    let mut set = |name: &str, value: Value| config.insert(name.to_owned(), value);
    set("NetworkMode", json!(mode.to_text()));
    set("CgroupnsMode", json!(cgroup_namespace(host)?));
    set("LogConfig", log(host)?);
    for (name, value) in privileges(host, context)? {
        set(name, value);
    }
    for name in ["IpcMode", "PidMode"] {
        if let Some(namespace) = namespace(host, name, context)? {
            set(name, json!(namespace));
        }
    }
    for name in ["AutoRemove", "Init", "ReadonlyRootfs"] {
        if let Some(at) = host.field(name) {
            set(name, json!(at.flag()?));
        }
    }
    if let Some(restart) = resources::restart(host, notes)? {
        set("RestartPolicy", restart);
    }
    let published = ports::published(&host.entries("PortBindings")?, context)?;
    if !published.is_empty() {
        set("PortBindings", Value::Object(published));
    }
    for (name, value) in names(host, mode, context)? {
        set(name, value);
    }
    if let Some(at) = host.field("ConsoleSize") {
        set("ConsoleSize", json!(plain::console(&at)?));
    }
    let memory = i64::try_from(context.rules.memory).unwrap_or(i64::MAX);
    if let Some(at) = host.field("ShmSize").filter(|at| at.whole() != Ok(0)) {
        set("ShmSize", json!(at.within(1, memory)?));
    }
    if let Some(disk) = disk(host, context)? {
        set("StorageOpt", json!({"size": disk.to_string()}));
    }
    // Not forwarded: another runtime or isolation than the engine's own cannot be asked for, and the client's file
    // is the client's.
    only(host, "Runtime", &["", "runc", "io.containerd.runc.v2"])?;
    only(host, "Isolation", &["", "default"])?;
    host.text("ContainerIDFile")?;

    if !mounted.tmpfs.is_empty() {
        set("Tmpfs", Value::Object(mounted.tmpfs.clone()));
    }
    if !mounted.volumes_from.is_empty() {
        set("VolumesFrom", json!(mounted.volumes_from));
    }
    let mounts = mounted.mounts();
    if !mounts.is_empty() {
        set("Mounts", Value::Array(mounts));
    }
    Ok(config)
}

fn only(host: &Object<'_>, name: &str, values: &[&str]) -> Result<(), Refusal> {
    match host.field(name) {
        Some(at) if !values.contains(&at.text()?) => Err(at.refuse("leave it out")),
        _ => Ok(()),
    }
}

/// Always its own: what the host's cgroups are called is nobody's business.
fn cgroup_namespace(host: &Object<'_>) -> Result<&'static str, Refusal> {
    only(host, "CgroupnsMode", &["", "private"]).map(|()| "private")
}

/// `CapAdd`, `CapDrop`, `SecurityOpt`.
fn privileges(
    host: &Object<'_>,
    context: &Context<'_>,
) -> Result<Vec<(&'static str, Value)>, Refusal> {
    let keeps = context.rules.keeps_privileges;
    let cut: &[&str] = if keeps { &[] } else { &DROPPED };
    let mut added: Vec<&str> = Vec::new();
    for at in host.list("CapAdd")? {
        let name = capability(&at)?;
        let known = DEFAULT.iter().find(|known| **known == name && !cut.contains(known));
        added.push(known.ok_or_else(|| at.refuse(format_args!("no container may have {name}")))?);
    }
    let mut dropped: Vec<String> = cut.iter().map(|&name| name.to_owned()).collect();
    for at in host.list("CapDrop")? {
        let name = capability(&at)?;
        let is_plain = |byte: u8| byte.is_ascii_uppercase() || byte == b'_';
        if name.is_empty() || name.len() > 32 || !name.bytes().all(is_plain) {
            return Err(at.refuse("this is no capability"));
        }
        dropped.push(name);
    }
    if dropped.iter().any(|name| name == "ALL") {
        dropped = vec!["ALL".to_owned()];
    }
    dropped.sort_unstable();
    dropped.dedup();
    added.sort_unstable();
    added.dedup();
    let mut asks = !keeps;
    for at in host.list("SecurityOpt")? {
        match at.text()? {
            "no-new-privileges" | "no-new-privileges:true" | "no-new-privileges=true" => {
                asks = true;
            }
            _ => return Err(at.refuse("only no-new-privileges goes through")),
        }
    }
    let mut all = Vec::new();
    if !added.is_empty() {
        all.push(("CapAdd", json!(added)));
    }
    if !dropped.is_empty() {
        all.push(("CapDrop", json!(dropped)));
    }
    if asks {
        all.push(("SecurityOpt", json!(["no-new-privileges"])));
    }
    Ok(all)
}

/// As the engine compares it: without case, with or without `CAP_`.
fn capability(at: &At<'_>) -> Result<String, Refusal> {
    let name = at.text()?.to_ascii_uppercase();
    Ok(name.strip_prefix("CAP_").unwrap_or(&name).to_owned())
}

/// `IpcMode`, `PidMode`: its own, or that of an own container.
fn namespace(
    host: &Object<'_>,
    name: &'static str,
    context: &Context<'_>,
) -> Result<Option<String>, Refusal> {
    let Some(at) = host.field(name) else { return Ok(None) };
    match at.text()? {
        "" => Ok(None),
        mode @ ("private" | "none" | "shareable") if name == "IpcMode" => Ok(Some(mode.to_owned())),
        mode if mode.starts_with("container:") => {
            networking::container(&at, context).map(|id| Some(format!("container:{id}")))
        }
        _ => Err(at.refuse("a container has a namespace of its own, or that of an own container")),
    }
}

/// Where names are looked up (S28): with enforcer, where it answers.
fn names(
    host: &Object<'_>,
    mode: &Mode,
    context: &Context<'_>,
) -> Result<Vec<(&'static str, Value)>, Refusal> {
    let mut all = Vec::new();
    let guest = context.facts.guest_network.as_ref();
    let gateway = guest.filter(|guest| guest.resolves).map(|guest| guest.gateway.to_string());
    for at in host.list("Dns")? {
        if Some(at.text()?) != gateway.as_deref() {
            return Err(at.refuse("names are looked up where the guest network says; leave it out"));
        }
    }
    // The engine takes it from nobody who has another's network.
    if let (Some(gateway), Mode::On(_)) = (gateway, mode) {
        all.push(("Dns", json!([gateway])));
    }
    for (name, is_fine) in [
        ("DnsOptions", is_option as fn(&str) -> bool),
        ("DnsSearch", plain::is_host),
        ("ExtraHosts", is_host_line),
    ] {
        let items = host.list(name)?;
        if items.len() > 32 {
            return Err(items[32].refuse("at most 32"));
        }
        let texts = plain::texts(&items)?;
        if let Some(at) = items.iter().find(|at| !at.text().is_ok_and(is_fine)) {
            return Err(at.refuse("a plain option, domain, or name:address is expected"));
        }
        if !texts.is_empty() {
            all.push((name, json!(texts)));
        }
    }
    Ok(all)
}

fn is_option(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'-');
    !text.is_empty() && text.len() <= 32 && text.bytes().all(is_plain)
}

/// `name:address`; `host-gateway` is no address.
fn is_host_line(text: &str) -> bool {
    let parts = text.split_once(':');
    let address =
        |text: &str| text.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    parts.is_some_and(|(name, text)| plain::is_host(name) && address(text).is_ok())
}

/// Whatever goes to `json-file`, with a bound: other drivers send a container's lines to where its creator says (S23).
fn log(host: &Object<'_>) -> Result<Value, Refusal> {
    let Some(at) = host.field("LogConfig") else { return Ok(json_file()) };
    let log = at.object(&super::fields::LOG)?;
    for (key, at) in log.entries("Config")? {
        if !matches!(key, "max-size" | "max-file" | "compress") || at.text().is_err() {
            return Err(at.refuse("this option does not go through"));
        }
    }
    match log.text("Type")? {
        "" | "json-file" | "local" => Ok(json_file()),
        "none" => Ok(json!({"Type": "none"})),
        _ => Err(at.refuse("Type is json-file or none")),
    }
}

fn json_file() -> Value {
    json!({"Type": "json-file", "Config": {"max-size": LOG_SIZE, "max-file": LOG_FILES}})
}

/// Size of the container's own layer, bytes.
fn disk(host: &Object<'_>, context: &Context<'_>) -> Result<Option<u64>, Refusal> {
    let mut size = context.rules.disk;
    for (key, at) in host.entries("StorageOpt")? {
        let asked = plain::size(at.text()?).filter(|asked| key == "size" && *asked > 0);
        let within = asked.zip(context.rules.disk).filter(|(asked, most)| asked <= most);
        size = match within {
            Some((asked, _)) => Some(asked),
            None => return Err(at.refuse("only a size within the rules goes through")),
        };
    }
    Ok(size)
}
