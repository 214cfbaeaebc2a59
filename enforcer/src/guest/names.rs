//! What guests and their volumes are called, and the labels by which they are known again. Pure.
//!
//! A name has a part for people and a digest of hub, user and server, each with its length before it: no two of
//! them give one name, whatever is in them. Labels alone prove nothing, since an image can bring any; a container is
//! a guest of enforcer's only if its name is the one that its labels give.

use std::collections::BTreeMap;

use crate::{
    access::{
        grant::{Kind, Socket},
        name::{HubName, User},
    },
    digest,
};

/// The user for whom a container or volume is.
pub const USER: &str = "enforcer.user";
/// Group whose policy a guest has.
pub const GROUP: &str = "enforcer.group";
/// The user's server, where a user has several.
pub const SERVER: &str = "enforcer.server";
/// The user's hub.
pub const HUB: &str = "enforcer.hub";
/// It is a guest, whatever network it is on.
pub const GUEST: &str = "enforcer.guest";
/// Enforcer made it.
pub const MANAGED: &str = "enforcer.managed";
/// The socket that a guest was made with.
pub const SOCKET: &str = "enforcer.socket";
/// The order that it was made for, as JSON.
pub const ORDER: &str = "enforcer.order";
/// Volumes that were made with the guest, for the case that it never runs.
pub const NEW_VOLUMES: &str = "enforcer.new_volumes";
/// What a volume is for.
pub const VOLUME: &str = "enforcer.volume";
/// What all labels of enforcer begin with.
pub const PREFIX: &str = "enforcer.";

/// What is put behind the name of a guest that another takes the place of.
const BEFORE: &str = ".before";
/// Characters of a name that are for people.
const SHOWN: usize = 24;
/// Digits of the digest: 80 bits.
const DIGITS: usize = 20;

/// One of a user's servers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seat {
    /// Whose.
    pub user: User,
    /// Which one; the default one is empty.
    pub server: String,
}

impl Seat {
    /// The container's name.
    #[must_use]
    pub fn container(&self) -> String {
        let User { hub, name } = &self.user;
        let parts = ["guest", hub.as_str(), name.as_str(), &self.server];
        format!("guest-{hub}-{}-{}", shown(&[name.as_str(), &self.server]), digest(&parts))
    }

    /// The name that it has while another takes its place.
    #[must_use]
    pub fn container_before(&self) -> String {
        self.container() + BEFORE
    }

    /// For people.
    #[must_use]
    pub fn described(&self) -> String {
        if self.server.is_empty() {
            return self.user.to_string();
        }
        format!("{}, server {}", self.user, self.server)
    }
}

/// What a volume is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Use {
    /// What the user keeps.
    Home,
    /// What the user works on.
    Workspace,
    /// What can be made anew.
    Cache,
}

impl Use {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Home, Self::Workspace, Self::Cache];

    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::Workspace => "workspace",
            Self::Cache => "cache",
        }
    }

    /// The use that is called so.
    #[must_use]
    pub fn from_name(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == text)
    }
}

/// Name of a user's volume.
#[must_use]
pub fn volume(user: &User, of: Use) -> String {
    let parts = ["volume", user.hub.as_str(), user.name.as_str(), of.name()];
    let shown = shown(&[user.name.as_str()]);
    format!("{}-{}-{shown}-{}", of.name(), user.hub, digest(&parts))
}

/// Labels of a user's volume.
#[must_use]
pub fn volume_labels(user: &User, of: Use) -> BTreeMap<String, String> {
    let labels = [
        (MANAGED, "true"),
        (HUB, user.hub.as_str()),
        (USER, user.name.as_str()),
        (VOLUME, of.name()),
    ];
    labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// A guest of enforcer's, as its name and labels tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Whose it is.
    pub seat: Seat,
    /// Whether another one takes its place, or failed to.
    pub is_before: bool,
    /// The socket that it was made with.
    pub socket: Option<Socket>,
    /// Volumes that were made with it.
    pub new_volumes: Vec<Use>,
}

/// Reads a container's name, without the engine's slash, and labels. `None`: enforcer did not make it.
#[must_use]
pub fn known(name: &str, labels: &BTreeMap<String, String>) -> Option<Known> {
    let label = |key| labels.get(key).map(String::as_str);
    label(MANAGED).filter(|value| *value == "true")?;
    let hub: HubName = label(HUB)?.parse().ok()?;
    let user = User { hub, name: label(USER)?.parse().ok()? };
    let seat = Seat { user, server: label(SERVER).unwrap_or_default().to_owned() };
    let is_before = name == seat.container_before();
    if !is_before && name != seat.container() {
        return None;
    }
    let socket = label(SOCKET).and_then(|kind| kind.parse().ok()).and_then(Kind::socket);
    let new_volumes = label(NEW_VOLUMES).unwrap_or_default();
    let new_volumes = new_volumes.split(',').filter_map(Use::from_name).collect();
    Some(Known { seat, is_before, socket, new_volumes })
}

