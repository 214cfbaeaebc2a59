//! What a container has of files that are not its image's: own volumes and memory. However a client says it (`Binds`,
//! `Mounts`, `Volumes`), it goes to the engine as `Mounts`; a path of the host goes there for nobody but a hub
//! with a root in its rules, and the socket that the gate itself gives (S01-S04).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    super::{names, principal::Principal, verdict::Refusal},
    Context, Notes, fields, forbidden, missing,
    object::{At, Object},
    own,
    paths::{self, SOCKET},
    plain, tmpfs, who,
};

/// Most mounts of a container.
const MAX_MOUNTS: usize = 64;

/// What a container is going to have.
#[derive(Debug, Default)]
pub(super) struct Mounted {
    /// By the place in the container, so that no place has two.
    by_target: BTreeMap<String, Value>,
    /// `HostConfig.Tmpfs`.
    pub tmpfs: Map<String, Value>,
    /// `HostConfig.VolumesFrom`.
    pub volumes_from: Vec<String>,
    /// `Volumes`: those that the engine makes and names.
    pub anonymous: Map<String, Value>,
}

impl Mounted {
    pub fn mounts(self) -> Vec<Value> {
        self.by_target.into_values().collect()
    }

    fn add(&mut self, at: &At<'_>, target: String, mut mount: Value) -> Result<(), Refusal> {
        if self.by_target.len() == MAX_MOUNTS {
            return Err(at.refuse(format_args!("at most {MAX_MOUNTS} mounts")));
        }
        mount["Target"] = Value::String(target.clone());
        let other = self.by_target.insert(target, mount);
        other.map_or(Ok(()), |_| Err(at.refuse("something is mounted there already")))
    }
}

/// All mounts of a create.
pub(super) fn judge(
    create: &Object<'_>,
    host: &Object<'_>,
    context: &Context<'_>,
    notes: &mut Notes,
) -> Result<Mounted, Refusal> {
    let mut mounted = Mounted::default();
    let is_hub = matches!(context.principal, Principal::Hub(_));
    if let Some(at) = host.field("VolumeDriver").filter(|at| !matches!(at.text(), Ok("" | "local")))
    {
        return Err(at.refuse("volumes are local"));
    }
    for at in host.list("Binds")? {
        bind(&at, context, notes, &mut mounted)?;
    }
    for at in host.list("Mounts")? {
        mount(&at, context, notes, &mut mounted)?;
    }
    mounted.tmpfs = tmpfs::texts(&host.entries("Tmpfs")?, context.rules)?;
    for at in host.list("VolumesFrom")? {
        mounted.volumes_from.push(from_container(&at, context)?);
    }
    for (path, at) in create.entries("Volumes")? {
        let target = paths::of_target(path).map_err(|why| at.refuse(why))?;
        // A client names the places of its other mounts here too: also that of a socket that was left out, where
        // nothing is to be, or the user's own socket.
        if is_hub && paths::is_socket(&target) {
            notes.changed.push(format!("{}: left out", at.path));
            continue;
        }
        if !mounted.by_target.contains_key(&target) {
            mounted.anonymous.insert(target, json!({}));
        }
    }
    let is_anonymous = |mount: &&Value| mount["Type"] == "volume" && mount.get("Source").is_none();
    let unnamed = mounted.anonymous.len() + mounted.by_target.values().filter(is_anonymous).count();
    quota(context, unnamed + notes.volumes.len())?;
    if let (true, Some(socket)) = (is_hub, &context.facts.socket) {
        let mount = json!({"Type": "bind", "Source": socket, "Target": SOCKET});
        mounted.by_target.insert(SOCKET.to_owned(), mount);
    }
    Ok(mounted)
}

/// Whether so many new volumes are within the rules.
pub(super) fn quota(context: &Context<'_>, new: usize) -> Result<(), Refusal> {
    let (all, most) = (context.facts.volumes.len() + new, context.rules.max_volumes as usize);
    if new == 0 || all <= most {
        return Ok(());
    }
    let message = format!("this would make {all} volumes; at most {most}: remove one first");
    Err(forbidden("quota.volumes", message))
}

