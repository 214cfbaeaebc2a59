//! What a spawner asks for, and what it gets.

use serde_json::{Value, json};

use super::{super::super::names, Setting};

/// As `DockerSpawner` sends it through docker-py 7.1, with a socket in its config.
fn spawn(binds: &Value) -> Value {
    json!({
        "ExposedPorts": {"8888/tcp": {}}, "Tty": false, "OpenStdin": false, "StdinOnce": false,
        "AttachStdin": false, "AttachStdout": true, "AttachStderr": true,
        "Env": ["JUPYTERHUB_USER=ben", "JUPYTERHUB_API_TOKEN=secret"],
        "Image": "jupyter/base-notebook", "Volumes": {"/home/jovyan/work": {}}, "NetworkDisabled": false,
        "HostConfig": {
            "Memory": 536_870_912, "NetworkMode": "hubnet", "Binds": binds,
            "PortBindings": {"8888/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
            "Links": [], "CpuQuota": 50_000, "CpuPeriod": 100_000, "AutoRemove": true, "Mounts": []
        }
    })
}

#[test]
fn s1_a_spawner_s_create_is_put_right() {
    let mut setting = Setting::of_hub();
    setting.facts.socket = Some("/run/enforcer/gate/u-1.sock".into());
    let binds = json!([
        "jupyterhub-user-ben:/home/jovyan/work:rw",
        "/var/run/docker.sock:/var/run/docker.sock:rw"
    ]);
    let judged = setting.create(&spawn(&binds)).expect("a spawn");
    let config = &judged.body["HostConfig"];
    let volume = names::engine_name(&setting.principal, "jupyterhub-user-ben");
    assert_eq!(judged.volumes, std::slice::from_ref(&volume));
    assert_eq!(config["Mounts"][0]["Source"], volume);
    assert_eq!(
        config["Mounts"][1],
        json!({
            "Type": "bind", "Source": "/run/enforcer/gate/u-1.sock", "Target": "/var/run/docker.sock"
        })
    );
    assert_eq!(config["Mounts"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        (&config["NetworkMode"], &config["NanoCpus"]),
        (&json!("guests"), &json!(500_000_000))
    );
    assert_eq!(
        config["PortBindings"]["8888/tcp"],
        json!([{"HostIp": "127.0.0.1", "HostPort": ""}])
    );
    assert_eq!(
        (&judged.body["Labels"]["enforcer.user"], &judged.body["Labels"]["enforcer.hub"]),
        (&json!("ben"), &json!("lab"))
    );
    assert_eq!(judged.body.get("Volumes"), None);
    let shown = judged.shown.to_string();
    assert!(!shown.contains("secret"), "{shown}");
    let changed = judged.shown["enforcer.changed"].to_string();
    assert!(
        changed.contains("/var/run/docker.sock") && changed.contains("hubnet -> guests"),
        "{changed}"
    );
}

#[test]
fn a2_a_guest_has_its_user_s_groups_and_where_the_user_came_from() {
    let mut setting = Setting::of_hub();
    setting.facts.groups = vec!["course-7".to_owned(), "staff".to_owned()];
    setting.facts.client = Some("192.0.2.7".to_owned());
    let judged = setting.create(&spawn(&json!([]))).expect("a spawn");
    let labels = &judged.body["Labels"];
    let said = (&labels["enforcer.groups"], &labels["enforcer.client"]);
    assert_eq!(said, (&json!("course-7/staff"), &json!("192.0.2.7")));
    // What policies look at is none of a hub's to say.
    assert_eq!(labels.get("enforcer.group"), None);
}

#[test]
fn s01_a_hub_s_socket_mounts_are_left_out_however_spelt() {
    let setting = Setting::of_hub();
    for source in [
        "/var/run/docker.sock",
        "/run/docker.sock",
        "//var//run/docker.sock",
        "/var/run/./docker.sock",
        "/var/run/docker.sock/",
        "/proc/1/root/run/docker.sock",
        "/var/run/../run/docker.sock",
        "/var/run/docker.sock ",
        "/var/run/DOCKER.sock",
        "docker.sock",
    ] {
        let mount = json!({"Type": "bind", "Source": source, "Target": "/x"});
        for config in [
            json!({"Binds": [format!("{source}:/x:ro")]}),
            json!({"Mounts": [mount]}),
            json!({"Binds": ["/srv/x:/run/docker.sock"]}),
        ] {
            let judged = setting.host(&config).expect("left out");
            assert_eq!(judged.body["HostConfig"].get("Mounts"), None, "{config}");
            assert_eq!(judged.shown["enforcer.changed"].as_array().map(Vec::len), Some(1));
        }
    }
    for source in [
        "/run",
        "/var/run",
        "/",
        "/etc",
        "/srv",
        "/home/ben",
        "./x",
        "/var/run/docker.sock/..",
        "/run/containerd/containerd.sock",
    ] {
        setting.refused(&json!({"Binds": [format!("{source}:/x")]}));
        setting.refused(&json!({"Mounts": [{"Type": "bind", "Source": source, "Target": "/x"}]}));
    }
}

#[test]
fn s01_where_a_socket_was_left_out_there_is_nothing_else() {
    let mut setting = Setting::of_hub();
    let bind = "/var/run/docker.sock:/var/run/docker.sock:rw";
    let body = json!({
        "Image": "alpine:3", "Env": ["JUPYTERHUB_USER=ben"], "Volumes": {"/var/run/docker.sock": {}},
        "HostConfig": {"Binds": [bind]}
    });
    let judged = setting.create(&body).expect("left out");
    assert_eq!(judged.body.get("Volumes"), None);
    assert_eq!(judged.body["HostConfig"].get("Mounts"), None);
    setting.facts.socket = Some("/run/enforcer/gate/u-1.sock".into());
    let judged = setting.create(&body).expect("the user's own");
    assert_eq!(judged.body.get("Volumes"), None);
    assert_eq!(judged.body["HostConfig"]["Mounts"].as_array().map(Vec::len), Some(1));
}

#[test]
fn s21_a_hub_mounts_what_is_directly_in_a_root_of_its_rules() {
    let mut setting = Setting::of_hub();
    setting.rules.bind_roots = vec!["/srv/data".into(), "/var".into(), "/".into()];
    for source in ["/srv/data", "/srv/data/", "/srv/data/ben"] {
        let config = setting.host_of(&json!({"Binds": [format!("{source}:/x:ro")]}));
        let expected = source.trim_end_matches('/');
        assert_eq!(
            config["Mounts"],
            json!([{"Type": "bind", "Source": expected, "ReadOnly": true, "Target": "/x"}])
        );
    }
    for source in [
        "/srv/data/ben/x",
        "/srv/data/..",
        "/srv/data/../..",
        "/srv/database",
        "/srv",
        "/srv//data",
        "/var",
        "/var/run",
        "/var/lib",
        "/home",
        "/etc",
        "/",
        "/proc",
    ] {
        setting.refused(&json!({"Binds": [format!("{source}:/x")]}));
    }
    // A user has none, whatever the rules say.
    let user = Setting::of_user();
    let setting = Setting { principal: user.principal, facts: user.facts, rules: setting.rules };
    setting.refused(&json!({"Binds": ["/srv/data:/x"]}));
}

#[test]
fn s1_a_socket_is_given_to_the_user_who_is_named_once_and_plainly() {
    let mut setting = Setting::of_hub();
    setting.facts.socket = Some("/run/enforcer/gate/u-1.sock".into());
    let create = |env: Value| setting.create(&json!({"Image": "alpine:3", "Env": env}));
    for env in [
        json!([]),
        json!(["JUPYTERHUB_USER"]),
        json!(["JUPYTERHUB_USER="]),
        json!(["jupyterhub_user=ben"]),
        json!(["JUPYTERHUB_USER=ben", "JUPYTERHUB_USER=ada"]),
        json!(["JUPYTERHUB_USER=ben", "JUPYTERHUB_USER"]),
        json!(["JUPYTERHUB_USER=../ben"]),
        json!(["JUPYTERHUB_USER= ben"]),
        json!(["JUPYTERHUB_USER=b\u{202e}"]),
    ] {
        assert_eq!(create(env.clone()).expect_err("nobody").rule, "container.env", "{env}");
    }
    assert!(create(json!(["JUPYTERHUB_USER=ben"])).is_ok());
    // A user's own containers have no socket of ours, whatever the facts say.
    let mut user = Setting::of_user();
    user.facts.socket = setting.facts.socket.clone();
    assert_eq!(
        user.host(&json!({})).map(|judged| judged.body["HostConfig"].get("Mounts").cloned()),
        Ok(None)
    );
}

#[test]
fn n2_a_hub_s_guests_share_nothing_with_one_another_or_the_host() {
    let setting = Setting::of_hub();
    for config in [
        json!({"NetworkMode": "container:db"}),
        json!({"PidMode": "container:db"}),
        json!({"IpcMode": "container:db"}),
        json!({"VolumesFrom": ["db"]}),
        json!({"NetworkMode": "host"}),
        json!({"PidMode": "host"}),
        json!({"Privileged": true}),
        json!({"PortBindings": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": ""}]}}),
        json!({"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "22"}]}}),
        json!({"CapAdd": ["SYS_ADMIN"]}),
    ] {
        setting.refused(&config);
    }
    let create = |endpoints: Value| {
        setting.create(
            &json!({"Image": "alpine:3", "NetworkingConfig": {"EndpointsConfig": endpoints}}),
        )
    };
    create(json!({"host": {}})).expect_err("the host's");
    create(json!({"guests": {"Aliases": ["hub"]}})).expect_err("another's name");
    assert_eq!(
        create(json!({"hubnet": null})).expect("put right").body["NetworkingConfig"]["EndpointsConfig"],
        json!({"guests": {}})
    );
}

#[test]
fn s30_a_hub_s_limits_beyond_the_rules_are_cut_and_told() {
    let setting = Setting::of_hub();
    let most = Setting::of_user().rules;
    let memory = i64::try_from(most.memory).expect("it fits");
    for (asked, name, expected) in [
        (json!({"Memory": memory + 1}), "Memory", memory),
        (json!({"Memory": -1}), "Memory", memory),
        (json!({"Memory": 8_i64 << 20, "MemorySwap": -1}), "MemorySwap", 8 << 20),
        (
            json!({"Memory": 8_i64 << 20, "MemoryReservation": 9_i64 << 20}),
            "MemoryReservation",
            8 << 20,
        ),
        (json!({"NanoCpus": 64_000_000_000_i64}), "NanoCpus", 1_000_000_000),
        (json!({"CpuQuota": 400_000, "CpuPeriod": 100_000}), "NanoCpus", 1_000_000_000),
        (json!({"PidsLimit": -1}), "PidsLimit", 512),
    ] {
        let judged = setting.host(&asked).unwrap_or_else(|refusal| panic!("{asked}: {refusal}"));
        assert_eq!(judged.body["HostConfig"][name], json!(expected), "{asked}");
        let changed = judged.shown["enforcer.changed"].as_array().map(Vec::len);
        assert_eq!(changed, Some(1), "{asked}: {}", judged.shown);
        // A user hears of it.
        Setting::of_user().refused(&asked);
    }
    let fits = setting.host(&json!({"Memory": memory, "MemorySwap": memory})).expect("it fits");
    assert_eq!(fits.shown.get("enforcer.changed"), None, "{}", fits.shown);
}

#[test]
fn s22_a_hub_s_own_word_on_whose_a_guest_is_is_left_out() {
    let setting = Setting::of_hub();
    let create = |key: &str| {
        setting.create(&json!({
            "Image": "alpine:3", "Env": ["JUPYTERHUB_USER=ben"], "Labels": {key: "root", "course": "x"}
        }))
    };
    for key in ["enforcer.user", "enforcer.hub", "enforcer.gate", "Enforcer.User", "enforcer.x"] {
        let judged = create(key).expect(key);
        assert_eq!(
            judged.body["Labels"],
            json!({"course": "x", "enforcer.gate": "hub", "enforcer.hub": "lab", "enforcer.managed": "",
                "enforcer.user": "ben"})
        );
        let changed = judged.shown["enforcer.changed"].to_string();
        assert!(changed.contains(key), "{key}: {changed}");
    }
    assert_eq!(create("com.docker.x").expect_err("Docker's").rule, "container.labels");
}

#[test]
fn d16_a_hub_s_list_binds_its_users_choice() {
    let mut setting = Setting::of_hub();
    setting.create(&json!({"Image": "evil/image"})).expect_err("not in the list");
    setting.rules.images.clear();
    assert!(setting.create(&json!({"Image": "evil/image"})).is_ok());
    setting.create(&json!({"Image": "d".repeat(64)})).expect_err("an id of nobody knows what");
}
