//! Containers of any shape: any network mode, labels, entry point and capabilities.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use bollard::{
    models::{ContainerConfig, ContainerCreateBody, ContainerInspectResponse, HostConfig},
    query_parameters::{
        CommitContainerOptionsBuilder, CreateContainerOptions, KillContainerOptions,
    },
};

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
    /// Labels, `KEY` or `KEY=VALUE`.
    pub labels: &'a [&'a str],
    /// Legacy links, `CONTAINER:ALIAS`.
    pub links: &'a [&'a str],
    /// Environment, `NAME=value`.
    pub environment: &'a [&'a str],
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
            host_config: Some(HostConfig {
                binds: Some(vec![format!("{}:/run/actor", dir.display())]),
                network_mode: Some(spec.network.into()),
                links: Some(strings(spec.links)),
                cap_add: Some(strings(spec.capabilities)),
                ..HostConfig::default()
            }),
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

/// From `KEY` and `KEY=VALUE`.
fn labels(texts: &[&str]) -> HashMap<String, String> {
    let label = |text: &&str| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    };
    texts.iter().map(label).collect()
}
