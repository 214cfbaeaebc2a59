//! What a request calls by a name, among what is the principal's.

use crate::gate::{
    body::Context,
    facts::{Facts, OwnContainer, OwnExec, OwnNetwork, OwnVolume},
    principal::Principal,
    verdict::{Kind, Refusal},
};

/// An id that nothing has: where a filter must find nothing.
pub(super) const NOBODY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A container by full id, name, or the first digits of an id, in this order, as the engine does it.
pub fn container<'a>(facts: &'a Facts, called: &str) -> Result<&'a OwnContainer, Refusal> {
    let found = find(&facts.containers, called, |own| &own.id, |own| own.name == called);
    found.map_err(|error| error.of(Kind::Container, called))
}

/// The same, if something may be done to it: the notebook is the hub's.
pub fn workable<'a>(context: &Context<'a>, called: &str) -> Result<&'a OwnContainer, Refusal> {
    let own = container(context.facts, called)?;
    if own.is_notebook && matches!(context.principal, Principal::User(_)) {
        let message = "this is your notebook: it may be inspected and may join your own networks; the hub does the rest";
        return Err(Refusal::forbidden("own.notebook", message));
    }
    Ok(own)
}

/// An own network by full id, the owner's name, the engine's name, or the first digits of an id.
pub fn network<'a>(facts: &'a Facts, called: &str) -> Result<&'a OwnNetwork, Refusal> {
    let is_named = |own: &OwnNetwork| own.name == called || own.engine_name == called;
    find(&facts.networks, called, |own| &own.id, is_named)
        .map_err(|error| error.of(Kind::Network, called))
}

/// A volume by the owner's name, or the engine's.
pub fn volume<'a>(facts: &'a Facts, called: &str) -> Result<&'a OwnVolume, Refusal> {
    let all = &facts.volumes;
    let named = all.iter().find(|own| own.name == called);
    let named = named.or_else(|| all.iter().find(|own| own.engine_name == called));
    named.ok_or_else(|| Refusal::missing(Kind::Volume, called))
}

/// An exec instance, by its full id or the first digits; its container is one that may be worked with.
pub fn exec<'a>(context: &Context<'a>, called: &str) -> Result<&'a OwnExec, Refusal> {
    let facts = context.facts;
    let found = find(&facts.execs, called, |own| &own.id, |_| false);
    let own = found.map_err(|error| error.of(Kind::Exec, called))?;
    // By its full id alone: an instance whose container is gone is gone.
    let is_there = facts.containers.iter().any(|container| container.id == own.container);
    if !is_there {
        return Err(Refusal::missing(Kind::Exec, called));
    }
    workable(context, &own.container)?;
    Ok(own)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NotFound {
    Missing,
    Several,
}

impl NotFound {
    fn of(self, kind: Kind, called: &str) -> Refusal {
        match self {
            Self::Missing => Refusal::missing(kind, called),
            Self::Several => {
                let message = format!("multiple IDs found with provided prefix: {called}");
                Refusal::unclear("own.ambiguous", message)
            }
        }
    }
}

fn find<'a, T>(
    all: &'a [T],
    called: &str,
    id: impl Fn(&T) -> &String,
    is_named: impl Fn(&T) -> bool,
) -> Result<&'a T, NotFound> {
    let exact = all.iter().find(|own| id(own) == called);
    if let Some(own) = exact.or_else(|| all.iter().find(|own| is_named(own))) {
        return Ok(own);
    }
    let is_start = !called.is_empty() && called.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut starting = all.iter().filter(|own| is_start && id(own).starts_with(called));
    match (starting.next(), starting.next()) {
        (Some(own), None) => Ok(own),
        (Some(_), Some(_)) => Err(NotFound::Several),
        (None, _) => Err(NotFound::Missing),
    }
}
