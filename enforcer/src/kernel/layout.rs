//! The description of the maps, as it is written into map `LAYOUT` beside them.
//!
//! ```text
//! "ENFL"  format: u32  ABI version: u32  maps: u16
//! map:    name  key type  value type
//! type:   size: u16  fields: u16
//! field:  name  offset: u16  size: u16  element: u16
//! name:   length: u8  UTF-8
//! ```
//! Little-endian. The format is older than any layout it describes, so it never changes; one that is
//! not known is not read.

use std::path::Path;

use enforcer_common::abi::{
    ABI_VERSION,
    layout::{LAYOUT_BYTES, MAPS},
};

use super::{
    convert::{Described, Field},
    migrate::MigrateError,
    raw::RawMap,
};

/// Name of the map.
pub const MAP: &str = "LAYOUT";

const MAGIC: &[u8; 4] = b"ENFL";
const FORMAT: u32 = 1;

/// The maps of a layout, as the daemon that made them described them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its ABI version.
    pub version: u32,
    /// The maps.
    pub maps: Vec<DescribedMap>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMap {
    /// Its name.
    pub name: String,
    /// Its keys.
    pub key: Described,
    /// Its values.
    pub value: Described,
}

impl Description {
    /// The layout of this daemon.
    #[must_use]
    pub fn own() -> Self {
        let maps = MAPS.iter().map(|map| DescribedMap {
            name: map.name.to_owned(),
            key: Described::from(&map.key),
            value: Described::from(&map.value),
        });
        Self { version: ABI_VERSION, maps: maps.collect() }
    }

    /// A map of it.
    #[must_use]
    pub fn map(&self, name: &str) -> Option<&DescribedMap> {
        self.maps.iter().find(|map| map.name == name)
    }

    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend(self.version.to_le_bytes());
        put_count(&mut bytes, self.maps.len());
        for map in &self.maps {
            put_name(&mut bytes, &map.name);
            for described in [&map.key, &map.value] {
                bytes.extend(described.size.to_le_bytes());
                put_count(&mut bytes, described.fields.len());
                for field in &described.fields {
                    put_name(&mut bytes, &field.name);
                    for number in [field.offset, field.size, field.element] {
                        bytes.extend(number.to_le_bytes());
                    }
                }
            }
        }
        bytes
    }

    /// From bytes; `None`: they are no description that this daemon can read.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        if reader.array()? != *MAGIC || u32::from_le_bytes(reader.array()?) != FORMAT {
            return None;
        }
        let version = u32::from_le_bytes(reader.array()?);
        let maps = (0..reader.number()?).map(|_| reader.map()).collect::<Option<_>>()?;
        Some(Self { version, maps })
    }
}

fn put_count(bytes: &mut Vec<u8>, count: usize) {
    bytes.extend(u16::try_from(count).unwrap_or(u16::MAX).to_le_bytes());
}

fn put_name(bytes: &mut Vec<u8>, name: &str) {
    bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    bytes.extend(name.bytes().take(u8::MAX.into()));
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn number(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn name(&mut self) -> Option<String> {
        let [length] = self.array()?;
        let (name, rest) = self.0.split_at_checked(length.into())?;
        self.0 = rest;
        std::str::from_utf8(name).ok().map(str::to_owned)
    }

    fn map(&mut self) -> Option<DescribedMap> {
        Some(DescribedMap { name: self.name()?, key: self.described()?, value: self.described()? })
    }

    fn described(&mut self) -> Option<Described> {
        let size = self.number()?;
        let fields = (0..self.number()?).map(|_| self.field()).collect::<Option<_>>()?;
        Some(Described { size, fields })
    }

    fn field(&mut self) -> Option<Field> {
        Some(Field {
            name: self.name()?,
            offset: self.number()?,
            size: self.number()?,
            element: self.number()?,
        })
    }
}

/// Writes this daemon's layout into the map `LAYOUT` that is pinned in a directory of its maps.
pub fn write(maps_dir: &Path) -> Result<(), MigrateError> {
    let mut bytes = Description::own().encode();
    bytes.resize(LAYOUT_BYTES, 0);
    let map = RawMap::open(&maps_dir.join(MAP))
        .map_err(|source| MigrateError::Open { map: MAP.to_owned(), source })?;
    map.write(&0_u32.to_ne_bytes(), &mut bytes).map_err(|source| MigrateError::Io {
        operation: "write",
        map: MAP.to_owned(),
        source,
    })
}

/// The layout that is described in a directory of pinned maps.
pub fn read(maps_dir: &Path) -> Result<Description, MigrateError> {
    let map = RawMap::open(&maps_dir.join(MAP))
        .map_err(|source| MigrateError::Open { map: MAP.to_owned(), source })?;
    let bytes = map.read(&0_u32.to_ne_bytes()).map_err(|source| MigrateError::Io {
        operation: "read",
        map: MAP.to_owned(),
        source,
    })?;
    Description::decode(&bytes).ok_or(MigrateError::NotDescribed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn f10_the_own_description_fits_its_map_and_reads_back() {
        let own = Description::own();
        let mut bytes = own.encode();
        assert!(bytes.len() <= LAYOUT_BYTES / 2, "{} bytes: half of it is for later", bytes.len());
        bytes.resize(LAYOUT_BYTES, 0);
        assert_eq!(Description::decode(&bytes), Some(own));
    }

    #[test]
    fn f10_what_is_no_description_is_not_taken_for_one() {
        let bytes = Description::own().encode();
        for length in 0..bytes.len() {
            assert_eq!(Description::decode(&bytes[..length]), None, "{length}");
        }
        assert_eq!(Description::decode(&[0; LAYOUT_BYTES]), None, "a map that nobody wrote");
        let mut later = bytes;
        later[4] = 2;
        assert_eq!(Description::decode(&later), None, "another format");
    }

    proptest! {
        #[test]
        fn f10_no_bytes_do_harm(at in 0..2000_usize, with in prop::collection::vec(any::<u8>(), 1..40)) {
            let mut bytes = Description::own().encode();
            let at = at.min(bytes.len());
            bytes.splice(at..(at + with.len()).min(bytes.len()), with);
            let _whatever = Description::decode(&bytes);
        }
    }
}
