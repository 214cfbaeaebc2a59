//! Docker's own command line through a filtered socket, from within a container of its user: what a person does all
//! day works, and shows nothing of anybody else.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::harness::{
    container::{Container, Spec},
    dockerd::Options,
    enforcer::{Enforcer, Settings},
    image,
    residue::Snapshot,
    run::wait_for,
    topology::{BANNER, Base, NETWORK, Rig, WORLD},
};

use crate::{
    flood::{binary, finish},
    gate::{command, left_behind},
};

const GROUP: &str = "docker-privileged";

/// A person in a notebook, with this host's programs at hand.
struct Person<'a> {
    rig: &'a Rig,
    notebook: Container,
    docker: String,
    socket: PathBuf,
}

impl Person<'_> {
    /// Runs the command line; what it said, and its exit code.
    fn try_docker(&self, line: &str) -> Result<(i64, String)> {
        let socket = self.socket.display();
        let command = format!("{} --config /nonexistent -H unix://{socket} {line}", self.docker);
        self.notebook
            .exec(&self.rig.docker, &["/bin/busybox", "chroot", "/host", "/bin/sh", "-c", &command])
    }

    /// The same where it has to work.
    fn docker(&self, line: &str) -> Result<String> {
        let (code, said) = self.try_docker(line)?;
        ensure!(code == 0, "docker {line}: {code}: {said}");
        Ok(said)
    }

    /// The same where it is refused, with these words.
    fn refused(&self, line: &str, words: &str) -> Result<()> {
        let (code, said) = self.try_docker(line)?;
        ensure!(code != 0 && said.contains(words), "docker {line}: {code}: {said}");
        Ok(())
    }
}

/// S2, S3: run, ps, logs, exec, stop, rm, volumes, inspect and events work by the stock command line; what others have
/// is not there.
#[test]
fn s3_the_docker_command_line_works_through_a_filtered_socket_on_own_things_alone() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let rig = Base::start(Options::default())?.with_guests()?;
    let more = format!("[gate]\nimages = [\"{}\"]\n", image::NAME);
    let daemon = Enforcer::start_beside(&rig, &Settings { more, ..Settings::default() })?;
    let socket = left_behind(&daemon)?;
    let daemon = daemon.end()?.restart(&rig.host, binary()?)?;
    command(&daemon, &rig, "group", &["add", GROUP, "ann"])?;
    let spec = Spec {
        name: "jupyter-ann",
        network: NETWORK,
        labels: &["enforcer.user=ann", "enforcer.hub=local"],
        binds: &["/:/host:ro"],
        ..Spec::default()
    };
    let notebook = Container::start(&rig.run, &rig.docker, &spec)?;
    let others = Spec { name: "of-ben", network: NETWORK, ..Spec::default() };
    let others = Container::start(&rig.run, &rig.docker, &others)?;
    let person = Person { rig: &rig, notebook, docker: command_line()?, socket };

    works(&person)?;
    shows_nothing_of_others(&person, &others)?;
    has_networks_of_its_own(&person, &others)?;
    let left = rig
        .docker
        .call(|client| client.list_volumes(None::<bollard::query_parameters::ListVolumesOptions>))?
        .volumes
        .unwrap_or_default();
    ensure!(left.is_empty(), "{left:?}");
    let record = daemon.wait_record("a create", |record| {
        record["event.action"] == "gate"
            && record["url.path"] == "/containers/create"
            && record["http.response.status_code"] == 201
    })?;
    ensure!(record["user.name"] == "ann" && record["rule.name"] == "judged", "{record}");
    drop(person);
    finish(rig, daemon, &residue)
}

