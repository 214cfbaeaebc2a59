//! The table of links, built from netlink messages: pure, so that event orders can be tested.

use std::{collections::BTreeSet, net::IpAddr};

use rtnetlink::packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressMessage},
    link::{InfoBridgePort, InfoKind, InfoPortData, LinkAttribute, LinkInfo, LinkMessage},
};

use crate::model::link::{Link, LinkKind, Links, PortSettings};

/// The links of one namespace, and which of them need a closer look.
#[derive(Debug, Default)]
pub(super) struct Table {
    links: Links,
    /// Ask the kernel for this link again.
    pub(super) refresh: BTreeSet<u32>,
    /// veths whose peer's MAC address should be read in the peer's namespace.
    pub(super) peers: BTreeSet<u32>,
}

impl Table {
    pub(super) fn links(&self) -> &Links {
        &self.links
    }

    /// Takes in `RTM_NEWLINK`; says whether this is a veth not seen before.
    pub(super) fn link(&mut self, message: &LinkMessage) -> bool {
        let ifindex = message.header.index;
        if message.header.interface_family == AddressFamily::Bridge {
            // A port's view: not the whole link. The whole one tells.
            self.refresh.insert(ifindex);
            return false;
        }
        let mut link = parse(message);
        let known = self.links.get(&ifindex);
        if let Some(known) = known {
            link.ipv4.clone_from(&known.ipv4);
            link.ipv6.clone_from(&known.ipv6);
            if (known.peer, known.kind) == (link.peer, link.kind) {
                link.peer_mac = known.peer_mac;
            }
        }
        let fresh_veth = known.is_none() && link.kind == LinkKind::Veth;
        if link.kind == LinkKind::Veth {
            self.pair_up(&mut link);
        }
        self.links.insert(ifindex, link);
        fresh_veth
    }

    /// A veth's peer is beside it, or in another namespace where it has to be asked for.
    fn pair_up(&mut self, link: &mut Link) {
        let Some(peer) = link.peer else { return };
        if link.peer_netns.is_some() {
            self.peers.insert(link.ifindex);
            return;
        }
        if let Some(peer) = self.links.get_mut(&peer)
            && peer.peer == Some(link.ifindex)
            && peer.peer_netns.is_none()
        {
            link.peer_mac = Some(peer.mac);
            peer.peer_mac = Some(link.mac);
        }
    }

    /// Takes in `RTM_DELLINK`.
    pub(super) fn unlink(&mut self, message: &LinkMessage) {
        let ifindex = message.header.index;
        if message.header.interface_family == AddressFamily::Bridge {
            // The port left its bridge; the link itself may live on.
            self.refresh.insert(ifindex);
            return;
        }
        self.remove(ifindex);
    }

    /// Forgets a link. Its peer, if it stays, now has a peer elsewhere: look at it anew.
    pub(super) fn remove(&mut self, ifindex: u32) {
        self.refresh.remove(&ifindex);
        self.peers.remove(&ifindex);
        let Some(link) = self.links.remove(&ifindex) else { return };
        if link.peer_netns.is_none()
            && let Some(peer) = link.peer
            && self.links.contains_key(&peer)
        {
            self.refresh.insert(peer);
        }
    }

    /// Takes in `RTM_NEWADDR` or `RTM_DELADDR`.
    pub(super) fn address(&mut self, message: &AddressMessage, present: bool) {
        let Some(link) = self.links.get_mut(&message.header.index) else { return };
        // IFA_LOCAL is the interface's own address; IFA_ADDRESS alone for IPv6.
        let local = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
        let address = local.or_else(|| {
            message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            })
        });
        match address {
            Some(IpAddr::V4(address)) => set(&mut link.ipv4, address, present),
            Some(IpAddr::V6(address)) => set(&mut link.ipv6, address, present),
            None => {}
        }
    }

    /// The peer's own namespace said which MAC address it has.
    pub(super) fn peer_mac(&mut self, ifindex: u32, mac: Option<[u8; 6]>) {
        if let (Some(link), Some(mac)) = (self.links.get_mut(&ifindex), mac) {
            link.peer_mac = Some(mac);
        }
    }

    /// Replaces everything by a dump; returns the veths not seen before.
    pub(super) fn replace(
        &mut self,
        links: &[LinkMessage],
        addresses: &[AddressMessage],
    ) -> Vec<u32> {
        let seen: BTreeSet<u32> = links.iter().map(|message| message.header.index).collect();
        let gone: Vec<u32> =
            self.links.keys().filter(|ifindex| !seen.contains(ifindex)).copied().collect();
        for ifindex in gone {
            self.remove(ifindex);
        }
        let fresh =
            links.iter().filter(|m| self.link(m)).map(|m| m.header.index).collect::<Vec<_>>();
        for link in self.links.values_mut() {
            link.ipv4.clear();
            link.ipv6.clear();
        }
        for message in addresses {
            self.address(message, true);
        }
        fresh
    }
}

fn set<T: PartialEq + Ord>(list: &mut Vec<T>, item: T, present: bool) {
    list.retain(|other| *other != item);
    if present {
        list.push(item);
        list.sort();
    }
}

