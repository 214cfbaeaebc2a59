//! Fields that have a reader: which of their values it lets through.

use serde_json::{Value, json};

use super::Setting;

#[test]
fn s05_what_a_container_gets_without_asking() {
    let setting = Setting::of_user();
    assert_eq!(
        setting.create(&json!({"Image": "alpine:3"})).expect("a create").body,
        json!({
            "Image": "alpine:3",
            "AttachStdin": false, "AttachStdout": false, "AttachStderr": false,
            "Tty": false, "OpenStdin": false, "StdinOnce": false,
            "Labels": {"enforcer.gate": "user", "enforcer.hub": "lab", "enforcer.managed": "", "enforcer.user": "ada"},
            "HostConfig": {
                "NetworkMode": "guests",
                "CgroupnsMode": "private",
                "CapDrop": ["AUDIT_WRITE", "MKNOD", "NET_RAW", "SETFCAP"],
                "SecurityOpt": ["no-new-privileges"],
                "Dns": ["10.9.0.1"],
                "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
                "Memory": 2_147_483_648_u64, "MemorySwap": 2_147_483_648_u64,
                "NanoCpus": 1_000_000_000, "PidsLimit": 512,
            },
            "NetworkingConfig": {"EndpointsConfig": {}},
        })
    );
}

#[test]
fn s05_privileges_are_only_given_up() {
    let setting = Setting::of_user();
    let config =
        setting.host_of(&json!({"CapDrop": ["all"], "CapAdd": ["cap_chown", "KILL", "CHOWN"]}));
    assert_eq!(
        (&config["CapDrop"], &config["CapAdd"]),
        (&json!(["ALL"]), &json!(["CHOWN", "KILL"]))
    );
    let config = setting.host_of(&json!({"CapDrop": ["CHOWN"]}));
    assert_eq!(config["CapDrop"], json!(["AUDIT_WRITE", "CHOWN", "MKNOD", "NET_RAW", "SETFCAP"]));
    for name in [
        "ALL",
        "all",
        "CAP_ALL",
        "SYS_ADMIN",
        "cap_sys_admin",
        "NET_RAW",
        "NET_ADMIN",
        "MKNOD",
        "CAP_CAP_CHOWN",
        "",
        " CHOWN",
        "BPF",
    ] {
        assert_eq!(setting.refused(&json!({"CapAdd": [name]})), "host-config.cap-add", "{name}");
    }
    for text in [
        "no-new-privileges:false",
        "no-new-privileges=false",
        "no-new-privileges:TRUE",
        "seccomp=unconfined",
        "seccomp:unconfined",
        "apparmor=unconfined",
        "label=disable",
        "label:disable",
        "systempaths=unconfined",
        "credentialspec=x",
        "",
        "NO-NEW-PRIVILEGES",
        "no-new-privileges:",
        "writable-cgroups=true",
    ] {
        assert_eq!(
            setting.refused(&json!({"SecurityOpt": [text]})),
            "host-config.security-opt",
            "{text}"
        );
    }
    for (field, values) in [
        ("IpcMode", vec!["host", "HOST", "x"]),
        ("PidMode", vec!["host", "private", "x"]),
        ("CgroupnsMode", vec!["host", "Private"]),
        ("CgroupParent", vec!["/", "x", "system.slice"]),
        ("Runtime", vec!["runsc", "kata", "/bin/sh", "RUNC"]),
        ("Isolation", vec!["hyperv", "process"]),
        (
            "NetworkMode",
            vec![
                "host",
                "HOST",
                "other",
                "container:hub",
                "ns:/x",
                "slirp4netns",
                "macvlan",
                "none ",
            ],
        ),
    ] {
        for value in values {
            setting.refused(&json!({field: value}));
        }
    }
    let mut setting = Setting::of_user();
    setting.rules.keeps_privileges = true;
    let config = setting.host_of(&json!({"CapAdd": ["NET_RAW"]}));
    assert_eq!((config.get("CapDrop"), config.get("SecurityOpt")), (None, None));
    assert_eq!(config["CapAdd"], json!(["NET_RAW"]));
    setting.refused(&json!({"CapAdd": ["SYS_PTRACE"]}));
}

