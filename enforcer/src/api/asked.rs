//! What is asked of the daemon's supervisor, and the channels by which it answers.

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use std::path::PathBuf;

use super::routes::access::AccessReport;
use crate::{
    access::name::{HubName, User, UserName},
    guest::{
        names::{Seat, Use},
        service::Asker,
    },
    model::{
        allowance::{AllowOrder, AllowanceStatus, RevokeOrder},
        caller::Caller,
        declined::Declined,
        flows::{FlowsQuestion, FlowsReport},
        guest::{Executed, GuestDetail, GuestLogs, GuestOrder, GuestStatus},
        owned::OwnNetworkStatus,
        restraint::{CutDone, CutOrder},
        status::{ExplainQuestion, Explained, ExplainedName, NameQuestion, StatusReport},
    },
};

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<Result<T, Declined>>;

/// A question on its way to the daemon's supervisor. What changes something says who wants it.
#[derive(Debug)]
pub enum Asked {
    /// What is enforced now.
    Status(oneshot::Sender<StatusReport>),
    /// Read the config file again.
    Reload(Caller, Reply<()>),
    /// Erase names.
    Erase(Erase, Reply<u64>),
    /// Say why a guest may, or may not, begin a conversation.
    Explain(ExplainQuestion, Reply<Explained>),
    /// Say the same of a name.
    ExplainName(NameQuestion, Reply<ExplainedName>),
    /// Which flows there are.
    Flows(FlowsQuestion, Reply<FlowsReport>),
    /// Who has access to an engine of this host.
    Access(Reply<AccessReport>),
    /// Let a guest go that is cut off or paused; takes what was ended.
    Pardon {
        /// Its container's name, or the beginning of its id.
        guest: String,
        /// Who wants it.
        by: Caller,
        /// Takes what was ended, for people.
        reply: Reply<Vec<String>>,
    },
    /// Cut a guest off.
    Cut(CutOrder, Caller, Reply<CutDone>),
    /// Open something to a guest for a while, close it, or tell of what is open.
    Allowance(AllowanceAsked),
    /// Do something with guests, or tell of them.
    Guest(Box<GuestAsked>),
    /// Do something with own networks, or tell of them.
    Network(Box<NetworkAsked>),
    /// End; policy stays.
    Stop(Caller, oneshot::Sender<()>),
}

/// An erasure that somebody wants.
#[derive(Debug)]
pub struct Erase {
    /// The directory of the records.
    pub dir: PathBuf,
    /// Whose names.
    pub pseudonyms: Vec<String>,
    /// Who wants it.
    pub by: Caller,
    /// Takes how far it is. Nobody may listen, and a word that there is no room for is left out.
    pub progress: mpsc::Sender<Progress>,
}

/// How far something is that takes its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Progress {
    /// Steps, or bytes, that are done.
    pub done: u64,
    /// Steps, or bytes, that there are; 0: nobody knows.
    pub of: u64,
    /// What is being done, where there is more than one thing to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
}

/// Steps of a start of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The image is there, or is pulled: bytes.
    Pull,
    /// The container is made.
    Create,
    /// Its first process is started.
    Start,
    /// The kernel is to hold its policy.
    Police,
    /// A step of another version.
    #[serde(other)]
    #[cfg_attr(test, schemars(skip))]
    Unknown,
}

/// Something about guests.
#[derive(Debug)]
pub enum GuestAsked {
    /// Start one.
    Start(Box<GuestOrder>, Asker, mpsc::Sender<Progress>, Reply<GuestStatus>),
    /// Start one anew.
    Restart(Seat, Asker, mpsc::Sender<Progress>, Reply<GuestStatus>),
    /// End one.
    Stop(Seat, Asker, Reply<()>),
    /// Remove one.
    Remove(Seat, Asker, Reply<()>),
    /// Run a command in one, as a user inside.
    Exec(Seat, (Vec<String>, Option<String>), Asker, Reply<Executed>),
    /// Remove a user's volumes; takes their names.
    Reset(User, Vec<Use>, Asker, Reply<Vec<String>>),
    /// Tell of those of a hub, or of all; of a user, or of all.
    List(Option<HubName>, Option<UserName>, Reply<Vec<GuestStatus>>),
    /// Tell all of one.
    Inspect(Seat, Reply<GuestDetail>),
    /// Show the last lines that one wrote.
    Logs(Seat, Option<u32>, Reply<GuestLogs>),
}

impl GuestAsked {
    /// The hub on whose behalf; `None`: root's and admins'.
    #[must_use]
    pub fn hub(&self) -> Option<&HubName> {
        match self {
            Self::Start(_, asker, ..)
            | Self::Restart(_, asker, ..)
            | Self::Stop(_, asker, _)
            | Self::Remove(_, asker, _)
            | Self::Exec(_, _, asker, _)
            | Self::Reset(_, _, asker, _) => Some(&asker.hub).filter(|_| !asker.is_admin),
            Self::List(hub, ..) => hub.as_ref(),
            Self::Inspect(seat, _) | Self::Logs(seat, ..) => Some(&seat.user.hub),
        }
    }

    /// Answers that it is not done.
    pub fn decline(self, declined: Declined) {
        // Whoever asked may have gone.
        match self {
            Self::Start(.., reply) | Self::Restart(.., reply) => drop(reply.send(Err(declined))),
            Self::Stop(.., reply) | Self::Remove(.., reply) => drop(reply.send(Err(declined))),
            Self::Exec(.., reply) => drop(reply.send(Err(declined))),
            Self::Reset(.., reply) => drop(reply.send(Err(declined))),
            Self::List(.., reply) => drop(reply.send(Err(declined))),
            Self::Inspect(_, reply) => drop(reply.send(Err(declined))),
            Self::Logs(.., reply) => drop(reply.send(Err(declined))),
        }
    }
}

/// Something about what is open to single guests for a while.
#[derive(Debug)]
pub enum AllowanceAsked {
    /// Open something.
    Allow(AllowOrder, Caller, Reply<AllowanceStatus>),
    /// Close it; takes what it was.
    Revoke(RevokeOrder, Caller, Reply<AllowanceStatus>),
    /// Tell of all.
    List(Reply<Vec<AllowanceStatus>>),
}

/// Something about own networks.
#[derive(Debug)]
pub enum NetworkAsked {
    /// Make one of this name for a user.
    Create(User, String, Caller, Reply<OwnNetworkStatus>),
    /// Remove one.
    Remove(User, String, Caller, Reply<()>),
    /// Tell of those of a hub, or of all; of a user, or of all.
    List(Option<HubName>, Option<UserName>, Reply<Vec<OwnNetworkStatus>>),
}
