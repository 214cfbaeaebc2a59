//! Loads the packet path, and takes over what an earlier daemon left of it.

use super::{SuperviseError, blocking};
use crate::{
    audit::record::{Body, Unseen},
    config::Config,
    kernel::{
        clsact,
        features::Features,
        load::{self, LoadOptions, Loaded},
        pins::Pins,
        processes::ProcessProgram,
        takeover::{self, Takeover},
    },
    netlink,
};

/// Loads everything, on the maps that an earlier daemon left.
pub async fn load(
    config: &Config,
    features: Features,
) -> Result<(Loaded, Takeover), SuperviseError> {
    let filters = if features.tcx {
        Vec::new()
    } else {
        let links = netlink::links::list().await?;
        netlink::filters::find(&netlink::connect()?, &links, clsact::MAJOR).await?
    };
    let options = LoadOptions { mark_mask: config.mark_mask, max_flows: config.max_flows };
    let pin_dir = config.pin_dir.clone();
    // The verifier takes its time.
    blocking("the loader", move || {
        let pins = Pins::open(&pin_dir)?;
        let mut loaded = load::load(options, &features, &pins)?;
        let takeover = takeover::take_over(&mut loaded, &pins, &filters)?;
        Ok((loaded, takeover))
    })
    .await?
}

/// What the records lack where programs that know the process could not be attached.
pub(super) fn unseen(programs: Vec<ProcessProgram>) -> Vec<Body> {
    let refused = programs.into_iter().filter_map(|program| {
        let (what, why) = (program.name.to_owned(), program.problem?);
        tracing::warn!(program = program.name, why, "guests' processes are not seen by it");
        Some(Body::Unseen(Unseen { what, why, ..Unseen::default() }))
    });
    refused.collect()
}
