//! What else people use beside the command line, through a filtered socket: Docker's SDK for Python and docker-compose, as
//! Debian has them, from within a container of their user.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use bollard::models::{NetworkCreateRequest, VolumeCreateRequest};
use enforcer_tests::{
    attacks::Point,
    harness::{
        capture::Captures,
        container::{Container, Spec},
        dockerd::Options,
        image,
        netns::Beside,
        residue::Snapshot,
        run::wait_for,
        topology::{BANNER, Base, NETWORK, Rig, WORLD},
    },
    protocol::Filter,
};

use crate::{flood::finish, person::Person};

/// The interpreter that Debian's packages are for; another one may come first in PATH.
const PYTHON: &str = "/usr/bin/python3 -B";
/// What the SDK is used for.
const SDK: &str = include_str!("sdk.py");
/// Two services: one has rows, the other reads one of them.
const COMPOSE: &str = include_str!("compose.yml");
/// How many containers somebody may have.
const ROOM: usize = 7;
/// Where rows are read.
const ROWS: u16 = 5432;
/// Tries of a service to get beyond.
const BEYOND: u16 = 47_812;

/// S2, S3, S27: all that a person does by Docker's SDK for Python works, streams to the byte; what may not be is refused in
/// the engine's shape, and names the rule; what others have is not found.
#[test]
fn s3_the_sdk_for_python_works_through_a_filtered_socket_on_own_things_alone() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let rig = Base::start(Options::default())?.with_guests()?;
    let (daemon, person) = Person::arrive(&rig, &format!("max_containers = {ROOM}\n"))?;
    let [container, network, volume, image] = of_others(&rig)?;
    let script = rig.run.dir().join("sdk.py");
    fs::write(&script, SDK)?;
    let (script, ours, mark) = (script.display(), image::NAME, &person.mark);
    let line = format!(
        "{PYTHON} {script} {ours} {mark} {ROOM} {container} {network} {volume} {image} 2>&1"
    );
    let (code, said) = person.run(&line)?;
    println!("{said}");
    ensure!(code == 0, "{code}: {said}");
    let left = person.docker("ps -aq")?;
    ensure!(left.lines().count() == 1, "containers are left: {left}");
    drop(person);
    finish(rig, daemon, &residue)
}

/// Something of each kind that is nobody's whom the gate knows.
fn of_others(rig: &Rig) -> Result<[&'static str; 4]> {
    let spec = Spec { name: "of-ben", network: NETWORK, ..Spec::default() };
    let other = Container::start(&rig.run, &rig.docker, &spec)?;
    other.commit(&rig.docker, "bens-image", &["secret=1"])?;
    rig.docker.call(|client| {
        let name = "bens-network".to_owned();
        client.create_network(NetworkCreateRequest { name, ..NetworkCreateRequest::default() })
    })?;
    rig.docker.call(|client| {
        let name = Some("bens-volume".to_owned());
        client.create_volume(VolumeCreateRequest { name, ..VolumeCreateRequest::default() })
    })?;
    Ok(["of-ben", "bens-network", "bens-volume", "bens-image"])
}

/// N1, N2, S3: a compose application comes up and goes down: `web` reads a row from `db` over their own network, and so does
/// the owner's notebook; another user's guest does not, of whom nothing arrives, and neither service gets beyond policy.
#[test]
fn n2_a_compose_application_is_its_owner_s_alone_and_gets_nowhere() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let rig = Base::start(Options::default())?.with_guests()?;
    let (daemon, person) = Person::arrive(&rig, "")?;
    let file = rig.run.dir().join("compose.yml");
    fs::write(&file, COMPOSE.replace("IMAGE", image::NAME))?;
    let application = Application { person: &person, file: file.display().to_string() };
    application.comes_up()?;
    application.is_apart()?;
    application.goes_down()?;
    drop(person);
    finish(rig, daemon, &residue)
}

struct Application<'a> {
    person: &'a Person<'a>,
    file: String,
}

