//! A file of an embedded database: where it is, who may touch it, and whether it is what was written. What is damaged,
//! newer than this version, or open to others is an error and never an empty database.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use redb::{
    Builder, Database, DatabaseError, Durability, ReadableDatabase as _, StorageError,
    TableDefinition, WriteTransaction, backends::FileBackend,
};

/// The table that says which form the others have.
pub(crate) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Key of that in [`META`].
pub(crate) const SCHEMA: &str = "schema";
/// Memory for its pages, bytes: a thousand users take a tenth of that.
const CACHE: usize = 4 << 20;
/// Bits of a mode by which others than the owner write.
const WRITABLE: u32 = 0o022;

/// Which database it is.
#[derive(Debug)]
pub(crate) struct Form {
    /// Name of its file.
    pub(crate) name: &'static str,
    /// What is in it, for people.
    pub(crate) what: &'static str,
    /// What does not work without it, for people.
    pub(crate) without: &'static str,
    /// Version of its tables and rows, kept in the table `meta` under `schema`.
    pub(crate) version: u64,
    /// Makes its tables: whoever reads finds each.
    pub(crate) tables: fn(&WriteTransaction) -> Result<(), redb::Error>,
}

/// Why it is not opened.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A directory or file that cannot be used.
    #[error("{path}: {why}")]
    Unsafe {
        /// Which.
        path: PathBuf,
        /// Why.
        why: &'static str,
    },
    /// The operating system refused.
    #[error("cannot {verb} {path}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Another process has it open.
    #[error("{path} is in use by another process")]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// It is not what was written.
    #[error("{path} is damaged: {without} until it is put back from a backup or moved away")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not work.
        without: &'static str,
        /// What was found.
        #[source]
        source: Box<redb::Error>,
    },
    /// Somebody else's form.
    #[error(
        "{path} was written by a newer enforcer (form {found}, this one knows {known}): {without} \
         until that one runs"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The newest that is known.
        known: u64,
        /// What does not work.
        without: &'static str,
    },
    /// It cannot be made.
    #[error("the database cannot be made, or read")]
    Database(#[from] Box<redb::Error>),
}

/// Opens the one in this directory. Where there is no file, a new one is made; the directory too.
pub(crate) fn open(form: &Form, dir: &Path) -> Result<Database, FileError> {
    make(dir)?;
    let path = dir.join(form.name);
    match fs::symlink_metadata(&path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create(form, dir)?;
            tracing::info!(path = %path.display(), "a new store of {} is made", form.what);
        }
        Err(source) => return Err(failed("look at", &path, source)),
    }
    let file = options(&path).map_err(|source| failed("open", &path, source))?;
    private(&path, &file)?;
    let length = file.metadata().map_err(|source| failed("look at", &path, source))?.len();
    if length == 0 {
        // The database would take it for a new one, and everybody's grants for never given.
        return Err(damaged(form, &path, StorageError::Corrupted("it is empty".to_owned()).into()));
    }
    // Every page is held against its checksum, not only after a crash.
    let opened = FileBackend::new(file)
        .and_then(|file| builder().set_check_integrity_on_open(true).create_with_backend(file));
    let database = opened.map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => FileError::Busy { path: path.clone() },
        DatabaseError::Storage(StorageError::Io(source)) if !is_content_s(&source) => {
            failed("read", &path, source)
        }
        other => damaged(form, &path, other.into()),
    })?;
    match version(&database)? {
        Some(version) if version == form.version => Ok(database),
        Some(found) if found > form.version => {
            Err(FileError::Newer { path, found, known: form.version, without: form.without })
        }
        _ => Err(damaged(
            form,
            &path,
            StorageError::Corrupted("it has no version".to_owned()).into(),
        )),
    }
}

/// The directory, which only its owner may change.
fn make(dir: &Path) -> Result<(), FileError> {
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
    Err(FileError::Unsafe { path: dir.to_owned(), why })
}

fn private(path: &Path, file: &File) -> Result<(), FileError> {
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
    Err(FileError::Unsafe { path: path.to_owned(), why })
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
fn create(form: &Form, dir: &Path) -> Result<(), FileError> {
    let (draft, path) = (dir.join(format!("{}.new", form.name)), dir.join(form.name));
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
    transaction.open_table(META).map_err(boxed)?.insert(SCHEMA, form.version).map_err(boxed)?;
    (form.tables)(&transaction).map_err(Box::new)?;
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

fn version(database: &Database) -> Result<Option<u64>, FileError> {
    let reading = database.begin_read().map_err(boxed)?;
    let meta = reading.open_table(META).map_err(boxed)?;
    Ok(meta.get(SCHEMA).map_err(boxed)?.map(|row| row.value()))
}

fn failed(verb: &'static str, path: &Path, source: io::Error) -> FileError {
    FileError::Io { verb, path: path.to_owned(), source }
}

fn damaged(form: &Form, path: &Path, source: redb::Error) -> FileError {
    FileError::Damaged { path: path.to_owned(), without: form.without, source: Box::new(source) }
}

/// Errors of the database are large, and there are many kinds.
fn boxed(error: impl Into<redb::Error>) -> FileError {
    FileError::Database(Box::new(error.into()))
}
