//! The files of the gate's sockets. Who may open one is kept by directories that others cannot list or enter; whom it
//! serves is decided for each connection (`identity`).
//!
//! ```text
//! RUN_DIR/gate/                       others pass, nobody lists
//! RUN_DIR/gate/HUB.sock               the hub's user, by an access control list, and root
//! RUN_DIR/gate/u/                     root alone
//! RUN_DIR/gate/u/HUB/HASH/docker.sock mounted into containers of one user; HASH is of hub and user
//! RUN_DIR/gate/u/HUB/HASH/user        the user's name, for the next daemon
//! ```
//!
//! A container has the inode that was there when it began. The service manager keeps listeners for the next daemon;
//! without one that daemon makes new inodes, and containers that run have a socket at which nobody listens.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::{
            fs::{
                DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _,
                PermissionsExt as _,
            },
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
};

use super::principal::Principal;
use crate::{
    access::name::{HubName, User},
    api::acl,
    digest, service_manager,
};

/// Name of a user's socket in its directory.
const SOCKET: &str = "docker.sock";
/// Name of the file that has the user's name.
const USER: &str = "user";
/// Longest path that an address of a unix socket holds, bytes.
const LONGEST: usize = 107;
/// Digits of the hash in a path.
const HASH: usize = 32;
/// Mode of a hub's socket where root alone may connect.
const ROOTS: u32 = 0o600;
/// Mode of a user's: containers have users of any number, and only what is mounted is reached.
const ANYBODYS: u32 = 0o666;
/// What a hub's user gets: connecting is writing.
const CONNECT: u16 = 0o6;

/// Why a socket cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("gate: {doing} {path}: {source}", path = .path.display())]
pub struct SocketsError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl SocketsError {
    /// It is there, and nobody can take connections from it.
    pub(super) fn listening(path: &Path, source: io::Error) -> Self {
        failed("listen at", path)(source)
    }
}

/// A socket that listens.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) listener: UnixListener,
    pub(super) path: PathBuf,
    /// Whether it is the one that an earlier daemon had.
    pub(super) is_same: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Sockets {
    dir: PathBuf,
    /// What the service manager kept, until somebody takes it.
    kept: BTreeMap<String, OwnedFd>,
}

impl Sockets {
    /// Makes the directories. `kept` are listeners of an earlier daemon.
    pub(super) fn new(run_dir: &Path, kept: Vec<(String, OwnedFd)>) -> Result<Self, SocketsError> {
        let dir = run_dir.join("gate");
        make(&dir, 0o711)?;
        make(&dir.join("u"), 0o700)?;
        let is_ours = |(name, _): &(String, OwnedFd)| name.starts_with("gate-");
        Ok(Self { dir, kept: kept.into_iter().filter(is_ours).collect() })
    }

    /// Where a principal's socket is.
    pub(super) fn path(&self, principal: &Principal) -> PathBuf {
        match principal {
            Principal::Hub(hub) => self.dir.join(format!("{hub}.sock")),
            Principal::User(user) => self.home(user).join(SOCKET),
        }
    }

    /// Listens.
    pub(super) fn open(&mut self, principal: &Principal) -> Result<Bound, SocketsError> {
        let (path, name) = (self.path(principal), kept_name(principal));
        let mode = match principal {
            Principal::Hub(_) => ROOTS,
            Principal::User(user) => {
                let home = self.home(user);
                make(&self.dir.join("u").join(user.hub.as_str()), 0o700)?;
                make(&home, 0o700)?;
                write_name(&home.join(USER), user)?;
                ANYBODYS
            }
        };
        if let Some(listener) = self.kept.remove(&name).and_then(|kept| revive(kept, &path)) {
            return Ok(Bound { listener, path, is_same: true });
        }
        let listener = bind(&path, mode)?;
        listener.set_nonblocking(true).map_err(failed("set up", &path))?;
        service_manager::forget(&name);
        service_manager::keep(&name, listener.as_fd());
        Ok(Bound { listener, path, is_same: false })
    }

