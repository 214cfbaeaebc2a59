//! The table, and what stands in it.

use redb::TableDefinition;
use serde::{Deserialize, Serialize};

use super::super::{principal::Principal, verdict::Kind};
use crate::{access::name::User, database::Form};

/// The file.
pub(super) const FORM: Form = Form {
    name: "gate.redb",
    what: "what the gate made",
    without: "the gate serves nobody",
    version: 1,
    tables: |transaction| {
        transaction.open_table(THINGS)?;
        Ok(())
    },
};

/// By kind and id.
pub(super) const THINGS: TableDefinition<'_, (u8, &str), &[u8]> = TableDefinition::new("things");

/// The number that stands for a kind; `None`: it is not kept.
pub(super) const fn number(kind: Kind) -> Option<u8> {
    match kind {
        Kind::Container => Some(1),
        Kind::Volume => Some(2),
        Kind::Network => Some(3),
        Kind::Image => Some(4),
        Kind::Exec => None,
    }
}

pub(super) fn kind(number: u8) -> Option<Kind> {
    let kinds = [Kind::Container, Kind::Volume, Kind::Network, Kind::Image];
    kinds.into_iter().find(|kind| self::number(*kind) == Some(number))
}

/// Whose it is, and what belongs to it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    hub: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    user: Option<String>,
    about: String,
}

impl Row {
    pub(super) fn write(principal: &Principal, about: &str) -> Vec<u8> {
        let user = match principal {
            Principal::Hub(_) => None,
            Principal::User(user) => Some(user.name.as_str().to_owned()),
        };
        let row = Self { hub: principal.hub().as_str().to_owned(), user, about: about.to_owned() };
        // Texts alone: that cannot fail.
        serde_json::to_vec(&row).unwrap_or_default()
    }

    pub(super) fn read(bytes: &[u8]) -> Option<(Principal, String)> {
        let Self { hub, user, about } = serde_json::from_slice(bytes).ok()?;
        let hub = hub.parse().ok()?;
        let principal = match user {
            None => Principal::Hub(hub),
            Some(name) => Principal::User(User { hub, name: name.parse().ok()? }),
        };
        Some((principal, about))
    }
}
