//! What the ways are, and who may go them. Pure. Who cannot be named is told by number.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
};

use crate::{
    api::acl::{Entry, Holder},
    model::way::{Mounted, Way, WayKind},
};

/// The group that Docker's packages make.
pub(super) const DOCKER: &str = "docker";
/// Bits of a mode by which a group, and everybody, may connect: connecting is writing.
const GROUP_WRITES: u32 = 0o020;
const ALL_WRITE: u32 = 0o002;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Sockets of engines.
    pub(crate) sockets: Vec<Socket>,
    /// Running containers, with sources as the host resolves them.
    pub(crate) mounted: Vec<Mounted>,
    /// Where the engine listens for TCP.
    pub(crate) tcp: BTreeSet<SocketAddr>,
    /// What could not be looked at, and why.
    pub(crate) unknown: Vec<String>,
}

/// A unix socket of an engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Socket {
    /// Where it is, without symbolic links.
    pub(crate) path: PathBuf,
    /// Whether it is the one that enforcer itself uses.
    pub(crate) is_engine_s: bool,
    /// Number of its owner.
    pub(crate) uid: u32,
    /// Number of its group.
    pub(crate) gid: u32,
    /// Its mode.
    pub(crate) mode: u32,
    /// Its access control list, if it has one.
    pub(crate) acl: Vec<Entry>,
    /// A directory above it that not everybody may pass.
    pub(crate) closed_by: Option<PathBuf>,
}

/// A group of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Named {
    /// Its number.
    pub(crate) gid: u32,
    /// Its name.
    pub(crate) name: String,
    /// Users in it.
    pub(crate) members: BTreeSet<String>,
}

/// What numbers are called here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// Users.
    pub(crate) users: BTreeMap<u32, String>,
    /// Groups.
    pub(crate) groups: BTreeMap<u32, Named>,
}

/// All ways that the facts show, those of people first.
#[must_use]
pub(crate) fn ways(facts: &Facts, names: &Names) -> Vec<Way> {
    let mut all = groups(facts, names);
    all.extend(facts.sockets.iter().map(|socket| way_of(socket, names)));
    all.extend(facts.mounted.iter().filter_map(|mounted| mount(mounted, &facts.sockets)));
    all.extend(facts.tcp.iter().map(tcp));
    all
}

/// Groups whose members may connect to the engine, and the one that Docker's packages make for that.
fn groups(facts: &Facts, names: &Names) -> Vec<Way> {
    let opens = |gid| facts.sockets.iter().find(|socket| group_may(socket, gid));
    let groups = names.groups.values().filter(|group| group.gid != 0);
    let groups = groups.filter_map(|group| {
        let warning = match opens(group.gid) {
            Some(socket) => format!(
                "its members are root on this host by {}, and nothing records what they do: take them out (gpasswd -d \
                 USER {}), and give them a grant",
                socket.path.display(),
                group.name
            ),
            None if group.name == DOCKER && !group.members.is_empty() => {
                "no socket is open to it now; its members are root on this host as soon as the engine's is: take them \
                 out (gpasswd -d USER docker)"
                    .to_owned()
            }
            None => return None,
        };
        let who = group.members.iter().cloned().collect();
        Some(Way { kind: WayKind::Group, at: group.name.clone(), who, warning })
    });
    groups.collect()
}

