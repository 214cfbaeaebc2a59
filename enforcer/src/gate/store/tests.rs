use std::{
    fs, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use redb::{Builder, StorageBackend, backends::InMemoryBackend};

use super::*;
use crate::access::name::User;

/// A disk that takes nothing any more once it is told so.
#[derive(Clone, Debug, Default)]
pub(in crate::gate) struct Disk {
    kept: Arc<InMemoryBackend>,
    is_full: Arc<AtomicBool>,
}

impl Disk {
    /// A store on it.
    pub(in crate::gate) fn store(&self) -> Store {
        let database = Builder::new().create_with_backend(self.clone()).expect("a database");
        let writing = database.begin_write().expect("writes");
        (FORM.tables)(&writing).expect("tables");
        writing.commit().expect("written");
        Store::over(database).expect("read")
    }

    pub(in crate::gate) fn fill(&self) {
        self.is_full.store(true, Ordering::SeqCst);
    }

    fn room(&self) -> Result<(), io::Error> {
        let is_full = self.is_full.load(Ordering::SeqCst);
        if is_full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        self.kept.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        StorageBackend::read(&*self.kept, offset, out)
    }

    fn set_len(&self, length: u64) -> Result<(), io::Error> {
        self.room().and_then(|()| self.kept.set_len(length))
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.room().and_then(|()| self.kept.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.room().and_then(|()| StorageBackend::write(&*self.kept, offset, data))
    }
}

struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("enforcer-owners-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn user(hub: &str, name: &str) -> Principal {
    Principal::User(User { hub: hub.parse().expect(hub), name: name.parse().expect(name) })
}

fn add(kind: Kind, id: &str, about: &str) -> Note {
    Note::Add { kind, id: id.to_owned(), about: about.to_owned() }
}

fn remove(kind: Kind, id: &str) -> Note {
    Note::Remove { kind, id: id.to_owned() }
}

fn names(facts: &Facts) -> Vec<&str> {
    facts.containers.iter().map(|own| own.name.as_str()).collect()
}

#[test]
fn s3_what_a_socket_made_is_its_principal_s_also_after_a_restart() {
    let dir = Dir::new();
    let (ada, other) = (user("lab", "ada"), user("two", "ada"));
    let volume = names::engine_name(&ada, "data");
    {
        let store = Store::open(&dir.0).expect("opens");
        let notes = [
            add(Kind::Container, "c1", "web"),
            add(Kind::Volume, &volume, ""),
            add(Kind::Network, "n1", &names::engine_name(&ada, "app")),
            add(Kind::Image, "mark-mine:1", "sha256:aa"),
            add(Kind::Image, "mark-mine:2", "sha256:aa"),
            add(Kind::Exec, "e1", "c1"),
        ];
        store.note(&ada, &notes).expect("noted");
        store.note(&other, &[add(Kind::Container, "c2", "db")]).expect("noted");
        assert_eq!(store.facts(&ada).execs.len(), 1);
        assert!(matches!(Store::open(&dir.0), Err(StoreError::File(FileError::Busy { .. }))));
    }
    let store = Store::open(&dir.0).expect("opens again");
    let facts = store.facts(&ada);
    assert_eq!(names(&facts), ["web"]);
    assert_eq!((&*facts.volumes[0].name, &facts.volumes[0].engine_name), ("data", &volume));
    assert_eq!((&*facts.networks[0].name, &*facts.networks[0].id), ("app", "n1"));
    assert_eq!((facts.images.len(), facts.images[0].tags.len()), (1, 2));
    assert!(facts.execs.is_empty(), "the engine's commands are not kept over a restart");
    assert_eq!(names(&store.facts(&other)), ["db"]);
    assert_eq!(store.facts(&user("lab", "ben")), Facts::default());
    assert_eq!(store.facts(&Principal::Hub("lab".parse().expect("a hub"))), Facts::default());
}

#[test]
fn s3_nobody_gets_what_is_another_s_and_nothing_of_a_refused_note_stays() {
    let dir = Dir::new();
    let store = Store::open(&dir.0).expect("opens");
    let (ada, ben) = (user("lab", "ada"), user("lab", "ben"));
    store.note(&ada, &[add(Kind::Container, "c1", "web")]).expect("noted");
    let both = [add(Kind::Container, "c2", "own"), add(Kind::Container, "c1", "web")];
    assert!(matches!(store.note(&ben, &both), Err(StoreError::Others(Kind::Container, _))));
    assert_eq!(store.facts(&ben), Facts::default());
    drop(store);
    let store = Store::open(&dir.0).expect("opens again");
    assert_eq!((names(&store.facts(&ada)).len(), store.facts(&ben)), (1, Facts::default()));
}

#[test]
fn s3_what_is_gone_is_nobody_s() {
    let dir = Dir::new();
    let store = Store::open(&dir.0).expect("opens");
    let (ada, ben) = (user("lab", "ada"), user("lab", "ben"));
    let notes = [add(Kind::Container, "c1", "web"), add(Kind::Exec, "e1", "c1")];
    store.note(&ada, &notes).expect("noted");
    // The engine has a name once; whose container had it before is told by the next look at the engine.
    store.note(&ben, &[add(Kind::Container, "c2", "web")]).expect("noted");
    assert_eq!(names(&store.facts(&ada)), ["web"], "nobody takes another's away");
    store.note(&ada, &[add(Kind::Container, "c3", "web")]).expect("noted");
    let facts = store.facts(&ada);
    assert_eq!(
        (&*facts.containers[0].id, facts.execs.len()),
        ("c3", 0),
        "its commands are gone too"
    );
    store.note(&ben, &[add(Kind::Container, "c2", "renamed")]).expect("noted");
    assert_eq!(names(&store.facts(&ben)), ["renamed"]);
    store.note(&ben, &[remove(Kind::Container, "c2")]).expect("noted");
    assert_eq!(store.facts(&ben), Facts::default());
    store.note(&ada, &[remove(Kind::Container, "c3")]).expect("noted");
    assert!(!store.has(Kind::Container));
}

#[test]
fn s3_a_look_at_the_engine_ends_what_is_gone_and_nothing_that_is_newer() {
    let dir = Dir::new();
    let store = Store::open(&dir.0).expect("opens");
    let ada = user("lab", "ada");
    let notes = ["c1", "c2", "c3"].map(|id| add(Kind::Container, id, id));
    store.note(&ada, &notes).expect("noted");
    let serial = store.serial();
    store.note(&ada, &[add(Kind::Container, "new", "new")]).expect("noted");
    let there = |id: &str| match id {
        "c1" => Some(Some("c1".to_owned())),
        "c2" => Some(Some("other".to_owned())),
        _ => None,
    };
    assert_eq!(store.compare(Kind::Container, serial, there).expect("compared"), 2);
    assert_eq!(names(&store.facts(&ada)), ["c1", "other", "new"]);
}

#[test]
fn s26_commands_of_a_principal_are_bounded() {
    let dir = Dir::new();
    let store = Store::open(&dir.0).expect("opens");
    let ada = user("lab", "ada");
    let notes: Vec<Note> =
        (0..MAX_EXECS + 3).map(|number| add(Kind::Exec, &format!("{number:05}"), "c1")).collect();
    store.note(&ada, &notes).expect("noted");
    let execs = store.facts(&ada).execs;
    assert_eq!((execs.len(), &*execs[0].id), (MAX_EXECS, "00003"));
}