    /// Removes a socket that nobody listens at any more.
    pub(super) fn remove(&mut self, principal: &Principal) -> Result<(), SocketsError> {
        let name = kept_name(principal);
        self.kept.remove(&name);
        service_manager::forget(&name);
        let (path, remove): (_, fn(&Path) -> io::Result<()>) = match principal {
            Principal::Hub(_) => (self.path(principal), |path| fs::remove_file(path)),
            Principal::User(user) => (self.home(user), |path| fs::remove_dir_all(path)),
        };
        match remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Users whose sockets an earlier daemon made.
    pub(super) fn left(&self) -> Result<BTreeSet<User>, SocketsError> {
        let all = self.dir.join("u");
        let mut users = BTreeSet::new();
        for hub in list(&all)? {
            let Some(name) =
                hub.file_name().and_then(|name| name.to_str()?.parse::<HubName>().ok())
            else {
                continue;
            };
            for home in list(&hub)? {
                let file = home.join(USER);
                let known = fs::read_to_string(&file).ok().and_then(|text| text.parse().ok());
                let user = known.map(|user| User { hub: name.clone(), name: user });
                if let Some(user) = user.filter(|user| self.home(user) == home) {
                    users.insert(user);
                } else {
                    let path = file.display();
                    tracing::warn!(%path, "gate: whose socket this is, is not known; it stays closed");
                }
            }
        }
        Ok(users)
    }

    /// Lets the users of this host who are a hub connect to its socket.
    pub(super) fn open_to(&self, hub: &HubName, users: &BTreeSet<u32>) -> Result<(), SocketsError> {
        let path = self.path(&Principal::Hub(hub.clone()));
        acl::open_to(&path, users, CONNECT, ROOTS).map_err(failed("open to the hub's user", &path))
    }

    /// The directory of a user's socket.
    fn home(&self, user: &User) -> PathBuf {
        home(&self.dir, user)
    }
}

/// Where a user's socket is, below a daemon's run directory.
#[must_use]
pub fn socket_path(run_dir: &Path, user: &User) -> PathBuf {
    home(&run_dir.join("gate"), user).join(SOCKET)
}

/// The directory of a user's socket.
fn home(dir: &Path, user: &User) -> PathBuf {
    dir.join("u").join(user.hub.as_str()).join(hash(user))
}

/// What a socket is called by the service manager.
fn kept_name(principal: &Principal) -> String {
    match principal {
        Principal::Hub(hub) => format!("gate-h-{hub}"),
        Principal::User(user) => format!("gate-u-{}-{}", user.hub, hash(user)),
    }
}

/// Stable, and short whatever the name is; a hub's name has no NUL.
fn hash(user: &User) -> String {
    let mut digest = digest::of_text(&format!("{}\0{}", user.hub, user.name));
    digest.truncate(HASH);
    digest
}

/// The listener that was kept, if its file is still there.
fn revive(kept: OwnedFd, path: &Path) -> Option<UnixListener> {
    let is_there = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    let listener = UnixListener::from(kept);
    let is_one = listener.local_addr().is_ok() && listener.set_nonblocking(true).is_ok();
    (is_there && is_one).then_some(listener)
}

/// Listens at a path, which it gets only when its mode is right. What was there is a dead daemon's.
fn bind(path: &Path, mode: u32) -> Result<UnixListener, SocketsError> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(failed("listen at", path)(io::ErrorKind::InvalidInput.into()));
    };
    let mut draft = name.to_owned();
    draft.push(".new");
    let draft = dir.join(draft);
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove", &draft)(error));
        }
        _ => {}
    }
    let listener = bind_any(&draft).map_err(failed("listen at", &draft))?;
    let private = fs::set_permissions(&draft, Permissions::from_mode(mode));
    private.map_err(failed("protect", &draft))?;
    fs::rename(&draft, path).map_err(failed("put in place", path))?;
    Ok(listener)
}

/// The same for a path of any length: a long one is reached by its directory's descriptor.
fn bind_any(path: &Path) -> io::Result<UnixListener> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    if path.as_os_str().len() <= LONGEST {
        return UnixListener::bind(path);
    }
    let dir = File::open(dir)?;
    UnixListener::bind(Path::new(&format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name))
}

/// A directory of ours that nobody else changes.
fn make(path: &Path, mode: u32) -> Result<(), SocketsError> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed("make", path)(error));
        }
        _ => {}
    }
    let found = fs::symlink_metadata(path).map_err(failed("look at", path))?;
    // SAFETY: takes nothing.
    let own = unsafe { libc::geteuid() };
    if !found.is_dir() || found.uid() != own {
        return Err(failed("use", path)(io::Error::other("it is not a directory of ours")));
    }
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed("protect", path))
}

fn write_name(path: &Path, user: &User) -> Result<(), SocketsError> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let written = options
        .open(path)
        .and_then(|mut file| io::Write::write_all(&mut file, user.name.as_str().as_bytes()));
    written.map_err(failed("write", path))
}

