//! Audit path 2: ids become names. An owner is known for a while after it is gone, for its last
//! events are read later than it ends.

mod process;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use enforcer_common::{
    abi::{endpoint::Role, verdict::DropReason},
    decide::{Opener, Origin},
    packet,
};

use super::{
    decode::{Decoded, Ended, Judged},
    queue::{Account, Draft},
    record::{Body, Clock, FlowClosed, Subject, Traffic, text},
    store::digits,
};
use crate::{
    model::owner::{Owner, Owners},
    policy::rule::found,
};

/// How long an owner is known after it is gone: the kernel looks at its last flows within 5 minutes.
pub const MEMORY: Duration = Duration::from_mins(6);

/// The owners that are, and those that were a moment ago.
#[derive(Debug, Default)]
pub struct Names {
    /// Labels that are told.
    labels: Vec<String>,
    current: Arc<Owners>,
    gone: BTreeMap<u32, (Owner, u64)>,
}

impl Names {
    /// Of nobody so far; of the labels of a container these are told.
    #[must_use]
    pub fn new(labels: Vec<String>) -> Self {
        Self { labels, ..Self::default() }
    }

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

    /// Whether the engine is yet to tell whose container an owner is.
    #[must_use]
    pub fn is_awaited(&self, id: u32) -> bool {
        let owner = self.current.get(&id);
        owner.is_some_and(|owner| owner.container.is_some() && !owner.provenance.is_told)
    }

    /// What is known of an owner.
    #[must_use]
    pub fn subject(&self, id: u32) -> Subject {
        let owner = self.current.get(&id).or_else(|| self.gone.get(&id).map(|(owner, _)| owner));
        let Some(owner) = owner else {
            return Subject { endpoint: id, role: "unknown".to_owned(), ..Subject::default() };
        };
        let provenance = &owner.provenance;
        let labels = self
            .labels
            .iter()
            .filter_map(|label| Some((text(label), text(provenance.labels.get(label)?))));
        let labels = labels.collect();
        Subject {
            network: text(&owner.network),
            endpoint: id,
            container_id: owner.container.as_deref().map(text),
            container: text(&owner.name),
            user: provenance.user.as_deref().map(text),
            group: provenance.group.as_deref().map(text),
            server: provenance.server.as_deref().map(text),
            hub: provenance.hub.as_deref().map(text),
            groups: provenance.groups.iter().map(|group| text(group)).collect(),
            client: provenance.client.as_deref().map(text),
            image: provenance.image.as_deref().map(text),
            labels,
            interface: text(&owner.interface),
            role: owner.role.map_or("network", role_name).to_owned(),
        }
    }

    /// An event, ready for the queue.
    #[must_use]
    pub fn draft(&self, decoded: &Decoded, clock: Clock) -> Draft {
        Draft {
            time: clock.rfc3339(decoded.time_ns()),
            mono_ns: decoded.time_ns(),
            body: self.enrich(decoded, clock),
            account: Account::Event(decoded.counter()),
        }
    }

    /// The record of an event.
    #[must_use]
    pub fn enrich(&self, decoded: &Decoded, clock: Clock) -> Body {
        match decoded {
            Decoded::Judged(judged) => self.judged(judged),
            Decoded::Ended(ended) => Body::FlowClosed(Box::new(self.ended(ended, clock))),
            Decoded::Began(began) => Body::Exec(Box::new(self.began(began))),
            Decoded::Refused(refused) => Body::ConnectRefused(Box::new(self.refused(refused))),
            Decoded::SocketDenied(denied) => {
                Body::SocketRefused(Box::new(self.socket_denied(denied)))
            }
        }
    }

