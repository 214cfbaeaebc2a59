//! The other end of the control socket: asks the daemon, and reads its answers.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST, SERVER},
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, time::timeout};

use super::{
    asked::Progress,
    error::{ApiError, Code, Failure},
    ndjson::Line,
    routes::{
        Route,
        access::{self, AccessReport},
        allowances,
        daemon::{self, Done},
        grants::{self, GrantOrder, Grants},
        groups::{self, Changed, GroupOrder, Groups, MemberOrder, Members, OfGroup, OfHub},
        guests,
        names::{self, Gone, Names},
        networks,
        restraints::{self, Pardon, Pardoned},
        traffic,
    },
};
use crate::model::{
    allowance::{AllowOrder, AllowanceList, AllowanceStatus, RevokeOrder},
    flows::{FlowsQuestion, FlowsReport},
    guest::{
        ExecOrder, Executed, GuestDetail, GuestList, GuestLogs, GuestOrder, GuestStatus,
        GuestsQuestion, LogsQuestion, ResetDone, ResetOrder, WhichGuest,
    },
    owned::{OwnNetworkList, OwnNetworkStatus, OwnNetworksQuestion, WhichNetwork},
    restraint::{CutDone, CutOrder},
    status::{ExplainQuestion, Explained, ExplainedName, NameQuestion, StatusReport},
};

/// Longest answer that is read, bytes.
const MAX_ANSWER: usize = 64 << 20;
/// Longest line of an answer in lines, bytes.
const MAX_LINE: usize = 4 << 20;
/// Longest wait for an answer. The daemon gives up earlier, and says so.
const LIMIT: Duration = Duration::from_secs(20);
/// Longest wait for the next line of an answer in lines.
const SILENCE: Duration = Duration::from_secs(30);

/// Why there is no answer from a daemon, or not the one that was wanted.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens.
    #[error("no enforcer answers at {0}: start it with `enforcer run`")]
    NotRunning(PathBuf),
    /// The socket is not for whoever asks.
    #[error(
        "only root and [daemon] admins may ask at {path}: call as root (sudo), or have root add your user to admins",
        path = .0.display()
    )]
    NotAdmitted(PathBuf),
    /// The daemon did not answer in time.
    #[error("the daemon did not answer at {0} in time")]
    TimedOut(PathBuf),
    /// The daemon says no, and why.
    #[error("the daemon refused: {0}")]
    Refused(String),
    /// The daemon does not take this from this user.
    #[error("not permitted: {0}")]
    Forbidden(String),
    /// The daemon has no such call.
    #[error(
        "the daemon does not know \"{call}\": it is {theirs}, and this is enforcer/{ours}; restart it, or ask it with \
         its own command",
        ours = env!("CARGO_PKG_VERSION")
    )]
    OtherVersion {
        /// What was asked.
        call: &'static str,
        /// Which version answers.
        theirs: String,
    },
    /// The answer is not one of this version.
    #[error("the daemon's answer is not understood; is it another version? {0}")]
    Malformed(String),
    /// A socket failed.
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

/// Asks the daemon of `run_dir` what is enforced now.
pub async fn status(run_dir: &Path) -> Result<StatusReport, ControlError> {
    get(run_dir, &daemon::STATUS, &()).await
}

/// Has the daemon of `run_dir` read its config file again; it is done when this returns.
pub async fn reload(run_dir: &Path) -> Result<(), ControlError> {
    post(run_dir, &daemon::RELOAD, None::<&()>).await.map(|Done { .. }| ())
}

/// Has the daemon of `run_dir` end.
pub async fn stop(run_dir: &Path) -> Result<(), ControlError> {
    post(run_dir, &daemon::STOP, None::<&()>).await.map(|Done { .. }| ())
}

/// Asks the daemon of `run_dir` why a guest may, or may not, begin a conversation.
pub async fn explain(run_dir: &Path, asked: &ExplainQuestion) -> Result<Explained, ControlError> {
    get(run_dir, &traffic::EXPLAIN, asked).await
}

/// Asks the daemon of `run_dir` what becomes of a name that a guest resolves.
pub async fn explain_name(
    run_dir: &Path,
    asked: &NameQuestion,
) -> Result<ExplainedName, ControlError> {
    get(run_dir, &traffic::EXPLAIN_NAME, asked).await
}

/// Asks the daemon of `run_dir` which flows there are.
pub async fn flows(run_dir: &Path, asked: &FlowsQuestion) -> Result<FlowsReport, ControlError> {
    get(run_dir, &traffic::FLOWS, asked).await
}

