//! One guest's, server's or user's whole story, made of their records. Pure, and of bounded size: what
//! there is no room for is summed up, and said to be. It reads records of any version: a field that is
//! missing says nothing, and an action that it does not know is counted under its name.

mod flows;
mod parts;
mod tally;
mod who;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use self::{flows::Open, parts::Count, tally::Tally};
pub use self::{
    parts::{Asked, Container, Counted, Denied, Listed, Lost, Moment, Place, Places, Totals},
    who::{Candidate, Candidates, Scope, Who, WhoError},
};

/// Version of the document.
pub const VERSION: u32 = 1;

/// Destinations, and peers, that are told apart.
const PLACES: usize = 16_384;
/// Commands and other actions that are told apart.
const ACTIONS: usize = 4096;
/// Comings and goings that are listed.
const MOMENTS: usize = 1000;
/// Containers that are listed.
const CONTAINERS: usize = 1000;
/// Names of each kind that are listed.
const NAMES: usize = 64;

/// The story. The JSON of `enforcer audit report`: fields are added, never renamed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Story {
    /// [`VERSION`].
    pub v: u32,
    /// What was asked, and who was meant.
    pub asked: Asked,
    /// Records that it is made of.
    pub records: u64,
    /// Time of the first, RFC 3339.
    pub first: String,
    /// Time of the last.
    pub last: String,
    /// Users.
    pub users: BTreeSet<String>,
    /// Their groups.
    pub groups: BTreeSet<String>,
    /// Their servers.
    pub servers: BTreeSet<String>,
    /// Guest networks.
    pub networks: BTreeSet<String>,
    /// Containers, in the order in which they are met.
    pub containers: Listed<Container>,
    /// When containers came and went.
    pub life: Listed<Moment>,
    /// Where to: flows that a guest opened, or tried to.
    pub to: Places,
    /// From where: flows that others opened to a guest, or tried to.
    pub from: Places,
    /// How much in all.
    pub totals: Totals,
    /// Denials by reason.
    pub denied: Vec<Denied>,
    /// Records about them that were not written, by what they would have told.
    pub lost: Vec<Lost>,
    /// Programs that were run.
    pub commands: Listed<Counted>,
    /// Everything else, by what it was.
    pub other: Listed<Counted>,
    /// Records of that time, of anybody, that are missing in the store.
    pub gaps: u64,
    /// Records of that time that were lost and name nobody.
    pub lost_of_nobody: u64,
    /// What may be missing from the beginning: the oldest record that is kept, if older ones were
    /// deleted.
    pub kept_since: Option<String>,
}

/// A story that is being made.
#[derive(Debug)]
pub struct Teller {
    scope: Scope,
    story: Story,
    containers: BTreeMap<String, usize>,
    to: Tally<flows::Key, Place>,
    from: Tally<flows::Key, Place>,
    open: Open,
    /// By reason: records, refused calls, lost records by cause.
    denied: BTreeMap<String, Denied>,
    lost: BTreeMap<(String, String), u64>,
    commands: Tally<(String, String), Count>,
    other: Tally<(String, String), Count>,
}

impl Teller {
    /// A story of those in `scope`.
    #[must_use]
    pub fn new(asked: Asked, scope: Scope) -> Self {
        Self {
            scope,
            story: Story { v: VERSION, asked, ..Story::default() },
            containers: BTreeMap::new(),
            to: Tally::new(PLACES),
            from: Tally::new(PLACES),
            open: Open::default(),
            denied: BTreeMap::new(),
            lost: BTreeMap::new(),
            commands: Tally::new(ACTIONS),
            other: Tally::new(ACTIONS),
        }
    }

    /// Takes in the next record, made at `at` microseconds since 1970.
    pub fn take(&mut self, record: &Value, at: u64) {
        let action = text(record, "event.action");
        let (first, last) = self.scope.seen.time;
        let is_meanwhile = (first..=last).contains(&at);
        if action == "gap" {
            self.story.gaps += if is_meanwhile { number(record, "enforcer.count") } else { 0 };
            return;
        }
        if !self.scope.has(record) {
            let is_of_nobody = text(record, "container.id").is_empty()
                && text(record, "container.name").is_empty()
                && text(record, "network.name").is_empty();
            if action == "loss" && is_of_nobody && is_meanwhile {
                self.story.lost_of_nobody += number(record, "enforcer.count");
            }
            return;
        }
        self.introduce(record);
        match action {
            "flow_opened" | "flow_closed" => self.flow(record, action == "flow_closed"),
            "denied" => self.denial(record, false),
            "connect_refused" => self.denial(record, true),
            "loss" => self.loss(record),
            "guest" | "docker" | "outside" | "abuse" => self.moment(record),
            "exec" => {
                let program = text(record, "process.executable");
                let user = text(record, "process.user.id");
                let who = if user.is_empty() { String::new() } else { format!("uid {user}") };
                self.commands.add((program.to_owned(), who), &Count::of(record));
            }
            other => {
                self.other.add((other.to_owned(), parts::what(record)), &Count::of(record));
            }
        }
    }