    fn judged(&self, judged: &Judged) -> Body {
        let event = &judged.event;
        let (rule, would_deny) = rule(event.rule);
        let is_ip = event.family != 0;
        let has_ports = is_ip
            && matches!(event.protocol, packet::TCP | packet::UDP | packet::ICMP | packet::ICMPV6);
        let traffic = Box::new(Traffic {
            subject: self.subject(event.owner),
            hook: judged.hook.name().to_owned(),
            verdict: if judged.reason.is_some() { "deny" } else { "allow" }.to_owned(),
            reason: judged.reason.map(|reason| reason.name().to_owned()),
            rule,
            would_deny,
            ingress_ifindex: event.ingress_ifindex,
            frame_len: event.frame_len,
            ethertype: ethertype_text(event.ethertype),
            source_mac: mac(event.source_mac),
            destination_mac: mac(event.destination_mac),
            source: address(event.source, event.family, event.ethertype),
            destination: address(event.destination, event.family, event.ethertype),
            protocol: is_ip.then_some(event.protocol),
            source_port: has_ports.then_some(event.source_port),
            destination_port: has_ports.then_some(event.destination_port),
            tcp_flags: (is_ip && event.protocol == packet::TCP).then_some(event.tcp_flags),
        });
        if judged.reason.is_some() { Body::Denied(traffic) } else { Body::FlowOpened(traffic) }
    }

    fn ended(&self, ended: &Ended, clock: Clock) -> FlowClosed {
        let end = &ended.end;
        let opener = Opener::from_value(end.opener);
        let local = (ip(end.local, end.family).to_string(), end.local_port);
        let remote = (ip(end.remote, end.family).to_string(), end.remote_port);
        let sent = (end.packets_out, end.bytes_out);
        let was_sent = (end.packets_in, end.bytes_in);
        let (from, to, forth, back) = if opener == Opener::Endpoint {
            (local, remote, sent, was_sent)
        } else {
            (remote, local, was_sent, sent)
        };
        let (rule, would_deny) = rule(end.rule);
        FlowClosed {
            subject: self.subject(end.owner),
            cause: ended.cause.name().to_owned(),
            opener: opener_name(opener).to_owned(),
            rule,
            would_deny,
            source: from.0,
            destination: to.0,
            protocol: end.protocol,
            source_port: from.1,
            destination_port: to.1,
            start: clock.rfc3339(end.opened_ns),
            end: clock.rfc3339(end.last_seen_ns),
            duration_ns: end.last_seen_ns.saturating_sub(end.opened_ns),
            source_packets: forth.0,
            destination_packets: back.0,
            source_bytes: forth.1,
            destination_bytes: back.1,
        }
    }
}

/// The number of the rule that the kernel tells of, and, where it is only audit mode that let through, why it
/// would have been denied.
fn rule(id: u32) -> (Option<u32>, Option<String>) {
    let (rule, audited) = found(id);
    (rule, audited.then(|| DropReason::Policy.name().to_owned()))
}

/// The word for who opened a flow.
#[must_use]
pub const fn opener_name(opener: Opener) -> &'static str {
    match opener {
        Opener::Endpoint => "guest",
        Opener::Peer(Origin::Host) => "host",
        Opener::Peer(Origin::Hub) => "hub",
        Opener::Peer(Origin::Guest) => "other_guest",
        Opener::Peer(Origin::Beyond) => "beyond",
        Opener::Peer(Origin::Service) => "service",
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
    let mut text = String::with_capacity(18);
    for byte in mac {
        text.extend(digits(byte).map(char::from));
        text.push(':');
    }
    text.pop();
    text
}

fn ethertype_text(ethertype: u16) -> String {
    let mut text = String::with_capacity(6);
    text.push_str("0x");
    text.extend(ethertype.to_be_bytes().into_iter().flat_map(digits).map(char::from));
    text
}

fn address(bytes: [u8; 16], family: packet::Family, ethertype: u16) -> Option<String> {
    const ARP: u16 = 0x0806;
    match family {
        packet::IPV4 | packet::IPV6 => Some(ip(bytes, family).to_string()),
        _ if ethertype == ARP && bytes != [0; 16] => Some(ip(bytes, packet::IPV4).to_string()),
        _ => None,
    }
}

