//! The `[metrics]` table: where numbers for Prometheus are served. They name guests, so they never
//! leave this host by themselves.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use toml::Spanned;

use super::{check, problem::Problems, raw::RawMetrics};

/// What the daemon adds to the path of a socket while it makes it.
const NEW: &str = ".new";
/// Names in the run directory that are not free.
const DAEMONS_OWN: [&str; 3] = ["control.sock", "control.sock.new", "lock"];

/// Where metrics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricsAt {
    /// On a loopback address.
    Listen(SocketAddr),
    /// On a unix socket of root's.
    Socket(PathBuf),
}

impl fmt::Display for MetricsAt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(address) => write!(formatter, "http://{address}/metrics"),
            Self::Socket(path) => write!(formatter, "{}", path.display()),
        }
    }
}

/// Paths that are in use already.
pub(super) struct Taken<'a> {
    pub(super) run_dir: &'a Path,
    pub(super) docker_socket: &'a Path,
}

/// Checks the table.
pub(super) fn metrics(
    raw: Option<&Spanned<RawMetrics>>,
    taken: &Taken<'_>,
    problems: &mut Problems<'_>,
) -> Option<MetricsAt> {
    let raw = raw?;
    let (value, at) = match (&raw.get_ref().listen, &raw.get_ref().socket) {
        (Some(listen), None) => (listen, address(listen.get_ref()).map(MetricsAt::Listen)),
        (None, Some(socket)) => (socket, path(socket.get_ref(), taken).map(MetricsAt::Socket)),
        _ => {
            let message = "[metrics] needs exactly one of `listen` and `socket`; without metrics, \
                           leave out the table";
            problems.add(raw.span(), message);
            return None;
        }
    };
    at.map_err(|message| problems.add(value.span(), message)).ok()
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_error| {
        format!("\"{text}\" is not an address with a port; write it as \"127.0.0.1:9469\"")
    })?;
    if !address.ip().is_loopback() {
        return Err(format!(
            "{} is not a loopback address, and metrics name guests; use 127.0.0.1, and for other \
             machines a proxy in front that knows who may read",
            address.ip()
        ));
    }
    if address.port() == 0 {
        return Err("port 0 is another one at each start; choose one, such as 9469".to_owned());
    }
    Ok(address)
}

fn path(text: &str, taken: &Taken<'_>) -> Result<PathBuf, String> {
    check::socket_path(text, NEW)?;
    let path = Path::new(text);
    if path.file_name().is_none() || text.ends_with('/') {
        return Err(format!("\"{text}\" is a directory; add the name of the socket"));
    }
    if DAEMONS_OWN.iter().any(|name| path == taken.run_dir.join(name)) {
        return Err(format!("\"{text}\" is the daemon's own; choose another name"));
    }
    if path == taken.docker_socket {
        return Err(format!("\"{text}\" is the engine's socket; choose another name"));
    }
    Ok(path.to_owned())
}
