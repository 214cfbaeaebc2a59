//! `[policies.NAME]`: what guests may reach beside their hubs.

use std::collections::BTreeMap;

use enforcer_common::packet::{ICMP, ICMPV6, TCP, UDP};
use toml::{Spanned, Value};

use super::{
    Place, Policy, PolicyRule, check, presets,
    problem::Problems,
    raw::{RawPolicy, RawRule},
};
use crate::policy::{
    compile::{TooLarge, compile},
    rule::{Action, Net, NetError, Ports, Rule},
};

/// Checks one policy. `file` names its rules.
pub(super) fn policy(
    name: &Spanned<String>,
    raw: RawPolicy,
    file: &str,
    problems: &mut Problems<'_>,
) -> Policy {
    if let Err(message) = check::docker_name("policy", name.get_ref()) {
        problems.add(name.span(), message);
    }
    let mut rules = Vec::new();
    for preset in &raw.presets {
        match presets::preset(preset.get_ref()) {
            Some((to, except)) => rules.push(PolicyRule {
                action: Action::Allow,
                to: Place::Nets { to, except },
                ports: Ports::ALL.to_vec(),
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
    if compile(&written(&rules)).is_err() {
        problems.add(name.span(), format!("policy \"{}\": {TooLarge}", name.get_ref()));
    }
    Policy { rules }
}

/// Rules as they are written, without what only a running host knows.
fn written(rules: &[PolicyRule]) -> Vec<Rule> {
    let rule = |rule: &PolicyRule| {
        let (to, except) = match &rule.to {
            Place::Nets { to, except } => (to.clone(), except.clone()),
            Place::Host => (Vec::new(), Vec::new()),
        };
        let (action, ports) = (rule.action, rule.ports.clone());
        Rule { action, to, except, ports, name: String::new() }
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
    let to = match (raw.to, raw.host) {
        (Some(to), None) => nets(&to, problems).map(|to| Place::Nets { to, except: Vec::new() }),
        (None, Some(host)) if *host.get_ref() => Some(Place::Host),
        _ => {
            problems.add(span.clone(), "a rule has exactly one of `to` and `host = true`");
            None
        }
    };
    let verb = if action == Action::Allow { "allow" } else { "deny" };
    let name = format!("{verb} at {file}:{}", problems.place(&span).0);
    Some(PolicyRule { action, to: to?, ports: ports?, name })
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
