//! What the daemon does for groups and grants without being asked: the store is open, built-in groups are there, what
//! is over goes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::task::spawn_blocking;

use super::{Access, lock, now, tell};
use crate::{
    access::{
        grant::{By, Reason},
        jupyterhub::JupyterHub,
        name::HubName,
        store::{Author, Store, StoreError},
    },
    causes::causes,
    config::GroupsFrom,
};

/// So long after a change was handed to the stream the store keeps its note: the files have it by then, or the
/// stream has counted its loss.
const SETTLED: Duration = Duration::from_secs(30);

impl Access {
    /// Opens the store if it is not, makes built-in groups that are missing, removes what is over. To be called at
    /// the start, when the config changes, and now and then.
    pub async fn tend(&self) {
        self.open().await;
        let over = Author {
            by: By { uid: None, name: "enforcer".to_owned(), via: "time".to_owned() },
            reason: Reason::default(),
            now: now(),
        };
        let swept = self.change(move |store| store.sweep(&over)).await;
        self.forget_told().await;
        // Last: a hub may be slow, and what is over does not wait for it.
        self.ensure_builtin().await;
        let store = match (&*lock(&self.0.store), swept) {
            (Err(why), _) => Some(format!("nobody has a Docker socket: {why}")),
            (Ok(_), Err(error)) => Some(format!("grants: {}", causes(&error))),
            (Ok(_), Ok(())) => None,
        };
        let silent: Vec<_> = lock(&self.0.silent)
            .iter()
            .map(|(hub, why)| format!("hub {hub} cannot be asked for its built-in groups: {why}"))
            .collect();
        let found: Vec<_> = store.into_iter().chain(silent).collect();
        self.0.problems.send_if_modified(|known| {
            let has_changed = *known != found;
            if has_changed {
                for problem in &found {
                    tracing::error!("{problem}");
                }
                *known = found;
            }
            has_changed
        });
    }

    /// Makes built-in groups that are missing, here and in every hub that keeps its own.
    pub async fn ensure_builtin(&self) {
        self.ensure_builtin_of(None).await;
    }

    pub(super) async fn ensure_builtin_of(&self, only: Option<&HubName>) {
        let config = self.config();
        let is_meant = |hub: &HubName| only.is_none_or(|only| only == hub);
        let all = config.hubs.keys().cloned().chain([HubName::local()]);
        let hubs: Vec<_> = all.filter(is_meant).collect();
        let names = config.access.builtin_groups.clone();
        let author = Author { by: By::config(), reason: tell::built_in(), now: now() };
        // A store that cannot be used is told of by who opens it, and by who asks for a socket.
        let _ = self.change(move |store| store.ensure_builtin(&hubs, &names, &author)).await;
        let mut silent = BTreeMap::new();
        for (name, hub) in config.hubs.iter().filter(|(name, _)| is_meant(name)) {
            let GroupsFrom::JupyterHub(settings) = &hub.groups else { continue };
            match JupyterHub::new(settings.clone()).ensure(&config.access.builtin_groups).await {
                Ok(made) => {
                    for group in made {
                        self.send(tell::recreated(name, &group, now()));
                    }
                }
                Err(error) => drop(silent.insert(name.clone(), causes(&error))),
            }
        }
        let mut known = lock(&self.0.silent);
        for (hub, why) in &silent {
            // Once for each time that it begins.
            if !known.contains_key(hub) {
                self.send(tell::silent(hub, why));
            }
        }
        known.retain(|hub, _| !is_meant(hub) && config.hubs.contains_key(hub));
        known.extend(silent);
    }

    /// Opens the store, unless it is open. What an earlier daemon may not have told is told.
    async fn open(&self) {
        if lock(&self.0.store).is_ok() {
            return;
        }
        let dir = self.config().state_dir.clone();
        let opening = spawn_blocking(move || {
            let store = Store::open(&dir)?;
            let untold = store.untold()?;
            Ok::<_, StoreError>((store, untold))
        });
        let opened = match opening.await {
            Ok(Ok((store, untold))) => {
                self.tell(&untold);
                Ok(Arc::new(store))
            }
            Ok(Err(error)) => Err(causes(&error)),
            Err(_panicked) => Err("whoever opens it does not get to the end".to_owned()),
        };
        let mut store = lock(&self.0.store);
        if let Err(why) = &opened
            && store.as_ref().err() != Some(why)
        {
            self.send(tell::no_grants(None, why));
        }
        *store = opened;
    }

    /// The store needs no note of what the stream has had for a while.
    async fn forget_told(&self) {
        let told = *lock(&self.0.told);
        let Some((_, number)) = told.filter(|(when, _)| when.elapsed() >= SETTLED) else { return };
        // Where that fails, something is told twice.
        if self.read(move |store| store.told(number)).await.is_ok() {
            let mut told = lock(&self.0.told);
            *told = told.filter(|(_, last)| *last > number);
        }
    }
}