#[test]
fn s30_limits_are_within_the_rules_and_never_absent() {
    let setting = Setting::of_user();
    let most = 2_i64 << 30;
    let config = setting.host_of(&json!({"Memory": 1 << 20, "MemorySwap": 1 << 21, "CpuPeriod": 50_000, "CpuQuota": 25_000, "PidsLimit": 7, "CpuShares": 512}));
    assert_eq!((&config["Memory"], &config["MemorySwap"]), (&json!(1 << 20), &json!(1 << 20)));
    assert_eq!((&config["NanoCpus"], &config["PidsLimit"]), (&json!(500_000_000), &json!(7)));
    assert_eq!((config.get("CpuQuota"), config.get("CpuPeriod")), (None, None));
    for config in [
        json!({"Memory": most + 1}),
        json!({"Memory": -1}),
        json!({"MemorySwap": -1}),
        json!({"MemorySwap": most + 1}),
        json!({"MemoryReservation": most + 1}),
        json!({"Memory": 100, "MemoryReservation": 101}),
        json!({"NanoCpus": 1_000_000_001}),
        json!({"NanoCpus": -1}),
        json!({"CpuQuota": 100_001}),
        json!({"CpuQuota": -1}),
        json!({"CpuQuota": i64::MAX}),
        json!({"CpuPeriod": 1}),
        json!({"CpuPeriod": -1}),
        json!({"CpuPeriod": 1_000, "CpuQuota": 1_001}),
        json!({"NanoCpus": 1, "CpuQuota": 1_000}),
        json!({"PidsLimit": 513}),
        json!({"PidsLimit": -1}),
        json!({"CpuShares": -1}),
        json!({"CpuShares": 1_025}),
        json!({"CpuShares": 1}),
        json!({"ShmSize": -1}),
        json!({"ShmSize": most + 1}),
        json!({"StorageOpt": {"size": "1G"}}),
        json!({"StorageOpt": {"x": ""}}),
        json!({"Memory": "1g"}),
        json!({"Memory": 1.5}),
        json!({"Memory": true}),
        json!({"Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": (1 << 20) + 1}]}),
        json!({"Ulimits": [{"Name": "nofile", "Soft": -1, "Hard": -1}]}),
        json!({"Ulimits": [{"Name": "nofile", "Soft": 2, "Hard": 1}]}),
        json!({"Ulimits": [{"Name": "core", "Soft": 0, "Hard": 1}]}),
        json!({"Ulimits": [{"Name": "rtprio", "Soft": 1, "Hard": 1}]}),
        json!({"Ulimits": [{"Name": "NOFILE", "Soft": 1, "Hard": 1}]}),
        json!({"Ulimits": [{"Name": "nofile"}, {"Name": "nofile"}]}),
    ] {
        setting.refused(&config);
    }
    let mut setting = Setting::of_user();
    setting.rules.disk = Some(10 << 30);
    assert_eq!(
        setting.host_of(&json!({}))["StorageOpt"],
        json!({"size": (10_u64 << 30).to_string()})
    );
    assert_eq!(
        setting.host_of(&json!({"StorageOpt": {"size": "1G"}}))["StorageOpt"]["size"],
        "1073741824"
    );
    for size in ["11G", "0", "-1", "", "1x", "99999999999999999999"] {
        setting.refused(&json!({"StorageOpt": {"size": size}}));
    }
    setting.rules.max_containers = 1;
    assert_eq!(setting.refused(&json!({})), "quota.containers");
}

#[test]
fn s28_ports_are_published_within_the_rules_alone() {
    let setting = Setting::of_user();
    let bind = |port: &str, ip: &str, host: &str| json!({"PortBindings": {port: [{"HostIp": ip, "HostPort": host}]}});
    for (ip, host) in
        [("", "8000"), ("0.0.0.0", "8999"), ("127.0.0.1", "8080"), ("::", "8080"), ("::1", "8080")]
    {
        let config = setting.host_of(&bind("80/tcp", ip, host));
        assert_eq!(config["PortBindings"], json!({"80/tcp": [{"HostIp": ip, "HostPort": host}]}));
    }
    for (port, ip, host) in [
        ("80/tcp", "0.0.0.0", "80"),
        ("80/tcp", "", "22"),
        ("80/tcp", "", ""),
        ("80/tcp", "", "0"),
        ("80/tcp", "127.0.0.1", ""),
        ("80/tcp", "127.0.0.1", "9000"),
        ("80/tcp", "192.0.2.1", "8080"),
        ("80/tcp", "10.9.0.1", "8080"),
        ("80/tcp", "x", "8080"),
        ("80/tcp", "", "8080-8090"),
        ("80/tcp", "", "+8080"),
        ("80/tcp", "", " 8080"),
        ("80/tcp", "", "65536"),
        ("80/tcp", "", "0x1f90"),
        ("80-90/tcp", "", "8080"),
        ("0/tcp", "", "8080"),
        ("80/sctp", "", "8080"),
        ("80/TCP", "", "8080"),
        ("", "", "8080"),
        ("+80/tcp", "", "8080"),
    ] {
        let expected = "host-config.port-bindings";
        assert_eq!(setting.refused(&bind(port, ip, host)), expected, "{port} {ip} {host}");
    }
    for bindings in
        [json!({"80/tcp": []}), json!({"80/tcp": null}), json!({"80/tcp": [null]}), json!([])]
    {
        setting.refused(&json!({"PortBindings": bindings}));
    }
    let many: Vec<Value> = (0..65).map(|n| json!({"HostPort": (8000 + n).to_string()})).collect();
    setting.refused(&json!({"PortBindings": {"80/tcp": many}}));
    let mut setting = Setting::of_user();
    setting.rules.host_ports = None;
    setting.refused(&bind("80/tcp", "127.0.0.1", "8080"));
}

