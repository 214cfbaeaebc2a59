//! Tells the kernel which gate is whose (promise S4): processes of a user's containers may connect to that user's socket,
//! which was made outside their cgroups.
//!
//! A container has its cgroup in the kernel's table some milliseconds before its gate. Who connects between the two gets
//! EPERM, and not a moment later any more.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};

use crate::{
    access::name::User,
    causes::causes,
    control::reconcile::State,
    gate::{Gate, identity::user_of},
    kernel::sockets::{Gates, Named},
    model::{desired::Desired, inventory::Inventory},
};

/// How soon what could not be told is told again.
const AGAIN: Duration = Duration::from_secs(5);

/// A user's socket: whose, and the number of its opening.
type Door = (User, u32);

/// What the kernel should know, by cgroup: sockets that are open, of the users whose containers are in these cgroups.
#[must_use]
pub fn wanted(
    desired: &Desired,
    inventory: &Inventory,
    open: &BTreeMap<User, u32>,
) -> BTreeMap<u64, Door> {
    let door = |ifindex| {
        let container = desired.endpoints.get(&ifindex)?.container.as_ref()?;
        let user = user_of(inventory.containers.get(container)?)?;
        let number = *open.get(&user)?;
        Some((user, number))
    };
    let cgroups = desired.cgroups.iter();
    cgroups.filter_map(|(id, cgroup)| Some((*id, door(cgroup.ifindex)?))).collect()
}

/// Keeps the kernel's table as it should be, until the daemon ends.
pub async fn keep(
    gate: Gate,
    gates: Gates,
    mut state: watch::Receiver<Arc<State>>,
    mut inventory: watch::Receiver<Arc<Inventory>>,
) {
    let mut opened = gate.changes();
    let mut told = BTreeMap::<u64, (Door, Named)>::new();
    loop {
        opened.borrow_and_update();
        let wanted = {
            let (state, inventory) = (state.borrow_and_update(), inventory.borrow_and_update());
            wanted(&state.desired, &inventory, &gate.users())
        };
        let mut is_whole = true;
        let gone = told.extract_if(.., |id, (door, _)| wanted.get(id) != Some(door));
        for (cgroup, (door, named)) in gone.collect::<Vec<_>>() {
            if let Err(error) = gates.forget(named) {
                tracing::error!(cgroup, error = causes(&error), "a gate cannot be forgotten");
                told.insert(cgroup, (door, named));
                is_whole = false;
            }
        }
        for (cgroup, door) in wanted {
            if told.contains_key(&cgroup) {
                continue;
            }
            // One that was closed meanwhile has changed what is wanted.
            let Some(listener) = gate.listener(&door.0, door.1) else { continue };
            match gates.allow(cgroup, listener) {
                Ok(named) => drop(told.insert(cgroup, (door, named))),
                Err(error) => {
                    let why = causes(&error);
                    tracing::error!(cgroup, user = %door.0, why, "guests cannot reach their gate");
                    is_whole = false;
                }
            }
        }
        tokio::select! {
            Ok(()) = state.changed() => {}
            Ok(()) = inventory.changed() => {}
            Ok(()) = opened.changed() => {}
            () = sleep(AGAIN), if !is_whole => {}
            else => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use enforcer_common::abi::endpoint::Role;

    use super::*;
    use crate::model::{
        desired::{DesiredCgroup, DesiredEndpoint},
        inventory::Container,
        provenance::Provenance,
    };

    fn user(hub: &str, name: &str) -> User {
        User { hub: hub.parse().expect("a hub"), name: name.parse().expect("a user") }
    }

    fn endpoint(container: &str) -> DesiredEndpoint {
        DesiredEndpoint {
            network: 1,
            policy: 1,
            role: Role::Guest,
            container: Some(container.to_owned()),
            name: String::new(),
            mac: [2; 6],
            ipv4: None,
            ipv6: None,
            published: Vec::new(),
        }
    }

    fn container(is_told: bool, labels: &[(&str, &str)]) -> Container {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let provenance = Provenance { is_told, labels: labels.collect(), ..Provenance::default() };
        Container { provenance: Arc::new(provenance), ..Container::default() }
    }

    #[test]
    fn s4_a_gate_is_open_to_the_cgroups_of_its_users_containers_and_to_no_other() {
        let of = |hub, name| [("enforcer.hub", hub), ("enforcer.user", name)];
        let containers = [
            ("ann", container(true, &of("lab", "ann"))),
            ("ann-two", container(true, &of("two", "ann"))),
            // What only its image says, or nobody has told yet.
            ("rumour", container(false, &of("lab", "ann"))),
            ("half", container(true, &[("enforcer.user", "ann")])),
            ("ben", container(true, &of("lab", "ben"))),
        ];
        let (mut desired, mut inventory) = (Desired::default(), Inventory::default());
        for ((name, container), number) in containers.into_iter().zip(1..) {
            desired.endpoints.insert(number, endpoint(name));
            let cgroup = DesiredCgroup { ifindex: number, judged: true };
            desired.cgroups.insert(u64::from(number) + 100, cgroup);
            inventory.containers.insert(name.to_owned(), container);
        }
        // A cgroup of a container that the engine does not tell of.
        desired.cgroups.insert(200, DesiredCgroup { ifindex: 9, judged: false });
        let open = BTreeMap::from([(user("lab", "ann"), 4), (user("two", "ann"), 5)]);
        let expected = [(101, (user("lab", "ann"), 4)), (102, (user("two", "ann"), 5))];
        assert_eq!(wanted(&desired, &inventory, &open), expected.into());
        assert!(wanted(&desired, &inventory, &BTreeMap::new()).is_empty());
    }
}
