//! `vm systemd`: a machine with systemd, dockerd and guests that restart by themselves and call
//! home from their first instruction on. It is reset while they do; what reaches its uplink is
//! captured outside. Each scenario says what must be seen there and what must not.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{EMULATION, kernel::Kernel};
use crate::{
    build::{self, HOST},
    workspace::{Workspace, require_root, succeed, succeed_watched},
};

mod image;
mod packaged;
mod pcap;

/// Longest life of one machine under emulation.
const SECONDS: &str = "3600";
/// The daemon's word that policy holds.
const ENFORCING: &str = "enforcer::supervise: ready";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A kernel series; may be repeated
    #[arg(long = "kernel", default_values_t = ["6.12".to_owned()])]
    kernels: Vec<String>,
    /// Guests that restart by themselves
    #[arg(long, default_value_t = 20)]
    guests: u32,
    /// Only these scenarios: policed, frozen, failing, refused, absent, packaged
    #[arg(long = "scenario")]
    scenarios: Vec<String>,
}

/// What is done to the machine, and what must be seen.
struct Scenario {
    name: &'static str,
    about: &'static str,
    judge: fn(&Seen, u32) -> Result<()>,
}

const SCENARIOS: [Scenario; 6] = [
    Scenario {
        name: "absent",
        about: "without enforcer, guests reach the uplink and one another",
        judge: absent,
    },
    Scenario {
        name: "policed",
        about: "d02: reset while guests call home, no frame of theirs leaves, before or after",
        judge: policed,
    },
    Scenario {
        name: "frozen",
        about: "f17: a frozen daemon is replaced by its watchdog, no frame of a guest leaves",
        judge: frozen,
    },
    Scenario {
        name: "failing",
        about: "d02: enforcer.service fails, guests have no network, others have",
        judge: failing,
    },
    Scenario {
        name: "refused",
        about: "d02: the bridges cannot be closed, Docker does not start",
        judge: refused,
    },
    Scenario {
        name: packaged::NAME,
        about: "n7, f23, f27: installed, killed, frozen, upgraded, rebooted: nothing forbidden leaves until the purge",
        judge: packaged::judge,
    },
];

/// What a machine said, and what was on its uplink.
struct Seen {
    /// Words after `E2E` by the first of them, from the last boot.
    said: BTreeMap<String, String>,
    /// When the daemon said that it enforces, in seconds since the epoch.
    enforcing: Vec<f64>,
    uplink: pcap::Uplink,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let known = |name: &String| SCENARIOS.iter().any(|scenario| scenario.name == name);
    if let Some(unknown) = arguments.scenarios.iter().find(|name| !known(name)) {
        bail!("no such scenario: {unknown}");
    }
    let wanted = |name: &str| {
        arguments.scenarios.is_empty() || arguments.scenarios.iter().any(|wanted| wanted == name)
    };
    for line in boots(workspace, &arguments.kernels, arguments.guests, wanted)? {
        println!("{line}");
    }
    Ok(())
}

/// Runs scenarios under each kernel; one closing line for each.
pub(crate) fn boots(
    workspace: &Workspace,
    kernels: &[String],
    guests: u32,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<String>> {
    require_root("vm systemd", "installs Debian into a directory")?;
    let is_packaged = wanted(packaged::NAME);
    let next = is_packaged.then(|| build::other_release(workspace)).transpose()?;
    succeed(workspace.cargo(["build", "--bin", "enforcer"]).args(HOST))?;
    let vm = workspace.target.join("vm");
    let directory = vm.join("systemd");
    fs::create_dir_all(&directory)?;
    let releases = next.map(|next| packaged::releases(workspace, &next, &directory)).transpose()?;
    let mut lines = Vec::new();
    for series in kernels {
        let kernel = Kernel::fetch(series, &vm)?;
        let initramfs = directory.join(format!("initramfs-{series}.gz"));
        image::write_initramfs(workspace, &directory, &kernel, &initramfs)?;
        let machine = Machine {
            kernel: &kernel,
            initramfs,
            disk: PathBuf::new(),
            guests,
            directory: &directory,
            releases: releases.as_deref(),
        };
        let machine = machine.with_disk(workspace)?;
        for scenario in SCENARIOS.iter().filter(|scenario| wanted(scenario.name)) {
            let start = Instant::now();
            let seen = machine.boot(scenario.name, true)?;
            (scenario.judge)(&seen, guests)
                .with_context(|| format!("{}: {:?}", scenario.name, seen.said))
                .with_context(|| format!("{} under {}", scenario.about, kernel.package))?;
            let (before, after) = seen.around_enforcing();
            lines.push(format!(
                "kernel {series}, {guests} guests: {} ({} frames of guests before \"enforcing\", {} \
                 after, {} of others; {} s)",
                scenario.about,
                before,
                after,
                seen.uplink.others.len(),
                start.elapsed().as_secs()
            ));
            lines.extend(seen.uplink.steps.iter().map(|step| format!("  {step}")));
        }
    }
    Ok(lines)
}

struct Machine<'a> {
    kernel: &'a Kernel,
    initramfs: PathBuf,
    disk: PathBuf,
    guests: u32,
    directory: &'a Path,
    /// An archive of packages, for the scenario that installs them.
    releases: Option<&'a Path>,
}

