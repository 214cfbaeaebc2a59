//! From words to a call: which keys each call knows, and what may stand for them. A key that clients send by habit and
//! that changes nothing is taken and forgotten.

use super::{Attach, Call, Logs, Size, build};
use crate::gate::{
    names::is_name,
    table::Op,
    verdict::Refusal,
    words::{filters::Known, query::Query},
};

/// Longest wait before a stop kills, seconds; -1 would be for ever.
const MAX_STOP: i32 = 600;
/// Highest number of a signal.
const MAX_SIGNAL: u8 = 64;
const SIGNALS: &str = "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP \
                       TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO POLL PWR SYS";
/// The engine runs `ps` on the host with these; other words of `ps` can name files.
const PS: [&str; 4] = ["-ef", "aux", "-aux", "-e -f"];

const CONTAINERS: &[Known] = &[
    "ancestor", "before", "exited", "expose", "health", "id", "label", "name", "network",
    "publish", "since", "status", "volume",
];
const IMAGES: &[Known] = &["dangling", "label", "reference"];
const VOLUMES: &[Known] = &["dangling", "driver", "label", "name"];
const NETWORKS: &[Known] = &["dangling", "driver", "id", "label", "name", "scope", "type"];
const EVENTS: &[Known] = &["container", "event", "image", "label", "network", "type", "volume"];

pub(super) fn read(
    op: Op,
    called: String,
    is_head: bool,
    query: &mut Query,
) -> Result<Call, Refusal> {
    let named = |what: &str| if is_name(&called) { Ok(called.clone()) } else { Err(no_name(what)) };
    Ok(match op {
        Op::Ping => Call::Ping { is_head },
        Op::Version => Call::Version,
        Op::Info => Call::Info,
        Op::Events => Call::Events {
            since: query.take_time("since")?,
            until: query.take_time("until")?,
            filters: query.take_filters(EVENTS)?,
        },
        Op::ContainerList => container_list(query)?,
        Op::ContainerCreate => {
            Call::ContainerCreate { name: take_name(query)?, platform: take_platform(query)? }
        }
        Op::ContainerInspect => Call::ContainerInspect {
            container: named("container")?,
            size: query.take_bool("size")?,
        },
        Op::ContainerStart => {
            take_detach_keys(query)?;
            Call::ContainerStart { container: named("container")? }
        }
        Op::ContainerStop | Op::ContainerRestart => Call::ContainerStop {
            container: named("container")?,
            restarts: op == Op::ContainerRestart,
            seconds: query.take_number("t", &(0..=MAX_STOP))?,
            signal: take_signal(query)?,
        },
        Op::ContainerKill => {
            Call::ContainerKill { container: named("container")?, signal: take_signal(query)? }
        }
        Op::ContainerRemove => {
            query.take_only("link", &["0", "false", "False"])?;
            Call::ContainerRemove {
                container: named("container")?,
                volumes: query.take_bool("v")?,
                force: query.take_bool("force")?,
            }
        }
        Op::ContainerLogs => {
            Call::ContainerLogs { container: named("container")?, logs: take_logs(query)? }
        }
        Op::ContainerWait => Call::ContainerWait {
            container: named("container")?,
            condition: take_condition(query)?,
        },
        Op::ContainerAttach | Op::ContainerAttachWebSocket => Call::ContainerAttach {
            container: named("container")?,
            attach: take_attach(query)?,
            is_web_socket: op == Op::ContainerAttachWebSocket,
        },
        Op::ContainerResize => {
            Call::ContainerResize { container: named("container")?, size: take_size(query)? }
        }
        Op::ContainerTop => {
            Call::ContainerTop { container: named("container")?, arguments: take_ps(query)? }
        }
        Op::ContainerStats => Call::ContainerStats {
            container: named("container")?,
            stream: query.take_choice("stream")?.unwrap_or(true),
            one_shot: query.take_bool("one-shot")?,
        },
        Op::ContainerRename => Call::ContainerRename {
            container: named("container")?,
            name: take_name(query)?.ok_or_else(|| no_name("new container"))?,
        },
        Op::ContainerUpdate => Call::ContainerUpdate { container: named("container")? },
        Op::ContainerPrune => {
            Call::ContainerPrune { filters: query.take_filters(&["label", "label!"])? }
        }
        Op::ExecCreate => Call::ExecCreate { container: named("container")? },
        Op::ExecStart => Call::ExecStart { exec: named("exec instance")? },
        Op::ExecResize => {
            Call::ExecResize { exec: named("exec instance")?, size: take_size(query)? }
        }
        Op::ExecInspect => Call::ExecInspect { exec: named("exec instance")? },
        Op::VolumeList
        | Op::VolumeCreate
        | Op::VolumeInspect
        | Op::VolumeRemove
        | Op::VolumePrune
        | Op::NetworkList
        | Op::NetworkCreate
        | Op::NetworkInspect
        | Op::NetworkConnect
        | Op::NetworkDisconnect
        | Op::NetworkRemove
        | Op::NetworkPrune => beside(op, &named, query)?,
        Op::ImageList
        | Op::ImageInspect
        | Op::ImageHistory
        | Op::ImagePull
        | Op::ImageBuild
        | Op::ImageTag
        | Op::ImageRemove => image(op, called, query)?,
    })
}

