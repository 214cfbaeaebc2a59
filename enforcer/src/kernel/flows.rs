//! Map `FLOWS`, read beside the packet path: neither it nor the control loop waits.

use std::{io, sync::Arc};

use aya::{
    Ebpf,
    maps::{Map, MapData, MapError},
};
use enforcer_common::abi::flow::{FlowKey, FlowRecord};

use super::{
    load::LoadError,
    raw::{RawMap, typed},
};

const NAME: &str = "FLOWS";

/// The flow table, by a handle of its own.
#[derive(Clone, Debug)]
pub struct FlowTable(Arc<RawMap>);

impl FlowTable {
    /// Of a loaded object, whose own handle stays there.
    pub(super) fn open(ebpf: &Ebpf) -> Result<Self, LoadError> {
        let map = match ebpf.map(NAME) {
            Some(Map::HashMap(map)) => again(map),
            _ => return Err(LoadError::NoMap { map: NAME, source: None }),
        };
        map.map(|map| Self(Arc::new(map)))
            .map_err(|source| LoadError::NoMap { map: NAME, source: Some(source) })
    }

    /// Hands each flow to `visit` until it has seen enough. Those that begin or end meanwhile may be
    /// missing. Memory does not grow with the table.
    pub fn each(&self, visit: &mut dyn FnMut(&FlowKey, &FlowRecord) -> bool) -> io::Result<()> {
        self.0.each(&mut |key, value| match (typed::<FlowKey>(key), typed::<FlowRecord>(value)) {
            (Some(key), Some(flow)) => visit(&key, &flow),
            // Sizes are the map's own.
            _ => true,
        })
    }
}

fn again(map: &MapData) -> Result<RawMap, MapError> {
    RawMap::new(MapData::from_id(map.info()?.id())?)
}
