//! bpf(2) on maps whose sizes only the kernel knows.
//!
//! Source: include/uapi/linux/bpf.h (`union bpf_attr`), 6.1 to 6.18.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
};

use aya::maps::{MapData, MapError, MapType};

use super::bpf::bpf;

const MAP_LOOKUP_ELEM: libc::c_long = 1;
const MAP_UPDATE_ELEM: libc::c_long = 2;
const MAP_DELETE_ELEM: libc::c_long = 3;
const MAP_LOOKUP_BATCH: libc::c_long = 24;

/// Entries that one call reads, unless a bucket of a hash map holds more.
const BATCH: u32 = 4096;

#[repr(C)]
#[derive(Default)]
struct Element {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct Batch {
    start: u64,
    end: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

const _: () = assert!(size_of::<Element>() == 32 && size_of::<Batch>() == 56);

/// A map of any layout. Keys and values are bytes.
#[derive(Debug)]
pub(super) struct RawMap {
    map: MapData,
    /// Size of a key, bytes.
    pub(super) key_size: usize,
    /// Size of a value, bytes.
    pub(super) value_size: usize,
    kind: MapType,
    entries: u32,
    cpus: usize,
}

/// A key and its value; of a map that has one for each CPU, the values after one another, each on a
/// multiple of eight bytes.
pub(super) type Entry = (Vec<u8>, Vec<u8>);

impl RawMap {
    /// Opens a pinned map.
    pub(super) fn open(path: &Path) -> Result<Self, MapError> {
        Self::new(MapData::from_pin(path)?)
    }

    /// Takes a map over.
    pub(super) fn new(map: MapData) -> Result<Self, MapError> {
        let info = map.info()?;
        let kind = info.map_type()?;
        let per_cpu = matches!(kind, MapType::PerCpuHash | MapType::PerCpuArray);
        let cpus = if per_cpu { cpus()? } else { 1 };
        Ok(Self {
            key_size: size(info.key_size()),
            value_size: size(info.value_size()),
            kind,
            entries: info.max_entries(),
            cpus,
            map,
        })
    }

    /// All entries. Those that are written or removed meanwhile may be missing.
    pub(super) fn list(&self) -> io::Result<Vec<Entry>> {
        match self.kind {
            MapType::Array => (0..self.entries)
                .map(|index| {
                    let key = index.to_ne_bytes().to_vec();
                    Ok((key.clone(), self.read(&key)?))
                })
                .collect(),
            MapType::Hash | MapType::PerCpuHash => self.list_hash(),
            _ => Err(io::Error::other("neither an array nor a hash map")),
        }
    }

    /// The value of a key.
    pub(super) fn read(&self, key: &[u8]) -> io::Result<Vec<u8>> {
        let mut value = vec![0; self.stored()];
        self.element(MAP_LOOKUP_ELEM, key, Some(&mut value), 0)?;
        Ok(value)
    }

    /// Writes an entry unless there is one; whether it did.
    pub(super) fn create(&self, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
        const NOEXIST: u64 = 1;
        if value.len() != self.stored() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        match self.element(MAP_UPDATE_ELEM, key, Some(value), NOEXIST) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            outcome => outcome.map(|()| true),
        }
    }

    /// Whether every index has an entry.
    pub(super) fn is_array(&self) -> bool {
        self.kind == MapType::Array
    }

    /// Writes an entry, new or not.
    pub(super) fn write(&self, key: &[u8], value: &mut [u8]) -> io::Result<()> {
        if value.len() != self.stored() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        self.element(MAP_UPDATE_ELEM, key, Some(value), 0)
    }

    /// Removes an entry; one that is not there is no error.
    pub(super) fn remove(&self, key: &[u8]) -> io::Result<()> {
        match self.element(MAP_DELETE_ELEM, key, None, 0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    }

    /// Bytes that a value takes in a call.
    fn stored(&self) -> usize {
        match self.kind {
            MapType::PerCpuHash | MapType::PerCpuArray => {
                self.value_size.next_multiple_of(8) * self.cpus
            }
            _ => self.value_size,
        }
    }

    fn element(
        &self,
        command: libc::c_long,
        key: &[u8],
        value: Option<&mut [u8]>,
        flags: u64,
    ) -> io::Result<()> {
        if key.len() != self.key_size {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let mut attr = Element {
            map_fd: self.fd(),
            key: key.as_ptr().expose_provenance() as u64,
            value: value.map_or(0, |value| value.as_mut_ptr().expose_provenance() as u64),
            flags,
            ..Default::default()
        };
        bpf(command, &mut attr).map(drop)
    }

    fn list_hash(&self) -> io::Result<Vec<Entry>> {
        let mut found = Vec::new();
        self.each(&mut |key, value| {
            found.push((key.to_vec(), value.to_vec()));
            true
        })?;
        Ok(found)
    }

    /// Hands each entry of a hash map to `visit`, until it has seen enough. By buckets: unlike a walk from key to
    /// key it ends, whatever is removed meanwhile.
    pub(super) fn each(&self, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> io::Result<()> {
        let (mut token, mut next, mut first) = (0u32, 0u32, true);
        let mut room = BATCH;
        loop {
            let mut keys = vec![0; size(room) * self.key_size];
            let mut values = vec![0; size(room) * self.stored()];
            let mut attr = Batch {
                start: if first { 0 } else { (&raw mut token).expose_provenance() as u64 },
                end: (&raw mut next).expose_provenance() as u64,
                keys: keys.as_mut_ptr().expose_provenance() as u64,
                values: values.as_mut_ptr().expose_provenance() as u64,
                count: room,
                map_fd: self.fd(),
                ..Default::default()
            };
            let outcome = bpf(MAP_LOOKUP_BATCH, &mut attr);
            let ended = match outcome {
                Ok(_) => false,
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
                // A bucket holds more.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                    room = room.saturating_mul(2);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let entries = keys.chunks_exact(self.key_size).zip(values.chunks_exact(self.stored()));
            let mut entries = entries.take(size(attr.count));
            if !entries.all(|(key, value)| visit(key, value)) || ended {
                return Ok(());
            }
            (token, first) = (next, false);
        }
    }

    fn fd(&self) -> u32 {
        self.map.fd().as_fd().as_raw_fd().cast_unsigned()
    }
}

fn cpus() -> io::Result<usize> {
    aya::util::nr_cpus().map_err(|(file, source)| {
        io::Error::other(format!("cannot count the CPUs from {file}: {source}"))
    })
}

/// The kernel's sizes are 32 bits wide, addresses here no less.
fn size(value: u32) -> usize {
    value as usize
}

/// Bytes as a value of that size.
pub(super) fn typed<T: aya::Pod>(bytes: &[u8]) -> Option<T> {
    // SAFETY: as many bytes as `T` has, of which any are a value (`Pod`); read without alignment.
    (bytes.len() == size_of::<T>()).then(|| unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}
