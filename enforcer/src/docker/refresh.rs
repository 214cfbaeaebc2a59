//! One connection's questions to the engine, and the snapshot that the answers build up.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bollard::{
    models::{ContainerSummary, Network},
    query_parameters::{
        InspectContainerOptions, InspectNetworkOptions, ListContainersOptions, ListNetworksOptions,
    },
};
use futures_util::{StreamExt as _, stream};
use tokio::{sync::watch, task::JoinSet, time::timeout};

use super::{Engine, EngineError, convert, events::Stale, snapshot::Snapshot};
use crate::model::{
    inventory::{Container, Inventory},
    provenance::ImageSettings,
};

/// Longest that one network may take to inspect before its last state is kept.
const NETWORK_LIMIT: Duration = Duration::from_secs(2);
/// Longest that one container may take: it waits for the container's lock.
const CONTAINER_LIMIT: Duration = Duration::from_secs(10);
/// Networks asked at once.
const NETWORKS_AT_ONCE: usize = 8;
/// Images that are remembered at most.
const IMAGES: usize = 1024;
/// Containers asked at once.
const CONTAINERS_AT_ONCE: usize = 64;

/// Asks the engine and publishes what it says.
pub(super) struct Follower<'run> {
    engine: Engine,
    publish: &'run watch::Sender<Arc<Inventory>>,
    snapshot: &'run mut Snapshot,
    /// Questions about containers that are under way; dropped with the follower.
    asking: JoinSet<Answer>,
    /// Containers that these questions are about.
    asked: BTreeSet<String>,
    /// Containers to ask next. One that is being asked already is asked again afterwards, since
    /// the answer under way may be older than the event.
    queue: BTreeSet<String>,
    /// Whether a list of containers is under way.
    listing: bool,
    images: Images,
}

/// What images bring along, by id: the hash of what they are, so that none ever changes.
type Images = Arc<Mutex<BTreeMap<String, Arc<ImageSettings>>>>;

/// The answer to a question about containers.
enum Answer {
    List(Result<Vec<ContainerSummary>, EngineError>),
    Inspect(String, Result<Option<Container>, EngineError>),
}

impl<'run> Follower<'run> {
    pub(super) fn new(
        engine: Engine,
        publish: &'run watch::Sender<Arc<Inventory>>,
        snapshot: &'run mut Snapshot,
    ) -> Self {
        Self {
            engine,
            publish,
            snapshot,
            asking: JoinSet::new(),
            asked: BTreeSet::new(),
            queue: BTreeSet::new(),
            listing: false,
            images: Images::default(),
        }
    }

    /// Asks the networks anew and publishes, then starts to ask the containers. Fails only when
    /// the engine cannot be asked at all.
    pub(super) async fn refresh(&mut self, stale: Stale) -> Result<(), EngineError> {
        let networks = if stale.everything {
            let list = timeout(NETWORK_LIMIT, list_networks(&self.engine))
                .await
                .map_err(|_elapsed| EngineError::TimedOut { doing: "list its networks" })??;
            let others = convert::other_networks(&list);
            let all = list.into_iter().filter_map(|network| network.id);
            let ids = all.filter(|id| !others.contains_key(id)).collect();
            self.snapshot.keep_networks(&ids);
            self.snapshot.put_other_networks(others);
            ids
        } else {
            stale.networks
        };
        self.ask_networks(networks).await?;
        self.publish();
        if stale.everything && !self.listing {
            self.listing = true;
            let engine = self.engine.clone();
            self.asking.spawn(async move { Answer::List(list_containers(&engine).await) });
        }
        self.queue.extend(self.snapshot.not_inspected());
        self.queue.extend(stale.containers);
        self.ask_containers();
        Ok(())
    }

    /// Waits for the next answer about containers and publishes it. Never returns when nothing is
    /// under way; may be dropped at any point.
    pub(super) async fn answer(&mut self) {
        let Some(answer) = self.asking.join_next().await else {
            return std::future::pending().await;
        };
        match answer {
            Ok(Answer::List(list)) => {
                self.listing = false;
                match list {
                    Ok(list) => self.queue.extend(self.snapshot.to_inspect(&list)),
                    Err(error) => tracing::debug!(%error, "containers not listed"),
                }
            }
            Ok(Answer::Inspect(id, result)) => {
                self.asked.remove(&id);
                match result {
                    Ok(Some(container)) => self.snapshot.put_container(container),
                    Ok(None) => self.snapshot.remove_container(&id),
                    // The next list finds what is missing or differs.
                    Err(error) => tracing::debug!(%error, container = %id, "not inspected"),
                }
                self.publish();
            }
            // Nothing aborts these tasks and they do not panic; a resync asks again in any case.
            Err(error) => tracing::error!(%error, "a question to docker was lost"),
        }
        self.ask_containers();
    }

