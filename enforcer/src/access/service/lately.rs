//! What is known of users for who asks with every request. This host's store counts as it is; a hub is asked at most
//! once in a moment for a user, and by a few at a time: no user's requests keep it from its own work.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{sync::Semaphore, time::Instant};

use super::{Access, causes, lock, source, tell};
use crate::access::{
    grant::Seconds,
    judge::{Answer, Grants, Membership, Memberships, Why},
    jupyterhub::{JupyterHub, Settings},
    name::{HubName, User},
};

/// So long a hub's word is used again, and its silence.
const REUSED: Duration = Duration::from_secs(1);
/// Questions that a hub has to answer at a time.
const QUESTIONS: usize = 8;
/// Users of whom something is kept.
const USERS: usize = 4096;

/// What the store has of a user, and of the grants in the user's hub.
pub(super) type Rows = (Memberships, Grants);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lately {
    rows: Mutex<Kept>,
    said: Mutex<HashMap<User, Arc<tokio::sync::Mutex<Option<Said>>>>>,
    questions: Mutex<BTreeMap<HubName, Arc<Semaphore>>>,
}

/// Rows as they were read since the store changed last.
#[derive(Debug, Default)]
struct Kept {
    /// [`Access::changes`].
    number: u64,
    /// Of a user, and whether a hub tells of the groups.
    rows: HashMap<(User, bool), Rows>,
}

/// A hub's word on a user.
#[derive(Debug)]
struct Said {
    when: Instant,
    /// How it was asked.
    settings: Settings,
    groups: Memberships,
}

impl Kept {
    fn get(&mut self, number: u64, of: &(User, bool)) -> Option<Rows> {
        if self.number != number {
            (self.number, self.rows) = (number, HashMap::new());
        }
        self.rows.get(of).cloned()
    }

    /// Keeps what was read when the store had this number; it may have another one by now.
    fn put(&mut self, number: u64, of: (User, bool), rows: &Rows) {
        if self.number != number || rows.0.is_err() || rows.1.is_err() {
            return;
        }
        if self.rows.len() >= USERS {
            self.rows.clear();
        }
        self.rows.insert(of, rows.clone());
    }
}

impl Lately {
    /// The groups that a hub says a user is in; whether it was asked for this answer.
    async fn groups(&self, user: &User, hub: &JupyterHub) -> (Memberships, bool) {
        let said = {
            let mut all = lock(&self.said);
            if all.len() >= USERS {
                all.retain(|_, said| Arc::strong_count(said) > 1);
            }
            Arc::clone(all.entry(user.clone()).or_default())
        };
        // Who asks meanwhile waits, and gets the same answer.
        let mut said = said.lock().await;
        if let Some(Said { when, settings, groups }) = &*said
            && when.elapsed() < REUSED
            && settings == hub.settings()
        {
            return (groups.clone(), false);
        }
        let questions = {
            let mut all = lock(&self.questions);
            let few =
                all.entry(user.hub.clone()).or_insert_with(|| Arc::new(Semaphore::new(QUESTIONS)));
            Arc::clone(few)
        };
        // It is never closed.
        let _place = questions.acquire().await;
        let groups = of_hub(hub, user).await;
        let settings = hub.settings().clone();
        *said = Some(Said { when: Instant::now(), settings, groups: groups.clone() });
        (groups, true)
    }
}

impl Access {
    /// Which Docker socket a user may have, for who asks with every request: what a hub said may be a second old, and
    /// what this host keeps is as it is. Nothing is made that is missing.
    pub async fn socket_lately(&self, user: &User) -> Answer {
        let before = self.config();
        if !before.access.docker_socket {
            return Answer::Refused(Why::Disabled);
        }
        let Ok(asked) = source(&before, &user.hub) else { return Answer::Refused(Why::NoHub) };
        let (memberships, grants) = self.rows(user, asked.is_some()).await;
        let (memberships, is_new) = match asked {
            None => (memberships, true),
            Some(hub) => self.0.lately.groups(user, &hub).await,
        };
        let (answer, _groups) = self.judge(user, &before, memberships, &grants);
        if is_new {
            self.tell_unknown(user, &answer);
        }
        answer
    }

    /// What the store has. It is asked after each change of it.
    async fn rows(&self, user: &User, is_asked: bool) -> Rows {
        let number = *self.0.changes.borrow();
        // Whatever was read before, a store that cannot be used says nothing.
        let is_open = lock(&self.0.store).is_ok();
        let of = (user.clone(), is_asked);
        if let Some(rows) = lock(&self.0.lately.rows).get(number, &of).filter(|_| is_open) {
            return rows;
        }
        let rows = if is_asked {
            (Ok(Vec::new()), self.grants_of(&user.hub).await)
        } else {
            self.standing(user).await
        };
        lock(&self.0.lately.rows).put(number, of, &rows);
        rows
    }

    pub(super) fn tell_unknown(&self, user: &User, answer: &Answer) {
        match answer {
            Answer::Refused(Why::NoMemberships(why)) => self.send(tell::no_groups(user, why)),
            Answer::Refused(Why::NoGrants(why)) => self.send(tell::no_grants(Some(user), why)),
            Answer::Refused(_) | Answer::Granted(_) => {}
        }
    }
}

/// The groups that a hub says a user is in, now.
pub(super) async fn of_hub(hub: &JupyterHub, user: &User) -> Memberships {
    let groups = hub.groups_of(&user.name).await.map_err(|error| causes(&error))?;
    Ok(groups.into_iter().map(|group| Membership { group, note: None }).collect())
}

/// Whether a membership holds; one of which only a hub tells does as long as it says so.
pub(super) fn holds(one: &Membership, now: Seconds) -> bool {
    one.note.as_ref().is_none_or(|note| note.holds(now))
}
