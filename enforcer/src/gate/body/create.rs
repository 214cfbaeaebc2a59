//! `POST /containers/create`.

use serde_json::{Map, Value, json};

use super::{
    super::{image, json::Json, names, principal::Principal, verdict::Refusal},
    Context, Judged, Notes, fields, forbidden, host_config, malformed, mounts, networking,
    object::Object,
    plain, ports, who,
};
use crate::{access::name::UserName, guest::names::MANAGED};

/// Longest command, bytes: the engine tells it in each list of containers.
const MAX_COMMAND: usize = 16 << 10;
/// Longest that a container is waited for at its end, seconds.
const MAX_STOP: i64 = 300;
/// Time between two looks at a container's health, ns: each is a process that the engine starts.
const LEAST_LOOK: i64 = 1_000_000_000;
const MAX_LOOK: i64 = 3_600 * LEAST_LOOK;

/// Judges the body, with the name of the query.
pub fn judge(json: &Json, context: &Context<'_>) -> Result<Judged, Refusal> {
    let create = Object::body(json, &fields::CREATE)?;
    if let Some(name) = context.name.filter(|name| !names::is_name(name)) {
        return Err(malformed("container.name", format!("{name:?} is no name of a container")));
    }
    quota(context)?;
    let mut notes = Notes::default();
    let variables = who::variables(&create.list("Env")?, context.principal)?;
    let is_hub = matches!(context.principal, Principal::Hub(_));
    if is_hub && context.facts.socket.is_some() && variables.user.is_none() {
        return Err(create
            .absent("Env", "JUPYTERHUB_USER is missing: nobody knows whose socket it would be"));
    }
    let mut body = process(&create)?;
    body.insert("Image".to_owned(), json!(image_of(&create, context)?));
    if !variables.all.is_empty() {
        body.insert("Env".to_owned(), json!(variables.all));
    }
    body.insert(
        "Labels".to_owned(),
        labels(&create, context, variables.user.as_ref(), &mut notes)?,
    );

    let nothing = Json::Map(Vec::new());
    let host = match create.field("HostConfig") {
        Some(at) => at.object(&fields::HOST_CONFIG)?,
        None => Object::body(&nothing, &fields::HOST_CONFIG)?,
    };
    let mode = networking::mode(&host, context, &mut notes)?;
    let endpoints = networking::endpoints(&create, &host, &mode, context, &mut notes)?;
    // To the engine it is a name as any other: who asks for `github.com` there would be led to this container.
    if !is_hub
        && networking::is_among_guests(&mode, &endpoints, context)
        && body.remove("Hostname").is_some()
    {
        notes.changed.push("Hostname: left out".to_owned());
    }
    let mounted = mounts::judge(&create, &host, context, &mut notes)?;
    if !mounted.anonymous.is_empty() {
        body.insert("Volumes".to_owned(), Value::Object(mounted.anonymous.clone()));
    }
    let host = host_config::judge(&host, &mode, mounted, context, &mut notes)?;
    body.insert("HostConfig".to_owned(), Value::Object(host));
    body.insert("NetworkingConfig".to_owned(), json!({"EndpointsConfig": endpoints}));
    Ok(Judged::new(Value::Object(body), notes))
}

/// Whether one container more is within the rules.
fn quota(context: &Context<'_>) -> Result<(), Refusal> {
    let count = context.facts.containers.iter().filter(|own| !own.is_notebook).count();
    let most = context.rules.max_containers as usize;
    if count < most {
        return Ok(());
    }
    let message = format!("there are {count} containers; at most {most}: remove one first");
    Err(forbidden("quota.containers", message))
}

