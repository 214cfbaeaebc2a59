//! From an order to a container: what was asked for is checked against the config, and what is forced is added. Pure.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, net::Ipv4Addr, path::PathBuf};

use super::{
    names::{self, Seat, Use},
    spec::{Port, PortError, Restart, RestartError, SOCKET_PATH, Size, Spec, Volume},
};
use crate::{
    access::{
        grant::{Kind, Socket},
        name::{GroupName, HubName, NameError, User, is_unseen},
    },
    config::Config,
    model::{
        guest::GuestOrder,
        provenance::{CLIENT_LABEL, GROUPS_LABEL, groups_label},
    },
};

/// Longest name of an image or path, bytes.
const LONGEST: usize = 512;
/// Least memory that an engine takes, bytes.
const LEAST_MEMORY: u64 = 6 << 20;
/// Least share of a processor that an engine takes, thousandths.
const LEAST_CPU: u64 = 10;
/// Places inside that are not a volume's: the kernel's, the engine's, and that of the Docker socket.
const TAKEN: [&str; 6] = ["/dev", "/etc", "/proc", "/run", "/sys", "/var/run"];
/// Beginnings of labels that are not for orders.
const RESERVED: [&str; 4] = [names::PREFIX, "com.docker.", "io.docker.", "org.dockerproject."];

/// Why an order is refused. Each message says what to do, or what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A user, hub or group that is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A server's name.
    #[error("the name of a server has 1 to 255 characters, all of which can be seen, and no '/'")]
    Server,
    /// There is no such hub.
    #[error("there is no hub \"{0}\" in the config")]
    NoHub(HubName),
    /// It is no network of that hub.
    #[error("\"{network}\" is no guest network of hub {hub}; it has {}", listed(.own))]
    Network {
        /// What was asked for.
        network: String,
        /// Whose network it would have to be.
        hub: HubName,
        /// What there is.
        own: Vec<String>,
    },
    /// There are several networks, or none.
    #[error("hub {hub} has {} as guest networks: name one", listed(.own))]
    WhichNetwork {
        /// Whose.
        hub: HubName,
        /// What there is.
        own: Vec<String>,
    },
    /// What is no image's name.
    #[error("\"{0}\" is no name of an image")]
    Image(String),
    /// An image that the config does not list.
    #[error("image \"{0}\" is not listed in [guests] images")]
    ImageNotListed(String),
    /// A part of the command, or a variable.
    #[error("{0} has a NUL, which no process can be given")]
    Nul(&'static str),
    /// A variable.
    #[error("\"{0}\" is no variable: write NAME=value")]
    Env(String),
    /// The user inside.
    #[error("\"{0}\" is no user inside: write a name or number, also with a group, as 1000:100")]
    RunAs(String),
    /// A volume.
    #[error("\"{0}\" is no volume: there are home, workspace and cache")]
    Volume(String),
    /// A volume twice, or two at one place.
    #[error("volume {0} has a place or a path twice")]
    Twice(&'static str),
    /// A place of a volume.
    #[error("\"{0}\" is no place for a volume: write an absolute path outside of {taken}", taken = TAKEN.join(", "))]
    Path(String),
    /// A port.
    #[error("\"{0}\": {1}")]
    Port(String, PortError),
    /// One port twice.
    #[error("port {0} of this host is published twice")]
    PortTwice(u16),
    /// A restart policy.
    #[error("\"{0}\": {1}")]
    Restart(String, RestartError),
    /// A label.
    #[error("label \"{0}\" is not for orders: leave out those that begin with {reserved}", reserved = RESERVED.join(", "))]
    Label(String),
    /// A label that only an admin may give.
    #[error(
        "label \"{0}\" makes a service of a guest, or one that is not judged: only root and admins may give it"
    )]
    Privilege(String),
    /// Less than an engine takes.
    #[error("{what} {asked} is less than {least}")]
    Small {
        /// Which number.
        what: &'static str,
        /// What was asked for.
        asked: u64,
        /// What is possible.
        least: u64,
    },
    /// More than there may be.
    #[error("{what} {asked} is more than {most}, which is what [guests] lets a hub have")]
    Large {
        /// Which number.
        what: &'static str,
        /// What was asked for.
        asked: u64,
        /// What the caller may have.
        most: u64,
    },
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// An order that is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Whose guest it becomes.
    pub seat: Seat,
    /// Its guest network.
    pub network: String,
    order: GuestOrder,
    size: Size,
    volumes: Vec<Volume>,
    ports: Vec<Port>,
    restart: Restart,
}

