//! Carries the maps of another layout, older or newer, over to this daemon's.
//!
//! ```text
//! open the source ─► control: who is who, policies, rules ─► flows ─► links switch to the new programs
//!                                                        └► flows again, counters ─► the source goes
//! ```
//! The old programs go on until the links switch, so flows are carried twice: what the first pass
//! could not see yet, or saw change, the second one adds. Nothing here removes or opens anything.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::Path,
};

use aya::maps::MapError;
use enforcer_common::abi::{
    counter::Counter,
    endpoint::Endpoint,
    flow::{FlowKey, FlowRecord},
    import::{Import, ImportCounter, Outcome},
    layout::{MAPS, MapLayout},
};

use super::{
    KernelError,
    convert::{Conversion, Incompatible},
    import::Importer,
    layout,
    raw::{Entry, RawMap, typed},
};

const ENDPOINTS: &str = "ENDPOINTS";
const FLOWS: &str = "FLOWS";
const COUNTERS: &str = "COUNTERS";

/// The maps of another layout cannot be carried over: everything is built anew, closed.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// A map is not there, or is none.
    #[error("cannot open map {map}")]
    Open {
        /// Its name.
        map: String,
        /// Why.
        #[source]
        source: MapError,
    },
    /// A map cannot be read or written.
    #[error("cannot {operation} map {map}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// Its name.
        map: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nothing says what the maps look like.
    #[error("map LAYOUT holds no description that this version can read")]
    NotDescribed,
    /// The description is not of these maps.
    #[error("map {map} is not as map LAYOUT describes it")]
    Contradiction {
        /// Its name.
        map: String,
    },
    /// Flows could not be imported.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// Entries of control maps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Carried over.
    pub entries: u64,
    /// That this layout cannot hold.
    pub cut: u64,
}

/// Flows of one pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Migrated {
    /// Flows that the table has now and had not before this pass.
    pub flows: u64,
    /// Live flows that it has not after this pass; the last pass counts.
    pub cut: u64,
}

/// Pinned maps of another layout.
#[derive(Debug)]
pub struct Source {
    version: u32,
    maps: BTreeMap<&'static str, SourceMap>,
    /// What the last pass read of each flow that the table took.
    taken: HashMap<Vec<u8>, Vec<u8>>,
}

#[derive(Debug)]
struct SourceMap {
    raw: RawMap,
    /// `None`: this layout can hold nothing of it.
    conversion: Option<(Conversion, Conversion)>,
}

impl Source {
    /// Opens the maps that are pinned in a directory.
    pub fn open(dir: &Path) -> Result<Self, MigrateError> {
        let description = layout::read(dir)?;
        let mut maps = BTreeMap::new();
        for own in MAPS {
            // A map that the other layout has not: nothing to carry.
            let Some(described) = description.map(own.name) else { continue };
            let raw = open(dir, own.name)?;
            let sizes = (described.key.size.into(), described.value.size.into());
            if (raw.key_size, raw.value_size) != sizes {
                return Err(MigrateError::Contradiction { map: own.name.to_owned() });
            }
            let conversion = conversion(described, own)
                .inspect_err(|why| {
                    tracing::warn!(map = own.name, %why, "the maps' other layout is not understood");
                })
                .ok();
            maps.insert(own.name, SourceMap { raw, conversion });
        }
        Ok(Self { version: description.version, maps, taken: HashMap::new() })
    }

    /// ABI version of the layout.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// Puts what control wrote into this daemon's maps, pinned in `target`; what is there already
    /// stays. Each endpoint gets an empty usage entry: flows are counted as they come.
    pub fn control(&self, target: &Path) -> Result<Carried, MigrateError> {
        let mut carried = Carried::default();
        for own in MAPS {
            match own.name {
                FLOWS | COUNTERS => {}
                name => carried += self.carry(name, &open(target, name)?)?,
            }
        }
        Ok(carried)
    }

    /// Imports the flows. Endpoints and policies must be in place.
    pub fn flows(&mut self, importer: &mut Importer) -> Result<Migrated, MigrateError> {
        let Some(map) = self.maps.get(FLOWS) else { return Ok(Migrated::default()) };
        let interfaces = self.interfaces()?;
        let mut known = std::mem::take(&mut self.taken);
        let mut changed = Vec::new();
        let mut unreadable = 0;
        for (key, value) in map.raw.list().map_err(failed("list", FLOWS))? {
            let before = known.remove(&key);
            if before.as_ref() == Some(&value) {
                self.taken.insert(key, value);
            } else if let Some((flow, record)) = map.read::<FlowKey, FlowRecord>(&key, &value) {
                let before = before.and_then(|before| map.read(&key, &before));
                let record = growth(&record, before.map(|(_, before): (FlowKey, _)| before));
                let ifindex = interfaces.get(&flow.endpoint).copied().unwrap_or_default();
                changed.push(((key, value), Import { key: flow, ifindex, record }));
            } else {
                unreadable += 1;
            }
        }
        let (entries, imports): (Vec<Entry>, Vec<Import>) = changed.into_iter().unzip();
        let mut entries = entries.into_iter();
        let taken = &mut self.taken;
        let outcomes = importer.import_each(imports, |_import, outcome| {
            let in_table = matches!(outcome, Outcome::Taken | Outcome::Merged | Outcome::Newer);
            taken.extend(entries.next().filter(|_| in_table));
        })?;
        tracing::debug!(?outcomes, unreadable, "flows of another layout");
        Ok(Migrated { flows: outcomes.taken(), cut: outcomes.refused() + unreadable })
    }

