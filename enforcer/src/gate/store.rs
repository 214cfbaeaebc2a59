//! Whose a thing of the engine's is: what a principal's socket made, in a file of an embedded database. A thing that is
//! not in here is nobody's, whatever its labels say; what a principal knows it by is looked up among its own alone.
//!
//! ```text
//! things   (kind, id) -> hub, user, what belongs to it
//! ```
//!
//! Commands that run in containers (exec) end with the engine, and are kept in memory only.

mod rows;
#[cfg(test)]
pub(super) mod tests;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use redb::{Database, Durability, ReadableDatabase as _, ReadableTable as _};

use self::rows::{FORM, Row, THINGS};
use super::{
    facts::{Facts, OwnContainer, OwnExec, OwnImage, OwnNetwork, OwnVolume},
    names,
    principal::Principal,
    verdict::Kind,
};
use crate::database::{self, FileError};

/// Most commands of one principal that are remembered; the oldest are forgotten.
const MAX_EXECS: usize = 1024;

/// Why nothing was noted.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// Its file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A transaction failed.
    #[error("the store of what the gate made")]
    Database(#[from] Box<redb::Error>),
    /// A row that cannot be read.
    #[error("the store of what the gate made: a row of {0:?} is not what was written")]
    Row(Kind),
    /// Another principal's.
    #[error("{0:?} {1:?} belongs to another principal")]
    Others(Kind, String),
}

fn boxed(error: impl Into<redb::Error>) -> Box<redb::Error> {
    Box::new(error.into())
}

/// A change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// It is the principal's.
    Add {
        /// What it is.
        kind: Kind,
        /// By which the engine knows it: full id; of a volume its name, of an image its tag.
        id: String,
        /// What belongs to it: a container's name, a network's name at the engine, a tag's image, an exec's container.
        about: String,
    },
    /// It is gone.
    Remove {
        /// What it was.
        kind: Kind,
        /// By which the engine knew it.
        id: String,
    },
}

impl Note {
    const fn kind(&self) -> Kind {
        match self {
            Self::Add { kind, .. } | Self::Remove { kind, .. } => *kind,
        }
    }
}

#[derive(Clone, Debug)]
struct Thing {
    about: String,
    /// Grows with each change: what is newer than a look at the engine is not judged by it.
    serial: u64,
}

#[derive(Debug, Default)]
struct Known {
    things: BTreeMap<Principal, BTreeMap<(Kind, String), Thing>>,
    owners: BTreeMap<(Kind, String), Principal>,
    serial: u64,
}

impl Known {
    fn add(&mut self, principal: &Principal, kind: Kind, id: &str, about: &str) {
        self.serial += 1;
        let thing = Thing { about: about.to_owned(), serial: self.serial };
        let key = (kind, id.to_owned());
        self.owners.insert(key.clone(), principal.clone());
        let own = self.things.entry(principal.clone()).or_default();
        own.insert(key, thing);
        let execs = own.iter().filter(|((kind, _), _)| *kind == Kind::Exec);
        if kind == Kind::Exec && execs.clone().count() > MAX_EXECS {
            let oldest = execs.min_by_key(|(_, thing)| thing.serial).map(|(key, _)| key.1.clone());
            if let Some(id) = oldest {
                self.remove(Kind::Exec, &id);
            }
        }
    }