/// What is found out only when a guest is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The gateway, where enforcer's resolver answers.
    pub dns: Option<Ipv4Addr>,
    /// The Docker socket that the user has now, and where.
    pub socket: Option<(Socket, PathBuf)>,
    /// Volumes that there are not yet.
    pub new_volumes: Vec<Use>,
    /// Groups that the user is in now.
    pub groups: Vec<GroupName>,
}

/// The seat that a hub, a user and a server name.
pub fn seat(hub: HubName, user: &str, server: Option<&str>) -> Result<Seat, Refusal> {
    let server = server.unwrap_or_default();
    let is_bad = |character| is_unseen(character) || character == '/';
    if server.chars().any(is_bad) || server.chars().nth(255).is_some() {
        return Err(Refusal::Server);
    }
    Ok(Seat { user: User { hub, name: user.parse()? }, server: server.to_owned() })
}

/// Checks an order for a user of `hub`. Only an admin may go beyond the sizes of the config.
pub fn check(
    order: GuestOrder,
    hub: HubName,
    is_admin: bool,
    config: &Config,
) -> Result<Checked, Refusal> {
    let network = network(order.network.as_deref(), &hub, config)?;
    let seat = seat(hub, &order.user, order.server.as_deref())?;
    if let Some(group) = &order.group {
        group.parse::<GroupName>()?;
    }
    image(&order.image, config)?;
    texts(&order)?;
    let volumes = volumes(&order, &seat.user)?;
    let ports = ports(&order)?;
    let restart = order.restart.as_deref().map_or(Ok(Restart::No), |text| {
        text.parse().map_err(|error| Refusal::Restart(text.to_owned(), error))
    })?;
    for key in order.labels.keys() {
        let is_reserved = RESERVED.iter().any(|start| key.to_lowercase().starts_with(start));
        if key.is_empty() || is_reserved {
            return Err(Refusal::Label(key.clone()));
        }
        if !is_admin && config.labels_of_privilege().any(|label| label == key) {
            return Err(Refusal::Privilege(key.clone()));
        }
    }
    let size = size(&order, is_admin, config)?;
    let order = GuestOrder { hub: Some(seat.user.hub.to_string()), ..order };
    Ok(Checked { seat, network, order, size, volumes, ports, restart })
}

impl Checked {
    /// Its image, as it was asked for.
    #[must_use]
    pub fn image(&self) -> &str {
        &self.order.image
    }

    /// Its volumes.
    #[must_use]
    pub fn volumes(&self) -> &[Volume] {
        &self.volumes
    }

    /// Whether its own layer is to be limited.
    #[must_use]
    pub fn limits_disk(&self) -> bool {
        self.size.disk.is_some()
    }

    /// Whether the engine starts it again when it ends.
    #[must_use]
    pub fn comes_back(&self) -> bool {
        self.restart != Restart::No
    }

