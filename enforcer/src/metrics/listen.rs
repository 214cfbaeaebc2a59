//! Listens on a loopback address or on a unix socket of root's. Nothing that somebody else put at
//! the path is touched or followed.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, lchown},
    path::{Path, PathBuf},
};

use tokio::net::{TcpListener, UnixListener, UnixStream};

use crate::config::MetricsAt;

/// Why there is nowhere to serve.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address.
    #[error("cannot listen on {at}: {source}")]
    Address {
        /// Which.
        at: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The socket's file.
    #[error("cannot {doing} {path}: {source}", path = .path.display())]
    File {
        /// What was done.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// What is at the path is not ours to use or replace.
    #[error("{path} {why}", path = .path.display())]
    NotOurs {
        /// Which.
        path: PathBuf,
        /// What it is.
        why: &'static str,
    },
}

/// Where scrapers connect.
#[derive(Debug)]
pub enum Listener {
    /// A loopback address.
    Tcp(TcpListener),
    /// A unix socket, and its file.
    Unix(UnixListener, SocketFile),
}

impl Listener {
    /// Listens. A socket that nobody listens on any more is replaced.
    pub async fn bind(at: &MetricsAt) -> Result<Self, ListenError> {
        match at {
            MetricsAt::Listen(at) => TcpListener::bind(at)
                .await
                .map(Self::Tcp)
                .map_err(|source| ListenError::Address { at: *at, source }),
            MetricsAt::Socket(path) => {
                let (listener, file) = bind_socket(path).await?;
                Ok(Self::Unix(listener, file))
            }
        }
    }
}

/// Removes the socket of a daemon that was killed; anything else at its path is left alone.
pub async fn remove_left_behind(at: &MetricsAt) {
    if let MetricsAt::Socket(path) = at
        && let Ok(found) = fs::symlink_metadata(path)
        && ensure_free(path, found.uid()).await.is_ok()
    {
        let _gone_already = fs::remove_file(path);
    }
}

/// The file of a socket; removed when dropped, if it is still that socket's.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            // Left behind, it would only be replaced.
            let _left_behind = fs::remove_file(&self.path);
        }
    }
}

async fn bind_socket(path: &Path) -> Result<(UnixListener, SocketFile), ListenError> {
    let myself = Path::new("/proc/self");
    let me = fs::metadata(myself).map_err(failed("look at", myself))?;
    let me = (me.uid(), me.gid());
    // The config has it absolute, and with a name.
    for dir in path.ancestors().skip(1) {
        trust(dir, me)?;
    }
    ensure_free(path, me.0).await?;
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove", &new)(error));
        }
        _ => {}
    }
    let listener = UnixListener::bind(&new).map_err(failed("listen on", &new))?;
    let inode = fs::symlink_metadata(&new).map_err(failed("look at", &new))?.ino();
    let file = SocketFile { path: path.to_owned(), inode };
    // The directory may give its files another group.
    lchown(&new, Some(me.0), Some(me.1)).map_err(failed("own", &new))?;
    let mode = fs::Permissions::from_mode(0o660);
    fs::set_permissions(&new, mode).map_err(failed("protect", &new))?;
    // A symbolic link that somebody made meanwhile would be replaced, not followed.
    fs::rename(&new, path).map_err(failed("put in place", path))?;
    Ok((listener, file))
}

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> ListenError + 'a {
    move |source| ListenError::File { doing, path: path.to_owned(), source }
}

/// Whether nobody but root and this user can put something else in the place of what is in `dir`.
fn trust(dir: &Path, (uid, gid): (u32, u32)) -> Result<(), ListenError> {
    const STICKY: u32 = 0o1000;
    let found = fs::symlink_metadata(dir).map_err(failed("look at", dir))?;
    let others_write =
        found.mode() & 0o002 != 0 || found.mode() & 0o020 != 0 && ![0, gid].contains(&found.gid());
    let why = if found.is_symlink() {
        "is a symbolic link: write the path that it leads to"
    } else if !found.is_dir() {
        "is not a directory"
    } else if ![0, uid].contains(&found.uid()) {
        "belongs to another user"
    } else if others_write && found.mode() & STICKY == 0 {
        "can be written by others"
    } else {
        return Ok(());
    };
    Err(ListenError::NotOurs { path: dir.to_owned(), why })
}

