//! Finds sockets of engines and TCP ports of the one that enforcer uses, in the file system and in the kernel's tables.
//! It blocks, and reads only. All that is listed has a limit.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read as _},
    net::SocketAddr,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileTypeExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use super::{
    judge::{Facts, Socket},
    table,
};
use crate::{api::acl, model::way::Mounted};

/// Where engines listen by themselves.
const USUAL: [&str; 7] = [
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/docker/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/buildkit/buildkitd.sock",
    "/run/crio/crio.sock",
    "/run/k3s/containerd/containerd.sock",
];
/// The same below each directory of `/run/user`.
const OF_USERS: [&str; 2] = ["podman/podman.sock", "docker.sock"];
/// Names of files of sockets that are engines', wherever they are.
const KNOWN: [&str; 7] = [
    "docker.sock",
    "containerd.sock",
    "containerd.sock.ttrpc",
    "podman.sock",
    "buildkitd.sock",
    "crio.sock",
    "containerd-debug.sock",
];
/// The program of an engine's process.
const DOCKERD: &str = "dockerd";
/// Most entries of one directory that are looked at.
const MOST: usize = 65_536;
/// Longest table that is read, bytes.
const LONGEST: u64 = 32 << 20;

/// Looks. `engine` is the socket that enforcer uses, `run_dir` has sockets of its own that are called like an engine's.
pub(crate) fn look(engine: &Path, run_dir: &Path, mounted: Vec<Mounted>) -> Facts {
    let mut facts = Facts::default();
    let engine = fs::canonicalize(engine).unwrap_or_else(|_| engine.to_owned());
    let own = fs::canonicalize(run_dir).unwrap_or_else(|_| run_dir.to_owned());
    for path in candidates(&engine).into_iter().filter(|path| !path.starts_with(&own)) {
        match socket(&path) {
            Ok(Some(mut socket)) => {
                socket.is_engine_s = path == engine;
                facts.sockets.push(socket);
            }
            Ok(None) => {}
            Err(error) => facts.unknown.push(format!("who may use {}: {error}", path.display())),
        }
    }
    match listeners(&engine) {
        Ok(Some(tcp)) => facts.tcp = tcp,
        Ok(None) => facts.unknown.push(format!(
            "TCP ports of the engine: no process {DOCKERD} of this host is known to serve {}",
            engine.display()
        )),
        Err(error) => facts.unknown.push(format!("TCP ports of the engine: {error}")),
    }
    facts.mounted = mounted;
    for source in facts.mounted.iter_mut().flat_map(|mounted| &mut mounted.sources) {
        if let Ok(real) = fs::canonicalize(&*source) {
            *source = real;
        }
    }
    facts
}

/// Paths at which an engine may listen, without symbolic links.
fn candidates(engine: &Path) -> BTreeSet<PathBuf> {
    let users = entries(Path::new("/run/user")).unwrap_or_default();
    let of_users = users.iter().flat_map(|dir| OF_USERS.map(|name| dir.join(name)));
    let listening = read("/proc/self/net/unix").map(|text| table::unix(&text)).unwrap_or_default();
    let is_known =
        |path: &PathBuf| KNOWN.iter().any(|name| path.file_name() == Some(OsStr::new(name)));
    let listening = listening.into_iter().map(|(path, _)| path).filter(is_known);
    let usual = USUAL.map(PathBuf::from).into_iter();
    let all = usual.chain(of_users).chain(listening).chain([engine.to_owned()]);
    all.filter_map(|path| fs::canonicalize(path).ok()).collect()
}

/// What is at a path; `None`: no socket.
fn socket(path: &Path) -> io::Result<Option<Socket>> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Ok(None);
    }
    let is_closed = |dir: &&Path| fs::metadata(dir).is_ok_and(|found| found.mode() & 1 == 0);
    Ok(Some(Socket {
        path: path.to_owned(),
        is_engine_s: false,
        uid: found.uid(),
        gid: found.gid(),
        mode: found.mode() & 0o7777,
        acl: acl::entries(path, found.gid())?,
        closed_by: path.ancestors().skip(1).find(is_closed).map(Path::to_owned),
    }))
}

