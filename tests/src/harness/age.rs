//! Makes a flow older. The packet path reads the machine's clock, which no test may set: what it
//! remembers of a flow is moved back instead.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, bail};
use aya::maps::{HashMap, Map, MapData, loaded_maps};
use enforcer_common::{
    abi::flow::{FlowKey, FlowRecord},
    packet::{IPV4, IPV6, widen},
};

/// A flow of a guest, in the table of flows that has it.
pub struct LiveFlow {
    table: HashMap<MapData, FlowKey, FlowRecord>,
    key: FlowKey,
}

/// Padded to 16 bytes, as keys have them.
fn bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => widen(address.octets()),
        IpAddr::V6(address) => address.octets(),
    }
}

impl LiveFlow {
    /// Finds the only one between these two ends, whoever loaded its table.
    pub fn find(protocol: u8, guest: SocketAddr, peer: SocketAddr) -> Result<Self> {
        let is_meant = |key: &FlowKey| {
            key.protocol == protocol
                && key.family == if guest.is_ipv4() { IPV4 } else { IPV6 }
                && (key.local, key.local_port) == (bytes(guest.ip()), guest.port())
                && (key.remote, key.remote_port) == (bytes(peer.ip()), peer.port())
        };
        let mut found = None;
        for map in loaded_maps() {
            let map = map?;
            if map.name_as_str() != Some("FLOWS") {
                continue;
            }
            let map = Map::HashMap(MapData::from_id(map.id())?);
            let table = HashMap::<_, FlowKey, FlowRecord>::try_from(map)?;
            let key = table.keys().filter_map(Result::ok).find(is_meant);
            if let Some(key) = key
                && found.replace(Self { table, key }).is_some()
            {
                bail!("two tables have a flow of {guest} and {peer}");
            }
        }
        found.with_context(|| format!("no flow of {guest} and {peer}"))
    }

    /// What the packet path remembers of it.
    pub fn record(&self) -> Result<FlowRecord> {
        Ok(self.table.get(&self.key, 0)?)
    }

    /// Moves all that happened to it so many seconds into the past.
    pub fn age(&mut self, seconds: u64) -> Result<()> {
        let record = self.record()?;
        let back = |ns: u64| ns.saturating_sub(seconds * 1_000_000_000);
        let (last_seen_ns, opened_ns) = (back(record.last_seen_ns), back(record.opened_ns));
        Ok(self.table.insert(self.key, FlowRecord { last_seen_ns, opened_ns, ..record }, 0)?)
    }
}