fn list(path: &Path) -> Result<Vec<PathBuf>, SocketsError> {
    let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(failed("list", path))?;
    Ok(entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_dir()).collect())
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SocketsError {
    let path = path.to_owned();
    move |source| SocketsError { doing, path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A run directory, removed when dropped.
    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("enforcer-{name}-{}", std::process::id()));
            fs::create_dir_all(&dir).expect("made");
            Self(dir)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn user(hub: &str, name: &str) -> User {
        User { hub: hub.parse().expect("a hub"), name: name.parse().expect("a user") }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").mode() & 0o777
    }

    #[test]
    fn s17_each_principal_has_a_socket_of_its_own_in_a_directory_that_nobody_lists() {
        let dir = Dir::new("sockets");
        let mut sockets = Sockets::new(&dir.0, Vec::new()).expect("made");
        // Two hubs with a user of the same name, and a name that would be a path.
        let users = [user("lab", "ann"), user("two", "ann"), user("lab", &"ü".repeat(255))];
        let mut bound = Vec::new();
        for user in &users {
            bound.push(sockets.open(&Principal::User(user.clone())).expect("bound"));
        }
        let hub = Principal::Hub("lab".parse().expect("a hub"));
        bound.push(sockets.open(&hub).expect("bound"));
        let paths: BTreeSet<_> = bound.iter().map(|bound| bound.path.clone()).collect();
        assert_eq!(paths.len(), 4);
        for bound in &bound[..3] {
            assert_eq!(mode(&bound.path), ANYBODYS);
            assert_eq!(mode(bound.path.parent().expect("a directory")), 0o700);
            UnixStream::connect(&bound.path).expect("it listens");
        }
        assert_eq!(mode(&bound[3].path), ROOTS);
        assert_eq!((mode(&dir.0.join("gate")), mode(&dir.0.join("gate/u"))), (0o711, 0o700));
        assert_eq!(sockets.left().expect("listed"), users.iter().cloned().collect());
        sockets.remove(&Principal::User(users[0].clone())).expect("removed");
        sockets.remove(&hub).expect("removed");
        sockets.remove(&hub).expect("it is gone already");
        assert_eq!(sockets.left().expect("listed"), users[1..].iter().cloned().collect());
        assert!(!bound[0].path.exists() && !bound[3].path.exists());
    }

    #[test]
    fn n7_a_socket_that_was_kept_is_the_same_one_and_otherwise_there_is_a_new_one() {
        let dir = Dir::new("kept-sockets");
        let ann = Principal::User(user("lab", "ann"));
        let first =
            Sockets::new(&dir.0, Vec::new()).and_then(|mut all| all.open(&ann)).expect("bound");
        let inode = |path: &Path| fs::metadata(path).expect("there").ino();
        let (path, old) = (first.path.clone(), inode(&first.path));
        let kept = vec![(kept_name(&ann), OwnedFd::from(first.listener))];
        let mut sockets = Sockets::new(&dir.0, kept).expect("made");
        let again = sockets.open(&ann).expect("bound");
        assert!(again.is_same && inode(&path) == old);
        UnixStream::connect(&path).expect("it listens");
        // Somebody removed the file: what was kept is of no use.
        fs::remove_file(&path).expect("removed");
        let kept = vec![(kept_name(&ann), OwnedFd::from(again.listener))];
        let mut sockets = Sockets::new(&dir.0, kept).expect("made");
        let bound = sockets.open(&ann).expect("bound");
        assert!(!bound.is_same);
        UnixStream::connect(&path).expect("it listens");
        // Nobody kept it.
        let mut sockets = Sockets::new(&dir.0, Vec::new()).expect("made");
        let bound = sockets.open(&ann).expect("bound");
        assert!(!bound.is_same);
        UnixStream::connect(&path).expect("it listens");
    }

    #[test]
    fn a_path_that_no_address_holds_is_listened_at_all_the_same() {
        let dir = Dir::new("long");
        let long = dir.0.join("x".repeat(120));
        fs::create_dir_all(&long).expect("made");
        let bound = Sockets::new(&long, Vec::new())
            .and_then(|mut all| all.open(&Principal::User(user("lab", "ann"))))
            .expect("bound");
        let short = dir.0.join("s");
        std::os::unix::fs::symlink(&bound.path, &short).expect("linked");
        UnixStream::connect(&short).expect("it listens");
    }
}
