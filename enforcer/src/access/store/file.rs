//! The file of the store: where it is, who may touch it, and whether it is what was written.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use redb::{
    Builder, Database, DatabaseError, Durability, ReadableDatabase as _, StorageError,
    backends::FileBackend,
};

use super::{
    StoreError, boxed,
    rows::{GRANTS, GROUPS, MEMBERS, META, OUTBOX, SCHEMA, VERSION},
};

/// Its name within the state directory.
const NAME: &str = "access.redb";
/// Its name until it is whole.
const DRAFT: &str = "access.redb.new";
/// Memory for its pages, bytes: a thousand users take a tenth of that.
const CACHE: usize = 4 << 20;
/// Bits of a mode by which others than the owner write.
const WRITABLE: u32 = 0o022;

pub(super) fn open(dir: &Path) -> Result<Database, StoreError> {
    make(dir)?;
    let path = dir.join(NAME);
    match fs::symlink_metadata(&path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create(dir)?;
            tracing::info!(path = %path.display(), "a new store of groups and grants is made");
        }
        Err(source) => return Err(failed("look at", &path, source)),
    }
    let file = options(&path).map_err(|source| failed("open", &path, source))?;
    private(&path, &file)?;
    let length = file.metadata().map_err(|source| failed("look at", &path, source))?.len();
    if length == 0 {
        // The database would take it for a new one, and everybody's grants for never given.
        return Err(damaged(&path, StorageError::Corrupted("it is empty".to_owned()).into()));
    }
    // Every page is held against its checksum, not only after a crash.
    let opened = FileBackend::new(file)
        .and_then(|file| builder().set_check_integrity_on_open(true).create_with_backend(file));
    let database = opened.map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::Busy { path: path.clone() },
        DatabaseError::Storage(StorageError::Io(source)) if !is_content_s(&source) => {
            failed("read", &path, source)
        }
        other => damaged(&path, other.into()),
    })?;
    match schema(&database)? {
        Some(VERSION) => Ok(database),
        Some(found) if found > VERSION => Err(StoreError::Newer { path, found }),
        _ => Err(damaged(&path, StorageError::Corrupted("it has no version".to_owned()).into())),
    }
}

/// The directory, which only its owner may change.
fn make(dir: &Path) -> Result<(), StoreError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|source| failed("make", dir, source))?;
    let found = fs::symlink_metadata(dir).map_err(|source| failed("look at", dir, source))?;
    let why = if !found.is_dir() {
        "not a directory"
    } else if !is_own(found.uid()) {
        "belongs to another user"
    } else if found.mode() & WRITABLE != 0 {
        "others may write into it: chmod 700"
    } else {
        return Ok(());
    };
    Err(StoreError::Unsafe { path: dir.to_owned(), why })
}

fn private(path: &Path, file: &File) -> Result<(), StoreError> {
    let found = file.metadata().map_err(|source| failed("look at", path, source))?;
    let why = if !found.is_file() {
        "not a file"
    } else if !is_own(found.uid()) {
        "belongs to another user"
    } else if found.mode() & WRITABLE != 0 {
        "others may write it: chmod 600"
    } else {
        return Ok(());
    };
    Err(StoreError::Unsafe { path: path.to_owned(), why })
}

/// Whether an error tells of what is in the file, and not of the disk.
fn is_content_s(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

fn is_own(uid: u32) -> bool {
    // SAFETY: takes nothing.
    uid == unsafe { libc::geteuid() }
}

/// Makes the file under another name: a crash leaves a whole one or none.
fn create(dir: &Path) -> Result<(), StoreError> {
    let (draft, path) = (dir.join(DRAFT), dir.join(NAME));
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove", &draft, error));
        }
        _ => {}
    }
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&draft);
    let file = file.map_err(|source| failed("make", &draft, source))?;
    let file = FileBackend::new(file).map_err(boxed)?;
    let database = builder().create_with_backend(file).map_err(boxed)?;
    let mut transaction = database.begin_write().map_err(boxed)?;
    transaction.set_durability(Durability::Immediate).map_err(boxed)?;
    transaction.set_two_phase_commit(true);
    transaction.open_table(META).map_err(boxed)?.insert(SCHEMA, VERSION).map_err(boxed)?;
    // Whoever reads finds each table.
    transaction.open_table(GROUPS).map_err(boxed)?;
    transaction.open_table(MEMBERS).map_err(boxed)?;
    transaction.open_table(GRANTS).map_err(boxed)?;
    transaction.open_table(OUTBOX).map_err(boxed)?;
    transaction.commit().map_err(boxed)?;
    drop(database);
    let named = fs::rename(&draft, &path).and_then(|()| File::open(dir)?.sync_all());
    named.map_err(|source| failed("name", &path, source))
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE);
    builder
}

fn options(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // A pipe in its place must not hold up a start.
    options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options.open(path)
}

fn schema(database: &Database) -> Result<Option<u64>, StoreError> {
    let reading = database.begin_read().map_err(boxed)?;
    let meta = reading.open_table(META).map_err(boxed)?;
    Ok(meta.get(SCHEMA).map_err(boxed)?.map(|row| row.value()))
}

fn failed(verb: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { verb, path: path.to_owned(), source }
}

fn damaged(path: &Path, source: redb::Error) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), source: Box::new(source) }
}
