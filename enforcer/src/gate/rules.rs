//! What the config lets a principal of the gate do. Pure data; `config/gate.rs` reads it.

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
    /// Host ports that may be published, inclusive; `None`: none.
    pub host_ports: Option<(u16, u16)>,
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
            host_ports: None,
        }
    }
}