fn way_of(socket: &Socket, names: &Names) -> Way {
    let user = |uid: u32| match uid {
        0 => "root".to_owned(),
        uid => names.users.get(&uid).cloned().unwrap_or_else(|| format!("user {uid}")),
    };
    let group = |gid: u32| {
        let name = names.groups.get(&gid).map(|group| group.name.clone());
        format!("group {}", name.unwrap_or_else(|| gid.to_string()))
    };
    let mut who = vec![user(0)];
    who.extend((socket.uid != 0).then(|| user(socket.uid)));
    let listed =
        socket.acl.iter().filter(|entry| entry.may_write && entry.holder != Holder::User(0));
    who.extend(listed.filter_map(|entry| match entry.holder {
        Holder::User(uid) => Some(user(uid)),
        Holder::Group(gid) if gid != socket.gid => Some(group(gid)),
        Holder::Group(_) => None,
    }));
    who.extend((socket.gid != 0 && group_may(socket, socket.gid)).then(|| group(socket.gid)));
    let is_anybodys = socket.mode & ALL_WRITE != 0;
    let warning = match &socket.closed_by {
        None if is_anybodys => {
            who.push("everybody".to_owned());
            "everybody on this host is root by it: take its rights away (chmod o= on it)".to_owned()
        }
        Some(dir) if is_anybodys => {
            format!("its mode lets everybody connect, and only {} is in the way", dir.display())
        }
        _ if who.len() == 1 => {
            "root's alone; what root does there is not recorded, so use it for repairs only"
                .to_owned()
        }
        _ => {
            "whoever may connect is root on this host, and nothing records what they do".to_owned()
        }
    };
    let at = socket.path.display().to_string();
    Way { kind: WayKind::Socket, at, who, warning }
}

/// Whether members of a group may connect, by mode or list.
fn group_may(socket: &Socket, gid: u32) -> bool {
    let lists = |entry: &Entry| entry.holder == Holder::Group(gid) && entry.may_write;
    // With a list the mode shows its mask in the group's place.
    let by_mode = socket.acl.is_empty() && socket.gid == gid && socket.mode & GROUP_WRITES != 0;
    by_mode || socket.acl.iter().any(lists)
}

fn mount(mounted: &Mounted, sockets: &[Socket]) -> Option<Way> {
    let leads = |source: &&PathBuf| sockets.iter().any(|socket| socket.path.starts_with(source));
    let who: Vec<String> =
        mounted.sources.iter().filter(leads).map(|source| source.display().to_string()).collect();
    let warning = "its processes are root on this host, and whoever reaches them may be: end it, or have it ask the \
                   gate"
        .to_owned();
    let at = if mounted.name.is_empty() { &mounted.id } else { &mounted.name }.clone();
    (!who.is_empty()).then_some(Way { kind: WayKind::Mount, at, who, warning })
}

