//! Containers, and commands in them.

use hyper::Method;
use serde_json::Value;

use super::{
    misplaced,
    own::{self, NOBODY},
    plain,
    target::Target,
    with_body,
};
use crate::gate::{
    body::{self, Context},
    call::{Attach, Call, Logs, Size},
    facts::Facts,
    json::Json,
    principal::Principal,
    verdict::{Answer, Effect, Forward, Kind, Refusal, View},
    words::filters::Filters,
};

/// How names begin that hubs, and enforcer itself, give their guests: a stranger who had one would keep a user from
/// starting.
const RESERVED: [&str; 4] = ["jupyter-", "jupyterhub", "enforcer-", "guest-"];

/// Most commands of a container that the engine keeps: it forgets those that ended, and of others none until the
/// container ends.
const MAX_COMMANDS: usize = 64;

pub(super) fn judge(context: &Context<'_>, call: &Call, body: &Json) -> Result<Forward, Refusal> {
    match call {
        Call::ContainerList { .. } => list(context, call),
        Call::ContainerCreate { name, platform } => {
            create(context, name.as_deref(), platform.as_deref(), body)
        }
        Call::ContainerInspect { container, size } => {
            let own = own::container(context.facts, container)?;
            let target = Target::new(format!("/containers/{}/json", own.id)).flag("size", *size);
            Ok(plain(Method::GET, target, Answer::Shown(View::Container)))
        }
        Call::ContainerPrune { filters } => {
            let target = Target::new("/containers/prune").filters(&own_labels(context, filters));
            let answer = match context.principal {
                Principal::User(_) => Answer::OneByOne,
                Principal::Hub(_) => Answer::Whole,
            };
            Ok(plain(Method::POST, target, answer).noting(Effect::Pruned(Kind::Container)))
        }
        Call::ExecCreate { container } => {
            let own = own::workable(context, container)?;
            if context.facts.kept_commands >= MAX_COMMANDS {
                let message = format!(
                    "{container:?} has {MAX_COMMANDS} commands that run or were never started; \
                     end some, or restart it"
                );
                return Err(Refusal::forbidden("quota.commands", message));
            }
            let target = Target::new(format!("/containers/{}/exec", own.id));
            let forward = with_body(target, body::exec::judge(body)?, Answer::Whole);
            Ok(forward.noting(Effect::Created(Kind::Exec)))
        }
        Call::ExecStart { exec } => {
            let own = own::exec(context, exec)?;
            let judged = body::exec::judge_start(body)?;
            let is_detached = judged.body.get("Detach") == Some(&Value::Bool(true));
            let answer = if is_detached { Answer::Whole } else { Answer::Hijack };
            Ok(with_body(Target::new(format!("/exec/{}/start", own.id)), judged, answer))
        }
        Call::ExecResize { exec, size } => {
            let own = own::exec(context, exec)?;
            let target = sized(Target::new(format!("/exec/{}/resize", own.id)), *size);
            Ok(plain(Method::POST, target, Answer::Whole))
        }
        Call::ExecInspect { exec } => {
            let own = own::exec(context, exec)?;
            let target = Target::new(format!("/exec/{}/json", own.id));
            Ok(plain(Method::GET, target, Answer::Shown(View::Exec)))
        }
        _ => work(context, call, body),
    }
}

