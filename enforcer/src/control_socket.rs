//! The daemon's control socket: one line of JSON asks, one line answers. Root only.
//!
//! It reads nothing but a question and changes nothing; every read has a limit and a time.

use std::{
    fs::{self, File, Permissions, TryLockError},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc, oneshot},
    time::{sleep, timeout},
};

use crate::model::status::StatusReport;

/// Longest question, bytes.
const MAX_REQUEST: u64 = 4 << 10;
/// Longest answer that a client reads, bytes.
const MAX_REPLY: u64 = 64 << 20;
/// Longest that one conversation may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Conversations at once; further ones wait in the socket's queue.
const AT_ONCE: usize = 8;

/// Asks the daemon's supervisor for a report; it answers over the channel that it is sent.
pub type StatusRequests = mpsc::Sender<oneshot::Sender<StatusReport>>;

/// A question to the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// What is enforced now.
    Status,
}

/// The daemon's answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Status`].
    Status(Box<StatusReport>),
    /// The question was not understood, or nobody could answer it.
    Error(String),
}

/// Why there is no control socket, or no answer from it.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Another daemon holds the run directory.
    #[error("another enforcer runs already: it holds {0}")]
    AlreadyRunning(PathBuf),
    /// Nobody listens.
    #[error("no enforcer answers at {0}: start it with `enforcer run`")]
    NotRunning(PathBuf),
    /// The daemon did not answer in time.
    #[error("the daemon did not answer at {0} in time")]
    TimedOut(PathBuf),
    /// The daemon answered with an error.
    #[error("the daemon refused: {0}")]
    Refused(String),
    /// The answer is not one of this version.
    #[error("the daemon's answer is not understood; is it another version? {0}")]
    Malformed(#[source] serde_json::Error),
    /// A file or socket failed.
    #[error("{doing} {path}: {source}", path = .path.display())]
    Io {
        /// What was done.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

/// The path of the control socket.
#[must_use]
pub fn path(run_dir: &Path) -> PathBuf {
    run_dir.join("control.sock")
}

/// The run directory and the control socket, held by this daemon alone until dropped.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Held for its lock, which the kernel releases however the daemon ends.
    _lock: File,
}

impl ControlSocket {
    /// Claims the run directory, which is created when missing, and listens.
    pub fn bind(run_dir: &Path) -> Result<Self, ControlError> {
        let io = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| ControlError::Io { doing, path, source }
        };
        fs::create_dir_all(run_dir).map_err(io("create the directory", run_dir))?;
        let lock_path = run_dir.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(io("open the lock", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ControlError::AlreadyRunning(lock_path)),
            Err(TryLockError::Error(source)) => {
                return Err(io("lock", &lock_path)(source));
            }
        }
        // Under the lock, a socket that is there is a dead daemon's. The new one gets its name
        // only once its mode is right.
        let path = path(run_dir);
        let new = run_dir.join("control.sock.new");
        if let Err(error) = fs::remove_file(&new)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(io("remove", &new)(error));
        }
        let listener = UnixListener::bind(&new).map_err(io("listen on", &new))?;
        fs::set_permissions(&new, Permissions::from_mode(0o600)).map_err(io("protect", &new))?;
        fs::rename(&new, &path).map_err(io("put in place", &path))?;
        Ok(Self { listener, path, _lock: lock })
    }

    /// Answers questions until dropped.
    pub async fn serve(self, status: StatusRequests) {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            // The semaphore is never closed.
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "control socket: connection not accepted");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let status = status.clone();
            tokio::spawn(async move {
                // A client that goes away or dawdles is its own problem.
                let _ended = timeout(LIMIT, converse(stream, &status)).await;
                drop(slot);
            });
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // The lock is still held, so it is ours. Left behind, it would only be replaced.
        let _left_behind = fs::remove_file(&self.path);
    }
}

async fn converse(mut stream: UnixStream, status: &StatusRequests) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut line = String::new();
    BufReader::new(reader.take(MAX_REQUEST)).read_line(&mut line).await?;
    let reply = match serde_json::from_str(&line) {
        Ok(Request::Status) => ask_status(status).await,
        Err(error) => Reply::Error(format!("not a question that I know: {error}")),
    };
    let mut bytes = serde_json::to_vec(&reply)?;
    bytes.push(b'\n');
    writer.write_all(&bytes).await?;
    writer.shutdown().await
}

