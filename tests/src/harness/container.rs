//! Containers of any shape: any network mode, labels, entry point and capabilities.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use bollard::{
    exec::{CreateExecOptions, StartExecResults},
    models::{
        ContainerConfig, ContainerCreateBody, ContainerInspectResponse, EndpointIpamConfig,
        EndpointSettings, HostConfig, NetworkingConfig, PortBinding,
    },
    query_parameters::{
        CommitContainerOptionsBuilder, CreateContainerOptions, KillContainerOptions,
    },
};
use futures_util::TryStreamExt as _;

use super::{
    client::Actor,
    dockerd::Dockerd,
    image,
    run::{Run, wait_for},
};

/// What a container is to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spec<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its image; empty: the guests'.
    pub image: &'a str,
    /// Docker's network mode.
    pub network: &'a str,
    /// Its IPv4 address there; none: the engine chooses.
    pub ipv4: Option<std::net::Ipv4Addr>,
    /// Labels, `KEY` or `KEY=VALUE`.
    pub labels: &'a [&'a str],
    /// Legacy links, `CONTAINER:ALIAS`.
    pub links: &'a [&'a str],
    /// UDP ports that Docker publishes: in the container, and on all addresses of the host.
    pub published_udp: &'a [(u16, u16)],
    /// Environment, `NAME=value`.
    pub environment: &'a [&'a str],
    /// Name servers.
    pub dns: &'a [&'a str],
    /// What is mounted, `FROM:TO:ro`, beside the actor's socket.
    pub binds: &'a [&'a str],
    /// Capabilities beyond the default ones.
    pub capabilities: &'a [&'a str],
    /// Entry point; empty: the actor.
    pub entrypoint: &'a [&'a str],
}

/// A container that was created.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Docker's id.
    pub id: String,
    socket: PathBuf,
}

/// A life that is over, as the engine tells it.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// From start to end.
    pub length: Duration,
    /// How it ended.
    pub exit_code: i64,
}

impl Container {
    /// Creates one, and starts nothing.
    pub fn create(run: &Run, docker: &Dockerd, spec: &Spec<'_>) -> Result<Self> {
        let dir = run.make_dir(&format!("guest-{}", spec.name))?;
        let strings = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let actor = ["/actor", "/run/actor/actor.sock"];
        let entrypoint = if spec.entrypoint.is_empty() { &actor } else { spec.entrypoint };
        let image = if spec.image.is_empty() { image::NAME } else { spec.image };
        let body = ContainerCreateBody {
            image: Some(image.into()),
            entrypoint: Some(strings(entrypoint)),
            labels: Some(labels(spec.labels)),
            env: Some(strings(spec.environment)),
            stop_signal: Some("SIGKILL".into()),
            exposed_ports: Some(spec.published_udp.iter().copied().map(udp).collect()),
            host_config: Some(HostConfig {
                binds: Some(
                    [strings(&[&format!("{}:/run/actor", dir.display())]), strings(spec.binds)]
                        .concat(),
                ),
                dns: Some(strings(spec.dns)),
                network_mode: Some(spec.network.into()),
                links: Some(strings(spec.links)),
                port_bindings: Some(spec.published_udp.iter().copied().map(binding).collect()),
                cap_add: Some(strings(spec.capabilities)),
                ..HostConfig::default()
            }),
            networking_config: spec.ipv4.map(|ipv4| at(spec.network, ipv4)),
            ..ContainerCreateBody::default()
        };
        let name = spec.name;
        let options = CreateContainerOptions { name: Some(name.into()), ..Default::default() };
        let created = docker.call(|client| client.create_container(Some(options), body));
        let id = created.with_context(|| format!("create {name}"))?.id;
        Ok(Self { name: name.into(), id, socket: dir.join("actor.sock") })
    }

    /// Creates and starts one.
    pub fn start(run: &Run, docker: &Dockerd, spec: &Spec<'_>) -> Result<Self> {
        let container = Self::create(run, docker, spec)?;
        container.begin(docker)?;
        Ok(container)
    }

    /// Starts it.
    pub fn begin(&self, docker: &Dockerd) -> Result<()> {
        let name = &self.name;
        docker
            .call(|client| client.start_container(name, None))
            .with_context(|| format!("start {name}"))
    }

    /// Makes an image of it that has labels of its own.
    pub fn commit(&self, docker: &Dockerd, image: &str, own: &[&str]) -> Result<()> {
        let options =
            CommitContainerOptionsBuilder::new().container(&self.name).repo(image).build();
        let config = ContainerConfig { labels: Some(labels(own)), ..ContainerConfig::default() };
        docker
            .call(|client| client.commit_container(options, config))
            .with_context(|| format!("commit {}", self.name))?;
        Ok(())
    }

