//! What is seen on a host: what came to an engine, and whether an attack had its effect.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Replies, Words, Yard};
use crate::{
    attacks::gate::{Effect, Is},
    harness::http::Line,
};

/// Kinds of things that attacks make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Container,
    Network,
    Volume,
    Image,
    Plugin,
}

/// Containers go first: networks, volumes and images are in use as long as they are there.
pub(super) const KINDS: [Kind; 5] =
    [Kind::Container, Kind::Network, Kind::Volume, Kind::Image, Kind::Plugin];

impl Kind {
    /// All that an engine has: how each is called.
    fn list(self, engine: &Line) -> Result<Vec<String>> {
        let (target, place, key) = match self {
            Self::Container => ("/v1.41/containers/json?all=1", "", "Id"),
            Self::Network => ("/v1.41/networks", "", "Id"),
            Self::Volume => ("/v1.41/volumes", "/Volumes", "Name"),
            Self::Image => ("/v1.41/images/json", "", "RepoTags"),
            Self::Plugin => ("/v1.41/plugins", "", "Name"),
        };
        let all = engine.get("GET", target, None)?;
        let all = all.pointer(place).and_then(Value::as_array).cloned().unwrap_or_default();
        // What an engine makes for a swarm is its own.
        let is_own =
            |item: &Value| matches!(item["Name"].as_str(), Some("ingress" | "docker_gwbridge"));
        let called = |item: Value| match &item[key] {
            Value::String(name) => vec![name.clone()],
            Value::Array(names) => {
                names.iter().filter_map(|name| name.as_str()).map(str::to_owned).collect()
            }
            _ => Vec::new(),
        };
        Ok(all
            .into_iter()
            .filter(|item| !is_own(item))
            .flat_map(called)
            .filter(|name| name != "<none>:<none>")
            .collect())
    }

    fn inspect(self, engine: &Line, called: &str) -> Result<Option<Value>> {
        let target = match self {
            Self::Container => format!("/v1.41/containers/{called}/json"),
            Self::Network => format!("/v1.41/networks/{called}"),
            Self::Volume => format!("/v1.41/volumes/{called}"),
            Self::Image => format!("/v1.41/images/{called}/json"),
            Self::Plugin => format!("/v1.41/plugins/{called}/json"),
        };
        let reply = engine.ask("GET", &target, None)?;
        if reply.status == 404 {
            return Ok(None);
        }
        anyhow::ensure!(reply.status == 200, "GET {target}: {}", reply.shown());
        reply.json().map(Some)
    }

    pub(super) fn remove(self, engine: &Line, called: &str) -> Result<()> {
        let target = match self {
            Self::Container => format!("/v1.41/containers/{called}?force=1&v=1"),
            Self::Network => format!("/v1.41/networks/{called}"),
            Self::Volume => format!("/v1.41/volumes/{called}?force=1"),
            Self::Image => format!("/v1.41/images/{called}?force=1"),
            Self::Plugin => format!("/v1.41/plugins/{called}?force=1"),
        };
        let reply = engine.ask("DELETE", &target, None)?;
        // Some went with a container.
        anyhow::ensure!(
            reply.status < 300 || reply.status == 404,
            "remove {called}: {}",
            reply.shown()
        );
        Ok(())
    }
}

/// Kinds of things that may be there after an attack with this effect.
pub(super) const fn kinds(effect: &Effect) -> &'static [Kind] {
    match effect {
        Effect::Container(..)
        | Effect::Inside(_)
        | Effect::Namespace(_)
        | Effect::Status(_)
        | Effect::Capability(_)
        | Effect::Volume(..) => &[Kind::Container, Kind::Volume],
        Effect::Network(..) => &[Kind::Network],
        Effect::Answer(_) => &[Kind::Volume],
        _ => &KINDS,
    }
}

/// All that an engine has.
pub(super) fn all(engine: &Line) -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for kind in KINDS {
        all.extend(kind.list(engine)?);
    }
    Ok(all)
}

/// What it has beside that.
pub(super) fn new(
    engine: &Line,
    kinds: &[Kind],
    known: &BTreeSet<String>,
) -> Result<Vec<(Kind, String)>> {
    let mut new = Vec::new();
    for kind in kinds {
        let fresh = kind.list(engine)?.into_iter().filter(|called| !known.contains(called));
        new.extend(fresh.map(|called| (*kind, called)));
    }
    Ok(new)
}

