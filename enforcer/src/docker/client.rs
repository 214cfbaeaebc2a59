//! The connection to the engine: over its unix socket, in the newest API version both sides know.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use bollard::{API_DEFAULT_VERSION, Docker, errors::Error as BollardError};

/// Longest that a request may take; bollard counts whole seconds.
const REQUEST_TIMEOUT_SECONDS: u64 = 30;
/// Longest that the engine may take to say which version it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Oldest API that has all we need: Docker 20.10.
const OLDEST_API: ApiVersion = ApiVersion { major: 1, minor: 41 };

/// A connected engine.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(super) docker: Docker,
    /// API version in use.
    pub api: ApiVersion,
    /// Version of the engine, for people.
    pub version: String,
    /// Whether its containers' users are remapped. Their interfaces are where they always are.
    pub userns_remap: bool,
}

/// A version of the engine's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    /// Before the dot.
    pub major: usize,
    /// After the dot.
    pub minor: usize,
}

impl ApiVersion {
    /// From `MAJOR.MINOR`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

/// Why the engine cannot be asked. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// There is no socket.
    #[error(
        "no Docker socket at {0}: start the engine (systemctl start docker), or set docker.socket"
    )]
    NoSocket(PathBuf),
    /// The socket belongs to somebody else.
    #[error("may not use the Docker socket {0}: run as root, or as a member of its group")]
    Permission(PathBuf),
    /// Nobody listens on the socket.
    #[error("nobody listens on {0}: start the engine (systemctl start docker)")]
    Refused(PathBuf),
    /// The engine is older than 20.10.
    #[error("the engine {version} speaks API {api}; API {OLDEST_API} (Docker 20.10) is needed")]
    TooOld {
        /// Version of the engine.
        version: String,
        /// The API it speaks.
        api: ApiVersion,
    },
    /// The engine did not answer in time.
    #[error("the engine did not {doing} in time: see its log (journalctl -u docker)")]
    TimedOut {
        /// What was asked.
        doing: &'static str,
    },
    /// The engine runs as somebody else than root.
    #[error(
        "the engine is rootless: its networks are in another network namespace, where enforcer \
         polices nothing; use an engine that runs as root"
    )]
    Rootless,
    /// The stream of events ended.
    #[error("the engine closed its event stream; it may be restarting")]
    EventsEnded,
    /// Any other failure of a request.
    #[error("the engine did not {doing}: {source}")]
    Request {
        /// What was asked.
        doing: &'static str,
        /// What went wrong.
        source: BollardError,
    },
}

impl EngineError {
    /// Wraps bollard's error for a request.
    pub(super) fn request(doing: &'static str) -> impl FnOnce(BollardError) -> Self {
        move |source| match source {
            BollardError::RequestTimeoutError => Self::TimedOut { doing },
            source => Self::Request { doing, source },
        }
    }

    /// The HTTP status, when the engine answered with an error.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Request {
                source: BollardError::DockerResponseServerError { status_code, .. },
                ..
            } => Some(*status_code),
            _ => None,
        }
    }
}

impl Engine {
    /// Connects to the engine behind `socket` and agrees on a version with it.
    pub async fn connect(socket: &Path) -> Result<Self, EngineError> {
        reachable(socket).await?;
        let path = socket.to_string_lossy();
        let docker = Docker::connect_with_unix(&path, REQUEST_TIMEOUT_SECONDS, API_DEFAULT_VERSION)
            .map_err(EngineError::request("take a connection"))?;
        let hello = async {
            let docker = docker.negotiate_version().await?;
            let version = docker.version().await?.version.unwrap_or_default();
            let security = docker.info().await?.security_options.unwrap_or_default();
            Ok((docker, version, security))
        };
        let (docker, version, security) = tokio::time::timeout(HELLO_TIMEOUT, hello)
            .await
            .map_err(|_elapsed| EngineError::TimedOut { doing: "say its version" })?
            .map_err(EngineError::request("say its version"))?;
        let agreed = docker.client_version();
        let api = ApiVersion { major: agreed.major_version, minor: agreed.minor_version };
        if api < OLDEST_API {
            return Err(EngineError::TooOld { version, api });
        }
        if has_option(&security, "rootless") {
            return Err(EngineError::Rootless);
        }
        Ok(Self { docker, api, version, userns_remap: has_option(&security, "userns") })
    }
}

/// Whether the engine lists a security option, `name=userns` or `name=seccomp,profile=builtin`.
fn has_option(options: &[String], name: &str) -> bool {
    let parts = options.iter().flat_map(|option| option.split(','));
    parts.filter_map(|part| part.strip_prefix("name=")).any(|found| found == name)
}

/// Tells apart the ways in which a socket is of no use; bollard would call them all the same.
async fn reachable(socket: &Path) -> Result<(), EngineError> {
    let Err(error) = tokio::net::UnixStream::connect(socket).await else { return Ok(()) };
    let socket = socket.to_owned();
    Err(match error.kind() {
        io::ErrorKind::NotFound => EngineError::NoSocket(socket),
        io::ErrorKind::PermissionDenied => EngineError::Permission(socket),
        io::ErrorKind::ConnectionRefused => EngineError::Refused(socket),
        _ => EngineError::Request {
            doing: "take a connection",
            source: BollardError::IOError { err: error },
        },
    })
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{UnixListener, UnixStream},
    };

    use super::*;

    /// Answers as an engine of this kind does, until its peer has gone.
    async fn answer(mut stream: UnixStream, security: &str) {
        let mut asked = Vec::new();
        while let Ok(1..) = stream.read_buf(&mut asked).await {
            let request = String::from_utf8_lossy(&asked).into_owned();
            if !request.ends_with("\r\n\r\n") {
                continue;
            }
            asked.clear();
            let body = match request.split_whitespace().nth(1) {
                Some(path) if path.ends_with("/info") => {
                    format!(r#"{{"SecurityOptions": ["name=cgroupns"{security}]}}"#)
                }
                _ => r#"{"Version": "28.2.2", "ApiVersion": "1.50"}"#.to_owned(),
            };
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nApi-Version: 1.50";
            let response = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            if stream.write_all(response.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    #[tokio::test]
    async fn d19_a_rootless_engine_is_refused_and_says_why() {
        let path = std::env::temp_dir().join(format!("enforcer-engine-{}", std::process::id()));
        for (security, refused) in
            [("", false), (r#", "name=userns""#, false), (r#", "name=rootless""#, true)]
        {
            let listener = UnixListener::bind(&path).expect("bound");
            let server = tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(answer(stream, security));
                }
            });
            let connected = Engine::connect(&path).await;
            server.abort();
            std::fs::remove_file(&path).expect("removed");
            match connected {
                Ok(engine) => {
                    assert!(!refused);
                    assert_eq!(engine.userns_remap, security.contains("userns"));
                }
                Err(error) => {
                    assert!(refused && matches!(error, EngineError::Rootless), "{error}");
                    assert!(error.to_string().contains("use an engine that runs as root"));
                }
            }
        }
    }

    #[test]
    fn d19_security_options_tell_the_kind_of_engine() {
        let options = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        let plain = options(&["name=apparmor", "name=seccomp,profile=builtin", "name=cgroupns"]);
        assert!(!has_option(&plain, "rootless") && !has_option(&plain, "userns"));
        let remapped = options(&["name=seccomp,profile=builtin", "name=userns"]);
        assert!(has_option(&remapped, "userns") && !has_option(&remapped, "rootless"));
        assert!(has_option(&options(&["name=rootless"]), "rootless"));
        assert!(!has_option(&options(&["profile=rootless"]), "rootless"));
    }
}
