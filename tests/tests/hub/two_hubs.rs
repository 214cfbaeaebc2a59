//! A public hub and one of guest researchers on one engine, with a user of one name in each.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use bollard::models::ContainerInspectResponse;
use enforcer_tests::harness::{
    dockerd::Options,
    http::Line,
    topology::{GATEWAY, NETWORK},
};
use serde_json::{Value, json};

use super::{
    notebook,
    proxy::Ports,
    reach,
    site::{self, PUBLIC, Plan, Site, address},
    visitors::Visitors,
};

const FORM: &str = "dummy";
const PLANS: [Plan; 2] = [Plan { authenticator: FORM, ..PUBLIC }, RESEARCH];
const RESEARCH: Plan = Plan {
    name: "research",
    network: ("researchers", "research0", "10.98.0.0/24", Ipv4Addr::new(10, 98, 0, 1)),
    port: 8083,
    proxy: Ports { public: 8110, api: 8111 },
    config: "tmpnb.py",
    authenticator: FORM,
    // Names of containers are the engine's, for all hubs together.
    prefix: "research",
    remove: true,
    cull_after: None,
};
const GROUP: &str = "/groups/docker-privileged";

/// S3, A2, N2: what ann of one hub has, ann of the other has not: container, volume, network, group, socket, records. Each
/// hub's gate shows that hub's things alone.
#[test]
fn s3_two_hubs_with_a_user_of_one_name_share_nothing_on_one_engine() -> Result<()> {
    site::with(Options::default(), &PLANS, |site| {
        let hub = &site.hubs[0].server;
        let (status, said) = hub.call("POST", GROUP, Some("{}"))?;
        ensure!([201, 409].contains(&status), "{status}: {said}");
        hub.manage("POST", "/users/ann", Some("{}"))?;
        let ann = json!({"users": ["ann"]}).to_string();
        hub.manage("POST", &format!("{GROUP}/users"), Some(&ann))?;

        let mut public = site.visitors(0)?;
        let mut research = site.visitors(1)?;
        for visitors in [&mut public, &mut research] {
            ensure!(visitors.arrive_as(0, "ann")?.user == "ann");
            visitors.open(1)?;
        }
        let of_public = site.notebook("lab", "ann")?;
        let of_research = site.notebook("research", "ann")?;
        of_its_own(&of_public, &of_research)?;
        gates_show_their_own(site)?;
        groups_are_apart(&mut public, &mut research)?;

        let write = "open('/home/work/note', 'w').write('public')\nprint('done')";
        ensure!(public.cell(0, write)? == "done\n");
        let there = "import os\nprint(os.path.exists('/home/work/note'))";
        ensure!(public.cell(0, there)? == "True\n" && research.cell(0, there)? == "False\n");
        reach_their_own_hub_alone(site, (&mut public, &of_research), (&mut research, &of_public))
    })
}

/// Neither name nor volume nor network is the other's.
fn of_its_own(
    public: &ContainerInspectResponse,
    research: &ContainerInspectResponse,
) -> Result<()> {
    let names = [public, research].map(|notebook| notebook.name.as_deref());
    ensure!(names == [Some("/jupyter-ann"), Some("/research-ann")], "{names:?}");
    let [theirs, others] = [public, research].map(|notebook| {
        let mounts = notebook.mounts.iter().flatten();
        mounts.filter_map(|mount| mount.name.clone()).collect::<Vec<_>>()
    });
    ensure!(theirs.len() == 1 && others.len() == 1 && theirs != others, "{theirs:?} {others:?}");
    for (notebook, own, other) in
        [(public, NETWORK, RESEARCH.network.0), (research, RESEARCH.network.0, NETWORK)]
    {
        ensure!(address(notebook, own).is_ok() && address(notebook, other).is_err(), "{own}");
    }
    Ok(())
}

fn gates_show_their_own(site: &Site) -> Result<()> {
    for (name, own, other) in
        [("lab", "jupyter-ann", "research-ann"), ("research", "research-ann", "jupyter-ann")]
    {
        let gate = Line::Here(site.gate(name)?);
        let said = gate.get("GET", "/v1.41/containers/json?all=1", None)?;
        let said: Vec<&str> = said
            .as_array()
            .context("no list")?
            .iter()
            .filter_map(|c| c["Names"][0].as_str())
            .collect();
        ensure!(said == [format!("/{own}")], "{name}: {said:?}");
        let inspected = gate.ask("GET", &format!("/v1.41/containers/{other}/json"), None)?;
        ensure!(inspected.status == 404, "{name}: {}", inspected.shown());
        let removed = gate.ask("DELETE", &format!("/v1.41/containers/{other}?force=1"), None)?;
        ensure!(removed.status == 404, "{name}: {}", removed.shown());
        let volumes = gate.get("GET", "/v1.41/volumes", None)?;
        let volumes = volumes["Volumes"].as_array().context("no volumes")?.len();
        ensure!(volumes == 1, "{name} sees {volumes} volumes");
        // A name that the other hub has is taken, and stays the other's.
        let spec = json!({"Image": notebook::IMAGE});
        let target = format!("/v1.41/containers/create?name={other}");
        let made = gate.ask("POST", &target, Some(&spec))?;
        ensure!((400..500).contains(&made.status), "{name}: {}", made.shown());
    }
    site.notebook("lab", "ann")?;
    site.notebook("research", "ann").map(drop)
}

/// Of the two only one is a member of the group of that name.
fn groups_are_apart(public: &mut Visitors, research: &mut Visitors) -> Result<()> {
    let list = "import docker\nprint([c.name for c in docker.from_env().containers.list()])";
    let said = public.cell(0, list)?;
    ensure!(said == "['jupyter-ann']\n", "{said}");
    let there = "import os\nprint(os.path.exists('/var/run/docker.sock'))";
    let said = research.cell(0, there)?;
    ensure!(said == "False\n", "{said}");
    Ok(())
}

/// Not the other's, at its address or at their own gateway, and not who has their name there.
fn reach_their_own_hub_alone(
    site: &Site,
    public: (&mut Visitors, &ContainerInspectResponse),
    research: (&mut Visitors, &ContainerInspectResponse),
) -> Result<()> {
    let hubs = [(GATEWAY, PUBLIC.port), (RESEARCH.network.3, RESEARCH.port)];
    let names = [(NETWORK, "jupyter-ann"), (RESEARCH.network.0, "research-ann")];
    for (at, (visitors, other)) in [public, research].into_iter().enumerate() {
        let (own, others) = (hubs[at], hubs[1 - at]);
        let neighbour = address(other, names[1 - at].0)?.to_owned();
        let closed = [
            (neighbour, notebook::PORT),
            (others.0.to_string(), others.1),
            (own.0.to_string(), others.1),
        ];
        let targets: Vec<_> = closed.iter().cloned().chain([(own.0.to_string(), own.1)]).collect();
        let said = visitors.cell(0, &reach::cell(&targets))?;
        reach::ensure_only_last_open(&said, &targets)?;
        for (ip, port) in &closed {
            let is_about = |record: &Value| {
                record["event.action"] == "connect_refused"
                    && record["destination.ip"] == ip.as_str()
                    && record["destination.port"] == *port
            };
            let record = site.daemon()?.wait_record("the refusal", is_about)?;
            let (network, container) = names[at];
            ensure!(record["user.name"] == "ann", "{record}");
            ensure!(record["container.name"] == container, "{record}");
            ensure!(record["network.name"] == network, "{record}");
        }
    }
    Ok(())
}
