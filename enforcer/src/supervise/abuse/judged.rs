//! Who is judged. Pure.

use enforcer_common::abi::endpoint::Role;

use crate::{config::Config, model::owner::Owner};

/// Whether somebody is a guest that is judged: hubs never are, and services not on their network.
pub(super) fn is_judged(config: &Config, owner: &Owner) -> bool {
    let labels = &owner.provenance.labels;
    let is_excepted = || {
        // The gate takes these labels from nobody; what a user's socket made all the same is judged.
        !owner.provenance.is_of_a_user_s_socket()
            && config.abuse.except_labels.iter().any(|label| label.is_among(labels))
    };
    is_guest(config, owner) && !is_excepted()
}

/// Whether it is a guest, and no container of the operator's.
pub(in super::super) fn is_guest(config: &Config, owner: &Owner) -> bool {
    let is_operators =
        || config.is_operators(&owner.name, &owner.provenance, |on| on == owner.network);
    owner.role == Some(Role::Guest) && owner.container.is_some() && !is_operators()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{config::parse, model::provenance::Provenance};

    #[test]
    fn abuse_hubs_and_excepted_guests_are_never_judged() {
        let text = "[abuse]\nexcept_labels = [\"staff\"]\n[networks.a]\nbridge = \"br-a\"\n\
                    [[networks.a.hub]]\ncontainer = \"hub\"\nport = 1\n[networks.b]\nbridge = \"br-b\"\n";
        let config = parse(text, "f").expect("valid");
        let of_user = Provenance {
            labels: [("staff", ""), ("enforcer.gate", "user")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..Provenance::default()
        };
        let owner = |name: &str, role, label: &str| Owner {
            name: name.to_owned(),
            network: "b".to_owned(),
            container: Some("abc".to_owned()),
            role,
            provenance: Arc::new(Provenance {
                labels: [(label.to_owned(), String::new())].into(),
                ..Provenance::default()
            }),
            ..Owner::nobody()
        };
        for (owner, judged) in [
            (owner("ann", Some(Role::Guest), ""), true),
            (owner("ann", Some(Role::Guest), "staff"), false),
            // S22: what a user made at the own socket, however it is labelled and called.
            (
                Owner {
                    provenance: Arc::new(of_user.clone()),
                    ..owner("hub", Some(Role::Guest), "")
                },
                true,
            ),
            (owner("hub", Some(Role::Guest), ""), false),
            (owner("ann", Some(Role::Hub), ""), false),
            (owner("ann", None, ""), false),
            (Owner { container: None, ..owner("ann", Some(Role::Guest), "") }, false),
        ] {
            assert_eq!(is_judged(&config, &owner), judged, "{owner:?}");
        }
    }
}
