//! `[policies.NAME]`: what guests may reach beside their hubs.

use std::{collections::BTreeMap, ops::Range};

use enforcer_common::packet::{ICMP, ICMPV6, TCP, UDP};
use toml::{Spanned, Value};

use super::{
    Place, Policy, PolicyRule, check, limits, mode, presets,
    problem::Problems,
    raw::{RawPolicy, RawRule},
    services,
};
use crate::model::names::Pattern;
use crate::policy::{
    compile::compile,
    rule::{Action, Net, NetError, Ports, Rule},
};

/// Checks one policy. `file` names its rules; `has_resolver`: the config has one.
pub(super) fn policy(
    name: &Spanned<String>,
    raw: RawPolicy,
    has_resolver: bool,
    file: &str,
    problems: &mut Problems<'_>,
) -> Policy {
    if let Err(message) = check::docker_name("policy", name.get_ref()) {
        problems.add(name.span(), message);
    }
    let mut rules = Vec::new();
    for preset in &raw.presets {
        match presets::preset(preset.get_ref()) {
            Some((_, ports)) if ports.is_empty() => {}
            Some((to, ports)) => rules.push(PolicyRule {
                action: Action::Allow,
                to,
                ports,
                name: format!("preset {}", preset.get_ref()),
            }),
            None => problems.add(
                preset.span(),
                format!(
                    "there is no preset \"{}\"; there are {}",
                    preset.get_ref(),
                    presets::NAMES.join(", ")
                ),
            ),
        }
    }
    for (action, raw) in [(Action::Allow, raw.allow), (Action::Deny, raw.deny)] {
        rules.extend(raw.into_iter().filter_map(|raw| rule(action, raw, file, problems)));
    }
    complete(&mut rules);
    let mode = mode::mode(raw.mode.as_ref(), problems);
    rules.extend(mode.last_rule());
    let resolver = rules.iter().find(|rule| matches!(rule.to, Place::Resolver { .. }));
    if let Some(rule) = resolver.filter(|_| !has_resolver) {
        let message = format!(
            "policy \"{}\" opens DNS names ({}), but nobody resolves them; add a table [dns] with an \
             `upstream`",
            name.get_ref(),
            rule.name
        );
        problems.add(name.span(), message);
    }
    if let Err(error) = compile(&written(&rules)) {
        problems.add(name.span(), format!("policy \"{}\": {error}", name.get_ref()));
    }
    Policy { mode, rules, limits: limits::limits(&raw.limits, problems) }
}

/// Adds what rules mean without saying it. A name is of no use to a guest that may not ask for it; and who
/// says whom not to let in lets in everybody else.
fn complete(rules: &mut Vec<PolicyRule>) {
    let implied = |to, ports: &[Ports], name: &str| PolicyRule {
        action: Action::Allow,
        to,
        ports: ports.to_vec(),
        name: name.to_owned(),
    };
    let is_resolver = |rule: &PolicyRule| matches!(rule.to, Place::Resolver { .. });
    let opens = |rule: &&PolicyRule| rule.action == Action::Allow;
    let names = |rule: &PolicyRule| matches!(rule.to, Place::Names { .. });
    if rules.iter().filter(opens).any(names) && !rules.iter().any(is_resolver) {
        rules.push(implied(Place::Resolver { any: false }, &presets::DNS, "names are resolved"));
    }
    let (mut allows, mut denies) = (false, false);
    for rule in rules.iter().filter(|rule| matches!(rule.to, Place::From(_))) {
        *(if rule.action == Action::Allow { &mut allows } else { &mut denies }) = true;
    }
    if denies && !allows {
        rules.push(implied(Place::From(presets::any()), &Ports::ALL, "other sources"));
    }
}

/// Rules as they are written, without what only a running host knows.
fn written(rules: &[PolicyRule]) -> Vec<Rule> {
    let rule = |rule: &PolicyRule| {
        let (to, except) = match &rule.to {
            Place::Nets { to, except } => (to.clone(), except.clone()),
            Place::From(from) => (from.clone(), Vec::new()),
            Place::Host
            | Place::Hubs
            | Place::Resolver { .. }
            | Place::Names { .. }
            | Place::Services(_) => Default::default(),
        };
        Rule {
            action: rule.action,
            direction: rule.to.direction(),
            to,
            except: except.into(),
            names: rule.to.names().to_vec(),
            refused: Vec::new(),
            private: matches!(rule.to, Place::Names { private: true, .. }),
            services: Vec::new(),
            ports: rule.ports.clone(),
            name: String::new(),
        }
    };
    rules.iter().map(rule).collect()
}