    /// Moves the counts over. The old programs must not run any more; what was moved is gone from the
    /// source, so that nothing is counted twice, whenever this is broken off. Returns how many.
    pub fn counters(&mut self, importer: &mut Importer) -> Result<u64, MigrateError> {
        let Some(map) = self.maps.get(COUNTERS) else { return Ok(0) };
        let mut moved = 0;
        for (key, values) in map.raw.list().map_err(failed("list", COUNTERS))? {
            let each_cpu = values.chunks_exact(map.raw.value_size.next_multiple_of(8));
            let sum = each_cpu
                .filter_map(|value| map.read(&key, value.get(..map.raw.value_size)?))
                .reduce(|(key, sum): (_, Counter), (_, counter)| (key, sum.plus(&counter)));
            if let Some((key, counter)) = sum {
                moved += importer.add_counters([ImportCounter { key, counter }])?;
            }
            map.raw.remove(&key).map_err(failed("remove an entry of", COUNTERS))?;
        }
        Ok(moved)
    }

    /// Interface of each endpoint, by its id.
    fn interfaces(&self) -> Result<HashMap<u32, u32>, MigrateError> {
        let Some(map) = self.maps.get(ENDPOINTS) else { return Ok(HashMap::new()) };
        let entries = map.raw.list().map_err(failed("list", ENDPOINTS))?;
        let read = entries.iter().filter_map(|(key, value)| map.read::<u32, Endpoint>(key, value));
        Ok(read.map(|(ifindex, endpoint)| (endpoint.id, ifindex)).collect())
    }

    fn carry(&self, name: &'static str, target: &RawMap) -> Result<Carried, MigrateError> {
        let mut carried = Carried::default();
        let Some(map) = self.maps.get(name) else { return Ok(carried) };
        for (key, value) in map.raw.list().map_err(failed("list", name))? {
            if map.raw.is_array() && value.iter().all(|byte| *byte == 0) {
                continue;
            }
            let Some((key, mut value)) = map.convert(&key, &value) else {
                carried.cut += 1;
                continue;
            };
            if name == "USAGE" {
                value.fill(0);
            }
            put(target, &key, &mut value).map_err(failed("write", name))?;
            carried.entries += 1;
        }
        Ok(carried)
    }
}

impl SourceMap {
    fn convert(&self, key: &[u8], value: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let (keys, values) = self.conversion.as_ref()?;
        Some((keys.convert(key)?, values.convert(value)?))
    }

    /// As this layout's own types.
    fn read<K: aya::Pod, V: aya::Pod>(&self, key: &[u8], value: &[u8]) -> Option<(K, V)> {
        let (key, value) = self.convert(key, value)?;
        Some((typed(&key)?, typed(&value)?))
    }
}

impl std::ops::AddAssign for Carried {
    fn add_assign(&mut self, other: Self) {
        self.entries += other.entries;
        self.cut += other.cut;
    }
}

fn conversion(
    described: &layout::DescribedMap,
    own: &MapLayout,
) -> Result<(Conversion, Conversion), Incompatible> {
    let key = Conversion::new(&described.key, &own.key)?;
    Ok((key, Conversion::new(&described.value, &own.value)?))
}

/// Never in place of what this layout's maps hold: that is as new or newer.
fn put(target: &RawMap, key: &[u8], value: &mut [u8]) -> io::Result<()> {
    if target.is_array() {
        let is_empty = target.read(key)?.iter().all(|byte| *byte == 0);
        return if is_empty { target.write(key, value) } else { Ok(()) };
    }
    target.create(key, value).map(drop)
}

/// The record, with what its counters grew by since it was imported: the table adds them.
fn growth(record: &FlowRecord, known: Option<FlowRecord>) -> FlowRecord {
    let Some(known) = known.filter(|known| known.opened_ns == record.opened_ns) else {
        return *record;
    };
    FlowRecord {
        packets_out: record.packets_out.saturating_sub(known.packets_out),
        bytes_out: record.bytes_out.saturating_sub(known.bytes_out),
        packets_in: record.packets_in.saturating_sub(known.packets_in),
        bytes_in: record.bytes_in.saturating_sub(known.bytes_in),
        ..*record
    }
}

fn open(dir: &Path, map: &str) -> Result<RawMap, MigrateError> {
    RawMap::open(&dir.join(map))
        .map_err(|source| MigrateError::Open { map: map.to_owned(), source })
}

fn failed(operation: &'static str, map: &str) -> impl FnOnce(io::Error) -> MigrateError {
    let map = map.to_owned();
    move |source| MigrateError::Io { operation, map, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n7_only_what_a_flow_grew_by_is_imported_the_second_time() {
        let then =
            FlowRecord { opened_ns: 5, packets_in: 10, bytes_out: 7, ..FlowRecord::default() };
        let now = FlowRecord { packets_in: 12, bytes_out: 7, state: 3, ..then };
        let grown = growth(&now, Some(then));
        assert_eq!((grown.packets_in, grown.bytes_out, grown.state), (2, 0, 3));
        // Another flow under the same key, and one that is seen for the first time.
        let later = FlowRecord { opened_ns: 6, ..now };
        assert_eq!(growth(&later, Some(then)), later);
        assert_eq!(growth(&now, None), now);
    }
}
