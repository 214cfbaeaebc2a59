//! Where this host's routes lead.

use std::net::{IpAddr, Ipv4Addr};

use futures_util::TryStreamExt as _;
use rtnetlink::{
    RouteMessageBuilder,
    packet_route::route::{RouteAddress, RouteAttribute, RouteMessage},
};

use super::NetlinkError;
use crate::policy::rule::Net;

/// IPv4 networks that any routing table names, without the default route: this host's own addresses too.
pub async fn list4() -> Result<Vec<Net>, NetlinkError> {
    let handle = super::connect()?;
    let every = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let mut routes = handle.route().get(every).execute();
    let mut found = Vec::new();
    while let Some(route) =
        routes.try_next().await.map_err(NetlinkError::request("list the routes", 0))?
    {
        found.extend(destination(&route));
    }
    Ok(found)
}

fn destination(route: &RouteMessage) -> Option<Net> {
    let length = route.header.destination_prefix_length;
    let address = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        _ => None,
    })?;
    Net::new(address, length).filter(|net| net.length() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_loopback_network_is_routed_and_the_default_route_is_none_of_them() {
        let routes = list4().await.expect("routes");
        let loopback = Net::host(IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert!(routes.iter().any(|route| route.covers(&loopback)), "{routes:?}");
        assert!(routes.iter().all(|route| route.length() > 0), "{routes:?}");
    }
}