/// `source:target[:options]`, or a target alone, which is a volume without a name.
fn bind(
    at: &At<'_>,
    context: &Context<'_>,
    notes: &mut Notes,
    mounted: &mut Mounted,
) -> Result<(), Refusal> {
    let parts: Vec<&str> = at.text()?.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => ("", *target, ""),
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        _ => return Err(at.refuse("a bind is volume:/path[:options]")),
    };
    if parts.len() > 1 && source.is_empty() {
        return Err(at.refuse("the name of a volume is missing"));
    }
    let asked = Asked {
        source,
        target,
        is_read_only: options.split(',').any(|option| option == "ro"),
        ..Asked::default()
    };
    if is_stripped(&asked, at, context, notes) {
        return Ok(());
    }
    let is_known = |option: &str| {
        matches!(option, "rw" | "ro" | "z" | "Z" | "nocopy" | "cached" | "delegated" | "consistent")
    };
    if !options.is_empty() && !options.split(',').all(is_known) {
        return Err(at.refuse("the options of a bind are rw, ro, z, Z and nocopy"));
    }
    let has_no_copy = options.split(',').any(|option| option == "nocopy");
    let is_path = source.contains('/') || source.starts_with(['.', '~']);
    let target = paths::of_target(asked.target).map_err(|why| at.refuse(why))?;
    let value = if is_path {
        host_path(at, &asked, context)?
    } else {
        volume(at, &Asked { has_no_copy, ..asked }, Map::new(), context, notes)?
    };
    mounted.add(at, target, value)
}

/// One of `Mounts`.
fn mount(
    at: &At<'_>,
    context: &Context<'_>,
    notes: &mut Notes,
    mounted: &mut Mounted,
) -> Result<(), Refusal> {
    let object = at.object(&fields::MOUNT)?;
    let mut asked = Asked {
        source: object.text("Source")?,
        target: object.text("Target")?,
        is_read_only: object.flag("ReadOnly")?,
        ..Asked::default()
    };
    let kind = object.text("Type")?;
    if matches!(kind, "" | "bind") && is_stripped(&asked, at, context, notes) {
        return Ok(());
    }
    if !matches!(
        object.text("Consistency")?,
        "" | "default" | "cached" | "delegated" | "consistent"
    ) {
        return Err(at.refuse("Consistency is default"));
    }
    let target = paths::of_target(asked.target).map_err(|why| at.refuse(why))?;
    let options = object.field("VolumeOptions");
    let is_of = |name: &str, of: &str| object.field(name).is_none() || kind == of;
    if !is_of("VolumeOptions", "volume") || !is_of("TmpfsOptions", "tmpfs") {
        return Err(at.refuse("these options are another type's"));
    }
    let value = match kind {
        "volume" => {
            let mut labels = Map::new();
            if let Some(at) = options {
                let options = at.object(&fields::VOLUME_OPTIONS)?;
                asked.has_no_copy = options.flag("NoCopy")?;
                labels = who::labels(&options.entries("Labels")?, context)?;
                driver(&options)?;
            }
            volume(at, &asked, labels, context, notes)?
        }
        "tmpfs" if asked.source.is_empty() => {
            json!({"Type": "tmpfs", "ReadOnly": asked.is_read_only, "TmpfsOptions": tmpfs::mount(&object, context.rules)?})
        }
        "bind" => host_path(at, &asked, context)?,
        _ => return Err(at.refuse("Type is volume or tmpfs; a tmpfs has no Source")),
    };
    mounted.add(at, target, value)
}

/// `DriverConfig`: what there is anyway.
fn driver(options: &Object<'_>) -> Result<(), Refusal> {
    let Some(at) = options.field("DriverConfig") else { return Ok(()) };
    match at.object(&fields::DRIVER)?.text("Name")? {
        "" | "local" => Ok(()),
        _ => Err(at.refuse("volumes are local, without options")),
    }
}

