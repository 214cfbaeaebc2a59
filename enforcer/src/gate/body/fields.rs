//! Every field of the engine's requests, and what the gate does with it. Data: readers find a field here before they
//! look at its value, and a field that is not here is refused. A test compares this with the engine's own models.

/// What is done with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A reader judges its value.
    Allowed,
    /// It may come with any value that its reader knows; what goes to the engine is ours.
    Forced,
    /// Nothing may be asked for by it: `null`, `false`, 0, an empty text, list or object, or objects of such. Clients
    /// send these for whatever nobody asked for. It never goes to the engine.
    OnlyEmpty,
    /// As `OnlyEmpty`, or -1, with which the engine's own client says the same.
    OnlyUnset,
    /// Only `null`: an empty list would take something away that the engine does by itself.
    OnlyNull,
}

/// A field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name, as Go's structure has it. Another spelling is another field, and unknown.
    pub name: &'static str,
    /// The rule that refuses its value.
    pub rule: &'static str,
    /// What is done with it.
    pub class: Class,
}

/// An object of the engine's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its name in the engine's documents.
    pub name: &'static str,
    /// Its fields.
    pub fields: &'static [Field],
}

impl Model {
    /// A field by its name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

const fn allowed(name: &'static str, rule: &'static str) -> Field {
    Field { name, rule, class: Class::Allowed }
}

const fn forced(name: &'static str, rule: &'static str) -> Field {
    Field { name, rule, class: Class::Forced }
}

const fn empty(name: &'static str, rule: &'static str) -> Field {
    Field { name, rule, class: Class::OnlyEmpty }
}

const fn unset(name: &'static str, rule: &'static str) -> Field {
    Field { name, rule, class: Class::OnlyUnset }
}

const fn null(name: &'static str, rule: &'static str) -> Field {
    Field { name, rule, class: Class::OnlyNull }
}

/// All of them.
pub static MODELS: &[&Model] = &[
    &CREATE,
    &HOST_CONFIG,
    &UPDATE,
    &HEALTH,
    &RESTART,
    &LOG,
    &ULIMIT,
    &PORT,
    &MOUNT,
    &VOLUME_OPTIONS,
    &DRIVER,
    &TMPFS_OPTIONS,
    &NETWORKING,
    &ENDPOINT,
    &EXEC,
    &EXEC_START,
    &NETWORK,
    &IPAM,
    &CONNECT,
    &DISCONNECT,
    &VOLUME,
];

/// The body of `POST /containers/create`: `ContainerConfig` and what is beside it.
pub static CREATE: Model = Model {
    name: "ContainerCreateRequest",
    fields: &[
        allowed("Hostname", "container.hostname"),
        allowed("Domainname", "container.domainname"),
        allowed("User", "container.user"),
        allowed("AttachStdin", "container.attach-stdin"),
        allowed("AttachStdout", "container.attach-stdout"),
        allowed("AttachStderr", "container.attach-stderr"),
        allowed("ExposedPorts", "container.exposed-ports"),
        allowed("Tty", "container.tty"),
        allowed("OpenStdin", "container.open-stdin"),
        allowed("StdinOnce", "container.stdin-once"),
        allowed("Env", "container.env"),
        allowed("Cmd", "container.cmd"),
        allowed("Healthcheck", "container.healthcheck"),
        allowed("Image", "container.image"),
        allowed("Volumes", "container.volumes"),
        allowed("WorkingDir", "container.working-dir"),
        allowed("Entrypoint", "container.entrypoint"),
        allowed("Labels", "container.labels"),
        allowed("StopSignal", "container.stop-signal"),
        allowed("StopTimeout", "container.stop-timeout"),
        allowed("HostConfig", "container.host-config"),
        allowed("NetworkingConfig", "container.networking-config"),
        empty("ArgsEscaped", "container.args-escaped"),
        empty("NetworkDisabled", "container.network-disabled"),
        empty("OnBuild", "container.on-build"),
        empty("Shell", "container.shell"),
        empty("MacAddress", "container.mac-address"),
        empty("Runtime", "container.runtime"),
    ],
};

/// `HostConfig`, with the limits that are in it (`Resources`).
pub static HOST_CONFIG: Model = Model {
    name: "HostConfig",
    fields: &[
        allowed("CpuShares", "host-config.cpu-shares"),
        allowed("Memory", "host-config.memory"),
        allowed("CpuPeriod", "host-config.cpu-period"),
        allowed("CpuQuota", "host-config.cpu-quota"),
        allowed("MemoryReservation", "host-config.memory-reservation"),
        allowed("MemorySwap", "host-config.memory-swap"),
        allowed("NanoCpus", "host-config.nano-cpus"),
        allowed("PidsLimit", "host-config.pids-limit"),
        allowed("Ulimits", "host-config.ulimits"),
        empty("BlkioWeight", "host-config.blkio-weight"),
        empty("BlkioWeightDevice", "host-config.blkio-weight-device"),
        empty("BlkioDeviceReadBps", "host-config.blkio-device-read-bps"),
        empty("BlkioDeviceWriteBps", "host-config.blkio-device-write-bps"),
        empty("BlkioDeviceReadIOps", "host-config.blkio-device-read-iops"),
        empty("BlkioDeviceWriteIOps", "host-config.blkio-device-write-iops"),
        empty("CpuRealtimePeriod", "host-config.cpu-realtime-period"),
        empty("CpuRealtimeRuntime", "host-config.cpu-realtime-runtime"),
        empty("CpusetCpus", "host-config.cpuset-cpus"),
        empty("CpusetMems", "host-config.cpuset-mems"),
        empty("Devices", "host-config.devices"),
        empty("DeviceCgroupRules", "host-config.device-cgroup-rules"),
        empty("DeviceRequests", "host-config.device-requests"),
        empty("OomKillDisable", "host-config.oom-kill-disable"),
        empty("CpuCount", "host-config.cpu-count"),
        empty("CpuPercent", "host-config.cpu-percent"),
        empty("IOMaximumIOps", "host-config.io-maximum-iops"),
        empty("IOMaximumBandwidth", "host-config.io-maximum-bandwidth"),
        empty("KernelMemory", "host-config.kernel-memory"),
        empty("KernelMemoryTCP", "host-config.kernel-memory-tcp"),
        unset("MemorySwappiness", "host-config.memory-swappiness"),
        empty("CgroupParent", "host-config.cgroup-parent"),
        forced("CgroupnsMode", "host-config.cgroupns-mode"),
        forced("LogConfig", "host-config.log-config"),
        forced("ContainerIDFile", "host-config.container-id-file"),
        allowed("Binds", "host-config.binds"),
        allowed("NetworkMode", "host-config.network-mode"),
        allowed("PortBindings", "host-config.port-bindings"),
        allowed("RestartPolicy", "host-config.restart-policy"),
        allowed("AutoRemove", "host-config.auto-remove"),
        allowed("VolumesFrom", "host-config.volumes-from"),
        allowed("Mounts", "host-config.mounts"),
        allowed("ConsoleSize", "host-config.console-size"),
        allowed("CapAdd", "host-config.cap-add"),
        allowed("CapDrop", "host-config.cap-drop"),
        allowed("Dns", "host-config.dns"),
        allowed("DnsOptions", "host-config.dns-options"),
        allowed("DnsSearch", "host-config.dns-search"),
        allowed("ExtraHosts", "host-config.extra-hosts"),
        allowed("IpcMode", "host-config.ipc-mode"),
        allowed("PidMode", "host-config.pid-mode"),
        allowed("ReadonlyRootfs", "host-config.readonly-rootfs"),
        allowed("SecurityOpt", "host-config.security-opt"),
        allowed("StorageOpt", "host-config.storage-opt"),
        allowed("Tmpfs", "host-config.tmpfs"),
        allowed("ShmSize", "host-config.shm-size"),
        allowed("Init", "host-config.init"),
        allowed("VolumeDriver", "host-config.volume-driver"),
        allowed("Runtime", "host-config.runtime"),
        allowed("Isolation", "host-config.isolation"),
        empty("Annotations", "host-config.annotations"),
        empty("GroupAdd", "host-config.group-add"),
        empty("Cgroup", "host-config.cgroup"),
        empty("Links", "host-config.links"),
        empty("OomScoreAdj", "host-config.oom-score-adj"),
        empty("Privileged", "host-config.privileged"),
        empty("PublishAllPorts", "host-config.publish-all-ports"),
        empty("UTSMode", "host-config.uts-mode"),
        empty("UsernsMode", "host-config.userns-mode"),
        empty("Sysctls", "host-config.sysctls"),
        empty("Capabilities", "host-config.capabilities"),
        null("MaskedPaths", "host-config.masked-paths"),
        null("ReadonlyPaths", "host-config.readonly-paths"),
    ],
};

/// The body of `POST /containers/{id}/update`.
pub static UPDATE: Model = Model {
    name: "ContainerUpdate",
    fields: &[
        allowed("CpuShares", "update.cpu-shares"),
        allowed("Memory", "update.memory"),
        allowed("CpuPeriod", "update.cpu-period"),
        allowed("CpuQuota", "update.cpu-quota"),
        allowed("MemoryReservation", "update.memory-reservation"),
        allowed("MemorySwap", "update.memory-swap"),
        allowed("NanoCpus", "update.nano-cpus"),
        allowed("PidsLimit", "update.pids-limit"),
        allowed("Ulimits", "update.ulimits"),
        empty("BlkioWeight", "update.blkio-weight"),
        empty("BlkioWeightDevice", "update.blkio-weight-device"),
        empty("BlkioDeviceReadBps", "update.blkio-device-read-bps"),
        empty("BlkioDeviceWriteBps", "update.blkio-device-write-bps"),
        empty("BlkioDeviceReadIOps", "update.blkio-device-read-iops"),
        empty("BlkioDeviceWriteIOps", "update.blkio-device-write-iops"),
        empty("CpuRealtimePeriod", "update.cpu-realtime-period"),
        empty("CpuRealtimeRuntime", "update.cpu-realtime-runtime"),
        empty("CpusetCpus", "update.cpuset-cpus"),
        empty("CpusetMems", "update.cpuset-mems"),
        empty("Devices", "update.devices"),
        empty("DeviceCgroupRules", "update.device-cgroup-rules"),
        empty("DeviceRequests", "update.device-requests"),
        empty("OomKillDisable", "update.oom-kill-disable"),
        empty("CpuCount", "update.cpu-count"),
        empty("CpuPercent", "update.cpu-percent"),
        empty("IOMaximumIOps", "update.io-maximum-iops"),
        empty("IOMaximumBandwidth", "update.io-maximum-bandwidth"),
        empty("KernelMemory", "update.kernel-memory"),
        empty("KernelMemoryTCP", "update.kernel-memory-tcp"),
        unset("MemorySwappiness", "update.memory-swappiness"),
        allowed("RestartPolicy", "update.restart-policy"),
        empty("CgroupParent", "update.cgroup-parent"),
        empty("Init", "update.init"),
    ],
};

/// `Healthcheck` of a container.
pub static HEALTH: Model = Model {
    name: "HealthConfig",
    fields: &[
        allowed("Test", "health.test"),
        allowed("Interval", "health.interval"),
        allowed("Timeout", "health.timeout"),
        allowed("Retries", "health.retries"),
        allowed("StartPeriod", "health.start-period"),
        allowed("StartInterval", "health.start-interval"),
    ],
};

/// `RestartPolicy`.
pub static RESTART: Model = Model {
    name: "RestartPolicy",
    fields: &[
        allowed("Name", "restart.name"),
        allowed("MaximumRetryCount", "restart.maximum-retry-count"),
    ],
};

/// `LogConfig`: read, and then set by us.
pub static LOG: Model = Model {
    name: "LogConfig",
    fields: &[allowed("Type", "log.type"), allowed("Config", "log.config")],
};

/// One of `Ulimits`.
pub static ULIMIT: Model = Model {
    name: "Ulimit",
    fields: &[
        allowed("Name", "ulimit.name"),
        allowed("Soft", "ulimit.soft"),
        allowed("Hard", "ulimit.hard"),
    ],
};

/// One of `PortBindings`.
pub static PORT: Model = Model {
    name: "PortBinding",
    fields: &[allowed("HostIp", "port.host-ip"), allowed("HostPort", "port.host-port")],
};

/// One of `Mounts`.
pub static MOUNT: Model = Model {
    name: "Mount",
    fields: &[
        allowed("Target", "mount.target"),
        allowed("Source", "mount.source"),
        allowed("Type", "mount.type"),
        allowed("ReadOnly", "mount.read-only"),
        allowed("Consistency", "mount.consistency"),
        allowed("VolumeOptions", "mount.volume-options"),
        allowed("TmpfsOptions", "mount.tmpfs-options"),
        empty("BindOptions", "mount.bind-options"),
        empty("ImageOptions", "mount.image-options"),
        empty("ClusterOptions", "mount.cluster-options"),
    ],
};

/// `VolumeOptions` of a mount.
pub static VOLUME_OPTIONS: Model = Model {
    name: "VolumeOptions",
    fields: &[
        allowed("NoCopy", "mount.volume.no-copy"),
        allowed("Labels", "mount.volume.labels"),
        allowed("DriverConfig", "mount.volume.driver-config"),
        empty("Subpath", "mount.volume.subpath"),
    ],
};

/// `DriverConfig` of a mount.
pub static DRIVER: Model = Model {
    name: "DriverConfig",
    fields: &[allowed("Name", "mount.driver.name"), empty("Options", "mount.driver.options")],
};

/// `TmpfsOptions` of a mount.
pub static TMPFS_OPTIONS: Model = Model {
    name: "TmpfsOptions",
    fields: &[
        allowed("SizeBytes", "mount.tmpfs.size-bytes"),
        allowed("Mode", "mount.tmpfs.mode"),
        empty("Options", "mount.tmpfs.options"),
    ],
};

/// `NetworkingConfig` of a create.
pub static NETWORKING: Model = Model {
    name: "NetworkingConfig",
    fields: &[allowed("EndpointsConfig", "networking.endpoints-config")],
};

/// How a container joins a network.
pub static ENDPOINT: Model = Model {
    name: "EndpointSettings",
    fields: &[
        allowed("Aliases", "endpoint.aliases"),
        empty("IPAMConfig", "endpoint.ipam-config"),
        empty("Links", "endpoint.links"),
        empty("MacAddress", "endpoint.mac-address"),
        empty("DriverOpts", "endpoint.driver-opts"),
        empty("GwPriority", "endpoint.gw-priority"),
        empty("NetworkID", "endpoint.network-id"),
        empty("EndpointID", "endpoint.endpoint-id"),
        empty("Gateway", "endpoint.gateway"),
        empty("IPAddress", "endpoint.ip-address"),
        empty("IPPrefixLen", "endpoint.ip-prefix-len"),
        empty("IPv6Gateway", "endpoint.ipv6-gateway"),
        empty("GlobalIPv6Address", "endpoint.global-ipv6-address"),
        empty("GlobalIPv6PrefixLen", "endpoint.global-ipv6-prefix-len"),
        empty("DNSNames", "endpoint.dns-names"),
    ],
};

/// The body of `POST /containers/{id}/exec`.
pub static EXEC: Model = Model {
    name: "ExecConfig",
    fields: &[
        allowed("AttachStdin", "exec.attach-stdin"),
        allowed("AttachStdout", "exec.attach-stdout"),
        allowed("AttachStderr", "exec.attach-stderr"),
        allowed("ConsoleSize", "exec.console-size"),
        allowed("DetachKeys", "exec.detach-keys"),
        allowed("Tty", "exec.tty"),
        allowed("Env", "exec.env"),
        allowed("Cmd", "exec.cmd"),
        allowed("User", "exec.user"),
        allowed("WorkingDir", "exec.working-dir"),
        allowed("Detach", "exec.detach"),
        allowed("Container", "exec.container"),
        empty("Privileged", "exec.privileged"),
    ],
};

/// The body of `POST /exec/{id}/start`.
pub static EXEC_START: Model = Model {
    name: "ExecStartConfig",
    fields: &[
        allowed("Detach", "exec-start.detach"),
        allowed("Tty", "exec-start.tty"),
        allowed("ConsoleSize", "exec-start.console-size"),
    ],
};

/// The body of `POST /networks/create`.
pub static NETWORK: Model = Model {
    name: "NetworkCreateRequest",
    fields: &[
        allowed("Name", "network.name"),
        allowed("Driver", "network.driver"),
        allowed("Scope", "network.scope"),
        allowed("Internal", "network.internal"),
        allowed("IPAM", "network.ipam"),
        allowed("Labels", "network.labels"),
        allowed("CheckDuplicate", "network.check-duplicate"),
        forced("EnableIPv4", "network.enable-ipv4"),
        forced("EnableIPv6", "network.enable-ipv6"),
        forced("Attachable", "network.attachable"),
        empty("Ingress", "network.ingress"),
        empty("ConfigOnly", "network.config-only"),
        empty("ConfigFrom", "network.config-from"),
        empty("Options", "network.options"),
    ],
};

/// `IPAM` of a network.
pub static IPAM: Model = Model {
    name: "IPAM",
    fields: &[
        allowed("Driver", "ipam.driver"),
        empty("Config", "ipam.config"),
        empty("Options", "ipam.options"),
    ],
};

/// The body of `POST /networks/{id}/connect`.
pub static CONNECT: Model = Model {
    name: "NetworkConnectRequest",
    fields: &[
        allowed("Container", "connect.container"),
        allowed("EndpointConfig", "connect.endpoint-config"),
    ],
};

/// The body of `POST /networks/{id}/disconnect`.
pub static DISCONNECT: Model = Model {
    name: "NetworkDisconnectRequest",
    fields: &[allowed("Container", "disconnect.container"), allowed("Force", "disconnect.force")],
};

/// The body of `POST /volumes/create`.
pub static VOLUME: Model = Model {
    name: "VolumeCreateRequest",
    fields: &[
        allowed("Name", "volume.name"),
        allowed("Driver", "volume.driver"),
        allowed("Labels", "volume.labels"),
        empty("DriverOpts", "volume.driver-opts"),
        empty("ClusterVolumeSpec", "volume.cluster-volume-spec"),
    ],
};
