//! The least config that polices one guest network, as `enforcer config init` writes it. Pure.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use super::{check, check::contains4};

/// What somebody who sets enforcer up was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// The engine's socket, where it is not the usual one.
    pub socket: Option<PathBuf>,
    /// Docker's name of the guest network.
    pub network: String,
    /// Its bridge.
    pub bridge: String,
    /// Whether enforcer creates it where it is missing.
    pub create: bool,
    /// Its IPv4 subnet; `None`: Docker chooses.
    pub subnet: Option<(Ipv4Addr, u8)>,
    /// The bridge's own address in it.
    pub gateway: Option<Ipv4Addr>,
    /// What guests may always reach.
    pub hub: Option<HubAt>,
    /// Whether guests reach the public internet.
    pub internet: bool,
    /// Whom guests' names are resolved with; `None`: they resolve none.
    pub dns: Option<IpAddr>,
    /// Whether records are kept in files.
    pub keep_records: bool,
}

/// Where the hub is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HubAt {
    /// On this host, at the bridge's address.
    Host(u16),
    /// A container on the guest network.
    Container(String, u16),
}

/// What is free of this list: subnets that a host's other networks seldom have.
const SUBNETS: std::ops::RangeInclusive<u8> = 30..=60;

/// A subnet for guests that none of these overlaps, and the bridge's address in it.
#[must_use]
pub fn free_subnet(taken: &[(Ipv4Addr, u8)]) -> Option<((Ipv4Addr, u8), Ipv4Addr)> {
    let mut all = SUBNETS.map(|third| (Ipv4Addr::new(172, third, 0, 0), 24));
    let free = all.find(|subnet| !taken.iter().any(|other| check::overlap4(*subnet, *other)))?;
    let gateway = Ipv4Addr::from_bits(free.0.to_bits() + 1);
    contains4(free, gateway).then_some((free, gateway))
}

/// A bridge's name for a network of this name.
#[must_use]
pub fn bridge_for(network: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' };
    let name: String = network.chars().map(plain).take(12).collect();
    format!("br-{name}")
}

/// The file.
#[must_use]
pub fn render(answers: &Answers) -> String {
    let mut text = "\
# Made by `enforcer config init`. Every key: `man 5 enforcer.toml`. What is in force: `enforcer config show`.
# After a change: `enforcer config check FILE && enforcer reload`.\n"
        .to_owned();
    // Writing to a string cannot fail.
    let _infallible = write(answers, &mut text);
    text
}

