//! The records: what an operator and their tools read, one JSON object a line. Versioned; fields are
//! added, never renamed. Names are those of the Elastic Common Schema where it has one that fits; see
//! ADR 8. `docs/schema` is made of these types and their comments.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::store::Retention;

mod abuse;
mod access;
mod allowance;
mod clock;
mod control;
mod cut;
mod dns;
mod gate;
mod life;
mod process;
mod stream;
mod traffic;

pub(super) use clock::format_time;

pub use abuse::Abuse;
pub use access::{AccessChange, GrantChange, GroupChange, time_of};
pub use allowance::AllowanceChange;
pub use clock::Clock;
pub use control::{ConfigChange, Daemon, Docker, Guest, Outside, PolicyChange, Repair};
pub use cut::{CUT, sentence, shown, shown_lines, text};
pub use dns::DnsQuery;
pub use gate::{About, GateCall};
pub use life::{Life, LifeEvent};
pub use process::{ConnectRefused, Exec, Process, SocketRefused, Unseen};
pub use stream::{Cause, Erased, Gap, Loss, Stored, Takeover};
pub use traffic::{FlowClosed, Subject, Traffic};

/// Version of the records.
pub const VERSION: u32 = 1;

/// Version of the Elastic Common Schema that has the fields' names.
pub const ECS_VERSION: &str = "8.17.0";

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Record {
    /// Version of the records.
    #[serde(rename = "enforcer.v")]
    #[cfg_attr(test, schemars(extend("const" = VERSION)))]
    pub v: u32,
    /// Version of the Elastic Common Schema that has the names of the fields.
    #[serde(rename = "ecs.version", default)]
    pub ecs: Cow<'static, str>,
    /// Position in the stream, from 1; a number that is left out is in a `gap`.
    #[serde(rename = "event.sequence")]
    pub seq: u64,
    /// When it happened, RFC 3339, UTC.
    #[serde(rename = "@timestamp")]
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub time: String,
    /// The same on the monotonic clock, ns.
    #[serde(rename = "enforcer.monotonic_ns")]
    pub mono_ns: u64,
    /// A text in it was too long, and ends with `…` where it was cut.
    #[serde(rename = "enforcer.truncated", default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// What happened.
    #[serde(flatten)]
    pub body: Body,
}

impl Body {
    /// Whom it is about, if it is about somebody.
    #[must_use]
    pub fn subject(&self) -> Option<&Subject> {
        match self {
            Self::FlowOpened(traffic) | Self::Denied(traffic) => Some(&traffic.subject),
            Self::FlowClosed(closed) => Some(&closed.subject),
            Self::Loss(loss) => Some(&loss.subject),
            Self::Guest(guest) => Some(&guest.subject),
            Self::Exec(exec) => Some(&exec.subject),
            Self::ConnectRefused(refused) => Some(&refused.subject),
            Self::SocketRefused(refused) => Some(&refused.subject),
            Self::DnsQuery(query) => Some(&query.subject),
            Self::Abuse(abuse) => Some(&abuse.subject),
            Self::Allowance(change) => Some(&change.subject),
            _ => None,
        }
    }

    /// Its kind, as records have it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::FlowOpened(_) => "flow_opened",
            Self::FlowClosed(_) => "flow_closed",
            Self::Denied(_) => "denied",
            Self::Loss(_) => "loss",
            Self::Gap(_) => "gap",
            Self::Outside(_) => "outside",
            Self::Abuse(_) => "abuse",
            Self::Allowance(_) => "allowance",
            Self::Repair(_) => "repair",
            Self::Takeover(_) => "takeover",
            Self::Stored(_) => "stored",
            Self::Retention(_) => "retention",
            Self::Exec(_) => "exec",
            Self::ConnectRefused(_) => "connect_refused",
            Self::SocketRefused(_) => "socket_refused",
            Self::DnsQuery(_) => "dns_query",
            Self::Unseen(_) => "unseen",
            Self::Guest(_) => "guest",
            Self::Docker(_) => "docker",
            Self::Life(_) => "life",
            Self::Policy(_) => "policy",
            Self::Group(_) => "group",
            Self::Grant(_) => "grant",
            Self::Gate(_) => "gate",
            Self::Erased(_) => "erased",
            Self::Config(_) => "config",
            Self::Daemon(_) => "daemon",
        }
    }
}

/// What a record tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "event.action", rename_all = "snake_case")]
pub enum Body {
    /// A flow was opened.
    FlowOpened(Box<Traffic>),
    /// A flow ended.
    FlowClosed(Box<FlowClosed>),
    /// A frame was denied.
    Denied(Box<Traffic>),
    /// A process of a guest began to run a program.
    Exec(Box<Exec>),
    /// A process of a guest was refused a call, before there was a packet.
    ConnectRefused(Box<ConnectRefused>),
    /// A process of a guest was refused a unix socket.
    SocketRefused(Box<SocketRefused>),
    /// A guest asked the resolver for a name.
    DnsQuery(Box<DnsQuery>),
    /// What guests' processes do is not seen.
    Unseen(Unseen),
    /// Records that were not written.
    Loss(Loss),
    /// Records that were made and that the sink in which this stands did not get.
    Gap(Gap),
    /// A guest outside its policy, or a port that belongs to no container.
    Outside(Outside),
    /// A guest does too much of something, and what is done about it.
    Abuse(Box<Abuse>),
    /// Something is open to one guest for a while, beyond its policy, or is no longer.
    Allowance(Box<AllowanceChange>),
    /// Something of enforcer's that somebody else changed, and that was put back.
    Repair(Repair),
    /// What an earlier daemon, or nobody, left in the kernel.
    Takeover(Takeover),
    /// How the files of the records were found.
    Stored(Stored),
    /// A file of records that is deleted, as the config has it.
    Retention(Retention),
    /// An endpoint came or went.
    Guest(Box<Guest>),
    /// What the engine said of a guest or of a guest network.
    Docker(Box<Docker>),
    /// What enforcer did to a guest that it started, or did not do.
    Life(Box<Life>),
    /// A policy that the kernel holds was changed.
    Policy(PolicyChange),
    /// A group or a membership changed, or nobody knows them.
    Group(Box<GroupChange>),
    /// A grant changed, or nobody knows them.
    Grant(Box<GrantChange>),
    /// A request at a Docker socket of the gate's.
    Gate(Box<GateCall>),
    /// A name that was erased: nobody can tell any more whose pseudonym it was.
    Erased(Erased),
    /// The config file was read.
    Config(ConfigChange),
    /// The daemon itself.
    Daemon(Daemon),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_flat_line_and_reads_back() {
        let subject = Subject { endpoint: 7, role: "guest".to_owned(), ..Subject::default() };
        let loss = Loss {
            subject,
            hook: "from_guest".to_owned(),
            reason: "policy\n\u{1b}[31m".to_owned(),
            cause: Cause::RateLimit,
            count: 3,
        };
        let record = Record {
            v: 1,
            ecs: ECS_VERSION.into(),
            seq: 1,
            time: String::new(),
            mono_ns: 0,
            truncated: false,
            body: Body::Loss(loss),
        };
        let line = serde_json::to_string(&record).expect("serialises");
        assert!(
            line.contains(r#""event.action":"loss","enforcer.endpoint":7"#) && !line.contains('\n'),
            "{line}"
        );
        assert!(!line.contains('\u{1b}'), "{line}");
        assert_eq!(serde_json::from_str::<Record>(&line).expect("reads"), record);
    }
}
