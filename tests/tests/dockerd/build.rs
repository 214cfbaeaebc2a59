//! The classic `docker build` through a filtered socket, by the stock command line, beside the same at the engine itself.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use enforcer::{
    access::name::{HubName, User},
    gate::{names, principal::Principal},
};
use enforcer_tests::{
    attacks::Point,
    harness::{
        capture::Captures,
        container::{Container, Spec},
        dockerd::Options,
        enforcer::{Enforcer, Settings},
        image,
        residue::Snapshot,
        topology::{Base, NETWORK, Rig, WORLD},
    },
    protocol::Filter,
};

use crate::{
    flood::{binary, finish},
    gate::{command, left_behind},
};

const GROUP: &str = "docker-privileged";
const CLIENT: &str = "/usr/bin/docker";
/// Where a RUN step tries to go.
const PORT: u16 = 47_811;
/// The image that `ann` may not use.
const PRIVATE: &str = "private:1";

/// `ann`, in her notebook, with this host's programs at hand.
struct Person<'a> {
    rig: &'a Rig,
    notebook: Container,
    socket: PathBuf,
    mark: String,
    dir: PathBuf,
}

impl Person<'_> {
    /// What the command line says, and its exit code.
    fn docker(&self, environment: &str, line: &str) -> Result<(i64, String)> {
        let socket = self.socket.display();
        let line =
            format!("{environment} {CLIENT} --config /nonexistent -H unix://{socket} {line}");
        let shell = ["/bin/busybox", "chroot", "/host", "/bin/sh", "-c", &line];
        self.notebook.exec(&self.rig.docker, &shell)
    }

    /// A build of a Dockerfile, with arguments.
    fn build(&self, dockerfile: &str, arguments: &str) -> Result<(i64, String)> {
        fs::write(self.dir.join("Dockerfile"), dockerfile)?;
        let (name, dir) = (format!("{}app", self.mark), self.dir.display());
        self.docker("DOCKER_BUILDKIT=0", &format!("build -t {name} {arguments} {dir} 2>&1"))
    }
}

/// S2, S3, S11, S22, S23: a build with a RUN works; the RUN is on the guests' network, within bounds, and reaches nothing
/// that policy does not let it reach; other ways of building, and images of others, are refused, and no step of another's
/// build is taken for the user's.
#[test]
fn s11_a_classic_build_through_a_filtered_socket_is_its_user_s_and_policed_as_a_guest() -> Result<()>
{
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let rig = Base::start(Options::default())?.with_guests()?;
    let dir = rig.run.make_dir("context")?;
    fs::write(dir.join("file"), "of the context")?;
    raw(&rig, &["tag", image::NAME, PRIVATE])?;
    let more = format!("[gate]\nimages = [\"{}\"]\nmemory = \"256MiB\"\n", image::NAME);
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
    let user = User { hub: HubName::local(), name: "ann".parse()? };
    let mark = names::mark(&Principal::User(user));
    let person = Person { rig: &rig, notebook, socket, mark, dir };
    works(&person, &daemon)?;
    refuses(&person, &daemon)?;
    drop(person);
    finish(rig, daemon, &residue)
}