/// Has the daemon of `run_dir` let a guest go that is slowed, cut off or paused; what was ended, for people.
pub async fn pardon(run_dir: &Path, guest: String) -> Result<Vec<String>, ControlError> {
    let Pardoned { ended } = post(run_dir, &restraints::PARDON, Some(&Pardon { guest })).await?;
    Ok(ended)
}

/// Has the daemon of `run_dir` cut a guest off; a dry run only says who it would be.
pub async fn cut(run_dir: &Path, order: &CutOrder) -> Result<CutDone, ControlError> {
    post(run_dir, &restraints::CUT, Some(order)).await
}

/// Has the daemon of `run_dir` open something to a guest for a while; it is done when the kernel holds it.
pub async fn allow(run_dir: &Path, order: &AllowOrder) -> Result<AllowanceStatus, ControlError> {
    post(run_dir, &allowances::ALLOW, Some(order)).await
}

/// Has the daemon of `run_dir` close what is open to a guest for a while; what it was.
pub async fn revoke(run_dir: &Path, order: &RevokeOrder) -> Result<AllowanceStatus, ControlError> {
    post(run_dir, &allowances::REVOKE, Some(order)).await
}

/// Asks the daemon of `run_dir` what is open to single guests for a while.
pub async fn allowances(run_dir: &Path) -> Result<AllowanceList, ControlError> {
    get(run_dir, &allowances::LIST, &()).await
}

/// Has the daemon of `run_dir` erase the names of these pseudonyms from the book in `dir`; how many.
/// `heard` hears how far it is.
pub async fn erase(
    run_dir: &Path,
    dir: PathBuf,
    pseudonyms: Vec<String>,
    heard: impl FnMut(Progress),
) -> Result<u64, ControlError> {
    let body = Some(&Names { dir, pseudonyms });
    let Gone { erased } = follow(run_dir, &names::ERASE, body, heard).await?;
    Ok(erased)
}

/// Asks the daemon of `run_dir` for groups.
pub async fn groups(run_dir: &Path, asked: &OfHub) -> Result<Groups, ControlError> {
    get(run_dir, &groups::LIST, asked).await
}

/// Asks the daemon of `run_dir` who is in a group.
pub async fn group_members(run_dir: &Path, asked: &OfGroup) -> Result<Members, ControlError> {
    get(run_dir, &groups::MEMBERS, asked).await
}

/// Has the daemon of `run_dir` make a group.
pub async fn create_group(run_dir: &Path, order: &GroupOrder) -> Result<Changed, ControlError> {
    post(run_dir, &groups::CREATE, Some(order)).await
}

/// Has the daemon of `run_dir` delete a group.
pub async fn delete_group(run_dir: &Path, order: &GroupOrder) -> Result<Changed, ControlError> {
    post(run_dir, &groups::DELETE, Some(order)).await
}

/// Has the daemon of `run_dir` put a user into a group.
pub async fn add_member(run_dir: &Path, order: &MemberOrder) -> Result<Changed, ControlError> {
    post(run_dir, &groups::ADD, Some(order)).await
}

/// Has the daemon of `run_dir` take a user out of a group.
pub async fn remove_member(run_dir: &Path, order: &MemberOrder) -> Result<Changed, ControlError> {
    post(run_dir, &groups::REMOVE, Some(order)).await
}

/// Asks the daemon of `run_dir` for grants.
pub async fn grants(run_dir: &Path, asked: &OfHub) -> Result<Grants, ControlError> {
    get(run_dir, &grants::LIST, asked).await
}

/// Asks the daemon of `run_dir` who has access to an engine of this host.
pub async fn access_report(run_dir: &Path) -> Result<AccessReport, ControlError> {
    get(run_dir, &access::REPORT, &()).await
}

/// Has the daemon of `run_dir` set a grant.
pub async fn set_grant(run_dir: &Path, order: &GrantOrder) -> Result<Changed, ControlError> {
    post(run_dir, &grants::SET, Some(order)).await
}

/// Asks the daemon of `run_dir` for guests that it started.
pub async fn guests(run_dir: &Path, asked: &GuestsQuestion) -> Result<GuestList, ControlError> {
    get(run_dir, &guests::LIST, asked).await
}

/// Asks the daemon of `run_dir` for own networks.
pub async fn networks(
    run_dir: &Path,
    asked: &OwnNetworksQuestion,
) -> Result<OwnNetworkList, ControlError> {
    get(run_dir, &networks::LIST, asked).await
}

