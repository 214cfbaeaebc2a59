//! From the text of a config file to a [`Config`]. Reads no file and asks nobody.

use std::{collections::BTreeMap, path::PathBuf};

use toml::Spanned;

use super::{
    ClosedBy, Config, ConfigError, DEFAULT_DOCKER_SOCKET, DEFAULT_MARK_MASK, DEFAULT_MAX_FLOWS,
    DEFAULT_PIN_DIR, DEFAULT_RUN_DIR, DEFAULT_STATE_DIR, GuestNetwork, MAX_NETWORKS, MAX_POLICIES,
    Policy, abuse, access, admins, audit, check, dns, gate, guests, metrics, network, outside,
    overrides, policy,
    problem::Problems,
    raw::{Bits, RawConfig},
    services,
};
use crate::digest::of_text;

/// Bounds of `max_flows`: below, a single guest fills the table; above, it takes 3 GB.
const FLOWS: std::ops::RangeInclusive<u32> = 1024..=1 << 24;
/// What the daemon adds to `run_dir`: the longest path of a socket in there, with room for gates.
const LONGEST_IN_RUN_DIR: &str = "/control.sock.new";

/// Parses a config file. `file` is only for messages.
pub fn parse(text: &str, file: &str) -> Result<Config, ConfigError> {
    let mut problems = Problems::new(text);
    let raw = match toml::from_str::<RawConfig>(text) {
        Ok(raw) => raw,
        Err(error) => {
            // Without a shape there is no meaning to check.
            problems.add_toml(&error);
            return problems.finish(file, Config::default());
        }
    };
    let max_flows = max_flows(raw.daemon.max_flows.as_ref(), &mut problems);
    let docker_socket = path(raw.docker.socket.as_ref(), DEFAULT_DOCKER_SOCKET, "", &mut problems);
    let run_dir =
        path(raw.daemon.run_dir.as_ref(), DEFAULT_RUN_DIR, LONGEST_IN_RUN_DIR, &mut problems);
    let pin_dir = path(raw.daemon.pin_dir.as_ref(), DEFAULT_PIN_DIR, "", &mut problems);
    let state_dir = state_dir(raw.daemon.state_dir.as_ref(), &mut problems);
    let mark_mask = mark_mask(raw.daemon.mark_mask.as_ref(), &mut problems);
    let closed_by = closed_by(raw.daemon.closed_by.as_ref(), &mut problems);
    let admins = admins::admins(&raw.daemon.admins, &mut problems);
    let audit = audit::audit(&raw.audit, &mut problems);
    let outside = outside::outside(raw.outside, &mut problems);
    let abuse = abuse::abuse(&raw.abuse, &mut problems);
    let taken = metrics::Taken { run_dir: &run_dir, docker_socket: &docker_socket };
    let metrics = metrics::metrics(raw.metrics.as_ref(), &taken, &mut problems);
    if raw.networks.is_empty() {
        problems.add(0..0, "no guest network: add a table such as [networks.tutorials]");
    }
    if raw.networks.len() > MAX_NETWORKS {
        let message = format!("{} guest networks; at most {MAX_NETWORKS}", raw.networks.len());
        problems.add(0..0, message);
    }
    let has_resolver = raw.dns.is_some();
    let policies: BTreeMap<String, Policy> = raw
        .policies
        .into_iter()
        .map(|(name, raw)| {
            let policy = policy::policy(&name, raw, has_resolver, file, &mut problems);
            (name.into_inner(), policy)
        })
        .collect();
    let mut networks = BTreeMap::new();
    let mut spans = BTreeMap::new();
    let mut slots = 0;
    for (name, raw) in raw.networks {
        let mut raw = raw;
        let policy = policy::known(raw.policy.as_ref(), &policies, &mut problems);
        let raw_overrides = std::mem::take(&mut raw.overrides);
        let overrides = overrides::overrides(raw_overrides, &policies, &mut problems);
        let network = network::network(&name, raw, max_flows, &mut problems);
        let network = GuestNetwork { policy, overrides, ..network };
        let guests = 1 + network.other_policies().len() + network.left_when_cut(&policies).len();
        let ways = if abuse.slows() { 2 } else { 1 };
        slots += guests * ways + 1 + usize::from(!network.services.is_empty());
        spans.insert(name.get_ref().clone(), name.span());
        networks.insert(name.into_inner(), network);
    }
    network::together(&networks, &spans, &mut problems);
    let access = access::access(&raw.access, &mut problems);
    let guests = guests::guests(&raw.guests, &mut problems);
    let gate = gate::gate(&raw.gate, &raw.hubs, &networks, &mut problems);
    let hubs = access::hubs(raw.hubs, &networks, &mut problems);
    for (name, network) in &networks {
        services::known(name, network, &policies, &spans[name], &mut problems);
    }
    let dns = dns::dns(raw.dns.as_ref(), &networks, &mut problems);
    if slots > MAX_POLICIES {
        let message = format!(
            "{slots} policies: each network has two, one for its services, one for each policy that its overrides name, and what is left \
             of these for guests that are cut off, those of guests twice where they may be slowed; at most {MAX_POLICIES}"
        );
        problems.add(0..0, message);
    }
    let config = Config {
        digest: of_text(text),
        docker_socket,
        run_dir,
        pin_dir,
        state_dir,
        mark_mask,
        max_flows,
        closed_by,
        refuse_at_connect: raw.daemon.refuse_at_connect.unwrap_or(true),
        admins,
        audit,
        outside,
        abuse,
        metrics,
        dns,
        access,
        guests,
        gate,
        hubs,
        policies,
        networks,
    };
    problems.finish(file, config)
}