/// Whether there is nothing at `path`, or only the socket of a daemon that is dead.
async fn ensure_free(path: &Path, uid: u32) -> Result<(), ListenError> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(failed("look at", path))?,
    };
    let refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    let why = if !found.file_type().is_socket() {
        "is there already, and is no socket"
    } else if found.uid() != uid {
        "belongs to another user"
    } else if !UnixStream::connect(path).await.as_ref().is_err_and(refused) {
        "is a socket that another program listens on"
    } else {
        return Ok(());
    };
    Err(ListenError::NotOurs { path: path.to_owned(), why })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory of its own for each test.
    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let name = format!("enforcer-metrics-{name}-{}", std::process::id());
            let dir = std::env::temp_dir().join(name);
            fs::create_dir(&dir).expect("made");
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).expect("ours");
            Self(dir.canonicalize().expect("there"))
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _missing = fs::remove_dir_all(&self.0);
        }
    }

    async fn refusal(path: &Path) -> String {
        let at = MetricsAt::Socket(path.to_owned());
        Listener::bind(&at).await.expect_err("refused").to_string()
    }

    #[tokio::test]
    async fn the_socket_is_roots_and_goes_with_the_daemon() {
        let dir = Dir::new("socket");
        let path = dir.0.join("metrics.sock");
        let at = MetricsAt::Socket(path.clone());
        let listener = Listener::bind(&at).await.expect("bound");
        let (found, own) = (
            fs::symlink_metadata(&path).expect("there"),
            fs::metadata("/proc/self").expect("proc"),
        );
        assert_eq!(found.mode() & 0o7777, 0o660);
        assert_eq!((found.uid(), found.gid()), (own.uid(), own.gid()));
        // A second one does not take it away.
        assert!(refusal(&path).await.contains("another program listens"));
        UnixStream::connect(&path).await.expect("still the first one's");
        drop(listener);
        assert_eq!(fs::read_dir(&dir.0).expect("there").count(), 0);

        // Left by a daemon that was killed: nobody listens. A half-made one is in nobody's way.
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        drop(std::os::unix::net::UnixListener::bind(dir.0.join("metrics.sock.new")));
        let listener = Listener::bind(&at).await.expect("replaced");
        UnixStream::connect(&path).await.expect("listens");
        // It is not left behind while it listens.
        remove_left_behind(&at).await;
        UnixStream::connect(&path).await.expect("listens");
        // What is there at the end may be somebody else's.
        fs::remove_file(&path).expect("removed");
        fs::write(&path, "another").expect("written");
        drop(listener);
        remove_left_behind(&at).await;
        assert_eq!(fs::read_to_string(&path).expect("left alone"), "another");
        fs::remove_file(&path).expect("removed");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        remove_left_behind(&at).await;
        assert_eq!(fs::read_dir(&dir.0).expect("there").count(), 0);
    }

    #[tokio::test]
    async fn what_is_not_ours_is_neither_followed_nor_replaced() {
        let dir = Dir::new("others");
        let victim = dir.0.join("victim");
        fs::write(&victim, "precious").expect("written");
        assert!(refusal(&victim).await.contains("is no socket"));
        for (name, target) in [("link", "victim"), ("dangling", "nothing")] {
            let link = dir.0.join(name);
            symlink(dir.0.join(target), &link).expect("linked");
            assert!(refusal(&link).await.contains("is no socket"), "{name}");
        }
        // A link to a directory on the way.
        let (real, way) = (dir.0.join("real"), dir.0.join("way"));
        fs::create_dir(&real).expect("made");
        symlink(&real, &way).expect("linked");
        assert!(refusal(&way.join("m.sock")).await.contains("way is a symbolic link"));
        fs::set_permissions(&real, fs::Permissions::from_mode(0o777)).expect("opened");
        assert!(refusal(&real.join("m.sock")).await.contains("can be written by others"));
        assert!(refusal(&dir.0.join("no/m.sock")).await.contains("cannot look at"));
        assert!(refusal(&victim.join("m.sock")).await.contains("victim is not a directory"));
        assert_eq!(fs::read_to_string(&victim).expect("there"), "precious");
        assert!(
            !dir.0.join("nothing").exists() && fs::read_dir(&real).expect("there").count() == 0
        );
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_told() {
        let first = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let at = first.local_addr().expect("an address");
        let error = Listener::bind(&MetricsAt::Listen(at)).await.expect_err("refused").to_string();
        assert!(error.starts_with(&format!("cannot listen on {at}: ")), "{error}");
    }
}
