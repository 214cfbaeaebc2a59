//! A process that does one thing with a unix socket and says what became of it: run as a guest's, in the
//! guest's cgroup, or as anybody's. Everything is done as a program would that wants to get round a rule.

use std::{
    ffi::CString,
    fs::File,
    io::{self, Write as _},
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram, UnixListener, UnixStream},
        },
    },
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{compat, rights, uring};

/// First argument of the child.
pub(super) const VERB: &str = "socket";
/// What a child says that listens.
pub(super) const READY: &str = "ready";

/// What the child was asked to do, if this is the child: `socket WAY ADDRESS`. One that connects prints the
/// error number, 0 if there is none.
pub(in super::super) fn child() -> Option<Result<()>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [verb, way, to] = &arguments[..] else { return None };
    (verb == VERB).then(|| act(way, to))
}

fn act(way: &str, to: &str) -> Result<()> {
    let outcome = match way {
        "listen" => return listen(to),
        "connect" => connect(to),
        "datagram" => UnixDatagram::unbound()?.send_to_addr(b"?", &address(to)?).map(drop),
        "connected datagram" => UnixDatagram::unbound()?.connect_addr(&address(to)?),
        "pair" => pair(),
        "compat" => compat::connect(Path::new(to)),
        "io_uring" => uring::connect(Path::new(to)),
        "relative" => {
            let path = Path::new(to);
            std::env::set_current_dir(path.parent().context("a directory")?)?;
            connect(&path.file_name().context("a name")?.to_string_lossy())
        }
        "descriptor" => {
            // Open without being opened: a socket's file allows nothing else.
            let path = CString::new(Path::new(to).as_os_str().as_bytes())?;
            // SAFETY: a path that lives during the call.
            let file = unsafe { libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC) };
            if file < 0 {
                return Err(io::Error::last_os_error()).context("O_PATH");
            }
            // SAFETY: just opened, and nobody else's.
            let file = unsafe { OwnedFd::from_raw_fd(file) };
            connect(&format!("/proc/self/fd/{}", file.as_raw_fd()))
        }
        "chroot" => {
            let path = Path::new(to);
            std::os::unix::fs::chroot(path.parent().context("a directory")?)?;
            connect(&format!("/{}", path.file_name().context("a name")?.to_string_lossy()))
        }
        "mount namespace" => {
            super::super::guest::own_mounts()?;
            let dir = Path::new(to).parent().context("a directory")?.join("elsewhere");
            std::fs::create_dir_all(&dir)?;
            let place = dir.join("bound");
            File::create(&place)?;
            super::bind(Path::new(to), &place)?;
            connect(&place.to_string_lossy())
        }
        other => bail!("no way {other}"),
    };
    println!("{}", errno(outcome));
    Ok(())
}

/// The error number of an outcome; 0: none.
pub(super) fn errno(outcome: io::Result<()>) -> i32 {
    outcome.err().map_or(0, |error| error.raw_os_error().unwrap_or(-1))
}

/// A path, or `@` and an abstract name.
pub(super) fn address(of: &str) -> io::Result<SocketAddr> {
    match of.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(of),
    }
}

/// Connects.
pub(super) fn connect(to: &str) -> io::Result<()> {
    UnixStream::connect_addr(&address(to)?).map(drop)
}

/// Both ends of a pair, of either kind.
fn pair() -> io::Result<()> {
    let (left, _right) = UnixDatagram::pair()?;
    left.send(b"?")?;
    let (mut left, right) = UnixStream::pair()?;
    let given = rights::send(&left, &right).and_then(|()| rights::receive(&right))?;
    if given.is_none() {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    left.write_all(b"?")
}

/// Takes connections until it is killed. Says what each of them brought: a descriptor or none, and what was
/// read from it.
fn listen(at: &str) -> Result<()> {
    let listener = UnixListener::bind_addr(&address(at)?)?;
    say(READY)?;
    for stream in listener.incoming() {
        match rights::receive(&stream?)? {
            None => say("nothing")?,
            Some(file) => say(if rights::is_engine(file) { "the engine" } else { "a file" })?,
        }
    }
    Ok(())
}

fn say(what: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{what}")?;
    out.flush()
}

/// A command that runs this very program as the child.
pub(super) fn command(way: &str, to: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args([VERB, way, to]);
    command
}
