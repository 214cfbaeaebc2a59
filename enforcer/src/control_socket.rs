//! The daemon's control socket: one line of JSON asks, one line answers. Root only.
//!
//! It reads nothing but a question of a few words; every read has a limit and a time.

use std::{
    fs::{self, File, Permissions, TryLockError},
    io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
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

use crate::model::status::{ExplainQuestion, Explained, StatusReport};

/// Longest question, bytes.
const MAX_REQUEST: u64 = 4 << 10;
/// Longest answer that a client reads, bytes.
const MAX_REPLY: u64 = 64 << 20;
/// Longest that one conversation may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Conversations at once; further ones wait in the socket's queue.
const AT_ONCE: usize = 8;

/// A question on its way to the daemon's supervisor, which answers over the channel in it.
#[derive(Debug)]
pub enum Asked {
    /// What is enforced now.
    Status(oneshot::Sender<StatusReport>),
    /// Read the config file again.
    Reload(oneshot::Sender<Result<(), String>>),
    /// Erase names.
    Erase {
        /// The directory of the records.
        dir: PathBuf,
        /// Whose.
        pseudonyms: Vec<String>,
        /// Takes how many names that were.
        reply: oneshot::Sender<Result<u64, String>>,
    },
    /// Say why a guest may, or may not, begin a conversation.
    Explain(ExplainQuestion, oneshot::Sender<Result<Explained, String>>),
    /// End; policy stays.
    Stop(oneshot::Sender<()>),
}

/// A question to the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// What is enforced now.
    Status,
    /// Read the config file again, and police by it.
    Reload,
    /// Erase the names of these pseudonyms, and what goes with them.
    Erase {
        /// The directory of the records: another daemon's are not meant.
        dir: PathBuf,
        /// Whose.
        pseudonyms: Vec<String>,
    },
    /// Say why a guest may, or may not, begin a conversation.
    Explain(ExplainQuestion),
    /// End; policy stays.
    Stop,
}

