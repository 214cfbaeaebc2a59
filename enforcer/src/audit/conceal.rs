//! Audit path, between queue and stream: pseudonyms in the place of names that name a person. Every record
//! passes here before it has a line, so no sink gets a name. Guests' addresses, ids, networks, groups and images
//! stay: see ADR 9.

use std::{
    borrow::Cow,
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use serde_json::Value;

use super::{
    record::{About, AccessChange, Body, GateCall, Subject},
    store::{Book, Kind},
};

/// Shorter names are not looked for within other texts: too much would be one by chance.
const LEAST: usize = 3;

/// Who conceals, or nobody.
#[derive(Clone, Debug, Default)]
pub struct Conceal(Option<Arc<Mutex<Book>>>);

impl Conceal {
    /// Names become what the book has for them.
    #[must_use]
    pub const fn by(book: Arc<Mutex<Book>>) -> Self {
        Self(Some(book))
    }

    /// Puts pseudonyms into a record. When this returns they are on the disk with their names, if the
    /// disk does its part.
    pub fn conceal(&self, body: &mut Body, now: SystemTime) {
        let Some(book) = &self.0 else { return };
        let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
        conceal(&mut book, body, now);
        book.settle();
    }
}

/// A name that was replaced, and what stands for it.
type Replaced = Vec<(String, String)>;

/// One arm for each kind of record: a new kind does not compile until somebody has thought about it.
fn conceal(book: &mut Book, body: &mut Body, now: SystemTime) {
    match body {
        Body::FlowOpened(traffic) | Body::Denied(traffic) => {
            subject(book, &mut traffic.subject, now);
        }
        Body::FlowClosed(closed) => drop(subject(book, &mut closed.subject, now)),
        Body::Loss(loss) => drop(subject(book, &mut loss.subject, now)),
        Body::Guest(guest) => drop(subject(book, &mut guest.subject, now)),
        Body::Exec(exec) => {
            let replaced = subject(book, &mut exec.subject, now);
            // A home directory is called as its owner.
            scrub(&mut exec.executable, &replaced);
            scrub(&mut exec.process.name, &replaced);
        }
        Body::ConnectRefused(refused) => {
            let replaced = subject(book, &mut refused.subject, now);
            scrub(&mut refused.process.name, &replaced);
        }
        Body::SocketRefused(refused) => {
            let replaced = subject(book, &mut refused.subject, now);
            scrub(&mut refused.process.name, &replaced);
            // A guest may have bound it, elsewhere, under any name.
            if let Some(socket) = &mut refused.socket {
                scrub(socket, &replaced);
            }
        }
        Body::DnsQuery(query) => {
            let replaced = subject(book, &mut query.subject, now);
            // A guest may put anything in a name.
            scrub(&mut query.name, &replaced);
        }
        Body::Abuse(abuse) => {
            let replaced = subject(book, &mut abuse.subject, now);
            scrub(&mut abuse.error, &replaced);
            scrub(&mut abuse.why, &replaced);
        }
        Body::Allowance(change) => {
            let replaced = subject(book, &mut change.subject, now);
            scrub(&mut change.why, &replaced);
        }
        Body::Docker(docker) => {
            let id = docker.container_id.clone();
            let replaced = container(book, &mut docker.container, id.as_deref(), None, now);
            scrub(&mut docker.event, &replaced);
        }
        Body::Unseen(unseen) => {
            let id = unseen.container_id.clone();
            let replaced = container(book, &mut unseen.container, id.as_deref(), None, now);
            scrub(&mut unseen.why, &replaced);
        }
        Body::Outside(outside) => {
            let id = outside.container_id.clone();
            let mut replaced = container(book, &mut outside.container, id.as_deref(), None, now);
            if outside.why == "container_namespace" && !outside.to.starts_with("hub ") {
                // Another container: its name alone, or behind a word.
                let (word, name) = match outside.to.strip_prefix("guest ") {
                    Some(name) => ("guest ", name),
                    None => ("", outside.to.as_str()),
                };
                let pseudonym = book.pseudonym((Kind::Container, name), "", None, now);
                let told = format!("{word}{pseudonym}");
                replaced.push((name.to_owned(), pseudonym.to_owned()));
                outside.to = told;
            }
            scrub(&mut outside.error, &replaced);
        }
        Body::Life(life) => {
            let mut named = Replaced::new();
            let mut put = |book: &mut Book, kind, name: &mut Option<String>, of: Option<&str>| {
                let Some(name) = name else { return };
                let scope = of.unwrap_or_default();
                let pseudonym = book.pseudonym((kind, name), scope, of, now).to_owned();
                named.push((std::mem::replace(name, pseudonym.clone()), pseudonym));
            };
            put(book, Kind::User, &mut life.user, None);
            // What goes with the user goes with the pseudonym, and with it when it is erased.
            let of = life.user.as_deref();
            put(book, Kind::Server, &mut life.server, of);
            let id = life.container_id.as_deref();
            let mut replaced = container(book, &mut life.container, id, of, now);
            replaced.extend(named);
            scrub(&mut life.why, &replaced);
            scrub(&mut life.error, &replaced);
        }
        Body::Group(change) => access(book, &mut change.about, now),
        Body::Grant(change) => access(book, &mut change.about, now),
        Body::Gate(call) => gate(book, call, now),
        // Nobody is named in these.
        Body::Gap(_)
        | Body::Repair(_)
        | Body::Takeover(_)
        | Body::Stored(_)
        | Body::Retention(_)
        | Body::Erased(_)
        | Body::Policy(_)
        | Body::Config(_)
        | Body::Daemon(_) => {}
    }
}

/// Names of a subject. A hub's container is the operator's, and so is a network.
fn subject(book: &mut Book, subject: &mut Subject, now: SystemTime) -> Replaced {
    if matches!(subject.role.as_str(), "hub" | "network") {
        return Replaced::new();
    }
    let mut replaced = Replaced::new();
    let mut put = |book: &mut Book, kind, name: &mut String, scope: &str, of: Option<&str>| {
        if !name.is_empty() {
            let pseudonym = book.pseudonym((kind, name), scope, of, now).to_owned();
            replaced.push((std::mem::replace(name, pseudonym.clone()), pseudonym));
        }
    };
    if let Some(user) = &mut subject.user {
        put(book, Kind::User, user, "", None);
    }
    let of = subject.user.as_deref().filter(|user| !user.is_empty());
    let id = subject.container_id.as_deref().unwrap_or_default();
    put(book, Kind::Container, &mut subject.container, id, of);
    let scope = of.unwrap_or(id);
    if let Some(server) = &mut subject.server {
        put(book, Kind::Server, server, scope, of);
    }
    if let Some(client) = &mut subject.client {
        put(book, Kind::Label, client, &format!("{scope} client"), of);
    }
    for (key, value) in &mut subject.labels {
        put(book, Kind::Label, value, &format!("{scope} {key}"), of);
    }
    replaced
}

/// The user whom a change is about. Who made it answers for it, and stays.
fn access(book: &mut Book, about: &mut AccessChange, now: SystemTime) {
    let Some(user) = &mut about.user else { return };
    let pseudonym = book.pseudonym((Kind::User, user), "", None, now).to_owned();
    let replaced = vec![(std::mem::replace(user, pseudonym.clone()), pseudonym)];
    if let Some(why) = &mut about.why {
        scrub(why, &replaced);
    }
    scrub(&mut about.error, &replaced);
}

/// The user whose socket it is, or whom a hub's request is about, also in what was asked: containers and volumes are
/// called as their owner.
fn gate(book: &mut Book, call: &mut GateCall, now: SystemTime) {
    let About { user, client, names } = std::mem::take(&mut call.about);
    let is_hub_s = call.user.is_none();
    let user = call.user.take().or(user).filter(|user| !user.is_empty());
    let own =
        user.as_deref().map(|name| book.pseudonym((Kind::User, name), "", None, now).to_owned());
    let of = own.as_deref();
    call.user = own.clone().filter(|_| !is_hub_s);
    // What is called whole, however a spawner writes its user's name in it, before the name itself.
    let scope = format!("hub {}", call.hub);
    let mut replaced = Replaced::new();
    for name in names {
        let pseudonym = book.pseudonym((Kind::Container, &name), &scope, of, now).to_owned();
        replaced.push((name, pseudonym));
    }
    if let Some(client) = client.filter(|client| !client.is_empty()) {
        let scope = format!("{} client", of.unwrap_or(&scope));
        let pseudonym = book.pseudonym((Kind::Label, &client), &scope, of, now).to_owned();
        replaced.push((client, pseudonym));
    }
    if let (Some(user), Some(own)) = (&user, &own) {
        let written = escaped(user).into_iter().filter(|_| is_hub_s);
        replaced.extend(written.chain([user.clone()]).map(|name| (name, own.clone())));
    }
    if is_hub_s {
        call.query = call.query.take().map(|query| without_filters(&query));
        call.request = call.request.take().and_then(|request| without_labels(&request));
    }
    let said = [&mut call.path, &mut call.query, &mut call.request, &mut call.why];
    for text in said.into_iter().flatten() {
        scrub(text, &replaced);
    }
}

/// A user's name as `DockerSpawner` writes it in names of containers and volumes: what Docker does not take is a dash
/// and the byte, hexadecimal, in capitals or not.
fn escaped(user: &str) -> [String; 2] {
    let mut written = String::new();
    for byte in user.bytes() {
        if byte.is_ascii_alphanumeric() {
            written.push(char::from(byte));
        } else {
            // A String takes all that it is given.
            let _ = write!(written, "-{byte:02X}");
        }
    }
    [written.to_lowercase(), written]
}

/// A query without what a hub's filters look for, which may be anybody's name.
fn without_filters(query: &str) -> String {
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some(("filters", _)) => "filters=***",
        _ => pair,
    });
    pairs.collect::<Vec<_>>().join("&")
}

