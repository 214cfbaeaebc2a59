//! `test`: every test in the order of CI, each stage with a budget of minutes to keep CI's limit.

use std::{
    env,
    path::PathBuf,
    process::Command,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    build::{self, HOST},
    package,
    toolchain::Toolchain,
    verifier, vm,
    workspace::{Workspace, require_root, succeed, succeed_watched},
};

/// Set by `./x` to the second at which it began, so that its set-up counts as well.
const STARTED: &str = "ENFORCER_X_STARTED";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only this stage
    #[arg(long)]
    stage: Option<String>,
    /// Loops at their full size, and the stages that take too long for every change as well
    #[arg(long)]
    long: bool,
    /// Go on after a stage that failed
    #[arg(long)]
    keep_going: bool,
}

struct Stage {
    name: &'static str,
    minutes: u64,
    run: fn(&Workspace, &mut Closing) -> Result<()>,
}

const STAGES: [Stage; 7] = [
    Stage { name: "build", minutes: 12, run: build },
    Stage { name: "checks", minutes: 5, run: checks },
    Stage { name: "namespaces", minutes: 8, run: namespaces },
    Stage { name: "hub", minutes: 8, run: hub },
    Stage { name: "dockerd", minutes: 10, run: dockerd },
    Stage { name: "packages", minutes: 3, run: packages },
    Stage { name: "kernels", minutes: 10, run: kernels },
];

/// The tests with a dockerd run in two processes side by side, each with hosts of its own, and either is done at about the
/// same time: the first has those that use the rig that they share, which is made once for a process, and a few more;
/// the other one has all that are not named here.
const FIRST: [&str; 21] = [
    "build::",
    "doctor::",
    "engine::",
    "gate_attacks::",
    "gate_libraries::",
    "interrupted::",
    "kept::",
    "lives::",
    "outside::",
    "own_networks::",
    "passing::",
    "ports::",
    "promises::",
    "races::",
    "records::",
    "report::",
    "rotation::",
    "rows::",
    "side_by_side::",
    "traffic::",
    "wide::",
];
/// Alone, after both: what they hold against the clock is how fast something is.
const TIMED: [&str; 4] = ["gate_load::", "limits::c1_", "survival::f01_", "unrelated::"];
/// In each process, last: it ends the rig, and fails where something is left behind.
const END: &str = "zz_end::";

/// Only with `--long`, or by name.
const LONG_STAGES: [Stage; 1] = [Stage { name: "reboot", minutes: 60, run: reboot }];
/// Containers that restart by themselves in the machine that is reset.
const LONG_GUESTS: u32 = 20;

/// The lines with which test runners close, to be repeated where a reader looks: at the end.
#[derive(Default)]
struct Closing {
    lines: Vec<String>,
    /// Loops at their full size.
    long: bool,
}

impl Closing {
    fn run(&mut self, command: &mut Command) -> Result<()> {
        if self.long {
            command.env("ENFORCER_TEST_LONG", "1");
        }
        succeed_watched(command, |line| self.lines.extend(closing_line(line)))
    }

    /// Runs them at the same time, each to its end.
    fn run_beside<const N: usize>(&mut self, mut commands: [Command; N]) -> Result<()> {
        let lines = Mutex::new(Vec::new());
        let seen = |line: &str| {
            lines.lock().unwrap_or_else(PoisonError::into_inner).extend(closing_line(line));
        };
        let outcomes: Vec<_> = thread::scope(|scope| {
            let started = commands.each_mut().map(|command| {
                if self.long {
                    command.env("ENFORCER_TEST_LONG", "1");
                }
                scope.spawn(|| succeed_watched(command, seen))
            });
            let panicked = |_panic| Err(anyhow::anyhow!("whoever watches a test runner panicked"));
            started.map(|one| one.join().unwrap_or_else(panicked)).into()
        });
        self.lines.extend(lines.into_inner().unwrap_or_else(PoisonError::into_inner));
        outcomes.into_iter().collect()
    }
}