    /// The container that it becomes.
    #[must_use]
    pub fn spec(&self, found: Found) -> Spec {
        let Found { dns, socket, new_volumes, groups } = found;
        let kind = socket.as_ref().map_or(Kind::None, |(socket, _)| socket.kind());
        Spec {
            name: self.seat.container(),
            image: self.order.image.clone(),
            command: self.order.command.clone(),
            env: self.order.env.clone(),
            run_as: self.order.run_as.clone(),
            labels: self.labels(kind, &new_volumes, &groups),
            size: self.size,
            volumes: self.volumes.clone(),
            ports: self.ports.clone(),
            restart: self.restart,
            network: self.network.clone(),
            dns,
            socket: socket.map(|(_, path)| path),
        }
    }

    /// All of enforcer's labels are set, also to nothing: an image cannot bring one.
    fn labels(
        &self,
        socket: Kind,
        new_volumes: &[Use],
        groups: &[GroupName],
    ) -> BTreeMap<String, String> {
        let mut labels = self.order.labels.clone();
        let new_volumes: Vec<&str> = new_volumes.iter().map(|of| of.name()).collect();
        let groups = groups_label(groups.iter().map(GroupName::as_str)).unwrap_or_default();
        let User { hub, name } = &self.seat.user;
        // An order is made of texts and numbers, which JSON has.
        let order = serde_json::to_string(&self.order).unwrap_or_default();
        for (key, value) in [
            (names::MANAGED, "true"),
            (names::GUEST, "true"),
            (names::HUB, hub.as_str()),
            (names::USER, name.as_str()),
            (names::SERVER, &self.seat.server),
            (names::GROUP, self.order.group.as_deref().unwrap_or_default()),
            (GROUPS_LABEL, &groups),
            (CLIENT_LABEL, ""),
            (names::SOCKET, socket.name()),
            (names::NEW_VOLUMES, &new_volumes.join(",")),
            (names::ORDER, &order),
        ] {
            labels.insert(key.to_owned(), value.to_owned());
        }
        labels
    }
}

/// Networks whose guests are a hub's users; those of no hub are everybody else's.
#[must_use]
pub fn networks_of(hub: &HubName, config: &Config) -> Option<Vec<String>> {
    if !hub.is_local() {
        return config.hubs.get(hub).map(|hub| hub.networks.clone());
    }
    let is_free = |name: &&String| !config.hubs.values().any(|hub| hub.networks.contains(name));
    // Nobody is started on what is one user's own.
    let of_file = config.networks.iter().filter(|(_, network)| network.owned.is_none());
    Some(of_file.map(|(name, _)| name).filter(is_free).cloned().collect())
}

fn network(asked: Option<&str>, hub: &HubName, config: &Config) -> Result<String, Refusal> {
    let own = networks_of(hub, config).ok_or_else(|| Refusal::NoHub(hub.clone()))?;
    match (asked, own.as_slice()) {
        (Some(name), _) if own.iter().any(|one| one == name) => Ok(name.to_owned()),
        (Some(name), _) => {
            Err(Refusal::Network { network: name.to_owned(), hub: hub.clone(), own })
        }
        (None, [one]) => Ok(one.clone()),
        (None, _) => Err(Refusal::WhichNetwork { hub: hub.clone(), own }),
    }
}

/// The name becomes part of a path of the engine's API: it is plain.
fn image(image: &str, config: &Config) -> Result<(), Refusal> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@".contains(&byte);
    let is_name = image.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        && image.len() <= LONGEST
        && image.bytes().all(is_plain)
        && !image.contains("..")
        && !image.contains("//")
        && !image.ends_with('/');
    if !is_name {
        return Err(Refusal::Image(image.to_owned()));
    }
    if !config.guests.images.iter().any(|pattern| pattern.includes(image)) {
        return Err(Refusal::ImageNotListed(image.to_owned()));
    }
    Ok(())
}

fn texts(order: &GuestOrder) -> Result<(), Refusal> {
    if order.command.iter().any(|part| part.contains('\0')) {
        return Err(Refusal::Nul("the command"));
    }
    for variable in &order.env {
        if variable.contains('\0') {
            return Err(Refusal::Nul("a variable"));
        }
        // Without a value the engine would take it for the wish to have none of that name.
        if variable.split_once('=').is_none_or(|(name, _)| name.is_empty()) {
            return Err(Refusal::Env(variable.clone()));
        }
    }
    order.run_as.as_deref().map_or(Ok(()), run_as)
}

