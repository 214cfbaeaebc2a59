//! Checks of single values: each says what is wrong and what to write instead.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::closure::OWN_BRIDGES;

/// Longest name of an interface: `IFNAMSIZ` less the final zero.
const MAX_INTERFACE_NAME: usize = 15;
/// Longest path of a unix socket: `sun_path` less the final zero.
pub(super) const MAX_SOCKET_PATH: usize = 107;
/// Bridges that belong to Docker itself, and words that sysctl keeps for itself.
const RESERVED_INTERFACES: [&str; 5] = ["all", "default", "docker0", "docker_gwbridge", "lo"];
/// Docker's own networks, which cannot be made anew or reconfigured.
const RESERVED_NETWORKS: [&str; 5] = ["bridge", "default", "host", "none", "ingress"];

/// The name of a bridge interface.
pub(super) fn bridge_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("the bridge needs a name, such as \"br-tutorials\"".to_owned());
    }
    if name.len() > MAX_INTERFACE_NAME {
        return Err(format!(
            "bridge name \"{name}\" has {} bytes; the kernel allows {MAX_INTERFACE_NAME}",
            name.len()
        ));
    }
    if RESERVED_INTERFACES.contains(&name) || name.starts_with(OWN_BRIDGES) {
        return Err(format!(
            "\"{name}\" is not available as a guest bridge; choose a name of its own"
        ));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !name.bytes().all(plain) || name.starts_with(['.', '-']) {
        return Err(format!(
            "bridge name \"{name}\" may hold letters, digits, '-', '_' and '.' only, and starts \
             with a letter, a digit or '_'"
        ));
    }
    Ok(())
}

/// The name of a Docker network.
pub(super) fn network_name(name: &str) -> Result<(), String> {
    if RESERVED_NETWORKS.contains(&name) {
        return Err(format!(
            "\"{name}\" is a network of Docker's own; guests need one of their own, with another \
             name"
        ));
    }
    docker_name("network", name)
}

/// The key of a container's label.
pub(super) fn label_key(key: &str) -> Result<(), String> {
    let visible = |byte: u8| byte.is_ascii_graphic() && byte != b'"';
    if !key.is_empty() && key.bytes().all(visible) {
        return Ok(());
    }
    Err(format!(
        "\"{key}\" is no key of a label; write it as \"enforcer.guest\" or \"enforcer.guest=yes\""
    ))
}

/// A name that Docker accepts.
pub(super) fn docker_name(what: &str, name: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let starts_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if starts_well && name.bytes().all(plain) && name.len() <= 253 {
        return Ok(());
    }
    Err(format!(
        "{what} name \"{name}\" is none that Docker takes: letters, digits, '-', '_' and '.', \
         starting with a letter or a digit"
    ))
}

/// An absolute path, short enough with `suffix` to be a unix socket.
pub(super) fn socket_path(path: &str, suffix: &str) -> Result<(), String> {
    if path.contains("://") {
        return Err(format!("\"{path}\" is a URL; write the path of the unix socket"));
    }
    if !path.starts_with('/') || path.contains('\0') {
        return Err(format!("\"{path}\" is not an absolute path; start it with '/'"));
    }
    if path.len() + suffix.len() > MAX_SOCKET_PATH {
        return Err(format!(
            "\"{path}{suffix}\" is longer than the {MAX_SOCKET_PATH} bytes that a unix socket's \
             path may have"
        ));
    }
    Ok(())
}

/// An absolute path.
pub(super) fn absolute_path(path: &str) -> Result<(), String> {
    if path.starts_with('/') && !path.contains('\0') {
        return Ok(());
    }
    Err(format!("\"{path}\" is not an absolute path; start it with '/'"))
}

/// An IPv4 subnet that Docker can hand out to guests.
pub(super) fn subnet4(text: &str) -> Result<(Ipv4Addr, u8), String> {
    let (address, prefix) = split_prefix::<Ipv4Addr>(text, "172.30.0.0/24")?;
    if !(8..=30).contains(&prefix) {
        return Err(format!(
            "a guest subnet of /{prefix} makes no sense in \"{text}\"; use /8 to /30"
        ));
    }
    let network = Ipv4Addr::from_bits(address.to_bits() & mask4(prefix));
    if network != address {
        return Err(format!("\"{text}\" has host bits set; write {network}/{prefix}"));
    }
    if !is_assignable4(address) {
        return Err(format!("\"{text}\" is no subnet that hosts can have addresses in"));
    }
    Ok((address, prefix))
}

