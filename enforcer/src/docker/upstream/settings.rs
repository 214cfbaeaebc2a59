//! What the engine's command line, config file and `resolv.conf` say of name servers. Pure.

use std::net::IpAddr;

use super::super::client::ApiVersion;

/// From Docker 28 on the engine asks every server that it has from the host from the host.
const EVERY_SERVER: ApiVersion = ApiVersion { major: 1, minor: 48 };
/// From Docker 26 on it knows IPv6 servers, and asks those that the container cannot reach from the host.
/// Not all releases before are sure not to.
const IPV6_SERVERS: ApiVersion = ApiVersion { major: 1, minor: 44 };

/// What an engine was told when it started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// Name servers for its containers: these it asks from the container's own namespace.
    pub(super) dns: bool,
    /// Another config file than the usual one.
    pub(super) config_file: Option<String>,
}

/// Reads a command line.
pub(super) fn settings<'a>(words: impl Iterator<Item = &'a str>) -> Settings {
    let mut settings = Settings::default();
    let mut words = words.skip(1);
    while let Some(word) = words.next() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        match name {
            "--dns" => settings.dns |= value.or_else(|| words.next()).is_some_and(is_address),
            "--config-file" => {
                settings.config_file = value.or_else(|| words.next()).map(str::to_owned);
            }
            _ => {}
        }
    }
    settings
}

/// Whether a config file gives containers name servers.
pub(super) fn own_servers(config: &str) -> bool {
    let config: serde_json::Value = serde_json::from_str(config).unwrap_or_default();
    let servers = config.get("dns").and_then(serde_json::Value::as_array);
    servers
        .is_some_and(|servers| servers.iter().filter_map(serde_json::Value::as_str).any(is_address))
}

/// Whether this is a name server that an engine would ask.
pub(in crate::docker) fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// The name servers that a `resolv.conf` names, more generously than any engine reads it.
pub(super) fn servers(text: &str) -> Vec<IpAddr> {
    let line = |line: &str| {
        let line = line.split(['#', ';']).next()?.trim_start();
        let word = line.strip_prefix("nameserver")?.split_whitespace().next()?;
        // An address of one link has the link's name behind it.
        word.split('%').next()?.parse().ok()
    };
    text.lines().filter_map(line).collect()
}

/// Those that an engine with this API asks from the host's network namespace.
pub(super) fn from_host(servers: &[IpAddr], api: ApiVersion) -> Vec<IpAddr> {
    let is = |server: &&IpAddr| match server {
        _ if api >= EVERY_SERVER => true,
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(_) => api >= IPV6_SERVERS,
    };
    servers.iter().filter(is).copied().collect()
}
