//! Guest networks in Docker: creates what is missing, and refuses what contradicts the config.
//! Never changes or removes a network.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use bollard::{
    models::{Ipam, IpamConfig, NetworkCreateRequest, NetworkInspect},
    query_parameters::{InspectNetworkOptions, ListNetworksOptions},
};

use super::{Engine, EngineError, convert};
use crate::{
    config::GuestNetwork,
    model::inventory::{DockerNetwork, Subnet},
};

/// Label on networks that enforcer made, with the name of the program as its value.
const LABEL: (&str, &str) = ("enforcer.network", "guest");

/// Why the guest networks are not as the config has them.
#[derive(Debug, thiserror::Error)]
pub enum EnsureError {
    /// The network is not there.
    #[error(
        "Docker has no network \"{0}\": create it, or set networks.{0}.create = true in the config"
    )]
    Missing(String),
    /// Docker allows several networks of one name.
    #[error("Docker has {count} networks named \"{name}\": remove all but one")]
    Ambiguous {
        /// The name.
        name: String,
        /// How many.
        count: usize,
    },
    /// The network is there, but otherwise.
    #[error(
        "network \"{name}\" in Docker contradicts the config; change the config, or remove the \
         network (docker network rm {name}) and let enforcer create it:{}", list(.differences)
    )]
    Contradicts {
        /// The network.
        name: String,
        /// Each setting that differs.
        differences: Vec<Difference>,
    },
    /// An interface has the bridge's name already; Docker would put guests on it as it is.
    #[error(
        "cannot create network \"{name}\": this host has an interface {bridge} that is none of \
         Docker's; choose another `bridge`, or remove it (ip link delete {bridge})"
    )]
    InterfaceExists {
        /// The network.
        name: String,
        /// The interface.
        bridge: String,
    },
    /// The engine refused.
    #[error("network \"{name}\": {source}")]
    Engine {
        /// The network.
        name: String,
        /// Why.
        source: EngineError,
    },
}

/// A setting of a network that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which setting.
    pub setting: &'static str,
    /// Its value in Docker.
    pub docker: String,
    /// Its value in the config.
    pub config: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: Docker has {}, config {}", self.setting, self.docker, self.config)
    }
}

fn list(differences: &[Difference]) -> String {
    let lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
    format!("\n  {}", lines.join("\n  "))
}

/// Sees to it that every guest network exists as the config has it. Looks at all of them before it
/// creates one, and reports everything that is wrong. Returns the names of those it created.
pub async fn ensure(
    engine: &Engine,
    networks: &BTreeMap<String, GuestNetwork>,
) -> Result<Vec<String>, Vec<EnsureError>> {
    let interfaces = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    let mut missing = Vec::new();
    let mut errors = Vec::new();
    for (name, network) in networks {
        match read(engine, name).await {
            Ok(Some(found)) => errors.extend(compare(name, network, &found).err()),
            Ok(None) if !network.create => errors.push(EnsureError::Missing(name.clone())),
            Ok(None) if has_interface(&interfaces, &network.bridge) => {
                let (name, bridge) = (name.clone(), network.bridge.clone());
                errors.push(EnsureError::InterfaceExists { name, bridge });
            }
            Ok(None) => missing.push((name, network)),
            Err(error) => errors.push(error),
        }
    }
    let mut created = Vec::new();
    if errors.is_empty() {
        for (name, network) in missing {
            match create(engine, name, network).await {
                Ok(true) => created.push(name.clone()),
                Ok(false) => {}
                Err(error) => errors.push(error),
            }
        }
    }
    if errors.is_empty() { Ok(created) } else { Err(errors) }
}

/// Creates a network, or finds that somebody else just did; what is there afterwards is compared.
async fn create(engine: &Engine, name: &str, network: &GuestNetwork) -> Result<bool, EnsureError> {
    let wrap = |source| EnsureError::Engine { name: name.to_owned(), source };
    let answer = engine.docker.create_network(request(name, network)).await;
    let refused = match answer.map_err(EngineError::request("create it")) {
        Ok(_) => None,
        // 409: the name is taken. 403: the bridge is; old engines look at nothing else.
        Err(error) if matches!(error.status(), Some(403 | 409)) => Some(error),
        Err(error) => return Err(wrap(error)),
    };
    let created = refused.is_none();
    match (read(engine, name).await?, refused) {
        (Some(found), _) => compare(name, network, &found).map(|()| created),
        (None, Some(error)) => Err(wrap(error)),
        (None, None) => Err(EnsureError::Missing(name.to_owned())),
    }
}

