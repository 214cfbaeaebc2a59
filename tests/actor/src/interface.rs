//! What the actor knows of an interface of its namespace, without any privilege.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd as _,
};

use anyhow::{Context as _, Result};

use super::sys;
use crate::{hex, protocol::Interface};

/// Describes the interface `name`.
pub(super) fn describe(name: &str) -> Result<Interface> {
    let ifindex = sys::ifindex(name)?.cast_unsigned();
    let gateway = gateway(name);
    Ok(Interface {
        ifindex,
        mac: mac_of(fs::read_to_string(format!("/sys/class/net/{name}/address"))?.trim())
            .context("a MAC address of six bytes")?,
        ipv4: ipv4_of(name),
        ipv6: ipv6_of(name),
        gateway,
        gateway_mac: gateway.and_then(neighbour),
    })
}

fn mac_of(text: &str) -> Option<[u8; 6]> {
    hex::decode(&text.replace(':', "")).ok()?.try_into().ok()
}

fn ipv4_of(name: &str) -> Option<Ipv4Addr> {
    let fd = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0).ok()?;
    let mut request = InterfaceRequest::default();
    let length = name.len().min(15);
    request.name.get_mut(..length)?.copy_from_slice(name.as_bytes().get(..length)?);
    // SAFETY: SIOCGIFADDR reads the name and writes an address into this `ifreq`-shaped value.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCGIFADDR as _, &raw mut request) };
    (done == 0).then(|| Ipv4Addr::from(request.address))
}

/// `struct ifreq` as `SIOCGIFADDR` fills it.
#[repr(C)]
#[derive(Default)]
struct InterfaceRequest {
    name: [u8; 16],
    family: u16,
    port: u16,
    address: [u8; 4],
    rest: [u8; 16],
}

fn ipv6_of(name: &str) -> Vec<Ipv6Addr> {
    let table = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    table
        .lines()
        .filter(|line| line.split_whitespace().last() == Some(name))
        .filter_map(|line| {
            let octets: [u8; 16] =
                hex::decode(line.split_whitespace().next()?).ok()?.try_into().ok()?;
            Some(Ipv6Addr::from(octets))
        })
        .collect()
}

fn gateway(name: &str) -> Option<Ipv4Addr> {
    let table = fs::read_to_string("/proc/net/route").ok()?;
    table.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let (interface, to, by) = (fields.next()?, fields.next()?, fields.next()?);
        let address = u32::from_str_radix(by, 16).ok()?;
        (interface == name && to == "00000000").then(|| Ipv4Addr::from(address.to_le_bytes()))
    })
}

fn neighbour(address: Ipv4Addr) -> Option<[u8; 6]> {
    let table = fs::read_to_string("/proc/net/arp").ok()?;
    table.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        (fields.next()? == address.to_string()).then(|| mac_of(fields.nth(2)?)).flatten()
    })
}
