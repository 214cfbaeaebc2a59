//! What is known of the host, without any opinion about it.

use std::path::PathBuf;

use crate::{docker::facts::EngineFacts, kernel::pins::Ground, model::status::StatusReport};

/// Everything that was read. `Err` says why something could not be.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Whether whoever asks is root; others cannot read half of it.
    pub is_root: bool,
    /// The config file.
    pub config_file: PathBuf,
    /// Whether there is such a file, or may be.
    pub has_config_file: bool,
    /// What the config asks for.
    pub config: Result<Wanted, String>,
    /// The kernel.
    pub kernel: KernelFacts,
    /// What keeps guest bridges closed before programs do.
    pub closing: Closing,
    /// Guest bridges that exist.
    pub bridges: Result<Vec<BridgeFacts>, String>,
    /// `net.ipv4.ip_forward`.
    pub forwards: Option<bool>,
    /// `net.bridge.bridge-nf-call-iptables`; `None`: the module is not loaded.
    pub bridge_calls_iptables: Option<bool>,
    /// Docker.
    pub engine: Result<EngineFacts, String>,
    /// Whether the kernel knows its clock to be synchronised.
    pub clock_synchronised: Result<bool, String>,
    /// File systems that enforcer writes to.
    pub disks: Vec<Disk>,
    /// The daemon.
    pub daemon: DaemonFacts,
    /// The units; `None`: systemd does not run here.
    pub units: Option<Units>,
}

/// What of a config matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Whether it may do without the guard of unix sockets.
    pub may_lack_kernel_proof: bool,
    /// Whether a guest network has IPv6.
    pub has_ipv6: bool,
    /// Whether a rule is about who comes in from beyond the bridge.
    pub has_from_rules: bool,
    /// Where links and maps are pinned.
    pub pin_dir: PathBuf,
    /// Bridges of guest networks.
    pub bridges: Vec<String>,
}

/// What the kernel is and offers.
#[derive(Clone, Debug)]
pub struct KernelFacts {
    /// As `uname -r` prints it.
    pub release: Option<String>,
    /// Whether it has its own type information.
    pub has_btf: bool,
    /// `net.core.bpf_jit_enable`; `None`: not readable, as for kernels that always compile.
    pub jit: Option<String>,
    /// Security modules that run, separated by commas; `None`: securityfs is not mounted.
    pub security_modules: Option<String>,
    /// Lockdown, the one in force in brackets; `None`: the kernel has none, or does not tell.
    pub lockdown: Option<String>,
    /// Whether programs are attached by TCX links.
    pub has_tcx: bool,
    /// Hierarchies of cgroups.
    pub cgroups: Cgroups,
    /// What links and maps are pinned on.
    pub pins: Ground,
}

/// Hierarchies of cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cgroups {
    /// v2 alone.
    Unified,
    /// v2 beside v1, where the containers are.
    Hybrid,
    /// v1 alone, or none.
    Old,
}

/// What can keep guest bridges closed before programs do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closing {
    /// The config does without.
    Unwanted,
    /// The config is not known.
    Unknown,
    /// nft, by the bridge.
    Bridge,
    /// nft, between ports only.
    Ports,
    /// Nothing, and why.
    Impossible(String),
}

/// A guest bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeFacts {
    /// Its name.
    pub name: String,
    /// Whether it filters by VLAN; `None`: not readable.
    pub filters_vlans: Option<bool>,
    /// TC programs of others on it and its ports.
    pub strangers: Vec<Stranger>,
}

/// A TC program of somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranger {
    /// Where it sits.
    pub interface: String,
    /// In which direction.
    pub ingress: bool,
    /// Kernel's id of the program.
    pub program: u32,
    /// How it sits there.
    pub seat: Seat,
}

/// How a TC program sits on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seat {
    /// By a TCX link with this id.
    Link(u32),
    /// TCX, without a link.
    Tcx,
    /// A filter of a clsact qdisc.
    Filter {
        /// Its priority, beside which others may be.
        priority: u16,
        /// Its handle, which it has alone.
        handle: u32,
    },
}

/// A file system that enforcer writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The directory in question.
    pub dir: PathBuf,
    /// What is kept there.
    pub holds: &'static str,
    /// Bytes that root may still write, and inodes; or why nobody knows.
    pub free: Result<Free, String>,
}

/// What is left of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Free {
    /// Bytes.
    pub bytes: u64,
    /// Bytes of the whole file system.
    pub of_bytes: u64,
    /// Inodes.
    pub inodes: u64,
    /// Inodes of the whole file system; 0: it has no such limit.
    pub of_inodes: u64,
}

/// The daemon.
#[derive(Clone, Debug)]
pub struct DaemonFacts {
    /// What it says that it measured, or why it does not answer.
    pub report: Result<Box<StatusReport>, String>,
    /// Its process, if it answers and whoever asks may look.
    pub process: Option<ProcessFacts>,
}

/// The daemon's process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Files that it may have open; `None`: not readable.
    pub open_files: Option<u64>,
    /// Whether systemd started it.
    pub has_manager: bool,
    /// Whether systemd ends it when it freezes.
    pub has_watchdog: bool,
}

/// Units of systemd, as files say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Units {
    /// `enforcer.service` starts at boot.
    pub daemon_enabled: bool,
    /// `enforcer-closed.service` starts at boot.
    pub closed_enabled: bool,
    /// Docker waits for both.
    pub docker_waits: bool,
}
