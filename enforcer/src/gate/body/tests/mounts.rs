//! S01 to S04: no file of the host, however it is spelt, and no other's volume.

use serde_json::{Value, json};

use super::{
    super::{super::names, paths, volume},
    NOTEBOOK, OWN, Setting, json_of,
};

/// Ways to say a Docker socket, or a directory that it is in.
const SOCKETS: [&str; 58] = [
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/var/run",
    "/var/run/",
    "/var/run/.",
    "/run",
    "/run/",
    "/var",
    "/var/",
    "/",
    "//",
    "/.",
    "/..",
    "/./",
    "//var/run/docker.sock",
    "/var//run/docker.sock",
    "//var//run//docker.sock",
    "/var/run/./docker.sock",
    "/var/./run/docker.sock",
    "/var/run/docker.sock/",
    "/var/run/docker.sock/.",
    "/var/run/../run/docker.sock",
    "/var/../run/docker.sock",
    "/../var/run/docker.sock",
    "/tmp/../var/run/docker.sock",
    "/proc/1/root/var/run/docker.sock",
    "/proc/1/root/..",
    "/proc/1/root",
    "/proc/self/root/run/docker.sock",
    "/proc/1/cwd/run/docker.sock",
    "/proc/1/fd/3",
    "/proc/self/fd/7",
    "/dev/fd/3",
    "/var/run/docker.sock ",
    " /var/run/docker.sock",
    "/var/run /docker.sock",
    "/var/run/docker.sock\t",
    "/var/run/docker.sock\n",
    "\n/var/run/docker.sock",
    "/var/run/docker.sock\u{0}",
    "/var/run/docker.sock\u{0}x",
    "var/run/docker.sock",
    "./var/run/docker.sock",
    "../var/run/docker.sock",
    "../../run/docker.sock",
    ".",
    "..",
    "~",
    "~/docker.sock",
    "~root/../run/docker.sock",
    "$HOME/docker.sock",
    "/var/run/DOCKER.SOCK",
    "\u{ff0f}var\u{ff0f}run\u{ff0f}docker.sock",
    "/var/run/d\u{43e}cker.sock",
    "\u{2215}run",
    "/run/containerd/containerd.sock",
    "file:///var/run/docker.sock",
    "\\var\\run\\docker.sock",
];

/// Options of a bind.
const OPTIONS: [&str; 8] = ["", ":ro", ":rw", ":z", ":ro,Z", ":rshared", ":rslave,ro", ":bind"];

#[test]
fn s01_no_spelling_of_the_socket_is_mounted_for_a_user() {
    let setting = Setting::of_user();
    let mut count = 0;
    for source in SOCKETS {
        for target in ["/var/run/docker.sock", "/x", "/run/docker.sock"] {
            for options in OPTIONS {
                setting.refused(&json!({"Binds": [format!("{source}:{target}{options}")]}));
                count += 1;
            }
            for kind in
                ["bind", "volume", "", "npipe", "cluster", "image", "Bind", "tmpfs", "rbind"]
            {
                for more in [
                    json!({}),
                    json!({"ReadOnly": true}),
                    json!({"BindOptions": {"Propagation": "rshared"}}),
                ] {
                    let mut mount = json!({"Type": kind, "Source": source, "Target": target});
                    mount
                        .as_object_mut()
                        .expect("a mount")
                        .extend(more.as_object().expect("more").clone());
                    setting.refused(&json!({"Mounts": [mount]}));
                }
            }
        }
        setting.refused(&json!({"VolumesFrom": [source]}));
        assert_eq!(paths::source(source, &["/srv".into()]), None);
    }
    assert_eq!(count, SOCKETS.len() * 3 * OPTIONS.len());
}

