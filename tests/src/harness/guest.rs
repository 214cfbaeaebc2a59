//! Guests: containers with default capabilities, the actor as their entry point.

use std::{
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use bollard::{
    models::{ContainerCreateBody, HostConfig, PortBinding},
    query_parameters::CreateContainerOptions,
};

use super::{client::Actor, dockerd::Dockerd, image, run::Run};
use crate::frames::Mac;

/// A port that Docker publishes.
#[derive(Clone, Copy, Debug)]
pub struct Publish {
    /// In the container, TCP.
    pub container: u16,
    /// On the host, all addresses.
    pub host: u16,
}

/// A running guest.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Container name.
    pub name: String,
    /// Process id of its actor, in the machine's namespace.
    pub pid: u32,
    /// Its MAC address.
    pub mac: Mac,
    /// Its IPv4 address.
    pub ipv4: Ipv4Addr,
    /// The actor in it.
    pub actor: Actor,
}

impl Guest {
    /// Starts one on a network.
    pub fn start(
        run: &Run,
        docker: &Dockerd,
        network: &str,
        name: &str,
        publish: &[Publish],
    ) -> Result<Self> {
        let dir = Self::create(run, docker, network, name, publish)?;
        docker.call(|client| client.start_container(name, None)).context("start")?;
        Self::started(docker, name, &dir)
    }

    /// Starts two, one after the other: an engine on a busy machine that starts both at once may hang.
    pub fn start_both(
        run: &Run,
        docker: &Dockerd,
        network: &str,
        guests: [(&str, &[Publish]); 2],
    ) -> Result<[Self; 2]> {
        let create = |(name, publish)| Self::create(run, docker, network, name, publish);
        let [one, other] = guests.map(create);
        let (one, other) = (one?, other?);
        let [first, second] = guests.map(|(name, _)| name);
        for name in [first, second] {
            docker.call(|client| client.start_container(name, None)).context("start")?;
        }
        Ok([Self::started(docker, first, &one)?, Self::started(docker, second, &other)?])
    }

    /// Creates one, with a directory for its actor's socket.
    fn create(
        run: &Run,
        docker: &Dockerd,
        network: &str,
        name: &str,
        publish: &[Publish],
    ) -> Result<PathBuf> {
        let dir = run.make_dir(&format!("guest-{name}"))?;
        // Its root may be another user than the machine's.
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o777))?;
        let bindings = publish
            .iter()
            .map(|port| {
                let binding = PortBinding { host_ip: None, host_port: Some(port.host.to_string()) };
                (format!("{}/tcp", port.container), Some(vec![binding]))
            })
            .collect();
        let body = ContainerCreateBody {
            image: Some(image::NAME.into()),
            entrypoint: Some(vec!["/actor".into(), "/run/actor/actor.sock".into()]),
            exposed_ports: Some(
                publish.iter().map(|port| format!("{}/tcp", port.container)).collect(),
            ),
            // The first process of a container ignores SIGTERM unless it handles it.
            stop_signal: Some("SIGKILL".into()),
            host_config: Some(HostConfig {
                binds: Some(vec![format!("{}:/run/actor", dir.display())]),
                network_mode: Some(network.into()),
                port_bindings: Some(bindings),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptions { name: Some(name.into()), ..Default::default() };
        docker.call(|client| client.create_container(Some(options), body)).context("create")?;
        Ok(dir)
    }

    /// One that was started, once its actor answers.
    fn started(docker: &Dockerd, name: &str, dir: &Path) -> Result<Self> {
        let inspected = docker.call(|client| client.inspect_container(name, None))?;
        let pid = inspected.state.and_then(|state| state.pid).context("no process id")?;
        let actor = Actor::wait(dir.join("actor.sock")).with_context(|| format!("guest {name}"))?;
        let interface = actor.interface("eth0")?;
        Ok(Self {
            name: name.into(),
            pid: u32::try_from(pid)?,
            mac: interface.mac,
            ipv4: interface.ipv4.context("a guest without IPv4")?,
            actor,
        })
    }

    /// A TCP or UDP address of it.
    #[must_use]
    pub fn at(&self, port: u16) -> SocketAddr {
        (self.ipv4, port).into()
    }
}
