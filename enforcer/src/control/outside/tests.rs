//! Who is outside, and what is done about it.

use super::*;
use crate::model::{
    inventory::{DockerNetwork, OtherNetwork},
    upstream::Upstream,
};

const CONFIG: &str = "[outside]\nguest_labels = [\"guest\", \"kind=visitor\"]\n\
                      [networks.lab]\nbridge = \"br-lab\"\n[[networks.lab.hub]]\n\
                      container = \"hub\"\nport = 80\n[networks.two]\nbridge = \"br-two\"\n";

fn config() -> Config {
    crate::config::parse(CONFIG, "f").expect("valid")
}

/// Networks lab and two (policed), other (a bridge), mac, over, host, none; container `c`.
fn inventory(container: Container) -> Inventory {
    let bridge = |name: &str, bridge: &str| DockerNetwork {
        id: format!("id-{name}"),
        name: name.to_owned(),
        bridge: bridge.to_owned(),
        subnets: Vec::new(),
        attachments: std::collections::BTreeMap::new(),
    };
    let bridges = [bridge("lab", "br-lab"), bridge("two", "br-two"), bridge("other", "br-other")];
    let others = [("mac", "macvlan"), ("over", "overlay"), ("host", "host"), ("none", "null")];
    let other = |(name, driver): (&str, &str)| {
        (format!("id-{name}"), OtherNetwork { name: name.to_owned(), driver: driver.to_owned() })
    };
    let mut hub = on(&["lab", "other"], &[]);
    (hub.id, hub.name) = ("h".to_owned(), "hub".to_owned());
    let mut guest = on(&["lab"], &[]);
    (guest.id, guest.name) = ("g".to_owned(), "ann".to_owned());
    Inventory {
        version: 1,
        networks: bridges.into_iter().map(|network| (network.id.clone(), network)).collect(),
        other_networks: others.into_iter().map(other).collect(),
        containers: [hub, guest, container].map(|c| (c.id.clone(), c)).into(),
    }
}

/// A running container on these networks, with these labels.
fn on(networks: &[&str], labels: &[(&str, &str)]) -> Container {
    Container {
        id: "c".to_owned(),
        name: "eve".to_owned(),
        running: true,
        started: "today".to_owned(),
        network_mode: networks.first().unwrap_or(&"none").to_string(),
        networks: networks.iter().map(|n| (format!("id-{n}"), n.to_string())).collect(),
        labels: labels.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        ..Container::default()
    }
}

fn in_mode(mode: &str, labels: &[(&str, &str)]) -> Container {
    Container { network_mode: mode.to_owned(), ..on(&[], labels) }
}

/// The ways out of container `c`, in short.
fn ways(container: Container) -> Vec<String> {
    let show = |way: &Outside| match &way.remedy {
        Remedy::Kill => format!("kill: {}", way.why),
        Remedy::Disconnect(id) => format!("leave {id}: {}", way.why),
    };
    outside(&config(), &inventory(container), &Askers::default()).iter().map(show).collect()
}

#[test]
fn d05_a_guest_with_a_way_out_is_outside() {
    const GUEST: &[(&str, &str)] = &[("guest", "")];
    #[rustfmt::skip]
    let table: [(&str, Container, &[&str]); 20] = [
        ("a guest at home", on(&["lab"], &[]), &[]),
        ("a marked guest at home", on(&["lab"], GUEST), &[]),
        ("on two guest networks", on(&["lab", "two"], GUEST), &[]),
        ("a guest without network", on(&["none"], GUEST), &[]),
        ("a guest that lost its network", in_mode("lab", GUEST), &[]),
        ("no guest on the host", in_mode("host", &[]), &[]),
        ("no guest elsewhere", on(&["other", "mac"], &[("gues", "t")]), &[]),
        ("no guest with a guest", in_mode("container:g", &[]), &[]),
        ("the label's other value", in_mode("host", &[("kind", "hub")]), &[]),
        ("on the host", in_mode("host", GUEST), &["kill: it has the host's network"]),
        ("by value", in_mode("host", &[("kind", "visitor")]), &["kill: it has the host's network"]),
        ("in a guest", in_mode("container:g", GUEST), &["kill: it is in the network namespace of guest ann"]),
        ("in a hub", in_mode("container:hub", GUEST), &["kill: it is in the network namespace of hub hub"]),
        ("in a stranger", in_mode("container:0123456789abcdef", GUEST), &["kill: it is in the network namespace of 0123456789ab"]),
        ("on macvlan", on(&["mac"], GUEST), &["kill: it is on mac (macvlan), which is no guest network"]),
        ("on overlay", on(&["over"], GUEST), &["kill: it is on over (overlay), which is no guest network"]),
        ("on another bridge", on(&["other"], GUEST), &["kill: it is on other (bridge), which is no guest network"]),
        ("a second network", on(&["lab", "other"], &[]), &["leave id-other: it is on other (bridge), which is no guest network"]),
        ("two more networks", on(&["lab", "mac", "other"], &[]), &[
            "leave id-mac: it is on mac (macvlan), which is no guest network",
            "leave id-other: it is on other (bridge), which is no guest network"]),
        ("a network that nobody knows", on(&["new"], GUEST), &["kill: it is on new, which is no guest network"]),
    ];
    for (what, container, expected) in table {
        assert_eq!(ways(container), expected, "{what}");
    }
}

