//! Networks: those of others, and such as are no guest networks (D04, D05).

use serde_json::{Value, json};

use super::{Book, Effect, ask, container, create, has, is, send};

pub(super) fn add(book: &mut Book) {
    made(book);
    of_others(book);
    of_another_user(book);
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
        [send("POST", "/v1.41/networks/foreign-net/connect", &json!({"Container": "@notebook@"}))],
        Effect::Says(
            "/containers/@notebook@/json".to_owned(),
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

/// An own network that another user made through the gate, with a container of theirs on it (N2).
fn of_another_user(book: &mut Book) {
    let networks = |called: &str, part: &str| {
        let target = format!("/containers/{called}/json");
        Effect::Says(target, "/NetworkSettings/Networks", has(part))
    };
    book.add(
        "N2",
        "another user's own network is listed",
        &["GET /networks"],
        [ask("GET", "/v1.41/networks")],
        Effect::Answer("bens-net"),
    );
    for called in ["@bens_net@", "@bens_net_id@", "@bens_net_id12@"] {
        book.add(
            "N2",
            format!("another user's own network {called} is inspected"),
            &["GET /networks/{name}"],
            [ask("GET", &format!("/v1.41/networks/{called}"))],
            Effect::Answer("\"IPAM\""),
        );
        let joins = |who: &str| {
            let target = format!("/v1.41/networks/{called}/connect");
            [send("POST", &target, &json!({"Container": who}))]
        };
        for who in ["@own@", "@notebook@"] {
            let name = format!("{who} joins another user's own network {called}");
            let covers = ["POST /networks/{name}/connect"];
            book.add("N2", name, &covers, joins(who), networks(who, "bens-net")).harms();
        }
        let body = container(&json!({"HostConfig": {"NetworkMode": called}}));
        book.add(
            "N2",
            format!("a container is made on another user's own network {called}"),
            &["HostConfig.NetworkMode"],
            [create(&body)],
            Effect::Container("/NetworkSettings/Networks", has("bens-net")),
        );
    }
    joined_by_the_way(book);
    let cut = json!({"Container": "bens", "Force": true});
    book.add(
        "N2",
        "another user's container is cut off its own network",
        &["POST /networks/{name}/disconnect"],
        [send("POST", "/v1.41/networks/@bens_net@/disconnect", &cut)],
        Effect::Changes("/containers/@bens_id@/json".to_owned(), "/NetworkSettings/Networks"),
    )
    .harms();
    for called in ["bens", "@bens_id@", "victim"] {
        let body = json!({"Container": called});
        book.add(
            "N2",
            format!("another's container {called} is pulled onto a network of one's own"),
            &["NetworkConnectRequest.Container"],
            [send("POST", "/v1.41/networks/own-net/connect", &body)],
            networks(called, "own-net"),
        )
        .harms();
    }
    // Where own networks of others are going to be.
    for subnet in ["10.201.0.192/26", "10.201.128.0/17", "10.200.0.0/15"] {
        let row = book.add(
            "N2",
            format!("a network takes {subnet}, where others' are"),
            &["IPAM.Config"],
            [send(
                "POST",
                "/v1.41/networks/create",
                &json!({"Name": "@name@", "IPAM": {"Config": [{"Subnet": subnet}]}}),
            )],
            Effect::Network("/IPAM/Config", has(subnet)),
        );
        // It has one that overlaps.
        if subnet.starts_with("10.200.") {
            row.refused_by_engine();
        }
    }
}

/// Another user's own network among other things that are asked for, with the names of who is there.
fn joined_by_the_way(book: &mut Book) {
    let endpoint = |settings: Value| json!({"EndpointsConfig": {"@bens_net@": settings}});
    let on = json!({"NetworkMode": "@bens_net@"});
    book.add(
        "N2",
        "a container is made on another user's own network, with a name of who is there",
        &["NetworkingConfig.EndpointsConfig", "EndpointSettings.Aliases"],
        [create(&container(
            &json!({"HostConfig": on, "NetworkingConfig": endpoint(json!({"Aliases": ["bens"]}))}),
        ))],
        Effect::Container("/NetworkSettings/Networks", has("\"bens\"")),
    );
    let settings = |settings: Value| json!({"Container": "@own@", "EndpointConfig": settings});
    for (field, body) in [
        ("Aliases", settings(json!({"Aliases": ["bens"]}))),
        ("Links", settings(json!({"Links": ["bens:db"]}))),
    ] {
        book.add(
            "N2",
            format!("one's own container joins another user's own network, with {field}"),
            &[&format!("EndpointSettings.{field}")],
            [send("POST", "/v1.41/networks/@bens_net@/connect", &body)],
            Effect::Says(
                "/containers/@own@/json".to_owned(),
                "/NetworkSettings/Networks",
                has("bens"),
            ),
        )
        .harms();
    }
    let linked = endpoint(json!({"Links": ["bens:db"]}));
    let body = container(&json!({"HostConfig": on, "NetworkingConfig": linked}));
    book.add(
        "N2",
        "a container is linked to another user's, on that user's own network",
        &["NetworkingConfig.EndpointsConfig", "EndpointSettings.Links"],
        [create(&body)],
        Effect::Container("/NetworkSettings/Networks", has("bens:db")),
    );
}
