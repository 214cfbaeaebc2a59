//! Audit path, between queue and stream: pseudonyms in the place of names that name a person. Every record
//! passes here before it has a line, so no sink gets a name. Guests' addresses, ids, networks, groups and images
//! stay: see ADR 9.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use super::{
    record::{AccessChange, Body, GateCall, Subject},
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
            let (id, of) = (life.container_id.clone(), life.user.clone());
            let mut replaced =
                container(book, &mut life.container, id.as_deref(), of.as_deref(), now);
            let mut put = |kind, name: &mut Option<String>, scope: &str, of: Option<&str>| {
                let Some(name) = name else { return };
                let pseudonym = book.pseudonym((kind, name), scope, of, now).to_owned();
                replaced.push((std::mem::replace(name, pseudonym.clone()), pseudonym));
            };
            put(Kind::User, &mut life.user, "", None);
            let scope = of.as_deref().unwrap_or_default();
            put(Kind::Server, &mut life.server, scope, of.as_deref());
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

/// The user whose socket it is, also in what was asked: containers and volumes are called as their owner.
fn gate(book: &mut Book, call: &mut GateCall, now: SystemTime) {
    let Some(user) = &mut call.user else { return };
    let pseudonym = book.pseudonym((Kind::User, user), "", None, now).to_owned();
    let replaced = vec![(std::mem::replace(user, pseudonym.clone()), pseudonym)];
    let said = [&mut call.path, &mut call.query, &mut call.request, &mut call.why];
    for text in said.into_iter().flatten() {
        scrub(text, &replaced);
    }
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
mod tests {
    use super::*;
    use crate::audit::{
        record::{Exec, GroupChange, Life, Outside, Process, Traffic},
        store::PREFIX,
    };

    fn body(role: &str) -> Body {
        Body::Denied(Box::new(Traffic {
            subject: Subject {
                user: Some("alice".to_owned()),
                group: Some("course".to_owned()),
                server: Some("alices-own".to_owned()),
                hub: Some("lab".to_owned()),
                groups: vec!["staff".to_owned()],
                client: Some("alice.example.org".to_owned()),
                container: "jupyter-alice".to_owned(),
                container_id: Some("beef01".to_owned()),
                labels: [("mail".to_owned(), "alice@example.org".to_owned())].into(),
                role: role.to_owned(),
                ..Subject::default()
            },
            hook: String::new(),
            verdict: String::new(),
            reason: None,
            rule: None,
            would_deny: None,
            ingress_ifindex: 0,
            frame_len: 0,
            ethertype: String::new(),
            source_mac: String::new(),
            destination_mac: String::new(),
            source: Some("10.0.0.2".to_owned()),
            destination: None,
            protocol: None,
            source_port: None,
            destination_port: None,
            tcp_flags: None,
        }))
    }

    #[test]
    fn whatever_names_a_person_becomes_a_pseudonym_and_the_rest_stays() {
        let mut book = Book::unkept().expect("random");
        let (now, mut guest) = (SystemTime::now(), body("guest"));
        conceal(&mut book, &mut guest, now);
        let line = serde_json::to_string(&guest).expect("serialises");
        assert!(!line.contains("alice"), "{line}");
        for kept in ["course", "beef01", "10.0.0.2", "\"mail\"", "\"lab\"", "\"staff\""] {
            assert!(line.contains(kept), "{kept}: {line}");
        }
        let mut again = body("guest");
        conceal(&mut book, &mut again, now);
        assert_eq!(again, guest, "one name, one pseudonym");
        let names: Vec<_> = book.rows().iter().map(|row| row.name.as_str()).collect();
        let all =
            ["alice", "jupyter-alice", "alices-own", "alice.example.org", "alice@example.org"];
        assert_eq!(names, all);
        let user = book.rows()[0].pseudonym.clone();
        assert!(book.rows().iter().all(|row| row.goes_with(&user)), "{:?}", book.rows());
        let mut hub = body("hub");
        conceal(&mut book, &mut hub, now);
        assert_eq!(hub, body("hub"), "a hub is nobody");
    }

    #[test]
    fn a_path_that_has_the_user_s_name_has_the_pseudonym() {
        let mut book = Book::unkept().expect("random");
        let subject = Subject { user: Some("alice".to_owned()), ..Subject::default() };
        let mut body = Body::Exec(Box::new(Exec {
            subject: Subject { role: "guest".to_owned(), ..subject },
            executable: "/home/alice/bin/malice".to_owned(),
            process: Process { name: "run-alice".to_owned(), ..Process::default() },
            cut: false,
        }));
        conceal(&mut book, &mut body, SystemTime::now());
        let Body::Exec(exec) = &body else { panic!("{body:?}") };
        let user = exec.subject.user.as_deref().expect("a user");
        assert_eq!(exec.executable, format!("/home/{user}/bin/malice"));
        assert_eq!(exec.process.name, format!("run-{user}"));
    }

    #[test]
    fn s1_a_change_of_a_group_names_who_made_it_and_not_whom_it_is_about() {
        let mut book = Book::unkept().expect("random");
        let about = AccessChange {
            hub: "lab".to_owned(),
            group: Some("staff".to_owned()),
            user: Some("alice".to_owned()),
            by_name: "root".to_owned(),
            why: Some("alice asked; malice did not".to_owned()),
            error: "no user alice".to_owned(),
            ..AccessChange::default()
        };
        let life = Life {
            user: Some("alice".to_owned()),
            server: Some("thesis".to_owned()),
            container: "guest-lab-alice-0".to_owned(),
            error: "volume of alice is in use".to_owned(),
            ..Life::default()
        };
        let mut body = Body::Life(Box::new(life));
        conceal(&mut book, &mut body, SystemTime::UNIX_EPOCH);
        let told = serde_json::to_string(&body).expect("JSON");
        assert!(!told.contains("alice") && !told.contains("thesis"), "{told}");

        let mut body = Body::Group(Box::new(GroupChange { event: "added".to_owned(), about }));
        conceal(&mut book, &mut body, SystemTime::now());
        let Body::Group(change) = &body else { panic!("{body:?}") };
        let user = change.about.user.clone().expect("a user");
        assert!(user.starts_with(PREFIX));
        assert_eq!(change.about.why, Some(format!("{user} asked; malice did not")));
        assert_eq!(change.about.error, format!("no user {user}"));
        assert_eq!((change.about.by_name.as_str(), change.about.hub.as_str()), ("root", "lab"));
        // The same person as in a record about packets.
        let mut guest = self::body("guest");
        conceal(&mut book, &mut guest, SystemTime::now());
        assert_eq!(guest.subject().and_then(|subject| subject.user.clone()), Some(user));
    }

    #[test]
    fn a_way_out_names_neither_container() {
        let mut book = Book::unkept().expect("random");
        for to in ["guest jupyter-ben", "jupyter-ben", "hub hub"] {
            let mut body = Body::Outside(Outside {
                container_id: Some("beef01".to_owned()),
                container: "jupyter-alice".to_owned(),
                why: "container_namespace".to_owned(),
                to: to.to_owned(),
                error: "cannot kill jupyter-alice: it has jupyter-alice2".to_owned(),
                ..Outside::default()
            });
            conceal(&mut book, &mut body, SystemTime::now());
            let Body::Outside(outside) = &body else { panic!("{body:?}") };
            assert!(
                outside.container.starts_with(PREFIX) && !outside.to.contains("ben"),
                "{body:?}"
            );
            assert_eq!(outside.to == "hub hub", to == "hub hub");
            let error = format!("cannot kill {}: it has jupyter-alice2", outside.container);
            assert_eq!(outside.error, error, "whole words");
        }
    }
}