/// Checks that a network's policy exists.
pub(super) fn known(
    name: Option<&Spanned<String>>,
    policies: &BTreeMap<String, Policy>,
    problems: &mut Problems<'_>,
) -> Option<String> {
    let name = name?;
    if !policies.contains_key(name.get_ref()) {
        let message = format!(
            "there is no policy \"{}\"; add a table [policies.{}]",
            name.get_ref(),
            name.get_ref()
        );
        problems.add(name.span(), message);
    }
    Some(name.get_ref().clone())
}

fn rule(
    action: Action,
    raw: Spanned<RawRule>,
    file: &str,
    problems: &mut Problems<'_>,
) -> Option<PolicyRule> {
    let span = raw.span();
    let raw = raw.into_inner();
    let ports = ports(raw.protocol.as_ref(), raw.port.as_ref(), problems);
    if let (Some(private), None) = (&raw.private, &raw.name) {
        problems
            .add(private.span(), "`private` says what `name` may lead to; add one, or remove it");
    }
    let to = place(&raw, action, &span, problems);
    let name = format!("{} at {file}:{}", action.name(), problems.place(&span).0);
    Some(PolicyRule { action, to: to?, ports: ports?, name })
}

/// Where a rule leads: the one key of it that says so.
fn place(
    raw: &RawRule,
    action: Action,
    span: &Range<usize>,
    problems: &mut Problems<'_>,
) -> Option<Place> {
    let RawRule { to, host, hub, name, private, container, label, from, port, protocol } = raw;
    let is_set = |flag: &Option<Spanned<bool>>| flag.as_ref().is_some_and(|flag| *flag.get_ref());
    let values = [to, name, container, label, from].into_iter().filter(|value| value.is_some());
    let flags = [host, hub].into_iter().filter(|flag| flag.is_some());
    let is_one = values.count() + flags.count() == 1;
    let opens_all = |what: &str| {
        format!("a rule that opens {what} names the `port`; all of them are seldom for guests")
    };
    match (to, name, container.as_ref().or(label.as_ref()), from) {
        _ if !is_one => {}
        (Some(to), ..) => {
            return nets(to, problems).map(|to| Place::Nets { to, except: Vec::new() });
        }
        (_, Some(name), ..) => {
            if action == Action::Deny && (port.is_some() || protocol.is_some()) {
                let message = "a name that is denied is not resolved, whatever it is for; leave out \
                               `port` and `protocol`, or deny an address by `to`";
                problems.add(name.span(), message);
            }
            let private = is_set(private);
            return names(name, problems).map(|names| Place::Names { names, private });
        }
        (_, _, Some(written), _) => {
            if action == Action::Allow && port.is_none() {
                problems.add(written.span(), opens_all("containers"));
            }
            let is_label = label.is_some();
            return services::named(list(written.get_ref()), is_label, written.span(), problems)
                .map(Place::Services);
        }
        (.., Some(from)) => return nets(from, problems).map(Place::From),
        _ if is_set(host) => return Some(Place::Host),
        _ if is_set(hub) => {
            if action == Action::Allow && port.is_none() {
                problems.add(span.clone(), opens_all("hubs"));
            }
            return Some(Place::Hubs);
        }
        _ => {}
    }
    let message = "a rule has exactly one of `to`, `name`, `container`, `label`, `host = true`, \
                   `hub = true` and `from`";
    problems.add(span.clone(), message);
    None
}

