//! The second layer, in the bridge itself: should the packet path ever be absent from a port, its
//! isolation still stands between guests.

use rtnetlink::{
    Handle, LinkBridgePort, LinkMessageBuilder,
    packet_route::{
        AddressFamily,
        link::InfoBridgePort,
        neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
    },
};

use super::NetlinkError;
use crate::model::{inventory::Mac, link::PortSettings};

/// Applies settings to a port of a bridge.
pub async fn set(handle: &Handle, ifindex: u32, port: PortSettings) -> Result<(), NetlinkError> {
    let message = [
        InfoBridgePort::Isolated(port.isolated),
        InfoBridgePort::Learning(port.learning),
        InfoBridgePort::UnicastFlood(port.unicast_flood),
        InfoBridgePort::MulticastFlood(port.multicast_flood),
    ]
    .into_iter()
    .fold(LinkBridgePort::new(ifindex), LinkMessageBuilder::<LinkBridgePort>::append_info_data)
    .build();
    handle
        .link()
        .set_port(message)
        .execute()
        .await
        .map_err(NetlinkError::request("set the bridge port", ifindex))
}

/// Forgets behind which port a MAC address is; not known is as good.
pub async fn drop_mac(handle: &Handle, ifindex: u32, mac: Mac) -> Result<(), NetlinkError> {
    let mut entry = NeighbourMessage::default();
    entry.header.family = AddressFamily::Bridge;
    entry.header.ifindex = ifindex;
    // NTF_MASTER: the bridge's table, not the device's own.
    entry.header.flags = NeighbourFlags::Controller;
    entry.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
    match handle.neighbours().del(entry).execute().await {
        Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::ENOENT => Ok(()),
        outcome => outcome.map_err(NetlinkError::request("remove an FDB entry", ifindex)),
    }
}

/// Tells the bridge behind which port a MAC address is: with learning off, nobody else does.
pub async fn set_mac(handle: &Handle, ifindex: u32, mac: Mac) -> Result<(), NetlinkError> {
    handle
        .neighbours()
        .add_bridge(ifindex, &mac)
        .state(NeighbourState::Noarp)
        // NTF_MASTER: the bridge's table, not the device's own.
        .flags(NeighbourFlags::Controller)
        .replace()
        .execute()
        .await
        .map_err(NetlinkError::request("add a static FDB entry", ifindex))
}