/// Volumes and networks.
fn beside(
    op: Op,
    named: &dyn Fn(&str) -> Result<String, Refusal>,
    query: &mut Query,
) -> Result<Call, Refusal> {
    Ok(match op {
        Op::VolumeList => Call::VolumeList { filters: query.take_filters(VOLUMES)? },
        Op::VolumeCreate => Call::VolumeCreate,
        Op::VolumeInspect => Call::VolumeInspect { volume: named("volume")? },
        Op::VolumeRemove => {
            Call::VolumeRemove { volume: named("volume")?, force: query.take_bool("force")? }
        }
        Op::VolumePrune => {
            Call::VolumePrune { filters: query.take_filters(&["all", "label", "label!"])? }
        }
        Op::NetworkList => Call::NetworkList { filters: query.take_filters(NETWORKS)? },
        Op::NetworkCreate => Call::NetworkCreate,
        Op::NetworkInspect => {
            query.take_only("scope", &["local"])?;
            Call::NetworkInspect {
                network: named("network")?,
                verbose: query.take_bool("verbose")?,
            }
        }
        Op::NetworkConnect => Call::NetworkConnect { network: named("network")? },
        Op::NetworkDisconnect => Call::NetworkDisconnect { network: named("network")? },
        Op::NetworkRemove => Call::NetworkRemove { network: named("network")? },
        _ => Call::NetworkPrune { filters: query.take_filters(&["label", "label!"])? },
    })
}

fn image(op: Op, image: String, query: &mut Query) -> Result<Call, Refusal> {
    Ok(match op {
        Op::ImageInspect => Call::ImageInspect {
            image,
            manifests: query.take_bool("manifests")?,
            platform: take_platform(query)?,
        },
        Op::ImageHistory => Call::ImageHistory { image, platform: take_platform(query)? },
        Op::ImagePull => pull(query)?,
        Op::ImageBuild => Call::ImageBuild(Box::new(build::read(query)?)),
        Op::ImageTag => {
            // Python's library says what engines have long stopped to ask.
            query.take_bool("force")?;
            Call::ImageTag {
                image,
                repository: query.take("repo").ok_or_else(|| no_name("new image"))?,
                tag: query.take("tag"),
            }
        }
        Op::ImageRemove => {
            // With force, containers of others lose the image that they were made of.
            query.take_only("force", &["0", "false", "False"])?;
            Call::ImageRemove { image, keeps_parents: query.take_bool("noprune")? }
        }
        _ => {
            // Python's library makes a list of ids out of whole answers itself.
            query.take_bool("only_ids")?;
            Call::ImageList {
                all: query.take_bool("all")?,
                digests: query.take_bool("digests")?,
                shared_size: query.take_bool("shared-size")?,
                manifests: query.take_bool("manifests")?,
                filters: query.take_filters(IMAGES)?,
            }
        }
    })
}

/// A pull. `fromSrc`, `repo`, `changes` and `message` are those of an import: nobody takes them here.
fn pull(query: &mut Query) -> Result<Call, Refusal> {
    let Some(image) = query.take("fromImage") else {
        return Err(Refusal::forbidden(
            "image.import",
            "images come by pull: name one with \"fromImage\" and \"tag\"",
        ));
    };
    let has_version =
        image.contains('@') || image.rsplit('/').next().is_some_and(|last| last.contains(':'));
    let image = match query.take("tag") {
        None if has_version => image,
        None => {
            let message = "a pull without a tag means all tags; name one, \"latest\" perhaps";
            return Err(Refusal::forbidden("image.all-tags", message));
        }
        Some(_) if has_version => {
            let message = "the image has its tag or digest twice, in \"fromImage\" and in \"tag\"";
            return Err(Refusal::unclear("image.twice", message));
        }
        Some(digest) if digest.contains(':') => format!("{image}@{digest}"),
        Some(tag) => format!("{image}:{tag}"),
    };
    Ok(Call::ImagePull { image, platform: take_platform(query)? })
}

fn container_list(query: &mut Query) -> Result<Call, Refusal> {
    // The engine has not known this key for long; Python's library sends it still.
    query.take_bool("trunc_cmd")?;
    let named = |query: &mut Query, key: &str| match query.take(key) {
        Some(name) if !is_name(&name) => Err(no_name("container")),
        name => Ok(name),
    };
    let (since, before) = (named(query, "since")?, named(query, "before")?);
    let limit = query.take_number("limit", &(-1..=i32::MAX))?;
    Ok(Call::ContainerList {
        all: query.take_bool("all")?,
        // -1 and 0 are no limit.
        limit: limit.and_then(|limit| u32::try_from(limit).ok()).filter(|&limit| limit > 0),
        size: query.take_bool("size")?,
        since,
        before,
        filters: query.take_filters(CONTAINERS)?,
    })
}

