//! One `[networks.NAME]` table: its values and how they fit together.

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
    ops::Range,
};

use enforcer_common::abi::policy::Quotas;
use toml::Spanned;

use super::{
    DEFAULT_QUOTAS, GuestNetwork, HubPlace, HubRule, check, limits,
    problem::Problems,
    raw::{RawHub, RawNetwork, RawQuotas},
    services,
};

/// Checks one network; problems go to `problems`, and the value is then of no use.
pub(super) fn network(
    name: &Spanned<String>,
    raw: RawNetwork,
    max_flows: u32,
    problems: &mut Problems<'_>,
) -> GuestNetwork {
    note(problems, name.span(), check::network_name(name.get_ref()));
    let bridge = raw.bridge.map(|bridge| {
        note(problems, bridge.span(), check::bridge_name(bridge.get_ref()));
        bridge.into_inner()
    });
    if bridge.is_none() {
        problems.add(
            name.span(),
            format!(
                "network \"{}\" has no `bridge`; name its interface, such as bridge = \
                 \"br-tutorials\"",
                name.get_ref()
            ),
        );
    }
    let subnet4 = raw
        .subnet
        .as_ref()
        .map(|subnet| note(problems, subnet.span(), check::subnet4(subnet.get_ref())));
    let gateway4 = raw.gateway.as_ref().and_then(|gateway| match subnet4 {
        None => {
            let message = "`gateway` needs a `subnet` that it is part of; add one, or leave out \
                           both and let Docker choose";
            problems.add(gateway.span(), message);
            None
        }
        // The subnet's own problem has been noted.
        Some(None) => None,
        Some(Some(subnet)) => {
            note(problems, gateway.span(), check::gateway4(gateway.get_ref(), subnet))
        }
    });
    let subnet6 = raw
        .subnet6
        .as_ref()
        .and_then(|subnet| note(problems, subnet.span(), check::subnet6(subnet.get_ref())));
    let mut network = GuestNetwork {
        bridge: bridge.unwrap_or_default(),
        create: raw.create.unwrap_or(true),
        subnet4: subnet4.flatten(),
        gateway4,
        subnet6,
        policy: None,
        overrides: Vec::new(),
        hubs: Vec::new(),
        services: Vec::new(),
        quotas: quotas(name, &raw.quotas, max_flows, problems),
        limits: limits::limits(&raw.limits, problems),
        owned: None,
    };
    network.hubs = hubs(&network, raw.subnet6.is_some(), raw.hub, problems);
    network.services = services::services(&raw.service, &network.hubs, problems);
    network
}

/// Checks that the networks do not get in one another's way.
pub(super) fn together(
    networks: &BTreeMap<String, GuestNetwork>,
    spans: &BTreeMap<String, Range<usize>>,
    problems: &mut Problems<'_>,
) {
    // In the order of the file, so that the later of two is the one at fault.
    let start = |name: &String| spans.get(name).map_or(0, |span| span.start);
    let mut in_order: Vec<(&String, &GuestNetwork)> = networks.iter().collect();
    in_order.sort_by_key(|(name, _)| start(name));
    for (index, (name, network)) in in_order.iter().enumerate() {
        let span = spans.get(*name).cloned().unwrap_or_default();
        for (other_name, other) in in_order.iter().take(index) {
            if network.bridge == other.bridge && !network.bridge.is_empty() {
                problems.add(
                    span.clone(),
                    format!(
                        "networks \"{other_name}\" and \"{name}\" have the same bridge \"{}\"; \
                         each needs its own",
                        network.bridge
                    ),
                );
            }
            let four = network.subnet4.zip(other.subnet4);
            let six = network.subnet6.zip(other.subnet6);
            if four.is_some_and(|(one, two)| check::overlap4(one, two))
                || six.is_some_and(|(one, two)| check::overlap6(one, two))
            {
                problems.add(
                    span.clone(),
                    format!("the subnets of networks \"{other_name}\" and \"{name}\" overlap"),
                );
            }
        }
        for hub in &network.hubs {
            hub_elsewhere(name, hub, networks, span.clone(), problems);
        }
    }
}

/// A hub inside another guest network would never be reached: the host sends nothing from one
/// guest bridge back to another.
fn hub_elsewhere(
    name: &str,
    hub: &HubRule,
    networks: &BTreeMap<String, GuestNetwork>,
    span: Range<usize>,
    problems: &mut Problems<'_>,
) {
    let HubPlace::Address(address) = hub.at else { return };
    let holder = networks.iter().find(|(other, network)| {
        *other != name
            && match address {
                IpAddr::V4(four) => network.subnet4.is_some_and(|net| check::contains4(net, four)),
                IpAddr::V6(six) => network.subnet6.is_some_and(|net| check::contains6(net, six)),
            }
    });
    if let Some((other, _)) = holder {
        problems.add(
            span,
            format!(
                "network \"{name}\" names a hub at {address}, which is inside the guest network \
                 \"{other}\" and can never be reached; attach the hub's container to \"{name}\" \
                 and use `container`"
            ),
        );
    }
}

