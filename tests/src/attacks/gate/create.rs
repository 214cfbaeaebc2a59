//! Fields of a create beside `HostConfig`, and those of how it joins networks.

use serde_json::{Value, json};

use super::{Book, Effect, container, create, has, is, on_host, send};

pub(super) fn add(book: &mut Book) {
    for (threat, field, value, place) in [
        ("D16", "Image", json!("foreign/private:1"), "/Config/Image"),
        ("S22", "Labels", json!({"enforcer.user": "victim"}), "/Config/Labels"),
        ("S22", "Labels", json!({"enforcer.gate": "hub"}), "/Config/Labels"),
        ("S22", "Env", json!(["JUPYTERHUB_USER=victim"]), "/Config/Env"),
        ("S05", "NetworkDisabled", json!(true), "/Config/NetworkDisabled"),
        ("N5", "MacAddress", json!("02:42:0a:63:00:07"), "/Config/MacAddress"),
        ("S02", "OnBuild", json!(["RUN id"]), "/Config/OnBuild"),
        ("S02", "Shell", json!(["/bin/evil"]), "/Config/Shell"),
        ("S30", "StopTimeout", json!(1_000_000), "/Config/StopTimeout"),
        ("S02", "ArgsEscaped", json!(true), "/Config/ArgsEscaped"),
        ("S02", "Hostname", json!("a\nb"), "/Config/Hostname"),
        ("N5", "Hostname", json!("github.com"), "/Config/Hostname"),
        ("S02", "User", json!("0\n"), "/Config/User"),
    ] {
        let wanted = match &value {
            Value::String(text) if field == "Image" => is(json!(text)),
            Value::Object(labels) => {
                let (key, value) = labels.iter().next().unwrap_or_else(|| unreachable!());
                has(&format!("\"{key}\":{value}"))
            }
            Value::Array(items) if field == "Env" => has(items[0].as_str().unwrap_or_default()),
            value => is(value.clone()),
        };
        let name = format!("{field}: {}", value.to_string().escape_debug());
        let fields = [format!("ContainerCreateRequest.{field}")];
        let body = container(&json!({ field: value }));
        book.add(threat, name, &[&fields[0]], [create(&body)], Effect::Container(place, wanted));
    }
    named(book);
    health(book);
    joined(book);
}

/// Names that all on the network ask for, and one that enforcer gives to another's guest.
fn named(book: &mut Book) {
    for (threat, name) in [("N5", "pypi.org"), ("S22", "guest-local-victim")] {
        let target = format!("/v1.41/containers/create?name={name}");
        book.add(
            threat,
            format!("a container is called {name}"),
            &["POST /containers/create"],
            [send("POST", &target, &container(&json!({})))],
            Effect::Container("/Name", is(json!(format!("/{name}")))),
        );
    }
}

/// A process of the host's engine, started as often as one likes (S30).
fn health(book: &mut Book) {
    for (field, value) in [
        ("Interval", json!(1_000_000)),
        ("Timeout", json!(i64::MAX)),
        ("StartPeriod", json!(i64::MAX)),
        ("Retries", json!(1_000_000)),
    ] {
        let mut check = json!({"Test": ["CMD", "true"], "Interval": 2_000_000_000_i64});
        check[field] = value.clone();
        book.add(
            "S30",
            format!("Healthcheck: {field} {value}"),
            &[&format!("HealthConfig.{field}"), "ContainerCreateRequest.Healthcheck"],
            [create(&container(&json!({"Healthcheck": check})))],
            Effect::Container("/Config/Healthcheck", has(&format!("\"{field}\":{value}"))),
        );
    }
}

/// `NetworkingConfig`.
fn joined(book: &mut Book) {
    let on = |network: &str, settings: &Value| {
        let mut body = on_host(&json!({"NetworkMode": network}));
        body["NetworkingConfig"] = json!({"EndpointsConfig": {network: settings}});
        body
    };
    book.add(
        "D04",
        "EndpointsConfig: the network of another",
        &["ContainerCreateRequest.NetworkingConfig", "NetworkingConfig.EndpointsConfig"],
        [create(&on("foreign-net", &json!({})))],
        Effect::Container("/NetworkSettings/Networks", has("foreign-net")),
    );
    for (field, value) in [
        ("IPAMConfig", json!({"IPv4Address": "10.99.0.77"})),
        ("Links", json!(["victim:x"])),
        ("MacAddress", json!("02:42:0a:63:00:07")),
        ("DriverOpts", json!({"com.docker.network.endpoint.expose": "1"})),
        ("Aliases", json!(["hub"])),
        ("NetworkID", json!("evil")),
        ("EndpointID", json!("evil")),
        ("Gateway", json!("10.99.0.66")),
        ("IPAddress", json!("10.99.0.77")),
        ("IPPrefixLen", json!(8)),
        ("IPv6Gateway", json!("fd00::66")),
        ("GlobalIPv6Address", json!("fd00::77")),
        ("GlobalIPv6PrefixLen", json!(8)),
    ] {
        let part = format!("\"{field}\":{}", value.to_string().trim_end_matches([']', '}']));
        book.add(
            "N5",
            format!("EndpointsConfig: {field} {value}"),
            &[&format!("EndpointSettings.{field}")],
            [create(&on("guests", &json!({ field: value })))],
            Effect::Container("/NetworkSettings/Networks/guests", has(&part)),
        );
    }
}