/// What is done to one container that is there.
fn work(context: &Context<'_>, call: &Call, body: &Json) -> Result<Forward, Refusal> {
    let at = |called: &str, verb: &str| {
        let id = &own::workable(context, called)?.id;
        Ok::<_, Refusal>(Target::new(format!("/containers/{id}/{verb}")))
    };
    let post = |target| plain(Method::POST, target, Answer::Whole);
    Ok(match call {
        Call::ContainerStart { container } => post(at(container, "start")?),
        Call::ContainerStop { container, restarts, seconds, signal } => {
            let target = at(container, if *restarts { "restart" } else { "stop" })?;
            post(target.maybe("t", *seconds).maybe("signal", signal.as_ref()))
        }
        Call::ContainerKill { container, signal } => {
            post(at(container, "kill")?.maybe("signal", signal.as_ref()))
        }
        Call::ContainerRename { container, name } => {
            free_name(context, name)?;
            let id = own::workable(context, container)?.id.clone();
            post(at(container, "rename")?.pair("name", name))
                .noting(Effect::Renamed(id, name.clone()))
        }
        Call::ContainerResize { container, size } => post(sized(at(container, "resize")?, *size)),
        Call::ContainerUpdate { container } => {
            with_body(at(container, "update")?, body::update::judge(body, context)?, Answer::Whole)
        }
        Call::ContainerRemove { container, volumes, force } => {
            let id = &own::workable(context, container)?.id;
            // Volumes without a name are nobody's once their container is gone.
            let volumes = *volumes || matches!(context.principal, Principal::User(_));
            let target =
                Target::new(format!("/containers/{id}")).flag("v", volumes).flag("force", *force);
            plain(Method::DELETE, target, Answer::Whole)
                .noting(Effect::Removed(Kind::Container, id.clone()))
        }
        // The answer's head comes at once, and clients wait for it before they start the container.
        Call::ContainerWait { container, condition } => {
            let target = at(container, "wait")?.maybe("condition", condition.as_ref());
            plain(Method::POST, target, Answer::Stream)
        }
        Call::ContainerAttach { container, attach, is_web_socket } => {
            let (method, verb) =
                if *is_web_socket { (Method::GET, "attach/ws") } else { (Method::POST, "attach") };
            plain(method, attached(at(container, verb)?, attach), Answer::Hijack)
        }
        Call::ContainerLogs { container, logs } => {
            plain(Method::GET, logged(at(container, "logs")?, logs), Answer::Stream)
        }
        Call::ContainerTop { container, arguments } => {
            let target = at(container, "top")?.maybe("ps_args", arguments.as_ref());
            plain(Method::GET, target, Answer::Whole)
        }
        Call::ContainerStats { container, stream, one_shot } => {
            let target = at(container, "stats")?.pair("stream", &u8::from(*stream));
            plain(Method::GET, target.flag("one-shot", *one_shot), Answer::Stream)
        }
        _ => return Err(misplaced()),
    })
}

fn create(
    context: &Context<'_>,
    name: Option<&str>,
    platform: Option<&str>,
    body: &Json,
) -> Result<Forward, Refusal> {
    if let Some(name) = name {
        free_name(context, name)?;
    }
    let judged = body::create::judge(body, &Context { name, ..*context })?;
    let volumes = judged.volumes.clone();
    let target = Target::new("/containers/create").maybe("name", name).maybe("platform", platform);
    let mut forward =
        with_body(target, judged, Answer::Whole).noting(Effect::Created(Kind::Container));
    forward.effects.extend(volumes.into_iter().map(|volume| Effect::Made(Kind::Volume, volume)));
    Ok(forward)
}

/// Whether a container may be given this name: nobody's becomes a hub or a service, and a user's is not called as a
/// hub's guests are.
fn free_name(context: &Context<'_>, name: &str) -> Result<(), Refusal> {
    // Who asks for a name's address asks without regard to case.
    if context.rules.reserved_names.iter().any(|reserved| reserved.eq_ignore_ascii_case(name)) {
        let message =
            format!("{name:?} is a hub's or a service's in the config; take another name");
        return Err(Refusal::forbidden("container.name-reserved", message));
    }
    if matches!(context.principal, Principal::Hub(_)) {
        return Ok(());
    }
    let lower = name.to_ascii_lowercase();
    if RESERVED.iter().any(|start| lower.starts_with(start)) {
        let message = format!("names that begin like {name:?} are for hubs; take another one");
        return Err(Refusal::forbidden("container.name-reserved", message));
    }
    if name.contains('.') {
        let message = format!(
            "{name:?} would be an address to all on the network, like github.com; take a name \
             without a dot"
        );
        return Err(Refusal::forbidden("container.name-dotted", message));
    }
    Ok(())
}

