//! Answers "status" when no daemon does: what the kernel enforces without one.

use std::path::Path;

use enforcer_common::abi::{ABI_VERSION, event::Hook};

use crate::{
    closure,
    kernel::{KernelError, clsact, links::is_ingress, pins::Pins, sweep},
    model::{
        link::{LinkKind, Links},
        status::{ClosureStatus, Health, HealthState, ProgramStatus, StatusReport},
    },
    netlink,
};

/// Programs of a port.
const PORT: [Hook; 2] = [Hook::FromGuest, Hook::ToGuest];
/// Programs of a bridge.
const BRIDGE: [Hook; 2] = [Hook::FromBridge, Hook::ToBridge];

/// What the kernel holds; `why` says why no daemon is asked.
pub async fn report(pin_dir: &Path, why: &str) -> StatusReport {
    let mut reasons = vec![why.to_owned()];
    let (links, programs) = match look().await {
        Ok(found) => found,
        Err(error) => {
            reasons.push(format!("the kernel does not tell: {error}"));
            <_>::default()
        }
    };
    let missing = match Pins::existing(pin_dir).map(|pins| known(&pins)) {
        Some(Ok(known)) if !known.is_empty() => missing(&known, &links, &programs),
        Some(Err(error)) => vec![error.to_string()],
        Some(Ok(_)) | None => vec!["no policy is in the kernel".to_owned()],
    };
    let state = if missing.is_empty() {
        reasons.push(
            "the kernel goes on with the policy that it has; containers that start now have no \
             network"
                .to_owned(),
        );
        HealthState::Degraded
    } else {
        reasons.extend(missing);
        HealthState::NotEnforcing
    };
    let closed = tokio::task::spawn_blocking(closure::exists).await.unwrap_or(false);
    StatusReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        abi: ABI_VERSION,
        docker: "not asked".to_owned(),
        closure: ClosureStatus {
            wanted: true,
            closed,
            by: "an earlier daemon".to_owned(),
            ..<_>::default()
        },
        programs,
        health: Health { state, reasons },
        ..StatusReport::default()
    }
}

/// The hooks that must have a program: of all interfaces that are in the pinned maps.
fn known(pins: &Pins) -> Result<Vec<(u32, [Hook; 2])>, KernelError> {
    let ports = pins.interfaces("ENDPOINTS")?.into_iter().map(|i| (i, PORT));
    let bridges = pins.interfaces("NETWORKS")?.into_iter().map(|i| (i, BRIDGE));
    Ok(ports.chain(bridges).collect())
}

/// What is not as it was, of interfaces that still exist.
fn missing(known: &[(u32, [Hook; 2])], links: &Links, programs: &[ProgramStatus]) -> Vec<String> {
    let hooks = known.iter().flat_map(|(ifindex, hooks)| hooks.map(|hook| (ifindex, hook)));
    hooks
        .filter_map(|(ifindex, hook)| {
            let name = &links.get(ifindex)?.name;
            let sits = programs
                .iter()
                .any(|is| is.interface == *name && is.program == hook.name() && is.attached);
            (!sits).then(|| format!("{} does not run on {name}", hook.name()))
        })
        .collect()
}

async fn look() -> anyhow::Result<(Links, Vec<ProgramStatus>)> {
    let links = netlink::links::list().await?;
    let programs = programs(&links).await?;
    Ok((links, programs))
}

async fn programs(links: &Links) -> anyhow::Result<Vec<ProgramStatus>> {
    let handle = netlink::connect()?;
    let mut found = Vec::new();
    for link in links.values() {
        let hooks = match link.kind {
            LinkKind::Veth => PORT,
            LinkKind::Bridge => BRIDGE,
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
