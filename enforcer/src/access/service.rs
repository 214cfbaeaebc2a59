//! Groups and grants as the daemon has them: the store, the hubs that are asked instead, and the stream that hears
//! of every change. Whoever asks for a socket is judged by what is known at that moment.

mod holders;
mod lately;
mod tell;
mod tend;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Instant, SystemTime},
};

use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
};

pub use holders::Holder;
use lately::{Lately, holds, of_hub};

use super::{
    grant::{By, Grant, Kind, Note, Reason, Seconds},
    judge::{self, Answer, Grants, Memberships, Question, Why},
    jupyterhub::{JupyterHub, Unavailable},
    name::{GroupName, HubName, User, UserName},
    store::{Author, Change, Event, Store, StoreError},
};
use crate::{
    audit::record::Body,
    causes::causes,
    config::{Config, GroupsFrom},
};

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The store cannot be used at all.
    #[error("the store of groups cannot be used: {0}")]
    Closed(String),
    /// The store refused it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The hub was asked and did not say.
    #[error(transparent)]
    Hub(#[from] Unavailable),
    /// Another one keeps these groups.
    #[error("hub {0} keeps its own groups: change them on its Groups page")]
    Elsewhere(HubName),
    /// The config has no such hub.
    #[error("there is no hub \"{0}\" in the config")]
    NoHub(HubName),
    /// It did not get to an end, and nothing is known to have changed.
    #[error("the store of groups gave no answer")]
    NoAnswer,
}

/// A group as somebody is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// Its name.
    pub name: GroupName,
    /// Whether it can never be deleted.
    pub is_builtin: bool,
    /// How many members it has; `None`: its hub knows.
    pub members: Option<usize>,
    /// What its members may have.
    pub grant: Option<Grant>,
}

/// See the module. A copy is the same one.
#[derive(Clone, Debug)]
pub struct Access(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: watch::Receiver<Arc<Config>>,
    journal: mpsc::UnboundedSender<Body>,
    /// The store, or why there is none.
    store: Mutex<Result<Arc<Store>, String>>,
    /// Hubs that did not answer when they were asked last, and what happened.
    silent: Mutex<BTreeMap<HubName, String>>,
    /// What the stream got last, and when.
    told: Mutex<Option<(Instant, u64)>>,
    problems: watch::Sender<Vec<String>>,
    changes: watch::Sender<u64>,
    lately: Lately,
}

impl Access {
    /// Nothing is read yet: [`Self::tend`] opens the store.
    #[must_use]
    pub fn new(config: watch::Receiver<Arc<Config>>, journal: mpsc::UnboundedSender<Body>) -> Self {
        Self(Arc::new(Inner {
            config,
            journal,
            store: Mutex::new(Err("it is not open yet".to_owned())),
            silent: Mutex::default(),
            told: Mutex::default(),
            problems: watch::channel(Vec::new()).0,
            changes: watch::channel(0).0,
            lately: Lately::default(),
        }))
    }

    /// What is wrong, for status; empty: nothing.
    #[must_use]
    pub fn problems(&self) -> watch::Receiver<Vec<String>> {
        self.0.problems.subscribe()
    }

    /// A number that moves with every change here: whoever holds a socket open judges it again.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Groups of a hub.
    pub async fn groups(&self, hub: &HubName) -> Result<Vec<GroupView>, AccessError> {
        let config = self.config();
        let builtin = config.access.builtin_groups.clone();
        let view = |name: GroupName, members, grant| {
            let is_builtin = builtin.contains(&name);
            GroupView { name, is_builtin, members, grant }
        };
        if let Some(asked) = source(&config, hub)? {
            let (names, grants) = (asked.groups().await?, self.grants(hub).await?);
            let now = now();
            let views = names.into_iter().map(|name| {
                let grant = grants.get(&name).filter(|grant| grant.note.holds(now)).cloned();
                view(name, None, grant)
            });
            return Ok(views.collect());
        }
        let hub = hub.clone();
        let groups = self.read(move |store| store.groups(&hub, now())).await?;
        let views = groups.into_iter().map(|one| view(one.name, Some(one.members), one.grant));
        Ok(views.collect())
    }

