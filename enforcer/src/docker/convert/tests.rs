//! Answers as engines give them, old and new, whole and with holes.

use bollard::models::{ContainerInspectResponse, ContainerSummary, NetworkInspect};
use serde_json::json;

use super::*;

const ID: &str = "6c3f1b0c9d6a4f2e8b7a5d4c3b2a190817263544536271809f8e7d6c5b4a3928";

fn read<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).expect("bollard reads it")
}

fn inspect(ports: &serde_json::Value) -> Container {
    let answer: ContainerInspectResponse = read(json!({
        "Id": ID, "Name": "/jupyter-ada",
        "Config": {"Image": "notebook:1", "Labels": {"user": "ada"}},
        "State": {"Running": true, "StartedAt": "2026-01-01T00:00:00.5Z"},
        "HostConfig": {"NetworkMode": "lab"},
        "NetworkSettings": {
            "SandboxKey": "/var/run/docker/netns/1", "Ports": ports,
            "Networks": {"lab": {"NetworkID": "n1"}, "wanted": {"NetworkID": ""}, "early": {}},
        },
    }));
    container(answer, Some(&ImageSettings::default())).expect("a container")
}

#[test]
fn a_network_of_an_old_engine_is_read() {
    let answer: NetworkInspect = read(json!({
        "Name": "tutorials", "Id": ID, "Driver": "bridge", "EnableIPv6": true,
        "IPAM": {"Config": [
            {"Subnet": "172.30.0.0/24", "Gateway": "172.30.0.1"},
            {"Subnet": "fd00::/64", "Gateway": "fd00::1/64"},
        ]},
        "Options": {"com.docker.network.bridge.name": "br-tutorials"},
        "Containers": {
            ID: {"Name": "jupyter-ada", "EndpointID": "e", "MacAddress": "02:42:ac:1e:00:02",
                 "IPv4Address": "172.30.0.2/24", "IPv6Address": "fd00::2/64"},
            "ep-77": {"Name": "gone", "MacAddress": "", "IPv4Address": "", "IPv6Address": ""},
        },
    }));
    let (network, names) = network(answer).expect("a bridge network");
    assert_eq!((network.name.as_str(), network.bridge.as_str()), ("tutorials", "br-tutorials"));
    let gateways: Vec<String> =
        network.subnets.iter().filter_map(|pool| pool.gateway).map(|at| at.to_string()).collect();
    assert_eq!(gateways, ["172.30.0.1", "fd00::1"]);
    let attachment = network.attachments[ID];
    assert_eq!(attachment.mac, Some([2, 0x42, 0xac, 0x1e, 0, 2]));
    assert_eq!(attachment.ipv4, Some([172, 30, 0, 2].into()));
    assert_eq!(attachment.ipv6.map(|six| six.to_string()).as_deref(), Some("fd00::2"));
    assert_eq!(names, [(ID.to_owned(), "jupyter-ada".to_owned())].into());
    assert_eq!(network.attachments.len(), 1);
}

#[test]
fn what_a_new_engine_leaves_out_is_absent() {
    let answer: NetworkInspect =
        read(json!({"Id": ID, "Driver": "bridge", "Containers": {ID: {}}}));
    let (network, _) = network(answer).expect("a bridge network");
    assert_eq!(network.bridge, "br-6c3f1b0c9d6a");
    assert_eq!(network.attachments[ID], Attachment::default());
    assert!(network.subnets.is_empty());
    let empty = container(read(json!({"Id": ID})), None).expect("a container");
    assert_eq!(empty, Container { id: ID.to_owned(), ..Container::default() });
}

#[test]
fn networks_of_other_drivers_are_known_by_name() {
    let list = read::<Vec<Network>>(json!([
        {"Id": "b", "Name": "lab", "Driver": "bridge"},
        {"Id": "m", "Name": "lan", "Driver": "macvlan"},
        {"Id": "n", "Name": "none", "Driver": "null"},
    ]));
    let others = other_networks(&list);
    assert_eq!(others.keys().collect::<Vec<_>>(), ["m", "n"]);
    assert_eq!((others["m"].name.as_str(), others["m"].driver.as_str()), ("lan", "macvlan"));
}

