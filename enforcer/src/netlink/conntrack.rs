//! The host's conntrack table: what was live before enforcer was here.
//!
//! ctnetlink over a netfilter socket; `parse` knows the messages.

mod parse;

use std::{collections::BTreeSet, io, net::IpAddr};

use futures_util::TryStreamExt as _;
use rtnetlink::{
    Handle,
    packet_route::address::AddressAttribute,
    sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER},
};

use super::NetlinkError;
use crate::model::connection::Connection;
use parse::Progress;

/// The kernel does not tell its connections.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    /// No conntrack in this kernel, or no right to it.
    #[error("cannot read the kernel's connections")]
    Unavailable(#[source] io::Error),
    /// An answer that is none.
    #[error("the kernel's list of connections is malformed")]
    Malformed,
}

/// All IPv4 and IPv6 connections of this network namespace. Blocks.
pub fn dump() -> Result<Vec<Connection>, ConntrackError> {
    let mut found = dump_family(libc::AF_INET)?;
    found.extend(dump_family(libc::AF_INET6)?);
    Ok(found)
}

/// This machine's own addresses.
pub async fn local_addresses(handle: &Handle) -> Result<BTreeSet<IpAddr>, NetlinkError> {
    let messages: Vec<_> = handle
        .address()
        .get()
        .execute()
        .try_collect()
        .await
        .map_err(NetlinkError::request("list addresses", 0))?;
    let attributes = messages.iter().flat_map(|message| &message.attributes);
    Ok(attributes
        .filter_map(|attribute| match attribute {
            AddressAttribute::Local(address) | AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
        .collect())
}

fn dump_family(family: i32) -> Result<Vec<Connection>, ConntrackError> {
    let mut socket = Socket::new(NETLINK_NETFILTER).map_err(ConntrackError::Unavailable)?;
    socket.bind_auto().map_err(ConntrackError::Unavailable)?;
    socket.connect(&SocketAddr::new(0, 0)).map_err(ConntrackError::Unavailable)?;
    let family = u8::try_from(family).map_err(|_| ConntrackError::Malformed)?;
    socket.send(&parse::request(family), 0).map_err(ConntrackError::Unavailable)?;
    let mut found = Vec::new();
    loop {
        let (bytes, _sender) = socket.recv_from_full().map_err(ConntrackError::Unavailable)?;
        match parse::answer(&bytes, &mut found).ok_or(ConntrackError::Malformed)? {
            Progress::More => {}
            Progress::Done => return Ok(found),
            Progress::Refused(errno) => {
                return Err(ConntrackError::Unavailable(io::Error::from_raw_os_error(errno)));
            }
        }
    }
}