/// A line with which a test runner closes, unless it ran nothing.
fn closing_line(line: &str) -> Option<String> {
    let closes =
        line.starts_with("test result: ") && !line.contains(" 0 passed; 0 failed; 0 ignored");
    closes.then(|| line.to_owned())
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    require_root("test", "makes network namespaces and loads eBPF programs")?;
    let only = arguments.stage.as_deref();
    let mut stages: Vec<&Stage> =
        STAGES.iter().filter(|stage| only.is_none_or(|name| name == stage.name)).collect();
    let wanted = |stage: &&Stage| only.map_or(arguments.long, |name| name == stage.name);
    stages.extend(LONG_STAGES.iter().filter(wanted));
    if stages.is_empty() {
        let names: Vec<_> = STAGES.iter().chain(&LONG_STAGES).map(|s| s.name).collect();
        bail!("no such stage; there are: {}", names.join(", "));
    }

    let mut closing = Closing { long: arguments.long, ..Closing::default() };
    let mut spent = Vec::new();
    let mut failed = Vec::new();
    let mut before = set_up_time();
    for stage in stages {
        println!("\n== {} ({} min)", stage.name, stage.minutes);
        let start = Instant::now();
        if let Err(error) = (stage.run)(workspace, &mut closing) {
            println!("{} failed: {error:#}", stage.name);
            failed.push(stage.name);
        }
        spent.push((stage, before + start.elapsed()));
        before = Duration::ZERO;
        if !failed.is_empty() && !arguments.keep_going {
            break;
        }
    }

    println!("\n== summary");
    for (stage, time) in spent {
        let over =
            if time > Duration::from_secs(60 * stage.minutes) { "  OVER BUDGET" } else { "" };
        let minutes = time.as_secs_f64() / 60.0;
        println!("{:<12}{minutes:>5.1} of {:>2} min{over}", stage.name, stage.minutes);
    }
    for line in closing.lines {
        println!("{line}");
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn set_up_time() -> Duration {
    let started = env::var(STARTED).ok().and_then(|seconds| seconds.parse().ok());
    started
        .and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))
        .and_then(|started| SystemTime::now().duration_since(started).ok())
        .unwrap_or_default()
}

/// Everything that later stages run, so that their minutes are the tests' own.
fn build(workspace: &Workspace, _: &mut Closing) -> Result<()> {
    everything(workspace)?;
    build::other_release(workspace)?;
    passing_object(workspace)?;
    vm::build_actor(workspace).map(drop)
}

/// All programs and tests, in one profile.
fn everything(workspace: &Workspace) -> Result<()> {
    succeed(workspace.cargo(["build"]).args(HOST).arg("--all-targets"))
}

fn checks(workspace: &Workspace, closing: &mut Closing) -> Result<()> {
    succeed(&mut workspace.cargo(["fmt", "--all", "--check"]))?;
    let mut host = workspace.cargo(["clippy"]);
    succeed(host.args(HOST).args(["--all-targets", "--", "-Dwarnings"]))?;
    let toolchain = Toolchain::find(&workspace.target).map_err(anyhow::Error::msg)?;
    let mut kernel = toolchain.cargo("clippy", &workspace.target);
    let context = "the lints of the eBPF crate, which need clippy of its own tool chain";
    succeed(kernel.current_dir(&workspace.root).args(["--", "-Dwarnings"])).context(context)?;
    let mut doc = workspace.cargo(["doc", "--no-deps", "--lib"]);
    succeed(doc.args(HOST).env("RUSTDOCFLAGS", "-Dwarnings"))?;
    closing.run(workspace.cargo(["test", "--lib", "--bins"]).args(HOST))?;
    closing.run(workspace.cargo(["test", "--doc"]).args(HOST))?;
    closing.run(workspace.cargo(["test", "--test", "differential"]).args(HOST))?;
    verifier::check(workspace)?;
    prog(workspace, closing)?;
    // Another build of the daemon and of its object, so only here and only for this.
    let mut log = workspace.cargo(["test", "--features", "enforcer-tests/bpf-log"]);
    closing.run(log.args(HOST).args(["--test", "bpf_log"]))
}

/// What a virtual machine runs under other kernels, here under this one.
fn namespaces(workspace: &Workspace, closing: &mut Closing) -> Result<()> {
    integration(workspace, closing, "live")?;
    everything(workspace)?;
    closing.run(&mut workspace.command(vmtest(workspace)))?;
    benches(workspace)
}

/// The benches end well: each path takes its verdict, every host is measured, and nothing that is denied arrives. What they
/// say of time is held against nothing; instructions are, by `verifier`.
fn benches(workspace: &Workspace) -> Result<()> {
    let program = |name: &str| workspace.command(workspace.target.join("debug").join(name));
    succeed(program("bench_packet").arg("--quick"))?;
    let daemon = workspace.target.join("debug/enforcer");
    succeed(program("bench_net").arg("--smoke").env("ENFORCER_BIN", daemon))
}

