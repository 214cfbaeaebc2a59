//! The parts of a story, as they are written.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::{
    flows::Key,
    number,
    tally::{Sum, Top},
    text,
};

/// Addresses of one container that are listed.
const ADDRESSES: usize = 16;

/// What was asked, and who was meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// The word.
    pub word: String,
    /// Who was meant: `user:alice`, …
    pub means: String,
    /// Not before this time, RFC 3339.
    pub since: Option<String>,
    /// Not after this time.
    pub until: Option<String>,
}

/// The first of many, or those with most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed<T> {
    /// Them.
    pub items: Vec<T>,
    /// How many more there are.
    pub others: u64,
    /// There may be more than that: there was no room to tell them apart.
    pub at_least: bool,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { items: Vec::new(), others: 0, at_least: false }
    }
}

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Container {
    /// Docker's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whose.
    pub user: String,
    /// Its image.
    pub image: String,
    /// Labels that the config names.
    pub labels: BTreeMap<String, String>,
    /// Its own addresses, as its flows show them.
    pub addresses: BTreeSet<String>,
    /// Time of the first record about it.
    pub first: String,
    /// Time of the last.
    pub last: String,
}

impl Container {
    pub(super) fn new(record: &Value) -> Self {
        let mut container =
            Self { first: text(record, "@timestamp").to_owned(), ..Self::default() };
        container.take(record);
        container
    }

    /// Takes in a record about it.
    pub(super) fn take(&mut self, record: &Value) {
        for (mine, key) in [
            (&mut self.id, "container.id"),
            (&mut self.name, "container.name"),
            (&mut self.user, "user.name"),
            (&mut self.image, "container.image.name"),
        ] {
            if mine.is_empty() {
                text(record, key).clone_into(mine);
            }
        }
        if self.labels.is_empty()
            && let Some(labels) = record["container.labels"].as_object()
        {
            let label =
                |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
            self.labels = labels.iter().filter_map(label).collect();
        }
        if text(record, "event.action").starts_with("flow_")
            && let Some(outward) = super::is_outward(record)
        {
            let own = text(record, if outward { "source.ip" } else { "destination.ip" });
            let is_new = !own.is_empty() && !self.addresses.contains(own);
            if is_new && self.addresses.len() < ADDRESSES {
                self.addresses.insert(own.to_owned());
            }
        }
        text(record, "@timestamp").clone_into(&mut self.last);
    }
}

/// Something that became of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// When.
    pub time: String,
    /// Name of the container, or the first digits of its id.
    pub container: String,
    /// What: `policed`, `container die`, …
    pub what: String,
}

impl Moment {
    pub(super) fn of(record: &Value) -> Self {
        Self {
            time: text(record, "@timestamp").to_owned(),
            container: match text(record, "container.name") {
                "" => text(record, "container.id").chars().take(12).collect(),
                name => name.to_owned(),
            },
            what: what(record),
        }
    }
}

/// An end that was talked to, or tried to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Its address; empty for what others come to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// The port that was asked for: its own, or the guest's where it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u64>,
    /// IP protocol number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u64>,
    /// Flows.
    pub flows: u64,
    /// Denials that were recorded.
    pub denied: u64,
    /// Packets that the guest sent, in flows that ended.
    pub packets_out: u64,
    /// Packets that the guest got.
    pub packets_in: u64,
    /// Bytes that the guest sent.
    pub bytes_out: u64,
    /// Bytes that the guest got.
    pub bytes_in: u64,
    /// Time of the first record.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub first: String,
    /// Time of the last.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last: String,
}

impl Place {
    pub(super) fn of(record: &Value) -> Self {
        let time = text(record, "@timestamp").to_owned();
        // A flow whose beginning was not told began earlier than its record.
        let start = record["event.start"].as_str().map_or_else(|| time.clone(), str::to_owned);
        Self { first: start, last: time, ..Self::default() }
    }
}

impl Sum for Place {
    fn add(&mut self, other: &Self) {
        self.flows += other.flows;
        self.denied += other.denied;
        self.packets_out += other.packets_out;
        self.packets_in += other.packets_in;
        self.bytes_out += other.bytes_out;
        self.bytes_in += other.bytes_in;
        span((&mut self.first, &mut self.last), (&other.first, &other.last));
    }

    fn weight(&self) -> (u64, u64) {
        (self.bytes_out + self.bytes_in, self.flows + self.denied)
    }
}

