//! The gate under load: ten users do all they can to keep an eleventh out, each from a container of their own, and do
//! not; and the daemon does not grow by it.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::harness::{
    container::{Container, Spec},
    dockerd::Options,
    enforcer::{Enforcer, Settings},
    http::Line,
    image,
    residue::Snapshot,
    topology::{Base, NETWORK},
};
use serde_json::json;

use crate::flood::binary;

/// A group whose members have a socket.
const GROUP: &str = "docker-privileged";
/// Where clients look for the engine.
const SOCKET: &str = "/var/run/docker.sock";
/// Users who are many at once.
const CROWD: usize = 10;
/// Of each: connections that say nothing, that are slow to speak or to listen, and clients that ask as fast as they can.
const EACH: (usize, usize, usize) = (100, 5, 1);
/// How long they go on.
const LASTS: Duration = Duration::from_secs(10);
/// Longest that anybody else may wait: the second that is promised, and half of one for a machine on which the engine and all
/// clients run beside the gate; on one on which nothing goes fast, so many times what it takes at rest.
const PROMPT: Duration = Duration::from_millis(1500);
const TIMES: u32 = 20;
/// Most that the daemon may grow, KiB: seen were 52 MiB (debug build).
const MOST_MEMORY: u64 = 96 << 10;
/// Files that it has open more, at least, if there is a load at all: two for each connection that is busy.
const LEAST_FILES: usize = 800;
/// Most files that it may have open beyond those at rest: all places of these users with both ends, and at each socket as
/// many again that are being turned away (seen were 2,018).
const MOST_FILES: usize = 2 * (512 + 8 * (CROWD + 1)) + 128 * (CROWD + 1);

/// S26: 1,000 idle, 50 slow and 10 greedy clients of ten users' sockets. A member at another socket is served in less
/// than a second each time; memory and open files are bounded, and given back.
#[test]
fn s26_idle_slow_and_greedy_clients_keep_no_other_member_waiting() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let base = Base::start(Options::default())?;
    let more = format!("\n[gate]\nimages = [\"{}\"]\nmax_containers = 3\n", image::NAME);
    let daemon = Enforcer::start(&base, &Settings { more, ..Settings::default() })?;
    let users: Vec<String> =
        (0..CROWD).map(|number| format!("u{number}")).chain(["mia".to_owned()]).collect();
    let sockets: Result<Vec<_>> = users.iter().map(|user| daemon.leave_socket(user)).collect();
    let daemon = daemon.end()?.restart(&base.host, binary()?)?;
    let mut notebooks = Vec::new();
    for (user, socket) in users.iter().zip(sockets?) {
        let (code, said) = daemon.verb(&base.host, "group", &["add", GROUP, user])?;
        ensure!(code == 0, "{user}: {said}");
        let (name, label) = (format!("of-{user}"), format!("enforcer.user={user}"));
        let bind = format!("{}:{SOCKET}", socket.display());
        let spec = Spec {
            name: &name,
            network: NETWORK,
            labels: &[&label, "enforcer.hub=local"],
            binds: &[&bind],
            ..Spec::default()
        };
        notebooks.push(Container::start(&base.run, &base.docker, &spec)?);
    }
    for (user, notebook) in users.iter().zip(&notebooks) {
        let line = Line::Through(notebook.actor()?, SOCKET.to_owned());
        let big = "x".repeat(200 << 10);
        let body = json!({"Image": image::NAME, "Cmd": ["true"], "Env": [format!("BIG={big}")]});
        line.get("POST", &format!("/v1.41/containers/create?name=big-{user}"), Some(&body))?;
    }
    let at_rest = {
        let mia = notebooks.last().context("nobody")?;
        let mut took = (0..9).map(|_| ask(mia)).collect::<Result<Vec<_>>>()?;
        took.sort_unstable();
        took[took.len() / 2]
    };
    let before = used(&daemon)?;
    let (mia, crowd) = notebooks.split_last().context("nobody")?;
    let (idle, slow, greedy) = EACH;
    let seconds = LASTS.as_secs();
    for (user, notebook) in users.iter().zip(crowd) {
        let load = format!(
            "/actor load {SOCKET} {seconds} {idle} {slow} {greedy} big-{user} > /tmp/load 2>&1 < /dev/null &"
        );
        notebook.exec(&base.docker, &["sh", "-c", &load])?;
    }
    let (took, peak) = watch(&daemon, mia)?;
    let waited = took.iter().max().context("nobody asked")?;
    let grown = peak.0.saturating_sub(before.0);
    let files = peak.1.saturating_sub(before.1);
    let seen = format!(
        "{} asked, slowest {waited:?}, at rest {at_rest:?}; {grown} KiB more, {files} files more",
        took.len()
    );
    println!("{seen}");
    ensure!(*waited < PROMPT.max(at_rest * TIMES) && took.len() >= 10, "{seen}");
    // Otherwise there was no load.
    ensure!(files >= LEAST_FILES, "{seen}");
    ensure!(grown < MOST_MEMORY && files < MOST_FILES, "{seen}");
    given_back(&daemon, &base, before.1)?;
    let mut answered = 0;
    for notebook in crowd {
        let (_, said) = notebook.exec(&base.docker, &["cat", "/tmp/load"])?;
        let words: Vec<&str> = said
            .lines()
            .filter(|line| line.starts_with("greedy"))
            .flat_map(str::split_whitespace)
            .collect();
        let count = words.get(5).and_then(|count| count.parse::<u64>().ok());
        answered += count.with_context(|| format!("{}: {said}", notebook.name))?;
    }
    println!("{answered} answers to the greedy");
    ensure!(answered >= 100, "the greedy asked for nothing: {answered}");
    daemon.stop()?;
    drop(base);
    residue.ensure_nothing_new()
}

/// Asks as one who has nothing to do with it; how long it took.
fn ask(mia: &Container) -> Result<Duration> {
    let line = Line::Through(mia.actor()?, SOCKET.to_owned());
    let since = Instant::now();
    let reply = line.ask("GET", "/v1.41/containers/json?all=1", None)?;
    let took = since.elapsed();
    ensure!(reply.status == 200 && reply.has("/big-mia"), "{}", reply.shown());
    Ok(took)
}

/// The same as long as it lasts. How long each answer took, and the most that the daemon used meanwhile.
fn watch(daemon: &Enforcer, mia: &Container) -> Result<(Vec<Duration>, (u64, usize))> {
    let (mut took, mut peak) = (Vec::new(), (0, 0));
    let until = Instant::now() + LASTS;
    while Instant::now() < until {
        took.push(ask(mia)?);
        let now = used(daemon)?;
        peak = (peak.0.max(now.0), peak.1.max(now.1));
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok((took, peak))
}

/// Memory of the daemon, KiB, and how many files it has open.
fn used(daemon: &Enforcer) -> Result<(u64, usize)> {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let rss = rss.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    let files = fs::read_dir(format!("/proc/{}/fd", daemon.pid()))?.count();
    Ok((rss.context("no VmRSS")?, files))
}

/// What was taken is given back, once they have gone.
fn given_back(daemon: &Enforcer, base: &Base, files: usize) -> Result<()> {
    enforcer_tests::harness::run::wait_for("the places given back", Duration::from_secs(10), || {
        let left = daemon.status(&base.host)?["gate"]["connections"] == 0;
        Ok((left && used(daemon)?.1 <= files + 16).then_some(()))
    })
}