/// What a hub asked for without the values of labels: spawners write there whom a thing is for. `None`: it is not
/// understood.
fn without_labels(request: &str) -> Option<String> {
    let mut request: Value = serde_json::from_str(request).ok()?;
    let labels = request.get_mut("Labels").and_then(Value::as_object_mut);
    for (_, value) in labels.into_iter().flatten() {
        *value = Value::from("***");
    }
    Some(request.to_string())
}

/// The name of a container, where no more is known of it.
fn container(
    book: &mut Book,
    name: &mut String,
    id: Option<&str>,
    of: Option<&str>,
    now: SystemTime,
) -> Replaced {
    if name.is_empty() {
        return Replaced::new();
    }
    let scope = id.unwrap_or_default();
    let pseudonym = book.pseudonym((Kind::Container, name), scope, of, now).to_owned();
    vec![(std::mem::replace(name, pseudonym.clone()), pseudonym)]
}

/// Replaces names within another text, `/home/alice/bin` for instance, where they are words of it.
fn scrub(text: &mut String, replaced: &Replaced) {
    for (name, pseudonym) in replaced.iter().filter(|(name, _)| name.chars().count() >= LEAST) {
        if let Cow::Owned(told) = with(text, name, pseudonym) {
            *text = told;
        }
    }
}

fn with<'a>(text: &'a str, name: &str, pseudonym: &str) -> Cow<'a, str> {
    let (mut told, mut end) = (String::new(), 0);
    let is_word = |character: Option<char>| character.is_some_and(char::is_alphanumeric);
    for (place, found) in text.match_indices(name) {
        let before = text.get(..place).unwrap_or_default().chars().next_back();
        let after = text.get(place + found.len()..).unwrap_or_default().chars().next();
        if !is_word(before) && !is_word(after) {
            told += text.get(end..place).unwrap_or_default();
            told += pseudonym;
            end = place + found.len();
        }
    }
    if end == 0 {
        return text.into();
    }
    told += text.get(end..).unwrap_or_default();
    told.into()
}

#[cfg(test)]
mod tests;
