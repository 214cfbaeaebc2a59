use serde_json::json;

use super::*;
use crate::{
    access::name::User,
    gate::{
        facts::{Facts, GuestNetwork, OwnContainer, OwnImage, OwnNetwork, OwnVolume},
        names,
        principal::Principal,
        rules::Rules,
    },
};

const OWN: &str = "aa00000000000000000000000000000000000000000000000000000000000001";
const NOTEBOOK: &str = "bb00000000000000000000000000000000000000000000000000000000000002";
const OTHER: &str = "cc00000000000000000000000000000000000000000000000000000000000003";
const NETWORK: &str = "dd00000000000000000000000000000000000000000000000000000000000004";

fn user() -> Principal {
    let user = User { hub: "lab".parse().expect("a hub"), name: "ada".parse().expect("a user") };
    Principal::User(user)
}

fn mark(name: &str) -> String {
    names::engine_name(&user(), name)
}

/// Runs with the things of one user.
fn with<T>(run: impl FnOnce(&Context<'_>) -> T) -> T {
    let container = |id: &str, name: &str, is_notebook| OwnContainer {
        id: id.to_owned(),
        name: name.to_owned(),
        is_notebook,
    };
    let facts = Facts {
        containers: vec![container(OWN, "db", false), container(NOTEBOOK, "jupyter-ada", true)],
        volumes: vec![OwnVolume {
            name: "data".to_owned(),
            engine_name: mark("data"),
            is_plain: true,
        }],
        networks: vec![OwnNetwork {
            id: NETWORK.to_owned(),
            name: "app".to_owned(),
            engine_name: mark("app"),
        }],
        images: vec![OwnImage { id: "sha256:own".to_owned(), tags: vec![mark("x:1")] }],
        guest_network: Some(GuestNetwork {
            name: "guests".to_owned(),
            gateway: [192, 0, 2, 1].into(),
            resolves: true,
        }),
        ..Facts::default()
    };
    let rules = Rules { images: vec!["python:*".to_owned()], ..Rules::default() };
    let principal = user();
    run(&Context { principal: &principal, rules: &rules, facts: &facts, name: None, bridge: None })
}

fn shown(view: View, answer: &Value) -> Value {
    with(|context| reduce(view, context, answer)).expect("shown")
}

fn settings() -> Value {
    json!({
        "Networks": {
            mark("app"): {"NetworkID": NETWORK, "IPAddress": "10.0.0.2"},
            "guests": {"NetworkID": "g", "IPAddress": "10.0.1.2"},
            "secret": {"NetworkID": "s", "IPAddress": "10.0.2.2"},
        },
        "SandboxKey": "/var/run/docker/netns/x",
    })
}

fn container(id: &str) -> Value {
    json!({
        "Id": id,
        "Name": "/x",
        "Names": ["/x", "/other/x"],
        "Created": 1,
        "State": {"Status": "running", "Running": true, "Pid": 4711},
        "LogPath": "/var/lib/docker/containers/x.log",
        "ResolvConfPath": "/var/lib/docker/resolv.conf",
        "GraphDriver": {"Data": {"UpperDir": "/var/lib/docker/overlay2/x"}},
        "Config": {"Env": ["TOKEN=secret"]},
        "HostConfig": {
            "NetworkMode": mark("app"),
            "Binds": ["/srv/x:/y"],
            "Mounts": [{"Type": "bind", "Source": "/run/enforcer/gate/x"}],
            "CgroupParent": "guests.slice",
            "Memory": 5,
        },
        "Mounts": [{"Type": "volume", "Name": mark("data"), "Source": "/var/lib/docker/volumes/x", "Destination": "/d"}],
        "NetworkSettings": settings(),
        "FieldOfANewEngine": "/var",
    })
}

#[test]
fn s3_a_container_is_shown_without_the_host() {
    let shown = shown(View::Container, &container(OWN));
    let text = shown.to_string();
    for hidden in [
        "/var",
        "/srv",
        "/run/enforcer",
        "4711",
        "guests.slice",
        "secret\":{",
        "FieldOfANewEngine",
        &mark(""),
    ] {
        assert!(!text.contains(hidden), "{hidden} in {text}");
    }
    assert_eq!(shown["HostConfig"], json!({"NetworkMode": "app", "Memory": 5}));
    assert_eq!(
        shown["Mounts"][0],
        json!({"Type": "volume", "Name": "data", "Source": "", "Destination": "/d"})
    );
    let networks = shown["NetworkSettings"]["Networks"].as_object().expect("networks");
    assert_eq!(networks.keys().collect::<Vec<_>>(), ["app", "guests"]);
    assert_eq!(shown["State"]["Running"], true);
}

#[test]
fn s3_of_the_notebook_little_is_shown_and_of_others_nothing() {
    let shown = shown(View::Container, &container(NOTEBOOK));
    for hidden in ["Config", "HostConfig", "Mounts", "LogPath"] {
        assert_eq!(shown.get(hidden), None);
    }
    assert_eq!(shown["NetworkSettings"]["Networks"]["app"]["IPAddress"], "10.0.0.2");
    assert_eq!(with(|context| reduce(View::Container, context, &container(OTHER))), None);
    let exec = json!({"ID": "e", "ContainerID": OTHER, "Pid": 1});
    assert_eq!(with(|context| reduce(View::Exec, context, &exec)), None);
}

#[test]
fn s3_lists_have_ones_own() {
    let answer = json!([container(OWN), container(OTHER), container(NOTEBOOK), "x", {"Id": 1}]);
    let list = shown(View::Containers, &answer);
    let ids: Vec<&Value> =
        list.as_array().expect("a list").iter().map(|item| &item["Id"]).collect();
    assert_eq!(ids, [OWN, NOTEBOOK]);
    assert_eq!(list[0]["Names"], json!(["/db"]));

    let networks = json!([
        {"Id": NETWORK, "Name": mark("app"), "Driver": "bridge", "Options": {"com.docker.network.bridge.name": "br-1"}},
        {"Id": "b", "Name": "bridge"},
    ]);
    let list = shown(View::Networks, &networks);
    assert_eq!(
        list,
        json!([{"Id": NETWORK, "Name": "app", "Driver": "bridge", "Options": {}, "Containers": {}}])
    );

    let volumes = json!({"Volumes": [
        {"Name": mark("data"), "Mountpoint": "/var/lib/docker/volumes/x"},
        {"Name": "other", "Mountpoint": "/var/lib/docker/volumes/other"},
        {"Name": mark("unknown"), "Mountpoint": "/x"},
    ], "Warnings": ["x"]});
    let list = shown(View::Volumes, &volumes);
    assert_eq!(list, json!({"Volumes": [{"Name": "data", "Mountpoint": ""}], "Warnings": null}));
    assert_eq!(shown(View::Volumes, &json!({"Volumes": null}))["Volumes"], json!([]));

    let images = json!([
        {"Id": "sha256:own", "RepoTags": [mark("x:1"), "someone:else"], "Containers": 7},
        {"Id": "sha256:py", "RepoTags": ["python:3", "someone:else"], "RepoDigests": []},
        {"Id": "sha256:no", "RepoTags": ["someone:else"]},
    ]);
    let list = shown(View::Images, &images);
    assert_eq!(list.as_array().map(Vec::len), Some(2));
    assert!(!list.to_string().contains("someone"), "{list}");
    assert_eq!(list[0]["Containers"], -1);
}

#[test]
fn s3_the_guest_network_is_shown_without_other_guests() {
    let answer = json!({
        "Id": "g", "Name": "guests", "Labels": {"operator": "x"},
        "Containers": {OWN: {"Name": "db"}, OTHER: {"Name": "other"}},
        "Options": {"x": "y"},
    });
    let network = shown(View::Network, &answer);
    assert_eq!(network["Containers"], json!({OWN: {"Name": "db"}}));
    assert_eq!((network.get("Labels"), &network["Options"]), (None, &json!({})));
    for asked in ["true", "false"] {
        let labels = json!({"enforcer.internal": asked});
        let own = json!({"Id": NETWORK, "Name": "x", "Internal": true, "Labels": labels});
        let shown = shown(View::Network, &own);
        assert_eq!(shown["Internal"].to_string(), asked, "as its owner asked for it");
    }
    let bridge = json!({"Id": "b", "Name": "bridge", "Containers": {}});
    assert_eq!(with(|context| reduce(View::Network, context, &bridge)), None);
}

#[test]
fn s3_info_and_version_tell_nothing_of_the_host() {
    let info = shown(
        View::Info,
        &json!({
            "Containers": 99, "Images": 77, "ContainersRunning": 55, "Name": "host", "DockerRootDir": "/var/lib/docker",
            "RegistryConfig": {"Mirrors": ["http://10.0.0.1"]}, "Swarm": {"NodeID": "x", "LocalNodeState": "active"},
            "HttpProxy": "http://user:pw@proxy", "Labels": ["rack=3"], "ServerVersion": "29.0", "NCPU": 4,
        }),
    );
    for hidden in ["99", "77", "55", "host\"", "/var", "10.0.0.1", "proxy", "rack", "NodeID"] {
        assert!(!info.to_string().contains(hidden), "{hidden} in {info}");
    }
    assert_eq!((&info["Containers"], &info["ServerVersion"]), (&json!(2), &json!("29.0")));
    let version = shown(
        View::Version,
        &json!({"ApiVersion": "1.99", "MinAPIVersion": "1.24", "Version": "29.0", "GitCommit": "x"}),
    );
    assert_eq!(
        (&version["ApiVersion"], &version["MinAPIVersion"]),
        (&json!("1.56"), &json!("1.41"))
    );
    assert_eq!(version.get("GitCommit"), None);
    for (engine, expected) in
        [("1.50", Some("1.50")), ("1.57", Some("1.56")), ("1.40", None), ("2.0", None), ("", None)]
    {
        assert_eq!(spoken(engine).as_deref(), expected, "{engine}");
    }
}

#[test]
fn s3_events_are_of_ones_own_line_by_line() {
    let line = |event: &Value| with(|context| event_line(context, event.to_string().as_bytes()));
    let event = |kind: &str, id: &str, attributes: Value| json!({"Type": kind, "Action": "start", "Actor": {"ID": id, "Attributes": attributes}, "time": 1, "x": "/var"});
    let own = line(&event("container", OWN, json!({"name": "db"}))).expect("own");
    assert!(own.ends_with(b"}\n") && !String::from_utf8_lossy(&own).contains("/var"));
    let network = line(&event("network", NETWORK, json!({"name": mark("app"), "container": OWN})))
        .expect("own");
    assert!(String::from_utf8_lossy(&network).contains(r#""name":"app""#));
    let volume = line(&event("volume", &mark("data"), json!({"container": OWN}))).expect("own");
    assert!(String::from_utf8_lossy(&volume).contains(r#""ID":"data""#));
    let notebook =
        line(&event("container", NOTEBOOK, json!({"name": "n", "secret": "x"}))).expect("own");
    assert!(!String::from_utf8_lossy(&notebook).contains("secret"));
    for hidden in [
        event("container", OTHER, json!({})),
        event("container", "", json!({})),
        event("network", NETWORK, json!({"container": OTHER})),
        event("network", "g", json!({})),
        event("volume", "other", json!({})),
        event("volume", &mark("data"), json!({"container": OTHER})),
        event("volume", &mark("unknown"), json!({})),
        event("image", "sha256:own", json!({})),
        event("daemon", OWN, json!({})),
        event("plugin", OWN, json!({})),
        json!({"Type": "container", "id": OWN}),
        json!([]),
    ] {
        assert_eq!(line(&hidden), None, "{hidden}");
    }
    for bytes in [&b""[..], b"{", b"\xff", b"{} {}"] {
        assert_eq!(with(|context| event_line(context, bytes)), None);
    }
}

#[test]
fn s3_answers_to_makers_have_the_owners_names() {
    let volume = shown(
        View::Volume,
        &json!({"Name": mark("new"), "Mountpoint": "/var/x", "Driver": "local"}),
    );
    assert_eq!(volume, json!({"Name": "new", "Mountpoint": "", "Driver": "local"}));
    let pruned =
        shown(View::Pruned, &json!({"VolumesDeleted": [mark("a"), "other"], "SpaceReclaimed": 5}));
    assert_eq!(pruned, json!({"VolumesDeleted": ["a"], "SpaceReclaimed": 5}));
}

#[test]
fn s12_an_error_does_not_tell_whose_it_is() {
    let message = format!(
        "Conflict. The container name \"/x\" is already in use by container \"{OTHER}\". é"
    );
    let shown = with(|context| error(context, &message));
    assert!(
        !shown.contains(OTHER) && shown.ends_with("é") && shown.contains("already in use"),
        "{shown}"
    );
    assert!(with(|context| error(context, OWN)).contains(OWN));
    assert_eq!(
        with(|context| error(context, &format!("volume {} is in use", mark("data")))),
        "volume data is in use"
    );
}

#[test]
fn s3_an_answer_of_another_shape_is_not_shown() {
    for view in [
        View::Containers,
        View::Container,
        View::Images,
        View::Image,
        View::History,
        View::Networks,
        View::Network,
        View::Volumes,
        View::Volume,
        View::Info,
        View::Version,
        View::Events,
        View::Exec,
        View::Pruned,
    ] {
        for answer in [json!(null), json!("x"), json!(1)] {
            assert_eq!(with(|context| reduce(view, context, &answer)), None, "{view:?}");
        }
    }
}
