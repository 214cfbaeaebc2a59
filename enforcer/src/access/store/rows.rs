//! Tables, and what stands in them.

use std::collections::BTreeMap;

use redb::{ReadableTable, TableDefinition};
use serde::{Serialize, de::DeserializeOwned};

use super::{StoreError, boxed};
use crate::access::{
    grant::{Grant, Note},
    name::{GroupName, HubName, UserName},
};
use crate::database::Form;
pub(super) use crate::database::META;

/// Version of the tables and their rows.
pub const VERSION: u64 = 1;
/// Key of the next change's number in [`META`].
pub(super) const NEXT: &str = "next";

/// The file.
pub(super) const FORM: Form = Form {
    name: "access.redb",
    what: "groups and grants",
    without: "nobody has a grant",
    version: VERSION,
    tables: |transaction| {
        transaction.open_table(GROUPS)?;
        transaction.open_table(MEMBERS)?;
        transaction.open_table(GRANTS)?;
        transaction.open_table(OUTBOX)?;
        Ok(())
    },
};

pub(super) const GROUPS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("groups");
pub(super) const MEMBERS: TableDefinition<'_, (&str, &str, &str), &[u8]> =
    TableDefinition::new("members");
pub(super) const GRANTS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("grants");
pub(super) const OUTBOX: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("outbox");

/// The first key that a hub can have.
pub(super) fn of_hub(hub: &HubName) -> (&str, &str) {
    (hub.as_str(), "")
}

/// A row's value.
pub(super) fn read<T: DeserializeOwned>(
    table: &'static str,
    value: &[u8],
) -> Result<T, StoreError> {
    serde_json::from_slice(value).map_err(|_error| StoreError::Row { table })
}

/// A value as a row has it.
pub(super) fn written(value: &impl Serialize) -> Vec<u8> {
    // Strings, numbers and no map with other keys: that cannot fail.
    serde_json::to_vec(value).unwrap_or_default()
}

/// Members of a group, those whose time is over too.
pub(super) fn members(
    table: &impl ReadableTable<(&'static str, &'static str, &'static str), &'static [u8]>,
    hub: &str,
    group: &str,
) -> Result<Vec<(UserName, Note)>, StoreError> {
    let mut found = Vec::new();
    for row in table.range::<(&str, &str, &str)>((hub, group, "")..).map_err(boxed)? {
        let (key, value) = row.map_err(boxed)?;
        let (of, in_group, user) = key.value();
        if (of, in_group) != (hub, group) {
            break;
        }
        let user = user.parse().map_err(|_error| StoreError::Row { table: "members" })?;
        found.push((user, read("members", value.value())?));
    }
    Ok(found)
}

/// Grants of a hub.
pub(super) fn grants(
    table: &impl ReadableTable<(&'static str, &'static str), &'static [u8]>,
    hub: &HubName,
) -> Result<BTreeMap<GroupName, Grant>, StoreError> {
    let mut found = BTreeMap::new();
    for row in table.range::<(&str, &str)>(of_hub(hub)..).map_err(boxed)? {
        let (key, value) = row.map_err(boxed)?;
        let (of, group) = key.value();
        if of != hub.as_str() {
            break;
        }
        let group = group.parse().map_err(|_error| StoreError::Row { table: "grants" })?;
        found.insert(group, read("grants", value.value())?);
    }
    Ok(found)
}
