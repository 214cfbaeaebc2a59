//! TC programs on an interface as rtnetlink reports them: what kernels without TCX have.

use futures_util::TryStreamExt;
use rtnetlink::{
    Handle,
    packet_route::tc::{TcAttribute, TcFilterBpfOption, TcOption},
};

use super::NetlinkError;

/// Ids of the BPF programs on one direction of an interface, in the order in which they run.
pub async fn programs(
    handle: &Handle,
    ifindex: u32,
    ingress: bool,
) -> Result<Vec<u32>, NetlinkError> {
    let mut filters = handle.traffic_filter(ifindex.cast_signed());
    let request = if ingress { filters.get().ingress() } else { filters.get().egress() };
    let messages: Vec<_> = request
        .execute()
        .try_collect()
        .await
        .map_err(NetlinkError::request("list TC filters", ifindex))?;
    let mut found: Vec<(u32, u32)> = messages
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
            // tcm_info: priority in the upper half.
            Some((message.header.info >> 16, program))
        })
        .collect();
    found.sort_by_key(|(priority, _)| *priority);
    Ok(found.into_iter().map(|(_, program)| program).collect())
}

fn in_other_chain(attribute: &TcAttribute) -> bool {
    matches!(attribute, TcAttribute::Chain(chain) if *chain != 0)
}
