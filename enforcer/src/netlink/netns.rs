//! Which network namespace is whose: the kernel's number for a container's sandbox, which a veth's
//! `link-netnsid` names. It proves an interface's owner without asking anything a guest can change.

use std::{fs::File, os::fd::AsRawFd};

use futures_util::StreamExt;
use rtnetlink::{
    Handle,
    packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        nsid::{NsidAttribute, NsidMessage},
    },
};

use super::NetlinkError;

/// The number of the namespace at `path` as seen from this one; `None`: it has none, so no
/// interface here has a peer in it.
pub async fn number(handle: &Handle, path: &str) -> Result<Option<i32>, NetlinkError> {
    let file = File::open(path)
        .map_err(|source| NetlinkError::Namespace { path: path.to_owned(), source })?;
    let mut query = NsidMessage::default();
    query.attributes.push(NsidAttribute::Fd(file.as_raw_fd().cast_unsigned()));
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetNsId(query));
    request.header.flags = NLM_F_REQUEST;
    let mut answers = handle
        .clone()
        .request(request)
        .map_err(NetlinkError::request("ask for a namespace's number", 0))?;
    while let Some(answer) = answers.next().await {
        match answer.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNsId(message)) => {
                return Ok(message.attributes.iter().find_map(|attribute| match attribute {
                    NsidAttribute::Id(id) if *id >= 0 => Some(*id),
                    _ => None,
                }));
            }
            NetlinkPayload::Error(error) => {
                return Err(NetlinkError::request("ask for a namespace's number", 0)(
                    rtnetlink::Error::NetlinkError(error),
                ));
            }
            _ => {}
        }
    }
    Ok(None)
}
