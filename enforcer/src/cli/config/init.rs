//! `enforcer config init`: a first config file.

use std::{
    fs,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{
    audit::record::shown,
    cli::{Dry, Exit},
    config::{
        DEFAULT_DOCKER_SOCKET,
        minimal::{Answers, HubAt, bridge_for, free_subnet, render},
        parse,
    },
    docker::{Engine, networks},
    model::inventory::DockerNetwork,
};

/// Arguments of `config init`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo enforcer config init
  sudo enforcer config init --no-questions --network tutorials --hub-port 8081 --internet --dns 192.0.2.53
  enforcer config init --no-questions --network course --output course.toml --dry-run

On a terminal it asks for what no flag says. It looks which bridge networks Docker has: one that is there already is
taken as it is; a new one gets a subnet that none of the others has. Nothing but the file and its directory is
made, and no file is overwritten without --force. Exit codes: 0 written; 1 failed; 2 wrong usage, or the file is there already.")]
pub(super) struct InitArgs {
    /// The file to write.
    #[arg(long, short, default_value = "/etc/enforcer/enforcer.toml", value_name = "FILE")]
    output: PathBuf,
    /// Overwrite it.
    #[arg(long)]
    force: bool,
    /// Ask nothing: what no flag says is as the question would propose.
    #[arg(long)]
    no_questions: bool,
    /// Docker's name of the guest network.
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// Name of its bridge, at most 15 characters.
    #[arg(long, value_name = "NAME")]
    bridge: Option<String>,
    /// Its IPv4 subnet, as 172.30.0.0/24.
    #[arg(long, value_name = "SUBNET", value_parser = subnet)]
    subnet: Option<(Ipv4Addr, u8)>,
    /// Guests reach this TCP port of the host: a JupyterHub's API.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    hub_port: Option<u16>,
    /// The hub is this container on the guest network, not the host itself.
    #[arg(long, value_name = "NAME", requires = "hub_port")]
    hub_container: Option<String>,
    /// Guests reach the public internet.
    #[arg(long)]
    internet: bool,
    /// Guests' names are resolved, with the help of this name server.
    #[arg(long, value_name = "ADDRESS")]
    dns: Option<IpAddr>,
    /// Keep no records in files.
    #[arg(long)]
    no_records: bool,
    /// The engine's socket.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_DOCKER_SOCKET)]
    docker_socket: PathBuf,
    #[command(flatten)]
    dry: Dry,
}

/// Writes one.
pub(super) async fn init(args: InitArgs) -> Result<Exit> {
    if !args.force && !args.dry.dry_run && args.output.symlink_metadata().is_ok() {
        let path = args.output.display();
        eprintln!("{path} is there already; nothing has changed. --force overwrites it");
        return Ok(Exit::Usage);
    }
    let known = match Engine::connect(&args.docker_socket).await {
        Ok(engine) => networks::bridges(&engine).await,
        Err(error) => Err(error),
    };
    let known = known.unwrap_or_else(|error| {
        eprintln!("Docker is not asked which networks it has: {error}");
        Vec::new()
    });
    let asks = !args.no_questions && io::stdin().is_terminal();
    let answers = answers(&args, &known, &mut |question, proposed| {
        if asks { ask(question, proposed) } else { Ok(proposed.to_owned()) }
    })?;
    let text = render(&answers);
    let file = args.output.display().to_string();
    if let Err(error) = parse(&text, &file) {
        eprintln!("{error}\nnothing has changed");
        return Ok(Exit::Usage);
    }
    if args.dry.dry_run {
        print!("{text}");
        eprintln!("would be written to {file}; nothing has changed");
        return Ok(Exit::Ok);
    }
    write(&args.output, &text, args.force).with_context(|| format!("cannot write {file}"))?;
    println!(
        "{file} is written; look at it, and then: enforcer check {file} && enforcer run --config {file}"
    );
    Ok(Exit::Ok)
}

/// What flags say, and what the others would be asked; `ask` takes a question and what it proposes.
fn answers(
    args: &InitArgs,
    known: &[DockerNetwork],
    ask: &mut dyn FnMut(&str, &str) -> Result<String>,
) -> Result<Answers> {
    let names: Vec<&str> = known.iter().map(|network| network.name.as_str()).collect();
    let network = match &args.network {
        Some(network) => network.clone(),
        None if names.is_empty() => ask("Docker's name of the guest network", "guests")?,
        None => {
            let question =
                format!("Docker's name of the guest network; there are {}", names.join(", "));
            ask(&question, "guests")?
        }
    };
    let there = known.iter().find(|one| one.name == network);
    let bridge = match (&args.bridge, there) {
        (Some(bridge), _) => bridge.clone(),
        (None, Some(there)) => there.bridge.clone(),
        (None, None) => ask("its bridge", &bridge_for(&network))?,
    };
    let ipv4 = |network: &DockerNetwork| {
        let ipv4 = network.subnets.iter().filter_map(|subnet| match subnet.address {
            IpAddr::V4(address) => Some((address, subnet.prefix)),
            IpAddr::V6(_) => None,
        });
        ipv4.collect::<Vec<_>>()
    };
    let (subnet, gateway) = match (args.subnet, there) {
        (Some(subnet), _) => (Some(subnet), Some(Ipv4Addr::from_bits(subnet.0.to_bits() + 1))),
        // It has them, whatever they are.
        (None, Some(_)) => (None, None),
        (None, None) => {
            let taken: Vec<_> = known.iter().flat_map(ipv4).collect();
            free_subnet(&taken).unzip()
        }
    };
    let hub = match (args.hub_port, &args.hub_container) {
        (Some(port), Some(name)) => Some(HubAt::Container(name.clone(), port)),
        (Some(port), None) => Some(HubAt::Host(port)),
        (None, _) => {
            match ask("TCP port of a JupyterHub's API on this host, or none", "none")?.trim() {
                "" | "none" => None,
                port => Some(HubAt::Host(port.parse().context("a port is a number up to 65535")?)),
            }
        }
    };
    let internet = args.internet || yes(&ask("May guests reach the public internet?", "no")?)?;
    let dns = match args.dns {
        Some(dns) => Some(dns),
        None => {
            match ask("Name server that guests' names are resolved with, or none", "none")?.trim() {
                "" | "none" => None,
                address => Some(address.parse().context("a name server is an IP address")?),
            }
        }
    };
    let keep_records =
        !args.no_records && yes(&ask("Keep records in /var/lib/enforcer/audit?", "yes")?)?;
    let is_usual = args.docker_socket == Path::new(DEFAULT_DOCKER_SOCKET);
    let socket = (!is_usual).then(|| args.docker_socket.clone());
    let create = there.is_none();
    Ok(Answers {
        socket,
        network,
        bridge,
        create,
        subnet,
        gateway,
        hub,
        internet,
        dns,
        keep_records,
    })
}

fn yes(answer: &str) -> Result<bool> {
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(true),
        "n" | "N" | "no" => Ok(false),
        _ => bail!("\"{}\" is neither yes nor no", shown(answer)),
    }
}

