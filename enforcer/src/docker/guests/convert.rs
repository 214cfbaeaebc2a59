//! Between our values and bollard's. Pure; nothing of a container that is not written here is asked for.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, ContainerSummary, ContainerSummaryStateEnum as State, EndpointSettings,
    HostConfig, Mount, MountType, MountVolumeOptions, NetworkingConfig, PortBinding, RestartPolicy,
    RestartPolicyNameEnum,
};

use super::Entry;
use crate::guest::{
    left::Listed,
    names,
    spec::{Port, Restart, SOCKET_PATH, Spec},
};

/// A guest from a list; `None`: enforcer did not make it.
pub(super) fn entry(from: ContainerSummary) -> Option<Entry> {
    let labels = from.labels.unwrap_or_default().into_iter().collect();
    let names = from.names.unwrap_or_default();
    let mut names = names.iter().map(|name| name.strip_prefix('/').unwrap_or(name));
    let (name, known) = names.find_map(|name| Some((name, names::known(name, &labels)?)))?;
    let state = from.state.unwrap_or(State::EMPTY);
    let networks = from.network_settings.and_then(|settings| settings.networks);
    let listed = Listed {
        id: from.id.filter(|id| !id.is_empty())?,
        known,
        is_unborn: state == State::CREATED,
        is_alive: matches!(state, State::RUNNING | State::PAUSED | State::RESTARTING),
    };
    Some(Entry {
        listed,
        name: name.to_owned(),
        image: from.image.unwrap_or_default(),
        state: state.to_string(),
        networks: networks.unwrap_or_default().into_keys().collect(),
        created: from.created.and_then(|created| u64::try_from(created).ok()).unwrap_or_default(),
        labels,
    })
}

/// What the engine is asked to create.
pub(super) fn body(spec: &Spec) -> ContainerCreateBody {
    let endpoint = HashMap::from([(spec.network.clone(), EndpointSettings::default())]);
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        cmd: (!spec.command.is_empty()).then(|| spec.command.clone()),
        env: Some(spec.env.clone()),
        user: spec.run_as.clone(),
        labels: Some(spec.labels.clone().into_iter().collect()),
        exposed_ports: Some(spec.ports.iter().map(port).collect()),
        host_config: Some(host(spec)),
        networking_config: Some(NetworkingConfig { endpoints_config: Some(endpoint) }),
        ..ContainerCreateBody::default()
    }
}

fn host(spec: &Spec) -> HostConfig {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let mut bindings = HashMap::<String, Option<Vec<PortBinding>>>::new();
    for published in &spec.ports {
        let binding = PortBinding {
            host_ip: published.address.map(|address| address.to_string()),
            host_port: Some(published.host.to_string()),
        };
        bindings.entry(port(published)).or_default().get_or_insert_default().push(binding);
    }
    let disk = spec.size.disk.map(|bytes| HashMap::from([("size".to_owned(), bytes.to_string())]));
    HostConfig {
        network_mode: Some(spec.network.clone()),
        memory: Some(signed(spec.size.memory)),
        // The same: what is beyond memory is not swapped out, but ends.
        memory_swap: Some(signed(spec.size.memory)),
        nano_cpus: Some(signed(spec.size.cpu_millis.saturating_mul(1_000_000))),
        pids_limit: Some(signed(spec.size.pids)),
        storage_opt: disk,
        port_bindings: Some(bindings),
        restart_policy: Some(restart(spec.restart)),
        dns: spec.dns.map(|address| vec![address.to_string()]),
        mounts: Some(mounts(spec)),
        ..HostConfig::default()
    }
}

