//! Whom the engine's resolver asks (127.0.0.11 within containers), read where the engine reads it: its
//! command line and config file when it started, its `resolv.conf` whenever a container starts. No
//! endpoint of its API tells.

mod settings;

use std::{
    fs::File,
    io::{self, Read as _},
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio::{net::UnixStream, task::JoinHandle, time::timeout};

pub(super) use self::settings::is_address;
use self::settings::{Settings, from_host, own_servers, servers, settings};
use super::client::ApiVersion;
use crate::model::upstream::Upstream;

/// Longest wait for a connection to the engine.
const LIMIT: Duration = Duration::from_secs(1);
/// Longest wait for files of the engine's: a root that hangs must not hold up whoever watches guests.
const LOOK_LIMIT: Duration = Duration::from_secs(2);
/// Where the engine finds its settings and name servers, and where it says who it is.
const CONFIG_FILE: &str = "/etc/docker/daemon.json";
const RESOLV_CONF: &str = "/etc/resolv.conf";
const PID_FILE: &str = "/run/docker.pid";
/// What the engine reads where the only name server is systemd's stub.
const RESOLVED_STUB: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);
const RESOLVED_CONF: &str = "/run/systemd/resolve/resolv.conf";
/// Its name to the kernel.
const ENGINE: &str = "dockerd";
/// No file that is read here is larger, bytes.
const MOST: u64 = 1 << 20;
/// Most links that a path may lead over.
const MOST_LINKS: u32 = 40;
/// Ticks a second of `/proc/PID/stat`: the same on every Linux (`USER_HZ`).
const TICKS: u64 = 100;
/// A config file that is newer than the engine by no more than this was there when it started.
const AT_THE_START: Duration = Duration::from_secs(2);

/// Why nobody can tell whom the engine asks.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Nobody answers on its socket.
    #[error("the engine does not answer")]
    NoEngine,
    /// What it reads cannot be read in time.
    #[error("its files are not read within {LOOK_LIMIT:?}: does a file system hang that it is on?")]
    Late,
    /// What the engine read when it started is no longer there to be read.
    #[error("{0} was changed after the engine had started: restart the engine")]
    Changed(PathBuf),
    /// A file of the engine's cannot be read.
    #[error("cannot read {file} as the engine sees it")]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Reads whom an engine asks, as often as it is asked.
#[derive(Debug)]
pub struct Upstreams {
    socket: PathBuf,
    /// What was found of the engine's process: it reads its settings once, and so do we.
    known: Known,
    /// A look that was not waited for to its end: there is one at most, whatever hangs.
    looking: Option<JoinHandle<Found>>,
}

/// What a look finds.
type Found = (Known, Result<Upstream, UpstreamError>);

/// One life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    /// When it began, in ticks since the machine did.
    started: u64,
}

impl Upstreams {
    /// Of the engine behind this socket.
    #[must_use]
    pub const fn new(socket: PathBuf) -> Self {
        Self { socket, known: None, looking: None }
    }

    /// Whom the engine asks now for a container that starts now.
    pub async fn read(&mut self, api: ApiVersion) -> Result<Upstream, UpstreamError> {
        let connected = timeout(LIMIT, UnixStream::connect(&self.socket)).await;
        let stream = connected.map_err(|_elapsed| UpstreamError::NoEngine)?;
        let peer = stream.and_then(|stream| stream.peer_cred());
        let peer = peer.map_err(|_gone| UpstreamError::NoEngine)?.pid();
        self.within(LOOK_LIMIT, move |known| look(peer, known, api)).await
    }

    /// Looks, for so long at most. What is known stays known where that does not come to an end.
    async fn within(
        &mut self,
        limit: Duration,
        look: impl FnOnce(Known) -> Found + Send + 'static,
    ) -> Result<Upstream, UpstreamError> {
        if let Some(last) = &mut self.looking {
            // What it found is old, and was meant for another moment.
            let _old = timeout(limit, last).await.map_err(|_elapsed| UpstreamError::Late)?;
            self.looking = None;
        }
        let known = self.known.clone();
        let task = self.looking.insert(tokio::task::spawn_blocking(move || look(known)));
        let looked = timeout(limit, task).await.map_err(|_elapsed| UpstreamError::Late)?;
        self.looking = None;
        let (known, upstream) = looked.map_err(|_panicked| UpstreamError::NoEngine)?;
        self.known = known;
        upstream
    }
}

/// What a process was started with, or the file that no longer tells.
type Known = Option<(Process, Result<Settings, PathBuf>)>;

fn look(peer: Option<i32>, known: Known, api: ApiVersion) -> Found {
    let engine = engine(peer);
    let root = engine.map_or_else(|| PathBuf::from("/"), root);
    let known = engine.map(|engine| {
        let known = known.filter(|(of, _)| *of == engine);
        known.unwrap_or_else(|| (engine, settings_of(engine, &root)))
    });
    let has_own = match &known {
        Some((_, Ok(settings))) => settings.dns,
        Some((_, Err(file))) => return (known.clone(), Err(UpstreamError::Changed(file.clone()))),
        // It is in a namespace of process ids that we do not see into.
        None => {
            let file = config_file(&root, Path::new(CONFIG_FILE), None);
            file.text().is_some_and(|text| own_servers(&text))
        }
    };
    let upstream = if has_own { Ok(Upstream::default()) } else { upstream(&root, api) };
    (known, upstream)
}