/// Asks on the terminal; an empty line takes what is proposed.
fn ask(question: &str, proposed: &str) -> Result<String> {
    eprint!("{} [{}] ", shown(question), shown(proposed));
    io::stderr().flush()?;
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        bail!("no answer; nothing has changed");
    }
    let line = line.trim();
    Ok(if line.is_empty() { proposed } else { line }.to_owned())
}

/// All of it, or nothing; what is there stays without `force`, also if it came meanwhile.
fn write(path: &Path, text: &str, force: bool) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let new = path.with_extension("toml.new");
    let mut file =
        fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o644).open(&new)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    // A link fails where the name is taken; a rename does not.
    let placed = written
        .and_then(|()| if force { fs::rename(&new, path) } else { fs::hard_link(&new, path) });
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => placed.and(Err(error)),
        _ => placed,
    }
}

fn subnet(text: &str) -> Result<(Ipv4Addr, u8), String> {
    let wrong = || format!("{text} is no subnet such as 172.30.0.0/24");
    let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
    match (address.parse(), prefix.parse()) {
        (Ok(address), Ok(prefix @ 8..=29)) => Ok((address, prefix)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::model::inventory::Subnet;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        init: InitArgs,
    }

    fn known() -> Vec<DockerNetwork> {
        let subnet = Subnet { address: [172, 30, 0, 0].into(), prefix: 16, gateway: None };
        vec![DockerNetwork {
            id: "1".repeat(64),
            name: "hubnet".to_owned(),
            bridge: "br-hubnet".to_owned(),
            subnets: vec![subnet],
            attachments: std::collections::BTreeMap::new(),
        }]
    }

    fn answered(flags: &[&str], said: &[(&str, &str)]) -> Result<Answers> {
        let line = Line::try_parse_from([&["init"], flags].concat())?;
        answers(&line.init, &known(), &mut |question, proposed| {
            let found = said.iter().find(|(about, _)| question.contains(about));
            Ok(found.map_or(proposed, |(_, answer)| answer).to_owned())
        })
    }

    #[test]
    fn a_network_that_is_there_is_taken_as_it_is_and_a_new_one_has_a_free_subnet() {
        let there = answered(&["--network", "hubnet"], &[]).expect("answered");
        assert_eq!((&*there.bridge, there.create, there.subnet), ("br-hubnet", false, None));
        let new = answered(&[], &[]).expect("answered");
        assert_eq!((&*new.network, &*new.bridge, new.create), ("guests", "br-guests", true));
        assert_eq!(new.subnet, Some(([172, 31, 0, 0].into(), 24)), "172.30/16 is taken");
        assert!(!new.internet && new.dns.is_none() && new.hub.is_none() && new.keep_records);
    }

    #[test]
    fn flags_answer_questions_and_nonsense_is_refused() {
        let flags = ["--hub-port", "8081", "--internet", "--dns", "192.0.2.53", "--no-records"];
        let said = answered(&flags, &[]).expect("answered");
        assert_eq!(said.hub, Some(HubAt::Host(8081)));
        assert!(said.internet && said.dns.is_some() && !said.keep_records);
        let asked = [("JupyterHub", "8000"), ("internet", "y"), ("Name server", "2001:db8::53")];
        let said = answered(&[], &asked).expect("answered");
        assert_eq!((said.hub, said.internet), (Some(HubAt::Host(8000)), true));
        for (about, nonsense) in [("JupyterHub", "http"), ("internet", "maybe"), ("Name", "x")] {
            assert!(answered(&[], &[(about, nonsense)]).is_err(), "{nonsense}");
        }
        assert!(answered(&["--subnet", "172.30.0.0"], &[]).is_err());
    }

    #[test]
    fn o2_no_file_is_overwritten_without_force() {
        let dir = std::env::temp_dir().join(format!("enforcer-init-{}", std::process::id()));
        let path = dir.join("e.toml");
        // Its directory is made, as the package would have.
        write(&path, "one", false).expect("written");
        assert!(write(&path, "two", false).is_err());
        assert_eq!(fs::read_to_string(&path).expect("there"), "one");
        write(&path, "three", true).expect("forced");
        assert_eq!(fs::read_to_string(&path).expect("there"), "three");
        fs::remove_file(&path).expect("removed");
        fs::remove_dir(&dir).expect("nothing else is left");
    }
}