/// Where the engine's process listens for TCP; `None`: nobody knows which process it is.
fn listeners(engine: &Path) -> io::Result<Option<BTreeSet<SocketAddr>>> {
    let own = fs::read_link("/proc/self/ns/pid")?;
    let mut found = None::<BTreeSet<SocketAddr>>;
    for process in entries(Path::new("/proc"))? {
        let name = fs::read(process.join("comm")).unwrap_or_default();
        let is_of_host = fs::read_link(process.join("ns/pid")).is_ok_and(|of| of == own);
        if name.trim_ascii() != DOCKERD.as_bytes() || !is_of_host {
            continue;
        }
        // A process may end while it is looked at.
        let Ok(held) = held(&process) else { continue };
        if serves(&process, engine, &held) {
            let tcp =
                ["net/tcp", "net/tcp6"].into_iter().filter_map(|of| read(process.join(of)).ok());
            let tcp =
                tcp.flat_map(|text| table::tcp(&text)).filter(|(_, inode)| held.contains(inode));
            found.get_or_insert_default().extend(tcp.map(|(address, _)| address));
        }
    }
    Ok(found)
}

/// Whether a process holds the listener of a socket.
fn serves(process: &Path, socket: &Path, held: &BTreeSet<u64>) -> bool {
    let listening = read(process.join("net/unix")).map(|text| table::unix(&text));
    let is_it = |(path, inode): &(PathBuf, u64)| {
        held.contains(inode) && fs::canonicalize(path).is_ok_and(|path| path == socket)
    };
    listening.unwrap_or_default().iter().any(is_it)
}

/// Sockets that a process has open, by their inodes.
fn held(process: &Path) -> io::Result<BTreeSet<u64>> {
    let inode = |fd: PathBuf| {
        let target = fs::read_link(fd).ok()?;
        let text = std::str::from_utf8(target.as_os_str().as_bytes()).ok()?;
        text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    Ok(entries(&process.join("fd"))?.into_iter().filter_map(inode).collect())
}

fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir)?.take(MOST);
    Ok(entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect())
}

fn read(path: impl AsRef<Path>) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    // A path may be anything.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::PermissionsExt as _, fs::symlink, net::UnixListener};

    use super::*;

    #[test]
    fn s20_a_socket_that_is_called_like_an_engines_is_found_wherever_it_is() {
        let dir = std::env::temp_dir().join(format!("enforcer-ways-{}", std::process::id()));
        let own = dir.join("own");
        fs::create_dir_all(&own).expect("made");
        let (at, gate) = (dir.join("podman.sock"), own.join("docker.sock"));
        let _listening = [&at, &gate].map(|path| UnixListener::bind(path).expect("bound"));
        fs::set_permissions(&at, fs::Permissions::from_mode(0o606)).expect("set");
        symlink(&dir, dir.join("link")).expect("linked");
        let mounted = Mounted { sources: vec![dir.join("link")], ..Mounted::default() };
        let facts = look(&dir.join("none.sock"), &own, vec![mounted]);
        let real = fs::canonicalize(&at).expect("there");
        let found = facts.sockets.iter().find(|socket| socket.path == real).expect("found");
        assert_eq!((found.mode, found.acl.len(), found.is_engine_s), (0o606, 0, false));
        assert!(
            !facts.sockets.iter().any(|socket| socket.path.starts_with(real.with_file_name("own")))
        );
        // What is mounted is what the host resolves it to.
        assert_eq!(facts.mounted[0].sources[0], real.parent().expect("a directory"));
        // Nobody serves it, and that is told.
        assert!(facts.tcp.is_empty() && facts.unknown[0].contains("none.sock"), "{facts:?}");
        let facts = look(&dir.join("link/podman.sock"), &own, Vec::new());
        assert!(facts.sockets.iter().any(|socket| socket.is_engine_s && socket.path == real));
        fs::remove_dir_all(&dir).expect("removed");
    }
}