    /// Who is in a group, and what this host knows of it.
    pub async fn members(
        &self,
        hub: &HubName,
        group: &GroupName,
    ) -> Result<Vec<(UserName, Option<Note>)>, AccessError> {
        let (hub, group) = (hub.clone(), group.clone());
        if let Some(asked) = source(&self.config(), &hub)? {
            let members = asked.members(&group).await?;
            let members = members.ok_or(StoreError::NoGroup { hub, group })?;
            return Ok(members.into_iter().map(|name| (name, None)).collect());
        }
        let members = self.read(move |store| store.members(&hub, &group, now())).await?;
        Ok(members.into_iter().map(|(name, note)| (name, Some(note))).collect())
    }

    /// Makes a group, with no members and no grant.
    pub async fn create(
        &self,
        hub: &HubName,
        group: &GroupName,
        (by, reason): (By, Reason),
    ) -> Result<(), AccessError> {
        self.own(hub)?;
        let (hub, group) = (hub.clone(), group.clone());
        let author = Author { by, reason, now: now() };
        self.change(move |store| store.create(&hub, &group, &author)).await
    }

    /// Deletes a group with its members and its grant. One that is built in stays.
    pub async fn delete(
        &self,
        hub: &HubName,
        group: &GroupName,
        (by, reason): (By, Reason),
    ) -> Result<(), AccessError> {
        let builtin = self.config().access.builtin_groups.clone();
        if builtin.contains(group) {
            return Err(StoreError::BuiltIn(group.clone()).into());
        }
        self.own(hub)?;
        let (hub, group) = (hub.clone(), group.clone());
        let author = Author { by, reason, now: now() };
        self.change(move |store| store.delete(&hub, &group, &builtin, &author)).await
    }

    /// Puts a user into a group, for good or until a moment.
    pub async fn add(
        &self,
        user: &User,
        group: &GroupName,
        until: Option<Seconds>,
        (by, reason): (By, Reason),
    ) -> Result<(), AccessError> {
        self.own(&user.hub)?;
        let (user, group) = (user.clone(), group.clone());
        let author = Author { by, reason, now: now() };
        self.change(move |store| store.add(&user, &group, until, &author)).await
    }

    /// Takes a user out of a group.
    pub async fn remove(
        &self,
        user: &User,
        group: &GroupName,
        (by, reason): (By, Reason),
    ) -> Result<(), AccessError> {
        self.own(&user.hub)?;
        let (user, group) = (user.clone(), group.clone());
        let author = Author { by, reason, now: now() };
        self.change(move |store| store.remove(&user, &group, &author)).await
    }

    /// Says what a group's members may have, for good or until a moment. Grants are always this host's, also those of
    /// groups that a hub keeps.
    pub async fn set_grant(
        &self,
        hub: &HubName,
        group: &GroupName,
        (kind, until): (Kind, Option<Seconds>),
        (by, reason): (By, Reason),
    ) -> Result<(), AccessError> {
        let is_known = match source(&self.config(), hub)? {
            None => false,
            // To take a grant away must work while the hub does not answer.
            Some(_) if kind == Kind::None => true,
            Some(asked) if asked.members(group).await?.is_some() => true,
            Some(_) => {
                return Err(StoreError::NoGroup { hub: hub.clone(), group: group.clone() }.into());
            }
        };
        let (hub, group) = (hub.clone(), group.clone());
        let author = Author { by, reason, now: now() };
        self.change(move |store| store.set_grant((&hub, &group), (kind, until), is_known, &author))
            .await
    }

    /// Grants of a hub's groups that hold.
    pub async fn grants(&self, hub: &HubName) -> Result<BTreeMap<GroupName, Grant>, AccessError> {
        source(&self.config(), hub)?;
        let hub = hub.clone();
        let mut grants = self.read(move |store| store.grants(&hub)).await?;
        let now = now();
        grants.retain(|_, grant| grant.note.holds(now));
        Ok(grants)
    }

    /// Which Docker socket a user may have at this moment. A hub that keeps its own groups is asked now; if it, or
    /// the store, does not answer, there is none, and a record says so.
    pub async fn socket_for(&self, user: &User) -> Answer {
        if !self.config().access.docker_socket {
            return Answer::Refused(Why::Disabled);
        }
        self.look_up(user).await.0
    }

