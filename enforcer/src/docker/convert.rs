//! From bollard's models to ours. Pure; whatever an engine leaves out is absent, never guessed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use bollard::models::{
    ContainerInspectResponse, ContainerSummary, EndpointResource, EndpointSettings, ImageInspect,
    IpamConfig, Network, NetworkInspect, PortBinding, PortSummaryTypeEnum,
};

use super::upstream::is_address;
use crate::model::{
    inventory::{Attachment, Container, DockerNetwork, Mac, OtherNetwork, PublishedPort, Subnet},
    provenance::{ImageSettings, Provenance},
};

/// Option of the driver `bridge` that names the interface.
pub(super) const BRIDGE_NAME: &str = "com.docker.network.bridge.name";

/// A network and the names of the containers on it, by id; `None` when it is no bridge network.
pub(super) fn network(from: NetworkInspect) -> Option<(DockerNetwork, BTreeMap<String, String>)> {
    if from.driver.as_deref() != Some("bridge") {
        return None;
    }
    let id = from.id.filter(|id| !id.is_empty())?;
    let bridge = from
        .options
        .as_ref()
        .and_then(|options| options.get(BRIDGE_NAME).cloned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| format!("br-{}", id.get(..12).unwrap_or(&id)));
    let pools = from.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    let mut attachments = BTreeMap::new();
    let mut names = BTreeMap::new();
    for (container, endpoint) in from.containers.unwrap_or_default() {
        // Endpoints without a container have keys such as "ep-…" or "lb-…".
        if is_container_id(&container) {
            names.insert(container.clone(), endpoint.name.clone().unwrap_or_default());
            attachments.insert(container, attachment(&endpoint));
        }
    }
    let network = DockerNetwork {
        id,
        name: from.name.unwrap_or_default(),
        bridge,
        subnets: pools.iter().filter_map(subnet).collect(),
        attachments,
    };
    Some((network, names))
}

/// A container as `inspect` shows it and its image; `None` without an id. Of one whose image is not
/// known nobody can say which labels and variables are the image's.
pub(super) fn container(
    from: ContainerInspectResponse,
    image: Option<&ImageSettings>,
) -> Option<Container> {
    let id = from.id.filter(|id| !id.is_empty())?;
    let config = from.config.unwrap_or_default();
    let settings = from.network_settings.unwrap_or_default();
    let state = from.state.unwrap_or_default();
    let host = from.host_config.unwrap_or_default();
    let name_of_image = config.image.filter(|image| !image.is_empty());
    let labels: BTreeMap<_, _> = config.labels.unwrap_or_default().into_iter().collect();
    Some(Container {
        id,
        name: from.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        provenance: Arc::new(match image {
            Some(image) => {
                let env = config.env.unwrap_or_default();
                Provenance::new(name_of_image, labels.clone(), &env, image)
            }
            None => Provenance { image: name_of_image, ..Provenance::default() },
        }),
        labels,
        sandbox: settings.sandbox_key.filter(|key| !key.is_empty()),
        published: published(settings.ports.unwrap_or_default()),
        pid: state.pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0),
        running: state.running.unwrap_or(false),
        started: state.started_at.unwrap_or_default(),
        network_mode: host.network_mode.unwrap_or_default(),
        own_dns: host.dns.is_some_and(|servers| servers.iter().any(|server| is_address(server))),
        networks: joined(settings.networks.unwrap_or_default()),
    })
}

/// What an image brings along.
pub(super) fn image(from: ImageInspect) -> ImageSettings {
    let config = from.config.unwrap_or_default();
    ImageSettings {
        labels: config.labels.unwrap_or_default().into_iter().collect(),
        env: config.env.unwrap_or_default(),
    }
}

/// Networks by id. One that was asked for but not joined yet has none.
fn joined(networks: HashMap<String, EndpointSettings>) -> BTreeMap<String, String> {
    networks
        .into_iter()
        .filter_map(|(name, settings)| Some((settings.network_id?, name)))
        .filter(|(id, _)| !id.is_empty())
        .collect()
}

/// The networks that are no bridge, by id.
pub(super) fn other_networks(list: &[Network]) -> BTreeMap<String, OtherNetwork> {
    list.iter()
        .filter(|network| network.driver.as_deref() != Some("bridge"))
        .filter_map(|network| {
            let name = network.name.clone().unwrap_or_default();
            let driver = network.driver.clone().unwrap_or_default();
            Some((network.id.clone()?, OtherNetwork { name, driver }))
        })
        .collect()
}