fn tcp(address: &SocketAddr) -> Way {
    let ip = address.ip();
    let who = if ip.is_loopback() {
        "everybody on this host"
    } else if ip.is_unspecified() {
        "everybody who reaches an address of this host"
    } else {
        "everybody who reaches that address"
    };
    Way {
        kind: WayKind::Tcp,
        at: address.to_string(),
        who: vec![who.to_owned()],
        warning: "whoever connects is root on this host, unless the engine demands their certificates (tlsverify): \
                  take the address out of its `hosts`"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(path: &str, gid: u32, mode: u32) -> Socket {
        Socket { path: path.into(), gid, mode, ..Socket::default() }
    }

    fn names() -> Names {
        let group = |gid, name: &str, members: &[&str]| {
            let members = members.iter().map(|name| (*name).to_owned()).collect();
            (gid, Named { gid, name: name.to_owned(), members })
        };
        Names {
            users: [(1000, "ann".to_owned())].into(),
            groups: [group(0, "root", &[]), group(999, DOCKER, &["ann", "ben"])].into(),
        }
    }

    fn found(facts: &Facts) -> Vec<(WayKind, String, Vec<String>)> {
        ways(facts, &names()).into_iter().map(|way| (way.kind, way.at, way.who)).collect()
    }

    #[test]
    fn s20_who_may_connect_to_a_socket_is_told_by_mode_and_list() {
        let path = "/run/docker.sock";
        let entry = |holder, may_write| Entry { holder, may_write };
        let closed = Some(PathBuf::from("/run/closed"));
        let cases = [
            (socket(path, 0, 0o660), &["root"][..], "root's alone"),
            (socket(path, 999, 0o660), &["root", "group docker"], "root on this host"),
            (socket(path, 999, 0o640), &["root"], "root's alone"),
            (socket(path, 5, 0o660), &["root", "group 5"], "root on this host"),
            (Socket { uid: 1000, ..socket(path, 0, 0o600) }, &["root", "ann"], "root on this"),
            (Socket { uid: 7, ..socket(path, 0, 0o600) }, &["root", "user 7"], "root on this"),
            (socket(path, 0, 0o666), &["root", "everybody"], "everybody on this host"),
            (
                Socket { closed_by: closed, ..socket(path, 0, 0o666) },
                &["root"],
                "only /run/closed is in the way",
            ),
            (
                Socket {
                    // What the mode shows of the group is the mask.
                    acl: vec![
                        entry(Holder::User(1000), true),
                        entry(Holder::User(8), false),
                        entry(Holder::Group(999), false),
                        entry(Holder::Group(6), true),
                    ],
                    ..socket(path, 999, 0o660)
                },
                &["root", "ann", "group 6"],
                "root on this host",
            ),
        ];
        for (socket, who, words) in cases {
            let way = way_of(&socket, &names());
            assert_eq!((way.at.as_str(), &way.who[..]), (path, &who.map_strings()[..]));
            assert!(way.warning.contains(words), "{}", way.warning);
        }
    }

    trait Strings {
        fn map_strings(&self) -> Vec<String>;
    }

    impl Strings for &[&str] {
        fn map_strings(&self) -> Vec<String> {
            self.iter().map(|text| (*text).to_owned()).collect()
        }
    }

    #[test]
    fn s20_members_of_a_group_that_opens_a_socket_are_told_by_name() {
        let open =
            Facts { sockets: vec![socket("/run/docker.sock", 999, 0o660)], ..Facts::default() };
        let members = vec!["ann".to_owned(), "ben".to_owned()];
        let told = found(&open);
        assert_eq!(told[0], (WayKind::Group, DOCKER.to_owned(), members.clone()));
        // Where it opens nothing now, its members are told all the same, and those of no other group.
        let other =
            Facts { sockets: vec![socket("/run/docker.sock", 0, 0o660)], ..Facts::default() };
        let told = ways(&other, &names());
        assert_eq!((told[0].kind, &told[0].who, told.len()), (WayKind::Group, &members, 2));
        assert!(told[0].warning.starts_with("no socket is open"), "{}", told[0].warning);
    }

    #[test]
    fn s20_a_container_that_has_a_socket_or_a_directory_above_it_is_told() {
        let sockets = vec![
            socket("/run/docker.sock", 0, 0o660),
            socket("/run/containerd/containerd.sock", 0, 0o660),
        ];
        for (sources, expected) in [
            (&["/run/docker.sock"][..], &["/run/docker.sock"][..]),
            (&["/"], &["/"]),
            (&["/srv/data", "/run"], &["/run"]),
            (&["/run/containerd"], &["/run/containerd"]),
            (&["/run/docker.sock.old"], &[]),
            (&["/run/dock"], &[]),
            (&["/run/enforcer/gate/u/local/0/docker.sock"], &[]),
            (&[], &[]),
        ] {
            let mounted = Mounted {
                id: "1f".to_owned(),
                name: "portainer".to_owned(),
                sources: sources.iter().map(PathBuf::from).collect(),
            };
            let way = mount(&mounted, &sockets);
            let who = way.as_ref().map(|way| way.who.clone()).unwrap_or_default();
            assert_eq!(who, expected.map_strings(), "{sources:?}");
            assert!(way.is_none_or(|way| way.at == "portainer"));
        }
    }

    #[test]
    fn s14_a_tcp_port_of_the_engine_is_told_with_who_reaches_it() {
        let tcp = ["127.0.0.1:2375", "0.0.0.0:2376", "[::1]:2375", "192.0.2.1:2375"];
        let tcp = tcp.iter().map(|text| text.parse().expect("an address")).collect();
        let told = found(&Facts { tcp, ..Facts::default() });
        let told: Vec<_> = told.iter().filter(|(kind, ..)| *kind == WayKind::Tcp).collect();
        assert_eq!(told.len(), 4);
        for (_, at, who) in told {
            let local = at.starts_with("127.") || at.starts_with("[::1]");
            assert_eq!(who[0] == "everybody on this host", local, "{at}: {who:?}");
        }
    }
}
