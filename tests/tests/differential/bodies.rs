//! Bodies that clients send, and the users and hubs that send them.

use std::net::Ipv4Addr;

use enforcer::{
    access::name::User,
    gate::{
        body::{
            Context,
            fields::{self, Model},
        },
        facts::{Facts, GuestNetwork, OwnContainer, OwnExec, OwnNetwork, OwnVolume},
        names,
        networks::Prepared,
        principal::Principal,
        rules::Rules,
    },
};
use serde_json::{Value, json};

const PLAIN: &str = include_str!("../../../enforcer/src/gate/body/tests/docker_28_plain.json");
const FULL: &str = include_str!("../../../enforcer/src/gate/body/tests/docker_28_full.json");
const COMPOSE: &str = include_str!("../../../enforcer/src/gate/body/tests/compose_create.json");

/// A route with a body.
pub struct Route {
    /// What is asked.
    pub target: &'static str,
    /// The number of the engine's type in `engine-json`.
    pub shape: u8,
    /// The gate's table.
    pub model: &'static Model,
}

/// All of them.
pub static ROUTES: [Route; 8] = [
    Route { target: "/containers/create?name=x", shape: 1, model: &fields::CREATE },
    Route { target: "/containers/db/update", shape: 2, model: &fields::UPDATE },
    Route { target: "/containers/db/exec", shape: 3, model: &fields::EXEC },
    Route { target: "/exec/e1/start", shape: 4, model: &fields::EXEC_START },
    Route { target: "/networks/create", shape: 5, model: &fields::NETWORK },
    Route { target: "/networks/mine/connect", shape: 6, model: &fields::CONNECT },
    Route { target: "/networks/mine/disconnect", shape: 7, model: &fields::DISCONNECT },
    Route { target: "/volumes/create", shape: 8, model: &fields::VOLUME },
];

/// Bodies of clients, with the number of their route.
pub fn bodies() -> Vec<(usize, Value)> {
    let read = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    let spawned = json!({"Image": "jupyter/base", "Cmd": ["start-notebook.sh"], "Env": ["JUPYTERHUB_USER=ada", "A=b\u{e9}"], "Labels": {"a": "b"}, "Hostname": "h", "HostConfig": {"Binds": ["vol:/home/jovyan"], "NetworkMode": "guests", "PortBindings": null, "Memory": 536_870_912, "AutoRemove": true}});
    let py = json!({"Image": "alpine:3", "NetworkDisabled": false, "StopTimeout": 3, "HostConfig": {"NetworkMode": "mine", "RestartPolicy": {"Name": "always"}, "Init": true, "ShmSize": 1_048_576, "Mounts": [{"Target": "/d", "Source": "v", "Type": "volume", "ReadOnly": false}, {"Target": "/t", "Source": null, "Type": "tmpfs", "ReadOnly": false, "TmpfsOptions": {"SizeBytes": 10}}]}, "NetworkingConfig": {"EndpointsConfig": {"mine": {"Aliases": ["db"]}}}, "Healthcheck": {"Test": ["CMD-SHELL", "x"], "Interval": 1_000_000_000, "Timeout": null, "Retries": null, "StartPeriod": null}});
    let small = json!({"Image": "alpine:3", "Cmd": ["sleep", "1"], "Entrypoint": null, "Tty": true, "HostConfig": {"Ulimits": [{"Name": "nofile", "Soft": 64, "Hard": 64}], "ExtraHosts": ["a:192.0.2.1"], "Tmpfs": {"/tmp": "size=1m"}}});
    let endpoint = json!({"IPAMConfig": {}, "Links": null, "Aliases": ["db"], "MacAddress": "", "DriverOpts": {}, "GwPriority": 0, "NetworkID": "", "EndpointID": "", "Gateway": "", "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "DNSNames": null});
    vec![
        (0, read(PLAIN)),
        (0, read(FULL)),
        (0, read(COMPOSE)),
        (0, spawned),
        (0, py),
        (0, small),
        (
            1,
            json!({"CpuShares": 0, "Memory": 10_485_760, "NanoCpus": 0, "CgroupParent": "", "BlkioWeight": 0, "Devices": null, "MemorySwap": 0, "MemorySwappiness": null, "PidsLimit": 20, "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}}),
        ),
        (
            2,
            json!({"User": "", "Privileged": false, "Tty": true, "ConsoleSize": [24, 80], "AttachStdin": true, "AttachStderr": true, "AttachStdout": true, "Detach": false, "DetachKeys": "", "Env": ["A=b"], "WorkingDir": "", "Cmd": ["sh", "-c", "é"]}),
        ),
        (3, json!({"Detach": false, "Tty": true, "ConsoleSize": [24, 80]})),
        (
            4,
            json!({"CheckDuplicate": true, "Driver": "bridge", "EnableIPv6": false, "IPAM": {"Driver": "default", "Options": {}, "Config": []}, "Internal": true, "Attachable": false, "Ingress": false, "ConfigOnly": false, "ConfigFrom": null, "Options": {}, "Labels": {"a": "b"}, "Name": "n"}),
        ),
        (5, json!({"Container": "db", "EndpointConfig": endpoint})),
        (6, json!({"Container": "db", "Force": true})),
        (7, json!({"Name": "v", "Driver": "local", "DriverOpts": null, "Labels": {"a": "b"}})),
    ]
}

/// A principal, its rules and what it has.
pub struct Setting {
    /// Whose request it is.
    pub principal: Principal,
    rules: Rules,
    facts: Facts,
}

impl Setting {
    /// A user with a container, a volume, a network and a command that runs.
    pub fn of_user() -> Self {
        let user =
            User { hub: "lab".parse().expect("a hub"), name: "ada".parse().expect("a user") };
        Self::of(Principal::User(user))
    }

    /// A hub with the same.
    pub fn of_hub() -> Self {
        Self::of(Principal::Hub("lab".parse().expect("a hub")))
    }

    fn of(principal: Principal) -> Self {
        let text = str::to_owned;
        let id = "0".repeat(64);
        let volume = |name| OwnVolume {
            name: text(name),
            engine_name: names::engine_name(&principal, name),
            is_plain: true,
        };
        let facts = Facts {
            containers: vec![OwnContainer { id: id.clone(), name: text("db"), is_notebook: false }],
            volumes: vec![volume("vol")],
            networks: vec![OwnNetwork {
                id: "9".repeat(64),
                name: text("mine"),
                engine_name: text("enforcer-x-mine"),
            }],
            execs: vec![OwnExec { id: text("e1"), container: id }],
            guest_network: Some(GuestNetwork {
                name: text("guests"),
                gateway: Ipv4Addr::new(10, 9, 0, 1),
                resolves: true,
            }),
            ..Facts::default()
        };
        let rules = Rules {
            images: ["alpine:*", "jupyter/*", "enforcer-test-guest"].map(text).to_vec(),
            host_ports: Some((8000, 8999)),
            ..Rules::default()
        };
        Self { principal, rules, facts }
    }

    /// What a body is judged against.
    pub fn context(&self) -> Context<'_> {
        Context {
            principal: &self.principal,
            rules: &self.rules,
            facts: &self.facts,
            name: None,
            bridge: Some(Prepared::made_up()),
        }
    }
}
