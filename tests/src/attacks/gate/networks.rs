//! Networks: those of others, and such as are no guest networks (D04, D05).

use serde_json::{Value, json};

use super::{Book, Effect, ask, has, is, send};

pub(super) fn add(book: &mut Book) {
    made(book);
    of_others(book);
    let body = json!({"Container": "@own@"});
    for (name, network) in
        [("another's", "foreign-net"), ("the engine's own", "bridge"), ("the host's", "host")]
    {
        let effect = Effect::Says(
            "/containers/@own@/json".to_owned(),
            "/NetworkSettings/Networks",
            has(&format!("\"{network}\":")),
        );
        let row = book.add(
            "D04",
            format!("one's own container joins {name} network"),
            &["POST /networks/{name}/connect", "NetworkConnectRequest.Container"],
            [send("POST", &format!("/v1.41/networks/{network}/connect"), &body)],
            effect,
        );
        row.harms();
        if network == "host" {
            row.refused_by_engine();
        }
    }
    book.add(
        "D04",
        "the notebook joins another's network",
        &["POST /networks/{name}/connect"],
        [send("POST", "/v1.41/networks/foreign-net/connect", &json!({"Container": "of-ann"}))],
        Effect::Says(
            "/containers/of-ann/json".to_owned(),
            "/NetworkSettings/Networks",
            has("\"foreign-net\":"),
        ),
    )
    .harms();
    let settings = json!({"IPAMConfig": {"IPv4Address": "10.55.0.77"}});
    let body = json!({"Container": "@own@", "EndpointConfig": settings});
    book.add(
        "N5",
        "one's own container takes an address on another's network",
        &["NetworkConnectRequest.EndpointConfig", "EndpointSettings.IPAMConfig"],
        [send("POST", "/v1.41/networks/foreign-net/connect", &body)],
        Effect::Says(
            "/containers/@own@/json".to_owned(),
            "/NetworkSettings/Networks",
            has("10.55.0.77"),
        ),
    )
    .harms();
}

/// Such as are not a guest network.
fn made(book: &mut Book) {
    let bridge = |options: Value| json!({"Name": "@name@", "Driver": "bridge", "Options": options});
    let option = "com.docker.network.bridge.name";
    for (field, body, place, wanted) in [
        (
            "Driver",
            json!({"Name": "@name@", "Driver": "macvlan", "Options": {"parent": "up0"}}),
            "/Driver",
            is(json!("macvlan")),
        ),
        (
            "Driver",
            json!({"Name": "@name@", "Driver": "ipvlan", "Options": {"parent": "up0"}}),
            "/Driver",
            is(json!("ipvlan")),
        ),
        ("Options", bridge(json!({option: "evil0"})), "/Options", has("evil0")),
        (
            "Options",
            bridge(json!({"com.docker.network.bridge.enable_icc": "false"})),
            "/Options",
            has("enable_icc"),
        ),
        (
            "Options",
            bridge(json!({"com.docker.network.driver.mtu": "9999"})),
            "/Options",
            has("9999"),
        ),
        (
            "IPAM",
            json!({"Name": "@name@", "IPAM": {"Config": [{"Subnet": "10.77.0.0/16"}]}}),
            "/IPAM/Config",
            has("10.77.0.0/16"),
        ),
        (
            "EnableIPv6",
            json!({"Name": "@name@", "EnableIPv6": true,
                   "IPAM": {"Config": [{"Subnet": "fd00:77::/64"}]}}),
            "/EnableIPv6",
            is(json!(true)),
        ),
        (
            "Attachable",
            json!({"Name": "@name@", "Attachable": true}),
            "/Attachable",
            is(json!(true)),
        ),
        (
            "ConfigOnly",
            json!({"Name": "@name@", "ConfigOnly": true}),
            "/ConfigOnly",
            is(json!(true)),
        ),
        (
            "ConfigFrom",
            json!({"Name": "@name@", "ConfigFrom": {"Network": "config-net"}}),
            "/ConfigFrom",
            has("config-net"),
        ),
        (
            "Labels",
            json!({"Name": "@name@", "Labels": {"enforcer.user": "victim"}}),
            "/Labels/enforcer.user",
            is(json!("victim")),
        ),
        ("Name", json!({"Name": "guests2.@name@/x"}), "/Name", has("/x")),
        (
            "CheckDuplicate",
            json!({"Name": "foreign-net", "CheckDuplicate": false}),
            "/Name",
            is(json!("foreign-net")),
        ),
    ] {
        let mut covers =
            vec!["POST /networks/create".to_owned(), format!("NetworkCreateRequest.{field}")];
        if field == "IPAM" {
            covers.push("IPAM.Config".to_owned());
        }
        let covers: Vec<&str> = covers.iter().map(String::as_str).collect();
        let steps = [send("POST", "/v1.41/networks/create", &body)];
        book.add(
            "D05",
            format!("a network with {body}"),
            &covers,
            steps,
            Effect::Network(place, wanted),
        );
    }
    let body = json!({"Name": "@name@", "IPAM": {"Options": {"evil": "1"}}});
    book.add(
        "D05",
        format!("a network with {body}"),
        &["IPAM.Options"],
        [send("POST", "/v1.41/networks/create", &body)],
        Effect::Network("/IPAM/Options", has("evil")),
    );
}

fn of_others(book: &mut Book) {
    book.add(
        "S12",
        "others' networks are listed",
        &["GET /networks"],
        [ask("GET", "/v1.41/networks")],
        Effect::Answer("SECRET-OF-NET"),
    );
    for called in ["foreign-net", "@foreign_net_id@", "@foreign_net_id12@"] {
        book.add(
            "S12",
            format!("another's network {called} is inspected"),
            &["GET /networks/{name}"],
            [ask("GET", &format!("/v1.41/networks/{called}"))],
            Effect::Answer("SECRET-OF-NET"),
        );
    }
    let body = json!({"Container": "victim", "Force": true});
    book.add(
        "S12",
        "another's container is cut off its network",
        &[
            "POST /networks/{name}/disconnect",
            "NetworkDisconnectRequest.Container",
            "NetworkDisconnectRequest.Force",
        ],
        [send("POST", "/v1.41/networks/foreign-net/disconnect", &body)],
        Effect::Says(
            "/containers/victim/json".to_owned(),
            "/NetworkSettings/Networks",
            is(json!({})),
        ),
    )
    .harms();
    book.add(
        "S12",
        "another's network is removed",
        &["DELETE /networks/{name}"],
        [ask("DELETE", "/v1.41/networks/idle-net")],
        Effect::Gone("/networks/idle-net".to_owned()),
    )
    .harms();
    book.add(
        "S22",
        "others' idle networks are removed with one's own",
        &["POST /networks/prune"],
        [ask("POST", "/v1.41/networks/prune")],
        Effect::Gone("/networks/idle-net".to_owned()),
    )
    .harms();
}
