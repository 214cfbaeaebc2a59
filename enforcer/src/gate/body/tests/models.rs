//! The table against the engine's own models, as `bollard-stubs` has them from the engine's document. Each is written
//! with all its fields: one more, and this does not compile.

use std::collections::BTreeSet;

use bollard::models;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use super::super::fields::{self, Class, MODELS, Model};

/// Any value of a type.
fn some<T: DeserializeOwned>() -> T {
    let values = [
        json!({}),
        json!([]),
        json!(""),
        json!(0),
        json!(false),
        json!("no"),
        json!("private"),
        json!("volume"),
    ];
    values.into_iter().find_map(|value| serde_json::from_value(value).ok()).expect("a value")
}

fn compare(model: &Model, engine: impl Serialize, count: usize, of_other_engines: &[&str]) {
    let engine = serde_json::to_value(engine).expect("an object");
    let engine: BTreeSet<&str> =
        engine.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(engine.len(), count, "{}: a field was not written", model.name);
    let ours: BTreeSet<&str> = model.fields.iter().map(|field| field.name).collect();
    assert_eq!(ours.len(), model.fields.len(), "{}: a field is there twice", model.name);
    let unclassified: Vec<_> = engine.difference(&ours).collect();
    assert!(unclassified.is_empty(), "{} is not classified: {unclassified:?}", model.name);
    let others: BTreeSet<&str> = ours.difference(&engine).copied().collect();
    assert_eq!(others, of_other_engines.iter().copied().collect(), "{}", model.name);
}

macro_rules! table {
    ($($ours:ident, $engine:ident { $($field:ident),* }, [$($other:literal),*];)*) => {
        #[test]
        fn s05_every_field_of_the_engine_s_models_is_classified() {
            $({
                let engine = models::$engine { $($field: some()),* };
                let count = [$(stringify!($field)),*].len();
                compare(&fields::$ours, engine, count, &[$($other),*]);
            })*
            let compared = [$(&fields::$ours),*];
            assert_eq!(compared.len(), MODELS.len());
            for (compared, model) in compared.iter().zip(MODELS) {
                assert_eq!(&compared, &model);
            }
        }
    };
}

// Beside each: what other engines and clients have (older ones, or newer than the document).
table! {
    CREATE, ContainerCreateBody {
        hostname, domainname, user, attach_stdin, attach_stdout, attach_stderr,
        exposed_ports, tty, open_stdin, stdin_once, env, cmd, healthcheck, args_escaped,
        image, volumes, working_dir, entrypoint, network_disabled, on_build, labels,
        stop_signal, stop_timeout, shell, host_config, networking_config
    }, ["MacAddress", "Runtime"];
    HOST_CONFIG, HostConfig {
        cpu_shares, memory, cgroup_parent, blkio_weight, blkio_weight_device,
        blkio_device_read_bps, blkio_device_write_bps, blkio_device_read_iops,
        blkio_device_write_iops, cpu_period, cpu_quota, cpu_realtime_period,
        cpu_realtime_runtime, cpuset_cpus, cpuset_mems, devices, device_cgroup_rules,
        device_requests, memory_reservation, memory_swap, memory_swappiness, nano_cpus,
        oom_kill_disable, init, pids_limit, ulimits, cpu_count, cpu_percent,
        io_maximum_iops, io_maximum_bandwidth, binds, container_id_file, log_config,
        network_mode, port_bindings, restart_policy, auto_remove, volume_driver,
        volumes_from, mounts, console_size, annotations, cap_add, cap_drop, cgroupns_mode,
        dns, dns_options, dns_search, extra_hosts, group_add, ipc_mode, cgroup, links,
        oom_score_adj, pid_mode, privileged, publish_all_ports, readonly_rootfs,
        security_opt, storage_opt, tmpfs, uts_mode, userns_mode, shm_size, sysctls, runtime,
        isolation, masked_paths, readonly_paths
    }, ["KernelMemory", "KernelMemoryTCP", "Capabilities"];
    UPDATE, ContainerUpdateBody {
        cpu_shares, memory, cgroup_parent, blkio_weight, blkio_weight_device,
        blkio_device_read_bps, blkio_device_write_bps, blkio_device_read_iops,
        blkio_device_write_iops, cpu_period, cpu_quota, cpu_realtime_period,
        cpu_realtime_runtime, cpuset_cpus, cpuset_mems, devices, device_cgroup_rules,
        device_requests, memory_reservation, memory_swap, memory_swappiness, nano_cpus,
        oom_kill_disable, init, pids_limit, ulimits, cpu_count, cpu_percent,
        io_maximum_iops, io_maximum_bandwidth, restart_policy
    }, ["KernelMemory", "KernelMemoryTCP"];
    HEALTH, HealthConfig {
        test, interval, timeout, retries, start_period, start_interval
    }, [];
    RESTART, RestartPolicy {
        name, maximum_retry_count
    }, [];
    LOG, HostConfigLogConfig {
        typ, config
    }, [];
    ULIMIT, ResourcesUlimits {
        name, soft, hard
    }, [];
    PORT, PortBinding {
        host_ip, host_port
    }, [];
    MOUNT, Mount {
        target, source, typ, read_only, consistency, bind_options, volume_options,
        image_options, tmpfs_options
    }, ["ClusterOptions"];
    VOLUME_OPTIONS, MountVolumeOptions {
        no_copy, labels, driver_config, subpath
    }, [];
    DRIVER, MountVolumeOptionsDriverConfig {
        name, options
    }, [];
    TMPFS_OPTIONS, MountTmpfsOptions {
        size_bytes, mode, options
    }, [];
    NETWORKING, NetworkingConfig {
        endpoints_config
    }, [];
    ENDPOINT, EndpointSettings {
        ipam_config, links, mac_address, aliases, driver_opts, gw_priority, network_id,
        endpoint_id, gateway, ip_address, ip_prefix_len, ipv6_gateway, global_ipv6_address,
        global_ipv6_prefix_len, dns_names
    }, [];
    EXEC, ExecConfig {
        attach_stdin, attach_stdout, attach_stderr, console_size, detach_keys, tty, env,
        cmd, privileged, user, working_dir
    }, ["Detach", "Container"];
    EXEC_START, ExecStartConfig {
        detach, tty, console_size
    }, [];
    NETWORK, NetworkCreateRequest {
        name, driver, scope, internal, attachable, ingress, config_only, config_from, ipam,
        enable_ipv4, enable_ipv6, options, labels
    }, ["CheckDuplicate"];
    IPAM, Ipam {
        driver, config, options
    }, [];
    CONNECT, NetworkConnectRequest {
        container, endpoint_config
    }, [];
    DISCONNECT, NetworkDisconnectRequest {
        container, force
    }, [];
    VOLUME, VolumeCreateRequest {
        name, driver, driver_opts, labels, cluster_volume_spec
    }, [];
}

#[test]
fn s05_each_field_has_a_rule_of_its_own() {
    let rules: Vec<&str> =
        MODELS.iter().flat_map(|model| model.fields).map(|field| field.rule).collect();
    let distinct: BTreeSet<&str> = rules.iter().copied().collect();
    assert_eq!(rules.len(), distinct.len());
    for name in ["MaskedPaths", "ReadonlyPaths"] {
        let class = fields::HOST_CONFIG.field(name).map(|field| field.class);
        assert_eq!(class, Some(Class::OnlyNull), "an empty list unmasks the kernel's files");
    }
}
