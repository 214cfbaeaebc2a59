//! TC programs on an interface as rtnetlink reports them: what kernels without TCX have.

use std::sync::Arc;

use enforcer_common::abi::event::Hook;
use futures_util::{StreamExt as _, TryStreamExt};
use rtnetlink::{
    Handle, MulticastGroup,
    packet_core::NetlinkPayload,
    packet_route::{
        RouteNetlinkMessage,
        tc::{TcAttribute, TcFilterBpfOption, TcOption},
    },
};
use tokio::sync::Notify;

use super::NetlinkError;
use crate::model::link::{LinkKind, Links};

/// A BPF program in a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Kernel's id of the program.
    pub program: u32,
    /// Major number of the filter's handle: it tells whose the filter is.
    pub major: u16,
    /// The rest of the handle.
    pub minor: u16,
    /// Its place: lower ones run earlier.
    pub priority: u16,
}

/// The BPF programs on one direction of an interface, in the order in which they run.
pub async fn programs(
    handle: &Handle,
    ifindex: u32,
    ingress: bool,
) -> Result<Vec<Filter>, NetlinkError> {
    let mut filters = handle.traffic_filter(ifindex.cast_signed());
    let request = if ingress { filters.get().ingress() } else { filters.get().egress() };
    let messages: Vec<_> = request
        .execute()
        .try_collect()
        .await
        .map_err(NetlinkError::request("list TC filters", ifindex))?;
    let mut found: Vec<Filter> = messages
        .iter()
        // Other chains run only when a filter of the first one sends a frame there.
        .filter(|message| !message.attributes.iter().any(in_other_chain))
        .filter_map(|message| {
            let program = message.attributes.iter().find_map(|attribute| match attribute {
                TcAttribute::Options(options) => options.iter().find_map(|option| match option {
                    TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => Some(*id),
                    _ => None,
                }),
                _ => None,
            })?;
            let handle = message.header.handle;
            // tcm_info: priority in the upper half.
            let priority = u16::try_from(message.header.info >> 16).ok()?;
            Some(Filter { program, major: handle.major, minor: handle.minor, priority })
        })
        .collect();
    found.sort_by_key(|filter| filter.priority);
    Ok(found)
}

fn in_other_chain(attribute: &TcAttribute) -> bool {
    matches!(attribute, TcAttribute::Chain(chain) if *chain != 0)
}

/// Tells whenever a filter or a qdisc of this network namespace has changed.
pub fn follow() -> Result<Arc<Notify>, NetlinkError> {
    let (connection, _, mut messages) =
        rtnetlink::new_multicast_connection(&[MulticastGroup::Tc]).map_err(NetlinkError::Socket)?;
    tokio::spawn(connection);
    let changed = Arc::new(Notify::new());
    let notify = Arc::clone(&changed);
    tokio::spawn(async move {
        while let Some((message, _)) = messages.next().await {
            let removed = match message.payload {
                NetlinkPayload::Overrun(_) => true,
                NetlinkPayload::InnerMessage(message) => matches!(
                    message,
                    RouteNetlinkMessage::DelTrafficFilter(_)
                        | RouteNetlinkMessage::NewTrafficFilter(_)
                        | RouteNetlinkMessage::DelQueueDiscipline(_)
                ),
                _ => false,
            };
            if removed {
                notify.notify_one();
            }
        }
    });
    Ok(changed)
}

/// The hooks of these interfaces that have a filter with this major number.
pub async fn find(
    handle: &Handle,
    links: &Links,
    major: u16,
) -> Result<Vec<(u32, Hook)>, NetlinkError> {
    let mut found = Vec::new();
    for link in links.values() {
        let hooks = match link.kind {
            LinkKind::Veth => [Hook::FromGuest, Hook::ToGuest],
            LinkKind::Bridge => [Hook::FromBridge, Hook::ToBridge],
            LinkKind::Other => continue,
        };
        for (hook, ingress) in hooks.into_iter().zip([true, false]) {
            match programs(handle, link.ifindex, ingress).await {
                Ok(filters) if filters.iter().any(|filter| filter.major == major) => {
                    found.push((link.ifindex, hook));
                }
                Ok(_) => {}
                Err(error) if error.is_gone() => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}
