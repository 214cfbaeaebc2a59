//! What a request calls by a name, among what is the principal's. Nothing else is looked at.

use super::super::facts::{Facts, GuestNetwork, OwnContainer, OwnNetwork, OwnVolume};

/// A container, by what a client may call it: full id, name with or without the slash, the first digits of an id.
pub(super) fn container<'a>(facts: &'a Facts, called: &str) -> Option<&'a OwnContainer> {
    let name = called.strip_prefix('/').unwrap_or(called);
    let all = &facts.containers;
    let exactly = all.iter().find(|own| own.id == called || own.name == name);
    let is_start = !called.is_empty() && called.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut starting = all.iter().filter(|own| is_start && own.id.starts_with(called));
    exactly.or_else(|| starting.next().filter(|_| starting.next().is_none()))
}

/// An own network, by id, name or the name that the engine has it under.
pub(super) fn network<'a>(facts: &'a Facts, called: &str) -> Option<&'a OwnNetwork> {
    let is_it =
        |own: &&OwnNetwork| own.name == called || own.id == called || own.engine_name == called;
    facts.networks.iter().find(is_it).filter(|_| !called.is_empty())
}

/// The guest network, by its name or one of those that mean "nothing asked".
pub(super) fn guest_network<'a>(facts: &'a Facts, called: &str) -> Option<&'a GuestNetwork> {
    let guest = facts.guest_network.as_ref()?;
    (matches!(called, "" | "default" | "bridge") || guest.name == called).then_some(guest)
}

/// An own volume, by its name or the name that the engine has it under.
pub(super) fn volume<'a>(facts: &'a Facts, called: &str) -> Option<&'a OwnVolume> {
    let all = &facts.volumes;
    let by_name = all.iter().find(|own| own.name == called);
    by_name.or_else(|| all.iter().find(|own| own.engine_name == called && !called.is_empty()))
}
