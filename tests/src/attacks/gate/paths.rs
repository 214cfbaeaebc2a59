//! Paths of the host, and of its engine's socket, however they are written (S01, S02, S03).

use serde_json::{Value, json};

use super::{Book, Effect, create, has, is, on_host, start};

/// Ways to write a path by which an engine can be reached. `@socket@` is its socket, `@run@` a directory above it.
const SOURCES: [&str; 24] = [
    "@socket@",
    "@run@",
    "@run@/docker",
    "/",
    "//",
    "/.",
    "/../",
    "/etc/..",
    "/proc/1/root",
    "/proc/1/root/",
    "/proc/self/root/etc",
    "/var/run",
    "/run",
    "/var",
    "/var/lib/docker",
    "//etc",
    "/etc/",
    "/etc/.",
    "/./etc",
    "/etc//shadow",
    "/tmp/../etc",
    "@link@",
    "@link@/docker.sock",
    "@run@/docker/../docker/./docker.sock",
];

/// Modes of a bind.
const MODES: [&str; 6] = ["", ":ro", ":rw", ":rshared", ":z", ":ro,rprivate"];

pub(super) fn add(book: &mut Book) {
    let made = |path: &str| {
        let clean = clean(path);
        Effect::Container("/Mounts", has(&format!("\"Source\":\"{clean}\"")))
    };
    for (index, source) in SOURCES.iter().enumerate() {
        let mode = MODES[index % MODES.len()];
        let bind = format!("{source}:/host{mode}");
        let body = on_host(&json!({"Binds": [bind]}));
        let name = format!("Binds: {bind}");
        book.add("S01", name, &["HostConfig.Binds"], [create(&body)], made(source));
        // An engine that is itself confined may not look there, and makes no such mount.
        if source.starts_with("/proc/1/") {
            continue;
        }
        let mount = json!({"Type": "bind", "Source": source, "Target": "/host"});
        let name = format!("Mounts: bind of {source}");
        let fields = ["HostConfig.Mounts", "Mount.Type", "Mount.Source"];
        book.add(
            "S02",
            name,
            &fields,
            [create(&on_host(&json!({"Mounts": [mount]})))],
            made(source),
        );
    }
    for propagation in ["rshared", "rslave"] {
        let options = json!({"Propagation": propagation, "NonRecursive": true});
        let mount =
            json!({"Type": "bind", "Source": "/", "Target": "/host", "BindOptions": options});
        let effect = Effect::Container("/Mounts/0/Propagation", is(json!(propagation)));
        let name = format!("Mounts: {propagation}");
        let body = on_host(&json!({"Mounts": [mount]}));
        book.add("S02", name, &["Mount.BindOptions"], [create(&body)], effect);
    }
    targets(book);
    volumes(book);
    tmpfs(book);
    seen(book);
}

/// As the engine writes it.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        match part {
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    if joined.starts_with('@') { joined } else { format!("/{joined}") }
}

/// Places in the container over which nothing may be put.
fn targets(book: &mut Book) {
    for target in ["/proc", "/sys", "/a/../proc/"] {
        let mount = json!({"Type": "tmpfs", "Target": target});
        let effect = Effect::Container("/HostConfig/Mounts", has(target));
        let name = format!("Mounts: something at {target}");
        let body = on_host(&json!({"Mounts": [mount]}));
        book.add("S03", name, &["Mount.Target"], [create(&body)], effect);
    }
}