impl Machine<'_> {
    /// Makes the disk with its containers, at most once for a kernel and a number of guests.
    fn with_disk(mut self, workspace: &Workspace) -> Result<Self> {
        let series = format!("{}-{}-", self.kernel.package, self.guests);
        let name = format!("{series}{:x}.ext4", image::key(workspace)?);
        for entry in fs::read_dir(self.directory)? {
            let entry = entry?;
            let old = entry.file_name().to_string_lossy().into_owned();
            if old.starts_with(&series) && old != name {
                fs::remove_file(entry.path())?;
            }
        }
        let disk = self.directory.join(name);
        if !disk.exists() {
            let start = Instant::now();
            self.disk = disk.with_extension("partial");
            image::write_disk(workspace, self.directory, self.kernel, &self.disk)?;
            let seen = self.boot("prepare", false)?;
            ensure!(seen.says("done", ""), "the containers could not be made: {:?}", seen.said);
            fs::rename(&self.disk, &disk)?;
            println!("made the machine's disk in {} s", start.elapsed().as_secs());
        }
        self.disk = disk;
        Ok(self)
    }

    /// Runs it until it turns itself off. What it writes is kept only when it prepares the disk.
    fn boot(&self, scenario: &str, forget: bool) -> Result<Seen> {
        let capture = self.directory.join(format!("{scenario}.pcap"));
        let _absent = fs::remove_file(&capture);
        let releases = self.releases.filter(|_| scenario == packaged::NAME);
        let visitors = packaged::Visitors::come(releases.is_some())?;
        let mut qemu = Command::new("timeout");
        qemu.args([SECONDS, "qemu-system-x86_64", "-nographic"])
            .args(EMULATION)
            .args(["-smp", "2", "-m", "2048"])
            .arg("-kernel")
            .arg(&self.kernel.image)
            .arg("-initrd")
            .arg(&self.initramfs)
            .arg("-drive")
            .arg(format!(
                "file={},if=virtio,format=raw,cache=unsafe,snapshot={}",
                self.disk.display(),
                if forget { "on" } else { "off" }
            ))
            // Answers ARP as a router does, and forwards nothing but what visitors ask.
            .args(["-device", "virtio-net-pci,netdev=up", "-netdev"])
            .arg(format!("user,id=up,restrict=on{}", visitors.forward()))
            .arg("-object")
            .arg(format!("filter-dump,id=dump,netdev=up,file={}", capture.display()))
            .arg("-append")
            .arg(format!(
                "console=ttyS0 quiet panic=-1 net.ifnames=0 mitigations=off apparmor=0 selinux=0 \
                 audit=0 lsm=lockdown,capability,landlock,bpf \
                 scenario={scenario} guests={}",
                self.guests
            ))
            .stdin(Stdio::null());
        if let Some(archive) = releases {
            let archive = archive.display();
            qemu.args(["-drive", &format!("file={archive},if=virtio,format=raw,readonly=on")]);
        }
        let (mut said, mut enforcing) = (BTreeMap::new(), Vec::new());
        succeed_watched(&mut qemu, |line| {
            if let Some((_, words)) = line.split_once("E2E ") {
                let (word, rest) = words.split_once(' ').unwrap_or((words, ""));
                said.insert(word.to_owned(), rest.to_owned());
            }
            if line.contains(ENFORCING) {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                enforcing.push(now.as_secs_f64());
            }
        })?;
        Ok(Seen { said, enforcing, uplink: pcap::read(&capture)? })
    }
}