#[test]
fn s28_names_are_looked_up_where_the_guest_network_says() {
    let setting = Setting::of_user();
    let config = setting.host_of(&json!({"Dns": ["10.9.0.1"], "ExtraHosts": ["db:10.0.0.1", "six:::1"], "DnsSearch": ["a.b"], "DnsOptions": ["ndots:1"]}));
    assert_eq!(
        (&config["Dns"], &config["ExtraHosts"]),
        (&json!(["10.9.0.1"]), &json!(["db:10.0.0.1", "six:::1"]))
    );
    for config in [
        json!({"Dns": ["1.1.1.1"]}),
        json!({"Dns": ["127.0.0.1"]}),
        json!({"Dns": ["10.9.0.1", "1.1.1.1"]}),
        json!({"Dns": [""]}),
        json!({"ExtraHosts": ["h:host-gateway"]}),
        json!({"ExtraHosts": ["h"]}),
        json!({"ExtraHosts": ["h:"]}),
        json!({"ExtraHosts": ["h i:1.1.1.1"]}),
        json!({"ExtraHosts": ["h:1.1.1.1\n2.2.2.2 x"]}),
        json!({"DnsSearch": ["a b"]}),
        json!({"DnsSearch": ["a\nnameserver 1.1.1.1"]}),
        json!({"DnsOptions": ["a b"]}),
        json!({"DnsOptions": ["a\nnameserver 1.1.1.1"]}),
    ] {
        setting.refused(&config);
    }
    let mut setting = Setting::of_user();
    if let Some(guest) = &mut setting.facts.guest_network {
        guest.resolves = false;
    }
    setting.refused(&json!({"Dns": ["10.9.0.1"]}));
    assert_eq!(setting.host_of(&json!({})).get("Dns"), None);
    setting.facts.guest_network = None;
    assert_eq!(setting.refused(&json!({})), "host-config.network-mode");
}

#[test]
fn s23_a_log_goes_nowhere_else() {
    let setting = Setting::of_user();
    for log in [
        json!({"Type": "syslog"}),
        json!({"Type": "gelf", "Config": {"gelf-address": "udp://1.1.1.1:1"}}),
        json!({"Type": "", "Config": {"syslog-address": "x"}}),
        json!({"Type": "json-file", "Config": {"labels": "x"}}),
        json!({"Type": "journald"}),
    ] {
        let rule = setting.refused(&json!({"LogConfig": log}));
        assert!(rule.starts_with("host-config.log") || rule.starts_with("log."), "{rule}");
    }
    let log = |config: Value| setting.host_of(&json!({"LogConfig": config}))["LogConfig"].clone();
    assert_eq!(log(json!({"Type": "none"})), json!({"Type": "none"}));
    assert_eq!(
        log(json!({"Type": "local", "Config": {"max-size": "99g"}}))["Config"]["max-size"],
        "10m"
    );
}

#[test]
fn s29_nothing_comes_back_for_ever_and_the_record_says_so() {
    let setting = Setting::of_user();
    let capped = json!({"Name": "on-failure", "MaximumRetryCount": 10});
    for policy in [
        json!({"Name": "always"}),
        json!({"Name": "unless-stopped"}),
        json!({"Name": "on-failure"}),
        json!({"Name": "on-failure", "MaximumRetryCount": 99}),
    ] {
        let judged = setting.host(&json!({"RestartPolicy": policy})).expect("capped");
        assert_eq!(judged.body["HostConfig"]["RestartPolicy"], capped);
        assert_eq!(judged.shown["enforcer.changed"].as_array().map(Vec::len), Some(1));
        assert_eq!(judged.body.get("enforcer.changed"), None);
    }
    let asked = json!({"Name": "on-failure", "MaximumRetryCount": 3});
    assert_eq!(setting.host_of(&json!({"RestartPolicy": asked}))["RestartPolicy"], asked);
    for policy in [
        json!({"Name": "Always"}),
        json!({"Name": "on-failure", "MaximumRetryCount": -1}),
        json!({"Name": "no", "MaximumRetryCount": 1}),
        json!({"Name": "x"}),
    ] {
        setting.refused(&json!({"RestartPolicy": policy}));
    }
}
