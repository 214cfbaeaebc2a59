//! What the engine does for guests that enforcer starts: makes, starts, lists, ends and removes them, and their volumes.
//! Each step has its time.

mod convert;
mod output;
mod pull;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::Ipv4Addr,
    time::Duration,
};

use bollard::{
    errors::Error as BollardError,
    models::ContainerInspectResponse,
    query_parameters::{
        CreateContainerOptionsBuilder, InspectContainerOptions, InspectNetworkOptions,
        ListContainersOptionsBuilder, ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder,
        RemoveVolumeOptions, RenameContainerOptionsBuilder, StartContainerOptions,
    },
};
use tokio::time::timeout;

use super::{Engine, EngineError, expel::Expelled};
use crate::{
    access::name::User,
    guest::{
        left::Listed,
        names::{self, Use},
        spec::{Spec, Volume},
    },
};

pub use output::{Output, Ran};
pub use pull::Pulled;

/// Longest that the engine may take for a step.
const LIMIT: Duration = Duration::from_secs(20);
/// Longest that it may take for an answer to somebody who waits.
const ANSWER: Duration = Duration::from_secs(6);

/// A guest of enforcer's, as the engine lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose it is, and whether it lives.
    pub listed: Listed,
    /// The container's name.
    pub name: String,
    /// Its image, as it was asked for.
    pub image: String,
    /// What the engine says of it, in a word.
    pub state: String,
    /// Networks that it is on.
    pub networks: Vec<String>,
    /// When it was made, s since 1970.
    pub created: u64,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// How a container is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Whether its first process runs, or is paused.
    pub is_alive: bool,
    /// How that process ended last.
    pub exit_code: Option<i64>,
    /// What the engine says is wrong.
    pub error: String,
    /// Addresses, by network.
    pub addresses: BTreeMap<String, String>,
    /// Names of volumes, by their paths.
    pub volumes: BTreeMap<String, String>,
}

