//! Paths in a container, and the few of the host that a hub may mount. By their text alone: what a name leads to at
//! the time of the mount is not known here, so that only names count whose parents guests cannot change (S21).

use std::path::{Path, PathBuf};

/// Where a container finds its socket.
pub(super) const SOCKET: &str = "/var/run/docker.sock";

/// What the runtime itself mounts in a container; what lies over it shows or hides parts of the kernel.
const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Never mounted from the host, whatever the config says: neither these, nor what is in them, nor what they are in.
const HOST: [&str; 10] = [
    "/boot",
    "/dev",
    "/etc",
    "/proc",
    "/root",
    "/run",
    "/sys",
    "/var/lib/containerd",
    "/var/lib/docker",
    "/var/run",
];

/// A place in a container: absolute, with nothing in it that means another one.
pub(super) fn of_target(text: &str) -> Result<String, &'static str> {
    let path = canonical(text).ok_or(
        "a path in a container is absolute, is not the root, and has no empty part, '.', '..' or character that \
         cannot be seen",
    )?;
    let is_kernel = KERNEL.iter().any(|place| Path::new(path).starts_with(place));
    if is_kernel && !Path::new(path).starts_with("/dev/shm") {
        return Err("nothing is mounted over /proc, /sys or /dev");
    }
    Ok(path.to_owned())
}

/// Whether it means a Docker socket, however it is spelt: nothing else is called so.
pub(super) fn is_socket(text: &str) -> bool {
    let mut parts = text.split('/').map(str::trim).filter(|part| !matches!(*part, "" | "."));
    parts.next_back().is_some_and(|last| last.eq_ignore_ascii_case("docker.sock"))
}

/// A directory of the host that a hub may mount: a root of the config, or what is directly in one.
pub(super) fn source(text: &str, roots: &[PathBuf]) -> Option<String> {
    let path = canonical(text)?;
    let is_allowed = |root: &PathBuf| {
        root != Path::new("/")
            && (Path::new(path) == root || Path::new(path).parent() == Some(root))
    };
    let touches =
        |place: &&str| Path::new(path).starts_with(place) || Path::new(place).starts_with(path);
    (roots.iter().any(is_allowed) && !HOST.iter().any(touches)).then(|| path.to_owned())
}

/// The path without a slash at its end, if there is no other way to write it.
fn canonical(text: &str) -> Option<&str> {
    let path = text.strip_suffix('/').unwrap_or(text);
    let is_plain = |part: &str| !matches!(part, "" | "." | "..") && part.trim() == part;
    let mut parts = path.strip_prefix('/')?.split('/');
    let is_seen = !path.chars().any(crate::access::name::is_unseen);
    (text.len() <= 4096 && is_seen && parts.all(is_plain)).then_some(path)
}
