//! A build: what of its query goes to the engine, and what is forced. What its Dockerfile may say is in
//! `gate/build.rs`.

use hyper::Method;
use serde_json::{Map, Value, json};

use super::{images::own_tag, plain, target::Target};
use crate::gate::{
    body::{Context, who},
    call::build::Build,
    names,
    rules::Rules,
    verdict::{Answer, Effect, Forward, Kind, Refusal},
};

/// Where the Dockerfile that was judged stands in the context that goes to the engine. A context of a client's has
/// nothing of this name.
pub const DOCKERFILE: &str = ".enforcer.dockerfile";
/// The name of an image that was asked for without one, after the mark of its owner.
const UNNAMED: &str = "build";
/// Bandwidth of a CPU: its usual period, and the least that the kernel takes, µs.
const PERIOD: u64 = 100_000;
const LEAST: u64 = 1_000;

pub(super) fn judge(context: &Context<'_>, asked: &Build) -> Result<Forward, Refusal> {
    let named = asked.tag.clone();
    let named = named.unwrap_or_else(|| names::mark(context.principal) + UNNAMED);
    let tag = own_tag(context, &named)?;
    let (quota, period) = cpu(asked, context.rules)?;
    let memory = within("memory", asked.memory, context.rules.memory)?;
    let shm = asked.shm.map(|shm| within("shmsize", Some(shm), memory)).transpose()?;
    let labels = labels(asked, context)?;
    let target = Target::new("/build")
        .pair("version", "1")
        .pair("dockerfile", DOCKERFILE)
        .pair("t", &tag)
        .maybe("target", asked.target.as_ref())
        .flag("nocache", asked.no_cache)
        .flag("q", asked.is_quiet)
        .flag("rm", true)
        .flag("forcerm", true)
        .pair("networkmode", &network(context, asked)?)
        .pair("memory", &memory)
        // As much as the memory: none of it is swapped out.
        .pair("memswap", &memory)
        .pair("cpuperiod", &period)
        .pair("cpuquota", &quota)
        .maybe("cpushares", asked.shares)
        .maybe("shmsize", shm);
    let pairs = |pairs: &[(String, Option<String>)]| -> Map<String, Value> {
        pairs.iter().map(|(name, value)| (name.clone(), json!(value))).collect()
    };
    let arguments = pairs(&asked.arguments);
    let is_some = |map: &Map<String, Value>| !map.is_empty();
    let target = target
        .maybe("buildargs", Some(&arguments).filter(|map| is_some(map)).map(text))
        .maybe("labels", Some(&labels).filter(|map| is_some(map)).map(text));
    let shown = json!({
        "dockerfile": asked.dockerfile,
        "tag": tag,
        "target": asked.target,
        "labels": labels,
        "arguments": arguments.keys().collect::<Vec<_>>(),
    });
    let forward = plain(Method::POST, target, Answer::Stream);
    Ok(Forward { shown, ..forward }.noting(Effect::Made(Kind::Image, tag)))
}

fn labels(asked: &Build, context: &Context<'_>) -> Result<Map<String, Value>, Refusal> {
    let own = asked.labels.iter().map(|(key, value)| match who::not_own(key, context) {
        Some(why) => Err(Refusal::forbidden("build.label", format!("{key:?}: {why}"))),
        None => Ok((key.clone(), json!(value))),
    });
    own.collect()
}

fn text(map: &Map<String, Value>) -> String {
    Value::Object(map.clone()).to_string()
}

/// Where the RUN steps are: with the principal's guests, or nowhere.
fn network(context: &Context<'_>, asked: &Build) -> Result<String, Refusal> {
    let Some(guests) = &context.facts.guest_network else {
        let message = "there is no network for your containers, so nothing is built either";
        return Err(Refusal::forbidden("build.no-network", message));
    };
    if context.facts.has_other_policy {
        return Ok("none".to_owned());
    }
    match asked.network.as_deref() {
        None | Some("default" | "bridge") => Ok(guests.name.clone()),
        Some("none") => Ok("none".to_owned()),
        Some(network) if network == guests.name => Ok(guests.name.clone()),
        Some(network) => Err(Refusal::forbidden(
            "build.network",
            format!(
                "RUN steps are on the network of your containers, never on {network:?}; leave \
                 --network out, or make it none"
            ),
        )),
    }
}

/// What is asked for within the rules; where nothing is, all of it.
fn within(what: &str, asked: Option<u64>, most: u64) -> Result<u64, Refusal> {
    match asked {
        Some(number) if number > most => Err(Refusal::forbidden(
            "build.limit",
            format!("{what:?} of {number} is more than may be had; at most {most}"),
        )),
        asked => Ok(asked.unwrap_or(most)),
    }
}

/// CPU time in a period, and the period, µs.
fn cpu(asked: &Build, rules: &Rules) -> Result<(u64, u64), Refusal> {
    let period = asked.period.unwrap_or(PERIOD);
    if period < LEAST {
        let message = format!("\"cpuperiod\" is at least {LEAST}");
        return Err(Refusal::unclear("build.limit", message));
    }
    let most = rules.nano_cpus.saturating_mul(period) / 1_000_000_000;
    Ok((within("cpuquota", asked.quota, most)?.max(LEAST), period))
}
