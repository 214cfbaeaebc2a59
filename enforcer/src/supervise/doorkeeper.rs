//! Keeps who may connect to the control socket, and as what, as the config has it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::blocking;
use crate::{
    api::{
        ControlSocket,
        roles::{OVERFLOW_UID, Roles},
        users,
    },
    causes::causes,
    config::{Admin, Config},
};

/// Names are asked for again this often: users come, go and get others' numbers, and what else runs here may have
/// changed the modes of the directory (systemd does when it reloads).
const AGAIN: Duration = Duration::from_mins(1);
/// Longest wait for a directory service.
const PATIENCE: Duration = Duration::from_secs(5);

/// Users that are no hub: root, and two that stand for anybody.
const NOBODYS: [u32; 3] = [0, OVERFLOW_UID, u32::MAX];

/// Opens the socket to those whom the config names.
pub(super) struct Doorkeeper {
    config: watch::Receiver<Arc<Config>>,
    roles: watch::Sender<Roles>,
    problems: watch::Sender<Vec<String>>,
}

/// What came of it.
pub(super) struct Admitted {
    /// Who may be who.
    pub(super) roles: watch::Receiver<Roles>,
    /// Who is named and cannot be let in.
    pub(super) problems: watch::Receiver<Vec<String>>,
}

impl Doorkeeper {
    pub(super) fn new(config: watch::Receiver<Arc<Config>>) -> (Self, Admitted) {
        let (roles, roles_out) = watch::channel(Roles::default());
        let (problems, problems_out) = watch::channel(Vec::new());
        let admitted = Admitted { roles: roles_out, problems: problems_out };
        (Self { config, roles, problems }, admitted)
    }

    pub(super) async fn run(mut self, socket: &ControlSocket) {
        loop {
            let (admins, hubs) = {
                let config = self.config.borrow_and_update();
                let hubs = config.hubs.iter();
                let hubs =
                    hubs.filter_map(|(name, hub)| Some((hub.user.clone()?, name.to_string())));
                (config.admins.clone(), hubs.collect::<Vec<_>>())
            };
            let resolving = blocking("users", move || resolve(&admins, &hubs, users::uid));
            // Nobody keeps a role because a directory service is slow to say that it is over.
            let found = timeout(PATIENCE, resolving).await.ok().and_then(Result::ok);
            let unknown = || {
                let why = "[daemon] admins and [hubs]: this host does not say who its users are; only root is admin";
                (Roles::default(), vec![why.to_owned()])
            };
            let (roles, mut problems) = found.unwrap_or_else(unknown);
            // Who is no longer named loses the role first, who is new gets the door last.
            let others = roles.others();
            self.roles.send_replace(roles);
            if let Err(error) = socket.open_to(&others) {
                problems.push(format!("only root reaches the control socket: {}", causes(&error)));
            }
            if *self.problems.borrow() != problems {
                for problem in &problems {
                    tracing::warn!("{problem}");
                }
                self.problems.send_replace(problems);
            }
            tokio::select! {
                changed = self.config.changed() => if changed.is_err() { return },
                () = sleep(AGAIN) => {}
            }
        }
    }
}

/// Who may be who, by number, and what the config names in vain. A hub that shares its user with another, or
/// with an admin, is not told from them: it is nobody.
fn resolve(
    admins: &BTreeSet<Admin>,
    hubs: &[(String, String)],
    uid: impl Fn(&str) -> Option<u32>,
) -> (Roles, Vec<String>) {
    let (mut roles, mut problems) = (Roles::default(), Vec::new());
    for admin in admins {
        match admin {
            Admin::Uid(number) => drop(roles.admins.insert(*number)),
            Admin::User(name) => match uid(name) {
                Some(number) => drop(roles.admins.insert(number)),
                None => problems.push(format!("[daemon] admins: this host knows no user {name}")),
            },
        }
    }
    let mut users: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for (user, hub) in hubs {
        match uid(user) {
            Some(number) => users.entry(number).or_default().push(hub),
            None => problems.push(format!("[hubs.{hub}] user: this host knows no user {user}")),
        }
    }
    for (number, hubs) in users {
        match hubs[..] {
            [hub] if !NOBODYS.contains(&number) && !roles.admins.contains(&number) => {
                roles.hubs.insert(number, hub.to_owned());
            }
            _ => problems.push(format!(
                "[hubs] user {number} of {} is root, nobody, an admin or another hub's too; give each hub a user of its own",
                hubs.join(", ")
            )),
        }
    }
    (roles, problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(name: &str) -> Option<u32> {
        match name {
            "root" => Some(0),
            "alice" => Some(1000),
            "lab" => Some(2000),
            "course" => Some(2001),
            _ => None,
        }
    }

    #[test]
    fn admins_are_named_by_name_or_number_and_unknown_ones_are_told() {
        let user = |name: &str| Admin::User(name.to_owned());
        let named = [user("alice"), user("nobody-here"), Admin::Uid(7)].into();
        let (roles, problems) = resolve(&named, &[], uid);
        assert_eq!(roles.admins, [7, 1000].into());
        assert_eq!(problems, ["[daemon] admins: this host knows no user nobody-here"]);
    }

    #[test]
    fn s1_a_hub_is_told_by_a_user_of_its_own() {
        let hub = |user: &str, hub: &str| (user.to_owned(), hub.to_owned());
        let admins = [Admin::User("alice".to_owned())].into();
        let (roles, problems) = resolve(&admins, &[hub("lab", "lab"), hub("course", "c")], uid);
        assert_eq!(roles.hubs, [(2000, "lab".to_owned()), (2001, "c".to_owned())].into());
        assert!(problems.is_empty(), "{problems:?}");

        for bad in [
            vec![hub("lab", "one"), hub("lab", "two")],
            vec![hub("alice", "one")],
            vec![hub("root", "one")],
            vec![hub("missing", "one")],
        ] {
            let (roles, problems) = resolve(&admins, &bad, uid);
            assert!(roles.hubs.is_empty(), "{bad:?}");
            assert_eq!(problems.len(), 1, "{bad:?}");
        }
    }
}
