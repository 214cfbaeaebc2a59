//! What this kernel offers, checked before anything is changed.

use std::{fs, path::Path};

use super::{
    bpf::{self, TcxHook},
    sys,
};

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// Kernel release, as `uname -r` prints it.
    pub release: String,
    /// TCX links (6.6 and later); otherwise filters of a clsact qdisc.
    pub tcx: bool,
}

/// Something that the daemon cannot do without.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// Not root.
    #[error("enforcer runs as root: it loads eBPF programs and changes bridge ports")]
    NotRoot,
    /// No type information.
    #[error(
        "the kernel has no /sys/kernel/btf/vmlinux: it must be built with CONFIG_DEBUG_INFO_BTF"
    )]
    NoBtf,
    /// Too old.
    #[error("kernel {release} is too old: 6.1 is the oldest that is tested")]
    TooOld {
        /// The running release.
        release: String,
    },
    /// No release.
    #[error("cannot read the kernel's release")]
    Release(#[source] std::io::Error),
}

/// Looks at the kernel; changes nothing.
pub fn preflight() -> Result<Features, PreflightError> {
    if !sys::is_root() {
        return Err(PreflightError::NotRoot);
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Err(PreflightError::NoBtf);
    }
    let release =
        fs::read_to_string("/proc/sys/kernel/osrelease").map_err(PreflightError::Release)?;
    let release = release.trim().to_owned();
    if version(&release).is_none_or(|version| version < (6, 1)) {
        return Err(PreflightError::TooOld { release });
    }
    // Loopback is 1 in every namespace. Kernels without TCX know neither hook: EINVAL.
    let tcx = bpf::query_tcx(1, TcxHook::Ingress).is_ok() && !is_hidden();
    Ok(Features { release, tcx })
}

/// Development builds can be told to do without TCX: a test runs as on an older kernel, at the speed
/// of this one. Release builds have no such switch.
fn is_hidden() -> bool {
    cfg!(debug_assertions) && std::env::var_os("ENFORCER_TEST_CLSACT").is_some()
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn releases_of_distributions_are_understood() {
        assert_eq!(version("6.1.0-56-cloud-amd64"), Some((6, 1)));
        assert_eq!(version("6.18.44-fc-v445"), Some((6, 18)));
        assert_eq!(version("5.15-rc1"), Some((5, 15)));
        assert_eq!(version("weird"), None);
    }
}