fn write(answers: &Answers, text: &mut String) -> std::fmt::Result {
    if let Some(socket) = &answers.socket {
        let socket = quoted(&socket.to_string_lossy());
        writeln!(text, "\n# The engine's own unix socket.\n[docker]\nsocket = {socket}")?;
    }
    if answers.keep_records {
        writeln!(
            text,
            "\n# Records of what guests do, chained and signed; the oldest go. Keep a copy of its audit.pub elsewhere.\n\
             [audit]\ndir = \"/var/lib/enforcer/audit\"\nkeep_mib = 10240\nkeep_days = 90"
        )?;
    }
    if let Some(upstream) = answers.dns {
        let upstream = quoted(&upstream.to_string());
        writeln!(
            text,
            "\n# Guests' names are resolved by enforcer, at their gateway, with the help of this one.\n[dns]\n\
             upstream = [{upstream}]"
        )?;
    }
    let Answers { network, bridge, create, .. } = answers;
    let (network, bridge) = (quoted(network), quoted(bridge));
    writeln!(
        text,
        "\n# Containers on this Docker network are guests: strangers to one another and to this host.\n\
         [networks.{network}]\nbridge = {bridge}\ncreate = {create}"
    )?;
    if let Some((address, prefix)) = answers.subnet {
        writeln!(text, "subnet = \"{address}/{prefix}\"")?;
    }
    if let Some(gateway) = answers.gateway {
        writeln!(text, "gateway = \"{gateway}\"")?;
    }
    if answers.internet || answers.dns.is_some() {
        writeln!(text, "policy = \"guests\"")?;
    }
    match &answers.hub {
        None => {}
        Some(HubAt::Host(port)) => writeln!(
            text,
            "\n# Guests reach this on the host itself, at the bridge's address: a JupyterHub's API.\n\
             [[networks.{network}.hub]]\ngateway = true\nport = {port}"
        )?,
        Some(HubAt::Container(name, port)) => {
            let name = quoted(name);
            writeln!(
                text,
                "\n# Guests reach this container on their network, and it reaches them.\n\
                 [[networks.{network}.hub]]\ncontainer = {name}\nport = {port}"
            )?;
        }
    }
    let presets = match (answers.internet, answers.dns.is_some()) {
        (false, false) => return Ok(()),
        (true, false) => "\"public-internet\"",
        (false, true) => "\"dns\"",
        (true, true) => "\"public-internet\", \"dns\"",
    };
    writeln!(
        text,
        "\n# What guests reach beside the hub; everything else is refused. No preset means this host, a private\n\
         # address or a metadata service of a cloud.\n[policies.guests]\npresets = [{presets}]"
    )
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn least() -> Answers {
        Answers {
            socket: None,
            network: "guests".to_owned(),
            bridge: "br-guests".to_owned(),
            create: true,
            subnet: None,
            gateway: None,
            hub: None,
            internet: false,
            dns: None,
            keep_records: false,
        }
    }

    #[test]
    fn o2_whatever_is_answered_the_file_is_valid_and_says_that() {
        let subnet = Some(([172, 30, 0, 0].into(), 24));
        let hubs = [None, Some(HubAt::Host(8081)), Some(HubAt::Container("hub".to_owned(), 9000))];
        for number in 0..64 {
            let bit = |bit: u32| number >> bit & 1 == 1;
            for hub in &hubs {
                let answers = Answers {
                    socket: bit(0).then(|| "/run/docker.sock".into()),
                    create: bit(1),
                    subnet: subnet.filter(|_| bit(2)),
                    gateway: bit(2).then(|| [172, 30, 0, 1].into()),
                    internet: bit(3),
                    dns: bit(4).then(|| [192, 0, 2, 53].into()),
                    keep_records: bit(5),
                    hub: hub.clone(),
                    ..least()
                };
                let text = render(&answers);
                let config = parse(&text, "f").unwrap_or_else(|error| panic!("{error}\n{text}"));
                let network = &config.networks["guests"];
                assert_eq!((&*network.bridge, network.create), ("br-guests", bit(1)));
                assert_eq!(network.hubs.len(), usize::from(hub.is_some()));
                assert_eq!(network.subnet4, answers.subnet);
                assert_eq!(config.dns.is_some(), bit(4));
                assert_eq!(config.audit.files.is_some(), bit(5));
                assert_eq!(network.policy.is_some(), bit(3) || bit(4));
            }
        }
    }

    #[test]
    fn a_hostile_name_stays_a_name() {
        let answers = Answers { bridge: "b\"]\n[gate]\nimages=[\"*".to_owned(), ..least() };
        let error = parse(&render(&answers), "f").expect_err("no bridge has that name");
        assert!(error.problems.iter().all(|problem| problem.message.contains("bridge")), "{error}");
    }

    #[test]
    fn a_subnet_is_proposed_that_nobody_has() {
        let first = free_subnet(&[]);
        assert_eq!(first, Some((([172, 30, 0, 0].into(), 24), [172, 30, 0, 1].into())));
        let taken = [([172, 30, 0, 0].into(), 15), ([172, 32, 0, 128].into(), 25)];
        assert_eq!(free_subnet(&taken).map(|(subnet, _)| subnet.0), Some([172, 33, 0, 0].into()));
        assert_eq!(free_subnet(&[([0, 0, 0, 0].into(), 0)]), None);
        assert_eq!(bridge_for("a course: 2026!"), "br-a-course--20");
    }
}