/// Real hubs, which the first run installs under `target`.
fn hub(workspace: &Workspace, closing: &mut Closing) -> Result<()> {
    // The daemon as well.
    everything(workspace)?;
    integration(workspace, closing, "hub")
}

fn dockerd(workspace: &Workspace, closing: &mut Closing) -> Result<()> {
    let other = build::other_release(workspace)?;
    everything(workspace)?;
    let object = passing_object(workspace)?;
    let part = |choice: Vec<&str>| {
        let mut cargo = workspace.cargo(["test"]);
        cargo
            .args(HOST)
            .env("ENFORCER_BIN", workspace.target.join("debug/enforcer"))
            .env("ENFORCER_OTHER_BIN", &other)
            .env("ENFORCER_PASSING_OBJECT", &object)
            .args(["--test", "dockerd", "--", "--test-threads=1"])
            .args(choice);
        cargo
    };
    let without = |names: &[&'static str]| -> Vec<&'static str> {
        names.iter().flat_map(|name| ["--skip", name]).collect()
    };
    let beside = [
        part([&FIRST[..], &[END], &without(&TIMED)].concat()),
        part(without(&[&FIRST[..], &TIMED].concat())),
    ];
    let outcome = closing.run_beside(beside);
    // Also after a failure: whoever mends something wants to know of all of it.
    outcome.and(closing.run(&mut part([&TIMED[..], &[END]].concat())))
}

/// The eBPF programs that decide and record but let everything pass: what a test sees then is what
/// it must fail on.
fn passing_object(workspace: &Workspace) -> Result<PathBuf> {
    let target = workspace.target.join("passing");
    let toolchain = Toolchain::find(&workspace.target).map_err(anyhow::Error::msg)?;
    let mut cargo = toolchain.cargo("build", &target);
    succeed(cargo.current_dir(&workspace.root).args(["--features", "pass"]))?;
    Ok(toolchain.object(&target))
}

/// The Debian package, of the debug build that is there already, on a host that is thrown away.
fn packages(workspace: &Workspace, closing: &mut Closing) -> Result<()> {
    let [deb, next] = package::debug(workspace)?;
    let mut cargo = workspace.cargo(["test"]);
    cargo.args(HOST).env("ENFORCER_DEB", deb).env("ENFORCER_NEXT_DEB", next);
    closing.run(cargo.args(["--test", "package", "--", "--test-threads=1"]))
}

fn kernels(workspace: &Workspace, closing: &mut Closing) -> Result<()> {
    everything(workspace)?;
    let (test, kernels) = (vmtest(workspace), vm::KERNELS.map(str::to_owned));
    closing.lines.extend(vm::under_each_kernel(
        workspace,
        &test,
        (&kernels, &vm::Boot::ALL),
        vm::Verified::Compare,
    )?);
    Ok(())
}

fn vmtest(workspace: &Workspace) -> PathBuf {
    workspace.target.join("debug/vmtest")
}

/// D02 at full size.
fn reboot(workspace: &Workspace, closing: &mut Closing) -> Result<()> {
    let kernels = vm::KERNELS.map(str::to_owned);
    closing.lines.extend(vm::systemd::boots(workspace, &kernels, LONG_GUESTS, |_| true)?);
    Ok(())
}

/// The programs frame by frame. Each test has a network namespace and an object of its own, so they run side by side;
/// alone, one at a time, are those that hold what passes against the clock.
fn prog(workspace: &Workspace, closing: &mut Closing) -> Result<()> {
    const TIMED: &str = "limits::c1_";
    let threads = thread::available_parallelism()?;
    let side_by_side = format!("--test-threads={threads}");
    for choice in [&["--skip", TIMED, &side_by_side][..], &[TIMED, "--test-threads=1"]] {
        let mut cargo = workspace.cargo(["test"]);
        closing.run(cargo.args(HOST).args(["--test", "prog", "--"]).args(choice))?;
    }
    Ok(())
}

/// One file of the tests crate. One test at a time: they measure, and the machine is small.
fn integration(workspace: &Workspace, closing: &mut Closing, file: &str) -> Result<()> {
    let mut cargo = workspace.cargo(["test"]);
    closing.run(cargo.args(HOST).args(["--test", file, "--", "--test-threads=1"]))
}
