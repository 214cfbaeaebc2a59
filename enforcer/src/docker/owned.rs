//! Own networks at the engine.

use std::{collections::BTreeMap, net::Ipv4Addr};

use bollard::{
    models::{Ipam, IpamConfig, NetworkCreateRequest},
    query_parameters::ListNetworksOptions,
};

use super::{Engine, EngineError, convert};
use crate::model::owned::{Found, Prepared};

/// Every network that the engine has; those that name no bridge have an empty one.
pub async fn list(engine: &Engine) -> Result<Vec<Found>, EngineError> {
    let listed = engine.docker.list_networks(None::<ListNetworksOptions>).await;
    let listed = listed.map_err(EngineError::request("list its networks"))?;
    let found = listed.into_iter().filter_map(|network| {
        let mut options = network.options.unwrap_or_default();
        let bridge = options.remove(convert::BRIDGE_NAME).unwrap_or_default();
        Some(Found { id: network.id?, name: network.name?, bridge })
    });
    Ok(found.collect())
}

/// Makes one; its id.
pub async fn create(
    engine: &Engine,
    prepared: &Prepared,
    labels: BTreeMap<String, String>,
) -> Result<String, EngineError> {
    let answer = engine.docker.create_network(request(prepared, labels)).await;
    Ok(answer.map_err(EngineError::request("create the network"))?.id)
}

/// Removes one. Whether it was there.
pub async fn remove(engine: &Engine, id: &str) -> Result<bool, EngineError> {
    match engine.docker.remove_network(id).await.map_err(EngineError::request("remove the network"))
    {
        Ok(()) => Ok(true),
        Err(error) if error.status() == Some(404) => Ok(false),
        Err(error) => Err(error),
    }
}

fn request(prepared: &Prepared, labels: BTreeMap<String, String>) -> NetworkCreateRequest {
    let (address, length): (Ipv4Addr, u8) = prepared.subnet;
    let pool = IpamConfig {
        subnet: Some(format!("{address}/{length}")),
        gateway: Some(prepared.gateway.to_string()),
        ..IpamConfig::default()
    };
    NetworkCreateRequest {
        name: prepared.name.clone(),
        driver: Some("bridge".to_owned()),
        enable_ipv6: Some(false),
        // Else the engine takes a way out through it for a member's way out, where its name comes first.
        internal: Some(true),
        ipam: Some(Ipam { config: Some(vec![pool]), ..Ipam::default() }),
        options: Some([(convert::BRIDGE_NAME.to_owned(), prepared.bridge.clone())].into()),
        labels: Some(labels.into_iter().collect()),
        ..NetworkCreateRequest::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n2_the_engine_is_asked_for_the_bridge_that_is_closed_already() {
        let request = request(Prepared::made_up(), BTreeMap::new());
        assert_eq!(request.options.expect("options")[convert::BRIDGE_NAME], "en-own-00000000");
        assert_eq!((request.enable_ipv6, request.attachable), (Some(false), None));
        assert_eq!(request.internal, Some(true), "a notebook that joins keeps its way out");
        let pools = request.ipam.and_then(|ipam| ipam.config).expect("a pool");
        assert_eq!(pools[0].subnet.as_deref(), Some("192.0.2.0/26"));
        assert_eq!(pools[0].gateway.as_deref(), Some("192.0.2.1"));
    }
}