/// Whether it is a user inside, also with a group.
pub fn run_as(text: &str) -> Result<(), Refusal> {
    let is_name = |name: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        (1..=64).contains(&name.len()) && name.bytes().all(is_plain) && !name.starts_with('-')
    };
    let (user, group) = text.split_once(':').unwrap_or((text, "0"));
    if is_name(user) && is_name(group) { Ok(()) } else { Err(Refusal::RunAs(text.to_owned())) }
}

fn volumes(order: &GuestOrder, user: &User) -> Result<Vec<Volume>, Refusal> {
    let mut volumes = Vec::<Volume>::new();
    for wanted in &order.volumes {
        let unknown = || Refusal::Volume(wanted.volume.clone());
        let of = Use::from_name(&wanted.volume).ok_or_else(unknown)?;
        let path = wanted.path.trim_end_matches('/').to_owned();
        if !is_place(&path) {
            return Err(Refusal::Path(wanted.path.clone()));
        }
        if volumes.iter().any(|other| other.of == of || other.path == path) {
            return Err(Refusal::Twice(of.name()));
        }
        let (name, labels) = (names::volume(user, of), names::volume_labels(user, of));
        volumes.push(Volume { of, name, path, labels });
    }
    Ok(volumes)
}

fn is_place(path: &str) -> bool {
    let is_within = |taken: &str| {
        path == taken || path.strip_prefix(taken).is_some_and(|rest| rest.starts_with('/'))
    };
    let parts = path.strip_prefix('/').map(|rest| rest.split('/'));
    parts.is_some_and(|mut parts| parts.all(|part| !matches!(part, "" | "." | "..")))
        && path.len() <= LONGEST
        && !path.chars().any(char::is_control)
        && !TAKEN.iter().any(|taken| is_within(taken))
        // It would lie over the place of the socket.
        && !SOCKET_PATH.starts_with(&format!("{path}/"))
}

fn ports(order: &GuestOrder) -> Result<Vec<Port>, Refusal> {
    let mut ports = Vec::<Port>::new();
    for text in &order.ports {
        let port: Port = text.parse().map_err(|error| Refusal::Port(text.clone(), error))?;
        let is_same = |other: &&Port| (other.host, other.is_udp) == (port.host, port.is_udp);
        if ports.iter().find(is_same).is_some_and(|other| {
            other.address == port.address || other.address.is_none() || port.address.is_none()
        }) {
            return Err(Refusal::PortTwice(port.host));
        }
        ports.push(port);
    }
    Ok(ports)
}

fn size(order: &GuestOrder, is_admin: bool, config: &Config) -> Result<Size, Refusal> {
    let life = &config.guests;
    let number = |what, asked: Option<u64>, least, otherwise: Option<u64>| {
        let Some(asked) = asked else { return Ok(otherwise) };
        if asked < least {
            return Err(Refusal::Small { what, asked, least });
        }
        match otherwise {
            Some(most) if asked > most && !is_admin => Err(Refusal::Large { what, asked, most }),
            _ => Ok(Some(asked)),
        }
    };
    let (memory, cpu, pids) = (Some(life.memory), Some(life.cpu_millis), Some(life.pids));
    Ok(Size {
        memory: number("memory", order.memory, LEAST_MEMORY, memory)?.unwrap_or(life.memory),
        cpu_millis: number("cpu_millis", order.cpu_millis, LEAST_CPU, cpu)?
            .unwrap_or(life.cpu_millis),
        pids: number("pids", order.pids, 1, pids)?.unwrap_or(life.pids),
        disk: number("disk", order.disk, 1, life.disk)?,
    })
}
