//! A cut that an admin wants, and no signal raised.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};

use super::{AbuseWatch, Memory, deed::Deed, judged::is_guest};
use crate::{
    abuse::{Answer, Restraint, Restraints},
    api::asked::Reply,
    audit::record::Abuse,
    config::Config,
    control::{
        cut::{Seen, seen},
        reconcile::State,
    },
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
/// Longest wait for the kernel to hold what was ordered.
const PATIENCE: Duration = Duration::from_secs(10);

impl AbuseWatch {
    /// Cuts a guest off because an admin wants it, and answers when the kernel holds it so.
    pub(super) async fn cut(
        &self,
        memory: &mut Memory,
        order: &CutOrder,
        by: &Caller,
        reply: Reply<CutDone>,
    ) {
        match self.begin(memory, order, by).await {
            Ok(done) if done.done => {
                // The next order does not wait for the kernel.
                tokio::spawn(answer(self.state.clone(), done, reply));
            }
            // Whoever asked may have gone.
            outcome => drop(reply.send(outcome)),
        }
    }

    async fn begin(
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
        let restraint = Restraint {
            container: container.clone(),
            name: owner.name.clone(),
            network: owner.network.clone(),
            endpoint,
            answer: Answer::Cut,
            signal: None,
            until_ns: Some(until_ns),
        };
        let mut held = Restraints::clone(&self.restraints.borrow());
        let asked = self.record_of(&restraint);
        // It may be cut off for longer already.
        let until = held.put(restraint).until_ns.map(|until| clock.rfc3339(until));
        let done = CutDone {
            container: owner.name.clone(),
            container_id: container.clone(),
            until: until.clone().unwrap_or_else(|| "it is pardoned".to_owned()),
            done: !order.dry_run,
        };
        if order.dry_run {
            return Ok(done);
        }
        let record = Abuse {
            answer: Answer::Cut.name().to_owned(),
            until,
            why: order.reason.clone(),
            by: by.clone(),
            ..asked
        };
        self.want(memory, Deed::Hold(Answer::Cut, container), record);
        self.hold(held).await;
        Ok(done)
    }
}

/// Answers when the kernel holds the guest as cut off, or that it does not in time.
async fn answer(mut state: watch::Receiver<Arc<State>>, done: CutDone, reply: Reply<CutDone>) {
    let is_held = |state: &Arc<State>| seen(state, &done.container_id, Answer::Cut) != Seen::NotYet;
    let is_held = matches!(timeout(PATIENCE, state.wait_for(is_held)).await, Ok(Ok(_)));
    let late = || Declined::not_yet("it is written down, and the kernel does not hold it yet");
    // Whoever asked may have gone.
    let _ = reply.send(if is_held { Ok(done) } else { Err(late()) });
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
    // What their owners' notebooks keep shares no policy with them: there is none to be left of.
    let is_own = |owner: &Owner| {
        config.networks.get(&owner.network).is_some_and(|network| network.owned.is_some())
    };
    let guests = owners.iter().filter(|(_, owner)| is_guest(config, owner));
    let (own, guests): (Vec<_>, Vec<_>) =
        guests.filter(|(_, owner)| is_it(owner)).partition(|(_, owner)| is_own(owner));
    let mut found: BTreeMap<&str, (u32, &Owner)> = BTreeMap::new();
    for (id, owner) in guests {
        found.insert(owner.container.as_deref().unwrap_or_default(), (*id, owner));
    }
    match found.len() {
        0 if !own.is_empty() => Err(Declined::conflict(format!(
            "{who} is on own networks alone, and a cut is of guest networks: cut its owner's notebook off, or stop {who} \
             with `docker stop`"
        ))),
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
    use crate::config::{GuestNetwork, Owned, parse};

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
        // A container that she started beside it, on a network of her own: it has no port that would be cut.
        let mut config = config;
        let own = GuestNetwork {
            owned: Some(Owned { owner: None, slot: 0 }),
            ..config.networks["a"].clone()
        };
        config.networks.insert("ann-db".to_owned(), own);
        let db = Owner { network: "ann-db".to_owned(), ..owner("db", "cccc4444", Role::Guest) };
        let beside =
            Owner { container: Some("aaaa1111".to_owned()), name: "ann".to_owned(), ..db.clone() };
        let owners: Owners = owners.into_iter().chain([(5, db), (6, beside)]).collect();
        let declined = named(&config, &owners, "db").expect_err("nothing would be cut");
        assert!(declined.message.contains("own networks"), "{declined}");
        assert_eq!(named(&config, &owners, "ann").map(|(id, ..)| id), Ok(2), "her port as a guest");
        let found = |who: &str| named(&config, &owners, who).map(|(_, _, container)| container);
        for nobody in ["aaaa", "aaa", "hub", "bbbb", "cyn", ""] {
            assert!(found(nobody).is_err(), "{nobody}");
        }
    }
}
