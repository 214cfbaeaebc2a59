//! Which own networks there are, in one file of an embedded database. Each change is one transaction that is on the disk
//! when the call returns: the daemon that comes after a crash polices what this one began to make.
//!
//! ```text
//! meta      "schema" -> version, "next" -> number of the next bridge
//! networks  slot -> hub, user, name at the engine, bridge, subnet, length, the engine's id or nothing
//! ```

use std::{net::Ipv4Addr, path::Path};

use redb::{
    Database, Durability, ReadableDatabase as _, ReadableTable as _, Table, TableDefinition,
    WriteTransaction,
};

use super::{
    error::{OwnError, boxed},
    pool,
};
use crate::{
    access::name::User,
    config::{GuestNetwork, OWNED_SLOTS, Owned},
    database::{self, Form, META},
    model::{closure::OWN_BRIDGES, owned::Prepared},
};

/// Key of the next bridge's number in [`META`].
const NEXT: &str = "next";
/// Hub, user, name, bridge, subnet, its length, id.
type Columns = (&'static str, &'static str, &'static str, &'static str, u32, u8, &'static str);
const NETWORKS: TableDefinition<'_, u32, Columns> = TableDefinition::new("networks");

const FORM: Form = Form {
    name: "owned.redb",
    what: "own networks",
    without: "own networks stay closed",
    version: 1,
    tables: |transaction| transaction.open_table(NETWORKS).map(drop).map_err(Into::into),
};

/// An own network as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its slot, which no other one has as long as it is kept.
    pub slot: u32,
    /// Whose it is.
    pub owner: User,
    /// Its name at the engine.
    pub name: String,
    /// Name of its bridge, which no other one ever has.
    pub bridge: String,
    /// Its subnet.
    pub subnet: (Ipv4Addr, u8),
    /// The engine's id; `None`: the engine has not said that it made it.
    pub id: Option<String>,
}

impl Row {
    /// The guest network that control is to see.
    #[must_use]
    pub fn guest_network(&self) -> GuestNetwork {
        let owned = Owned { owner: Some(self.owner.clone()), slot: self.slot };
        GuestNetwork::of_owner(owned, self.bridge.clone())
    }