#[test]
fn other_drivers_and_nameless_things_are_ignored() {
    assert_eq!(network(read(json!({"Id": ID, "Driver": "macvlan"}))), None);
    assert_eq!(network(read(json!({"Driver": "bridge"}))), None);
    assert_eq!(container(read(json!({})), None), None);
}

#[test]
fn only_bindings_beyond_loopback_are_published() {
    let on = |host: &str| inspect(&json!({"80/tcp": [{"HostIp": host, "HostPort": "8080"}]}));
    for open in ["", "0.0.0.0", "::", "192.0.2.1", "fd00::1", "[::]"] {
        assert_eq!(on(open).published.len(), 1, "{open}");
    }
    for closed in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "nonsense"] {
        assert_eq!(on(closed).published, [], "{closed}");
    }
}

#[test]
fn published_ports_are_sorted_single_and_understood() {
    let container = inspect(&json!({
        "53/udp": [{"HostIp": "0.0.0.0", "HostPort": "5353"}],
        "80/tcp": [
            {"HostIp": "127.0.0.1", "HostPort": "80"},
            {"HostIp": "0.0.0.0", "HostPort": "80"},
            {"HostIp": "::", "HostPort": "80"},
        ],
        "81/tcp": null,
        "82/tcp": [],
        "83/tcp": [{"HostIp": "0.0.0.0", "HostPort": ""}],
        "84/sctp": [{"HostIp": "0.0.0.0", "HostPort": "84"}],
        "x/tcp": [{"HostIp": "0.0.0.0", "HostPort": "85"}],
    }));
    let port = |container_port, protocol| PublishedPort { container_port, protocol };
    assert_eq!(container.published, [port(53, 17), port(80, 6)]);
    assert_eq!(container.name, "jupyter-ada");
    assert_eq!(container.provenance.image.as_deref(), Some("notebook:1"));
    assert_eq!(container.labels["user"], "ada");
}

#[test]
fn a_list_that_differs_asks_for_a_new_inspect() {
    let container = inspect(&json!({"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}));
    let summary = |name: &str, port: u16| -> ContainerSummary {
        read(json!({"Id": ID, "Names": [name], "Ports": [
            {"IP": "0.0.0.0", "PrivatePort": port, "PublicPort": 8080, "Type": "tcp"},
            {"IP": "::", "PrivatePort": port, "PublicPort": 8080, "Type": "tcp"},
            {"PrivatePort": 9999, "Type": "tcp"},
        ]}))
    };
    assert_eq!((container.running, container.network_mode.as_str()), (true, "lab"));
    assert_eq!(container.networks, [("n1".to_owned(), "lab".to_owned())].into());
    let mut elsewhere = summary("/jupyter-ada", 80);
    for (networks, agreed) in [(json!({"lab": {"NetworkID": "n1"}}), true), (json!({}), false)] {
        elsewhere.network_settings = Some(read(json!({"Networks": networks})));
        assert_eq!(agrees(&container, &elsewhere), agreed);
    }
    assert!(agrees(&container, &summary("/jupyter-ada", 80)));
    assert!(!agrees(&container, &summary("/renamed", 80)));
    assert!(!agrees(&container, &summary("/jupyter-ada", 81)));
}

#[test]
fn mac_addresses_are_exact() {
    assert_eq!(mac("02:42:AC:1e:00:02"), Some([2, 0x42, 0xac, 0x1e, 0, 2]));
    for wrong in ["", "02:42", "02:42:ac:1e:00:02:03", "+2:42:ac:1e:00:02", "00:00:00:00:00:00"] {
        assert_eq!(mac(wrong), None, "{wrong}");
    }
}

#[test]
fn d10_name_servers_that_an_engine_would_not_ask_are_none_of_a_container_s_own() {
    let with = |dns: serde_json::Value| {
        let response = json!({"Id": ID, "HostConfig": {"NetworkMode": "lab", "Dns": dns}});
        container(read(response), None).expect("a container").own_dns
    };
    assert!(with(json!(["10.0.0.1"])) && with(json!(["", "fd00::1"])));
    assert!(!with(json!(null)) && !with(json!([])) && !with(json!([""])) && !with(json!(["x"])));
}