/// Whether what `inspect` showed earlier still agrees with the list, which is cheap and waits for
/// no lock.
pub(super) fn agrees(container: &Container, summary: &ContainerSummary) -> bool {
    let named = summary.names.as_ref().is_none_or(|names| {
        names.is_empty() || names.iter().any(|name| name.trim_start_matches('/') == container.name)
    });
    let published: BTreeSet<PublishedPort> = summary
        .ports
        .iter()
        .flatten()
        .filter(|port| port.public_port.is_some())
        .filter(|port| port.ip.as_deref().is_none_or(is_open_to_others))
        .filter_map(|port| {
            let protocol = match port.typ? {
                PortSummaryTypeEnum::TCP => 6,
                PortSummaryTypeEnum::UDP => 17,
                _ => return None,
            };
            Some(PublishedPort { container_port: port.private_port, protocol })
        })
        .collect();
    let networks = summary.network_settings.as_ref().and_then(|s| s.networks.clone());
    let joined = networks.is_none_or(|networks| joined(networks) == container.networks);
    // The list has running containers only.
    container.running && named && joined && container.published.iter().eq(published.iter())
}

/// Container ports with a binding that others than this host can reach, sorted, each once.
fn published(ports: HashMap<String, Option<Vec<PortBinding>>>) -> Vec<PublishedPort> {
    let mut found: BTreeSet<PublishedPort> = BTreeSet::new();
    for (port, bindings) in ports {
        let open = bindings.unwrap_or_default().iter().any(|binding| {
            // Without a host port the binding has not been made.
            binding.host_port.as_deref().is_some_and(|port| !port.is_empty() && port != "0")
                && is_open_to_others(binding.host_ip.as_deref().unwrap_or_default())
        });
        if open {
            found.extend(container_port(&port));
        }
    }
    found.into_iter().collect()
}

/// `8888/tcp`; SCTP and what is not understood are not published, so they stay closed.
fn container_port(text: &str) -> Option<PublishedPort> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => 6,
        "udp" => 17,
        _ => return None,
    };
    let container_port = port.parse().ok().filter(|port| *port > 0)?;
    Some(PublishedPort { container_port, protocol })
}

/// Whether a binding's address is more than a loopback address. Empty means every address; one
/// that cannot be read is taken for loopback, which keeps the port closed.
fn is_open_to_others(address: &str) -> bool {
    if address.is_empty() {
        return true;
    }
    match address.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(IpAddr::V6(six)) => {
            !six.is_loopback() && !six.to_ipv4_mapped().is_some_and(|four| four.is_loopback())
        }
        Ok(IpAddr::V4(four)) => !four.is_loopback(),
        Err(_) => false,
    }
}

fn attachment(from: &EndpointResource) -> Attachment {
    let address = |text: &Option<String>| {
        let text = text.as_deref()?;
        let address: IpAddr = text.split('/').next()?.parse().ok()?;
        (!address.is_unspecified()).then_some(address)
    };
    Attachment {
        mac: from.mac_address.as_deref().and_then(mac),
        ipv4: address(&from.ipv4_address).and_then(|address| match address {
            IpAddr::V4(four) => Some(four),
            IpAddr::V6(_) => None,
        }),
        ipv6: address(&from.ipv6_address).and_then(|address| match address {
            IpAddr::V6(six) => Some(six),
            IpAddr::V4(_) => None,
        }),
    }
}

fn subnet(from: &IpamConfig) -> Option<Subnet> {
    let (address, prefix) = from.subnet.as_deref()?.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.parse().ok().filter(|prefix| *prefix <= most)?;
    // Older engines show the gateway of an IPv6 pool with its prefix length.
    let gateway = from.gateway.as_deref().and_then(|text| text.split('/').next()?.parse().ok());
    let gateway = gateway.filter(|gateway: &IpAddr| {
        gateway.is_ipv4() == address.is_ipv4() && *gateway != IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    });
    Some(Subnet { address, prefix, gateway })
}

/// Six pairs of hexadecimal digits.
fn mac(text: &str) -> Option<Mac> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        *byte = parts.next().filter(|part| part.len() == 2).and_then(|part| {
            part.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(part)?;
            u8::from_str_radix(part, 16).ok()
        })?;
    }
    (parts.next().is_none() && bytes != [0; 6]).then_some(bytes)
}

fn is_container_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests;