    /// The same for whoever has it made.
    #[must_use]
    pub fn prepared(&self) -> Prepared {
        Prepared {
            slot: self.slot,
            name: self.name.clone(),
            bridge: self.bridge.clone(),
            subnet: self.subnet,
            gateway: pool::gateway(self.subnet.0),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Store {
    database: Database,
}

impl Store {
    /// Opens the store in this directory. Where there is no file, a new one is made; the directory too.
    pub fn open(dir: &Path) -> Result<Self, OwnError> {
        Ok(Self { database: database::open(&FORM, dir)? })
    }

    /// All of them, by slot.
    pub fn rows(&self) -> Result<Vec<Row>, OwnError> {
        let reading = self.database.begin_read().map_err(boxed)?;
        let table = reading.open_table(NETWORKS).map_err(boxed)?;
        let rows = table.iter().map_err(boxed)?.map(|row| {
            let (slot, columns) = row.map_err(boxed)?;
            read(slot.value(), columns.value())
        });
        rows.collect()
    }

    /// Keeps a new one, with a bridge whose name none of these is.
    pub fn reserve(
        &self,
        owner: &User,
        name: &str,
        subnet: (Ipv4Addr, u8),
        is_taken: impl Fn(&str) -> bool,
    ) -> Result<Row, OwnError> {
        let rows = self.rows()?;
        if rows.iter().any(|row| row.name == name) {
            return Err(OwnError::Exists { name: name.to_owned() });
        }
        let is_free = |slot: &u32| rows.iter().all(|row| row.slot != *slot);
        let slot = (0..OWNED_SLOTS).find(is_free).ok_or(OwnError::NoSlot)?;
        self.change(|writing| {
            let mut meta = writing.open_table(META).map_err(boxed)?;
            let mut next = meta.get(NEXT).map_err(boxed)?.map_or(0, |row| row.value());
            let bridge = loop {
                // 15 bytes: as many as the kernel takes.
                let bridge = format!("{OWN_BRIDGES}{:08x}", next & u64::from(u32::MAX));
                next += 1;
                if !is_taken(&bridge) && rows.iter().all(|row| row.bridge != bridge) {
                    break bridge;
                }
            };
            meta.insert(NEXT, next).map_err(boxed)?;
            let (owner, name) = (owner.clone(), name.to_owned());
            let row = Row { slot, owner, name, bridge, subnet, id: None };
            write(&mut writing.open_table(NETWORKS).map_err(boxed)?, &row)?;
            Ok(row)
        })
    }

    /// Keeps the engine's id of one. It is an error if it is not kept any more.
    pub fn settle(&self, one: &Prepared, id: &str) -> Result<(), OwnError> {
        self.change(|writing| {
            let mut table = writing.open_table(NETWORKS).map_err(boxed)?;
            let kept = kept(&table, one.slot)?.filter(|kept| kept.bridge == one.bridge);
            let kept = kept.ok_or_else(|| OwnError::Gone { name: one.name.clone() })?;
            write(&mut table, &Row { id: Some(id.to_owned()), ..kept })
        })
    }

    /// Forgets one, unless its slot has another one by now. Whether it was there.
    pub fn free(&self, slot: u32, bridge: &str) -> Result<bool, OwnError> {
        self.change(|writing| {
            let mut table = writing.open_table(NETWORKS).map_err(boxed)?;
            let is_kept = kept(&table, slot)?.is_some_and(|kept| kept.bridge == bridge);
            if is_kept {
                table.remove(slot).map_err(boxed)?;
            }
            Ok(is_kept)
        })
    }

    /// One transaction: all that `work` does, or nothing.
    fn change<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, OwnError>,
    ) -> Result<T, OwnError> {
        let mut writing = self.database.begin_write().map_err(boxed)?;
        writing.set_durability(Durability::Immediate).map_err(boxed)?;
        writing.set_two_phase_commit(true);
        let done = work(&writing)?;
        writing.commit().map_err(boxed)?;
        Ok(done)
    }
}

fn kept(table: &Table<'_, u32, Columns>, slot: u32) -> Result<Option<Row>, OwnError> {
    let row = table.get(slot).map_err(boxed)?;
    row.map(|columns| read(slot, columns.value())).transpose()
}

fn read(
    slot: u32,
    (hub, user, name, bridge, subnet, length, id): (&str, &str, &str, &str, u32, u8, &str),
) -> Result<Row, OwnError> {
    let broken = || OwnError::Row { slot };
    let is_ours = bridge.starts_with(OWN_BRIDGES) && slot < OWNED_SLOTS && length <= 32;
    let hub = hub.parse().map_err(|_error| broken())?;
    let user = user.parse().map_err(|_error| broken())?;
    is_ours
        .then(|| Row {
            slot,
            owner: User { hub, name: user },
            name: name.to_owned(),
            bridge: bridge.to_owned(),
            subnet: (Ipv4Addr::from_bits(subnet), length),
            id: (!id.is_empty()).then(|| id.to_owned()),
        })
        .ok_or_else(broken)
}

fn write(table: &mut Table<'_, u32, Columns>, row: &Row) -> Result<(), OwnError> {
    let Row { slot, owner, name, bridge, subnet: (subnet, length), id } = row;
    let columns = (
        owner.hub.as_str(),
        owner.name.as_str(),
        name.as_str(),
        bridge.as_str(),
        subnet.to_bits(),
        *length,
        id.as_deref().unwrap_or_default(),
    );
    table.insert(*slot, columns).map_err(boxed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;

    const SUBNET: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 201, 0, 64), 26);

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("ef-owned-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            Self(dir)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn ann() -> User {
        User { hub: "lab".parse().expect("hub"), name: "ann".parse().expect("user") }
    }

    #[test]
    fn n7_what_was_reserved_is_there_for_the_next_daemon() {
        let dir = Dir::new("next");
        let first = {
            let store = Store::open(&dir.0).expect("a store");
            let first = store.reserve(&ann(), "data", SUBNET, |_| false).expect("a slot");
            let second = store.reserve(&ann(), "more", SUBNET, |_| false).expect("a slot");
            store.settle(&second.prepared(), "0123").expect("kept");
            first
        };
        assert_eq!((first.slot, first.bridge.as_str()), (0, "en-own-00000000"));
        let store = Store::open(&dir.0).expect("a store");
        let rows = store.rows().expect("rows");
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0], first);
        assert_eq!(rows[1].id.as_deref(), Some("0123"));
        let network = rows[0].guest_network();
        assert_eq!(network.owned, Some(Owned { owner: Some(ann()), slot: 0 }));
    }

    #[test]
    fn n2_a_slot_comes_back_and_a_bridge_s_name_never_does() {
        let dir = Dir::new("slots");
        let store = Store::open(&dir.0).expect("a store");
        let first = store.reserve(&ann(), "data", SUBNET, |_| false).expect("a slot");
        assert!(matches!(
            store.reserve(&ann(), "data", SUBNET, |_| false),
            Err(OwnError::Exists { .. })
        ));
        let free = |row: &Row| store.free(row.slot, &row.bridge).expect("freed");
        assert!(free(&first) && !free(&first));
        // Somebody's interface has the name that would be next.
        let taken = |bridge: &str| bridge == "en-own-00000001";
        let second = store.reserve(&ann(), "data", SUBNET, taken).expect("a slot");
        assert_eq!((second.slot, second.bridge.as_str()), (0, "en-own-00000002"));
        assert!(!free(&first), "the slot is another one's");
        assert!(matches!(store.settle(&first.prepared(), "0123"), Err(OwnError::Gone { .. })));
        assert_eq!(store.rows().expect("rows"), [second]);
    }

    #[test]
    fn the_last_slot_is_the_last() {
        let dir = Dir::new("full");
        let store = Store::open(&dir.0).expect("a store");
        for slot in 0..OWNED_SLOTS {
            let row = store.reserve(&ann(), &slot.to_string(), SUBNET, |_| false);
            assert_eq!(row.expect("a slot").slot, slot);
        }
        let more = store.reserve(&ann(), "more", SUBNET, |_| false);
        assert!(matches!(more, Err(OwnError::NoSlot)), "{more:?}");
    }

    #[test]
    fn n6_a_damaged_file_is_an_error_and_no_empty_store() {
        let dir = Dir::new("damaged");
        drop(Store::open(&dir.0).expect("a store"));
        fs::write(dir.0.join("owned.redb"), b"nothing").expect("written");
        assert!(matches!(Store::open(&dir.0), Err(OwnError::File(_))));
    }
}