fn mounts(spec: &Spec) -> Vec<Mount> {
    let volumes = spec.volumes.iter().map(|volume| Mount {
        typ: Some(MountType::VOLUME),
        source: Some(volume.name.clone()),
        target: Some(volume.path.clone()),
        volume_options: Some(MountVolumeOptions {
            labels: Some(volume.labels.clone().into_iter().collect()),
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    });
    // A mount, not a bind: the engine makes no directory of a socket that is not there.
    let socket = spec.socket.iter().map(|path| Mount {
        typ: Some(MountType::BIND),
        source: Some(path.to_string_lossy().into_owned()),
        target: Some(SOCKET_PATH.to_owned()),
        ..Mount::default()
    });
    volumes.chain(socket).collect()
}

fn port(port: &Port) -> String {
    format!("{}/{}", port.guest, if port.is_udp { "udp" } else { "tcp" })
}

fn restart(restart: Restart) -> RestartPolicy {
    let (name, most) = match restart {
        Restart::No => (RestartPolicyNameEnum::NO, None),
        Restart::OnFailure(most) => (RestartPolicyNameEnum::ON_FAILURE, Some(i64::from(most))),
        Restart::UnlessStopped => (RestartPolicyNameEnum::UNLESS_STOPPED, None),
        Restart::Always => (RestartPolicyNameEnum::ALWAYS, None),
    };
    RestartPolicy { name: Some(name), maximum_retry_count: most }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        access::{grant::Socket, name::HubName},
        config::parse,
        guest::check::{Found, check},
        model::guest::{GuestOrder, VolumeOrder},
    };

    fn made() -> Spec {
        let config = parse("[networks.lab]\nbridge = \"br-lab\"\n", "f").expect("valid");
        let order = GuestOrder {
            user: "ann".to_owned(),
            image: "python:3".to_owned(),
            command: vec!["sleep".to_owned(), "1".to_owned()],
            disk: Some(1 << 30),
            volumes: vec![VolumeOrder { volume: "home".to_owned(), path: "/home/ann".to_owned() }],
            ports: vec!["127.0.0.1:8080:80".to_owned(), "8081:80".to_owned()],
            restart: Some("on-failure:3".to_owned()),
            ..GuestOrder::default()
        };
        let socket = Some((Socket::Filtered, "/run/enforcer/gate/x.sock".into()));
        let dns = Some([172, 30, 0, 1].into());
        let found = Found { dns, socket, new_volumes: Vec::new(), groups: Vec::new() };
        check(order, HubName::local(), true, &config).expect("good").spec(found)
    }

    #[test]
    fn s3_a_guest_is_asked_for_with_its_limits_and_nothing_that_leads_to_the_host() {
        let spec = made();
        let body = serde_json::to_value(body(&spec)).expect("JSON");
        let host = &body["HostConfig"];
        let keys: Vec<&String> = host.as_object().expect("an object").keys().collect();
        assert_eq!(
            keys,
            [
                "Dns",
                "Memory",
                "MemorySwap",
                "Mounts",
                "NanoCpus",
                "NetworkMode",
                "PidsLimit",
                "PortBindings",
                "RestartPolicy",
                "StorageOpt",
            ]
        );
        assert_eq!((&host["Memory"], &host["MemorySwap"]), (&json!(1 << 30), &json!(1 << 30)));
        assert_eq!((&host["NanoCpus"], &host["PidsLimit"]), (&json!(1_000_000_000), &json!(512)));
        assert_eq!((&host["Dns"], &host["NetworkMode"]), (&json!(["172.30.0.1"]), &json!("lab")));
        assert_eq!(host["StorageOpt"], json!({"size": "1073741824"}));
        assert_eq!(host["RestartPolicy"], json!({"Name": "on-failure", "MaximumRetryCount": 3}));
        let bindings = json!([{"HostIp": "127.0.0.1", "HostPort": "8080"}, {"HostPort": "8081"}]);
        assert_eq!(host["PortBindings"], json!({ "80/tcp": bindings }));
        let mounts = host["Mounts"].as_array().expect("mounts");
        let pairs: Vec<(&Value, &Value)> =
            mounts.iter().map(|mount| (&mount["Type"], &mount["Target"])).collect();
        let socket = (&json!("bind"), &json!("/var/run/docker.sock"));
        assert_eq!(pairs, [(&json!("volume"), &json!("/home/ann")), socket]);
        assert_eq!(mounts[0]["VolumeOptions"]["Labels"]["enforcer.user"], "ann");
        assert_eq!(body["Labels"]["enforcer.socket"], "filtered");
        assert_eq!(body["Cmd"], json!(["sleep", "1"]));
    }

    #[test]
    fn s1_without_a_grant_nothing_of_this_host_is_mounted() {
        let spec = Spec { socket: None, ..made() };
        let body = serde_json::to_value(body(&spec)).expect("JSON");
        assert!(!body.to_string().contains("\"bind\""), "{body}");
        assert!(body["HostConfig"]["Binds"].is_null());
    }

    #[test]
    fn what_is_listed_is_known_again_by_its_name() {
        let spec = made();
        let summary = |name: &str, state| ContainerSummary {
            id: Some("abc".to_owned()),
            names: Some(vec![format!("/{name}")]),
            labels: Some(spec.labels.clone().into_iter().collect()),
            state: Some(state),
            created: Some(7),
            ..ContainerSummary::default()
        };
        let found = entry(summary(&spec.name, State::RUNNING)).expect("ours");
        assert_eq!(found.listed.known.seat.user.name.as_str(), "ann");
        assert!(found.listed.is_alive && !found.listed.is_unborn && found.created == 7);
        assert!(entry(summary(&spec.name, State::CREATED)).expect("ours").listed.is_unborn);
        assert!(!entry(summary(&spec.name, State::EXITED)).expect("ours").listed.is_alive);
        assert_eq!(entry(summary("jupyter-ann", State::RUNNING)), None);
    }
}
