//! Whose process runs, and what is told of it.

use aya_ebpf::helpers::{
    bpf_get_current_comm,
    generated::{
        bpf_get_current_ancestor_cgroup_id, bpf_get_current_cgroup_id, bpf_get_current_pid_tgid,
        bpf_get_current_uid_gid, bpf_ktime_get_ns,
    },
};
use enforcer_common::abi::{
    cgroup::{CgroupOwner, MAX_DEPTH},
    event::Process,
};

use crate::maps::CGROUPS;

/// The guest whose cgroup the current process is in, or is below. No guest can leave its cgroup; one
/// that may make cgroups makes them within its own.
#[inline(always)]
pub fn guest() -> Option<&'static CgroupOwner> {
    home().map(|(_, owner)| owner)
}

/// The same, and the id of the guest's cgroup.
#[inline(always)]
pub fn home() -> Option<(u64, &'static CgroupOwner)> {
    // SAFETY: the helper takes nothing.
    let current = unsafe { bpf_get_current_cgroup_id() };
    // SAFETY: entries are replaced as a whole by the daemon.
    if let Some(owner) = unsafe { CGROUPS.get(current) } {
        return Some((current, owner));
    }
    for depth in 1..=MAX_DEPTH {
        // SAFETY: the helper takes any depth.
        let ancestor = unsafe { bpf_get_current_ancestor_cgroup_id(depth.cast_signed()) };
        if ancestor == 0 {
            break;
        }
        // SAFETY: as above.
        if let Some(owner) = unsafe { CGROUPS.get(ancestor) } {
            return Some((ancestor, owner));
        }
    }
    None
}

/// Writes who runs into a record.
///
/// # Safety
/// `process` points into a slot of the ring.
#[inline(always)]
pub unsafe fn describe(process: *mut Process, parent_pid: u32) {
    // SAFETY: the helpers take nothing; the slot is the caller's.
    unsafe {
        let user = bpf_get_current_uid_gid();
        (*process).cgroup = bpf_get_current_cgroup_id();
        (*process).pid = (bpf_get_current_pid_tgid() >> 32) as u32;
        (*process).uid = low(user);
        (*process).gid = (user >> 32) as u32;
        (*process).parent_pid = parent_pid;
        // Fails never for a buffer of this length.
        (*process).comm = bpf_get_current_comm().unwrap_or([0; 16]);
    }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the other half is another number")]
const fn low(word: u64) -> u32 {
    word as u32
}

/// Monotonic time, ns. These programs may not read the coarse clock, which is the same one but for its
/// steps.
#[inline(always)]
pub fn now_ns() -> u64 {
    // SAFETY: takes nothing and reads a clock.
    unsafe { bpf_ktime_get_ns() }
}
