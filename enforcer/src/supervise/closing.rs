//! Closes guest bridges as well as this host can, before anything can fail that would leave them
//! open.

use super::{SuperviseError, blocking};
use crate::{
    closure::{self, Ability, Table},
    config::Config,
    control::desired::Closes,
    netlink,
};

/// Writes the table that the config asks for, or removes it where it asks for none. A host that
/// cannot close is policed all the same, and its status says what is missing: without programs guests
/// would be open on every side. A table that could not be written is written by the control loop.
pub async fn close(config: &Config) -> Result<(Table, Closes), SuperviseError> {
    let table = Table::default();
    let wanted = config.closure();
    let asked = wanted.clone();
    let ability =
        blocking("the closure", move || asked.map(|closure| closure::ability(&closure))).await?;
    let (closure, closes) = match (wanted, ability) {
        (Some(closure), Some(Ability::Bridge)) => (Some(closure), Closes::ByBridge),
        (Some(closure), Some(Ability::Ports)) => {
            let links = netlink::links::list().await?;
            tracing::warn!(
                "this kernel's nftables does not tell a frame's bridge (CONFIG_NFT_BRIDGE_META): \
                 veths that are not policed yet are told by name"
            );
            (Some(closure.by_ports(&links)), Closes::ByPorts)
        }
        (_, Some(Ability::None(error))) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "guest bridges are open to ports that are not policed yet");
            return Ok((table, Closes::Not));
        }
        (_, None) | (None, _) => (None, Closes::Not),
    };
    let writing = table.clone();
    if let Err(error) = blocking("the closure", move || writing.set(closure.as_ref())).await? {
        let error = &error as &dyn std::error::Error;
        tracing::error!(error, "guest bridges are not closed yet");
    }
    Ok((table, closes))
}