fn take_logs(query: &mut Query) -> Result<Logs, Refusal> {
    let tail = match query.take("tail").as_deref() {
        None | Some("all") => None,
        Some(text) => Some(number(text).ok_or_else(|| {
            Refusal::unclear("query.tail", "\"tail\" is neither \"all\" nor a number of lines")
        })?),
    };
    Ok(Logs {
        follow: query.take_bool("follow")?,
        stdout: query.take_bool("stdout")?,
        stderr: query.take_bool("stderr")?,
        timestamps: query.take_bool("timestamps")?,
        details: query.take_bool("details")?,
        since: query.take_time("since")?,
        until: query.take_time("until")?,
        tail,
    })
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number: &u32| number.to_string() == text)
}

fn take_attach(query: &mut Query) -> Result<Attach, Refusal> {
    Ok(Attach {
        logs: query.take_bool("logs")?,
        stream: query.take_bool("stream")?,
        stdin: query.take_bool("stdin")?,
        stdout: query.take_bool("stdout")?,
        stderr: query.take_bool("stderr")?,
        detach_keys: take_detach_keys(query)?,
    })
}

/// Keys that end an attachment: letters, or `ctrl-` and one, with commas between.
fn take_detach_keys(query: &mut Query) -> Result<Option<String>, Refusal> {
    let Some(keys) = query.take("detachKeys") else { return Ok(None) };
    let is_key = |key: &str| {
        let letter = key.strip_prefix("ctrl-").unwrap_or(key);
        letter.len() == 1
            && letter.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"@[\\]^_".contains(&byte))
    };
    if keys.split(',').count() <= 8 && keys.split(',').all(is_key) {
        return Ok(Some(keys));
    }
    Err(Refusal::unclear("query.detach-keys", "\"detachKeys\" are no keys, as ctrl-p,ctrl-q are"))
}

fn take_size(query: &mut Query) -> Result<Size, Refusal> {
    let mut take = |key: &str| query.take_number(key, &(0..=10_000)).map(Option::unwrap_or_default);
    Ok(Size { height: take("h")?, width: take("w")? })
}

fn take_condition(query: &mut Query) -> Result<Option<String>, Refusal> {
    match query.take("condition") {
        Some(condition)
            if !["not-running", "next-exit", "removed"].contains(&condition.as_str()) =>
        {
            let message = "\"condition\" is none of not-running, next-exit and removed";
            Err(Refusal::unclear("query.condition", message))
        }
        condition => Ok(condition),
    }
}

/// A signal by name or number; its name is sent on without `SIG`.
fn take_signal(query: &mut Query) -> Result<Option<String>, Refusal> {
    let Some(signal) = query.take("signal") else { return Ok(None) };
    let upper = signal.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = number(&signal).filter(|number| (1..=u32::from(MAX_SIGNAL)).contains(number));
    if number.is_some() || SIGNALS.split_whitespace().any(|known| known == name) {
        return Ok(Some(name.to_owned()));
    }
    Err(Refusal::unclear(
        "query.signal",
        "\"signal\" is no signal of Linux, as TERM, SIGKILL and 15 are",
    ))
}

fn take_ps(query: &mut Query) -> Result<Option<String>, Refusal> {
    match query.take("ps_args") {
        Some(words) if !PS.contains(&words.as_str()) => {
            let message = format!("ps runs on the host; \"ps_args\" may be one of {PS:?}");
            Err(Refusal::forbidden("query.ps-args", message))
        }
        words => Ok(words),
    }
}

fn take_name(query: &mut Query) -> Result<Option<String>, Refusal> {
    let Some(name) = query.take("name") else { return Ok(None) };
    // Python's users write the slash that answers have.
    let plain = name.strip_prefix('/').unwrap_or(&name);
    if is_name(plain) { Ok(Some(plain.to_owned())) } else { Err(no_name("container")) }
}

/// `linux/arm64/v8`; since 1.48 clients send some of them as an object, which is for what is not offered here.
fn take_platform(query: &mut Query) -> Result<Option<String>, Refusal> {
    let Some(platform) = query.take("platform") else { return Ok(None) };
    let is_part = |part: &str| {
        (1..=32).contains(&part.len())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    };
    if platform.split('/').count() <= 3 && platform.split('/').all(is_part) {
        return Ok(Some(platform));
    }
    Err(Refusal::unclear("query.platform", "\"platform\" is none, as linux/amd64 is"))
}

pub(super) fn no_name(what: &str) -> Refusal {
    Refusal::unclear(
        "name.form",
        format!(
            "the name of a {what} is missing or is none: it has letters, digits, \"_\", \".\" and \"-\" only"
        ),
    )
}