/// An IPv6 subnet that Docker can hand out to guests.
pub(super) fn subnet6(text: &str) -> Result<(Ipv6Addr, u8), String> {
    let (address, prefix) = split_prefix::<Ipv6Addr>(text, "fd00:1:2:3::/64")?;
    if !(32..=126).contains(&prefix) {
        return Err(format!(
            "a guest subnet of /{prefix} makes no sense in \"{text}\"; use /32 to /126"
        ));
    }
    let network = Ipv6Addr::from_bits(address.to_bits() & mask6(prefix));
    if network != address {
        return Err(format!("\"{text}\" has host bits set; write {network}/{prefix}"));
    }
    if !is_assignable6(address) {
        return Err(format!("\"{text}\" is no subnet that hosts can have addresses in"));
    }
    Ok((address, prefix))
}

/// The bridge's IPv4 address in its subnet.
pub(super) fn gateway4(text: &str, subnet: (Ipv4Addr, u8)) -> Result<Ipv4Addr, String> {
    let gateway: Ipv4Addr = text
        .parse()
        .map_err(|_error| format!("\"{text}\" is not an IPv4 address, such as \"172.30.0.1\""))?;
    if !contains4(subnet, gateway) {
        return Err(format!("gateway {gateway} is outside the subnet {}/{}", subnet.0, subnet.1));
    }
    let host = gateway.to_bits() & !mask4(subnet.1);
    if host == 0 || host == !mask4(subnet.1) {
        return Err(format!(
            "gateway {gateway} is the network or broadcast address of {}/{}; take another",
            subnet.0, subnet.1
        ));
    }
    Ok(gateway)
}

/// The address of a hub.
pub(super) fn hub_address(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text.parse().map_err(|_error| {
        format!("\"{text}\" is not an IP address; for a container use `container = \"NAME\"`")
    })?;
    let usable = match address {
        IpAddr::V4(address) => is_assignable4(address),
        IpAddr::V6(address) => is_assignable6(address),
    };
    if usable {
        return Ok(address);
    }
    if address.is_loopback() {
        return Err(format!(
            "{address} is a loopback address, which guests have of their own; use `gateway = true` \
             for a hub on this host"
        ));
    }
    Err(format!("{address} is multicast, link-local, unspecified or reserved: no hub can be there"))
}

/// Whether two IPv4 subnets share an address.
pub(super) fn overlap4(one: (Ipv4Addr, u8), other: (Ipv4Addr, u8)) -> bool {
    let shorter = one.1.min(other.1);
    contains4((one.0, shorter), other.0)
}

/// Whether two IPv6 subnets share an address.
pub(super) fn overlap6(one: (Ipv6Addr, u8), other: (Ipv6Addr, u8)) -> bool {
    let shorter = one.1.min(other.1);
    contains6((one.0, shorter), other.0)
}

/// Whether an IPv4 address is in a subnet.
pub(super) fn contains4(subnet: (Ipv4Addr, u8), address: Ipv4Addr) -> bool {
    (subnet.0.to_bits() ^ address.to_bits()) & mask4(subnet.1) == 0
}

/// Whether an IPv6 address is in a subnet.
pub(super) fn contains6(subnet: (Ipv6Addr, u8), address: Ipv6Addr) -> bool {
    (subnet.0.to_bits() ^ address.to_bits()) & mask6(subnet.1) == 0
}

fn split_prefix<A: std::str::FromStr>(text: &str, example: &str) -> Result<(A, u8), String> {
    let wrong = || format!("\"{text}\" is not a subnet of this family; write it as \"{example}\"");
    let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
    let address = address.parse().map_err(|_error| wrong())?;
    // `parse` would take "+24".
    let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
    let prefix = prefix.parse().ok().filter(|_| digits).ok_or_else(wrong)?;
    Ok((address, prefix))
}

const fn mask4(prefix: u8) -> u32 {
    if prefix == 0 { 0 } else { u32::MAX << (32 - prefix) }
}

const fn mask6(prefix: u8) -> u128 {
    if prefix == 0 { 0 } else { u128::MAX << (128 - prefix) }
}

/// An IPv4 address that a host beyond this one can have.
fn is_assignable4(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    // 0/8 and 240/4 are reserved; 224/4 is multicast, 255.255.255.255 broadcast.
    first != 0 && first < 224 && !address.is_loopback() && !address.is_link_local()
}

/// An IPv6 address that a host beyond this one can have without naming an interface.
fn is_assignable6(address: Ipv6Addr) -> bool {
    // ::/8 holds unspecified, loopback and the IPv4-mapped addresses.
    address.octets()[0] != 0 && !address.is_multicast() && !address.is_unicast_link_local()
}
