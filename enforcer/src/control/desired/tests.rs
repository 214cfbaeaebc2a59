//! Who a port belongs to, as tables.

use std::{collections::BTreeMap, net::Ipv4Addr};

use enforcer_common::abi::policy::{LIMITS_SOURCES, POLICY_SLOTS};

use super::*;
use crate::{
    access::name::User,
    config::{ClosedBy, HubRule, Owned},
    model::{
        inventory::{Container, Mac},
        provenance::Provenance,
    },
};

const BRIDGE: u32 = 10;
const A: &str = "aaaa";
const B: &str = "bbbb";
const HUB: &str = "hhhh";

fn mac(last: u8) -> Mac {
    [2, 66, 0, 0, 0, last]
}

fn config() -> Config {
    let hub = |at| HubRule { at, port: 8081, protocol: 6 };
    let network = GuestNetwork {
        bridge: "guests0".to_owned(),
        create: false,
        subnet4: None,
        gateway4: None,
        subnet6: None,
        policy: None,
        overrides: Vec::new(),
        hubs: vec![hub(HubPlace::Gateway), hub(HubPlace::Container("hub".to_owned()))],
        services: Vec::new(),
        quotas: Quotas { inbound_established: 10, closing: u32::MAX, ..Quotas::default() },
        limits: crate::config::Limits::default(),
        owned: None,
    };
    Config {
        docker_socket: "/run/docker.sock".into(),
        run_dir: "/run/enforcer".into(),
        pin_dir: "/pins".into(),
        mark_mask: 3,
        max_flows: 1,
        closed_by: ClosedBy::Nft,
        networks: BTreeMap::from([("guests".to_owned(), network)]),
        ..Config::default()
    }
}

fn link(ifindex: u32, kind: LinkKind, master: Option<u32>) -> Link {
    Link {
        ifindex,
        name: format!("if{ifindex}"),
        kind,
        master,
        mac: [2, 0, 0, 0, 0, 1],
        peer: None,
        peer_netns: None,
        peer_mac: None,
        port: None,
        loopback: false,
        ipv4: Vec::new(),
        ipv6: Vec::new(),
        on: Vec::new(),
    }
}

fn port(ifindex: u32, netns: Option<i32>, peer_mac: Option<Mac>) -> Link {
    Link { peer_netns: netns, peer_mac, ..link(ifindex, LinkKind::Veth, Some(BRIDGE)) }
}

fn inventory() -> Inventory {
    let attachment = |last: u8| Attachment {
        mac: Some(mac(last)),
        ipv4: Some(Ipv4Addr::new(10, 0, 0, last)),
        ipv6: Some("fd00::1".parse().expect("address")),
    };
    let container = |id: &str, name: &str| {
        let container =
            Container { id: id.to_owned(), name: name.to_owned(), ..Container::default() };
        (id.to_owned(), container)
    };
    let network = DockerNetwork {
        id: "n".to_owned(),
        name: "guests".to_owned(),
        bridge: "guests0".to_owned(),
        subnets: vec![Subnet {
            address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)),
            prefix: 24,
            gateway: None,
        }],
        attachments: BTreeMap::from([
            (A.to_owned(), attachment(2)),
            (B.to_owned(), attachment(3)),
            (HUB.to_owned(), attachment(4)),
        ]),
    };
    Inventory {
        version: 1,
        networks: BTreeMap::from([("n".to_owned(), network)]),
        containers: [container(A, "a"), container(B, "b"), container(HUB, "hub")].into(),
        ..Inventory::default()
    }
}

fn links_of(ports: Vec<Link>) -> Links {
    let bridge = Link {
        name: "guests0".to_owned(),
        ipv4: vec![Ipv4Addr::new(10, 0, 0, 1)],
        ..link(BRIDGE, LinkKind::Bridge, None)
    };
    ports.into_iter().chain([bridge]).map(|link| (link.ifindex, link)).collect()
}

fn compute(ports: Vec<Link>, facts: &Facts) -> Desired {
    desired(&config(), &inventory(), &links_of(ports), facts)
}

fn facts(namespaces: &[(&str, i32)]) -> Facts {
    let namespaces = namespaces.iter().map(|(id, number)| ((*id).to_owned(), *number)).collect();
    Facts { namespaces, ..Facts::default() }
}

