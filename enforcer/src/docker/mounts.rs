//! What running containers have mounted of this host, by the engine's lists: binds, and volumes that are binds in disguise.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use bollard::{
    errors::Error as BollardError,
    models::{ContainerSummary, Volume},
    query_parameters::{ListContainersOptions, ListVolumesOptions},
};
use tokio::time::timeout;

use super::{Engine, EngineError};
use crate::model::way::Mounted;

/// Longest that the engine may take for a list.
const ANSWER: Duration = Duration::from_secs(6);

impl Engine {
    /// Running containers that have mounted something of this host.
    pub async fn mounted(&self) -> Result<Vec<Mounted>, EngineError> {
        let running = self.docker.list_containers(None::<ListContainersOptions>);
        let running = within("list containers", running).await?;
        let volumes = self.docker.list_volumes(None::<ListVolumesOptions>);
        let volumes = within("list volumes", volumes).await?.volumes.unwrap_or_default();
        let devices: HashMap<String, PathBuf> = volumes.into_iter().filter_map(device).collect();
        Ok(running.into_iter().filter_map(|container| mounted(container, &devices)).collect())
    }
}

fn mounted(from: ContainerSummary, devices: &HashMap<String, PathBuf>) -> Option<Mounted> {
    let sources = from.mounts.unwrap_or_default().into_iter().filter_map(|mount| {
        let device = mount.name.and_then(|name| devices.get(&name).cloned());
        device.or_else(|| mount.source.filter(|source| source.starts_with('/')).map(PathBuf::from))
    });
    let sources: Vec<PathBuf> = sources.collect();
    let name = from.names.unwrap_or_default().into_iter().next().unwrap_or_default();
    let name = name.trim_start_matches('/').to_owned();
    let id = from.id.filter(|id| !id.is_empty() && !sources.is_empty())?;
    Some(Mounted { id, name, sources })
}

/// A volume that is another directory of this host's: the driver `local` mounts whatever its options say.
fn device(volume: Volume) -> Option<(String, PathBuf)> {
    let device = volume.options.get("device").filter(|device| device.starts_with('/'))?;
    Some((volume.name, device.into()))
}

async fn within<T>(
    doing: &'static str,
    step: impl Future<Output = Result<T, BollardError>>,
) -> Result<T, EngineError> {
    let done = timeout(ANSWER, step).await.map_err(|_elapsed| EngineError::TimedOut { doing })?;
    done.map_err(EngineError::request(doing))
}

#[cfg(test)]
mod tests {
    use bollard::models::MountPoint;

    use super::*;

    #[test]
    fn s20_what_a_container_has_of_the_host_is_told_also_by_a_volume() {
        let options = |device: &str| {
            let options = [("type", "none"), ("o", "bind"), ("device", device)];
            options.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
        };
        let volume = |name: &str, device: &str| Volume {
            name: name.to_owned(),
            options: if device.is_empty() { HashMap::new() } else { options(device) },
            ..Volume::default()
        };
        let volumes = [volume("plain", ""), volume("bind", "/run"), volume("nfs", ":/export")];
        let devices = volumes.into_iter().filter_map(device).collect();
        let mount = |name: Option<&str>, source: &str| MountPoint {
            name: name.map(str::to_owned),
            source: Some(source.to_owned()),
            ..MountPoint::default()
        };
        let container = |mounts: Vec<MountPoint>| ContainerSummary {
            id: Some("1f".to_owned()),
            names: Some(vec!["/ann".to_owned()]),
            mounts: Some(mounts),
            ..ContainerSummary::default()
        };
        let found = mounted(
            container(vec![
                mount(None, "/var/run/docker.sock"),
                mount(Some("plain"), "/var/lib/docker/volumes/plain/_data"),
                mount(Some("bind"), "/var/lib/docker/volumes/bind/_data"),
                mount(None, ""),
            ]),
            &devices,
        );
        let sources = ["/var/run/docker.sock", "/var/lib/docker/volumes/plain/_data", "/run"]
            .map(PathBuf::from);
        let expected =
            Mounted { id: "1f".to_owned(), name: "ann".to_owned(), sources: sources.into() };
        assert_eq!(found, Some(expected));
        assert_eq!(mounted(container(Vec::new()), &devices), None);
    }
}