/// A hub without a list may use any image; others what their list has, and their own.
fn image_of(create: &Object<'_>, context: &Context<'_>) -> Result<String, Refusal> {
    let rules = context.rules;
    let is_open = matches!(context.principal, Principal::Hub(_)) && rules.images.is_empty();
    let at =
        create.field("Image").ok_or_else(|| create.absent("Image", "an image must be named"))?;
    image::usable(at.text()?, rules, context.facts, is_open).ok_or_else(|| {
        at.refuse(format_args!(
            "this image is neither your own nor one of those that may be used: {}",
            if rules.images.is_empty() { "none".to_owned() } else { rules.images.join(", ") }
        ))
    })
}

fn labels(
    create: &Object<'_>,
    context: &Context<'_>,
    user: Option<&UserName>,
    notes: &mut Notes,
) -> Result<Value, Refusal> {
    let mut entries = create.entries("Labels")?;
    if matches!(context.principal, Principal::Hub(_)) {
        // A spawner may be configured to say whose a guest is; here the gate does.
        entries.retain(|(key, at)| {
            let is_ours = who::is_ours(key);
            if is_ours {
                notes.changed.push(format!("{}: left out", at.path));
            }
            !is_ours
        });
    }
    let mut labels = who::labels(&entries, context)?;
    who::mark(&mut labels, context, user);
    // Its image may say so: what goes through a gate was never started by an order.
    labels.insert(MANAGED.to_owned(), Value::String(String::new()));
    Ok(Value::Object(labels))
}

/// What concerns the container's process alone.
fn process(create: &Object<'_>) -> Result<Map<String, Value>, Refusal> {
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| body.insert(name.to_owned(), value);
    for name in ["AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce"] {
        set(name, json!(create.flag(name)?));
    }
    for name in ["Hostname", "Domainname"] {
        match create.field(name).map(|at| plain::host(&at)).transpose()? {
            None | Some("") => {}
            Some(host) => drop(set(name, json!(host))),
        }
    }
    for (name, most) in [("User", 256), ("WorkingDir", 4096)] {
        match create.field(name).map(|at| plain::line(&at, most)).transpose()? {
            None | Some("") => {}
            Some(line) => drop(set(name, json!(line))),
        }
    }
    for name in ["Cmd", "Entrypoint"] {
        if let Some(at) = create.field(name) {
            let words = plain::command(&at)?;
            if words.iter().map(|word| word.len() + 1).sum::<usize>() > MAX_COMMAND {
                return Err(at.refuse(format_args!("a command has at most {MAX_COMMAND} bytes")));
            }
            set(name, json!(words));
        }
    }
    if let Some(at) = create.field("StopSignal").filter(|at| at.text() != Ok("")) {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-');
        let signal = plain::line(&at, 16)?;
        if !signal.bytes().all(is_plain) {
            return Err(at.refuse("this is no signal"));
        }
        set("StopSignal", json!(signal));
    }
    if let Some(at) = create.field("StopTimeout") {
        set("StopTimeout", json!(at.within(0, MAX_STOP)?));
    }
    let exposed = ports::exposed(&create.entries("ExposedPorts")?)?;
    if !exposed.is_empty() {
        set("ExposedPorts", Value::Object(exposed));
    }
    if let Some(at) = create.field("Healthcheck") {
        set("Healthcheck", health(&at.object(&fields::HEALTH)?)?);
    }
    Ok(body)
}

fn health(check: &Object<'_>) -> Result<Value, Refusal> {
    let mut health = Map::new();
    if let Some(at) = check.field("Test") {
        health.insert("Test".to_owned(), json!(plain::texts(&at.list()?)?));
    }
    for (name, least, most) in [
        ("Interval", LEAST_LOOK, MAX_LOOK),
        ("StartInterval", LEAST_LOOK, MAX_LOOK),
        ("Timeout", 1_000_000, MAX_LOOK),
        ("StartPeriod", 1_000_000, MAX_LOOK),
        ("Retries", 1, 100),
    ] {
        if let Some(at) = check.field(name).filter(|at| at.whole() != Ok(0)) {
            health.insert(name.to_owned(), json!(at.within(least, most)?));
        }
    }
    Ok(Value::Object(health))
}