/// Every bridge network of the engine but its default one, by name.
pub async fn bridges(engine: &Engine) -> Result<Vec<DockerNetwork>, EngineError> {
    let listed = engine.docker.list_networks(None::<ListNetworksOptions>).await;
    let listed = listed.map_err(EngineError::request("list its networks"))?;
    let is_bridge = |driver: &Option<String>| driver.as_deref() == Some("bridge");
    let mut found = Vec::new();
    for id in listed.into_iter().filter(|one| is_bridge(&one.driver)).filter_map(|one| one.id) {
        let network = engine.docker.inspect_network(&id, None::<InspectNetworkOptions>).await;
        match network.map_err(EngineError::request("inspect a network")) {
            Ok(network) => found.extend(convert::network(network).map(|(network, _)| network)),
            // Removed meanwhile.
            Err(error) if error.status() == Some(404) => {}
            Err(error) => return Err(error),
        }
    }
    found.retain(|network| network.name != "bridge");
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// The network of exactly this name.
async fn read(engine: &Engine, name: &str) -> Result<Option<NetworkInspect>, EnsureError> {
    let wrap = |source| EnsureError::Engine { name: name.to_owned(), source };
    let listed = engine.docker.list_networks(None::<ListNetworksOptions>).await;
    let listed = listed.map_err(EngineError::request("list its networks")).map_err(wrap)?;
    let mut ids = listed
        .into_iter()
        .filter(|network| network.name.as_deref() == Some(name))
        .filter_map(|network| network.id)
        .collect::<Vec<_>>();
    if ids.len() > 1 {
        return Err(EnsureError::Ambiguous { name: name.to_owned(), count: ids.len() });
    }
    let Some(id) = ids.pop() else { return Ok(None) };
    let found = engine.docker.inspect_network(&id, None::<InspectNetworkOptions>).await;
    match found.map_err(EngineError::request("inspect it")) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.status() == Some(404) => Ok(None),
        Err(error) => Err(wrap(error)),
    }
}

fn compare(name: &str, config: &GuestNetwork, found: &NetworkInspect) -> Result<(), EnsureError> {
    let differences = differences(config, found);
    if differences.is_empty() {
        return Ok(());
    }
    Err(EnsureError::Contradicts { name: name.to_owned(), differences })
}

/// What Docker is asked to create.
fn request(name: &str, network: &GuestNetwork) -> NetworkCreateRequest {
    let ipv4 = network.subnet4.map(|(address, prefix)| IpamConfig {
        subnet: Some(format!("{address}/{prefix}")),
        gateway: network.gateway4.map(|gateway| gateway.to_string()),
        ..IpamConfig::default()
    });
    let ipv6 = network.subnet6.map(|(address, prefix)| IpamConfig {
        subnet: Some(format!("{address}/{prefix}")),
        ..IpamConfig::default()
    });
    let pools: Vec<IpamConfig> = ipv4.into_iter().chain(ipv6).collect();
    NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".to_owned()),
        enable_ipv6: Some(network.subnet6.is_some()),
        ipam: (!pools.is_empty()).then(|| Ipam { config: Some(pools), ..Ipam::default() }),
        options: Some(HashMap::from([(convert::BRIDGE_NAME.to_owned(), network.bridge.clone())])),
        labels: Some(HashMap::from([(LABEL.0.to_owned(), LABEL.1.to_owned())])),
        ..NetworkCreateRequest::default()
    }
}

/// Settings in which Docker's network contradicts the config. What the config leaves to Docker
/// contradicts nothing, nor does a gateway that an engine does not show.
fn differences(config: &GuestNetwork, found: &NetworkInspect) -> Vec<Difference> {
    let driver = found.driver.clone().unwrap_or_default();
    let Some((network, _)) = convert::network(found.clone()) else {
        return vec![Difference { setting: "driver", docker: driver, config: "bridge".to_owned() }];
    };
    let pool = |four: bool| network.subnets.iter().find(|pool| pool.address.is_ipv4() == four);
    let show = |pool: Option<&Subnet>| match pool {
        Some(pool) => format!("{}/{}", pool.address, pool.prefix),
        None => "none".to_owned(),
    };
    let mut settings = vec![("bridge", network.bridge.clone(), config.bridge.clone())];
    if let Some((address, prefix)) = config.subnet4 {
        settings.push(("subnet", show(pool(true)), format!("{address}/{prefix}")));
    }
    if let (Some(wanted), Some(shown)) = (config.gateway4, pool(true).and_then(|pool| pool.gateway))
    {
        settings.push(("gateway", shown.to_string(), wanted.to_string()));
    }
    // A pool without EnableIPv6 gives nobody an address; engines that omit the flag show the pool.
    let ipv6 = found.enable_ipv6.unwrap_or(pool(false).is_some());
    settings.push((
        "subnet6",
        show(pool(false).filter(|_| ipv6)),
        config.subnet6.map_or("none".to_owned(), |(address, prefix)| format!("{address}/{prefix}")),
    ));
    settings.push(("internal", found.internal.unwrap_or(false).to_string(), "false".to_owned()));
    settings
        .into_iter()
        .filter(|(_, docker, config)| docker != config)
        .map(|(setting, docker, config)| Difference { setting, docker, config })
        .collect()
}