fn works(person: &Person<'_>) -> Result<()> {
    let image = image::NAME;
    person.docker("version")?;
    person.docker("info")?;
    let said = person.docker(&format!("run --rm {image} busybox echo hello"))?;
    ensure!(said.trim() == "hello", "{said}");
    let said =
        person.docker(&format!("run --rm -v data:/data {image} sh -c 'echo kept > /data/x'"))?;
    ensure!(said.is_empty(), "{said}");
    let tty = format!(
        "script -qec '{} --config /nonexistent -H unix://{} run --rm -it -v data:/data {image} cat /data/x' /dev/null",
        person.docker,
        person.socket.display()
    );
    let (code, said) = person
        .notebook
        .exec(&person.rig.docker, &["/bin/busybox", "chroot", "/host", "/bin/sh", "-c", &tty])?;
    ensure!(code == 0 && said.contains("kept\r\n"), "{code}: {said}");

    person.docker(&format!("run -d --name web {image} sh -c 'echo begun; sleep 1000'"))?;
    let said = person.docker("ps --format '{{.Names}}'")?;
    ensure!(said.lines().collect::<Vec<_>>() == ["web", "jupyter-ann"], "{said}");
    let said = person.docker("logs web")?;
    ensure!(said.trim() == "begun", "{said}");
    let said = person.docker("exec web busybox hostname")?;
    ensure!(!said.trim().is_empty(), "{said}");
    let (code, said) = person.try_docker("exec web sh -c 'exit 7'")?;
    ensure!(code == 7, "{code}: {said}");
    let said = person.docker("exec -i web busybox wc -c < /bin/sh")?;
    let length = std::fs::metadata("/bin/sh").context("/bin/sh")?.len();
    ensure!(said.trim() == length.to_string(), "{said}");
    let said = person.docker("inspect -f '{{.HostConfig.Memory}} {{.Name}}' web")?;
    ensure!(said.trim() == "2147483648 /web", "{said}");
    person.docker("rename web site")?;
    person.docker("restart -t 0 site")?;
    person.docker("top site")?;
    person.docker("stats --no-stream site")?;
    person.docker("stop -t 0 site")?;
    let said = person.docker("events --since 1m --until 0s --format '{{.Type}} {{.Action}}'")?;
    ensure!(said.contains("container start") && said.contains("container die"), "{said}");
    person.docker("rm site")?;
    let said = person.docker("volume create more")?;
    ensure!(said.trim() == "more", "{said}");
    let said = person.docker("volume ls -q")?;
    ensure!(said.lines().collect::<Vec<_>>() == ["data", "more"], "{said}");
    person.docker("volume rm data more")?;
    let said = person.docker("images --format '{{.Repository}}'")?;
    ensure!(said.lines().collect::<Vec<_>>() == [image], "{said}");
    Ok(())
}

fn shows_nothing_of_others(person: &Person<'_>, others: &Container) -> Result<()> {
    let image = image::NAME;
    person.refused("inspect of-ben", "No such object")?;
    for line in ["stop of-ben", "logs of-ben", "exec of-ben ls", "rm of-ben"] {
        person.refused(line, "No such")?;
    }
    person.refused(&format!("kill {}", others.id), "No such container")?;
    person.refused(&format!("run --rm --privileged {image} busybox true"), "privileged")?;
    person.refused(&format!("run --rm -v /etc:/x {image} busybox true"), "rule")?;
    person.refused(&format!("run --rm --net host {image} busybox true"), "network")?;
    person.refused("cp jupyter-ann:/etc/passwd -", "rule")?;
    person.refused("run --rm unknown true", "image")?;
    person.refused("rm -f jupyter-ann", "notebook")?;
    let said = person.docker("ps -a --format '{{.Names}}'")?;
    ensure!(said.trim() == "jupyter-ann", "{said}");
    Ok(())
}

/// Two services on a network of their own, as compose starts them: they reach one another and nobody else; the notebook
/// may join.
fn has_networks_of_its_own(person: &Person<'_>, others: &Container) -> Result<()> {
    let image = image::NAME;
    person.docker("network create app")?;
    let said = person.docker("network ls --format '{{.Name}}'")?;
    ensure!(said.lines().any(|line| line == "app"), "{said}");
    let serve = "while true; do echo a-row | busybox nc -l -p 5432; done";
    person.docker(&format!(
        "run -d --name db --network app --network-alias data {image} sh -c '{serve}'"
    ))?;
    let reads = |from: &str, to: &str| format!("exec {from} busybox nc -w 3 {to} 5432");
    person.docker(&format!("run -d --name web --network app {image} sleep 1000"))?;
    let said = wait_for("a row", Duration::from_secs(10), || {
        let (_, said) = person.try_docker(&reads("web", "data"))?;
        Ok(said.contains("a-row").then_some(said))
    })?;
    ensure!(said.trim() == "a-row", "{said}");
    let address = "inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' db";
    let address = person.docker(address)?.trim().to_owned();
    person.docker("network connect app jupyter-ann")?;
    let read = ["busybox", "nc", "-w", "3", &*address, "5432"];
    let said = wait_for("a row in the notebook", Duration::from_secs(10), || {
        let (_, said) = person.notebook.exec(&person.rig.docker, &read)?;
        Ok(said.contains("a-row").then_some(said))
    })?;
    ensure!(said.trim() == "a-row", "{said}");
    let (_, said) = others.exec(&person.rig.docker, &read)?;
    ensure!(!said.contains("a-row"), "another user's guest reads it");
    let world = WORLD.to_string();
    let (_, said) = person.try_docker(&format!("exec web busybox nc -w 2 {world} 80"))?;
    ensure!(!said.contains(BANNER), "it reaches beyond: {said}");
    person.docker("network disconnect app jupyter-ann")?;
    person.docker("rm -f db web")?;
    person.docker("network rm app")?;
    let said = person.docker("network ls --format '{{.Name}}'")?;
    ensure!(!said.lines().any(|line| line == "app"), "{said}");
    Ok(())
}

/// Docker's command line on this host.
fn command_line() -> Result<String> {
    let places = ["/usr/bin/docker", "/usr/local/bin/docker"];
    let found = places.iter().find(|place| std::path::Path::new(place).exists());
    Ok((*found.context("docker, the command line, is not installed")?).to_owned())
}
