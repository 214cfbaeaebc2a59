//! Whom a question is about: a word, the guests that it may mean, and the records that are theirs. Pure.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use serde_json::Value;

use super::text;

/// Guests that one word may mean, at most; whoever gets more says more.
const CANDIDATES: usize = 64;
/// Containers of one of them that are told apart.
const CONTAINERS: usize = 4096;
/// Digits of an id at least.
const ID: usize = 4;
/// Reasons of denials whose source address says nothing of the guest: it sent another's.
const FORGED: [&str; 2] = ["source_mac", "source_address"];

/// A word for somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The word.
    pub word: String,
    kind: Option<Kind>,
}

/// What a word may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A user.
    User,
    /// A user's server.
    Server,
    /// A container's name.
    Container,
    /// How a container's id begins.
    Id,
    /// An address of a guest.
    Address,
}

impl Kind {
    /// The word before the colon.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Server => "server",
            Self::Container => "container",
            Self::Id => "id",
            Self::Address => "address",
        }
    }
}

impl Who {
    /// Reads `alice`, or `user:alice` where a word alone is ambiguous.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let kinds = [Kind::User, Kind::Server, Kind::Container, Kind::Id, Kind::Address];
        for kind in kinds {
            if let Some(word) = text.strip_prefix(kind.name()).and_then(|t| t.strip_prefix(':')) {
                return Self { word: word.to_owned(), kind: Some(kind) };
            }
        }
        Self { word: text.to_owned(), kind: None }
    }

    /// The word, if it may be of this kind.
    #[must_use]
    pub fn as_kind(&self, kind: Kind) -> Option<&str> {
        let fits = match kind {
            Kind::Id => is_id(&self.word),
            Kind::Address => self.address().is_some(),
            Kind::User | Kind::Server | Kind::Container => !self.word.is_empty(),
        };
        (fits && self.kind.is_none_or(|wanted| wanted == kind)).then_some(self.word.as_str())
    }

    /// The address, if it is one: then it is nothing else.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        let may_be = self.kind.is_none_or(|kind| kind == Kind::Address);
        self.word.parse().ok().filter(|_| may_be)
    }
}

fn is_id(word: &str) -> bool {
    word.len() >= ID && word.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Somebody that a word may mean.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Candidate {
    /// A user with everything that is theirs.
    User(String),
    /// One server of a user's.
    Server {
        /// Whose; empty: nobody said.
        user: String,
        /// Its name.
        server: String,
    },
    /// Containers of this name.
    Container {
        /// The name.
        name: String,
        /// Whose; empty: nobody said.
        user: String,
    },
    /// One container.
    Id(String),
}

impl fmt::Display for Candidate {
    /// As it may be asked for.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => write!(formatter, "user:{user}"),
            Self::Server { user, server } => write!(formatter, "server:{user}/{server}"),
            Self::Container { name, .. } => write!(formatter, "container:{name}"),
            Self::Id(id) => write!(formatter, "id:{}", id.get(..12).unwrap_or(id)),
        }
    }
}

/// What was seen of a candidate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// First and last time, microseconds since 1970.
    pub time: (u64, u64),
    /// Records.
    pub records: u64,
    /// Ids of its containers.
    pub ids: BTreeSet<String>,
    /// Name of one of them.
    pub name: String,
    /// Whose they are, if that was said.
    pub user: String,
}

/// Nobody, or nobody in particular.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhoError {
    /// No record is about such a guest.
    #[error("no record of that time is about \"{0}\"")]
    Nobody(String),
    /// More than one may be meant.
    #[error("\"{word}\" may be one of these; ask for one of them:\n{}", list(.candidates))]
    Ambiguous {
        /// The word.
        word: String,
        /// Who may be meant, and what was seen of them.
        candidates: Vec<(Candidate, Seen)>,
    },
}

