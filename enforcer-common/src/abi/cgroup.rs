//! Guests' cgroups, as the programs that know the process see them.

use super::{layout::layout, pod};

/// Value of map `CGROUPS`; the key is the id (`u64`) of a guest's cgroup in the v2 hierarchy. A cgroup
/// that a guest makes within its own is the guest's too.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CgroupOwner {
    /// [`super::endpoint::Endpoint::id`] that its events are charged to.
    pub owner: u32,
    /// Key of the guest's only entry in map `ENDPOINTS`; 0: it has several, so which of them a
    /// connection would take is not known before there is a packet.
    pub ifindex: u32,
}

/// Depth of the deepest cgroup that may be a guest's; the root of the hierarchy has depth 0.
pub const MAX_DEPTH: u32 = 8;

/// Key of map `GATES`: a unix socket outside a guest's cgroup that its processes may reach nevertheless.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    /// Id of the guest's cgroup, as in map `CGROUPS`.
    pub cgroup: u64,
    /// Cookie of the listening socket (`SO_COOKIE`), which no other socket ever has.
    pub cookie: u64,
}

const _: () = assert!(size_of::<CgroupOwner>() == 8 && size_of::<Gate>() == 16);
layout!(CgroupOwner { owner, ifindex });
pod!(CgroupOwner, Gate);