#[test]
fn s01_a_bind_that_is_no_volume_s_is_refused() {
    let setting = Setting::of_user();
    for bind in [
        "",
        ":",
        "::",
        ":/d",
        "vol:",
        "vol:d",
        "vol:/",
        "vol:/d:",
        "vol:/d:ro:rw",
        "vol:/d:exec",
        "vol:/d:rprivate",
        "vol:/../d",
        "vol:/d/..",
        "vol:/d//e",
        "vol:/./d",
        "vol:/proc",
        "vol:/proc/sys",
        "vol:/sys/fs/cgroup",
        "vol:/dev",
        "vol:/dev/sda",
        "vol:C:/d",
        "-vol:/d",
        ".vol:/d",
        "v/ol:/d",
        "vol :/d",
        "völ:/d",
        "vol:/d\u{202e}",
        "vol:/d:RO",
        "/d:",
        "d",
        "..",
        "/proc",
    ] {
        if bind == "vol:/d:" {
            continue;
        }
        assert_eq!(setting.refused(&json!({"Binds": [bind]})), "host-config.binds", "{bind:?}");
    }
    setting.refused(&json!({"Binds": ["vol:/d", "vol:/d/"]}));
    setting.refused(&json!({"Binds": ["vol:/d"], "Mounts": [{"Type": "tmpfs", "Target": "/d"}]}));
    setting.refused(&json!({"Binds": "vol:/d"}));
    setting.refused(&json!({"Binds": (0..70).map(|n| format!("vol:/d{n}")).collect::<Vec<_>>()}));
}

#[test]
fn s03_an_own_volume_goes_on_by_the_engine_s_name_and_a_new_one_is_the_principal_s() {
    let setting = Setting::of_user();
    let own = names::engine_name(&setting.principal, "vol");
    let new = names::engine_name(&setting.principal, "fresh");
    let judged = setting
        .host(&json!({
            "Binds": ["vol:/a:ro", "fresh:/b", "fresh:/e:nocopy"],
            "Mounts": [{"Type": "volume", "Source": "vol", "Target": "/c", "VolumeOptions": {"Labels": {"a": "b"}}}],
        }))
        .expect("own volumes");
    let mounts = &judged.body["HostConfig"]["Mounts"];
    let sources: Vec<_> =
        mounts.as_array().expect("mounts").iter().map(|mount| mount["Source"].clone()).collect();
    assert_eq!(sources, [&own, &new, &own, &new].map(|name| json!(name)));
    assert_eq!((&mounts[0]["ReadOnly"], &mounts[1]["ReadOnly"]), (&json!(true), &json!(false)));
    assert_eq!(mounts[3]["VolumeOptions"]["NoCopy"], true);
    for mount in mounts.as_array().expect("mounts") {
        assert_eq!(mount["VolumeOptions"]["DriverConfig"], json!({"Name": "local"}));
        assert_eq!(mount["VolumeOptions"]["Labels"]["enforcer.user"], "ada");
    }
    assert_eq!(judged.volumes, [new]);
    // The same name is another principal's other volume.
    assert!(
        !own.ends_with("lab-vol") && own != names::engine_name(&Setting::of_hub().principal, "vol")
    );
}

#[test]
fn s03_a_volume_with_a_driver_or_options_is_never_mounted() {
    let setting = Setting::of_user();
    assert_eq!(setting.refused(&json!({"Binds": ["odd:/d"]})), "host-config.binds");
    let mount = |options: Value| json!({"Mounts": [{"Type": "volume", "Source": "fresh", "Target": "/d", "VolumeOptions": options}]});
    setting.refused(&json!({"Mounts": [{"Type": "volume", "Source": "odd", "Target": "/d"}]}));
    setting.refused(&mount(json!({"DriverConfig": {"Name": "nfs"}})));
    let options = json!({"type": "none", "o": "bind", "device": "/"});
    setting.refused(&mount(json!({"DriverConfig": {"Name": "local", "Options": options}})));
    setting.refused(&mount(json!({"DriverConfig": {"Options": options}})));
    setting.refused(&mount(json!({"Subpath": "../.."})));
    setting.refused(&mount(json!({"Labels": {"enforcer.user": "ben"}})));
    setting.refused(&json!({"VolumeDriver": "nfs", "Binds": ["fresh:/d"]}));
    let context = setting.context();
    for body in [
        json!({"Name": "v", "Driver": "nfs"}),
        json!({"Name": "v", "DriverOpts": options}),
        json!({"Name": "v", "DriverOpts": {"o": ""}, "Driver": "plugin"}),
        json!({"Name": "v", "ClusterVolumeSpec": {"Group": "x"}}),
        json!({"Name": "v", "Labels": {"enforcer.hub": "x"}}),
        json!({"Name": "/etc"}),
        json!({"Name": "odd"}),
    ] {
        volume::judge(&json_of(&body), &context).expect_err(&body.to_string());
    }
}