#[test]
fn hubs_and_what_does_not_run_are_left_alone() {
    let hub = Container { name: "hub".to_owned(), ..in_mode("host", &[("guest", "")]) };
    assert!(ways(hub).is_empty());
    let created = Container { running: false, ..in_mode("host", &[("guest", "")]) };
    assert!(ways(created).is_empty());
}

#[test]
fn a_guest_network_that_the_engine_has_not_described_yet_is_no_way_out() {
    let mut early = inventory(on(&["lab"], &[("guest", "")]));
    early.networks.clear();
    assert!(outside(&config(), &early, &Askers::default()).is_empty());
    // Described, it counts for what it is: another network that has the name.
    let mut wrong = inventory(on(&["lab"], &[("guest", "")]));
    wrong.networks.get_mut("id-lab").expect("there").bridge = "br-else".to_owned();
    assert_eq!(outside(&config(), &wrong, &Askers::default()).len(), 1);
}

#[test]
fn a_second_life_is_another_case() {
    let first = inventory(in_mode("host", &[("guest", "")]));
    let mut again = in_mode("host", &[("guest", "")]);
    again.started = "later".to_owned();
    assert_ne!(
        outside(&config(), &first, &Askers::default()),
        outside(&config(), &inventory(again), &Askers::default())
    );
}

/// What is found of lives that begin while the engine asks these from the host.
fn asks(from_host: &[&str]) -> Upstream {
    let from_host = from_host.iter().map(|address| address.parse().expect("an address")).collect();
    Upstream { from_host, file: "/etc/resolv.conf".to_owned(), written: 0 }
}

#[test]
fn d10_a_guest_that_the_engine_resolves_for_from_the_host_is_outside() {
    let local = asks(&["127.0.0.1", "::1"]);
    let judge = |container: Container, upstream: Option<&Upstream>| {
        let inventory = inventory(container);
        let mut askers = Askers::default();
        askers.update(&inventory, upstream);
        let found = outside(&config(), &inventory, &askers).into_iter();
        let found = found.filter(|way| way.container == "c");
        found.map(|way| (way.why.name(), way.why.to(), way.remedy)).collect::<Vec<_>>()
    };
    let ended =
        vec![("engine_resolver", "127.0.0.1, ::1 (/etc/resolv.conf)".to_owned(), Remedy::Kill)];
    assert_eq!(judge(on(&["lab"], &[]), Some(&local)), ended);
    // The engine asks name servers of its own from its namespace, where it is policed.
    let own = Container { own_dns: true, ..on(&["lab"], &[]) };
    assert_eq!(judge(own, Some(&local)), []);
    for (what, container, upstream) in [
        ("an ordinary upstream", on(&["lab"], &[]), Some(&asks(&[]))),
        ("nobody can tell", on(&["lab"], &[]), None),
        ("no guest", on(&["other"], &[]), Some(&local)),
        ("no network", on(&["none"], &[("guest", "")]), Some(&local)),
        ("a hub", Container { name: "hub".to_owned(), ..on(&["lab"], &[]) }, Some(&local)),
        ("not running", Container { running: false, ..on(&["lab"], &[]) }, Some(&local)),
    ] {
        assert_eq!(judge(container, upstream), [], "{what}");
    }
    // Whom nobody can tell of is no problem where the engine is not asked.
    let is_unknown = |container: Container, upstream: Option<&Upstream>| {
        let mut inventory = inventory(container);
        // Nobody but this one.
        inventory.containers.retain(|id, _| id == "c");
        let mut askers = Askers::default();
        askers.update(&inventory, upstream);
        has_unknown_asker(&config(), &inventory, &askers)
    };
    assert!(is_unknown(on(&["lab"], &[]), None));
    assert!(!is_unknown(on(&["lab"], &[]), Some(&local)));
    for container in [
        Container { own_dns: true, ..on(&["lab"], &[]) },
        Container { name: "hub".to_owned(), ..on(&["lab"], &[]) },
        Container { running: false, ..on(&["lab"], &[]) },
        on(&["other"], &[]),
    ] {
        assert!(!is_unknown(container, None));
    }
    // Taking another network away would leave the resolver.
    let both = judge(on(&["lab", "other"], &[]), Some(&local));
    assert_eq!(
        both.iter().map(|way| way.0).collect::<Vec<_>>(),
        ["unpoliced_network", "engine_resolver"]
    );
}

#[test]
fn d10_each_life_is_judged_by_what_the_engine_read_when_it_began() {
    let is_outside = |inventory: &Inventory, askers: &Askers| {
        outside(&config(), inventory, askers).iter().any(|way| way.container == "c")
    };
    let (local, ordinary) = (asks(&["127.0.0.1"]), asks(&[]));
    for (first, then) in [(&local, &ordinary), (&ordinary, &local)] {
        let mut askers = Askers::default();
        let early = inventory(on(&["lab"], &[]));
        assert!(askers.has_new(&early));
        askers.update(&early, None);
        assert!(askers.has_new(&early), "nobody could tell");
        askers.update(&early, Some(first));
        assert!(!askers.has_new(&early));
        let outside_at_first = is_outside(&early, &askers);
        assert_eq!(outside_at_first, !first.from_host.is_empty());
        askers.update(&early, Some(then));
        assert_eq!(is_outside(&early, &askers), outside_at_first, "it has what it had");
        // Its next life is another one.
        let again = inventory(Container { started: "tomorrow".to_owned(), ..on(&["lab"], &[]) });
        assert!(askers.has_new(&again));
        askers.update(&again, Some(then));
        assert_eq!(is_outside(&again, &askers), !outside_at_first);
    }
}