/// A volume that enforcer made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownVolume {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl Engine {
    /// All guests of enforcer's, whatever their state.
    pub async fn managed(&self) -> Result<Vec<Entry>, EngineError> {
        let label = [("label", vec![format!("{}=true", names::MANAGED)])];
        let options =
            ListContainersOptionsBuilder::default().all(true).filters(&label.into()).build();
        let list = self.docker.list_containers(Some(options));
        let doing = "list guests";
        let found = timeout(ANSWER, within(doing, list)).await;
        let found = found.map_err(|_elapsed| EngineError::TimedOut { doing })??;
        Ok(found.into_iter().filter_map(convert::entry).collect())
    }

    /// Users for whom there are containers, whatever their state and whoever made them.
    pub async fn users(&self) -> Result<BTreeSet<User>, EngineError> {
        let label = [("label", vec![names::USER.to_owned()])];
        let options =
            ListContainersOptionsBuilder::default().all(true).filters(&label.into()).build();
        let found = within("list guests", self.docker.list_containers(Some(options))).await?;
        let user = |labels: HashMap<String, String>| {
            let of = |key: &str| labels.get(key);
            Some(User { hub: of(names::HUB)?.parse().ok()?, name: of(names::USER)?.parse().ok()? })
        };
        Ok(found.into_iter().filter_map(|one| user(one.labels?)).collect())
    }

    /// Which of these volumes there are. One that is somebody else's is an error.
    pub async fn volumes_there(&self, volumes: &[Volume]) -> Result<Vec<Use>, VolumeError> {
        let mut there = Vec::new();
        for volume in volumes {
            let asked = self.docker.inspect_volume(&volume.name);
            match within("inspect a volume", asked).await {
                Ok(found) if has_all(&found.labels, &volume.labels) => {
                    there.push(volume.of);
                }
                Ok(_) => return Err(VolumeError::SomebodyElses(volume.name.clone())),
                Err(error) if error.status() == Some(404) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(there)
    }

    /// Makes a container, and its volumes that are not there; its id.
    pub async fn create_guest(&self, spec: &Spec) -> Result<String, EngineError> {
        let options = CreateContainerOptionsBuilder::default().name(&spec.name).build();
        let create = self.docker.create_container(Some(options), convert::body(spec));
        within("create the guest", create).await.map(|made| made.id)
    }

    /// Starts a container.
    pub async fn start_guest(&self, id: &str) -> Result<(), EngineError> {
        let start = self.docker.start_container(id, None::<StartContainerOptions>);
        within("start the guest", start).await
    }

    /// How a container is; `None`: it is not there.
    pub async fn condition(&self, id: &str) -> Result<Option<Condition>, EngineError> {
        let asked = self.docker.inspect_container(id, None::<InspectContainerOptions>);
        match within("inspect the guest", asked).await {
            Ok(found) => Ok(Some(condition(found))),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives a container another name, unless it has that already: an engine that is asked twice says 400.
    pub async fn rename(&self, id: &str, name: &str) -> Result<Expelled, EngineError> {
        let options = RenameContainerOptionsBuilder::default().name(name).build();
        let rename = within("rename a guest", self.docker.rename_container(id, options)).await;
        let error = match gone(rename, &[404]) {
            Err(error) => error,
            done => return done,
        };
        let asked = self.docker.inspect_container(id, None::<InspectContainerOptions>);
        let found = within("inspect the guest", asked).await.ok().and_then(|found| found.name);
        if found.is_some_and(|found| found.strip_prefix('/') == Some(name)) {
            return Ok(Expelled::Gone);
        }
        Err(error)
    }

    /// Removes a container, running or not, and the volumes without a name that it has.
    pub async fn remove(&self, id: &str) -> Result<Expelled, EngineError> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        let remove = self.docker.remove_container(id, Some(options));
        match within("remove a guest", remove).await {
            // Somebody else's removal is under way: it is done when that is.
            Err(error) if error.status() == Some(409) => match self.condition(id).await? {
                None => Ok(Expelled::Gone),
                Some(_) => Err(error),
            },
            outcome => gone(outcome, &[404]),
        }
    }

    /// Removes a volume that nobody uses.
    pub async fn remove_volume(&self, name: &str) -> Result<Expelled, EngineError> {
        let remove = self.docker.remove_volume(name, None::<RemoveVolumeOptions>);
        gone(within("remove a volume", remove).await, &[404])
    }

    /// Volumes that enforcer made.
    pub async fn managed_volumes(&self) -> Result<Vec<KnownVolume>, EngineError> {
        let label = [("label", vec![format!("{}=true", names::MANAGED)])];
        let options = ListVolumesOptionsBuilder::default().filters(&label.into()).build();
        let found = within("list volumes", self.docker.list_volumes(Some(options))).await?;
        let known = found.volumes.unwrap_or_default().into_iter().map(|volume| KnownVolume {
            name: volume.name,
            labels: volume.labels.into_iter().collect(),
        });
        Ok(known.collect())
    }

    /// The gateway of a network, IPv4; `None`: it has none.
    pub async fn gateway(&self, network: &str) -> Result<Option<Ipv4Addr>, EngineError> {
        let asked = self.docker.inspect_network(network, None::<InspectNetworkOptions>);
        let found = within("inspect the network", asked).await?;
        let pools = found.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
        Ok(pools.into_iter().find_map(|pool| pool.gateway?.parse().ok()))
    }
}

/// Why volumes cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Its labels are others.
    #[error(
        "there is a volume {0} that enforcer did not make: rename or remove it (docker volume rm {0})"
    )]
    SomebodyElses(String),
}

fn has_all(labels: &HashMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

async fn within<T>(
    doing: &'static str,
    step: impl Future<Output = Result<T, BollardError>>,
) -> Result<T, EngineError> {
    let done = timeout(LIMIT, step).await.map_err(|_elapsed| EngineError::TimedOut { doing })?;
    done.map_err(EngineError::request(doing))
}

/// These statuses say that there was nothing left to do.
fn gone(outcome: Result<(), EngineError>, nothing: &[u16]) -> Result<Expelled, EngineError> {
    match outcome {
        Ok(()) => Ok(Expelled::Done),
        Err(error) if error.status().is_some_and(|status| nothing.contains(&status)) => {
            Ok(Expelled::Gone)
        }
        Err(error) => Err(error),
    }
}

fn condition(found: ContainerInspectResponse) -> Condition {
    let state = found.state.unwrap_or_default();
    let networks = found.network_settings.and_then(|settings| settings.networks);
    let addresses = networks.unwrap_or_default().into_iter().filter_map(|(name, endpoint)| {
        Some((name, endpoint.ip_address.filter(|address| !address.is_empty())?))
    });
    let mounts = found.mounts.unwrap_or_default().into_iter();
    Condition {
        is_alive: state.running.unwrap_or_default(),
        exit_code: state.exit_code,
        error: state.error.unwrap_or_default(),
        addresses: addresses.collect(),
        volumes: mounts.filter_map(|mount| Some((mount.destination?, mount.name?))).collect(),
    }
}