#[test]
fn s04_only_own_containers_lend_their_mounts_and_namespaces_and_never_the_notebook() {
    let setting = Setting::of_user();
    let config = setting.host_of(&json!({
        "VolumesFrom": ["db:ro", OWN],
        "IpcMode": "container:/db",
        "PidMode": "container:012345",
        "NetworkMode": "container:db",
    }));
    assert_eq!(config["VolumesFrom"], json!([format!("{OWN}:ro"), format!("{OWN}:rw")]));
    for name in ["IpcMode", "PidMode", "NetworkMode"] {
        assert_eq!(config[name], format!("container:{OWN}"));
        for other in [
            "container:hub",
            "container:",
            "container:0123456789abcdeg",
            "container:jupyter-ada",
            "host",
            "ns:/proc/1/ns/net",
            "container",
        ] {
            setting.refused(&json!({name: other}));
        }
        setting.refused(&json!({name: format!("container:{NOTEBOOK}")}));
    }
    for from in ["hub", "jupyter-ada", NOTEBOOK, "db:z", "db:ro:rw", "", ":ro"] {
        setting.refused(&json!({"VolumesFrom": [from]}));
    }
    let refusal = setting.host(&json!({"VolumesFrom": ["hub"]})).expect_err("another's");
    assert_eq!(refusal.status.as_u16(), 404);
}

#[test]
fn s03_memory_file_systems_are_bounded_and_plain() {
    let setting = Setting::of_user();
    let config = setting.host_of(&json!({
        "Tmpfs": {"/run": "", "/a": "size=64m,mode=1777,noexec", "/b": "uid=0"},
        "Mounts": [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"Mode": 448}}],
    }));
    assert_eq!(config["Tmpfs"]["/run"], format!("size={}", setting.rules.memory));
    assert_eq!(config["Tmpfs"]["/a"], "size=64m,mode=1777,noexec");
    assert_eq!(config["Tmpfs"]["/b"], format!("uid=0,size={}", setting.rules.memory));
    let options = &config["Mounts"][0]["TmpfsOptions"];
    assert_eq!(options, &json!({"SizeBytes": setting.rules.memory, "Mode": 448}));
    for option in [
        "size=3g",
        "size=0",
        "size=",
        "size=-1",
        "size=+1",
        "size=50%",
        "size=1,size=2",
        "nr_inodes=0",
        "suid",
        "dev",
        "bind",
        "rbind",
        "mode=4755",
        "mode=x",
        "uid=x",
        "size=99999999999999999999g",
        "rshared",
        ",",
        "rw,,ro",
    ] {
        assert_eq!(
            setting.refused(&json!({"Tmpfs": {"/run": option}})),
            "host-config.tmpfs",
            "{option}"
        );
    }
    for path in ["/", "/proc", "/sys/kernel", "/dev", "run", "/run/..", ""] {
        setting.refused(&json!({"Tmpfs": {path: ""}}));
    }
    for options in [
        json!({"SizeBytes": 3_u64 << 30}),
        json!({"SizeBytes": -1}),
        json!({"Mode": 0o4777}),
        json!({"Options": [["exec"]]}),
    ] {
        setting.refused(
            &json!({"Mounts": [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": options}]}),
        );
    }
}

#[test]
fn s30_volumes_are_counted_before_they_are_made() {
    let mut setting = Setting::of_user();
    setting.rules.max_volumes = 3;
    setting.host_of(&json!({"Binds": ["a:/a", "vol:/v"]}));
    assert_eq!(setting.refused(&json!({"Binds": ["a:/a", "b:/b"]})), "quota.volumes");
    assert_eq!(setting.refused(&json!({"Binds": ["a:/a", "/b"]})), "quota.volumes");
    assert_eq!(
        setting
            .refused(&json!({"Mounts": [{"Type": "volume", "Target": "/b"}], "Binds": ["a:/a"]})),
        "quota.volumes"
    );
    let volumes = json!({"Image": "alpine:3", "Volumes": {"/a": {}, "/b": {}}});
    assert_eq!(setting.create(&volumes).expect_err("two").rule, "quota.volumes");
    // What is mounted anyway is no volume more.
    let volumes =
        json!({"Image": "alpine:3", "Volumes": {"/a": {}}, "HostConfig": {"Binds": ["a:/a"]}});
    let body = setting.create(&volumes).expect("one").body;
    assert_eq!(body.get("Volumes"), None);
    setting.rules.max_volumes = 2;
    setting.host_of(&json!({"Binds": ["vol:/v"]}));
    assert_eq!(
        volume::judge(&json_of(&json!({"Name": "a"})), &setting.context()).expect_err("one").rule,
        "quota.volumes"
    );
    assert!(volume::judge(&json_of(&json!({"Name": "vol"})), &setting.context()).is_ok());
}