/// Times of one form and zone, of which the earlier is the lesser text.
fn span((first, last): (&mut String, &mut String), (from, to): (&str, &str)) {
    if first.is_empty() || from < first.as_str() {
        from.clone_into(first);
    }
    if to > last.as_str() {
        to.clone_into(last);
    }
}

/// Those with most bytes, and what the others come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Places {
    /// Them.
    pub items: Vec<Place>,
    /// How many more there are.
    pub others: u64,
    /// There are more than that: there was no room to tell them apart.
    pub at_least: bool,
    /// What the others come to.
    pub rest: Place,
}

impl Places {
    pub(super) fn of(top: Top<Key, Place>) -> Self {
        let place = |(key, place): (Key, Place)| Place {
            address: key.address,
            port: key.port,
            protocol: key.protocol,
            ..place
        };
        let Top { first, others, at_least, rest } = top;
        Self { items: first.into_iter().map(place).collect(), others, at_least, rest }
    }
}

/// How much in all. Bytes and packets are of flows that ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Flows that guests opened.
    pub flows_out: u64,
    /// Flows that others opened.
    pub flows_in: u64,
    /// Of these, whose end is not told yet.
    pub open: u64,
    /// Of these, which only audit mode let through.
    pub audited: u64,
    /// Packets that guests sent.
    pub packets_out: u64,
    /// Packets that guests got.
    pub packets_in: u64,
    /// Bytes that guests sent.
    pub bytes_out: u64,
    /// Bytes that guests got.
    pub bytes_in: u64,
}

impl Totals {
    pub(super) const fn take(&mut self, place: &Place, outward: bool) {
        *(if outward { &mut self.flows_out } else { &mut self.flows_in }) += place.flows;
        self.packets_out += place.packets_out;
        self.packets_in += place.packets_in;
        self.bytes_out += place.bytes_out;
        self.bytes_in += place.bytes_in;
    }
}

/// Denials for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Denied {
    /// The reason.
    pub reason: String,
    /// Frames that have a record.
    pub records: u64,
    /// Calls that were refused before there was a packet.
    pub refused: u64,
    /// Frames that have none, by why not.
    pub lost: BTreeMap<String, u64>,
}

impl Denied {
    /// All of them.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.records + self.refused + self.lost.values().sum::<u64>()
    }
}

/// Records that were not written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// What they would have told: `flow_opened`, …
    pub what: String,
    /// Why they were not written.
    pub cause: String,
    /// How many.
    pub count: u64,
}

/// Something that happened so many times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// What.
    pub what: String,
    /// More about it.
    pub detail: String,
    /// How many times.
    pub count: u64,
    /// The first time.
    pub first: String,
    /// The last time.
    pub last: String,
}

/// How many times, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    times: u64,
    first: String,
    last: String,
}

impl Count {
    pub(super) fn of(record: &Value) -> Self {
        let time = text(record, "@timestamp").to_owned();
        Self { times: 1, first: time.clone(), last: time }
    }
}

impl Sum for Count {
    fn add(&mut self, other: &Self) {
        self.times += other.times;
        span((&mut self.first, &mut self.last), (&other.first, &other.last));
    }

    fn weight(&self) -> (u64, u64) {
        (self.times, 0)
    }
}

impl Listed<Counted> {
    pub(super) fn of(top: Top<(String, String), Count>) -> Self {
        let counted = |((what, detail), of): ((String, String), Count)| Counted {
            what,
            detail,
            count: of.times,
            first: of.first,
            last: of.last,
        };
        let Top { first, others, at_least, .. } = top;
        Self { items: first.into_iter().map(counted).collect(), others, at_least }
    }
}

/// What a record of any kind tells, in a few words.
pub(super) fn what(record: &Value) -> String {
    const KEYS: [&str; 14] = [
        "enforcer.event",
        "enforcer.why",
        "enforcer.what",
        "enforcer.call",
        "dns.question.type",
        "dns.question.name",
        "http.request.method",
        "url.path",
        "enforcer.to",
        "enforcer.action",
        "enforcer.verdict",
        "enforcer.abuse",
        "enforcer.answer",
        "enforcer.outcome",
    ];
    let mut words: Vec<String> = KEYS
        .iter()
        .map(|key| text(record, key))
        .filter(|t| !t.is_empty())
        .map(str::to_owned)
        .collect();
    if !record["process.exit_code"].is_null() {
        words.push(format!("exit code {}", record["process.exit_code"]));
    }
    if !record["enforcer.signal"].is_null() {
        words.push(format!("signal {}", number(record, "enforcer.signal")));
    }
    words.join(" ")
}
