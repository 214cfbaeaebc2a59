//! Loads the packet path, and takes over what an earlier daemon left of it.

use tokio::sync::mpsc;

use super::{SuperviseError, blocking, live};
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

/// Has the lines of the eBPF programs among the daemon's own.
#[cfg(feature = "bpf-log")]
pub(super) fn read_log(log: crate::kernel::bpf_log::LogRing) -> Result<(), SuperviseError> {
    log.read(|line| tracing::debug!(target: "bpf", line)).map_err(super::start("the log reader"))
}

/// Records what was taken over, and what the records lack where programs that know the process could not
/// be attached.
pub(super) fn tell(
    journal: &mpsc::UnboundedSender<Body>,
    takeover: &Takeover,
    programs: Vec<ProcessProgram>,
    unproven: Option<Body>,
) {
    let refused = programs.into_iter().filter_map(|program| {
        let (what, why) = (program.name.to_owned(), program.problem?);
        tracing::warn!(program = program.name, why, "guests' processes are not seen by it");
        Some(Body::Unseen(Unseen { what, why, ..Unseen::default() }))
    });
    for body in std::iter::once(live::told(takeover)).chain(refused).chain(unproven) {
        // Nobody listens any more: the daemon is stopping.
        let _ = journal.send(body);
    }
}