impl Seen {
    fn says(&self, word: &str, rest: &str) -> bool {
        self.said.get(word).is_some_and(|said| said == rest)
    }

    /// Frames of guests before the last "enforcing", and after it.
    fn around_enforcing(&self) -> (usize, usize) {
        let last = self.enforcing.last().copied().unwrap_or(f64::INFINITY);
        let before = self.uplink.guests.iter().filter(|at| **at < last).count();
        (before, self.uplink.guests.len() - before)
    }

    fn number(&self, word: &str) -> Result<u32> {
        let said = self.said.get(word).with_context(|| format!("it does not say {word:?}"))?;
        Ok(said.split(' ').next().unwrap_or_default().parse()?)
    }

    /// The capture works and Docker's other containers have their network.
    fn others_are_well(&self) -> Result<()> {
        ensure!(!self.uplink.others.is_empty(), "no frame of another network's container was seen");
        Ok(())
    }

    fn guests_are_silent(&self) -> Result<()> {
        let (before, after) = self.around_enforcing();
        ensure!(before + after == 0, "{before} frames before \"enforcing\", {after} after");
        ensure!(self.number("heard")? == 0, "guests hear one another");
        Ok(())
    }

    fn all_run(&self, guests: u32) -> Result<()> {
        ensure!(self.said.contains_key("done"), "it did not come to its end");
        ensure!(self.number("running")? == guests + 1, "not every container runs");
        Ok(())
    }

    fn closed(&self, word: &str) -> Result<()> {
        let said = self.said.get("running").context("it does not say what runs")?;
        ensure!(said.contains(word), "not {word:?}");
        Ok(())
    }
}

/// The beacons are real: unprotected, all of it arrives.
fn absent(seen: &Seen, guests: u32) -> Result<()> {
    seen.all_run(guests)?;
    seen.others_are_well()?;
    ensure!(!seen.uplink.guests.is_empty(), "no guest's frame was seen");
    ensure!(seen.number("heard")? > 0, "no guest heard another");
    ensure!(seen.number("answers")? == guests, "the host does not reach every guest");
    Ok(())
}

fn policed(seen: &Seen, guests: u32) -> Result<()> {
    ensure!(seen.number("boot")? == 2, "it was not reset");
    enforced_twice(seen, guests)
}

fn frozen(seen: &Seen, guests: u32) -> Result<()> {
    ensure!(seen.number("boot")? == 1, "it was reset");
    ensure!(seen.number("restarts")? == 1, "the watchdog did not replace it");
    enforced_twice(seen, guests)
}

/// By two daemons, one after the other.
fn enforced_twice(seen: &Seen, guests: u32) -> Result<()> {
    ensure!(seen.enforcing.len() == 2, "\"enforcing\" {} times", seen.enforcing.len());
    seen.all_run(guests)?;
    seen.closed("enforcer active closed active")?;
    seen.others_are_well()?;
    seen.guests_are_silent()?;
    ensure!(seen.number("answers")? == guests, "the host does not reach every guest");
    ensure!(seen.number("status")? == 0, "status does not say that everything is enforced");
    Ok(())
}

fn failing(seen: &Seen, guests: u32) -> Result<()> {
    ensure!(seen.enforcing.is_empty(), "it enforces");
    seen.all_run(guests)?;
    seen.closed("closed active")?;
    seen.others_are_well()?;
    seen.guests_are_silent()?;
    ensure!(seen.number("answers")? == 0, "the host reaches a guest");
    ensure!(seen.number("table")? > 0, "the closure counted no frame of a guest");
    Ok(())
}

fn refused(seen: &Seen, _: u32) -> Result<()> {
    ensure!(seen.said.contains_key("done"), "it did not come to its end");
    seen.closed("closed failed")?;
    ensure!(seen.number("running")? == 0, "containers run");
    seen.guests_are_silent()?;
    ensure!(seen.uplink.others.is_empty(), "Docker runs");
    Ok(())
}