#[test]
fn a_port_belongs_to_whom_the_kernel_says() {
    // Peer's namespace, peer's MAC address, known namespaces -> role and container.
    #[expect(clippy::type_complexity, reason = "a table")]
    let cases: &[(Option<i32>, Option<Mac>, &[(&str, i32)], Role, Option<&str>)] = &[
        (None, None, &[], Role::Unknown, None),
        (Some(1), Some(mac(9)), &[], Role::Unknown, None),
        (None, Some(mac(2)), &[], Role::Guest, Some(A)),
        (Some(1), Some(mac(2)), &[], Role::Guest, Some(A)),
        // Docker gives a gone container's MAC address to the next one: it proves no hub.
        (Some(1), Some(mac(4)), &[], Role::Unknown, None),
        (Some(1), Some(mac(4)), &[(HUB, 1)], Role::Hub, Some(HUB)),
        (Some(1), Some(mac(2)), &[(A, 1)], Role::Guest, Some(A)),
        // The namespace wins over the MAC address, which a privileged guest can change.
        (Some(1), Some(mac(3)), &[(A, 1)], Role::Guest, Some(A)),
        (Some(1), Some(mac(4)), &[(A, 1), (HUB, 2)], Role::Guest, Some(A)),
        (Some(1), Some(mac(2)), &[(A, 2)], Role::Unknown, None),
        (None, Some(mac(2)), &[(A, 2)], Role::Unknown, None),
    ];
    for (netns, peer_mac, namespaces, role, container) in cases {
        let desired = compute(vec![port(20, *netns, *peer_mac)], &facts(namespaces));
        let endpoint = &desired.endpoints[&20];
        let case = format!("{netns:?} {peer_mac:?} {namespaces:?}");
        assert_eq!((endpoint.role, endpoint.container.as_deref()), (*role, *container), "{case}");
        assert_eq!(endpoint.policy == 0, *role == Role::Unknown, "{case}");
    }
}

#[test]
fn two_ports_with_one_identity_have_none_unless_one_is_proven() {
    let twins = || vec![port(20, Some(1), Some(mac(2))), port(21, Some(2), Some(mac(2)))];
    let roles = |facts| -> Vec<Role> {
        compute(twins(), &facts).endpoints.values().map(|endpoint| endpoint.role).collect()
    };
    assert_eq!(roles(facts(&[])), [Role::Unknown, Role::Unknown]);
    assert_eq!(roles(facts(&[(A, 2)])), [Role::Unknown, Role::Guest]);
}

#[test]
fn the_endpoint_is_as_docker_says() {
    let desired = compute(vec![port(20, Some(1), Some(mac(3)))], &facts(&[(A, 1)]));
    let endpoint = &desired.endpoints[&20];
    assert_eq!(endpoint.mac, mac(2), "not what the guest set");
    assert_eq!(endpoint.ipv4, Some(Ipv4Addr::new(10, 0, 0, 2)));
    assert_eq!(endpoint.ipv6, None, "the network has no IPv6");
    assert_eq!(endpoint.policy, 1);
}

#[test]
fn other_ports_are_other_and_foreign_veths_are_left_alone() {
    let mut foreign = port(22, Some(3), Some(mac(2)));
    foreign.master = Some(99);
    let mut free = port(23, None, None);
    free.master = None;
    let settled = Link { ifindex: 24, ..free.clone() };
    let facts = Facts { settled: [24].into(), ..Facts::default() };
    let other = link(21, LinkKind::Other, Some(BRIDGE));
    let desired = compute(vec![other, foreign, free, settled], &facts);
    assert_eq!(desired.endpoints.keys().copied().collect::<Vec<_>>(), [21]);
    assert_eq!(desired.endpoints[&21].role, Role::Other);
    assert_eq!(desired.early, [23].into());
}

#[test]
fn policies_open_hubs_only() {
    let desired = compute(Vec::new(), &Facts::default());
    let (guest, hub) = (&desired.policies[&1], &desired.policies[&2]);
    let opened: Vec<_> = guest.rules.iter().map(|r| (&r.to[..], r.ports[0].first)).collect();
    let at = |last: u8| [Net::host([10, 0, 0, last].into())];
    assert_eq!(opened, [(&at(1)[..], 8081), (&at(4)[..], 8081)], "gateway, the hub's container");
    assert_eq!(hub.rules.len(), 2);
    assert_eq!((hub.quotas.inbound_established, hub.quotas.closing), (160, u32::MAX));
    assert_eq!(desired.networks[&BRIDGE].gateway4, Some((Ipv4Addr::new(10, 0, 0, 1), 24)));
    let hubs: Vec<_> = desired.hubs.iter().map(|(key, hub)| (key.address[3], hub.mac)).collect();
    assert_eq!(hubs, [(4, mac(4))]);
}