fn path(
    value: Option<&Spanned<String>>,
    otherwise: &str,
    suffix: &str,
    problems: &mut Problems<'_>,
) -> PathBuf {
    if let Some(value) = value
        && let Err(message) = check::socket_path(value.get_ref(), suffix)
    {
        problems.add(value.span(), message);
    }
    PathBuf::from(value.map_or(otherwise, |value| value.get_ref()))
}

fn state_dir(value: Option<&Spanned<String>>, problems: &mut Problems<'_>) -> PathBuf {
    if let Some(value) = value
        && let Err(message) = check::absolute_path(value.get_ref())
    {
        problems.add(value.span(), message);
    }
    PathBuf::from(value.map_or(DEFAULT_STATE_DIR, |value| value.get_ref()))
}

fn closed_by(value: Option<&Spanned<String>>, problems: &mut Problems<'_>) -> ClosedBy {
    let Some(value) = value else { return ClosedBy::Nft };
    match value.get_ref().as_str() {
        "nft" => ClosedBy::Nft,
        "nobody" => ClosedBy::Nobody,
        other => {
            let message = format!("closed_by is \"nft\" or \"nobody\", not \"{other}\"");
            problems.add(value.span(), message);
            ClosedBy::Nft
        }
    }
}

fn max_flows(value: Option<&Spanned<i64>>, problems: &mut Problems<'_>) -> u32 {
    let Some(value) = value else { return DEFAULT_MAX_FLOWS };
    let number = u32::try_from(*value.get_ref()).ok().filter(|number| FLOWS.contains(number));
    number.unwrap_or_else(|| {
        let message = format!(
            "max_flows {} is not between {} and {}",
            value.get_ref(),
            FLOWS.start(),
            FLOWS.end()
        );
        problems.add(value.span(), message);
        DEFAULT_MAX_FLOWS
    })
}

fn mark_mask(value: Option<&Spanned<Bits>>, problems: &mut Problems<'_>) -> u32 {
    let Some(value) = value else { return DEFAULT_MARK_MASK };
    let mask = match value.get_ref() {
        Bits::Integer(number) => u32::try_from(*number).ok(),
        Bits::Text(text) => match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        },
    };
    match mask {
        Some(mask) if mask.count_ones() >= 2 => return mask,
        Some(_) => problems.add(
            value.span(),
            "mark_mask needs at least two bits, one for each stamp; the default is 0x30000000",
        ),
        None => problems
            .add(value.span(), "mark_mask is not a 32-bit number; the default is 0x30000000"),
    }
    DEFAULT_MARK_MASK
}