fn nets(to: &Spanned<Value>, problems: &mut Problems<'_>) -> Option<Vec<Net>> {
    let (mut found, mut good) = (Vec::new(), true);
    for value in list(to.get_ref()) {
        let message = match value.as_str().map(str::parse::<Net>) {
            Some(Ok(net)) => {
                found.push(net);
                continue;
            }
            Some(Err(_)) if value.as_str() == Some("any") => {
                found.extend(presets::any());
                continue;
            }
            Some(Err(NetError::Text)) | None => format!("{value} {}, nor \"any\"", NetError::Text),
            Some(Err(error)) => format!("{value} {error}"),
        };
        problems.add(to.span(), message);
        good = false;
    }
    if found.is_empty() && good {
        problems.add(to.span(), "`to` is empty: name an address or a network, or \"any\"");
    }
    (good && !found.is_empty()).then_some(found)
}

fn names(written: &Spanned<Value>, problems: &mut Problems<'_>) -> Option<Vec<Pattern>> {
    let (mut found, mut good) = (Vec::new(), true);
    for value in list(written.get_ref()) {
        match value.as_str().map(str::parse::<Pattern>) {
            Some(Ok(name)) => found.push(name),
            Some(Err(error)) => {
                problems.add(written.span(), format!("{value} {error}"));
                good = false;
            }
            None => {
                problems.add(written.span(), format!("{value} is not a text"));
                good = false;
            }
        }
    }
    if found.is_empty() && good {
        problems.add(written.span(), "`name` is empty: name at least one");
    }
    (good && !found.is_empty()).then_some(found)
}

/// One value, or those of a list.
fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice)
}

/// Protocol and ports as the packet path has them.
fn ports(
    protocol: Option<&Spanned<String>>,
    port: Option<&Spanned<Value>>,
    problems: &mut Problems<'_>,
) -> Option<Vec<Ports>> {
    let ranges = match port {
        None => None,
        Some(port) => Some(ranges(port, problems)?),
    };
    let name = protocol.map(|protocol| protocol.get_ref().as_str());
    let protocols: &[u8] = match (name, &ranges) {
        (None | Some("any"), None) => return Some(Ports::ALL.to_vec()),
        (Some("icmp"), None) => return Some(vec![Ports::echo(ICMP), Ports::echo(ICMPV6)]),
        (None | Some("tcp"), _) => &[TCP],
        (Some("udp"), _) => &[UDP],
        (Some("any"), Some(_)) => &[TCP, UDP],
        (Some("icmp"), Some(_)) => {
            let span = protocol.map_or(0..0, Spanned::span);
            problems.add(span, "\"icmp\" has no ports; leave out `port`");
            return None;
        }
        (Some(other), _) => {
            let span = protocol.map_or(0..0, Spanned::span);
            let message =
                format!("protocol \"{other}\" is not \"tcp\", \"udp\", \"icmp\" or \"any\"");
            problems.add(span, message);
            return None;
        }
    };
    let ranges = ranges.unwrap_or_else(|| vec![(0, u16::MAX)]);
    let all = protocols.iter().flat_map(|protocol| {
        ranges.iter().map(|(first, last)| Ports { protocol: *protocol, first: *first, last: *last })
    });
    Some(all.collect())
}

fn ranges(port: &Spanned<Value>, problems: &mut Problems<'_>) -> Option<Vec<(u16, u16)>> {
    let values = list(port.get_ref());
    let (found, wrong): (Vec<_>, Vec<_>) =
        values.iter().map(|value| range(value).ok_or(value)).partition(Result::is_ok);
    for value in wrong.iter().filter_map(|value| value.err()) {
        let message =
            format!("{value} is no port from 1 to 65535, nor a range such as \"8000-8099\"");
        problems.add(port.span(), message);
    }
    if values.is_empty() {
        problems.add(port.span(), "`port` is empty: name one, or leave it out for all");
    }
    (wrong.is_empty() && !values.is_empty()).then(|| found.into_iter().flatten().collect())
}

fn range(value: &Value) -> Option<(u16, u16)> {
    let found = match value {
        Value::Integer(number) => u16::try_from(*number).ok().map(|port| (port, port)),
        Value::String(text) => match text.split_once('-') {
            Some((first, last)) => number(first).zip(number(last)),
            None => number(text).map(|port| (port, port)),
        },
        _ => None,
    };
    found.filter(|(first, last)| *first > 0 && first <= last)
}

fn number(text: &str) -> Option<u16> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}
