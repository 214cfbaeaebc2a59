//! What the clients that people have send, as they send it: captured from `docker` 28.2 and docker-py 7.1; what older and
//! newer ones send besides or leave out is put on top.

use serde_json::{Value, json};

use super::{
    super::{exec, network, update, volume},
    MINE, OWN, Setting, json_of,
};
use crate::gate::{
    body::create,
    json::{Limits, read},
};

const PLAIN: &str = include_str!("docker_28_plain.json");
/// Of a service with a volume, as compose 2 words it.
const COMPOSE: &str = include_str!("compose_create.json");
const FULL: &str = include_str!("docker_28_full.json");

fn plain() -> Value {
    serde_json::from_str(PLAIN).expect("JSON")
}

#[test]
fn s3_docker_run_goes_through_as_the_client_sends_it() {
    let setting = Setting::of_user();
    for (text, network) in [(PLAIN, "guests"), (FULL, MINE)] {
        let json = read(text.as_bytes(), Limits::default()).expect("strict JSON");
        let judged =
            create::judge(&json, &setting.context()).unwrap_or_else(|refusal| panic!("{refusal}"));
        assert_eq!(judged.body["HostConfig"]["NetworkMode"], network);
    }
    let full = setting.create(&serde_json::from_str(FULL).expect("JSON")).expect("full").body;
    let config = &full["HostConfig"];
    assert_eq!((&config["CapDrop"], &config["CapAdd"]), (&json!(["ALL"]), &json!(["CHOWN"])));
    assert_eq!(
        (&config["NanoCpus"], &config["Memory"], &config["PidsLimit"]),
        (&json!(500_000_000), &json!(104_857_600), &json!(20))
    );
    assert_eq!(
        (&config["Init"], &config["ReadonlyRootfs"], &config["ShmSize"]),
        (&json!(true), &json!(true), &json!(67_108_864))
    );
    assert_eq!(config["PortBindings"]["90/tcp"], json!([{"HostIp": "", "HostPort": "8890"}]));
    assert_eq!(full["NetworkingConfig"]["EndpointsConfig"], json!({MINE: {"Aliases": ["db"]}}));
    assert_eq!(
        (&full["Hostname"], &full["User"], &full["WorkingDir"]),
        (&json!("h"), &json!("1000"), &json!("/x"))
    );
    assert_eq!(full["Volumes"], json!({"/anon": {}}));
    assert_eq!(config["Mounts"].as_array().map(Vec::len), Some(3));
}

#[test]
fn s3_docker_run_of_older_and_newer_clients_goes_through() {
    let setting = Setting::of_user();
    let mut older = plain();
    older["HostConfig"]["KernelMemory"] = json!(0);
    older["HostConfig"]["KernelMemoryTCP"] = json!(0);
    older["HostConfig"]["Capabilities"] = json!(null);
    older["NetworkingConfig"] = json!({"EndpointsConfig": {}});
    older["MacAddress"] = json!("");
    older["Entrypoint"] = json!("/bin/sh");
    let mut newer = plain();
    for name in ["Binds", "MemorySwappiness", "Links", "ContainerIDFile"] {
        newer["HostConfig"].as_object_mut().expect("an object").remove(name);
    }
    newer["HostConfig"]["ConsoleSize"] = json!([54, 211]);
    newer["HostConfig"]["ContainerIDFile"] = json!("/home/ada/id");
    for body in [older, newer] {
        setting.create(&body).unwrap_or_else(|refusal| panic!("{refusal}"));
    }
}

#[test]
fn s3_docker_py_goes_through_as_it_sends() {
    let setting = Setting::of_user();
    for body in [
        json!({"Tty": false, "OpenStdin": false, "StdinOnce": false, "AttachStdin": false, "AttachStdout": true, "AttachStderr": true, "Image": "alpine:3", "NetworkDisabled": false}),
        json!({"Image": "alpine:3", "NetworkDisabled": false, "HostConfig": {"NetworkMode": "mine", "RestartPolicy": {"Name": "always"}, "Init": true, "Mounts": [{"Target": "/d", "Source": "v", "Type": "volume", "ReadOnly": false}, {"Target": "/t", "Source": null, "Type": "tmpfs", "ReadOnly": false, "TmpfsOptions": {"SizeBytes": 10}}]}, "NetworkingConfig": {"EndpointsConfig": {"mine": {"Aliases": ["db"]}}}, "Healthcheck": {"Test": ["CMD-SHELL", "x"], "Interval": 1_000_000_000, "Timeout": null, "Retries": null, "StartPeriod": null}}),
        json!({"Image": "alpine:3", "HostConfig": {"NetworkMode": "mine"}, "NetworkingConfig": {"EndpointsConfig": {"mine": null}}}),
        json!({"Image": "alpine:3", "HostConfig": {"NetworkMode": "mine"}, "NetworkingConfig": {"mine": null}}),
    ] {
        setting.create(&body).unwrap_or_else(|refusal| panic!("{refusal}"));
    }
}