#[test]
fn n3_names_open_the_gateway_only_while_our_resolver_has_its_port() {
    use crate::{
        config::{Place, PolicyRule},
        policy::rule::{Action, Ports},
    };
    let rule = |action, to| PolicyRule {
        action,
        to,
        ports: vec![Ports::one(17, 53)],
        name: "dns".to_owned(),
    };
    let resolver = || Place::Resolver { any: true };
    let rules = vec![
        rule(Action::Allow, resolver()),
        rule(Action::Deny, resolver()),
        rule(Action::Allow, Place::Host),
    ];
    let mut config = config();
    config.policies = [("course".to_owned(), Policy { rules, ..Policy::default() })].into();
    config.networks.get_mut("guests").expect("network").policy = Some("course".to_owned());
    let opened = |resolvers: &[&str]| {
        let resolvers = resolvers.iter().map(|address| address.parse().expect("an address"));
        let facts = Facts { resolvers: resolvers.collect(), ..Facts::default() };
        let found = desired(&config, &inventory(), &links_of(Vec::new()), &facts);
        let rules = found.policies[&1].rules.iter().filter(|rule| rule.name == "dns");
        rules.map(|rule| rule.to.iter().map(ToString::to_string).collect()).collect::<Vec<Vec<_>>>()
    };
    let gateway = || vec!["10.0.0.1".to_owned()];
    // What is denied, and what is opened as the host's own, is so whoever listens there.
    assert_eq!(opened(&["10.0.0.1", "10.9.0.1"]), [gateway(), gateway(), gateway()]);
    assert_eq!(opened(&["10.9.0.1"]), [Vec::new(), gateway(), gateway()]);
    assert_eq!(opened(&[]), [Vec::new(), gateway(), gateway()]);
}

#[test]
fn c1_limits_are_of_guests_and_a_policy_s_own_wins() {
    use crate::config::{Guests, Limits, PolicyOverride};
    let mut config = config();
    let own = Limits { bits_per_second_out: Some(0), ..Limits::default() };
    let fast = Policy { limits: own, ..Policy::default() };
    config.policies = [("fast".to_owned(), fast)].into();
    let network = config.networks.get_mut("guests").expect("network");
    network.limits = Limits {
        new_flows_per_second: Some(20),
        bits_per_second_out: Some(10_000_000),
        ..Limits::default()
    };
    let guests = Guests::Group("staff".to_owned());
    network.overrides = vec![PolicyOverride { guests, policy: "fast".to_owned() }];
    let found = desired(&config, &inventory(), &links_of(Vec::new()), &Facts::default());
    let limits: Vec<_> = found
        .policies
        .values()
        .map(|policy| {
            let limits = policy.limits;
            (policy.name.as_str(), limits.new_flows.per_second, limits.bits_out.per_second)
        })
        .collect();
    let expected =
        [("guests/guest", 20, 10_000_000), ("guests/hub", 0, 0), ("guests/guest/fast", 20, 0)];
    assert_eq!(limits, expected);
}

#[test]
fn n6_a_bridge_that_was_renamed_is_still_the_guests() {
    let mut links = links_of(vec![port(20, Some(5), None)]);
    links.get_mut(&BRIDGE).expect("bridge").name = "renamed".to_owned();
    let facts = Facts { bridges: [("guests0".to_owned(), BRIDGE)].into(), ..Facts::default() };
    let found = desired(&config(), &inventory(), &links, &facts);
    assert!(found.networks.contains_key(&BRIDGE) && found.endpoints.contains_key(&20));
    let closed = found.closure.expect("closure").bridges;
    assert!(closed.contains("renamed") && closed.contains("guests0"), "{closed:?}");
    let forgotten = desired(&config(), &inventory(), &links, &Facts::default());
    assert!(forgotten.networks.is_empty());
}

/// The config with a service by label, and a policy that opens port 5432 of it and denies port 22 of everything
/// so labelled.
fn serving() -> Config {
    let text = "[policies.course]\n[[policies.course.allow]]\nlabel = \"tier=db\"\nport = [22, 5432]\n\
                [[policies.course.deny]]\nlabel = \"tier\"\nport = 22\n\
                [networks.guests]\nbridge = \"guests0\"\npolicy = \"course\"\n\
                [[networks.guests.service]]\nlabel = \"tier=db\"\n";
    crate::config::parse(text, "f").expect("is good")
}

