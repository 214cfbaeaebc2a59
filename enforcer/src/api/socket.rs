//! The control socket's file: root's, and open to nobody but those whom the config names.
//!
//! Who connects is judged again by what the kernel says of them: the file's rights only keep strangers from
//! taking up places.

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;

use super::acl;
use crate::run_dir::RunDir;

/// Mode of the socket where root alone may connect.
const ROOTS: u32 = 0o600;
/// What others get on the socket: connecting is writing.
const CONNECT: u16 = 0o6;
/// What others get on the directory: to pass, not to list.
const PASS: u16 = 0o1;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {path}: {source}", path = .path.display())]
pub struct SocketError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// The control socket, in a run directory that this daemon holds until this is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    dir: RunDir,
    /// The directory's mode when the daemon came.
    dir_mode: u32,
}

impl ControlSocket {
    /// Listens. Root may connect.
    pub fn bind(dir: RunDir) -> Result<Self, SocketError> {
        let io = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| SocketError { doing, path, source }
        };
        // Under the lock, a socket that is there is a dead daemon's. The new one gets its name
        // only once its mode is right.
        let path = super::path(dir.path());
        let new = dir.path().join("control.sock.new");
        if let Err(error) = fs::remove_file(&new)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(io("remove", &new)(error));
        }
        let listener = UnixListener::bind(&new).map_err(io("listen on", &new))?;
        fs::set_permissions(&new, Permissions::from_mode(ROOTS)).map_err(io("protect", &new))?;
        fs::rename(&new, &path).map_err(io("put in place", &path))?;
        let found = fs::metadata(dir.path()).map_err(io("look at", dir.path()))?;
        let dir_mode = found.permissions().mode() & 0o7777;
        Ok(Self { listener, path, dir, dir_mode })
    }

    /// Lets these users connect, beside root, and nobody else.
    ///
    /// A list names them; a group would need one that has them and nobody else, and a mode for everybody would
    /// have strangers take up places. On a file system without such lists root stays alone.
    pub fn open_to(&self, users: &BTreeSet<u32>) -> Result<(), SocketError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| SocketError { doing: "open to users", path, source }
        };
        acl::open_to(self.dir.path(), users, PASS, self.dir_mode)
            .map_err(failed(self.dir.path()))?;
        acl::open_to(&self.path, users, CONNECT, ROOTS).map_err(failed(&self.path))
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // The lock is still held, so it is ours. Left behind, it would only be replaced.
        let _left_behind = fs::remove_file(&self.path);
    }
}
