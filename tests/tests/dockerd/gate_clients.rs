//! Docker's own command line through a filtered socket, from within a container of its user: what a person does all
//! day works, and shows nothing of anybody else.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::harness::{
    container::{Container, Spec},
    dockerd::Options,
    image,
    residue::Snapshot,
    run::wait_for,
    topology::{BANNER, Base, GATEWAY, NETWORK, WORLD},
};

use crate::{flood::finish, person::Person};

/// One destination is open to hers.
const WAY_OUT: &str = "
[policies.out]
[[policies.out.allow]]
to = \"198.51.100.2\"
port = 80
[[networks.guests.override]]
label = \"enforcer.user=ann\"
policy = \"out\"
";

/// S2, S3: run, ps, logs, exec, stop, rm, volumes, inspect and events work by the stock command line; what others have
/// is not there.
#[test]
fn s3_the_docker_command_line_works_through_a_filtered_socket_on_own_things_alone() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let rig = Base::start(Options::default())?.with_guests()?;
    let (daemon, person) = Person::arrive(&rig, WAY_OUT)?;
    let others = Spec { name: "of-ben", network: NETWORK, ..Spec::default() };
    let others = Container::start(&rig.run, &rig.docker, &others)?;

    works(&person)?;
    shows_nothing_of_others(&person, &others)?;
    says_which_rule(&person)?;
    has_networks_of_its_own(&person, &others)?;
    prunes_volumes_along(&person)?;
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
    let line = format!("/usr/bin/docker run --rm -it -v data:/data {image} cat /data/x");
    let (code, said) = person.run(&format!("script -qec '{line}' /dev/null"))?;
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

/// S13: whoever uses what is not offered is told so in one sentence, with the rule and with what to do.
fn says_which_rule(person: &Person<'_>) -> Result<()> {
    let image = image::NAME;
    person.docker(&format!("run -d --name box {image} sleep 1000"))?;
    for (line, rule) in [
        ("cp box:/etc/passwd -", "route.archive"),
        // With a body that is longer than what is on its way at a time.
        ("cp /usr/bin/docker box:/tmp", "route.archive"),
        ("load -i /usr/bin/docker", "route.load"),
        ("load < /usr/bin/docker", "route.load"),
        ("import - mine:1 < /usr/bin/docker", "image.import"),
        ("commit box mine:1", "route.commit"),
        (&format!("save {image} > /dev/null"), "route.export"),
        ("export box > /dev/null", "route.export"),
        (&format!("push {image}"), "route.push"),
        (&format!("tag {image} mine:1"), "image.tag-name"),
        ("search x", "route.search"),
        ("login -u u -p p 127.0.0.1:9", "route.auth"),
        ("diff box", "route.changes"),
        ("pause box", "route.pause"),
        ("image prune -f", "route.images-prune"),
        ("system df", "route.system-df"),
        ("swarm init", "route.swarm"),
        ("plugin ls", "route.plugins"),
        ("exec --privileged box true", "exec.privileged"),
        ("update --memory 64g box", "update.memory"),
    ] {
        let (code, said) = person.try_docker(line)?;
        let is_told = said.contains("enforcer: ") && said.contains(&format!("(rule {rule})"));
        ensure!(code != 0 && is_told, "docker {line}: {code}: {said}");
    }
    person.docker("rm -f box")?;
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
    let said = person.docker("network inspect -f '{{.Internal}}' app")?;
    ensure!(said.trim() == "false", "not as it was asked for: {said}");
    has_its_way_out(person)?;
    person.docker("network connect app jupyter-ann")?;
    let read = ["busybox", "nc", "-w", "3", &*address, "5432"];
    let said = wait_for("a row in the notebook", Duration::from_secs(10), || {
        let (_, said) = person.notebook.exec(&person.rig.docker, &read)?;
        Ok(said.contains("a-row").then_some(said))
    })?;
    ensure!(said.trim() == "a-row", "{said}");
    let (_, said) = others.exec(&person.rig.docker, &read)?;
    ensure!(!said.contains("a-row"), "another user's guest reads it");
    has_its_way_out(person)?;
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

/// N1: what the notebook's policy opens is open, and visitors' answers go the way that they came.
fn has_its_way_out(person: &Person<'_>) -> Result<()> {
    let (_, routes) = person.notebook.exec(&person.rig.docker, &["busybox", "ip", "route"])?;
    ensure!(routes.contains(&format!("default via {GATEWAY} ")), "another way out: {routes}");
    let world = WORLD.to_string();
    let asks = ["busybox", "nc", "-w", "3", &world, "80"];
    wait_for("an answer of the world", Duration::from_secs(10), || {
        let (_, said) = person.notebook.exec(&person.rig.docker, &asks)?;
        Ok(said.contains(BANNER).then_some(()))
    })
}

/// S30: volumes without a name go with their container, for they would be nobody's.
fn prunes_volumes_along(person: &Person<'_>) -> Result<()> {
    let image = image::NAME;
    person.docker(&format!("run --name gone -v /scratch {image} sh -c 'echo x > /scratch/x'"))?;
    let id = person.docker("ps -aq --no-trunc --filter name=gone")?;
    let said = person.docker("container prune -f --filter label!=kept")?;
    ensure!(said.contains("Deleted Containers") && said.contains(id.trim()), "{id}: {said}");
    Ok(())
}