fn list(candidates: &[(Candidate, Seen)]) -> String {
    let line = |(candidate, seen): &(Candidate, Seen)| {
        let ids = seen.ids.iter().take(3).map(|id| id.get(..12).unwrap_or(id));
        let ids: Vec<_> = ids.collect();
        let user = if seen.user.is_empty() { "nobody said" } else { &seen.user };
        let what = format!("container {} ({}), user {user}", seen.name, ids.join(", "));
        format!("  {candidate}  {what}, {} records", seen.records)
            .chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .collect()
    };
    candidates.iter().map(line).collect::<Vec<String>>().join("\n")
}

/// Everybody whom a word may mean.
#[derive(Debug)]
pub struct Candidates {
    who: Who,
    found: BTreeMap<Candidate, Seen>,
}

impl Candidates {
    /// Nobody yet.
    #[must_use]
    pub const fn new(who: Who) -> Self {
        Self { who, found: BTreeMap::new() }
    }

    /// Takes in a record, and when it was made.
    pub fn take(&mut self, record: &Value, at: u64) {
        let user = text(record, "user.name");
        let (name, id) = (text(record, "container.name"), text(record, "container.id"));
        let server = text(record, "enforcer.server");
        if let Some(address) = self.who.address() {
            if own_address(record).and_then(|own| own.parse().ok()) == Some(address) {
                let candidate = if id.is_empty() {
                    Candidate::Container { name: name.to_owned(), user: user.to_owned() }
                } else {
                    Candidate::Id(id.to_owned())
                };
                if !(id.is_empty() && name.is_empty()) {
                    self.see(candidate, record, at);
                }
            }
            return;
        }
        if self.who.as_kind(Kind::User).is_some_and(|word| word == user) {
            self.see(Candidate::User(user.to_owned()), record, at);
        }
        let is_server = |word: &str| {
            !server.is_empty() && (word == server || word.split_once('/') == Some((user, server)))
        };
        if self.who.as_kind(Kind::Server).is_some_and(is_server) {
            let candidate = Candidate::Server { user: user.to_owned(), server: server.to_owned() };
            self.see(candidate, record, at);
        }
        if self.who.as_kind(Kind::Container).is_some_and(|word| word == name) {
            let candidate = Candidate::Container { name: name.to_owned(), user: user.to_owned() };
            self.see(candidate, record, at);
        }
        if self.who.as_kind(Kind::Id).is_some_and(|word| id.starts_with(word)) {
            self.see(Candidate::Id(id.to_owned()), record, at);
        }
    }

    fn see(&mut self, candidate: Candidate, record: &Value, at: u64) {
        if self.found.len() >= CANDIDATES && !self.found.contains_key(&candidate) {
            return;
        }
        let seen = self
            .found
            .entry(candidate)
            .or_insert_with(|| Seen { time: (at, at), ..Seen::default() });
        seen.take(&Seen {
            time: (at, at),
            records: 1,
            ids: Some(text(record, "container.id").to_owned())
                .filter(|id| !id.is_empty())
                .into_iter()
                .collect(),
            name: text(record, "container.name").to_owned(),
            user: text(record, "user.name").to_owned(),
        });
    }

    /// The one who is meant.
    pub fn one(mut self) -> Result<Scope, WhoError> {
        self.join();
        let mut found: Vec<_> = self.found.into_iter().collect();
        let word = self.who.word;
        match (found.pop(), found.is_empty()) {
            (None, _) => Err(WhoError::Nobody(word)),
            (Some((candidate, seen)), true) => Ok(Scope { candidate, seen }),
            (Some(last), false) => {
                found.push(last);
                // Containers of one name are asked for by their ids.
                let by_id = |(candidate, seen): (Candidate, Seen)| match candidate {
                    Candidate::Container { .. } => {
                        let id = seen.ids.first().cloned().map(Candidate::Id);
                        (id.unwrap_or(candidate), seen)
                    }
                    _ => (candidate, seen),
                };
                let candidates = found.into_iter().map(by_id).collect();
                Err(WhoError::Ambiguous { word, candidates })
            }
        }
    }

