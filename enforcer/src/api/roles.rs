//! Who may call what: pure. What has no entry is denied.

use std::collections::{BTreeMap, BTreeSet};

use super::routes::{Route, Verb};

/// The number that the kernel shows for a user who has none here. It stands for anybody.
pub const OVERFLOW_UID: u32 = 65_534;

/// Who may be who, from the config.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// Users who are admins beside root.
    pub admins: BTreeSet<u32>,
    /// Users that are hubs, and their hubs' names.
    pub hubs: BTreeMap<u32, String>,
}

/// The user of a connection, and where its process is, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The user's number in the daemon's user namespace. Root of another user namespace has another one here.
    pub uid: u32,
    /// Whether the process lives in the daemon's user and pid namespaces, that is in no container. It is false
    /// where that is not known.
    pub is_of_host: bool,
}

/// What somebody is to the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// May do everything.
    Admin,
    /// The hub of this name.
    Hub(String),
}

/// The same without names, as tables have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoleKind {
    /// [`Role::Admin`].
    Admin,
    /// [`Role::Hub`].
    Hub,
}

/// Why somebody is nobody here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// The kernel does not know the user.
    #[error("your user has no number on this host")]
    Nobody,
    /// An admin's number, but from within a container.
    #[error(
        "you have an admin's user id, but your process is not known to be outside of containers"
    )]
    NotOfHost,
    /// Neither root nor in the config.
    #[error("your user is neither root, nor in [daemon] admins, nor a hub's")]
    Unlisted,
}

impl Role {
    /// Without names.
    #[must_use]
    pub const fn kind(&self) -> RoleKind {
        match self {
            Self::Admin => RoleKind::Admin,
            Self::Hub(_) => RoleKind::Hub,
        }
    }
}

impl Roles {
    /// Users other than root who may connect.
    #[must_use]
    pub fn others(&self) -> BTreeSet<u32> {
        let all = self.admins.iter().chain(self.hubs.keys()).copied();
        all.filter(|uid| !matches!(*uid, 0 | OVERFLOW_UID | u32::MAX)).collect()
    }

    /// What a peer is.
    ///
    /// A container without a user namespace of its own has the host's numbers: its root is uid 0 here too. Where
    /// a hub's container is given the socket, its root is not to be this host's, so admins are only believed from
    /// outside of containers. Hubs live in containers.
    pub fn role(&self, peer: Peer) -> Result<Role, Stranger> {
        match peer.uid {
            OVERFLOW_UID | u32::MAX => Err(Stranger::Nobody),
            uid if uid == 0 || self.admins.contains(&uid) => {
                if peer.is_of_host {
                    Ok(Role::Admin)
                } else {
                    self.hub(uid, Stranger::NotOfHost)
                }
            }
            uid => self.hub(uid, Stranger::Unlisted),
        }
    }

    fn hub(&self, uid: u32, otherwise: Stranger) -> Result<Role, Stranger> {
        // Root of a container is never a hub: any container's root could be it.
        let name = self.hubs.get(&uid).filter(|_| uid != 0);
        name.map(|name| Role::Hub(name.clone())).ok_or(otherwise)
    }
}

/// Whether a call is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It is: this is its entry.
    Serve(&'static Route),
    /// Not to this role, or to nobody: the path has no entry.
    Deny,
    /// There is nothing at this path.
    NoSuchPath,
    /// There is something, for other verbs.
    NoSuchVerb,
}

/// Judges a call. `path` is the pattern that the path matched, if it matched one.
#[must_use]
pub fn judge(
    table: &'static [Route],
    role: &Role,
    (verb, path): (Option<Verb>, Option<&str>),
) -> Judgement {
    let Some(path) = path else { return Judgement::NoSuchPath };
    let mut there = table.iter().filter(|route| route.path == path).peekable();
    if there.peek().is_none() {
        return Judgement::Deny;
    }
    match there.find(|route| Some(route.verb) == verb) {
        Some(route) if route.roles.contains(&role.kind()) => Judgement::Serve(route),
        Some(_) => Judgement::Deny,
        None => Judgement::NoSuchVerb,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADMINS: &[RoleKind] = &[RoleKind::Admin];
    static TABLE: [Route; 3] = [
        Route { verb: Verb::Get, path: "/v1/a", roles: ADMINS, ..Route::NONE },
        Route { verb: Verb::Post, path: "/v1/b", roles: ADMINS, ..Route::NONE },
        Route {
            verb: Verb::Get,
            path: "/v1/b",
            roles: &[RoleKind::Admin, RoleKind::Hub],
            ..Route::NONE
        },
    ];

    fn roles() -> Roles {
        Roles {
            admins: [1000].into(),
            hubs: [(2000, "lab".to_owned()), (0, "evil".to_owned())].into(),
        }
    }

    #[test]
    fn s17_a_user_is_who_the_kernel_says_and_an_admin_only_outside_of_containers() {
        let hub = || Ok(Role::Hub("lab".to_owned()));
        for (uid, is_of_host, expected) in [
            (0, true, Ok(Role::Admin)),
            (0, false, Err(Stranger::NotOfHost)),
            (1000, true, Ok(Role::Admin)),
            (1000, false, Err(Stranger::NotOfHost)),
            (2000, true, hub()),
            (2000, false, hub()),
            (1001, true, Err(Stranger::Unlisted)),
            // What a process of an unmapped user namespace looks like.
            (OVERFLOW_UID, true, Err(Stranger::Nobody)),
            (u32::MAX, true, Err(Stranger::Nobody)),
        ] {
            assert_eq!(roles().role(Peer { uid, is_of_host }), expected, "{uid} {is_of_host}");
        }
    }

    #[test]
    fn a_number_that_stands_for_anybody_is_nobody_whatever_the_config_says() {
        let admins: BTreeSet<u32> = [OVERFLOW_UID, u32::MAX].into();
        let roles = Roles { admins, ..Roles::default() };
        let peer = Peer { uid: OVERFLOW_UID, is_of_host: true };
        assert_eq!(roles.role(peer), Err(Stranger::Nobody));
        assert_eq!(roles.others(), BTreeSet::new());
    }

    #[test]
    fn n6_a_route_without_an_entry_is_denied() {
        use Judgement::{Deny, NoSuchPath, NoSuchVerb, Serve};
        let (admin, hub) = (Role::Admin, Role::Hub("lab".to_owned()));
        for (role, verb, path, expected) in [
            (&admin, Some(Verb::Get), Some("/v1/a"), Serve(&TABLE[0])),
            (&hub, Some(Verb::Get), Some("/v1/a"), Deny),
            (&hub, Some(Verb::Get), Some("/v1/b"), Serve(&TABLE[2])),
            (&hub, Some(Verb::Post), Some("/v1/b"), Deny),
            (&admin, Some(Verb::Post), Some("/v1/a"), NoSuchVerb),
            (&admin, None, Some("/v1/a"), NoSuchVerb),
            // The router knows it, the table does not.
            (&admin, Some(Verb::Get), Some("/v1/c"), Deny),
            (&admin, Some(Verb::Get), None, NoSuchPath),
        ] {
            assert_eq!(judge(&TABLE, role, (verb, path)), expected, "{role:?} {verb:?} {path:?}");
        }
    }
}