/// IPv4 is in the first four bytes.
pub(crate) fn ip(bytes: [u8; 16], family: packet::Family) -> IpAddr {
    let [a, b, c, d, ..] = bytes;
    if family == packet::IPV6 {
        Ipv6Addr::from(bytes).into()
    } else {
        Ipv4Addr::new(a, b, c, d).into()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use enforcer_common::abi::event::{EndCause, Event, FlowEnd, Hook};

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const CLOCK: Clock = Clock { wall: SystemTime::UNIX_EPOCH, mono_ns: 0 };

    fn owner(name: &str) -> Owner {
        Owner {
            network: "guests".to_owned(),
            ifindex: 20,
            interface: "veth0".to_owned(),
            role: Some(Role::Guest),
            container: Some("abc".to_owned()),
            name: name.to_owned(),
            provenance: Arc::default(),
        }
    }

    #[test]
    fn an_owner_is_known_for_a_while_after_it_is_gone() {
        let mut names = Names::default();
        names.update(&Arc::new([(7, owner("ann"))].into()), 0);
        names.update(&Arc::new([(8, owner("ben"))].into()), 10 * SECOND);
        assert_eq!(
            (names.subject(7).container, names.subject(8).container),
            ("ann".into(), "ben".into())
        );
        assert_eq!(names.forget(369 * SECOND), [] as [u32; 0]);
        assert_eq!(names.forget(371 * SECOND), [7]);
        assert_eq!(names.subject(7).role, "unknown");
    }

    #[test]
    fn addresses_and_ethertypes_are_written_as_people_do() {
        assert_eq!(mac([0, 1, 0x0a, 0xb0, 0xff, 0x9c]), "00:01:0a:b0:ff:9c");
        assert_eq!(
            (ethertype_text(0x0806), ethertype_text(0x9)),
            ("0x0806".into(), "0x0009".into())
        );
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
            let reason = Some(DropReason::Policy);
            let decoded = Decoded::Judged(Judged { hook: Hook::FromGuest, reason, event });
            let body = Names::default().enrich(&decoded, CLOCK);
            let Body::Denied(traffic) = body else { panic!("{body:?}") };
            assert_eq!((traffic.source.as_deref(), traffic.source_port), (source, port));
        }
    }

    #[test]
    fn a2_the_end_of_a_flow_is_told_from_its_opener_s_side() {
        let mut end = FlowEnd {
            owner: 7,
            opened_ns: 5 * SECOND,
            last_seen_ns: 7 * SECOND,
            time_ns: 20 * SECOND,
            packets_out: 4,
            bytes_in: 9,
            local_port: 8888,
            remote_port: 50_000,
            protocol: packet::TCP,
            family: packet::IPV4,
            ..FlowEnd::default()
        };
        end.local[..4].copy_from_slice(&[10, 0, 0, 2]);
        end.remote[..4].copy_from_slice(&[192, 0, 2, 1]);
        let (local, remote) = (("10.0.0.2", 8888), ("192.0.2.1", 50_000));
        for (opener, name, source, destination, packets, bytes) in [
            (Opener::Endpoint, "guest", local, remote, (4, 0), (0, 9)),
            (Opener::Peer(Origin::Beyond), "beyond", remote, local, (0, 4), (9, 0)),
        ] {
            let ended =
                Ended { cause: EndCause::Closed, end: FlowEnd { opener: opener.value(), ..end } };
            let body = Names::default().enrich(&Decoded::Ended(ended), CLOCK);
            let Body::FlowClosed(closed) = body else { panic!("{body:?}") };
            assert_eq!((closed.opener.as_str(), closed.cause.as_str()), (name, "closed"));
            assert_eq!((closed.source.as_str(), closed.source_port), source);
            assert_eq!((closed.destination.as_str(), closed.destination_port), destination);
            assert_eq!(closed.start, "1970-01-01T00:00:05.000000Z");
            assert_eq!(closed.duration_ns, 2 * SECOND);
            assert_eq!((closed.source_packets, closed.destination_packets), packets);
            assert_eq!((closed.source_bytes, closed.destination_bytes), bytes);
        }
    }
}
