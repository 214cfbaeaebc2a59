//! What the config lets a principal of the gate do. Pure data; `config/gate.rs` reads it.

use std::path::PathBuf;

/// Bounds of one principal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Images that containers may be made of and that may be pulled: references with `*` for any text. Own images are
    /// always usable. Empty: none.
    pub images: Vec<String>,
    /// Most containers at a time, the notebook apart.
    pub max_containers: u32,
    /// Most volumes.
    pub max_volumes: u32,
    /// Most own networks.
    pub max_networks: u32,
    /// Memory of one container, bytes; also what one gets that asks for none.
    pub memory: u64,
    /// CPU time of one container, in 10⁻⁹ CPUs.
    pub nano_cpus: u64,
    /// Processes of one container.
    pub pids: u32,
    /// Disk of one container's own layer, bytes, where the storage driver can limit it; `None`: no limit is set, and
    /// none may be asked for.
    pub disk: Option<u64>,
    /// Host ports that may be published, inclusive; `None`: none.
    pub host_ports: Option<(u16, u16)>,
    /// For a hub alone: directories of this host that containers may mount, themselves and what is directly in
    /// them. A directory whose entries guests can replace is none.
    pub bind_roots: Vec<PathBuf>,
    /// Longest context of a build, bytes, unpacked; 0: nothing is built.
    pub build_context: u64,
    /// Keys of labels by which the config tells containers apart: who makes one here sets none of them.
    pub reserved_labels: Vec<String>,
    /// Names of the config's hubs and services: whatever else had one would be taken for it.
    pub reserved_names: Vec<String>,
    /// Containers keep the engine's default capabilities, and programs may gain privileges as `sudo` does. Else both
    /// are cut.
    pub keeps_privileges: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            images: Vec::new(),
            max_containers: 10,
            max_volumes: 10,
            max_networks: 3,
            memory: 2 << 30,
            nano_cpus: 1_000_000_000,
            pids: 512,
            disk: None,
            host_ports: None,
            bind_roots: Vec::new(),
            build_context: 64 << 20,
            reserved_labels: Vec::new(),
            reserved_names: Vec::new(),
            keeps_privileges: false,
        }
    }
}