#[test]
fn s3_compose_goes_through() {
    let setting = Setting::of_user();
    let body: Value = serde_json::from_str(COMPOSE).expect("JSON");
    setting.create(&body).unwrap_or_else(|refusal| panic!("{refusal}"));
}

#[test]
fn s3_other_commands_go_through_as_the_clients_send_them() {
    let setting = Setting::of_user();
    let context = setting.context();
    for body in [
        json!({"User": "", "Privileged": false, "Tty": true, "ConsoleSize": [0, 0], "AttachStdin": true, "AttachStderr": true, "AttachStdout": true, "Detach": false, "DetachKeys": "", "Env": null, "WorkingDir": "", "Cmd": ["sh"]}),
        json!({"Container": OWN, "User": "", "Privileged": false, "Tty": false, "AttachStdin": false, "AttachStdout": true, "AttachStderr": true, "Cmd": ["ls"]}),
    ] {
        exec::judge(&json_of(&body)).unwrap_or_else(|refusal| panic!("{refusal}"));
    }
    for body in [
        json!({"Detach": false, "Tty": true, "ConsoleSize": [0, 0]}),
        json!({"Tty": false, "Detach": true}),
    ] {
        exec::judge_start(&json_of(&body)).unwrap_or_else(|refusal| panic!("{refusal}"));
    }
    for body in [
        json!({"Driver": "bridge", "Scope": "", "IPAM": {"Driver": "default", "Options": {}, "Config": []}, "Internal": false, "Attachable": false, "Ingress": false, "ConfigOnly": false, "ConfigFrom": null, "Options": {}, "Labels": {}, "Name": "n"}),
        json!({"CheckDuplicate": true, "Driver": "bridge", "EnableIPv6": false, "IPAM": {"Driver": "default", "Options": {}, "Config": []}, "Internal": true, "Attachable": false, "Ingress": false, "ConfigOnly": false, "ConfigFrom": null, "Options": {}, "Labels": {"a": "b"}, "Name": "n"}),
        json!({"Name": "n", "Driver": null, "Options": null, "IPAM": null, "CheckDuplicate": null}),
        // docker-compose's.
        json!({"Name": "shop_default", "Driver": null, "Options": null, "IPAM": null, "CheckDuplicate": true, "Attachable": true, "Labels": {"com.docker.compose.project": "shop"}}),
    ] {
        let judged = network::judge(&json_of(&body), &context);
        let judged = judged.unwrap_or_else(|refusal| panic!("{refusal}"));
        assert!(judged.body.get("Attachable").is_none(), "{}", judged.body);
    }
    let endpoint = json!({"IPAMConfig": {}, "Links": null, "Aliases": ["db"], "MacAddress": "", "DriverOpts": {}, "GwPriority": 0, "NetworkID": "", "EndpointID": "", "Gateway": "", "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "DNSNames": null});
    network::judge_connect(
        &json_of(&json!({"Container": "db", "EndpointConfig": endpoint})),
        &context,
    )
    .expect("connect");
    network::judge_disconnect(&json_of(&json!({"Container": "db", "Force": true})), &context)
        .expect("disconnect");
    for body in [
        json!({"Driver": "local", "Name": "v"}),
        json!({"Name": "", "Driver": "", "DriverOpts": {}, "Labels": {}}),
        json!({"Driver": "local"}),
        json!({"Name": "v", "Driver": "local", "DriverOpts": null, "Labels": null}),
    ] {
        volume::judge(&json_of(&body), &context).unwrap_or_else(|refusal| panic!("{refusal}"));
    }
    let body = json!({"CpuShares": 0, "Memory": 10_485_760, "NanoCpus": 0, "CgroupParent": "", "BlkioWeight": 0, "BlkioWeightDevice": null, "CpuPeriod": 0, "CpuQuota": 0, "CpusetCpus": "", "Devices": null, "DeviceCgroupRules": null, "DeviceRequests": null, "MemorySwap": 0, "MemorySwappiness": null, "OomKillDisable": null, "PidsLimit": null, "Ulimits": null, "CpuCount": 0, "RestartPolicy": {"Name": "", "MaximumRetryCount": 0}});
    let judged = update::judge(&json_of(&body), &context).expect("update").body;
    assert_eq!(judged, json!({"Memory": 10_485_760, "MemorySwap": 10_485_760}));
}
