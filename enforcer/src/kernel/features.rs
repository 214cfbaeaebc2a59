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
    /// Why BPF programs are no security module here; `None`: they are, or the kernel does not tell.
    pub no_bpf_lsm: Option<String>,
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
    /// What the config requires, this kernel or this host does not have.
    #[error(
        "[access] kernel_proof is \"required\", but the kernel does not guard unix sockets: {why}; \
         set it to \"auto\" to do without"
    )]
    NoKernelProof {
        /// What is missing.
        why: String,
    },
    /// No release.
    #[error("cannot read the kernel's release")]
    Release(#[source] std::io::Error),
}

/// The security modules that run, in order.
const MODULES: &str = "/sys/kernel/security/lsm";

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
    if !is_new_enough(&release) {
        return Err(PreflightError::TooOld { release });
    }
    let tcx = has_tcx();
    let no_bpf_lsm = fs::read_to_string(MODULES).ok().and_then(|modules| without_bpf(&modules));
    Ok(Features { release, tcx, no_bpf_lsm })
}

/// Whether this is a release that enforcer is tested with, or a later one.
#[must_use]
pub fn is_new_enough(release: &str) -> bool {
    version(release).is_some_and(|version| version >= (6, 1))
}

/// Whether the kernel has TCX links. Only root can tell.
#[must_use]
pub fn has_tcx() -> bool {
    // Loopback is 1 in every namespace. Kernels without TCX know neither hook: EINVAL.
    bpf::query_tcx(1, TcxHook::Ingress).is_ok() && !is_hidden()
}

/// Why BPF is none of these security modules, if it is none. Programs on their hooks can be attached
/// nevertheless, and never run.
#[must_use]
pub fn without_bpf(modules: &str) -> Option<String> {
    let modules = modules.trim();
    let has = modules.split(',').any(|module| module == "bpf");
    (!has).then(|| {
        format!(
            "bpf is not among the kernel's security modules ({modules}): add it to lsm= on the kernel's \
             command line"
        )
    })
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
    use super::{version, without_bpf};

    #[test]
    fn releases_of_distributions_are_understood() {
        assert_eq!(version("6.1.0-56-cloud-amd64"), Some((6, 1)));
        assert_eq!(version("6.18.44-fc-v445"), Some((6, 18)));
        assert_eq!(version("5.15-rc1"), Some((5, 15)));
        assert_eq!(version("weird"), None);
    }

    #[test]
    fn s16_bpf_is_looked_for_among_the_security_modules_as_a_whole_word() {
        for (modules, has) in [
            ("lockdown,capability,landlock,bpf\n", true),
            ("bpf", true),
            ("capability,bpfx", false),
            ("capability,landlock\n", false),
            ("", false),
        ] {
            let why = without_bpf(modules);
            assert_eq!(why.is_none(), has, "{modules:?}");
            assert!(why.is_none_or(|why| why.contains("lsm=")), "{modules:?}");
        }
    }
}
