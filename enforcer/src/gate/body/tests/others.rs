//! Exec, networks, volumes and updates.

use serde_json::json;

use super::{
    super::{super::names, Context, exec, network, update, volume},
    NOTEBOOK, Setting, json_of,
};

#[test]
fn s12_a_command_has_no_privileges_of_the_host() {
    let body = json!({"User": "0", "Privileged": false, "Tty": true, "ConsoleSize": [24, 80], "AttachStdin": true, "AttachStderr": true, "AttachStdout": true, "Detach": false, "DetachKeys": "ctrl-p", "Env": ["A=b"], "WorkingDir": "/", "Cmd": ["sh"], "Container": "x"});
    let judged = exec::judge(&json_of(&body)).expect("a command");
    assert_eq!(
        judged.body,
        json!({"User": "0", "Tty": true, "ConsoleSize": [24, 80], "AttachStdin": true, "AttachStderr": true, "AttachStdout": true, "DetachKeys": "ctrl-p", "Env": ["A=b"], "WorkingDir": "/", "Cmd": ["sh"]})
    );
    assert_eq!(judged.shown["Env"], json!(["A=***"]));
    for body in [
        json!({"Cmd": ["x"], "Privileged": true}),
        json!({}),
        json!({"Cmd": []}),
        json!({"Cmd": null}),
        json!({"Cmd": ["x"], "ConsoleSize": [1]}),
        json!({"Cmd": ["x"], "ConsoleSize": [1, 70_000]}),
        json!({"Cmd": ["x"], "User": "a\nb"}),
        json!([]),
        json!(null),
    ] {
        exec::judge(&json_of(&body)).expect_err(&body.to_string());
    }
    let long = |command: usize, variable: usize| json!({"Cmd": ["x".repeat(command)], "Env": [format!("A={}", "x".repeat(variable))]});
    exec::judge(&json_of(&long(8 << 10, 4 << 10))).expect("what the engine may keep");
    for (command, variable) in [(16 << 10, 1), (1, 16 << 10), (8 << 10, 8 << 10)] {
        exec::judge(&json_of(&long(command, variable))).expect_err("S30: too long");
    }
    let start = |body| exec::judge_start(&json_of(&body));
    assert_eq!(start(json!({})).expect("empty").body, json!({"Detach": false, "Tty": false}));
    assert_eq!(
        start(json!({"Tty": true, "ConsoleSize": [1, 2]})).expect("a size").body["ConsoleSize"],
        json!([1, 2])
    );
    assert_eq!(
        start(json!({"Tty": false, "ConsoleSize": [0, 0]}))
            .expect("no size")
            .body
            .get("ConsoleSize"),
        None
    );
    start(json!({"Privileged": true})).expect_err("unknown");
}

#[test]
fn s3_an_own_network_is_a_plain_bridge_with_a_name_of_ours() {
    let setting = Setting::of_user();
    let context = setting.context();
    let judged = network::judge(
        &json_of(
            &json!({"Name": "app_default", "Driver": "bridge", "Internal": true, "EnableIPv4": true, "Labels": {"com.docker.compose.network": "default"}, "CheckDuplicate": true, "IPAM": {"Driver": "default", "Config": []}}),
        ),
        &context,
    );
    assert_eq!(
        judged.expect("a network").body,
        json!({
            "Name": names::engine_name(&setting.principal, "app_default"),
            "Driver": "bridge", "Internal": true, "EnableIPv6": false,
            "IPAM": {"Driver": "default", "Config": [{"Subnet": "192.0.2.0/26", "Gateway": "192.0.2.1"}]},
            "Options": {"com.docker.network.bridge.name": "en-own-00000000"},
            "Labels": {"com.docker.compose.network": "default", "enforcer.gate": "user", "enforcer.hub": "lab", "enforcer.user": "ada", "enforcer.network": "own", "enforcer.internal": "true"},
        })
    );
    let open = network::judge(&json_of(&json!({"Name": "n", "Internal": false})), &context);
    let open = open.expect("a network").body;
    assert_eq!(
        (&open["Internal"], &open["Labels"]["enforcer.internal"]),
        (&json!(true), &json!("false")),
        "the engine takes no way out of it for a notebook's"
    );
    for body in [
        json!({}),
        json!({"Name": ""}),
        json!({"Name": "host"}),
        json!({"Name": "bridge"}),
        json!({"Name": "none"}),
        json!({"Name": "default"}),
        json!({"Name": "a/b"}),
        json!({"Name": "n", "Driver": "macvlan"}),
        json!({"Name": "n", "Driver": "host"}),
        json!({"Name": "n", "Driver": "overlay"}),
        json!({"Name": "n", "Scope": "swarm"}),
        json!({"Name": "n", "Options": {"com.docker.network.bridge.name": "docker0"}}),
        json!({"Name": "n", "EnableIPv6": true}),
        json!({"Name": "n", "EnableIPv4": false}),
        json!({"Name": "n", "IPAM": {"Config": [{"Subnet": "10.0.0.0/8"}]}}),
        json!({"Name": "n", "IPAM": {"Driver": "x"}}),
        json!({"Name": "n", "Attachable": "true"}),
        json!({"Name": "n", "ConfigFrom": {"Network": "x"}}),
        json!({"Name": "n", "Labels": {"enforcer.network": "guest"}}),
        json!({"Name": "n", "Labels": {"enforcer.internal": "false"}}),
    ] {
        network::judge(&json_of(&body), &context).expect_err(&body.to_string());
    }
    for name in ["mine", "guests"] {
        let refusal = network::judge(&json_of(&json!({"Name": name})), &context).expect_err(name);
        assert_eq!(refusal.status.as_u16(), 409);
    }
    let without = Context { bridge: None, ..context };
    assert_eq!(
        network::judge(&json_of(&json!({"Name": "n"})), &without).expect_err("none").rule,
        "network.bridge"
    );
    let mut setting = Setting::of_user();
    setting.rules.max_networks = 1;
    let refusal = network::judge(&json_of(&json!({"Name": "n"})), &setting.context());
    assert_eq!(refusal.expect_err("one more").rule, "quota.networks");
}

