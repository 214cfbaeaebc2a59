//! The files themselves, behind a trait: tests have a disk that fails, fills up and loses power.

use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::names::TEMPORARY;

/// A directory of files.
pub(super) trait Disk: fmt::Debug + Send + Sync {
    /// Names and lengths, bytes.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;
    /// Reads a file from a place in it.
    fn read(&self, name: &str, from: u64) -> io::Result<Box<dyn Read + Send>>;
    /// Opens a file at its end; makes it if there is none.
    fn append(&self, name: &str) -> io::Result<Box<dyn Sink>>;
    /// Puts other bytes in the place of a file's first ones, on the disk when this returns.
    fn overwrite(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Gives a file another name, in the place of the file that has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Has all names on the disk when it returns.
    fn sync_names(&self) -> io::Result<()>;
}

/// A file that grows.
pub(super) trait Sink: fmt::Debug + Send {
    /// Writes some of the bytes at the end.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Cuts it off.
    fn set_len(&mut self, bytes: u64) -> io::Result<()>;
    /// Has it on the disk when it returns.
    fn sync(&mut self) -> io::Result<()>;
}

/// Writes all of the bytes; where it fails, some may have been written.
pub(super) fn write_all(sink: &mut dyn Sink, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match sink.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Opens an empty file that gets its name by [`publish`].
pub(super) fn draft(disk: &dyn Disk, name: &str) -> io::Result<Box<dyn Sink>> {
    let mut sink = disk.append(&(name.to_owned() + TEMPORARY))?;
    sink.set_len(0)?;
    Ok(sink)
}

/// Gives a draft its name once its bytes are on the disk: a file is there whole or not at all.
pub(super) fn publish(disk: &dyn Disk, name: &str, mut sink: Box<dyn Sink>) -> io::Result<()> {
    sink.sync()?;
    disk.rename(&(name.to_owned() + TEMPORARY), name)?;
    disk.sync_names()
}

/// Puts a file in the place of another, at once and durably.
pub(super) fn replace(disk: &dyn Disk, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut sink = draft(disk, name)?;
    write_all(sink.as_mut(), bytes)?;
    publish(disk, name, sink)
}

/// A whole file, if there is one.
pub(super) fn read_whole(disk: &dyn Disk, name: &str) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match disk.read(name, 0).and_then(|mut reader| reader.read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A directory of the file system.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Holds the lock of the one who writes.
    handle: File,
}

impl Directory {
    /// Opens a directory to read in it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let handle = File::open(path)?;
        if !handle.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self { path: path.to_owned(), handle })
    }

    /// Opens a directory to write in it, made if it is missing; none if somebody else writes there.
    pub(super) fn lock(path: &Path) -> io::Result<Option<Self>> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let directory = Self::open(path)?;
        match directory.handle.try_lock() {
            Ok(()) => Ok(Some(directory)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Disk for Directory {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            match entry.metadata() {
                Ok(metadata) if metadata.is_file() => {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    files.push((name, metadata.len()));
                }
                Ok(_) => {}
                // Whoever writes may have renamed it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        files.sort();
        Ok(files)
    }

    fn read(&self, name: &str, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut file = File::open(self.path.join(name))?;
        file.seek(SeekFrom::Start(from))?;
        Ok(Box::new(file))
    }

    fn append(&self, name: &str) -> io::Result<Box<dyn Sink>> {
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(self.path.join(name))?;
        Ok(Box::new(file))
    }

    fn overwrite(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(self.path.join(name))?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        self.handle.sync_all()
    }
}

impl Sink for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(self, bytes)
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        Self::set_len(self, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
