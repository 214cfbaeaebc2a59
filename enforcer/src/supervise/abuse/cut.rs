//! A cut that an admin wants, and no signal raised.

use std::{collections::BTreeMap, sync::Arc};

use super::{AbuseWatch, Memory, deed::Deed, judged::is_guest};
use crate::{
    abuse::{Answer, Restraint, Restraints},
    audit::record::Abuse,
    config::Config,
    model::{
        caller::Caller,
        declined::Declined,
        owner::{Owner, Owners},
        restraint::{CutDone, CutOrder},
    },
    policy::allowance::{LASTS, reasoned},
    supervise::now,
};

/// Least digits of a container's id that stand for it.
const LEAST_DIGITS: usize = 4;

impl AbuseWatch {
    /// Cuts a guest off because an admin wants it.
    pub(super) async fn cut(
        &self,
        memory: &mut Memory,
        order: &CutOrder,
        by: &Caller,
    ) -> Result<CutDone, Declined> {
        reasoned(&order.reason)?;
        if !LASTS.contains(&order.for_s) {
            return Err(Declined::conflict(format!(
                "{} s: a cut lasts for 10 s to 7 days",
                order.for_s
            )));
        }
        let owners = Arc::clone(&self.owners.borrow());
        let (endpoint, owner, container) = named(&self.config.borrow(), &owners, &order.guest)?;
        let clock = now();
        let until_ns = clock.mono_ns.saturating_add(order.for_s.saturating_mul(1_000_000_000));
        let until = clock.rfc3339(until_ns);
        let done = CutDone {
            container: owner.name.clone(),
            container_id: container.clone(),
            until: until.clone(),
            done: !order.dry_run,
        };
        if order.dry_run {
            return Ok(done);
        }
        let restraint = Restraint {
            container: container.clone(),
            name: owner.name.clone(),
            network: owner.network.clone(),
            endpoint,
            answer: Answer::Cut,
            signal: None,
            until_ns: Some(until_ns),
        };
        let record = Abuse {
            answer: Answer::Cut.name().to_owned(),
            until: Some(until),
            why: order.reason.clone(),
            by: by.clone(),
            ..self.record_of(&restraint)
        };
        memory.wanted.insert(Deed::Hold(Answer::Cut, container), record);
        let mut held = Restraints::clone(&self.restraints.borrow());
        held.put(restraint);
        self.hold(held).await;
        Ok(done)
    }
}

/// The guest of this name, or whose id begins so: an id of it in the kernel, and its container.
fn named<'a>(
    config: &Config,
    owners: &'a Owners,
    who: &str,
) -> Result<(u32, &'a Owner, String), Declined> {
    let is_it = |owner: &Owner| {
        let id = owner.container.as_deref().unwrap_or_default();
        owner.name == who || who.len() >= LEAST_DIGITS && id.starts_with(who)
    };
    let guests = owners.iter().filter(|(_, owner)| is_guest(config, owner));
    let mut found: BTreeMap<&str, (u32, &Owner)> = BTreeMap::new();
    for (id, owner) in guests.filter(|(_, owner)| is_it(owner)) {
        found.insert(owner.container.as_deref().unwrap_or_default(), (*id, owner));
    }
    match found.len() {
        0 => {
            Err(Declined::unknown(format!("no guest is called {who}; `enforcer status` shows all")))
        }
        1 => {
            let first = found.into_iter().next();
            let first = first.map(|(container, (id, owner))| (id, owner, container.to_owned()));
            first.ok_or_else(|| Declined::unknown(format!("no guest is called {who}")))
        }
        _ => {
            let found = found.into_keys().collect::<Vec<_>>().join(", ");
            Err(Declined::conflict(format!("{who} may be any of {found}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use enforcer_common::abi::endpoint::Role;

    use super::*;
    use crate::config::parse;

    #[test]
    fn abuse_an_admin_cuts_off_a_guest_by_its_name_or_id_and_nobody_else() {
        let config = parse("[networks.a]\nbridge = \"br-a\"\n", "f").expect("valid");
        let owner = |name: &str, container: &str, role| Owner {
            name: name.to_owned(),
            network: "a".to_owned(),
            container: Some(container.to_owned()),
            role: Some(role),
            ..Owner::nobody()
        };
        let owners: Owners = [
            (1, owner("ann", "aaaa1111", Role::Guest)),
            // Another port of hers.
            (2, owner("ann", "aaaa1111", Role::Guest)),
            (3, owner("ben", "aaaa2222", Role::Guest)),
            (4, owner("hub", "bbbb3333", Role::Hub)),
        ]
        .into();
        let found = |who: &str| named(&config, &owners, who).map(|(_, _, container)| container);
        assert_eq!(found("ann").as_deref(), Ok("aaaa1111"));
        assert_eq!(found("aaaa2").as_deref(), Ok("aaaa2222"));
        for nobody in ["aaaa", "aaa", "hub", "bbbb", "cyn", ""] {
            assert!(found(nobody).is_err(), "{nobody}");
        }
    }
}