impl Application<'_> {
    /// What docker-compose says.
    fn compose(&self, line: &str) -> Result<String> {
        let command = format!("cd /; docker-compose -p shop -f {} {line} 2>&1", self.file);
        let (code, said) = self.person.run(&command)?;
        ensure!(code == 0, "docker-compose {line}: {code}: {said}");
        Ok(said)
    }

    /// Full id of a service's container.
    fn id(&self, service: &str) -> Result<String> {
        let filter = format!("label=com.docker.compose.service={service}");
        Ok(self.person.docker(&format!("ps -q --no-trunc --filter {filter}"))?.trim().to_owned())
    }

    fn comes_up(&self) -> Result<()> {
        self.compose("up -d")?;
        let said = self.compose("ps")?;
        ensure!(said.contains("db") && said.contains("web"), "{said}");
        let logs = || self.compose("logs --no-color");
        let read = wait_for("a row in web", Duration::from_secs(40), || {
            Ok(logs()?.contains("read: 7|a row").then_some(()))
        });
        read.or_else(|error| Err(error.context(logs()?)))?;
        let said = self.compose("exec -T db cat /rows/all")?;
        ensure!(said.trim() == "7|a row", "{said}");
        // A second one changes nothing.
        let before = (self.id("db")?, self.id("web")?);
        self.compose("up -d")?;
        ensure!((self.id("db")?, self.id("web")?) == before, "they are made anew");
        Ok(())
    }

    fn is_apart(&self) -> Result<()> {
        let Self { person, .. } = self;
        let rig = person.rig;
        let id = self.id("db")?;
        let state = rig.docker.call(|client| client.inspect_container(&id, None))?.state;
        let pid = state.and_then(|state| state.pid).context("no process")?;
        let db = Beside::start(&rig.run, "beside-db", u32::try_from(pid)?)?;
        let db = &db.actor;
        let address = db.interface("eth0")?.ipv4.context("no address")?;
        let asks = format!("printf 'GET /all HTTP/1.0\\r\\n\\r\\n' | nc -w 3 {address} {ROWS}");
        let read = ["sh", "-c", &*asks];

        person.docker("network connect shop_default jupyter-ann")?;
        let filter = Filter { port: Some(ROWS), ..Filter::default() };
        let point = || [(Point::Peer, db, "eth0")];
        let captures = Captures::start(&point(), &filter)?;
        wait_for("a row in the notebook", Duration::from_secs(10), || {
            let (_, said) = person.notebook.exec(&rig.docker, &read)?;
            Ok(said.contains("7|a row").then_some(()))
        })?;
        let seen = captures.end()?[&Point::Peer].count;
        ensure!(seen > 0, "the notebook's packets are not seen");

        let captures = Captures::start(&point(), &filter)?;
        for stranger in [&rig.a.actor, &rig.b.actor] {
            let answer = stranger.connect((address, ROWS), 1500)?;
            ensure!(answer.errno.is_some(), "another user's guest reads it");
        }
        let seen = captures.end()?[&Point::Peer].count;
        ensure!(seen == 0, "{seen} frames of another user's guest arrive");

        let filter = Filter { port: Some(BEYOND), ..Filter::default() };
        let captures = Captures::start(&[(Point::World, &rig.world.actor, "wan0")], &filter)?;
        // Without a policy in between, packets to that port are seen there.
        let sent = rig.host.actor.connect((WORLD, BEYOND), 1500)?;
        let seen = captures.end()?[&Point::World].count;
        ensure!(seen > 0, "the host's own packets are not seen: {sent:?}");
        let captures = Captures::start(&[(Point::World, &rig.world.actor, "wan0")], &filter)?;
        for service in ["db", "web"] {
            let line = format!(
                "exec -T {service} sh -c 'nc -w 2 {WORLD} {BEYOND} < /dev/null; nc -w 2 {WORLD} 80; true'"
            );
            let said = self.compose(&line)?;
            ensure!(!said.contains(BANNER), "{service} reaches beyond: {said}");
        }
        let seen = captures.end()?[&Point::World].count;
        ensure!(seen == 0, "{seen} frames of a service get out");
        Ok(())
    }

    fn goes_down(&self) -> Result<()> {
        let Self { person, .. } = self;
        person.docker("network disconnect shop_default jupyter-ann")?;
        self.compose("down -v -t 0")?;
        let said = person.docker("ps -a --format '{{.Names}}'")?;
        ensure!(said.trim() == "jupyter-ann", "{said}");
        let said =
            person.docker("network ls --format '{{.Name}}'")? + &person.docker("volume ls -q")?;
        ensure!(!said.contains("shop"), "{said}");
        Ok(())
    }
}