/// Has the daemon of `run_dir` make an own network.
pub async fn create_network(
    run_dir: &Path,
    which: &WhichNetwork,
) -> Result<OwnNetworkStatus, ControlError> {
    follow(run_dir, &networks::CREATE, Some(which), |_| {}).await
}

/// Has the daemon of `run_dir` remove an own network.
pub async fn remove_network(run_dir: &Path, which: &WhichNetwork) -> Result<(), ControlError> {
    follow(run_dir, &networks::REMOVE, Some(which), |_| {}).await.map(|guests::Done { .. }| ())
}

/// Asks the daemon of `run_dir` for all about a guest.
pub async fn inspect_guest(
    run_dir: &Path,
    asked: &WhichGuest,
) -> Result<GuestDetail, ControlError> {
    get(run_dir, &guests::INSPECT, asked).await
}

/// Asks the daemon of `run_dir` what a guest wrote.
pub async fn guest_logs(run_dir: &Path, asked: &LogsQuestion) -> Result<GuestLogs, ControlError> {
    get(run_dir, &guests::LOGS, asked).await
}

/// Has the daemon of `run_dir` start a guest. `heard` hears how far it is.
pub async fn start_guest(
    run_dir: &Path,
    order: &GuestOrder,
    heard: impl FnMut(Progress),
) -> Result<GuestStatus, ControlError> {
    follow(run_dir, &guests::START, Some(order), heard).await
}

/// Has the daemon of `run_dir` start a guest anew. `heard` hears how far it is.
pub async fn restart_guest(
    run_dir: &Path,
    which: &WhichGuest,
    heard: impl FnMut(Progress),
) -> Result<GuestStatus, ControlError> {
    follow(run_dir, &guests::RESTART, Some(which), heard).await
}

/// Has the daemon of `run_dir` end a guest.
pub async fn stop_guest(run_dir: &Path, which: &WhichGuest) -> Result<(), ControlError> {
    follow(run_dir, &guests::STOP, Some(which), |_| {}).await.map(|guests::Done { .. }| ())
}

/// Has the daemon of `run_dir` remove a guest.
pub async fn remove_guest(run_dir: &Path, which: &WhichGuest) -> Result<(), ControlError> {
    follow(run_dir, &guests::REMOVE, Some(which), |_| {}).await.map(|guests::Done { .. }| ())
}

/// Has the daemon of `run_dir` run a command in a guest.
pub async fn exec_in_guest(run_dir: &Path, order: &ExecOrder) -> Result<Executed, ControlError> {
    follow(run_dir, &guests::EXEC, Some(order), |_| {}).await
}

/// Has the daemon of `run_dir` remove a user's volumes; their names.
pub async fn reset_volumes(
    run_dir: &Path,
    order: &ResetOrder,
) -> Result<Vec<String>, ControlError> {
    let ResetDone { removed } = follow(run_dir, &guests::RESET, Some(order), |_| {}).await?;
    Ok(removed)
}

async fn get<T: DeserializeOwned>(
    run_dir: &Path,
    route: &'static Route,
    query: &impl Serialize,
) -> Result<T, ControlError> {
    let malformed =
        |error: serde_urlencoded::ser::Error| ControlError::Malformed(error.to_string());
    let query = serde_urlencoded::to_string(query).map_err(malformed)?;
    let mark = if query.is_empty() { "" } else { "?" };
    whole(run_dir, route, &format!("{}{mark}{query}", route.path), None).await
}

async fn post<T: DeserializeOwned>(
    run_dir: &Path,
    route: &'static Route,
    body: Option<&impl Serialize>,
) -> Result<T, ControlError> {
    whole(run_dir, route, route.path, body.map(json).transpose()?).await
}

fn json(body: &impl Serialize) -> Result<Vec<u8>, ControlError> {
    serde_json::to_vec(body).map_err(|error| ControlError::Malformed(error.to_string()))
}

/// Asks, and reads an answer that comes as a whole.
async fn whole<T: DeserializeOwned>(
    run_dir: &Path,
    route: &'static Route,
    target: &str,
    body: Option<Vec<u8>>,
) -> Result<T, ControlError> {
    let conversation = async {
        let asked = Asked { run_dir, route };
        let answer = asked.of(target, body).await?;
        let answer = asked.accepted(answer).await?;
        asked.read(&asked.bytes(answer).await?)
    };
    let late = |_late| ControlError::TimedOut(super::path(run_dir));
    timeout(LIMIT, conversation).await.map_err(late)?
}

