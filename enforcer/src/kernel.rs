//! The eBPF side of the machine: load, attach, write maps, read what the kernel holds. The only
//! place that knows aya; it decides nothing.

mod bpf;
#[cfg(feature = "bpf-log")]
pub mod bpf_log;
pub mod canary;
pub mod cgroups;
pub mod clsact;
pub mod convert;
pub mod features;
mod fields;
pub mod flows;
pub mod import;
pub mod layout;
pub mod links;
pub mod load;
mod machine;
pub mod maps;
pub mod migrate;
pub mod object;
pub mod observe;
pub mod pins;
pub mod processes;
mod raw;
pub mod ring;
pub mod sockets;
pub mod sweep;
mod sys;
pub mod takeover;

pub use sys::{
    clock_is_synchronised, file_system, is_root, monotonic_ns, raise_open_files,
    raise_receive_buffer, since_boot,
};

use std::io;

use aya::{maps::MapError, programs::ProgramError};

/// Failure of an operation on the kernel's eBPF objects.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// A program could not be attached.
    #[error("cannot attach {program} to interface {ifindex}")]
    Attach {
        /// Name of the program.
        program: &'static str,
        /// The interface.
        ifindex: u32,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program could not be attached by netlink.
    #[error("cannot attach {program} to interface {ifindex} through clsact")]
    AttachFilter {
        /// Name of the program.
        program: &'static str,
        /// The interface.
        ifindex: u32,
        /// Why.
        #[source]
        source: ProgramError,
    },
    /// A program that knows the process could not be attached.
    #[error("cannot attach {program}")]
    AttachProcess {
        /// Name of the program.
        program: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel does not say which programs are attached.
    #[error("cannot list the programs on interface {ifindex}")]
    Query {
        /// The interface.
        ifindex: u32,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Flows could not be handed to the program that takes them.
    #[error("cannot run {program}")]
    Run {
        /// Name of the program.
        program: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The self-probe could not be run.
    #[error("cannot probe {program}")]
    Probe {
        /// Name of the program.
        program: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A socket has no number by which a guest could be let to it.
    #[error("cannot read the cookie of a listening socket")]
    Cookie(#[source] io::Error),
    /// Something could not be pinned.
    #[error(transparent)]
    Pins(#[from] pins::PinError),
    /// A map could not be read or written.
    #[error("cannot {operation} map {map}")]
    Map {
        /// Name of the map.
        map: &'static str,
        /// What was tried.
        operation: &'static str,
        /// Why.
        #[source]
        source: MapError,
    },
}

impl KernelError {
    /// Whether the interface does not exist (any more): nothing is left to do on it.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Attach { source, .. } | Self::Query { source, .. } => {
                matches!(source.raw_os_error(), Some(libc::ENODEV | libc::ENXIO))
            }
            _ => false,
        }
    }
}
