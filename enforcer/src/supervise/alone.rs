//! Answers "status" when no daemon does: what the kernel enforces without one.

use std::path::Path;

use enforcer_common::abi::{ABI_VERSION, event::Hook};

use crate::{
    kernel::{clsact, links::is_ingress, pins::Pins, sweep},
    model::{
        link::LinkKind,
        status::{Health, HealthState, ProgramStatus, StatusReport},
    },
    netlink,
};

/// What the kernel holds; `why` says why no daemon is asked.
pub async fn report(pin_dir: &Path, why: &str) -> StatusReport {
    let mut reasons = vec![why.to_owned()];
    let programs = programs().await.unwrap_or_else(|error| {
        reasons.push(format!("the kernel does not tell: {error}"));
        Vec::new()
    });
    let pinned = Pins::existing(pin_dir).is_some();
    let state = if programs.is_empty() || !pinned {
        reasons.push("no policy is in the kernel".to_owned());
        HealthState::NotEnforcing
    } else {
        reasons.push(
            "the kernel goes on with the policy that it has; containers that start now have no \
             network"
                .to_owned(),
        );
        HealthState::Degraded
    };
    StatusReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        abi: ABI_VERSION,
        docker: "not asked".to_owned(),
        programs,
        health: Health { state, reasons },
        ..StatusReport::default()
    }
}

async fn programs() -> anyhow::Result<Vec<ProgramStatus>> {
    let handle = netlink::connect()?;
    let mut found = Vec::new();
    for link in netlink::links::list().await?.into_values() {
        let hooks = match link.kind {
            LinkKind::Veth => [Hook::FromGuest, Hook::ToGuest],
            LinkKind::Bridge => [Hook::FromBridge, Hook::ToBridge],
            LinkKind::Other => continue,
        };
        for hook in hooks {
            let links = sweep::links(link.ifindex, hook)?;
            let filters =
                netlink::filters::programs(&handle, link.ifindex, is_ingress(hook)).await?;
            let ours = filters.iter().find(|filter| filter.major == clsact::MAJOR);
            let (kind, id) = match (links.first(), ours) {
                (Some(link), _) => ("tcx", *link),
                (None, Some(filter)) => ("clsact", filter.program),
                (None, None) => continue,
            };
            found.push(ProgramStatus {
                program: hook.name().to_owned(),
                interface: link.name.clone(),
                id,
                hook: kind.to_owned(),
                attached: true,
            });
        }
    }
    Ok(found)
}