/// What the engine sees as its root; where we may not look there, ours: most have the same.
fn root(engine: Process) -> PathBuf {
    let root = PathBuf::from(format!("/proc/{}/root", engine.pid));
    if root.join("proc").exists() { root } else { PathBuf::from("/") }
}

/// The engine's process. Where a service manager listens for it the peer of its socket is that one, and a
/// proxy in front of it is itself: then the engine's own file tells.
fn engine(peer: Option<i32>) -> Option<Process> {
    let is_engine = |pid: &i32| {
        let name = read(Path::new(&format!("/proc/{pid}/comm")));
        name.is_ok_and(|name| name.trim_end() == ENGINE)
    };
    let written = || read(Path::new(PID_FILE)).ok()?.trim().parse().ok();
    let pid = peer.filter(is_engine).or_else(|| written().filter(is_engine))?;
    let stat = read(Path::new(&format!("/proc/{pid}/stat"))).ok()?;
    // The name, which may have anything in it, ends at the last bracket; the start is field 22.
    let (_, fields) = stat.rsplit_once(')')?;
    let started = fields.split_whitespace().nth(19)?.parse().ok()?;
    Some(Process { pid, started })
}

fn settings_of(engine: Process, root: &Path) -> Result<Settings, PathBuf> {
    let line = read(Path::new(&format!("/proc/{}/cmdline", engine.pid))).unwrap_or_default();
    let said = settings(line.split('\0'));
    if said.dns {
        return Ok(said);
    }
    let path = said.config_file.clone().unwrap_or_else(|| CONFIG_FILE.to_owned());
    let file = config_file(root, Path::new(&path), began(engine));
    if file == ConfigFile::TooNew {
        return Err(path.into());
    }
    Ok(Settings { dns: own_servers(&file.text().unwrap_or_default()), ..said })
}

/// When it started, by the clock on the wall; `None`: nobody can tell.
fn began(engine: Process) -> Option<SystemTime> {
    let uptime = read(Path::new("/proc/uptime")).ok()?;
    let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    let age = Duration::try_from_secs_f64(uptime).ok()?;
    let age = age.saturating_sub(Duration::from_millis(engine.started * 1000 / TICKS));
    SystemTime::now().checked_sub(age)
}

/// The engine's config file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ConfigFile {
    /// As the engine read it.
    Read(String),
    /// There is none that can be read, and so it was for the engine.
    Missing,
    /// It was written after the engine had read it: what is in force is not known.
    TooNew,
}

impl ConfigFile {
    fn text(self) -> Option<String> {
        match self {
            Self::Read(text) => Some(text),
            Self::Missing | Self::TooNew => None,
        }
    }
}

fn config_file(root: &Path, path: &Path, began: Option<SystemTime>) -> ConfigFile {
    let found = within(root, path).and_then(|path| {
        let written = path.metadata()?.modified()?;
        Ok((written, read(&path)?))
    });
    match found {
        Ok((written, _)) if began.is_some_and(|began| written > began + AT_THE_START) => {
            ConfigFile::TooNew
        }
        Ok((_, text)) => ConfigFile::Read(text),
        Err(_) => ConfigFile::Missing,
    }
}

/// The name servers in the file that the engine reads when a container starts.
fn upstream(root: &Path, api: ApiVersion) -> Result<Upstream, UpstreamError> {
    let mut file = RESOLV_CONF;
    let mut found = servers(&read_within(root, file)?);
    if let [only] = found.as_slice()
        && *only == IpAddr::V4(RESOLVED_STUB)
    {
        file = RESOLVED_CONF;
        found = servers(&read_within(root, file)?);
    }
    let written = written(root, file);
    Ok(Upstream { from_host: from_host(&found, api), file: file.to_owned(), written })
}

/// When a file was written, microseconds since 1970; 0: nobody can tell.
fn written(root: &Path, path: &str) -> u64 {
    let written = within(root, Path::new(path)).and_then(|path| path.metadata()?.modified());
    let since = written.ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.and_then(|since| u64::try_from(since.as_micros()).ok()).unwrap_or(0)
}

/// Where there is no file the engine knows no name server.
fn read_within(root: &Path, path: &str) -> Result<String, UpstreamError> {
    match within(root, Path::new(path)).and_then(|path| read(&path)) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(UpstreamError::Read { file: path.into(), source }),
    }
}

/// Where a path leads for a process with this root: links lead within it.
fn within(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let (mut at, mut links) = (PathBuf::new(), 0);
    let mut left: Vec<_> = parts(path).collect();
    while let Some(part) = left.pop() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        // What is no link, or not there, is found so by whoever opens it.
        let Ok(target) = std::fs::read_link(root.join(&next)) else {
            at = next;
            continue;
        };
        links += 1;
        if links > MOST_LINKS {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        if target.is_absolute() {
            at = PathBuf::new();
        }
        left.extend(parts(&target));
    }
    Ok(root.join(at))
}

/// The last one first.
fn parts(path: &Path) -> impl Iterator<Item = std::ffi::OsString> {
    use std::path::Component;
    let named = |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
    path.components().rev().filter(named).map(|part| part.as_os_str().to_owned())
}

/// Whatever is in it: what is no text says nothing.
fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests;
