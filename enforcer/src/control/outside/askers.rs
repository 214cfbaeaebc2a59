//! Whom the engine asks for each life of a container: it reads that when the container starts, and keeps
//! to it whatever its files say afterwards. Pure.

use std::collections::BTreeMap;

use crate::model::{
    inventory::{Container, Inventory},
    upstream::Upstream,
};

/// What was found of each life when it was seen first.
#[derive(Debug, Default)]
pub struct Askers(BTreeMap<(String, String), Upstream>);

impl Askers {
    /// Whether somebody runs of whom nothing has been found yet.
    #[must_use]
    pub fn has_new(&self, inventory: &Inventory) -> bool {
        running(inventory).any(|container| !self.0.contains_key(&life(container)))
    }

    /// Takes in those who came and forgets those who are gone. `None`: nobody can tell whom the engine
    /// asks; those who came stay new.
    pub fn update(&mut self, inventory: &Inventory, upstream: Option<&Upstream>) {
        let mut before = std::mem::take(&mut self.0);
        let of = |container: &Container| {
            let life = life(container);
            let told = || upstream.map(|upstream| upstream.clone().told_to(&container.started));
            let found = before.remove(&life).or_else(told)?;
            Some((life, found))
        };
        self.0 = running(inventory).filter_map(of).collect();
    }

    /// Whether the engine may ask for this container, and nobody can tell whom.
    pub(super) fn is_unknown(&self, container: &Container) -> bool {
        !container.own_dns && !self.0.contains_key(&life(container))
    }

    /// Name servers that the engine asks for this container, unseen by anybody.
    pub(super) fn unseen(&self, container: &Container) -> Option<&Upstream> {
        let upstream = self.0.get(&life(container))?;
        let is_unseen = !container.own_dns && !upstream.from_host.is_empty();
        is_unseen.then_some(upstream)
    }
}

fn running(inventory: &Inventory) -> impl Iterator<Item = &Container> {
    inventory.containers.values().filter(|container| container.running)
}

fn life(container: &Container) -> (String, String) {
    (container.id.clone(), container.started.clone())
}
