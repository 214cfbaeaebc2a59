//! Audit path 2: ids become names. An owner is known for a while after it is gone, for its last
//! events are read later than it ends.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use enforcer_common::{
    abi::{endpoint::Role, event::EventKind},
    packet,
};

use super::{
    decode::Decoded,
    record::{Body, Subject, Traffic, text},
};
use crate::model::owner::{Owner, Owners};

/// How long an owner is known after it is gone.
pub const MEMORY: Duration = Duration::from_mins(1);

/// The owners that are, and those that were a moment ago.
#[derive(Debug, Default)]
pub struct Names {
    current: Arc<Owners>,
    gone: BTreeMap<u32, (Owner, u64)>,
}

impl Names {
    /// Takes in the owners of now.
    pub fn update(&mut self, owners: &Arc<Owners>, now_ns: u64) {
        if Arc::ptr_eq(&self.current, owners) {
            return;
        }
        for (id, owner) in self.current.iter().filter(|(id, _)| !owners.contains_key(id)) {
            self.gone.insert(*id, (owner.clone(), now_ns));
        }
        self.current = Arc::clone(owners);
    }

    /// Takes in ids that something was counted for: one that nobody knows is gone, since a daemon
    /// before this one.
    pub fn notice(&mut self, ids: impl Iterator<Item = u32>, now_ns: u64) {
        for id in ids.filter(|id| !self.current.contains_key(id)) {
            self.gone.entry(id).or_insert_with(|| (Owner::nobody(), now_ns));
        }
    }

    /// Forgets those that are gone for long; returns their ids.
    pub fn forget(&mut self, now_ns: u64) -> Vec<u32> {
        let memory = u64::try_from(MEMORY.as_nanos()).unwrap_or(u64::MAX);
        let expired = |since: u64| now_ns.saturating_sub(since) > memory;
        let ids: Vec<u32> =
            self.gone.iter().filter(|(_, (_, since))| expired(*since)).map(|(id, _)| *id).collect();
        for id in &ids {
            self.gone.remove(id);
        }
        // One that came back after all is not forgotten.
        ids.into_iter().filter(|id| !self.current.contains_key(id)).collect()
    }

    /// What is known of an owner.
    #[must_use]
    pub fn subject(&self, id: u32) -> Subject {
        let owner = self.current.get(&id).or_else(|| self.gone.get(&id).map(|(owner, _)| owner));
        let Some(owner) = owner else {
            return Subject { endpoint: id, role: "unknown".to_owned(), ..Subject::default() };
        };
        Subject {
            network: text(&owner.network),
            endpoint: id,
            container_id: owner.container.as_deref().map(text),
            container: text(&owner.name),
            interface: text(&owner.interface),
            role: owner.role.map_or("network", role_name).to_owned(),
        }
    }

    /// The record of an event.
    #[must_use]
    pub fn enrich(&self, decoded: &Decoded) -> Body {
        let event = &decoded.event;
        let is_ip = event.family != 0;
        let has_ports = is_ip
            && matches!(event.protocol, packet::TCP | packet::UDP | packet::ICMP | packet::ICMPV6);
        let traffic = Box::new(Traffic {
            subject: self.subject(event.owner),
            hook: decoded.hook.name().to_owned(),
            verdict: match decoded.kind {
                EventKind::FlowOpened => "allow",
                EventKind::Denied => "deny",
            }
            .to_owned(),
            reason: decoded.reason.map(|reason| reason.name().to_owned()),
            rule: Some(event.rule).filter(|rule| *rule != 0),
            ingress_ifindex: event.ingress_ifindex,
            frame_len: event.frame_len,
            ethertype: format!("0x{:04x}", event.ethertype),
            source_mac: mac(event.source_mac),
            destination_mac: mac(event.destination_mac),
            source: address(event.source, event.family, event.ethertype),
            destination: address(event.destination, event.family, event.ethertype),
            protocol: is_ip.then_some(event.protocol),
            source_port: has_ports.then_some(event.source_port),
            destination_port: has_ports.then_some(event.destination_port),
            tcp_flags: (is_ip && event.protocol == packet::TCP).then_some(event.tcp_flags),
        });
        match decoded.kind {
            EventKind::FlowOpened => Body::FlowOpened(traffic),
            EventKind::Denied => Body::Denied(traffic),
        }
    }
}

/// The word for a role.
#[must_use]
pub const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Unknown => "unknown",
        Role::Guest => "guest",
        Role::Hub => "hub",
        Role::Other => "other",
    }
}

/// A MAC address as people write it.
#[must_use]
pub fn mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn address(bytes: [u8; 16], family: packet::Family, ethertype: u16) -> Option<String> {
    const ARP: u16 = 0x0806;
    let [a, b, c, d, ..] = bytes;
    match family {
        packet::IPV4 => Some(Ipv4Addr::new(a, b, c, d).to_string()),
        packet::IPV6 => Some(Ipv6Addr::from(bytes).to_string()),
        _ if ethertype == ARP && bytes != [0; 16] => Some(Ipv4Addr::new(a, b, c, d).to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use enforcer_common::abi::{
        event::{Event, Hook},
        verdict::DropReason,
    };

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn owner(name: &str) -> Owner {
        Owner {
            network: "guests".to_owned(),
            ifindex: 20,
            interface: "veth0".to_owned(),
            role: Some(Role::Guest),
            container: Some("abc".to_owned()),
            name: name.to_owned(),
        }
    }

    #[test]
    fn an_owner_is_known_for_a_minute_after_it_is_gone() {
        let mut names = Names::default();
        names.update(&Arc::new([(7, owner("ann"))].into()), 0);
        names.update(&Arc::new([(8, owner("ben"))].into()), 10 * SECOND);
        assert_eq!(
            (names.subject(7).container, names.subject(8).container),
            ("ann".into(), "ben".into())
        );
        assert_eq!(names.forget(69 * SECOND), [] as [u32; 0]);
        assert_eq!(names.forget(71 * SECOND), [7]);
        assert_eq!(names.subject(7).role, "unknown");
    }

    #[test]
    fn fields_that_say_nothing_are_left_out() {
        // Ethertype, family, protocol -> source, source port.
        let cases = [
            (0x0800, 4, 6, Some("10.0.0.2"), Some(5)),
            (0x0800, 4, 47, Some("10.0.0.2"), None),
            (0x86dd, 6, 17, Some("a00:2::"), Some(5)),
            (0x0806, 0, 0, Some("10.0.0.2"), None),
            (0x88cc, 0, 0, None, None),
        ];
        for (ethertype, family, protocol, source, port) in cases {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&[10, 0, 0, 2]);
            let event = Event {
                ethertype,
                family,
                protocol,
                source: bytes,
                source_port: 5,
                ..Event::default()
            };
            let decoded = Decoded {
                kind: EventKind::Denied,
                hook: Hook::FromGuest,
                reason: Some(DropReason::Policy),
                event,
            };
            let Body::Denied(traffic) = Names::default().enrich(&decoded) else { panic!("kind") };
            assert_eq!((traffic.source.as_deref(), traffic.source_port), (source, port));
        }
    }
}