/// The daemon's answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Status`].
    Status(Box<StatusReport>),
    /// To [`Request::Reload`] and [`Request::Stop`].
    Done,
    /// To [`Request::Erase`]: how many names.
    Erased(u64),
    /// To [`Request::Explain`].
    Explained(Box<Explained>),
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
        // An uninstallation removes the file while it holds the lock: what is locked then is nobody's.
        let held = lock.metadata().map_err(io("look at", &lock_path))?.ino();
        if fs::metadata(&lock_path).map_or(true, |found| found.ino() != held) {
            return Err(ControlError::AlreadyRunning(lock_path));
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
    pub async fn serve(self, supervisor: mpsc::Sender<Asked>) {
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
            let supervisor = supervisor.clone();
            tokio::spawn(async move {
                // A client that goes away or dawdles is its own problem.
                let _ended = timeout(LIMIT, converse(stream, &supervisor)).await;
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

async fn converse(mut stream: UnixStream, supervisor: &mpsc::Sender<Asked>) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut line = String::new();
    BufReader::new(reader.take(MAX_REQUEST)).read_line(&mut line).await?;
    let reply = match serde_json::from_str(&line) {
        Ok(request) => answer(request, supervisor).await,
        Err(error) => Reply::Error(format!("not a question that I know: {error}")),
    };
    let mut bytes = serde_json::to_vec(&reply)?;
    bytes.push(b'\n');
    writer.write_all(&bytes).await?;
    writer.shutdown().await
}

async fn answer(request: Request, supervisor: &mpsc::Sender<Asked>) -> Reply {
    let reply = match request {
        Request::Status => {
            put(supervisor, Asked::Status).await.map(|report| Reply::Status(Box::new(report)))
        }
        Request::Reload => put(supervisor, Asked::Reload)
            .await
            .map(|outcome| outcome.map_or_else(Reply::Error, |()| Reply::Done)),
        Request::Erase { dir, pseudonyms } => {
            put(supervisor, |reply| Asked::Erase { dir, pseudonyms, reply })
                .await
                .map(|outcome| outcome.map_or_else(Reply::Error, Reply::Erased))
        }
        Request::Explain(question) => put(supervisor, |reply| Asked::Explain(question, reply))
            .await
            .map(|outcome| outcome.map_or_else(Reply::Error, |told| Reply::Explained(told.into()))),
        Request::Stop => put(supervisor, Asked::Stop).await.map(|()| Reply::Done),
    };
    reply.unwrap_or_else(|| Reply::Error("the daemon is stopping".to_owned()))
}

/// Puts a question to the supervisor; `None` when it does not answer any more.
async fn put<T>(
    supervisor: &mpsc::Sender<Asked>,
    question: impl FnOnce(oneshot::Sender<T>) -> Asked,
) -> Option<T> {
    let (sender, answer) = oneshot::channel();
    supervisor.send(question(sender)).await.ok()?;
    answer.await.ok()
}

/// Asks the daemon of `run_dir` what is enforced now.
pub async fn status(run_dir: &Path) -> Result<StatusReport, ControlError> {
    match request(run_dir, Request::Status).await? {
        Reply::Status(report) => Ok(*report),
        Reply::Done | Reply::Erased(_) | Reply::Explained(_) => {
            Err(ControlError::Refused("it gave no report".to_owned()))
        }
        Reply::Error(error) => Err(ControlError::Refused(error)),
    }
}

/// Has the daemon of `run_dir` read its config file again; it is done when this returns.
pub async fn reload(run_dir: &Path) -> Result<(), ControlError> {
    done(request(run_dir, Request::Reload).await?)
}

/// Has the daemon of `run_dir` end.
pub async fn stop(run_dir: &Path) -> Result<(), ControlError> {
    done(request(run_dir, Request::Stop).await?)
}

/// Has the daemon of `run_dir` erase the names of these pseudonyms from the book in `dir`; how many.
pub async fn erase(
    run_dir: &Path,
    dir: PathBuf,
    pseudonyms: Vec<String>,
) -> Result<u64, ControlError> {
    match request(run_dir, Request::Erase { dir, pseudonyms }).await? {
        Reply::Erased(count) => Ok(count),
        Reply::Error(error) => Err(ControlError::Refused(error)),
        Reply::Status(_) | Reply::Done | Reply::Explained(_) => {
            Err(ControlError::Refused("it did not say what it erased".to_owned()))
        }
    }
}

/// Asks the daemon of `run_dir` why a guest may, or may not, begin a conversation.
pub async fn explain(run_dir: &Path, question: ExplainQuestion) -> Result<Explained, ControlError> {
    match request(run_dir, Request::Explain(question)).await? {
        Reply::Explained(explained) => Ok(*explained),
        Reply::Error(error) => Err(ControlError::Refused(error)),
        Reply::Status(_) | Reply::Done | Reply::Erased(_) => {
            Err(ControlError::Refused("it did not explain".to_owned()))
        }
    }
}

fn done(reply: Reply) -> Result<(), ControlError> {
    match reply {
        Reply::Error(error) => Err(ControlError::Refused(error)),
        Reply::Status(_) | Reply::Done | Reply::Erased(_) | Reply::Explained(_) => Ok(()),
    }
}

async fn request(run_dir: &Path, request: Request) -> Result<Reply, ControlError> {
    let path = path(run_dir);
    timeout(LIMIT, ask(&path, &request)).await.unwrap_or(Err(ControlError::TimedOut(path)))
}

/// Whether a daemon holds the run directory.
#[must_use]
pub fn is_held(run_dir: &Path) -> bool {
    let lock = File::options().write(true).open(run_dir.join("lock"));
    lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
}

async fn ask(path: &Path, request: &Request) -> Result<Reply, ControlError> {
    let failed = |doing| move |source| ControlError::Io { doing, path: path.to_owned(), source };
    let mut stream = UnixStream::connect(path).await.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ControlError::NotRunning(path.to_owned())
        }
        _ => failed("connect to")(source),
    })?;
    let mut line = serde_json::to_vec(request).map_err(ControlError::Malformed)?;
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
        let (requests, mut asked) = mpsc::channel(1);
        let server = tokio::spawn(socket.serve(requests));
        let source = tokio::spawn(async move {
            let Some(Asked::Status(answer)) = asked.recv().await else {
                panic!("not asked for the status")
            };
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
        for garbage in ["\n".to_owned(), "{\"ask\":\"halt\"}\n".to_owned(), "x".repeat(5000)] {
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
