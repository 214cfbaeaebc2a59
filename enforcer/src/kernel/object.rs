//! The eBPF object that this binary carries, and the check that both were built from one ABI.

use enforcer_common::abi::{ABI_SECTION, ABI_VERSION};
use object::{Object, ObjectSection};

static EMBEDDED: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/enforcer-ebpf.o"));

/// The object is not one that this binary can drive.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// Not an ELF file.
    #[error("the eBPF object is no readable ELF file")]
    Elf(#[source] object::Error),
    /// The version is missing.
    #[error("the eBPF object has no section {ABI_SECTION}: it is not enforcer's")]
    NoVersion,
    /// Built from other sources.
    #[error(
        "the eBPF object has ABI version {found}, this binary needs {ABI_VERSION}: \
         build both from the same sources"
    )]
    Version {
        /// The object's.
        found: u32,
    },
}

/// The embedded object, if it fits this binary.
pub fn embedded() -> Result<&'static [u8], ObjectError> {
    let bytes = replaced().unwrap_or(EMBEDDED);
    check(bytes).map(|()| bytes)
}

/// Development builds load another object instead: a test runs with programs that let everything
/// pass, and must fail. Release builds have no such door.
#[cfg(debug_assertions)]
fn replaced() -> Option<&'static [u8]> {
    let path = std::env::var_os("ENFORCER_TEST_OBJECT")?;
    std::fs::read(path).ok().map(|bytes| &*bytes.leak())
}

#[cfg(not(debug_assertions))]
fn replaced() -> Option<&'static [u8]> {
    None
}

fn check(bytes: &[u8]) -> Result<(), ObjectError> {
    let file = object::File::parse(bytes).map_err(ObjectError::Elf)?;
    let section = file.section_by_name(ABI_SECTION).ok_or(ObjectError::NoVersion)?;
    let data = section.data().map_err(ObjectError::Elf)?;
    let version = data.first_chunk::<4>().ok_or(ObjectError::NoVersion)?;
    match u32::from_le_bytes(*version) {
        ABI_VERSION => Ok(()),
        found => Err(ObjectError::Version { found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_object_fits() {
        embedded().expect("object");
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(matches!(check(b"\x7fELF, but not really"), Err(ObjectError::Elf(_))));
    }
}
