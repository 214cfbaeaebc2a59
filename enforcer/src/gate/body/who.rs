//! Whom a container is for: labels and variables by which enforcer and its records know a user. A client sets neither
//! (S22); what says so goes through the gate alone.

use serde_json::{Map, Value};

use super::{
    super::{principal::Principal, verdict::Refusal},
    Context,
    object::At,
    plain::MAX_ITEMS,
};
use crate::{
    access::name::UserName,
    model::provenance::{CLIENT_LABEL, GROUPS_LABEL, groups_label},
};

/// The user that a spawner starts a container for.
const USER: &str = "JUPYTERHUB_USER";
/// The user's server.
const SERVER: &str = "JUPYTERHUB_SERVER_NAME";

/// How labels begin that say whom a container is for.
const OURS: &str = "enforcer.";
/// Labels whose meaning is others': ours, and those that Docker keeps for itself.
const RESERVED: [&str; 4] = [OURS, "com.docker.", "io.docker.", "org.dockerproject."];
/// But compose finds its containers by these.
const COMPOSE: &str = "com.docker.compose.";
/// The project that it takes a container for a part of, whoever made it.
pub(in crate::gate) const PROJECT: &str = "com.docker.compose.project";

/// Longest labels of one thing together, bytes: the engine tells them in each list of it.
const MAX_LABELS: usize = 8 << 10;

/// Labels of a client, without those that are not its own to set.
pub(super) fn labels(
    entries: &[(&str, At<'_>)],
    context: &Context<'_>,
) -> Result<Map<String, Value>, Refusal> {
    let mut labels = Map::new();
    let mut length = 0;
    for (key, at) in entries {
        if let Some(why) = not_own(key, context) {
            return Err(at.refuse(why));
        }
        if labels.len() == MAX_ITEMS {
            return Err(at.refuse(format_args!("at most {MAX_ITEMS} labels")));
        }
        let value = at.text()?;
        if *key == PROJECT && context.facts.operators_projects.contains(value) {
            return Err(
                at.refuse("this compose project is the operator's; choose another name (-p NAME)")
            );
        }
        length += key.len() + value.len();
        if length > MAX_LABELS {
            return Err(at.refuse(format_args!("all labels have at most {MAX_LABELS} bytes")));
        }
        labels.insert((*key).to_owned(), Value::String(value.to_owned()));
    }
    Ok(labels)
}

/// Whether a label is enforcer's, by however it is spelt.
pub(super) fn is_ours(key: &str) -> bool {
    key.to_ascii_lowercase().starts_with(OURS)
}

/// Why a label is not a client's to set; `None`: it is.
pub(in crate::gate) fn not_own(key: &str, context: &Context<'_>) -> Option<&'static str> {
    let lower = key.to_ascii_lowercase();
    let is_reserved = RESERVED.iter().any(|prefix| lower.starts_with(prefix));
    if (is_reserved && !key.starts_with(COMPOSE)) || key.is_empty() {
        return Some("this label is enforcer's or Docker's; leave it out");
    }
    let is_reserved = context.rules.reserved_labels.iter().any(|reserved| reserved == key);
    is_reserved.then_some("the config tells containers by this label; leave it out")
}

/// Adds the labels that say whose it is.
pub(super) fn mark(
    labels: &mut Map<String, Value>,
    context: &Context<'_>,
    user: Option<&UserName>,
) {
    let (through, user) = match context.principal {
        Principal::Hub(_) => ("hub", user),
        Principal::User(own) => ("user", Some(&own.name)),
    };
    let mut set =
        |key: &str, value: &str| labels.insert(key.to_owned(), Value::String(value.to_owned()));
    set("enforcer.gate", through);
    set("enforcer.hub", context.principal.hub().as_str());
    if let Some(user) = user {
        set("enforcer.user", user.as_str());
    }
    if let Some(groups) = groups_label(context.facts.groups.iter().map(String::as_str)) {
        set(GROUPS_LABEL, &groups);
    }
    if let Some(client) = &context.facts.client {
        set(CLIENT_LABEL, client);
    }
    for (key, value) in &context.facts.inherited {
        set(key, value);
    }
}

/// Variables, and the user that they name.
#[derive(Debug, Default)]
pub(super) struct Variables<'a> {
    pub all: Vec<&'a str>,
    pub user: Option<UserName>,
}

/// Variables of a container. A hub names the user by them, once; a user names nobody else: enforcer reads
/// them where a container's image has our labels.
pub(super) fn variables<'a>(
    items: &[At<'a>],
    principal: &Principal,
) -> Result<Variables<'a>, Refusal> {
    let mut found = Variables::default();
    let mut is_named = false;
    for at in items {
        let text = variable(at)?;
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let is_twice = name == USER && std::mem::replace(&mut is_named, true);
        match principal {
            _ if is_twice => return Err(at.refuse(format_args!("{USER} is there twice"))),
            Principal::User(own) if name == USER && value != own.name.as_str() => {
                return Err(at.refuse(format_args!("{USER} may name nobody but you")));
            }
            Principal::User(_) if name == SERVER => {
                return Err(at.refuse(format_args!("{SERVER} is set by a hub alone")));
            }
            Principal::Hub(_) if name == USER && !value.is_empty() => {
                found.user = Some(value.parse().map_err(|error| at.refuse(error))?);
            }
            _ => {}
        }
        if found.all.len() == MAX_ITEMS * 4 {
            return Err(at.refuse(format_args!("at most {} variables", MAX_ITEMS * 4)));
        }
        found.all.push(text);
    }
    Ok(found)
}

/// `NAME=value`, or `NAME` alone, which takes it away.
pub(super) fn variable<'a>(at: &At<'a>) -> Result<&'a str, Refusal> {
    let text = at.text()?;
    if text.is_empty() || text.starts_with('=') {
        return Err(at.refuse("a variable has a name"));
    }
    Ok(text)
}