/// An inventory in which B has this label, by its creator or by its image.
fn labelled(by_image: bool) -> Inventory {
    let mut inventory = inventory();
    let labels: BTreeMap<String, String> = [("tier".to_owned(), "db".to_owned())].into();
    let image = crate::model::provenance::ImageSettings {
        labels: if by_image { labels.clone() } else { BTreeMap::new() },
        ..Default::default()
    };
    let provenance = Provenance::new(None, labels, &[], &image);
    inventory.containers.get_mut(B).expect("there").provenance = Arc::new(provenance);
    inventory
}

#[test]
fn n2_a_service_is_whom_its_creator_labelled_and_rules_open_its_address_alone() {
    let config = serving();
    let links = links_of(vec![port(20, Some(1), Some(mac(3)))]);
    let found = desired(&config, &labelled(false), &links, &facts(&[(B, 1)]));
    let numbers = &numbers(&config)["guests"];
    let endpoint = &found.endpoints[&20];
    assert_eq!((endpoint.role, endpoint.policy), (Role::Hub, numbers.service));
    let service = &found.policies[&numbers.service];
    assert!(service.by_rule_only && service.rules.is_empty(), "it opens nothing itself");
    assert!(!found.policies[&numbers.guest].by_rule_only);
    let hubs: Vec<_> = found.hubs.keys().map(|key| key.address[3]).collect();
    assert_eq!(hubs, [3]);
    let rules = &found.policies[&numbers.guest].rules;
    let opened = |to: u8, port| {
        let to = Net::host([10, 0, 0, to].into());
        crate::policy::rule::opens(rules, &to, packet::TCP, port)
    };
    assert_eq!((opened(3, 5432), opened(3, 22), opened(3, 80)), (Some(1), None, None));
    assert_eq!((opened(2, 5432), opened(4, 5432)), (None, None), "other guests");
    assert_eq!(crate::control::numbers::unserved(&found), Vec::<String>::new());
}

#[test]
fn n2_an_image_that_says_so_is_no_service_and_the_rule_tells() {
    let config = serving();
    let links = links_of(vec![port(20, Some(1), Some(mac(3)))]);
    for inventory in [labelled(true), inventory()] {
        let found = desired(&config, &inventory, &links, &facts(&[(B, 1)]));
        assert_eq!(found.endpoints[&20].role, Role::Guest);
        assert!(found.hubs.is_empty());
        assert!(found.policies.values().flat_map(|policy| &policy.rules).all(|r| r.to.is_empty()));
        let told = crate::control::numbers::unserved(&found);
        let expected = "allow at f:2 is about nobody on guests: no service there is containers \
                        labelled tier=db";
        assert_eq!(told[0], expected);
        assert_eq!(told.len(), 2);
    }
}

#[test]
fn n2_on_an_own_network_only_its_owner_s_containers_reach_one_another() {
    let owner = User { hub: "lab".parse().expect("valid"), name: "ann".parse().expect("valid") };
    let network =
        GuestNetwork::of_owner(Owned { owner: Some(owner), slot: 3 }, "guests0".to_owned());
    let config = Config { networks: [("guests".to_owned(), network)].into(), ..Config::default() };
    let mut inventory = inventory();
    for (id, user) in [(A, "ann"), (B, "ben"), (HUB, "ann")] {
        let container = inventory.containers.get_mut(id).expect("there");
        container.provenance = Arc::new(Provenance {
            is_told: true,
            user: Some(user.to_owned()),
            labels: [("enforcer.hub".to_owned(), "lab".to_owned())].into(),
            ..Provenance::default()
        });
    }
    let ports = vec![port(20, Some(1), None), port(21, Some(2), None), port(22, Some(3), None)];
    let facts = facts(&[(A, 1), (B, 2), (HUB, 3)]);
    let desired = desired(&config, &inventory, &links_of(ports), &facts);
    let roles: Vec<_> = desired.endpoints.values().map(|one| (one.role, one.policy)).collect();
    let number = POLICY_SLOTS - 1 - 3;
    assert_eq!(roles, [(Role::Hub, number), (Role::Other, 0), (Role::Hub, number)]);
    let near: Vec<_> = desired.hubs.keys().map(|key| key.address[3]).collect();
    assert_eq!(near, [2, 4], "neighbours, and not Ben");
    let policies: Vec<_> = desired.policies.iter().map(|(n, one)| (*n, one.rules.len())).collect();
    assert_eq!(policies, [(number, 0)], "nothing beyond is open");
    let traits = desired.policies[&number].traits();
    assert_ne!(traits & LIMITS_SOURCES, 0, "a published port lets nobody in whom no rule names");
    assert_eq!(desired.role_shown(BRIDGE, Role::Hub), Role::Guest);
}