/// Paths of the host behind the name of a volume.
fn volumes(book: &mut Book) {
    let device = json!({"type": "none", "o": "bind", "device": "/"});
    let overlay = json!({"type": "overlay", "device": "overlay", "o": "lowerdir=/"});
    let nfs = json!({"type": "nfs", "o": "addr=127.0.0.1", "device": ":/"});
    for (name, options) in [("a bind", device), ("an overlay", overlay), ("nfs", nfs)] {
        let driver = json!({"Name": "local", "Options": options});
        let mount = json!({"Type": "volume", "Source": "@name@", "Target": "/host",
                           "VolumeOptions": {"DriverConfig": driver}});
        book.add(
            "S03",
            format!("Mounts: a volume that is {name}"),
            &["DriverConfig.Options", "VolumeOptions.DriverConfig", "Mount.VolumeOptions"],
            [create(&on_host(&json!({"Mounts": [mount]})))],
            Effect::Volume("/Options/type", is(options_type(&driver))),
        );
    }
    for (field, bind) in [
        ("Binds", json!(["foreign-volume:/data"])),
        ("Mounts", json!([{"Type": "volume", "Source": "foreign-volume", "Target": "/data"}])),
    ] {
        book.add(
            "S03",
            format!("{field}: the volume of another"),
            &[],
            [create(&on_host(&json!({ field: bind })))],
            Effect::Container("/Mounts", has("\"Name\":\"foreign-volume\"")),
        );
        let root = bind.to_string().replace("foreign-volume", "root-volume");
        let root: Value = serde_json::from_str(&root).unwrap_or_default();
        book.add(
            "S03",
            format!("{field}: a volume that root made of a directory"),
            &[],
            [create(&on_host(&json!({ field: root })))],
            Effect::Container("/Mounts", has("\"Name\":\"root-volume\"")),
        );
    }
    let labels = json!({"enforcer.user": "victim"});
    let mount = json!({"Type": "volume", "Source": "@name@", "Target": "/d",
                       "VolumeOptions": {"Labels": labels}});
    book.add(
        "S22",
        "Mounts: a volume with the labels of another's",
        &["VolumeOptions.Labels"],
        [create(&on_host(&json!({"Mounts": [mount]})))],
        Effect::Volume("/Labels/enforcer.user", is(json!("victim"))),
    );
}

fn options_type(driver: &Value) -> Value {
    driver["Options"]["type"].clone()
}

/// Memory without a bound, and programs that gain privileges.
fn tmpfs(book: &mut Book) {
    for options in ["size=64g", "suid,dev,size=1m", "mode=4777", "mpol=bind:0", "nr_inodes=0"] {
        book.add(
            "S03",
            format!("Tmpfs: {options}"),
            &["HostConfig.Tmpfs"],
            [create(&on_host(&json!({"Tmpfs": {"/t": options}})))],
            Effect::Container("/HostConfig/Tmpfs/~1t", has(options)),
        );
    }
    book.add(
        "S30",
        "Tmpfs: as much as there is",
        &["HostConfig.Tmpfs"],
        [create(&on_host(&json!({"Tmpfs": {"/t": ""}})))],
        Effect::Container("/HostConfig/Tmpfs/~1t", is(json!(""))),
    );
    let place = "/HostConfig/Mounts/0/TmpfsOptions";
    for (field, value) in [("SizeBytes", json!(1_i64 << 36)), ("Mode", json!(0o4777))] {
        let mount = json!({"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {field: value}});
        book.add(
            "S03",
            format!("Mounts: tmpfs with {field} {value}"),
            &[&format!("TmpfsOptions.{field}"), "Mount.TmpfsOptions"],
            [create(&on_host(&json!({"Mounts": [mount]})))],
            Effect::Container(place, has(&format!("\"{field}\":{value}"))),
        );
    }
}

/// The same, seen by the process that has it.
fn seen(book: &mut Book) {
    let bind = |bind: &str| on_host(&json!({"Binds": [bind]}));
    for (name, body, path) in [
        ("the host's files are in it", bind("/:/host"), "/host@run@/marker"),
        ("the engine's socket is in it", bind("@run@/docker:/engine"), "/engine/docker.sock"),
        (
            "the same by a mount",
            on_host(&json!({"Mounts": [{"Type": "bind", "Source": "@socket@", "Target": "/s"}]})),
            "/s",
        ),
        (
            "the same by a volume",
            on_host(&json!({"Mounts": [{"Type": "volume", "Target": "/host", "VolumeOptions":
                {"DriverConfig": {"Name": "local",
                 "Options": {"type": "none", "o": "bind", "device": "@run@"}}}}]})),
            "/host/marker",
        ),
        ("a volume of root's is in it", bind("root-volume:/host"), "/host/marker"),
        ("the volume of another is in it", bind("foreign-volume:/data"), "/data/secret"),
        (
            "the mounts of another are in it",
            on_host(&json!({"VolumesFrom": ["victim"]})),
            "/data/secret",
        ),
    ] {
        book.add("S01", name, &[], [create(&body), start()], Effect::Inside(path.to_owned()));
    }
}