fn works(person: &Person<'_>, daemon: &Enforcer) -> Result<()> {
    let dockerfile = format!(
        "FROM {} AS first\nARG WHO\nCOPY file /file\n\
         RUN cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2> /dev/null; ip addr; \\\n  \
         nc -w 2 {WORLD} {PORT} < /dev/null; echo of $WHO > /who\n\
         FROM first\nCOPY --from=first /who /copied\nCMD [\"cat\", \"/copied\"]\n",
        image::NAME
    );
    // The engine itself, with the host's network: it goes out, and its steps stay in the engine's cache.
    let filter = Filter { port: Some(PORT), ..Filter::default() };
    let point = || [(Point::World, &person.rig.world.actor, "wan0")];
    fs::write(person.dir.join("Dockerfile"), &dockerfile)?;
    let context = person.dir.display().to_string();
    let captures = Captures::start(&point(), &filter)?;
    raw(person.rig, &["build", "--network=host", "--build-arg=WHO=ann", &context])?;
    let seen = captures.end()?;
    ensure!(seen[&Point::World].count > 0, "the engine's own RUN did not get out: {seen:?}");

    let captures = Captures::start(&point(), &filter)?;
    let (code, said) = person.build(&dockerfile, "--build-arg WHO=ann --label course=7")?;
    let seen = captures.end()?;
    ensure!(code == 0 && said.contains("Successfully tagged"), "{code}: {said}");
    ensure!(seen[&Point::World].count == 0, "a RUN got out: {seen:?}");
    ensure!(!said.contains("Using cache"), "a step of another's build: {said}");
    ensure!(said.contains("inet 10.99.0.") && said.contains("268435456"), "{said}");
    daemon.wait_record("the RUN's denial", |record| {
        record["destination.ip"] == WORLD.to_string() && record["destination.port"] == PORT
    })?;
    let record = daemon.wait_record("the build", |record| {
        record["event.action"] == "gate"
            && record["url.path"] == "/build"
            && record["http.response.status_code"] == 200
    })?;
    ensure!(record["user.name"] == "ann" && record["rule.name"] == "judged", "{record}");

    let app = format!("{}app", person.mark);
    let (code, said) = person.docker("", &format!("run --rm {app} 2>&1"))?;
    ensure!(code == 0 && said.trim() == "of ann", "{code}: {said}");
    let (code, said) = person.build(&dockerfile, "--build-arg WHO=ann --label course=7")?;
    ensure!(code == 0 && said.contains("Using cache"), "{code}: {said}");
    // An image of one's own is a base, too.
    let (code, said) = person.build(&format!("FROM {app}\nRUN cat /who"), "")?;
    ensure!(code == 0 && said.contains("of ann"), "{code}: {said}");
    Ok(())
}

fn refuses(person: &Person<'_>, daemon: &Enforcer) -> Result<()> {
    let base = format!("FROM {}\n", image::NAME);
    for (dockerfile, arguments, words) in [
        (format!("FROM {PRIVATE}\n"), "", "build.base"),
        (format!("{base}COPY --from={PRIVATE} /actor /x\n"), "", "build.base"),
        (format!("{base}ADD http://{WORLD}:{PORT}/ /x\n"), "", "build.dockerfile"),
        (format!("{base}RUN true\n"), "--network host", "build.network"),
        (format!("{base}RUN true\n"), "--cgroup-parent /", "query.value"),
        (format!("{base}RUN true\n"), &format!("-t {PRIVATE}"), "query.twice"),
    ] {
        let (code, said) = person.build(&dockerfile, arguments)?;
        ensure!(code != 0 && said.contains(words), "{dockerfile}{arguments}: {code}: {said}");
    }
    let record = daemon.wait_record("a refusal", |record| record["rule.name"] == "build.base")?;
    ensure!(record["enforcer.verdict"] == "deny" && record["user.name"] == "ann", "{record}");
    let context = person.dir.display();
    let (code, said) = person.docker("DOCKER_BUILDKIT=1", &format!("build {context} 2>&1"))?;
    ensure!(code != 0, "{said}");
    // Nothing of it is left at the engine.
    let left = raw(person.rig, &["ps", "-aq", "--filter", &format!("network={NETWORK}")])?;
    let guests = left.lines().count();
    ensure!(guests == 3, "containers of builds are left: {left}");
    Ok(())
}

/// The command line at the engine itself.
fn raw(rig: &Rig, arguments: &[&str]) -> Result<String> {
    let socket = rig.docker.socket();
    let mut command = Command::new(CLIENT);
    command.args(["--config", "/nonexistent", "-H"]).arg(format!("unix://{}", socket.display()));
    let output = command.env("DOCKER_BUILDKIT", "0").args(arguments).output();
    let output =
        output.with_context(|| format!("{} {arguments:?}", Path::new(CLIENT).display()))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{arguments:?}: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(said)
}
