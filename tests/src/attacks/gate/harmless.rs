//! Routes and fields of the gate's tables that no row exercises, each with the reason.

/// Reasons, and what they are for.
const REASONS: &[(&str, &[&str])] = &[
    ("it tells that an engine is there, to who has a socket of it", &["GET /_ping", "HEAD /_ping"]),
    ("the engine answers it with nothing", &["OPTIONS /{image}"]),
    (
        "it belongs to the process in one's own container, and to nothing else",
        &[
            "ContainerCreateRequest.Domainname",
            "ContainerCreateRequest.AttachStdin",
            "ContainerCreateRequest.AttachStdout",
            "ContainerCreateRequest.AttachStderr",
            "ContainerCreateRequest.Tty",
            "ContainerCreateRequest.OpenStdin",
            "ContainerCreateRequest.StdinOnce",
            "ContainerCreateRequest.Cmd",
            "ContainerCreateRequest.Entrypoint",
            "ContainerCreateRequest.WorkingDir",
            "ContainerCreateRequest.StopSignal",
            "ContainerCreateRequest.ExposedPorts",
            "HealthConfig.Test",
            "HostConfig.ConsoleSize",
            "HostConfig.Init",
            "HostConfig.AutoRemove",
            "ExecConfig.AttachStdin",
            "ExecConfig.AttachStdout",
            "ExecConfig.AttachStderr",
            "ExecConfig.ConsoleSize",
            "ExecConfig.DetachKeys",
            "ExecConfig.Tty",
            "ExecConfig.Env",
            "ExecConfig.Cmd",
            "ExecConfig.User",
            "ExecConfig.WorkingDir",
            "ExecConfig.Detach",
            "ExecStartConfig.Detach",
            "ExecStartConfig.Tty",
            "ExecStartConfig.ConsoleSize",
        ],
    ),
    (
        "it takes something away, and gives nothing",
        &[
            "HostConfig.CapDrop",
            "HostConfig.ReadonlyRootfs",
            "Mount.ReadOnly",
            "VolumeOptions.NoCopy",
            "NetworkCreateRequest.Internal",
        ],
    ),
    (
        "volumes without a name are counted; what is in them is one's own",
        &["ContainerCreateRequest.Volumes"],
    ),
    ("it holds others, which have rows", &["ContainerCreateRequest.HostConfig"]),
    (
        "it is for clients; the engine reads it and does nothing with it",
        &["HostConfig.ContainerIDFile", "Mount.Consistency", "ExecConfig.Container"],
    ),
    (
        "it is Windows'; an engine on Linux refuses it or does nothing with it",
        &[
            "HostConfig.Isolation",
            "HostConfig.CpuPercent",
            "HostConfig.IOMaximumIOps",
            "HostConfig.IOMaximumBandwidth",
            "ContainerUpdate.CpuCount",
            "ContainerUpdate.CpuPercent",
            "ContainerUpdate.IOMaximumIOps",
            "ContainerUpdate.IOMaximumBandwidth",
        ],
    ),
    (
        "the engine here has API 1.41, and does not know it yet",
        &[
            "ContainerCreateRequest.Runtime",
            "HealthConfig.StartInterval",
            "HostConfig.Annotations",
            "Mount.ImageOptions",
            "Mount.ClusterOptions",
            "VolumeOptions.Subpath",
            "TmpfsOptions.Options",
            "EndpointSettings.GwPriority",
            "EndpointSettings.DNSNames",
            "NetworkCreateRequest.EnableIPv4",
            "VolumeCreateRequest.ClusterVolumeSpec",
            "PUT /volumes/{name}",
        ],
    ),
    ("the engine here knows it no more", &["HostConfig.Capabilities"]),
    (
        "an update leaves it as it is, in every version of the engine",
        &[
            "ContainerUpdate.Ulimits",
            "ContainerUpdate.BlkioWeightDevice",
            "ContainerUpdate.BlkioDeviceReadBps",
            "ContainerUpdate.BlkioDeviceWriteBps",
            "ContainerUpdate.BlkioDeviceReadIOps",
            "ContainerUpdate.BlkioDeviceWriteIOps",
            "ContainerUpdate.Devices",
            "ContainerUpdate.DeviceCgroupRules",
            "ContainerUpdate.DeviceRequests",
            "ContainerUpdate.OomKillDisable",
            "ContainerUpdate.KernelMemoryTCP",
            "ContainerUpdate.MemorySwappiness",
            "ContainerUpdate.CgroupParent",
            "ContainerUpdate.Init",
        ],
    ),
    ("the storage driver here has no such limit, and refuses it", &["HostConfig.StorageOpt"]),
    (
        "it names a driver that the engine has not; one that it has would have to be installed by an administrator",
        &["IPAM.Driver", "DriverConfig.Name", "VolumeCreateRequest.Driver"],
    ),
    (
        "it needs an engine with experimental features and CRIU",
        &[
            "GET /containers/{name}/checkpoints",
            "POST /containers/{name}/checkpoints",
            "DELETE /containers/{name}/checkpoints/{checkpoint}",
        ],
    ),
    (
        "it is for BuildKit's builds, which go by sessions; the classic builder keeps nothing that it could hit",
        &["POST /build/prune", "POST /build/cancel"],
    ),
    ("it needs a second node", &["DELETE /nodes/{name}", "POST /swarm/join"]),
    (
        "the kernel here has no such limits, and the engine refuses or forgets them",
        &[
            "HostConfig.BlkioWeight",
            "HostConfig.BlkioWeightDevice",
            "ContainerUpdate.BlkioWeight",
            "ContainerUpdate.CpuRealtimePeriod",
            "ContainerUpdate.CpuRealtimeRuntime",
        ],
    ),
    ("it needs an engine that was started anew with its swarm locked", &["POST /swarm/unlock"]),
    (
        "it needs a swarm, for whose networks it is",
        &["NetworkCreateRequest.Scope", "NetworkCreateRequest.Ingress"],
    ),
];

/// Each of them, with its reason.
pub fn harmless() -> impl Iterator<Item = (&'static str, &'static str)> {
    REASONS.iter().flat_map(|(reason, all)| all.iter().map(move |one| (*one, *reason)))
}