fn hubs(
    network: &GuestNetwork,
    has_ipv6: bool,
    raw: Vec<Spanned<RawHub>>,
    problems: &mut Problems<'_>,
) -> Vec<HubRule> {
    let (mut rules, mut known) = (Vec::new(), HashSet::new());
    for hub in raw {
        let span = hub.span();
        let Some(rule) = hub_rule(network, has_ipv6, hub, problems) else { continue };
        if known.insert(rule.clone()) {
            rules.push(rule);
        } else {
            problems.add(span, "this hub is listed twice; remove one");
        }
    }
    rules
}

fn hub_rule(
    network: &GuestNetwork,
    has_ipv6: bool,
    hub: Spanned<RawHub>,
    problems: &mut Problems<'_>,
) -> Option<HubRule> {
    let span = hub.span();
    let hub = hub.into_inner();
    let port = match hub.port {
        None => {
            problems.add(span.clone(), "this hub has no `port`; name the one that guests may use");
            None
        }
        Some(port) => {
            let number = u16::try_from(*port.get_ref()).ok().filter(|number| *number > 0);
            if number.is_none() {
                let message = format!("port {} is not between 1 and 65535", port.get_ref());
                problems.add(port.span(), message);
            }
            number
        }
    };
    let protocol = match hub.protocol.as_ref().map(|name| (name.get_ref().as_str(), name.span())) {
        None | Some(("tcp", _)) => Some(6),
        Some(("udp", _)) => Some(17),
        Some((other, span)) => {
            problems.add(span, format!("protocol \"{other}\" is neither \"tcp\" nor \"udp\""));
            None
        }
    };
    let at = match (hub.gateway, hub.address, hub.container) {
        (Some(gateway), None, None) if *gateway.get_ref() => Some(HubPlace::Gateway),
        (None, Some(address), None) => {
            let place = note(problems, address.span(), check::hub_address(address.get_ref()));
            place.and_then(|at| hub_at(network, has_ipv6, at, address.span(), problems))
        }
        (None, None, Some(container)) => {
            let name = container.get_ref().strip_prefix('/').unwrap_or(container.get_ref());
            note(problems, container.span(), check::docker_name("container", name))
                .map(|()| HubPlace::Container(name.to_owned()))
        }
        _ => {
            let message = "a hub has exactly one of `gateway = true`, `address` and `container`";
            problems.add(span, message);
            None
        }
    };
    Some(HubRule { at: at?, port: port?, protocol: protocol? })
}

/// Checks that guests of this network can reach the address at all.
fn hub_at(
    network: &GuestNetwork,
    has_ipv6: bool,
    address: IpAddr,
    span: Range<usize>,
    problems: &mut Problems<'_>,
) -> Option<HubPlace> {
    if address.is_ipv6() && !has_ipv6 {
        let message = format!(
            "guests of this network have no IPv6 and cannot reach {address}; give it a `subnet6` \
             or the hub an IPv4 address"
        );
        problems.add(span, message);
        return None;
    }
    if network.gateway4.is_some_and(|gateway| address == IpAddr::V4(gateway)) {
        let message = format!("{address} is this network's gateway; write `gateway = true`");
        problems.add(span, message);
        return None;
    }
    Some(HubPlace::Address(address))
}

fn quotas(
    name: &Spanned<String>,
    raw: &RawQuotas,
    max_flows: u32,
    problems: &mut Problems<'_>,
) -> Quotas {
    let mut quota = |value: &Option<Spanned<i64>>, otherwise: u32| match value {
        None => otherwise,
        Some(value) => {
            let number = u32::try_from(*value.get_ref()).ok().filter(|number| *number > 0);
            if number.is_none() {
                let message = format!("quota {} is not a number from 1", value.get_ref());
                problems.add(value.span(), message);
            }
            number.unwrap_or(otherwise)
        }
    };
    let quotas = Quotas {
        inbound_half_open: quota(&raw.inbound_half_open, DEFAULT_QUOTAS.inbound_half_open),
        inbound_established: quota(&raw.inbound_established, DEFAULT_QUOTAS.inbound_established),
        outbound_half_open: quota(&raw.outbound_half_open, DEFAULT_QUOTAS.outbound_half_open),
        outbound_established: quota(&raw.outbound_established, DEFAULT_QUOTAS.outbound_established),
        closing: quota(&raw.closing, DEFAULT_QUOTAS.closing),
    };
    let sum = [
        quotas.inbound_half_open,
        quotas.inbound_established,
        quotas.outbound_half_open,
        quotas.outbound_established,
        quotas.closing,
    ]
    .into_iter()
    .map(u64::from)
    .sum::<u64>();
    if sum > u64::from(max_flows) {
        problems.add(
            name.span(),
            format!(
                "one guest of \"{}\" could fill the flow table: its quotas add up to {sum}, \
                 daemon.max_flows is {max_flows}",
                name.get_ref()
            ),
        );
    }
    quotas
}

/// Notes a refused value and goes on without it.
fn note<T>(
    problems: &mut Problems<'_>,
    span: Range<usize>,
    result: Result<T, String>,
) -> Option<T> {
    result.map_err(|message| problems.add(span, message)).ok()
}