#[test]
fn s3_own_containers_alone_join_own_networks_the_notebook_too() {
    let setting = Setting::of_user();
    let context = setting.context();
    let connect = |body| network::judge_connect(&json_of(&body), &context);
    let disconnect = |body| network::judge_disconnect(&json_of(&body), &context);
    let body = json!({"Container": "jupyter-ada", "Force": true});
    assert_eq!(disconnect(body).expect("own").body, json!({"Container": NOTEBOOK, "Force": true}));
    let body = json!({"Container": "jupyter-ada", "EndpointConfig": null});
    assert_eq!(
        connect(body).expect("own").body,
        json!({"Container": NOTEBOOK, "EndpointConfig": {}})
    );
    for called in ["hub", "", "/", "f0", "jupyter-ben", "../x"] {
        let refusals =
            [connect(json!({"Container": called})), disconnect(json!({"Container": called}))];
        for refusal in refusals {
            assert_eq!(refusal.expect_err(called).status.as_u16(), 404);
        }
    }
    for settings in [
        json!({"IPAMConfig": {"IPv4Address": "10.0.0.2"}}),
        json!({"MacAddress": "02:42:ac:11:00:02"}),
        json!({"GwPriority": 1}),
        json!({"Links": ["a"]}),
    ] {
        connect(json!({"Container": "db", "EndpointConfig": settings}))
            .expect_err("more than names");
    }
}

#[test]
fn s30_an_update_lifts_no_limit() {
    let setting = Setting::of_user();
    let update = |body| update::judge(&json_of(&body), &setting.context());
    assert_eq!(update(json!({})).expect("nothing").body, json!({}));
    let body =
        json!({"Memory": 100, "NanoCpus": 5, "PidsLimit": 3, "RestartPolicy": {"Name": "always"}});
    assert_eq!(
        update(body).expect("within").body,
        json!({
            "Memory": 100, "MemorySwap": 100, "NanoCpus": 5, "PidsLimit": 3,
            "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 10},
        })
    );
    for body in [
        json!({"Memory": 3_u64 << 30}),
        json!({"Memory": -1}),
        json!({"MemorySwap": -1}),
        json!({"PidsLimit": -1}),
        json!({"PidsLimit": 600}),
        json!({"NanoCpus": 2_000_000_000}),
        json!({"CpuQuota": -1}),
        json!({"CpuQuota": 200_000}),
        json!({"CpuShares": 2_000}),
        json!({"Devices": [{"PathOnHost": "/dev/sda"}]}),
        json!({"CgroupParent": "/"}),
        json!({"OomKillDisable": true}),
        json!({"Privileged": true}),
    ] {
        update(body.clone()).expect_err(&body.to_string());
    }
}

#[test]
fn s03_a_volume_is_plain_and_the_principal_s() {
    let setting = Setting::of_user();
    let judged = volume::judge(
        &json_of(&json!({"Name": "v", "Driver": "local", "Labels": {"a": "b"}})),
        &setting.context(),
    );
    assert_eq!(
        judged.expect("a volume").body,
        json!({
            "Name": names::engine_name(&setting.principal, "v"), "Driver": "local",
            "Labels": {"a": "b", "enforcer.gate": "user", "enforcer.hub": "lab", "enforcer.user": "ada"},
        })
    );
    let unnamed = volume::judge(&json_of(&json!({"Driver": ""})), &setting.context());
    assert_eq!(unnamed.expect("unnamed").body.get("Name"), None);
}