/// Of parts with their lengths: where one ends is never in doubt.
fn digest(parts: &[&str]) -> String {
    let parts: Vec<String> = parts.iter().map(|part| format!("{}:{part}", part.len())).collect();
    digest::of_text(&parts.concat()).chars().take(DIGITS).collect()
}

/// What people see of names: plain letters and digits of theirs.
fn shown(names: &[&str]) -> String {
    let plain = |character: char| match character.to_ascii_lowercase() {
        plain @ ('a'..='z' | '0'..='9') => plain,
        _ => '-',
    };
    let all: Vec<String> = names
        .iter()
        .map(|name| name.chars().map(plain).collect::<String>().trim_matches('-').to_owned())
        .filter(|name| !name.is_empty())
        .collect();
    let all: String = all.join("-").chars().take(SHOWN).collect();
    let all = all.trim_matches('-');
    if all.is_empty() { "user".to_owned() } else { all.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn user(hub: &str, name: &str) -> User {
        User { hub: hub.parse().expect("a hub"), name: name.parse().expect("a user") }
    }

    fn seat(hub: &str, name: &str, server: &str) -> Seat {
        Seat { user: user(hub, name), server: server.to_owned() }
    }

    fn labels(seat: &Seat) -> BTreeMap<String, String> {
        let User { hub, name } = &seat.user;
        let labels = [
            (MANAGED, "true"),
            (HUB, hub.as_str()),
            (USER, name.as_str()),
            (SERVER, &seat.server),
            (SOCKET, "raw"),
            (NEW_VOLUMES, "home,cache"),
        ];
        labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn s3_names_that_read_alike_are_of_different_things() {
        let all = [
            seat("lab", "alice", ""),
            seat("course", "alice", ""),
            seat("local", "alice", ""),
            seat("lab", "alice", "alice"),
            seat("lab", "alice-alice", ""),
            seat("a-b", "c", ""),
            seat("a", "b-c", ""),
            seat("a", "b", "c"),
            seat("a", "b.c", ""),
            seat("a", "b_c", ""),
            seat("a", "B-c", ""),
        ];
        let names: BTreeSet<String> = all.iter().map(Seat::container).collect();
        assert_eq!(names.len(), all.len());
        let users: BTreeSet<&User> = all.iter().map(|seat| &seat.user).collect();
        let volumes: BTreeSet<String> =
            users.iter().flat_map(|user| Use::ALL.map(|of| volume(user, of))).collect();
        assert_eq!(volumes.len(), 3 * users.len());
        // A volume is found again by its name: it is the same tomorrow.
        let digest = digest::of_text("5:guest3:lab5:alice0:");
        let digest = digest.split_at(DIGITS).0;
        assert_eq!(all[0].container(), format!("guest-lab-alice-{digest}"));
    }

    #[test]
    fn s3_a_container_is_one_of_ours_only_by_the_name_that_its_labels_give() {
        let one = seat("lab", "alice", "two");
        let found = known(&one.container(), &labels(&one)).expect("ours");
        assert_eq!((&found.seat, found.is_before), (&one, false));
        assert_eq!(found.socket, Some(Socket::Raw));
        assert_eq!(found.new_volumes, [Use::Home, Use::Cache]);
        assert!(known(&one.container_before(), &labels(&one)).expect("ours").is_before);
        // An image may say all of this, but the engine names a container as whoever made it asks.
        assert_eq!(known("jupyter-mallory", &labels(&one)), None);
        assert_eq!(known(&seat("lab", "bob", "two").container(), &labels(&one)), None);
        for missing in [MANAGED, HUB, USER] {
            let mut fewer = labels(&one);
            fewer.remove(missing);
            assert_eq!(known(&one.container(), &fewer), None, "{missing}");
        }
        let mut bad = labels(&one);
        bad.insert(USER.to_owned(), "a/b".to_owned());
        assert_eq!(known(&one.container(), &bad), None);
    }

    proptest! {
        #[test]
        fn s3_every_user_has_names_that_an_engine_takes(
            name in "\\PC{1,60}", server in "\\PC{0,40}", other in "\\PC{1,20}",
        ) {
            let Ok(name) = name.parse() else { return Ok(()) };
            let user = User { hub: "x".repeat(32).parse().expect("a hub"), name };
            let seat = Seat { user: user.clone(), server };
            for name in [seat.container_before(), volume(&user, Use::Workspace)] {
                let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
                prop_assert!(name.len() < 128 && name.bytes().all(is_plain), "{}", name);
            }
            let elsewhere = Seat { server: format!("{}{other}", seat.server), ..seat.clone() };
            prop_assert_ne!(seat.container(), elsewhere.container());
        }
    }
}
