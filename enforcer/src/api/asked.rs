//! What is asked of the daemon's supervisor, and the channels by which it answers.

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use std::path::PathBuf;

use crate::model::{
    caller::Caller,
    declined::Declined,
    flows::{FlowsQuestion, FlowsReport},
    status::{ExplainQuestion, Explained, ExplainedName, NameQuestion, StatusReport},
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
    /// Let a guest go that is cut off or paused; takes what was ended.
    Pardon {
        /// Its container's name, or the beginning of its id.
        guest: String,
        /// Who wants it.
        by: Caller,
        /// Takes what was ended, for people.
        reply: Reply<Vec<String>>,
    },
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Progress {
    /// Steps that are done.
    pub done: u64,
    /// Steps that there are.
    pub of: u64,
}
