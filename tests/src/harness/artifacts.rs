//! The programs that tests start: the static actor and the daemon.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context as _, Result, ensure};

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The static actor: `ENFORCER_ACTOR`, else built on first use.
pub fn actor() -> Result<PathBuf> {
    static ACTOR: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = ACTOR.get() {
        return Ok(path.clone());
    }
    let path = match std::env::var_os("ENFORCER_ACTOR") {
        Some(path) => PathBuf::from(path),
        None => build_actor()?,
    };
    ensure!(path.exists(), "no actor at {}", path.display());
    Ok(ACTOR.get_or_init(|| path).clone())
}

/// The daemon: `ENFORCER_BIN`, else the one beside this test; `None`: not built.
#[must_use]
pub fn enforcer() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("ENFORCER_BIN") {
        return Some(PathBuf::from(path));
    }
    let path = profile_dir()?.join("enforcer");
    path.exists().then_some(path)
}

/// The daemon of another release, whose maps have another layout: `ENFORCER_OTHER_BIN`.
#[must_use]
pub fn other_enforcer() -> Option<PathBuf> {
    std::env::var_os("ENFORCER_OTHER_BIN").map(PathBuf::from)
}

fn build_actor() -> Result<PathBuf> {
    // A target directory of its own: cargo may hold the lock on the other while tests run.
    let target = profile_dir().context("where this program lies")?.join("static-actor");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--release", "--bin", "actor"])
        .args(["--target", TARGET, "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("actor/Cargo.toml"))
        .env("RUSTFLAGS", "-C target-feature=+crt-static -C strip=symbols")
        .env("CARGO_TARGET_DIR", &target)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .context("run cargo")?;
    ensure!(status.success(), "cargo could not build the actor");
    Ok(target.join(TARGET).join("release/actor"))
}

/// `target/debug` or the like: where cargo put this program, without `deps`.
fn profile_dir() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let dir = program.parent()?;
    Some(if dir.ends_with("deps") { dir.parent()?.into() } else { dir.into() })
}
