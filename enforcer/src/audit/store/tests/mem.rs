//! A disk in memory that does as it is told: it stops at a step as if the process were killed or the
//! power lost, or fails, with some of the bytes written.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Cursor, Read},
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
};

use crate::audit::store::disk::{Disk, Sink};

#[derive(Clone, Debug, Default)]
struct File {
    bytes: Vec<u8>,
    /// What a power cut leaves.
    durable: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<u64, File>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    next: u64,
    /// Changes so far.
    steps: u64,
    fault: Fault,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fault {
    #[default]
    None,
    /// Everything from this step on fails, and that step is half done.
    StopAt(u64),
    /// So many steps from this one on fail and are half done; those after them succeed.
    FailAt(u64, u64),
    /// Writing fails when files have so many bytes in all; removing goes on.
    Full(usize),
    /// Nothing can be changed.
    ReadOnly,
    /// The next sync of a file fails, and what was not on the disk is gone.
    LoseOnSync,
}

/// The disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Mem(Arc<Mutex<State>>);

/// What is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The process was killed.
    Process,
    /// The power was lost: only what was synced is there.
    Power,
}

impl Mem {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("lock")
    }

    pub(super) fn set(&self, fault: Fault) {
        self.state().fault = fault;
    }

    pub(super) fn steps(&self) -> u64 {
        self.state().steps
    }

    /// Whether any file that is or was there has this text on the disk.
    pub(super) fn ever_has(&self, text: &str) -> bool {
        let has = |bytes: &[u8]| bytes.windows(text.len()).any(|part| part == text.as_bytes());
        self.state().files.values().any(|file| has(&file.bytes) || has(&file.durable))
    }

    pub(super) fn used(&self) -> usize {
        let state = self.state();
        state.names.values().map(|file| state.files[file].bytes.len()).sum()
    }

    /// What a new process finds, as a disk that works.
    pub(super) fn after(&self, cut: Cut) -> Self {
        let state = self.state();
        let names = if cut == Cut::Power { &state.durable_names } else { &state.names };
        let mut new = State { next: state.next, names: names.clone(), ..State::default() };
        new.durable_names = names.clone();
        for file in names.values() {
            let file_state = &state.files[file];
            let bytes =
                if cut == Cut::Power { &file_state.durable } else { &file_state.bytes }.clone();
            new.files.insert(*file, File { durable: bytes.clone(), bytes });
        }
        Self(Arc::new(Mutex::new(new)))
    }

    /// Puts all files into a directory.
    pub(super) fn write_to(&self, dir: &Path) {
        let state = self.state();
        for (name, file) in &state.names {
            fs::write(dir.join(name), &state.files[file].bytes).expect("writes");
        }
    }
}

impl State {
    /// Counts a change; true if it is to be done by half only.
    fn step(&mut self) -> io::Result<bool> {
        self.steps += 1;
        match self.fault {
            Fault::StopAt(step) if self.steps == step => Ok(true),
            Fault::FailAt(step, count) if (step..step + count).contains(&self.steps) => Ok(true),
            Fault::StopAt(step) if self.steps > step => Err(io::ErrorKind::Other.into()),
            Fault::ReadOnly => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            _ => Ok(false),
        }
    }

    /// A change that is done or not: half done is not done.
    fn whole(&mut self) -> io::Result<()> {
        if self.step()? { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
    }

    fn find(&self, name: &str) -> io::Result<u64> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file(&mut self, file: u64) -> &mut File {
        self.files.get_mut(&file).expect("a file")
    }
}

impl Disk for Mem {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let state = self.state();
        let size = |file: &u64| state.files[file].bytes.len() as u64;
        Ok(state.names.iter().map(|(name, file)| (name.clone(), size(file))).collect())
    }

    fn read(&self, name: &str, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let state = self.state();
        let bytes = state.files[&state.find(name)?].bytes.clone();
        let from = usize::try_from(from).expect("small").min(bytes.len());
        Ok(Box::new(Cursor::new(bytes[from..].to_vec())))
    }

    fn append(&self, name: &str) -> io::Result<Box<dyn Sink>> {
        let mut state = self.state();
        if state.find(name).is_err() {
            state.whole()?;
            state.next += 1;
            let file = state.next;
            state.files.insert(file, File::default());
            state.names.insert(name.to_owned(), file);
        }
        let file = state.find(name)?;
        Ok(Box::new(Handle { disk: self.clone(), file }))
    }

    fn overwrite(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.whole()?;
        let file = state.find(name)?;
        let file = state.file(file);
        file.bytes[..bytes.len()].copy_from_slice(bytes);
        file.durable.clone_from(&file.bytes);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.whole()?;
        let file = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.whole()?;
        state.names.remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.state();
        state.whole()?;
        state.durable_names = state.names.clone();
        Ok(())
    }
}

#[derive(Debug)]
struct Handle {
    disk: Mem,
    file: u64,
}

impl Sink for Handle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let used = self.disk.used();
        let mut state = self.disk.state();
        let is_half = state.step()?;
        let room = match state.fault {
            Fault::Full(size) => size.saturating_sub(used).min(bytes.len()),
            _ if is_half => bytes.len() / 2,
            _ => bytes.len(),
        };
        state.file(self.file).bytes.extend(&bytes[..room]);
        match room {
            _ if is_half => Err(io::ErrorKind::Other.into()),
            0 if !bytes.is_empty() => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(room),
        }
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.whole()?;
        state.file(self.file).bytes.truncate(usize::try_from(bytes).expect("small"));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        let fails = state.step()? || state.fault == Fault::LoseOnSync;
        if fails {
            // Linux forgets what it could not write, and says so once.
            if state.fault == Fault::LoseOnSync {
                state.fault = Fault::None;
            }
            let file = state.file(self.file);
            file.bytes.clone_from(&file.durable);
            return Err(io::Error::other("the disk is broken"));
        }
        let file = state.file(self.file);
        file.durable.clone_from(&file.bytes);
        Ok(())
    }
}