async fn ask_status(status: &StatusRequests) -> Reply {
    let (answer, report) = oneshot::channel();
    let unavailable = || Reply::Error("the daemon is stopping".to_owned());
    if status.send(answer).await.is_err() {
        return unavailable();
    }
    report.await.map_or_else(|_gone| unavailable(), |report| Reply::Status(Box::new(report)))
}

/// Asks the daemon of `run_dir` what is enforced now.
pub async fn status(run_dir: &Path) -> Result<StatusReport, ControlError> {
    let path = path(run_dir);
    match timeout(LIMIT, ask(&path, Request::Status)).await {
        Ok(Ok(Reply::Status(report))) => Ok(*report),
        Ok(Ok(Reply::Error(error))) => Err(ControlError::Refused(error)),
        Ok(Err(error)) => Err(error),
        Err(_elapsed) => Err(ControlError::TimedOut(path)),
    }
}

async fn ask(path: &Path, request: Request) -> Result<Reply, ControlError> {
    let failed = |doing| move |source| ControlError::Io { doing, path: path.to_owned(), source };
    let mut stream = UnixStream::connect(path).await.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ControlError::NotRunning(path.to_owned())
        }
        _ => failed("connect to")(source),
    })?;
    let mut line = serde_json::to_vec(&request).map_err(ControlError::Malformed)?;
    line.push(b'\n');
    stream.write_all(&line).await.map_err(failed("write to"))?;
    let mut answer = Vec::new();
    stream.take(MAX_REPLY).read_to_end(&mut answer).await.map_err(failed("read from"))?;
    serde_json::from_slice(&answer).map_err(ControlError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run directory of its own for each test.
    struct RunDir(PathBuf);

    impl RunDir {
        fn new(name: &str) -> Self {
            let name = format!("enforcer-control-{name}-{}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for RunDir {
        fn drop(&mut self) {
            let _missing = fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn a_report_crosses_the_socket() {
        let dir = RunDir::new("report");
        let socket = ControlSocket::bind(&dir.0).expect("bound");
        let mode = fs::metadata(path(&dir.0)).expect("a socket").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (requests, mut asked) = mpsc::channel::<oneshot::Sender<StatusReport>>(1);
        let server = tokio::spawn(socket.serve(requests));
        let source = tokio::spawn(async move {
            let answer = asked.recv().await.expect("a question");
            answer.send(StatusReport { pid: 42, ..StatusReport::default() }).expect("wanted");
        });
        assert_eq!(status(&dir.0).await.expect("a report").pid, 42);
        source.await.expect("the source ended well");
        // Its receiver is gone now: the daemon is stopping.
        assert!(matches!(status(&dir.0).await, Err(ControlError::Refused(_))));
        server.abort();
    }

    #[tokio::test]
    async fn what_is_not_a_question_gets_an_error() {
        let dir = RunDir::new("garbage");
        let socket = ControlSocket::bind(&dir.0).expect("bound");
        let (requests, _asked) = mpsc::channel(1);
        let server = tokio::spawn(socket.serve(requests));
        for garbage in ["\n".to_owned(), "{\"ask\":\"stop\"}\n".to_owned(), "x".repeat(5000)] {
            let mut stream = UnixStream::connect(path(&dir.0)).await.expect("connected");
            // The server may hang up before it has read all of it.
            let _cut = stream.write_all(garbage.as_bytes()).await;
            let mut answer = String::new();
            let _cut = stream.read_to_string(&mut answer).await;
            assert!(answer.starts_with("{\"error\":") || garbage.len() > 4096, "{answer}");
        }
        server.abort();
    }

    #[tokio::test]
    async fn one_daemon_for_each_run_directory() {
        let dir = RunDir::new("single");
        let first = ControlSocket::bind(&dir.0).expect("bound");
        let second = ControlSocket::bind(&dir.0);
        assert!(matches!(second, Err(ControlError::AlreadyRunning(_))));
        drop(first);
        assert!(matches!(status(&dir.0).await, Err(ControlError::NotRunning(_))));
        // A dead daemon's socket is in nobody's way.
        fs::write(path(&dir.0), "").expect("written");
        ControlSocket::bind(&dir.0).expect("bound again");
    }
}
