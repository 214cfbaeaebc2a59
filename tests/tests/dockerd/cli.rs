//! Guests by the command line, and what the engine has of them.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use bollard::{
    models::ContainerInspectResponse,
    query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder, ListVolumesOptions},
};
use enforcer_tests::harness::{
    dockerd::{Dockerd, Options},
    enforcer::{Enforcer, Settings},
    image,
    netns::Namespace,
    topology::{Base, Rig},
};

/// A second network, whose guests are users of hub `lab`.
const LAB: &str = "[networks.second]\nbridge = \"second0\"\nsubnet = \"10.98.0.0/24\"\n\
                   gateway = \"10.98.0.1\"\n[hubs.lab]\nnetworks = [\"second\"]\n";

/// What a guest runs that stays.
pub const STAYS: [&str; 4] =
    ["--", "/bin/sh", "-c", "trap 'exit 0' TERM; echo up; sleep 600 & wait"];

/// The command line.
pub struct Cli<'a> {
    pub daemon: &'a Enforcer,
    pub rig: &'a Rig,
}

impl Cli<'_> {
    pub fn run(&self, arguments: &[&str]) -> Result<(i32, String)> {
        run(self.daemon, &self.rig.host, arguments)
    }

    pub fn ok(&self, arguments: &[&str]) -> Result<String> {
        let (code, said) = self.run(arguments)?;
        ensure!(code == 0, "{arguments:?}: {code}: {said}\n{}", self.daemon.log_text());
        Ok(said)
    }

    pub fn try_start(&self, user: &str, more: &[&str]) -> Result<(i32, String)> {
        self.run(&order(user, more))
    }

    pub fn start(&self, user: &str, more: &[&str]) -> Result<String> {
        self.ok(&order(user, more))
    }

    pub fn refused(&self, user: &str, more: &[&str], words: &str) -> Result<()> {
        let (code, said) = self.try_start(user, more)?;
        ensure!(code == 2 && said.contains(words), "{user} {more:?}: {code}: {said}");
        Ok(())
    }

    /// Removes a guest and its user's volumes.
    pub fn away(&self, user: &str, hub: Option<&str>) -> Result<()> {
        let hub = hub.map(|hub| ["--hub", hub]);
        let hub = hub.as_ref().map_or(&[][..], |hub| &hub[..]);
        self.ok(&[&["remove", user][..], hub].concat())?;
        self.ok(&[&["reset-volumes", user][..], hub].concat()).map(drop)
    }
}

pub fn run(daemon: &Enforcer, host: &Namespace, arguments: &[&str]) -> Result<(i32, String)> {
    // What follows `--` is a guest's command.
    let end = arguments.iter().position(|one| *one == "--").unwrap_or(arguments.len());
    let (own, command) = arguments.split_at(end);
    let config = daemon.config().to_str().context("the config's path")?;
    daemon.raw(host, "guest", &[own, &["--config", config], command].concat())
}

pub fn order<'a>(user: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["start", user, "--image", image::NAME][..], more].concat()
}

pub fn start_all() -> Result<(Rig, Enforcer)> {
    start_with(LAB)
}

pub fn start_with(more: &str) -> Result<(Rig, Enforcer)> {
    start_on(Options::default(), more)
}

pub fn start_on(options: Options, more: &str) -> Result<(Rig, Enforcer)> {
    let rig = Base::start(options)?.with_guests()?;
    let settings = Settings { more: more.to_owned(), ..Settings::default() };
    let daemon = Enforcer::start_beside(&rig, &settings)?;
    Ok((rig, daemon))
}

pub fn inspect(docker: &Dockerd, name: &str) -> Result<ContainerInspectResponse> {
    docker.call(|client| client.inspect_container(name, None::<InspectContainerOptions>))
}

/// Containers of enforcer's, whatever their state.
pub fn ours(docker: &Dockerd) -> Result<BTreeSet<String>> {
    let label = [("label", vec!["enforcer.managed=true"])];
    let options = ListContainersOptionsBuilder::default().all(true).filters(&label.into()).build();
    let found = docker.call(|client| client.list_containers(Some(options)))?;
    let names = found.into_iter().filter_map(|one| one.names?.into_iter().next());
    Ok(names.map(|name| name.trim_start_matches('/').to_owned()).collect())
}

pub fn volumes(docker: &Dockerd) -> Result<BTreeSet<String>> {
    let found = docker.call(|client| client.list_volumes(None::<ListVolumesOptions>))?;
    Ok(found.volumes.unwrap_or_default().into_iter().map(|volume| volume.name).collect())
}

/// What another verb says that must work.
pub fn verb(cli: &Cli<'_>, verb: &str, arguments: &[&str]) -> Result<String> {
    let (code, said) = cli.daemon.verb(&cli.rig.host, verb, arguments)?;
    ensure!(code == 0, "{verb} {arguments:?}: {code}: {said}");
    Ok(said)
}