/// A list says by its filter whose containers it means: what others have is neither counted by its limit nor told
/// by the engine's errors.
fn list(context: &Context<'_>, call: &Call) -> Result<Forward, Refusal> {
    let Call::ContainerList { all, limit, size, since, before, filters } = call else {
        return Err(misplaced());
    };
    let facts = context.facts;
    let mut filters = filters.clone();
    for (key, asked) in [("since", since), ("before", before)] {
        let called = filters.take(key).into_iter().flatten().chain(asked.clone());
        let ids = called.map(|called| Ok(own::container(facts, &called)?.id.clone()));
        let ids: Vec<String> = ids.collect::<Result<_, Refusal>>()?;
        filters.set(key, ids);
    }
    if let Some(values) = filters.take("network") {
        filters.set("network", each(&values, |called| networks(context, called)));
    }
    if let Some(values) = filters.take("volume") {
        let engine_name = |called: &str| Some(own::volume(facts, called).ok()?.engine_name.clone());
        filters.set("volume", each(&values, engine_name));
    }
    let asked = filters.take("id");
    filters.set("id", ids(facts, asked.as_deref()));
    let target = Target::new("/containers/json")
        .flag("all", *all)
        .maybe("limit", *limit)
        .flag("size", *size)
        .filters(&filters);
    Ok(plain(Method::GET, target, Answer::Shown(View::Containers)))
}

fn networks(context: &Context<'_>, called: &str) -> Option<String> {
    let guest = context.facts.guest_network.as_ref().filter(|guest| guest.name == called);
    let own = || own::network(context.facts, called).ok().map(|own| own.id.clone());
    guest.map(|guest| guest.name.clone()).or_else(own)
}

/// Each by what the engine knows it by; none is nobody, not anybody.
fn each(values: &[String], find: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let found: Vec<String> = values.iter().filter_map(|called| find(called)).collect();
    if found.is_empty() { vec![NOBODY.to_owned()] } else { found }
}

/// Ids of own containers that begin like one of those asked for.
fn ids(facts: &Facts, asked: Option<&[String]>) -> Vec<String> {
    let is_asked = |id: &str| {
        asked.is_none_or(|asked| asked.iter().any(|start| id.starts_with(start.as_str())))
    };
    let ids = facts.containers.iter().map(|own| own.id.clone()).filter(|id| is_asked(id));
    let ids: Vec<String> = ids.collect();
    if ids.is_empty() { vec![NOBODY.to_owned()] } else { ids }
}

/// Filters of a prune: only what this principal's socket made. The labels are ours, no client can set them.
pub(super) fn own_labels(context: &Context<'_>, filters: &Filters) -> Filters {
    let mut filters = filters.clone();
    let mut labels = filters.take("label").unwrap_or_default();
    let (through, user) = match context.principal {
        Principal::Hub(_) => ("hub", None),
        Principal::User(user) => ("user", Some(&user.name)),
    };
    labels.push(format!("enforcer.gate={through}"));
    labels.push(format!("enforcer.hub={}", context.principal.hub()));
    labels.extend(user.map(|name| format!("enforcer.user={name}")));
    filters.set("label", labels);
    filters
}

fn sized(target: Target, size: Size) -> Target {
    target.pair("h", &size.height).pair("w", &size.width)
}

fn attached(target: Target, attach: &Attach) -> Target {
    target
        .flag("logs", attach.logs)
        .flag("stream", attach.stream)
        .flag("stdin", attach.stdin)
        .flag("stdout", attach.stdout)
        .flag("stderr", attach.stderr)
        .maybe("detachKeys", attach.detach_keys.as_ref())
}

fn logged(target: Target, logs: &Logs) -> Target {
    target
        .flag("follow", logs.follow)
        .flag("stdout", logs.stdout)
        .flag("stderr", logs.stderr)
        .flag("timestamps", logs.timestamps)
        .flag("details", logs.details)
        .maybe("since", logs.since.as_ref())
        .maybe("until", logs.until.as_ref())
        .maybe("tail", logs.tail)
}
