//! Whom a container is for, of which image, on which network, and its process: what goes through of each.

use serde_json::{Value, json};

use super::{super::network, MINE, OWN, Setting, json_of};

#[test]
fn s22_nobody_else_is_named_by_labels_or_variables() {
    let setting = Setting::of_user();
    let create = |fields: Value| {
        let mut body = json!({"Image": "alpine:3"});
        body.as_object_mut().expect("a body").extend(fields.as_object().expect("fields").clone());
        setting.create(&body)
    };
    for key in [
        "enforcer.user",
        "enforcer.hub",
        "enforcer.group",
        "ENFORCER.user",
        "enforcer.",
        "com.docker.x",
        "io.docker.x",
        "org.dockerproject.x",
        "COM.docker.compose.x",
        "",
    ] {
        assert_eq!(
            create(json!({"Labels": {key: "ben"}})).expect_err(key).rule,
            "container.labels"
        );
    }
    let labels = json!({"com.docker.compose.project": "p", "x": ""});
    let body = create(json!({"Labels": labels})).expect("labels").body;
    assert_eq!(
        (&body["Labels"]["com.docker.compose.project"], &body["Labels"]["enforcer.user"]),
        (&json!("p"), &json!("ada"))
    );
    assert_eq!(body["Labels"]["enforcer.managed"], json!(""), "an image may say that it is");
    // Of a project that the operator has they would be taken for a part.
    let mut setting = Setting::of_user();
    setting.facts.operators_projects = ["hub".to_owned()].into();
    for (project, is_taken) in [("hub", true), ("hub2", false)] {
        let labels = json!({"com.docker.compose.project": project});
        let created = setting.create(&json!({"Image": "alpine:3", "Labels": labels}));
        assert_eq!(created.is_err(), is_taken, "{project}: {created:?}");
    }
    for env in [
        json!(["JUPYTERHUB_USER=ben"]),
        json!(["JUPYTERHUB_USER="]),
        json!(["JUPYTERHUB_USER"]),
        json!(["JUPYTERHUB_USER=ada", "JUPYTERHUB_USER=ada"]),
        json!(["JUPYTERHUB_SERVER_NAME=x"]),
        json!(["=x"]),
        json!([""]),
        json!(["A=\u{0}"]),
        json!([1]),
        json!("A=b"),
    ] {
        assert_eq!(create(json!({"Env": env})).expect_err("env").rule, "container.env");
    }
    let judged =
        create(json!({"Env": ["JUPYTERHUB_USER=ada", "SECRET=x=y", "GONE"]})).expect("own name");
    assert_eq!(judged.body["Env"], json!(["JUPYTERHUB_USER=ada", "SECRET=x=y", "GONE"]));
    assert_eq!(judged.shown["Env"], json!(["JUPYTERHUB_USER=***", "SECRET=***", "GONE"]));
    for mut setting in [Setting::of_user(), Setting::of_hub()] {
        setting.rules.reserved_labels = vec!["course".to_owned()];
        let body = json!({"Image": "alpine:3", "Labels": {"course": "7"}});
        assert_eq!(setting.create(&body).expect_err("the config's").rule, "container.labels");
        let body = json!({"Image": "alpine:3", "Labels": {"course.x": "7"}});
        assert!(setting.create(&body).is_ok(), "{}", setting.principal);
    }
}

#[test]
fn d16_another_image_is_refused() {
    let setting = Setting::of_user();
    for image in ["debian", "evil.io/alpine:3", "sha256:x", "", " alpine:3", "alpine:3 "] {
        assert_eq!(
            setting.create(&json!({"Image": image})).expect_err(image).rule,
            "container.image"
        );
    }
    assert_eq!(setting.create(&json!({})).expect_err("none").rule, "container.image");
    assert_eq!(
        setting.create(&json!({"Image": "alpine"})).expect("of the list").body["Image"],
        "alpine:latest"
    );
    assert!(setting.create(&json!({"Image": "own:1"})).is_ok());
}