    /// Makes one of those that are the same: a user's container that is called as the user, and a
    /// container of which some records do not say whose it is.
    fn join(&mut self) {
        let user = self.who.as_kind(Kind::User).map(str::to_owned);
        let everything = user.and_then(|user| {
            let seen = self.found.get(&Candidate::User(user.clone()))?.ids.clone();
            Some((user, seen))
        });
        if let Some((user, ids)) = everything {
            self.found.retain(|candidate, seen| match candidate {
                Candidate::User(_) => true,
                Candidate::Server { user: whose, .. } => *whose != user,
                Candidate::Container { user: whose, .. } => {
                    *whose != user && !(whose.is_empty() && seen.ids.is_subset(&ids))
                }
                Candidate::Id(id) => !ids.contains(id),
            });
        }
        let named: BTreeSet<String> = self
            .found
            .iter()
            .filter(|(candidate, _)| matches!(candidate, Candidate::Container { .. }))
            .flat_map(|(_, seen)| seen.ids.iter().cloned())
            .collect();
        self.found.retain(|candidate, _| match candidate {
            Candidate::Id(id) => !named.contains(id),
            _ => true,
        });
        let of_nobody = |candidate: &Candidate| matches!(candidate, Candidate::Container { user, .. } if user.is_empty());
        let of_somebody = |candidate: &Candidate| matches!(candidate, Candidate::Container { user, .. } if !user.is_empty());
        let somebody: Vec<_> = self.found.keys().filter(|c| of_somebody(c)).cloned().collect();
        let nobody = self.found.keys().find(|candidate| of_nobody(candidate)).cloned();
        if let ([somebody], Some(nobody)) = (&somebody[..], nobody)
            && let Some(seen) = self.found.remove(&nobody)
            && let Some(whole) = self.found.get_mut(somebody)
        {
            whole.take(&seen);
        }
    }
}

impl Seen {
    fn take(&mut self, other: &Self) {
        self.time = (self.time.0.min(other.time.0), self.time.1.max(other.time.1));
        self.records += other.records;
        if self.ids.len() < CONTAINERS {
            self.ids.extend(other.ids.iter().cloned());
        }
        for (mine, new) in [(&mut self.name, &other.name), (&mut self.user, &other.user)] {
            if mine.is_empty() {
                mine.clone_from(new);
            }
        }
    }
}

/// Whose records a story is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Who is meant.
    pub candidate: Candidate,
    /// What was seen of them.
    pub seen: Seen,
}

impl Scope {
    /// Texts of which each record of theirs has one.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        let name = match &self.candidate {
            Candidate::User(user) => Some(user),
            Candidate::Server { user, server } => Some(if user.is_empty() { server } else { user }),
            Candidate::Container { name, .. } => Some(name),
            Candidate::Id(_) => None,
        };
        name.into_iter().chain(&self.seen.ids).cloned().collect()
    }

    /// Whether a record is theirs.
    #[must_use]
    pub fn has(&self, record: &Value) -> bool {
        let (user, id) = (text(record, "user.name"), text(record, "container.id"));
        if !id.is_empty() && self.seen.ids.contains(id) {
            return true;
        }
        match &self.candidate {
            Candidate::User(wanted) => wanted == user,
            Candidate::Server { user: wanted, server } => {
                wanted == user && server == text(record, "enforcer.server")
            }
            Candidate::Container { name, user: wanted } => {
                let whose = user.is_empty() || wanted == user;
                id.is_empty() && whose && name == text(record, "container.name")
            }
            Candidate::Id(_) => false,
        }
    }
}

/// The guest's own address, where a record shows it and the guest could not have made it up.
fn own_address(record: &Value) -> Option<&str> {
    if FORGED.contains(&text(record, "event.reason")) {
        return None;
    }
    let key = if super::is_outward(record)? { "source.ip" } else { "destination.ip" };
    record[key].as_str()
}
