//! The binary interface between the eBPF programs and user space. Everything is `repr(C)`, without
//! implicit padding, and integers only; addresses are in network byte order, ports in host order.
//!
//! What outlives a daemon is described by [`layout`]: a field keeps its meaning as long as it keeps its
//! name, a change of meaning changes the name, and any change of a layout changes [`ABI_VERSION`].

pub mod cgroup;
pub mod counter;
pub mod endpoint;
pub mod event;
pub mod flow;
pub mod import;
pub mod layout;
pub mod ledger;
pub mod policy;
pub mod verdict;

/// Version of every layout in [`crate::abi`]; both sides carry it and refuse to mismatch. With the
/// feature `other-layout` it is a version that no release has.
pub const ABI_VERSION: u32 = 5 + if cfg!(feature = "other-layout") { 0x8000_0000 } else { 0 };

/// Section of the eBPF object that holds [`ABI_VERSION`] as a little-endian `u32`.
pub const ABI_SECTION: &str = "enforcer_abi";

/// Implements `aya::Pod` for plain ABI types, in user space only.
macro_rules! pod {
    ($($name:ty),+ $(,)?) => {
        $(
            // SAFETY: `repr(C)`, integers only, no implicit padding (asserted beside the type).
            #[cfg(feature = "user")]
            unsafe impl aya::Pod for $name {}
        )+
    };
}
pub(crate) use pod;
