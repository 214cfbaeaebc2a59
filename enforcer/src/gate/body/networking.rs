//! Which networks a container is on: the guest network, or own ones.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    super::{facts::GuestNetwork, json::Json, principal::Principal, verdict::Refusal},
    Context, Notes, fields, missing,
    object::{At, Object},
    own, plain,
};

/// Most names that a container has on a network.
const MAX_ALIASES: usize = 16;

/// `NetworkMode`, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// A guest network, by its name at the engine.
    On(String),
    /// No network.
    Alone,
    /// That of an own container, by its full id.
    Shared(String),
}

impl Mode {
    pub fn to_text(&self) -> String {
        match self {
            Self::On(network) => network.clone(),
            Self::Alone => "none".to_owned(),
            Self::Shared(id) => format!("container:{id}"),
        }
    }
}

/// A network that may be joined.
enum Joined<'a> {
    Guest(&'a GuestNetwork),
    Own(&'a str),
}

impl Joined<'_> {
    fn engine_name(&self) -> &str {
        match self {
            Self::Guest(network) => &network.name,
            Self::Own(name) => name,
        }
    }
}

/// `NetworkMode` of a create.
pub(super) fn mode(
    host: &Object<'_>,
    context: &Context<'_>,
    notes: &mut Notes,
) -> Result<Mode, Refusal> {
    let at = host.field("NetworkMode");
    match &at {
        Some(at) if at.text()? == "none" => return Ok(Mode::Alone),
        Some(at) if at.text()?.starts_with("container:") => {
            return container(at, context).map(Mode::Shared);
        }
        Some(at) if at.text()? == "host" || at.text()?.contains([':', '/']) => {
            return Err(at.refuse("a container joins the guest network or an own network"));
        }
        _ => {}
    }
    let asked = at.as_ref().map_or(Ok(""), At::text)?;
    let joined = join(asked, context, "host-config.network-mode")?;
    note(asked, &joined, "HostConfig.NetworkMode", notes);
    Ok(Mode::On(joined.engine_name().to_owned()))
}

/// The full id of an own container whose namespace is joined. Never the notebook's: it holds the user's socket
/// and the hub's token.
pub(super) fn container(at: &At<'_>, context: &Context<'_>) -> Result<String, Refusal> {
    let called = at.text()?.strip_prefix("container:").unwrap_or_default();
    if matches!(context.principal, Principal::Hub(_)) {
        return Err(at.refuse("guests share no namespace: each is another user's"));
    }
    match own::container(context.facts, called) {
        Some(found) if found.is_notebook => {
            Err(at.refuse("nothing joins a namespace of the notebook"))
        }
        Some(found) => Ok(found.id.clone()),
        None => Err(missing(at.rule, format!("No such container: {called}"))),
    }
}

/// `NetworkingConfig` of a create.
pub(super) fn endpoints(
    create: &Object<'_>,
    host: &Object<'_>,
    mode: &Mode,
    context: &Context<'_>,
    notes: &mut Notes,
) -> Result<Map<String, Value>, Refusal> {
    let mut endpoints = BTreeMap::new();
    let Some(at) = create.field("NetworkingConfig").filter(|at| !says_it_again(at, host)) else {
        return Ok(Map::new());
    };
    for (name, at) in at.object(&fields::NETWORKING)?.entries("EndpointsConfig")? {
        if !matches!(mode, Mode::On(_)) {
            return Err(at.refuse("without a network of its own, a container joins none"));
        }
        let joined = join(name, context, at.rule)?;
        note(name, &joined, "NetworkingConfig", notes);
        let settings =
            if at.is_null() { json!({}) } else { settings(&at, matches!(joined, Joined::Own(_)))? };
        if endpoints.insert(joined.engine_name().to_owned(), settings).is_some() {
            return Err(at.refuse("the same network is there twice"));
        }
    }
    Ok(endpoints.into_iter().collect())
}

/// Whether a container of this is among other users' guests: there the engine answers for its names to all of them.
pub(super) fn is_among_guests(
    mode: &Mode,
    endpoints: &Map<String, Value>,
    context: &Context<'_>,
) -> bool {
    context.facts.guest_network.as_ref().is_some_and(|guests| {
        *mode == Mode::On(guests.name.clone()) || endpoints.contains_key(&guests.name)
    })
}

/// Whether nothing is in it but the name of `NetworkMode`: so Docker's SDK for Python before 7 writes it, and the engine
/// makes nothing of it.
fn says_it_again(at: &At<'_>, host: &Object<'_>) -> bool {
    let Json::Map(entries) = at.json else { return false };
    let [(name, Json::Null)] = entries.as_slice() else { return false };
    host.field("NetworkMode").is_some_and(|mode| mode.text() == Ok(name))
}

/// How a network is joined: with names, on an own network alone. Elsewhere a name could be taken for another's.
pub(super) fn settings(at: &At<'_>, is_own: bool) -> Result<Value, Refusal> {
    let object = at.object(&fields::ENDPOINT)?;
    let aliases = object.list("Aliases")?;
    for (index, alias) in aliases.iter().enumerate() {
        if !is_own || index == MAX_ALIASES || plain::host(alias)?.is_empty() {
            return Err(alias
                .refuse(format_args!("on own networks only, at most {MAX_ALIASES} host names")));
        }
    }
    let names = plain::texts(&aliases)?;
    Ok(if names.is_empty() { json!({}) } else { json!({"Aliases": names}) })
}

/// What a name leads to. A hub is put on its guest network, whatever network its spawner is configured with.
fn join<'a>(
    called: &str,
    context: &Context<'a>,
    rule: &'static str,
) -> Result<Joined<'a>, Refusal> {
    let facts = context.facts;
    if let Some(found) = own::network(facts, called) {
        let name = if found.engine_name.is_empty() { &found.id } else { &found.engine_name };
        return Ok(Joined::Own(name));
    }
    let is_hub = matches!(context.principal, Principal::Hub(_));
    let guest = own::guest_network(facts, called)
        .or_else(|| own::guest_network(facts, "").filter(|_| is_hub && called != "host"));
    match guest {
        Some(network) => Ok(Joined::Guest(network)),
        None => Err(missing(rule, format!("network {called} not found"))),
    }
}

fn note(asked: &str, joined: &Joined<'_>, path: &str, notes: &mut Notes) {
    if let Joined::Guest(network) = joined
        && network.name != asked
        && !matches!(asked, "" | "default" | "bridge")
    {
        notes.changed.push(format!("{path}: {asked} -> {}", network.name));
    }
}