    /// The actor in it, once it answers.
    pub fn actor(&self) -> Result<Actor> {
        Actor::wait(self.socket.clone()).with_context(|| format!("container {}", self.name))
    }

    /// What the engine says of it.
    pub fn inspect(&self, docker: &Dockerd) -> Result<ContainerInspectResponse> {
        docker.call(|client| client.inspect_container(&self.id, None))
    }

    /// Whether it runs.
    pub fn runs(&self, docker: &Dockerd) -> Result<bool> {
        Ok(self.inspect(docker)?.state.and_then(|state| state.running) == Some(true))
    }

    /// Process id of its first process, in the machine's namespace.
    pub fn pid(&self, docker: &Dockerd) -> Result<u32> {
        let pid = self.inspect(docker)?.state.and_then(|state| state.pid).context("no state")?;
        Ok(u32::try_from(pid)?)
    }

    /// Waits for its end.
    pub fn wait_end(&self, docker: &Dockerd, within: Duration) -> Result<Life> {
        wait_for(&format!("the end of {}", self.name), within, || {
            let state = self.inspect(docker)?.state.context("no state")?;
            if state.running == Some(true) || state.pid.is_some_and(|pid| pid != 0) {
                return Ok(None);
            }
            let moment = |text: Option<String>| time_of_day(&text.unwrap_or_default());
            let (started, finished) = (moment(state.started_at)?, moment(state.finished_at)?);
            let tomorrow = finished + Duration::from_hours(24);
            let length = finished.checked_sub(started).or_else(|| tomorrow.checked_sub(started));
            let length = length.context("it ended before it started")?;
            Ok(Some(Life { length, exit_code: state.exit_code.unwrap_or_default() }))
        })
    }

    /// Runs a program in it to its end: the exit code, and what it said.
    pub fn exec(&self, docker: &Dockerd, command: &[&str]) -> Result<(i64, String)> {
        let options = CreateExecOptions {
            cmd: Some(command.to_vec()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..CreateExecOptions::default()
        };
        let exec = docker.call(|client| client.create_exec(&self.id, options))?.id;
        let said = docker.call(|client| async {
            let started = client.start_exec(&exec, None).await?;
            let StartExecResults::Attached { output, .. } = started else {
                return Ok(String::new());
            };
            let said: Vec<_> = output.try_collect().await?;
            Ok(said.iter().map(ToString::to_string).collect())
        })?;
        let code = docker.call(|client| client.inspect_exec(&exec))?.exit_code;
        Ok((code.context("no exit code")?, said))
    }

    /// Sends it a signal.
    pub fn kill(&self, docker: &Dockerd, signal: &str) -> Result<()> {
        let options = KillContainerOptions { signal: signal.into() };
        docker.call(|client| client.kill_container(&self.id, Some(options)))
    }
}

/// Of a time as the engine writes it: `2026-01-31T23:59:59.123456789Z`.
fn time_of_day(text: &str) -> Result<Duration> {
    let time = text.split_once('T').and_then(|(_, time)| time.strip_suffix('Z'));
    let mut parts = time.with_context(|| format!("no time: {text}"))?.split(':');
    let mut next = || parts.next().unwrap_or_default().parse::<f64>();
    Ok(Duration::from_secs_f64(next()? * 3600.0 + next()? * 60.0 + next()?))
}

/// An address on a network.
fn at(network: &str, ipv4: std::net::Ipv4Addr) -> NetworkingConfig {
    let ipam = EndpointIpamConfig {
        ipv4_address: Some(ipv4.to_string()),
        ..EndpointIpamConfig::default()
    };
    let endpoint = EndpointSettings { ipam_config: Some(ipam), ..EndpointSettings::default() };
    NetworkingConfig { endpoints_config: Some([(network.to_owned(), endpoint)].into()) }
}

/// A container port, as the engine writes it.
fn udp((container, _): (u16, u16)) -> String {
    format!("{container}/udp")
}

fn binding(port: (u16, u16)) -> (String, Option<Vec<PortBinding>>) {
    let binding = PortBinding { host_ip: None, host_port: Some(port.1.to_string()) };
    (udp(port), Some(vec![binding]))
}

/// From `KEY` and `KEY=VALUE`.
fn labels(texts: &[&str]) -> HashMap<String, String> {
    let label = |text: &&str| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    };
    texts.iter().map(label).collect()
}