    async fn ask_networks(&mut self, ids: BTreeSet<String>) -> Result<(), EngineError> {
        let engine = self.engine.clone();
        let mut answers = stream::iter(ids)
            .map(|id| {
                let engine = engine.clone();
                async move {
                    let question =
                        engine.docker.inspect_network(&id, None::<InspectNetworkOptions>);
                    let answer = timeout(NETWORK_LIMIT, question).await;
                    (id, answer)
                }
            })
            .buffer_unordered(NETWORKS_AT_ONCE);
        while let Some((id, answer)) = answers.next().await {
            let Ok(answer) = answer else {
                tracing::warn!(network = %id, "docker does not answer; the last state stands");
                continue;
            };
            match answer.map_err(EngineError::request("inspect a network")) {
                Ok(network) => match convert::network(network) {
                    Some((network, names)) => self.snapshot.put_network(network, names),
                    None => self.snapshot.remove_network(&id),
                },
                Err(error) if error.status() == Some(404) => self.snapshot.remove_network(&id),
                // An error of the engine about this network; the others still count.
                Err(error) if error.status().is_some() => {
                    tracing::warn!(%error, network = %id, "network not inspected");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn ask_containers(&mut self) {
        while self.asked.len() < CONTAINERS_AT_ONCE {
            let next = self.queue.iter().find(|id| !self.asked.contains(*id)).cloned();
            let Some(id) = next else { return };
            self.queue.remove(&id);
            self.asked.insert(id.clone());
            let (engine, images) = (self.engine.clone(), Images::clone(&self.images));
            self.asking.spawn(async move {
                let result = inspect_container(&engine, &images, &id).await;
                Answer::Inspect(id, result)
            });
        }
    }

    /// Publishes the snapshot if it differs from the last one.
    fn publish(&self) {
        let mut inventory = self.snapshot.inventory();
        self.publish.send_if_modified(|last| {
            inventory.version = last.version;
            // The first snapshot counts even if there is nothing: version 0 means "not known".
            if last.version > 0 && **last == inventory {
                return false;
            }
            inventory.version += 1;
            *last = Arc::new(std::mem::take(&mut inventory));
            true
        });
    }
}

async fn list_networks(engine: &Engine) -> Result<Vec<Network>, EngineError> {
    let networks = engine.docker.list_networks(None::<ListNetworksOptions>).await;
    networks.map_err(EngineError::request("list its networks"))
}

async fn list_containers(engine: &Engine) -> Result<Vec<ContainerSummary>, EngineError> {
    let doing = "list its containers";
    let question = engine.docker.list_containers(None::<ListContainersOptions>);
    let answer = timeout(CONTAINER_LIMIT, question).await;
    answer.map_err(|_elapsed| EngineError::TimedOut { doing })?.map_err(EngineError::request(doing))
}

/// The container as it is now; `None` when there is none.
async fn inspect_container(
    engine: &Engine,
    images: &Images,
    id: &str,
) -> Result<Option<Container>, EngineError> {
    let doing = "inspect a container";
    let question = engine.docker.inspect_container(id, None::<InspectContainerOptions>);
    let answer = timeout(CONTAINER_LIMIT, question).await;
    let answer = answer
        .map_err(|_elapsed| EngineError::TimedOut { doing })?
        .map_err(EngineError::request(doing));
    match answer {
        Ok(answer) => {
            let image = match &answer.image {
                Some(id) => inspect_image(engine, images, id).await?,
                None => None,
            };
            Ok(convert::container(answer, image.as_deref()))
        }
        Err(error) if error.status() == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the image of a container brings along; `None` when it was removed by force.
async fn inspect_image(
    engine: &Engine,
    images: &Images,
    id: &str,
) -> Result<Option<Arc<ImageSettings>>, EngineError> {
    let lock = || images.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = lock().get(id) {
        return Ok(Some(Arc::clone(known)));
    }
    let doing = "inspect an image";
    let answer = timeout(CONTAINER_LIMIT, engine.docker.inspect_image(id)).await;
    let answer = answer
        .map_err(|_elapsed| EngineError::TimedOut { doing })?
        .map_err(EngineError::request(doing));
    let image = match answer {
        Ok(image) => Arc::new(convert::image(image)),
        Err(error) if error.status() == Some(404) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut known = lock();
    if known.len() >= IMAGES {
        known.clear();
    }
    known.insert(id.to_owned(), Arc::clone(&image));
    Ok(Some(image))
}