#[test]
fn s3_a_container_is_on_own_networks_by_the_engine_s_names() {
    let setting = Setting::of_user();
    let create = |mode: &str, endpoints: Value| {
        setting.create(&json!({"Image": "alpine:3", "HostConfig": {"NetworkMode": mode}, "NetworkingConfig": {"EndpointsConfig": endpoints}}))
    };
    let body =
        create("mine", json!({"mine": {"Aliases": ["db"]}, "default": null})).expect("own").body;
    assert_eq!(body["HostConfig"]["NetworkMode"], MINE);
    assert_eq!(
        body["NetworkingConfig"]["EndpointsConfig"],
        json!({MINE: {"Aliases": ["db"]}, "guests": {}})
    );
    for (mode, endpoints) in [
        ("mine", json!({"other": {}})),
        ("mine", json!({"host": {}})),
        ("default", json!({"default": {"Aliases": ["hub"]}})),
        ("default", json!({"bridge": {}, "default": {}})),
        ("none", json!({"mine": {}})),
        ("mine", json!({"mine": {"Aliases": ["a b"]}})),
        ("mine", json!({"mine": {"MacAddress": "02:42:ac:11:00:02"}})),
        ("mine", json!({"mine": {"IPAMConfig": {"IPv4Address": "10.0.0.1"}}})),
        ("mine", json!({"mine": {"Links": ["db"]}})),
        ("mine", json!({"mine": {"DriverOpts": {"a": "b"}}})),
        ("mine", json!({"mine": {"Aliases": [""]}})),
    ] {
        create(mode, endpoints).expect_err(mode);
    }
    // What says `NetworkMode` again, and nothing else that is not known.
    for (again, is_fine) in [
        (json!({"mine": null}), true),
        (json!({"other": null}), false),
        (json!({"Mine": null}), false),
        (json!({"mine": {}}), false),
        (json!({"mine": null, "host": null}), false),
    ] {
        let judged = setting.create(&json!({"Image": "alpine:3", "HostConfig": {"NetworkMode": "mine"}, "NetworkingConfig": again}));
        assert_eq!(judged.is_ok(), is_fine, "{again}");
    }
    let refusal = create("other", json!({})).expect_err("another's");
    assert_eq!(refusal.status.as_u16(), 404);
    assert_eq!(create("none", json!({})).expect("alone").body["HostConfig"]["NetworkMode"], "none");
    let connect = network::judge_connect(
        &json_of(&json!({"Container": "/db", "EndpointConfig": {"Aliases": ["x"]}})),
        &setting.context(),
    );
    assert_eq!(
        connect.expect("own").body,
        json!({"Container": OWN, "EndpointConfig": {"Aliases": ["x"]}})
    );
}

#[test]
fn s22_a_host_name_is_no_name_that_others_on_the_guest_network_ask_for() {
    let setting = Setting::of_user();
    let create = |mode: &str, endpoints: Value| {
        let body = json!({"Image": "alpine:3", "Hostname": "github.com",
            "HostConfig": {"NetworkMode": mode}, "NetworkingConfig": {"EndpointsConfig": endpoints}});
        setting.create(&body).expect("created")
    };
    for (mode, endpoints) in
        [("", json!({})), ("guests", json!({})), (MINE, json!({MINE: {}, "guests": {}}))]
    {
        let judged = create(mode, endpoints);
        assert_eq!(judged.body.get("Hostname"), None, "{mode}");
        assert!(
            judged.shown["enforcer.changed"].to_string().contains("Hostname"),
            "{}",
            judged.shown
        );
    }
    for mode in [MINE, "none"] {
        assert_eq!(create(mode, json!({})).body["Hostname"], "github.com", "{mode}");
    }
}

#[test]
fn s29_what_concerns_the_process_is_plain() {
    let setting = Setting::of_user();
    for fields in [
        json!({"Hostname": "a b"}),
        json!({"Hostname": "-a"}),
        json!({"Domainname": "a\nb"}),
        json!({"User": "a\nb"}),
        json!({"WorkingDir": "/a\u{0}"}),
        json!({"StopSignal": "KILL 1"}),
        json!({"StopTimeout": -1}),
        json!({"StopTimeout": 301}),
        json!({"Cmd": [1]}),
        json!({"Cmd": {"a": "b"}}),
        json!({"ExposedPorts": {"x": {}}}),
        json!({"ExposedPorts": {"80/tcp": {"a": 1}}}),
        json!({"Healthcheck": {"Interval": 1}}),
        json!({"Healthcheck": {"Retries": 101}}),
        json!({"Healthcheck": {"Test": "x"}}),
        json!({"Tty": "yes"}),
        json!({"Tty": 1}),
    ] {
        let mut body = json!({"Image": "alpine:3"});
        body.as_object_mut().expect("a body").extend(fields.as_object().expect("fields").clone());
        setting.create(&body).expect_err(&fields.to_string());
    }
    let named = super::Context { name: Some("../x"), ..setting.context() };
    let refusal = super::create::judge(&json_of(&json!({"Image": "alpine:3"})), &named);
    assert_eq!(refusal.expect_err("a path").rule, "container.name");
    let body = setting
        .create(&json!({"Image": "alpine:3", "Cmd": "ls", "Entrypoint": []}))
        .expect("a text")
        .body;
    assert_eq!((&body["Cmd"], &body["Entrypoint"]), (&json!(["ls"]), &json!([])));
}