/// Asks, and reads an answer that comes in lines.
async fn follow<T: DeserializeOwned>(
    run_dir: &Path,
    route: &'static Route,
    body: Option<&impl Serialize>,
    mut heard: impl FnMut(Progress),
) -> Result<T, ControlError> {
    let asked = Asked { run_dir, route };
    let late = |_late| ControlError::TimedOut(super::path(run_dir));
    let begun =
        async { asked.accepted(asked.of(route.path, body.map(json).transpose()?).await?).await };
    let mut answer = timeout(LIMIT, begun).await.map_err(late)??;
    let mut text = Vec::new();
    while let Some(frame) = timeout(SILENCE, answer.frame()).await.map_err(late)? {
        let frame = frame.map_err(|error| asked.broken(&error))?;
        text.extend_from_slice(frame.data_ref().map_or(&[], Bytes::as_ref));
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            match asked.read(&line)? {
                Line::Progress(progress) => heard(progress),
                Line::Done(outcome) => return Ok(outcome),
                Line::Error(error) => return Err(asked.refusal(error, None)),
            }
        }
        if text.len() > MAX_LINE {
            return Err(ControlError::Malformed(format!("a line of more than {MAX_LINE} bytes")));
        }
    }
    Err(ControlError::Malformed("it ends without an outcome".to_owned()))
}

/// A question to a daemon.
#[derive(Clone, Copy)]
struct Asked<'a> {
    run_dir: &'a Path,
    route: &'static Route,
}

impl Asked<'_> {
    async fn of(
        &self,
        target: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Response<Incoming>, ControlError> {
        let path = super::path(self.run_dir);
        let stream = UnixStream::connect(&path).await.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ControlError::NotRunning(path.clone())
            }
            io::ErrorKind::PermissionDenied => ControlError::NotAdmitted(path.clone()),
            _ => ControlError::Io { doing: "connect to", path: path.clone(), source },
        })?;
        let request = Request::builder().method(self.route.verb.method()).uri(target);
        let mut request = request.header(HOST, "localhost");
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = Full::new(Bytes::from(body.unwrap_or_default()));
        let malformed = |error: hyper::http::Error| ControlError::Malformed(error.to_string());
        let request = request.body(body).map_err(malformed)?;
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.map_err(|error| self.broken(&error))?;
        // It ends with the answer.
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(|error| self.broken(&error))
    }

    /// An answer that says yes, or the error that it has.
    async fn accepted(
        &self,
        answer: Response<Incoming>,
    ) -> Result<Response<Incoming>, ControlError> {
        if answer.status() == StatusCode::OK {
            return Ok(answer);
        }
        let (status, theirs) = (answer.status(), server(&answer));
        let bytes = self.bytes(answer).await?;
        let Ok(Failure { error }) = serde_json::from_slice(&bytes) else {
            return Err(ControlError::Malformed(format!("{}: status {status}", self.route.id)));
        };
        Err(self.refusal(error, theirs))
    }

    async fn bytes(&self, answer: Response<Incoming>) -> Result<Bytes, ControlError> {
        let read = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let bytes = read.map_err(|error| ControlError::Malformed(error.to_string()))?;
        Ok(bytes.to_bytes())
    }

    fn read<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, ControlError> {
        let malformed = |error: serde_json::Error| {
            ControlError::Malformed(format!("{}: {error}", self.route.id))
        };
        serde_json::from_slice(bytes).map_err(malformed)
    }

    fn refusal(&self, error: ApiError, theirs: Option<String>) -> ControlError {
        let ApiError { code, message, hint } = error;
        match code {
            Code::NoSuchCall => {
                let theirs = theirs.unwrap_or_else(|| "another version".to_owned());
                ControlError::OtherVersion { call: self.route.id, theirs }
            }
            Code::Forbidden => {
                let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
                ControlError::Forbidden(format!("{message}{hint}"))
            }
            Code::TimedOut => ControlError::TimedOut(super::path(self.run_dir)),
            _ => ControlError::Refused(message.into_owned()),
        }
    }

    /// What became of a conversation that broke off: what does not speak HTTP is another version.
    fn broken(&self, error: &hyper::Error) -> ControlError {
        if error.is_parse() {
            return ControlError::Malformed(error.to_string());
        }
        let source = io::Error::other(error.to_string());
        ControlError::Io { doing: "talk to", path: super::path(self.run_dir), source }
    }
}

/// Which daemon answers.
fn server<B>(answer: &Response<B>) -> Option<String> {
    let name = answer.headers().get(SERVER)?.to_str().ok()?;
    Some(name.chars().take(64).collect())
}