/// A mount as a client words it.
#[derive(Clone, Copy, Debug, Default)]
struct Asked<'a> {
    source: &'a str,
    target: &'a str,
    is_read_only: bool,
    has_no_copy: bool,
}

/// Whether a hub asks for a Docker socket, which it does not get, nor an error: spawners are configured so. The gate
/// alone says who has which socket.
fn is_stripped(asked: &Asked<'_>, at: &At<'_>, context: &Context<'_>, notes: &mut Notes) -> bool {
    let is_hub = matches!(context.principal, Principal::Hub(_));
    let is_socket = is_hub && (paths::is_socket(asked.source) || paths::is_socket(asked.target));
    if is_socket {
        notes.changed.push(format!("{}: the mount of {} is left out", at.path, asked.source));
    }
    is_socket
}

fn host_path(at: &At<'_>, asked: &Asked<'_>, context: &Context<'_>) -> Result<Value, Refusal> {
    let roots: &[_] = match context.principal {
        Principal::Hub(_) => &context.rules.bind_roots,
        Principal::User(_) => &[],
    };
    let source = paths::source(asked.source, roots)
        .ok_or_else(|| at.refuse("no directory or file of the host is mounted; use a volume"))?;
    Ok(json!({"Type": "bind", "Source": source, "ReadOnly": asked.is_read_only}))
}

/// A volume: an own one as it is, or a new one, which is then the principal's.
fn volume(
    at: &At<'_>,
    asked: &Asked<'_>,
    mut labels: Map<String, Value>,
    context: &Context<'_>,
    notes: &mut Notes,
) -> Result<Value, Refusal> {
    who::mark(&mut labels, context, None);
    let mut options = json!({"DriverConfig": {"Name": "local"}, "Labels": labels});
    if asked.has_no_copy {
        options["NoCopy"] = json!(true);
    }
    let mut mount =
        json!({"Type": "volume", "ReadOnly": asked.is_read_only, "VolumeOptions": options});
    if !asked.source.is_empty() {
        let (name, is_new) = engine_name(at, asked.source, context)?;
        if is_new && !notes.volumes.contains(&name) {
            notes.volumes.push(name.clone());
        }
        mount["Source"] = Value::String(name);
    }
    Ok(mount)
}

/// The engine's name of a volume, and whether it is yet to be made.
pub(super) fn engine_name(
    at: &At<'_>,
    called: &str,
    context: &Context<'_>,
) -> Result<(String, bool), Refusal> {
    if !names::is_name(called) {
        return Err(at.refuse("this is no name of a volume; nothing of the host is mounted"));
    }
    match own::volume(context.facts, called) {
        Some(own) if !own.is_plain => {
            Err(at.refuse("the volume has a driver or options; make another"))
        }
        Some(own) if own.engine_name.is_empty() => Ok((own.name.clone(), false)),
        Some(own) => Ok((own.engine_name.clone(), false)),
        None => Ok((names::engine_name(context.principal, called), true)),
    }
}

/// `container[:ro|rw]`: own ones alone, and never the notebook, which has a socket among its mounts.
fn from_container(at: &At<'_>, context: &Context<'_>) -> Result<String, Refusal> {
    let text = at.text()?;
    let (called, mode) = text.split_once(':').unwrap_or((text, "rw"));
    let found = own::container(context.facts, called)
        .ok_or_else(|| missing(at.rule, format!("No such container: {called}")))?;
    // A hub gives a socket to its guests: whoever has their mounts has it too.
    if found.is_notebook || matches!(context.principal, Principal::Hub(_)) {
        return Err(at.refuse("no container has the mounts of a notebook"));
    }
    if !matches!(mode, "ro" | "rw") {
        return Err(at.refuse("the mode is ro or rw"));
    }
    if plain::MAX_ITEMS < text.len() {
        return Err(at.refuse("this is too long"));
    }
    Ok(format!("{}:{mode}", found.id))
}
