//! Who comes and who goes on the guest networks, from two looks at the owners. Pure.

use enforcer_common::abi::endpoint::Role;

use crate::model::owner::{Owner, Owners};

/// What became of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its container is known, and policed as what it is.
    Policed,
    /// It is gone.
    Gone,
}

impl Change {
    /// The word in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Policed => "policed",
            Self::Gone => "gone",
        }
    }
}

/// Endpoints that got an identity, or another one under the same id, and those that left. A port that
/// nobody knows yet has no life to tell of; what it sends is denied, and recorded.
#[must_use]
pub fn changes(before: &Owners, after: &Owners) -> Vec<(u32, Change)> {
    let alike = |id: &u32, owner: &Owner| {
        before.get(id).is_some_and(|was| was.role == owner.role && was.container == owner.container)
    };
    let left = before.iter().filter(|(id, owner)| is_somebody(owner) && !after.contains_key(id));
    let came = after.iter().filter(|(id, owner)| is_somebody(owner) && !alike(id, owner));
    let left = left.map(|(id, _)| (*id, Change::Gone));
    left.chain(came.map(|(id, _)| (*id, Change::Policed))).collect()
}

/// Whether it is somebody's: the network itself and a port of nobody are not.
pub(super) fn is_somebody(owner: &Owner) -> bool {
    owner.role.is_some_and(|role| role != Role::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(role: Role, container: &str) -> Owner {
        Owner { role: Some(role), container: Some(container.to_owned()), ..Owner::nobody() }
    }

    #[test]
    fn a_life_begins_with_an_identity_and_ends_with_the_port() {
        let unknown = Owners::from([(7, Owner::nobody())]);
        let ann = Owners::from([(7, owner(Role::Guest, "ann"))]);
        let network = Owners::from([(3, Owner { role: None, ..Owner::nobody() })]);
        for (before, after, expected) in [
            (&Owners::new(), &unknown, vec![]),
            (&unknown, &ann, vec![(7, Change::Policed)]),
            (&Owners::new(), &ann, vec![(7, Change::Policed)]),
            (&ann, &ann, vec![]),
            (&ann, &Owners::new(), vec![(7, Change::Gone)]),
            (&unknown, &Owners::new(), vec![]),
            (&network, &Owners::new(), vec![]),
            (&ann, &network, vec![(7, Change::Gone)]),
        ] {
            assert_eq!(changes(before, after), expected, "{before:?} {after:?}");
        }
        let mut renamed = ann.clone();
        renamed.get_mut(&7).expect("ann").name = "jupyter-ann".to_owned();
        assert_eq!(changes(&ann, &renamed), []);
    }
}
