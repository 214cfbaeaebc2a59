//! What the judge has to know of the host: what is the principal's own. Things of others are not in here, so
//! that they look as if they did not exist, in status and in time.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    path::PathBuf,
};

/// All that is known for one request. An adapter finds it out before the judge is asked; what could not be found
/// out refuses the request there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Containers of the principal.
    pub containers: Vec<OwnContainer>,
    /// Volumes.
    pub volumes: Vec<OwnVolume>,
    /// Own networks; guest networks of the config are not among them.
    pub networks: Vec<OwnNetwork>,
    /// Images that it tagged, built or pulled.
    pub images: Vec<OwnImage>,
    /// Exec instances in its containers.
    pub execs: Vec<OwnExec>,
    /// For the making of a command (exec) alone: how many the engine keeps of its container, begun or not.
    pub kept_commands: usize,
    /// For a hub's create alone: groups that its user is in now, as this host and the hub say.
    pub groups: Vec<String>,
    /// For a hub's create alone: where its user comes from, as the hub says.
    pub client: Option<String>,
    /// Labels of the user's notebook by which policies tell guests apart: what the user starts has them too.
    pub inherited: BTreeMap<String, String>,
    /// For a user alone: compose projects of containers that no user's socket made.
    pub operators_projects: BTreeSet<String>,
    /// Whether a policy of its own is the principal's instead of its network's: what a build runs would have the
    /// network's, for nobody knows whose it is.
    pub has_other_policy: bool,
    /// Where its containers go when nothing else is asked for.
    pub guest_network: Option<GuestNetwork>,
    /// For a hub's create alone: the socket of the user for whom it is, when the user has a grant; a path of
    /// this host.
    pub socket: Option<PathBuf>,
}

/// A container of the principal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnContainer {
    /// Full id.
    pub id: String,
    /// Name, without the slash.
    pub name: String,
    /// Whether it is the user's notebook: the hub's, which the user may join to own networks, look at, and
    /// nothing else.
    pub is_notebook: bool,
}

/// A volume of the principal, as the engine has it now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnVolume {
    /// Name that the owner gave it; another principal may have one of the same name.
    pub name: String,
    /// Name that the engine has it under (`names::engine_name`); the same where it was not made through the gate.
    pub engine_name: String,
    /// Whether it is what a volume made through the gate is: driver `local`, no options. Others are not mounted.
    pub is_plain: bool,
}

/// An own network of the principal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnNetwork {
    /// Full id.
    pub id: String,
    /// Name that the owner gave it; another principal may have one of the same name.
    pub name: String,
    /// Name that the engine has it under.
    pub engine_name: String,
}

/// An image of the principal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnImage {
    /// Full id, `sha256:…`.
    pub id: String,
    /// `repository:tag`.
    pub tags: Vec<String>,
}

/// A running command in a container of the principal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnExec {
    /// Full id.
    pub id: String,
    /// Full id of its container.
    pub container: String,
}

/// A guest network of the config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestNetwork {
    /// Its name at the engine.
    pub name: String,
    /// Its gateway: where guests ask for names.
    pub gateway: Ipv4Addr,
    /// Whether enforcer answers names there.
    pub resolves: bool,
}