    /// The story so far, with the `top` most of each list.
    #[must_use]
    pub fn finish(self, top: usize) -> Story {
        let mut story = self.story;
        story.to = Places::of(self.to.top(top));
        story.from = Places::of(self.from.top(top));
        story.totals.open = self.open.count();
        story.denied = self.denied.into_values().collect();
        story.denied.sort_by_key(|denied| std::cmp::Reverse(denied.count()));
        let lost = |((what, cause), count)| Lost { what, cause, count };
        story.lost = self.lost.into_iter().map(lost).collect();
        story.commands = Listed::of(self.commands.top(top));
        story.other = Listed::of(self.other.top(top));
        story
    }

    /// Who it was, and when.
    fn introduce(&mut self, record: &Value) {
        let story = &mut self.story;
        let time = text(record, "@timestamp");
        story.records += 1;
        if story.first.is_empty() {
            time.clone_into(&mut story.first);
        }
        time.clone_into(&mut story.last);
        for (names, key) in [
            (&mut story.users, "user.name"),
            (&mut story.groups, "user.group.name"),
            (&mut story.servers, "enforcer.server"),
            (&mut story.networks, "network.name"),
        ] {
            let name = text(record, key);
            if !name.is_empty() && names.len() < NAMES && !names.contains(name) {
                names.insert(name.to_owned());
            }
        }
        let (id, name) = (text(record, "container.id"), text(record, "container.name"));
        let key = if id.is_empty() { name } else { id };
        if key.is_empty() {
            return;
        }
        if let Some(place) = self.containers.get(key) {
            if let Some(container) = story.containers.items.get_mut(*place) {
                container.take(record);
            }
        } else if self.containers.len() < CONTAINERS {
            self.containers.insert(key.to_owned(), story.containers.items.len());
            story.containers.items.push(Container::new(record));
        } else {
            story.containers.at_least = true;
            story.containers.others = 1;
        }
    }

    fn flow(&mut self, record: &Value, is_end: bool) {
        let Some(outward) = is_outward(record) else { return };
        let mut place = Place::of(record);
        place.flows =
            u64::from(if is_end { self.open.close(record) } else { self.open.open(record) });
        if is_end {
            let [forth, back] = ["source", "destination"].map(|side| {
                let number = |what: &str| number(record, &format!("{side}.{what}"));
                (number("packets"), number("bytes"))
            });
            let (out, inward) = if outward { (forth, back) } else { (back, forth) };
            (place.packets_out, place.bytes_out) = out;
            (place.packets_in, place.bytes_in) = inward;
        }
        self.story.totals.take(&place, outward);
        if !text(record, "enforcer.would_deny").is_empty() {
            self.story.totals.audited += place.flows;
        }
        self.place(record, outward, &place);
    }

    fn denial(&mut self, record: &Value, is_call: bool) {
        let denied = self.reason(text(record, "event.reason"));
        *(if is_call { &mut denied.refused } else { &mut denied.records }) += 1;
        let Some(outward) = is_outward(record) else { return };
        let place = Place { denied: 1, ..Place::of(record) };
        self.story.totals.take(&place, outward);
        self.place(record, outward, &place);
    }

    fn place(&mut self, record: &Value, outward: bool, place: &Place) {
        let Some(key) = flows::Key::of(record, outward) else { return };
        let places = if outward { &mut self.to } else { &mut self.from };
        places.add(key, place);
    }

    fn loss(&mut self, record: &Value) {
        let reason = text(record, "event.reason");
        let cause = text(record, "enforcer.cause").to_owned();
        let count = number(record, "enforcer.count");
        if matches!(
            reason,
            "flow_opened" | "flow_closed" | "exec" | "connect_refused" | "socket_refused"
        ) || reason.starts_with("dns_")
        {
            *self.lost.entry((reason.to_owned(), cause)).or_default() += count;
        } else {
            *self.reason(reason).lost.entry(cause).or_default() += count;
        }
    }

    fn reason(&mut self, reason: &str) -> &mut Denied {
        let new = || Denied { reason: reason.to_owned(), ..Denied::default() };
        self.denied.entry(reason.to_owned()).or_insert_with(new)
    }

    fn moment(&mut self, record: &Value) {
        let life = &mut self.story.life;
        if life.items.len() < MOMENTS {
            life.items.push(Moment::of(record));
        } else {
            life.others += 1;
        }
    }
}

/// Whether a record is about something that the guest itself began; none: the record does not say.
fn is_outward(record: &Value) -> Option<bool> {
    if let Some(opener) = record["enforcer.opener"].as_str() {
        return Some(opener == "guest");
    }
    match text(record, "enforcer.hook") {
        "from_guest" => Some(true),
        "to_guest" => Some(false),
        "" => (!text(record, "enforcer.call").is_empty()).then_some(true),
        _ => None,
    }
}

/// A text of a record; empty if it has none.
fn text<'a>(record: &'a Value, key: &str) -> &'a str {
    record[key].as_str().unwrap_or_default()
}

/// A number of a record; 0 if it has none.
fn number(record: &Value, key: &str) -> u64 {
    record[key].as_u64().unwrap_or(0)
}