    fn remove(&mut self, kind: Kind, id: &str) {
        self.serial += 1;
        let key = (kind, id.to_owned());
        let Some(principal) = self.owners.remove(&key) else { return };
        if let Some(own) = self.things.get_mut(&principal) {
            own.remove(&key);
            if kind == Kind::Container {
                // What ran in it is gone with it.
                let ended: Vec<_> = own
                    .iter()
                    .filter(|((kind, _), thing)| *kind == Kind::Exec && thing.about == id)
                    .map(|(key, _)| key.clone())
                    .collect();
                for key in ended {
                    own.remove(&key);
                    self.owners.remove(&key);
                }
            }
            if own.is_empty() {
                self.things.remove(&principal);
            }
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Store {
    database: Database,
    /// Held by whoever changes something.
    writing: Mutex<()>,
    /// Held for moments.
    known: Mutex<Known>,
}

impl Store {
    /// Opens the store in this directory. Where there is no file, a new one is made: nobody has anything then.
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::over(database::open(&FORM, dir)?)
    }

    /// The same over a database that is open.
    fn over(database: Database) -> Result<Self, StoreError> {
        let mut known = Known::default();
        let reading = database.begin_read().map_err(boxed)?;
        let things = reading.open_table(THINGS).map_err(boxed)?;
        for row in things.iter().map_err(boxed)? {
            let (key, value) = row.map_err(boxed)?;
            let (kind, id) = key.value();
            let kind = rows::kind(kind).ok_or(StoreError::Row(Kind::Container))?;
            let (principal, about) = Row::read(value.value()).ok_or(StoreError::Row(kind))?;
            known.add(&principal, kind, id, &about);
        }
        drop(things);
        drop(reading);
        Ok(Self { database, writing: Mutex::default(), known: Mutex::new(known) })
    }

    /// Notes changes of what a principal has: all of them, or none. It blocks until what is new is on the disk.
    pub(super) fn note(&self, principal: &Principal, notes: &[Note]) -> Result<(), StoreError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.write(principal, notes)
    }

    /// The same, by whoever has `writing`. Who asks what is whose does not wait for the disk.
    fn write(&self, principal: &Principal, notes: &[Note]) -> Result<(), StoreError> {
        let mut all = Vec::new();
        {
            let known = self.known();
            for note in notes {
                if let Note::Add { kind, id, about } = note {
                    let owner = known.owners.get(&(*kind, id.clone()));
                    if owner.is_some_and(|owner| owner != principal) {
                        return Err(StoreError::Others(*kind, id.clone()));
                    }
                    // A name is one container's at a time: which of the principal's had it before is gone.
                    if *kind == Kind::Container {
                        all.extend(known.named(principal, about, id));
                    }
                }
            }
        }
        all.extend(notes.iter().cloned());
        if all.iter().any(|note| rows::number(note.kind()).is_some()) {
            self.commit(principal, &all)?;
        }
        let mut known = self.known();
        for note in &all {
            match note {
                Note::Add { kind, id, about } => known.add(principal, *kind, id, about),
                Note::Remove { kind, id } => known.remove(*kind, id),
            }
        }
        Ok(())
    }

    fn commit(&self, principal: &Principal, notes: &[Note]) -> Result<(), StoreError> {
        let mut writing = self.database.begin_write().map_err(boxed)?;
        // That a container is gone needs no disk: nothing ever has its id again, and if its note comes back with a power
        // cut, the next look at the engine ends it.
        let is_gone =
            notes.iter().all(|note| matches!(note, Note::Remove { kind: Kind::Container, .. }));
        let durability = if is_gone { Durability::None } else { Durability::Immediate };
        writing.set_durability(durability).map_err(boxed)?;
        {
            let mut things = writing.open_table(THINGS).map_err(boxed)?;
            for note in notes {
                let Some(kind) = rows::number(note.kind()) else { continue };
                match note {
                    Note::Add { id, about, .. } => {
                        let row = Row::write(principal, about);
                        things.insert((kind, id.as_str()), row.as_slice()).map_err(boxed)?;
                    }
                    Note::Remove { id, .. } => {
                        things.remove((kind, id.as_str())).map_err(boxed)?;
                    }
                }
            }
        }
        writing.commit().map_err(boxed)?;
        Ok(())
    }

    /// What is a principal's, as far as the store knows it.
    pub(super) fn facts(&self, principal: &Principal) -> Facts {
        let known = self.known();
        let mut facts = Facts::default();
        let mut images = BTreeMap::<&str, Vec<String>>::new();
        for ((kind, id), Thing { about, .. }) in known.things.get(principal).into_iter().flatten() {
            let (id, about) = (id.clone(), about);
            match kind {
                Kind::Container => facts.containers.push(OwnContainer {
                    id,
                    name: about.clone(),
                    is_notebook: false,
                }),
                Kind::Volume => {
                    let name = names::own_name(principal, &id).unwrap_or(&id).to_owned();
                    facts.volumes.push(OwnVolume { name, engine_name: id, is_plain: true });
                }
                Kind::Network => {
                    let name = names::own_name(principal, about).unwrap_or(about).to_owned();
                    facts.networks.push(OwnNetwork { id, name, engine_name: about.clone() });
                }
                Kind::Exec => facts.execs.push(OwnExec { id, container: about.clone() }),
                Kind::Image => images.entry(about).or_default().push(id),
            }
        }
        let images = images.into_iter();
        facts.images = images.map(|(id, tags)| OwnImage { id: id.to_owned(), tags }).collect();
        facts
    }

    /// Where the store is now: to be asked for before a look at the engine.
    pub(super) fn serial(&self) -> u64 {
        self.known().serial
    }

    /// Whether there is anything of a kind.
    pub(super) fn has(&self, kind: Kind) -> bool {
        self.known().owners.keys().any(|(of, _)| *of == kind)
    }

    /// Holds what there was at `serial` against what the engine has: `there` says what now belongs to a thing, or that
    /// there is none of that id. It blocks.
    pub(super) fn compare(
        &self,
        kind: Kind,
        serial: u64,
        there: impl Fn(&str) -> Option<Option<String>>,
    ) -> Result<usize, StoreError> {
        // Nothing changes in the meantime.
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changes: Vec<(Principal, Note)> = Vec::new();
        for (principal, own) in &self.known().things {
            let old = own.iter().filter(|((of, _), thing)| *of == kind && thing.serial <= serial);
            for ((_, id), thing) in old {
                let note = match there(id) {
                    None => Note::Remove { kind, id: id.clone() },
                    Some(Some(about)) if about != thing.about => {
                        Note::Add { kind, id: id.clone(), about }
                    }
                    Some(_) => continue,
                };
                changes.push((principal.clone(), note));
            }
        }
        for (principal, note) in &changes {
            self.write(principal, std::slice::from_ref(note))?;
        }
        Ok(changes.len())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// What is noted of a principal's containers that have this name, but for one.
    fn named(&self, principal: &Principal, name: &str, but: &str) -> Vec<Note> {
        let own = self.things.get(principal).into_iter().flatten();
        let same = own.filter(|((kind, id), thing)| {
            *kind == Kind::Container && id != but && !name.is_empty() && thing.about == name
        });
        let gone = |id: &String| Note::Remove { kind: Kind::Container, id: id.clone() };
        same.map(|((_, id), _)| gone(id)).collect()
    }
}