fn parse(message: &LinkMessage) -> Link {
    let mut link = Link {
        ifindex: message.header.index,
        name: String::new(),
        kind: LinkKind::Other,
        master: None,
        mac: [0; 6],
        peer: None,
        peer_netns: None,
        peer_mac: None,
        port: None,
        ipv4: Vec::new(),
        ipv6: Vec::new(),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(mac) => link.mac = mac_of(mac).unwrap_or_default(),
            LinkAttribute::Controller(master) => link.master = Some(*master).filter(|m| *m != 0),
            LinkAttribute::Link(peer) => link.peer = Some(*peer),
            LinkAttribute::LinkNetNsId(id) => link.peer_netns = Some(*id),
            LinkAttribute::LinkInfo(infos) => link_info(&mut link, infos),
            _ => {}
        }
    }
    if link.kind != LinkKind::Veth {
        (link.peer, link.peer_netns) = (None, None);
    }
    link
}

fn link_info(link: &mut Link, infos: &[LinkInfo]) {
    for info in infos {
        match info {
            LinkInfo::Kind(InfoKind::Bridge) => link.kind = LinkKind::Bridge,
            LinkInfo::Kind(InfoKind::Veth) => link.kind = LinkKind::Veth,
            LinkInfo::PortData(InfoPortData::BridgePort(port)) => {
                link.port = Some(port_settings(port));
            }
            _ => {}
        }
    }
}

/// What is not said counts as the open setting, so that it gets closed.
fn port_settings(infos: &[InfoBridgePort]) -> PortSettings {
    let mut port = PortSettings {
        isolated: false,
        learning: true,
        unicast_flood: true,
        multicast_flood: true,
    };
    for info in infos {
        match info {
            InfoBridgePort::Isolated(on) => port.isolated = *on,
            InfoBridgePort::Learning(on) => port.learning = *on,
            InfoBridgePort::UnicastFlood(on) => port.unicast_flood = *on,
            InfoBridgePort::MulticastFlood(on) => port.multicast_flood = *on,
            _ => {}
        }
    }
    port
}

/// The MAC address in an attribute's bytes.
pub(super) fn mac_of(bytes: &[u8]) -> Option<[u8; 6]> {
    bytes.try_into().ok()
}

/// The MAC address that a link message carries.
pub(super) fn message_mac(message: &LinkMessage) -> Option<[u8; 6]> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(mac) => mac_of(mac),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn veth(ifindex: u32, peer: u32, netns: Option<i32>, mac: u8) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = ifindex;
        message.attributes = vec![
            LinkAttribute::IfName(format!("v{ifindex}")),
            LinkAttribute::Address(vec![2, 0, 0, 0, 0, mac]),
            LinkAttribute::Link(peer),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth)]),
        ];
        message.attributes.extend(netns.map(LinkAttribute::LinkNetNsId));
        message
    }

    #[test]
    fn peers_beside_each_other_know_their_mac_addresses() {
        let mut table = Table::default();
        assert!(table.link(&veth(7, 8, None, 7)));
        assert!(table.link(&veth(8, 7, None, 8)));
        assert!(!table.link(&veth(8, 7, None, 9)), "known by now");
        assert_eq!(table.links()[&7].peer_mac, Some([2, 0, 0, 0, 0, 9]));
        assert_eq!(table.links()[&8].peer_mac, Some([2, 0, 0, 0, 0, 7]));
    }

    #[test]
    fn a_peer_that_left_is_asked_for_in_its_namespace() {
        let mut table = Table::default();
        table.link(&veth(7, 8, None, 7));
        table.link(&veth(8, 7, None, 8));
        table.unlink(&veth(7, 8, None, 7));
        assert_eq!(table.refresh, BTreeSet::from([8]));
        assert_eq!(table.links()[&8].peer_mac, Some([2, 0, 0, 0, 0, 7]), "kept until then");
        table.link(&veth(8, 7, Some(0), 8));
        assert_eq!(table.peers, BTreeSet::from([8]));
        table.peer_mac(8, Some([2, 66, 0, 0, 0, 1]));
        assert_eq!(table.links()[&8].peer_mac, Some([2, 66, 0, 0, 0, 1]));
    }

    #[test]
    fn a_port_that_leaves_its_bridge_is_not_gone() {
        let mut table = Table::default();
        table.link(&veth(8, 7, Some(0), 8));
        let mut port = veth(8, 7, None, 8);
        port.header.interface_family = AddressFamily::Bridge;
        table.unlink(&port);
        assert!(table.links().contains_key(&8));
        assert_eq!(table.refresh, BTreeSet::from([8]));
    }

    #[test]
    fn a_dump_replaces_the_table() {
        let mut table = Table::default();
        table.link(&veth(7, 1, Some(0), 7));
        let fresh = table.replace(&[veth(9, 1, Some(1), 9)], &[]);
        assert_eq!(fresh, [9]);
        let names: Vec<_> = table.links().values().map(|link| link.name.as_str()).collect();
        assert_eq!(names, ["v9"]);
    }
}