    /// The same, and the groups that the user is in at this moment: none where nobody can tell. Built-in groups that are
    /// missing are made.
    pub async fn look_up(&self, user: &User) -> (Answer, Vec<GroupName>) {
        let before = self.config();
        let Ok(asked) = source(&before, &user.hub) else {
            return (Answer::Refused(Why::NoHub), Vec::new());
        };
        if before.access.docker_socket {
            self.ensure_builtin_of(Some(&user.hub)).await;
        }
        let (memberships, grants) = match asked {
            None => self.standing(user).await,
            Some(hub) => (of_hub(&hub, user).await, self.grants_of(&user.hub).await),
        };
        let (answer, groups) = self.judge(user, &before, memberships, &grants);
        self.tell_unknown(user, &answer);
        (answer, groups)
    }

    /// What follows from what is known of a user; `before` is the config that it was asked by.
    fn judge(
        &self,
        user: &User,
        before: &Config,
        memberships: Memberships,
        grants: &Grants,
    ) -> (Answer, Vec<GroupName>) {
        // What was said while a hub was asked counts, too.
        let config = self.config();
        if config.hubs.get(&user.hub) != before.hubs.get(&user.hub) {
            return (Answer::Refused(Why::NoHub), Vec::new());
        }
        let (enabled, now) = (config.access.docker_socket, now());
        let answer =
            judge::socket_for(&Question { enabled, memberships: &memberships, grants, now });
        let groups = memberships.unwrap_or_default().into_iter().filter(|one| holds(one, now));
        (answer, groups.map(|one| one.group).collect())
    }

    async fn grants_of(&self, hub: &HubName) -> Grants {
        let hub = hub.clone();
        self.read(move |store| store.grants(&hub)).await.map_err(|error| causes(&error))
    }

    async fn standing(&self, user: &User) -> (Memberships, Grants) {
        let user = user.clone();
        match self.read(move |store| store.standing(&user)).await {
            Ok((memberships, grants)) => (Ok(memberships), Ok(grants)),
            Err(error) => (Ok(Vec::new()), Err(causes(&error))),
        }
    }

    /// Whether this host keeps a hub's groups.
    fn own(&self, hub: &HubName) -> Result<(), AccessError> {
        match source(&self.config(), hub)? {
            None => Ok(()),
            Some(_) => Err(AccessError::Elsewhere(hub.clone())),
        }
    }

    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.0.config.borrow())
    }

    /// Asks the store, apart from the tasks that must not wait for a disk.
    async fn read<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, AccessError> {
        let store = lock(&self.0.store).clone().map_err(AccessError::Closed)?;
        let asking = spawn_blocking(move || ask(&store)).await;
        Ok(asking.map_err(|_panicked| AccessError::NoAnswer)??)
    }

    /// Changes something in the store, and has the stream say so.
    async fn change(
        &self,
        make: impl FnOnce(&Store) -> Result<Vec<Change>, StoreError> + Send + 'static,
    ) -> Result<(), AccessError> {
        let this = self.clone();
        // Whoever asked may go away: what is done is told all the same.
        self.read(move |store| make(store).map(|changes| this.tell(&changes))).await
    }

    fn tell(&self, changes: &[Change]) {
        let Some(last) = changes.last() else { return };
        for change in changes {
            self.send(tell::record(change));
        }
        let mut told = lock(&self.0.told);
        let number = told.map_or(last.number, |(_, number)| number.max(last.number));
        *told = Some((Instant::now(), number));
        self.0.changes.send_modify(|number| *number += 1);
    }

    fn send(&self, body: Body) {
        // Nobody listens any more: the daemon is stopping.
        let _ = self.0.journal.send(body);
    }
}

/// The hub to ask; `None`: this host keeps its groups.
fn source(config: &Config, hub: &HubName) -> Result<Option<JupyterHub>, AccessError> {
    if hub.is_local() {
        return Ok(None);
    }
    let known = config.hubs.get(hub).ok_or_else(|| AccessError::NoHub(hub.clone()))?;
    Ok(match &known.groups {
        GroupsFrom::Store => None,
        GroupsFrom::JupyterHub(settings) => Some(JupyterHub::new(settings.clone())),
    })
}

fn now() -> Seconds {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    // A clock that is not set makes nothing hold longer.
    Seconds(since.map_or(u64::MAX, |since| since.as_secs()))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