/// Whether the table of interfaces (`/proc/net/dev`) has this one.
fn has_interface(table: &str, name: &str) -> bool {
    table.lines().filter_map(|line| line.split_once(':')).any(|(left, _)| left.trim() == name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wanted() -> GuestNetwork {
        let text = "[networks.lab]\nbridge = \"br-lab\"\nsubnet = \"172.30.0.0/24\"\n\
                    gateway = \"172.30.0.1\"";
        let config = crate::config::parse(text, "f").expect("valid");
        config.networks["lab"].clone()
    }

    fn found(change: impl FnOnce(&mut serde_json::Value)) -> NetworkInspect {
        let mut value = json!({
            "Name": "lab", "Id": "0123456789abcdef", "Driver": "bridge", "Internal": false,
            "EnableIPv6": false,
            "IPAM": {"Config": [{"Subnet": "172.30.0.0/24", "Gateway": "172.30.0.1"}]},
            "Options": {"com.docker.network.bridge.name": "br-lab"},
        });
        change(&mut value);
        serde_json::from_value(value).expect("a network")
    }

    fn settings(config: &GuestNetwork, found: &NetworkInspect) -> Vec<&'static str> {
        differences(config, found).iter().map(|difference| difference.setting).collect()
    }

    #[test]
    fn what_was_asked_for_does_not_differ() {
        assert!(settings(&wanted(), &found(|_| {})).is_empty());
        let sparse = found(|value| {
            value["IPAM"]["Config"][0]["Gateway"] = json!(null);
            value["EnableIPv6"] = json!(null);
            value["Internal"] = json!(null);
        });
        assert!(settings(&wanted(), &sparse).is_empty());
        let left_to_docker = GuestNetwork { subnet4: None, gateway4: None, ..wanted() };
        assert!(settings(&left_to_docker, &found(|_| {})).is_empty());
    }

    #[test]
    fn each_contradiction_is_named() {
        let pool6 = json!({"Subnet": "fd00::/64"});
        let all = found(|value| {
            value["Options"] = json!({});
            value["Internal"] = json!(true);
            value["EnableIPv6"] = json!(true);
            let pool4 = json!({"Subnet": "10.0.0.0/24", "Gateway": "10.0.0.1"});
            value["IPAM"]["Config"] = json!([pool4, pool6]);
        });
        let expected = ["bridge", "subnet", "gateway", "subnet6", "internal"];
        assert_eq!(settings(&wanted(), &all), expected);
        let error = compare("lab", &wanted(), &all).expect_err("contradicts").to_string();
        assert!(error.contains("\n  bridge: Docker has br-0123456789ab, config br-lab"), "{error}");
        let other = found(|value| value["Driver"] = json!("macvlan"));
        assert_eq!(settings(&wanted(), &other), ["driver"]);
    }

    #[test]
    fn ipv6_must_agree_both_ways() {
        let subnet6 = Some(("fd00::".parse().expect("an address"), 64));
        let six = GuestNetwork { subnet6, ..wanted() };
        assert_eq!(settings(&six, &found(|_| {})), ["subnet6"]);
        let switched_off = found(|value| {
            value["IPAM"]["Config"] = json!([
                {"Subnet": "172.30.0.0/24"}, {"Subnet": "fd00::/64"}]);
        });
        assert_eq!(settings(&six, &switched_off), ["subnet6"]);
        assert!(settings(&wanted(), &switched_off).is_empty());
    }

    #[test]
    fn the_request_says_all_that_the_config_says() {
        let request = request("lab", &wanted());
        assert_eq!(
            request.options.as_ref().map(|all| all[convert::BRIDGE_NAME].as_str()),
            Some("br-lab")
        );
        assert_eq!(request.enable_ipv6, Some(false));
        let pools = request.ipam.and_then(|ipam| ipam.config).expect("a pool");
        assert_eq!(pools[0].subnet.as_deref(), Some("172.30.0.0/24"));
        assert_eq!(pools[0].gateway.as_deref(), Some("172.30.0.1"));
    }

    #[test]
    fn interfaces_are_matched_whole() {
        let table = "Inter-|   Receive\n face |bytes\n    lo: 1 2\nbr-lab: 3 4\n";
        assert!(has_interface(table, "br-lab") && has_interface(table, "lo"));
        assert!(!has_interface(table, "br-la"));
    }
}
