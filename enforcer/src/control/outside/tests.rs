//! Who is outside, and what is done about it.

use super::*;
use crate::model::inventory::{DockerNetwork, OtherNetwork};

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
    outside(&config(), &inventory(container)).iter().map(show).collect()
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
    assert!(outside(&config(), &early).is_empty());
    // Described, it counts for what it is: another network that has the name.
    let mut wrong = inventory(on(&["lab"], &[("guest", "")]));
    wrong.networks.get_mut("id-lab").expect("there").bridge = "br-else".to_owned();
    assert_eq!(outside(&config(), &wrong).len(), 1);
}

#[test]
fn a_second_life_is_another_case() {
    let first = inventory(in_mode("host", &[("guest", "")]));
    let mut again = in_mode("host", &[("guest", "")]);
    again.started = "later".to_owned();
    assert_ne!(outside(&config(), &first), outside(&config(), &inventory(again)));
}
