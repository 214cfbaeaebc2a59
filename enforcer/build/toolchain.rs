//! Finds a compiler for the eBPF target, and makes the cargo command that uses it. Shared by the
//! build script and by `xtask`; std only, so that both compile at once.
//!
//! Stable Rust ships no `core` for `bpfel-unknown-none`. Debian does, prebuilt; a rustup nightly
//! with `rust-src` builds it. Either way LLVM of compiler and linker must be the same major.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The only target that the programs are built for.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// Environment variable that forces one tool chain.
pub(crate) const CHOICE: &str = "ENFORCER_BPF_TOOLCHAIN";

const MISSING: &str = "\
no core library for bpfel-unknown-none, the target of the eBPF programs; stable Rust has none.
Run ./x build, which installs one, or
on Debian 12: apt-get install rustc-web cargo-web libstd-rust-web-dev-bpf
elsewhere: rustup toolchain install nightly --component rust-src
Looked for:";

const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_CLIPPY: &str = "/usr/bin/cargo-clippy";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// Settings that reach a build script but were meant for the build around it.
const FOREIGN: [&str; 2] = ["RUST", "CARGO"];

/// Settings of the user that hold for every build.
const KEPT: [&str; 9] = [
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_MAKEFLAGS",
    "CARGO_NET_",
    "CARGO_REGISTR",
    "CARGO_SOURCE_",
    "CARGO_TERM_",
    "RUST_BACKTRACE",
    "RUSTUP_HOME",
];

/// Where `core` for the eBPF target comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Core {
    /// Debian's `libstd-rust-web-dev-bpf`.
    Debian,
    /// `-Z build-std` of a rustup nightly.
    Nightly,
}

impl fmt::Display for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Debian => "debian",
            Self::Nightly => "nightly",
        })
    }
}

/// A compiler and a linker that make eBPF objects.
#[derive(Clone, Debug)]
pub(crate) struct Toolchain {
    /// Where `core` comes from.
    pub(crate) core: Core,
    /// The `bpf-linker` binary.
    pub(crate) linker: PathBuf,
}

impl Toolchain {
    /// Finds both parts, or says what is missing, why it is needed and what to run.
    pub(crate) fn find(target_dir: &Path) -> Result<Self, String> {
        Ok(Self { core: find_core()?, linker: find_linker(target_dir)? })
    }

    /// `cargo VERB` on the eBPF crate, into `target_dir/bpf`, in a clean environment.
    pub(crate) fn cargo(&self, verb: &str, target_dir: &Path) -> Command {
        let mut command = match self.core {
            Core::Debian => debian(verb),
            Core::Nightly => {
                let mut command = Command::new("rustup");
                command.args(["run", "nightly", "cargo", verb]);
                clear(&mut command);
                command.arg("-Zbuild-std=core");
                command
            }
        };
        command
            .args(["--package", "enforcer-ebpf", "--target", TARGET, "--profile", "bpf"])
            // The same source gives the same bytes, whatever the directory.
            .arg("-Ztrim-paths")
            .env("CARGO_PROFILE_BPF_TRIM_PATHS", "all")
            .env("CARGO_ENCODED_RUSTFLAGS", self.flags())
            .env("CARGO_TARGET_DIR", self.output_dir(target_dir));
        command
    }

    /// The object that [`Self::cargo`] builds.
    pub(crate) fn object(&self, target_dir: &Path) -> PathBuf {
        self.output_dir(target_dir).join(TARGET).join("bpf/enforcer-ebpf")
    }

    fn flags(&self) -> String {
        [
            format!("-Clinker={}", self.linker.display()),
            "-Clink-arg=--btf".to_owned(),
            // Atomic compare-and-exchange needs v3; every kernel since 5.12 has it.
            "-Ctarget-cpu=v3".to_owned(),
        ]
        .join("\x1f")
    }

    /// Where [`Self::cargo`] builds to: one directory for each tool chain, so that they do not
    /// rebuild each other's files.
    pub(crate) fn output_dir(&self, target_dir: &Path) -> PathBuf {
        target_dir.join("bpf").join(self.core.to_string())
    }
}

fn debian(verb: &str) -> Command {
    // `cargo clippy` would look in CARGO_HOME first and find rustup's, of another version.
    let mut command = Command::new(if verb == "clippy" { DEBIAN_CLIPPY } else { DEBIAN_CARGO });
    clear(&mut command);
    command
        .arg(verb)
        .env("CARGO", DEBIAN_CARGO)
        .env("RUSTC", DEBIAN_RUSTC)
        // aya-ebpf uses one unstable feature: the assembler of the eBPF target.
        .env("RUSTC_BOOTSTRAP", "1");
    command
}

/// Removes what the cargo around this process set for its own build: the compiler wrapper of
/// clippy, flags for the host, the tool chain of `cargo +x`, the path of its libraries.
fn clear(command: &mut Command) {
    for (key, _) in env::vars_os() {
        let Some(name) = key.to_str() else { continue };
        let foreign = FOREIGN.iter().any(|prefix| name.starts_with(prefix));
        if foreign && !KEPT.iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command.env_remove("LD_LIBRARY_PATH");
}

fn find_core() -> Result<Core, String> {
    let choice = env::var(CHOICE).unwrap_or_default();
    match choice.as_str() {
        "" | "debian" if debian_has_core() => Ok(Core::Debian),
        "" | "nightly" if nightly_has_source() => Ok(Core::Nightly),
        "" | "debian" | "nightly" => Err(format!("{MISSING} {CHOICE}={choice}")),
        other => Err(format!("{CHOICE}={other}: expected debian or nightly")),
    }
}

fn debian_has_core() -> bool {
    Path::new(DEBIAN_CARGO).exists()
        && sysroot(&mut Command::new(DEBIAN_RUSTC))
            .is_some_and(|root| root.join("lib/rustlib").join(TARGET).is_dir())
}

fn nightly_has_source() -> bool {
    sysroot(Command::new("rustup").args(["run", "nightly", "rustc"]))
        .is_some_and(|root| root.join("lib/rustlib/src/rust/library/core").is_dir())
}

fn sysroot(rustc: &mut Command) -> Option<PathBuf> {
    clear(rustc);
    let output = rustc.args(["--print", "sysroot"]).stderr(Stdio::null()).output().ok()?;
    let root = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(root.trim()))
}

fn find_linker(target_dir: &Path) -> Result<PathBuf, String> {
    let on_path = env::var_os("PATH").map(|path| env::split_paths(&path).collect::<Vec<_>>());
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let places = [target_dir.join("tools/bin")]
        .into_iter()
        .chain(on_path.unwrap_or_default())
        .chain(cargo_home.map(|home| home.join("bin")));
    places.map(|place| place.join("bpf-linker")).find(|linker| linker.is_file()).ok_or_else(|| {
        format!(
            "no bpf-linker, which turns LLVM bitcode into an eBPF object. Run ./x build, or:\n\
             LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker@0.13.0 --locked \
             --no-default-features --features llvm-22 --root {}",
            target_dir.join("tools").display()
        )
    })
}
