//! `vm`: runs one test binary as the only program of a virtual machine, under Debian's kernels.
//! The binary says `RESULT ok` when all went well; nothing else counts as success.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    verifier::{self, Counts},
    workspace::{Workspace, output, succeed, succeed_watched},
};

mod initramfs;
mod kernel;
pub(crate) mod systemd;

use kernel::Kernel;

/// The kernel series that are tested: the oldest supported one and the one of Debian 13.
pub(crate) const KERNELS: [&str; 2] = ["6.1", "6.12"];

/// The host's own triple, named so that `crt-static` does not reach proc macros.
const STATIC_TARGET: &str = "x86_64-unknown-linux-gnu";

/// Emulation is slow, a hung kernel slower.
const SECONDS: &str = "420";

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    other: Option<Other>,
    /// A kernel series; may be repeated
    #[arg(long = "kernel", default_values_t = KERNELS.map(str::to_owned))]
    kernels: Vec<String>,
    /// Only the tests of one of the boots; compares no instructions
    #[arg(long)]
    only: Option<Boot>,
    /// Write these kernels' columns of the table of verified instructions instead of comparing
    #[arg(long)]
    write: bool,
    /// The binary, with the libraries that it needs [default: `vmtest` of the tests crate, built now]
    binary: Option<PathBuf>,
}

#[derive(clap::Subcommand)]
enum Other {
    /// Boot systemd, dockerd and guests that call home; reset it; see what left (root)
    Systemd(systemd::Arguments),
}

/// One start of a kernel, and what is tested under it.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Boot {
    /// The packet path, and what goes with it.
    Packets,
    /// Unix sockets, which BPF programs guard.
    Sockets,
    /// The same where the kernel runs no BPF program as a security module.
    NoBpfLsm,
}

impl Boot {
    pub(crate) const ALL: [Self; 3] = [Self::Packets, Self::Sockets, Self::NoBpfLsm];

    /// What it adds to the kernel's command line. A word that the kernel does not know becomes a variable
    /// of the first process.
    const fn words(self) -> &'static str {
        match self {
            Self::Packets => "lsm=lockdown,capability,landlock,bpf",
            Self::Sockets => "lsm=lockdown,capability,landlock,bpf ENFORCER_TEST_ONLY=sockets",
            Self::NoBpfLsm => "lsm=lockdown,capability,landlock ENFORCER_TEST_ONLY=sockets",
        }
    }
}

/// What to do with the instructions that a kernel's verifier counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verified {
    /// Compare them with the table.
    Compare,
    /// Write them into it.
    Write,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    if let Some(Other::Systemd(arguments)) = &arguments.other {
        return systemd::run(workspace, arguments);
    }
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => build_test_binary(workspace)?,
    };
    let verified = if arguments.write { Verified::Write } else { Verified::Compare };
    let boots = arguments.only.as_ref().map_or(&Boot::ALL[..], std::slice::from_ref);
    for line in under_each_kernel(workspace, &binary, (&arguments.kernels, boots), verified)? {
        println!("{line}");
    }
    Ok(())
}

/// Builds `vmtest`.
fn build_test_binary(workspace: &Workspace) -> Result<PathBuf> {
    let mut cargo = workspace.cargo(["build", "--package", "enforcer-tests"]);
    succeed(cargo.args(["--bin", "vmtest"]))?;
    Ok(workspace.target.join("debug/vmtest"))
}

/// Builds the actor as tests do on first use: one static binary, for guests that hold nothing else.
pub(crate) fn build_actor(workspace: &Workspace) -> Result<PathBuf> {
    let target = workspace.target.join("debug/static-actor");
    let mut cargo = workspace.cargo(["build", "--release", "--package", "enforcer-actor"]);
    cargo
        .args(["--bin", "actor", "--target", STATIC_TARGET])
        .env("RUSTFLAGS", "-C target-feature=+crt-static -C strip=symbols")
        .env("CARGO_TARGET_DIR", &target);
    succeed(&mut cargo)?;
    Ok(target.join(STATIC_TARGET).join("release/actor"))
}

/// Runs `binary` under each kernel; one closing line for each.
pub(crate) fn under_each_kernel(
    workspace: &Workspace,
    binary: &Path,
    (series, boots): (&[String], &[Boot]),
    verified: Verified,
) -> Result<Vec<String>> {
    let directory = workspace.target.join("vm");
    fs::create_dir_all(&directory)?;
    let mut lines = Vec::new();
    for series in series {
        let kernel = Kernel::fetch(series, &directory)?;
        let image = directory.join(format!("initramfs-{series}.gz"));
        initramfs::write(&image, &kernel, binary)?;
        for kind in boots {
            let (tests, counted) = boot(&kernel, &image, kind.words())
                .with_context(|| format!("under {}", kernel.package))?;
            lines.push(format!("kernel {series}: {tests}"));
            match verified {
                // The others load some of the programs.
                _ if *kind != Boot::Packets => {}
                Verified::Compare => verifier::compare(workspace, series, &counted)?,
                Verified::Write => verifier::write(workspace, series, &counted)?,
            }
        }
    }
    Ok(lines)
}

/// Emulated even where KVM is offered: inside another virtual machine it may hang. An old processor
/// is the faster one, because vector instructions and mitigations are emulated, and the safer one:
/// with all that QEMU 7.2 can emulate, a guest was seen to take a pointer for its flags and to panic.
const EMULATION: [&str; 4] = ["-accel", "tcg,thread=multi", "-cpu", "Nehalem"];

/// Boots once; the last line of the binary's test runner, and what the verifier counted.
fn boot(kernel: &Kernel, image: &Path, words: &str) -> Result<(String, Counts)> {
    let mut qemu = Command::new("timeout");
    qemu.args([SECONDS, "qemu-system-x86_64", "-nographic", "-no-reboot"])
        .args(EMULATION)
        .args(["-smp", "2", "-m", "1024", "-nic", "none"])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(image)
        .arg("-append")
        .arg(format!("console=ttyS0 quiet panic=-1 mitigations=off {words}"))
        .stdin(std::process::Stdio::null());
    let mut passed = false;
    let mut tests = "RESULT ok".to_owned();
    let mut counted = Counts::new();
    succeed_watched(&mut qemu, |line| {
        passed |= line == "RESULT ok";
        if line.starts_with("test result: ") {
            line.clone_into(&mut tests);
        }
        counted.extend(line.strip_prefix("verified ").and_then(|rest| {
            let (program, count) = rest.split_once(' ')?;
            Some((program.to_owned(), count.parse().ok()?))
        }));
    })?;
    if !passed {
        bail!("the test binary did not say RESULT ok");
    }
    Ok((tests, counted))
}

/// Text that `apt-cache` prints about `package`.
fn apt_cache(verb: &str, package: &str) -> Result<String> {
    output(Command::new("apt-cache").args([verb, package]))
}
