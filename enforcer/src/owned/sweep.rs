//! What became of own networks behind our back. Pure.

use std::collections::BTreeSet;

use super::store::Row;
use crate::model::{closure::OWN_BRIDGES, owned::Found};

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// The engine does not have these: they are forgotten.
    pub gone: Vec<Row>,
    /// Networks that the engine made, and nobody was told of: they are removed, with their ids.
    pub cut_short: Vec<(Row, String)>,
    /// Networks on bridges with an own network's name that are none: closed, and told of.
    pub unknown: Vec<Found>,
}

/// Holds what is kept against what the engine has. `young`: slots of networks that are just being made. The rows must be
/// older than what the engine said, or one that was made in between would seem to be gone.
#[must_use]
pub fn judge(rows: &[Row], young: &BTreeSet<u32>, found: &[Found]) -> Swept {
    let mut swept = Swept::default();
    for row in rows.iter().filter(|row| !young.contains(&row.slot)) {
        let there = found.iter().find(|one| one.bridge == row.bridge);
        match (&row.id, there) {
            (Some(id), Some(one)) if one.id == *id => {}
            (None, Some(one)) if one.name == row.name => {
                swept.cut_short.push((row.clone(), one.id.clone()));
            }
            _ => swept.gone.push(row.clone()),
        }
    }
    let is_known = |one: &Found| {
        rows.iter().any(|row| {
            row.bridge == one.bridge
                && row.name == one.name
                && row.id.as_ref().is_none_or(|id| *id == one.id)
        })
    };
    let unknown = found.iter().filter(|one| one.bridge.starts_with(OWN_BRIDGES) && !is_known(one));
    swept.unknown = unknown.cloned().collect();
    swept
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::access::name::User;

    fn row(slot: u32, id: Option<&str>) -> Row {
        Row {
            slot,
            owner: User { hub: "lab".parse().expect("hub"), name: "ann".parse().expect("user") },
            name: format!("net-{slot}"),
            bridge: format!("{OWN_BRIDGES}{slot:08x}"),
            subnet: (Ipv4Addr::new(10, 201, 0, 0), 26),
            id: id.map(str::to_owned),
        }
    }

    fn found(slot: u32, id: &str) -> Found {
        let Row { name, bridge, .. } = row(slot, None);
        Found { id: id.to_owned(), name, bridge }
    }

    #[test]
    fn n7_what_the_engine_has_stays_and_what_it_has_not_is_forgotten() {
        let rows = [row(0, Some("a")), row(1, Some("b")), row(2, None), row(3, None)];
        let young = BTreeSet::from([3]);
        let swept = judge(&rows, &young, &[found(0, "a"), found(2, "c")]);
        assert_eq!(swept.gone, [row(1, Some("b"))]);
        assert_eq!(swept.cut_short, [(row(2, None), "c".to_owned())]);
        assert_eq!(swept.unknown, []);
        // A moment later it is no longer young, and the engine never made it.
        assert_eq!(judge(&rows[3..], &BTreeSet::new(), &[]).gone, [row(3, None)]);
    }

    #[test]
    fn n6_a_network_on_such_a_bridge_that_nobody_knows_is_told_and_never_taken_in() {
        let other = Found { id: "z".into(), name: "bridge".into(), bridge: "docker0".into() };
        let renamed = Found { name: "other".into(), ..found(1, "b") };
        let all = [found(7, "x"), other, renamed.clone(), found(0, "new")];
        let swept = judge(&[row(0, Some("old")), row(1, Some("b"))], &BTreeSet::new(), &all);
        assert_eq!(swept.unknown, [found(7, "x"), renamed, found(0, "new")]);
        assert_eq!(swept.gone, [row(0, Some("old"))], "its id is another one's");
        assert_eq!(swept.cut_short, []);
    }
}
