//! The table of links, built from netlink messages: pure, so that event orders can be tested.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use rtnetlink::packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressMessage},
    link::{
        InfoBridgePort, InfoKind, InfoPortData, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
    },
};

use crate::model::link::{Link, LinkKind, Links, OnNet, PortSettings};

/// The links of one namespace, and which of them need a closer look.
#[derive(Debug, Default)]
pub(super) struct Table {
    links: Links,
    /// Every address of each, as the kernel tells them apart: one may be there twice, on two networks.
    addresses: BTreeMap<u32, BTreeMap<Held, OnNet>>,
    /// Ask the kernel for this link again.
    pub(super) refresh: BTreeSet<u32>,
    /// veths whose peer's MAC address should be read in the peer's namespace.
    pub(super) peers: BTreeSet<u32>,
}

/// An address of a link: its own, the one that its network is around, and the length of the prefix.
type Held = (IpAddr, IpAddr, u8);

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
            link.on.clone_from(&known.on);
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
        self.addresses.remove(&ifindex);
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
        // IFA_LOCAL is the interface's own address; IFA_ADDRESS alone for IPv6, and the peer's where
        // there is a peer: the network is around that one.
        let (mut local, mut around, mut broadcast) = (None, None, None);
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(address) => local = Some(*address),
                AddressAttribute::Address(address) => around = Some(*address),
                AddressAttribute::Broadcast(address) => broadcast = Some(*address),
                _ => {}
            }
        }
        let (Some(local), Some(address)) = (local.or(around), around.or(local)) else { return };
        let prefix = message.header.prefix_len;
        let all = self.addresses.entry(link.ifindex).or_default();
        if present {
            all.insert((local, address, prefix), OnNet { address, prefix, broadcast });
        } else {
            all.remove(&(local, address, prefix));
        }
        let own: BTreeSet<IpAddr> = all.keys().map(|(own, ..)| *own).collect();
        link.ipv4 = own.iter().filter_map(as_ipv4).collect();
        link.ipv6 = own.iter().filter_map(as_ipv6).collect();
        link.on = all.values().copied().collect::<BTreeSet<_>>().into_iter().collect();
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
        self.addresses.clear();
        for link in self.links.values_mut() {
            link.ipv4.clear();
            link.ipv6.clear();
            link.on.clear();
        }
        for message in addresses {
            self.address(message, true);
        }
        fresh
    }
}

fn as_ipv4(address: &IpAddr) -> Option<Ipv4Addr> {
    if let IpAddr::V4(address) = address { Some(*address) } else { None }
}

fn as_ipv6(address: &IpAddr) -> Option<Ipv6Addr> {
    if let IpAddr::V6(address) = address { Some(*address) } else { None }
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
        loopback: message.header.flags.contains(LinkFlags::Loopback),
        ipv4: Vec::new(),
        ipv6: Vec::new(),
        on: Vec::new(),
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
    fn an_address_puts_a_link_on_a_network_until_it_goes() {
        let message = |local: [u8; 4], around: [u8; 4], prefix: u8, broadcast: Option<[u8; 4]>| {
            let mut message = AddressMessage::default();
            (message.header.index, message.header.prefix_len) = (7, prefix);
            message.attributes = vec![
                AddressAttribute::Local(IpAddr::from(local)),
                AddressAttribute::Address(IpAddr::from(around)),
            ];
            message.attributes.extend(broadcast.map(|b| AddressAttribute::Broadcast(b.into())));
            message
        };
        let mut table = Table::default();
        table.link(&veth(7, 8, None, 7));
        let lan = message([192, 0, 2, 7], [192, 0, 2, 7], 24, Some([192, 0, 2, 255]));
        let beside = message([192, 0, 2, 8], [192, 0, 2, 8], 24, Some([192, 0, 2, 255]));
        let peer = message([10, 0, 0, 1], [10, 9, 0, 1], 16, None);
        for message in [&lan, &beside, &peer, &lan] {
            table.address(message, true);
        }
        let on = |table: &Table| {
            let on = table.links()[&7].on.iter();
            on.map(|on| (on.address.to_string(), on.prefix, on.broadcast)).collect::<Vec<_>>()
        };
        let broadcast = Some([192, 0, 2, 255].into());
        let (first, second) = (("192.0.2.7".to_owned(), 24, broadcast), "192.0.2.8".to_owned());
        let around = ("10.9.0.1".to_owned(), 16, None);
        assert_eq!(on(&table), [around.clone(), first, (second.clone(), 24, broadcast)]);
        assert_eq!(table.links()[&7].ipv4.len(), 3);
        // A link that changes keeps them; an address that goes takes its own along.
        table.link(&veth(7, 8, None, 7));
        table.address(&lan, false);
        assert_eq!(on(&table), [around, (second, 24, broadcast)]);
        table.replace(&[veth(7, 8, None, 7)], &[]);
        assert!(on(&table).is_empty());
    }

    #[test]
    fn n3_an_address_that_is_there_twice_stays_until_both_have_gone() {
        let message = |local: [u8; 4], around: [u8; 4], prefix: u8| {
            let mut message = AddressMessage::default();
            (message.header.index, message.header.prefix_len) = (7, prefix);
            message.attributes = vec![
                AddressAttribute::Local(IpAddr::from(local)),
                AddressAttribute::Address(IpAddr::from(around)),
            ];
            message
        };
        let mut table = Table::default();
        table.link(&veth(7, 8, None, 7));
        let (own, peer) = ([10, 0, 0, 1], [10, 9, 0, 1]);
        let (narrow, wide) = (message(own, own, 24), message(own, own, 16));
        // Two ends towards the same network.
        let (end, other_end) = (message(own, peer, 16), message([10, 0, 0, 2], peer, 16));
        for message in [&narrow, &wide, &end, &other_end] {
            table.address(message, true);
        }
        assert_eq!(table.links()[&7].ipv4.len(), 2);
        assert_eq!(table.links()[&7].on.len(), 3);
        table.address(&wide, false);
        table.address(&end, false);
        assert_eq!(table.links()[&7].ipv4.len(), 2, "it has the narrow network yet");
        assert_eq!(table.links()[&7].on.len(), 2, "the other end is towards it yet");
        table.address(&narrow, false);
        table.address(&other_end, false);
        let link = &table.links()[&7];
        assert!(link.ipv4.is_empty() && link.on.is_empty(), "{link:?}");
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
