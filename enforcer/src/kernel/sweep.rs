//! Finds and removes programs of ours, whoever attached them and whether or not they are pinned.

use std::os::fd::AsFd as _;

use enforcer_common::abi::event::Hook;

use super::{
    KernelError,
    bpf::{self, OnHook},
    clsact,
    links::{is_ours, tcx_hook},
};

/// Takes every program of ours off these interfaces. Returns how many there were.
pub fn programs(interfaces: impl Iterator<Item = u32>) -> Result<usize, KernelError> {
    let mut removed = 0;
    for ifindex in interfaces {
        for hook in Hook::ALL {
            clsact::detach(ifindex, hook);
            for link in links(ifindex, hook)? {
                let failed = |source| KernelError::Query { ifindex, source };
                let link = bpf::link_by_id(link).map_err(failed)?;
                // Fails only when the interface has just gone.
                let _gone = bpf::detach_link(link.as_fd());
                removed += 1;
            }
        }
    }
    Ok(removed)
}

/// Ids of the links that hold a program of ours on a hook; none where the kernel has no TCX.
pub fn links(ifindex: u32, hook: Hook) -> Result<Vec<u32>, KernelError> {
    let found = on_hook(ifindex, hook)?;
    Ok(found.into_iter().filter(|is| is_ours(*is, hook)).map(|is| is.link).collect())
}

/// What others have on a hook: ids of program and link, 0 for one that was attached without a link. None where the
/// kernel has no TCX.
pub fn others(ifindex: u32, hook: Hook) -> Result<Vec<(u32, u32)>, KernelError> {
    let found = on_hook(ifindex, hook)?;
    let others = found.into_iter().filter(|is| !is_ours(*is, hook));
    Ok(others.map(|is| (is.program, is.link)).collect())
}

fn on_hook(ifindex: u32, hook: Hook) -> Result<Vec<OnHook>, KernelError> {
    match bpf::query_tcx(ifindex, tcx_hook(hook)) {
        Ok(found) => Ok(found),
        // No TCX here, or no such interface any more.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EINVAL | libc::ENODEV | libc::EOPNOTSUPP)
            ) =>
        {
            Ok(Vec::new())
        }
        Err(source) => Err(KernelError::Query { ifindex, source }),
    }
}