impl Yard<'_> {
    /// Whether an attack had its effect, at once or within a time.
    pub fn has_effect(
        &self,
        effect: &Effect,
        (words, before, replies): (&Words, &Value, &Replies),
        within: Duration,
    ) -> Result<bool> {
        let started = Instant::now();
        loop {
            let (late, seen) = self.look(effect, (words, before, replies))?;
            if seen || !late || started.elapsed() >= within {
                return Ok(seen);
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Whether it may still come, and whether it is there.
    fn look(
        &self,
        effect: &Effect,
        (words, before, replies): (&Words, &Value, &Replies),
    ) -> Result<(bool, bool)> {
        let fits = |is: &Is, found: Option<&Value>| match is {
            Is::Equal(wanted) => {
                let wanted: Option<Value> =
                    serde_json::from_str(&words.fill(&wanted.to_string())).ok();
                Is::Equal(wanted.unwrap_or_default()).fits(found)
            }
            Is::Has(part) => Is::Has(words.fill(part)).fits(found),
            Is::Beyond(most) => Is::Beyond(*most).fits(found),
        };
        let made = |kind: Kind, place: &str, is: &Is| {
            for (_, called) in new(&self.engine, &[kind], &self.known)? {
                // What a slow engine made for another row, or removes, is none of this one's.
                let Some(said) = kind.inspect(&self.engine, &called)? else { continue };
                if !is_other_s(&said, words) && fits(is, said.pointer(place)) {
                    return Ok(true);
                }
            }
            Ok::<_, anyhow::Error>(false)
        };
        Ok(match effect {
            Effect::Container(place, is) => (true, made(Kind::Container, place, is)?),
            Effect::Network(place, is) => (true, made(Kind::Network, place, is)?),
            Effect::Volume(place, is) => (true, made(Kind::Volume, place, is)?),
            Effect::Says(target, place, is) => {
                let target = format!("/v1.41{}", words.fill(target));
                let reply = self.engine.ask("GET", &target, None)?;
                let said = if reply.status == 200 { reply.json()? } else { Value::Null };
                // What is not there has no bound that it could be beyond.
                (true, reply.status == 200 && fits(is, said.pointer(place)))
            }
            Effect::Changes(target, place) => {
                (true, self.says(&words.fill(target))?.pointer(place) != Some(before))
            }
            Effect::Gone(target) => {
                let target = format!("/v1.41{}", words.fill(target));
                (true, self.engine.ask("GET", &target, None)?.status == 404)
            }
            Effect::Answer(part) => {
                let part = words.fill(part);
                (false, replies.iter().any(|reply| reply.has(&part)))
            }
            Effect::Canary => (true, *before != self.host.actor.served(self.canary.0)?.accepted),
            Effect::File(path) => (true, Path::new(&words.fill(path)).exists()),
            Effect::Inside(_)
            | Effect::Namespace(_)
            | Effect::Status(_)
            | Effect::Capability(_) => (true, self.in_kernel(effect, words)?),
        })
    }

    /// What the kernel says of the process of a container that has come.
    fn in_kernel(&self, effect: &Effect, words: &Words) -> Result<bool> {
        for (_, called) in new(&self.engine, &[Kind::Container], &self.known)? {
            let Some(said) = Kind::Container.inspect(&self.engine, &called)? else { continue };
            let pid = &said["State"]["Pid"];
            let proc = format!("/proc/{pid}");
            if *pid == 0 || is_other_s(&said, words) {
                continue;
            }
            let status = fs::read_to_string(format!("{proc}/status")).unwrap_or_default();
            let seen = match effect {
                Effect::Inside(path) => {
                    Path::new(&format!("{proc}/root{}", words.fill(path))).exists()
                }
                Effect::Namespace(kind) => {
                    let of = |proc: &str| fs::read_link(format!("{proc}/ns/{kind}")).ok();
                    let host = if *kind == "net" {
                        format!("/proc/{}", self.host.pid())
                    } else {
                        "/proc/self".into()
                    };
                    of(&proc).is_some() && of(&proc) == of(&host)
                }
                Effect::Status(line) => status.lines().any(|found| found == *line),
                Effect::Capability(number) => capabilities(&status)? & (1 << number) != 0,
                _ => false,
            };
            if seen {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether another row gave this its name.
fn is_other_s(said: &Value, words: &Words) -> bool {
    let name = said["Name"].as_str().unwrap_or_default().trim_start_matches('/');
    let own = words.fill("@name@");
    let is_name = |name: &str| {
        name.len() == own.len()
            && name.starts_with(['g', 'r'])
            && name.bytes().skip(1).all(|byte| byte.is_ascii_digit())
    };
    is_name(name) && name != own
}

fn capabilities(status: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:\t"));
    Ok(u64::from_str_radix(line.context("no capabilities")?, 16)?)
}
