//! Builds the eBPF programs and leaves them in `$OUT_DIR/enforcer-ebpf.o` for the loader to embed.
//! `ENFORCER_BPF_OBJECT=path` embeds a ready object instead, without any eBPF tool chain.

#[path = "build/toolchain.rs"]
mod toolchain;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use toolchain::{CHOICE, Toolchain};

const READY_OBJECT: &str = "ENFORCER_BPF_OBJECT";

/// What changes the object; paths are relative to this package.
const SOURCES: [&str; 4] =
    ["../Cargo.toml", "../Cargo.lock", "../enforcer-common", "../enforcer-ebpf"];

/// Features that this package hands on to the eBPF programs, and how cargo tells of them.
const FEATURES: [(&str, &str); 2] =
    [("bpf-log", "CARGO_FEATURE_BPF_LOG"), ("other-layout", "CARGO_FEATURE_OTHER_LAYOUT")];

fn main() -> ExitCode {
    for variable in [READY_OBJECT, CHOICE] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    match embed() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            for line in message.lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn embed() -> Result<(), String> {
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let object = match env::var_os(READY_OBJECT) {
        Some(path) => {
            println!("cargo::rerun-if-changed={}", Path::new(&path).display());
            PathBuf::from(path)
        }
        None => build(&out_dir)?,
    };
    fs::copy(&object, out_dir.join("enforcer-ebpf.o"))
        .map(drop)
        .map_err(|error| format!("cannot copy {}: {error}", object.display()))
}

fn build(out_dir: &Path) -> Result<PathBuf, String> {
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    let target_dir = target_dir(out_dir);
    let toolchain = Toolchain::find(target_dir)?;
    println!("cargo::rerun-if-changed={}", toolchain.linker.display());

    let mut cargo = toolchain.cargo("build", target_dir);
    for (feature, variable) in FEATURES {
        if env::var_os(variable).is_some() {
            cargo.args(["--features", feature]);
        }
    }
    let status = cargo.status().map_err(|error| format!("cannot run {cargo:?}: {error}"))?;
    if !status.success() {
        return Err(format!("the eBPF programs do not build with {}: {status}", toolchain.core));
    }
    Ok(toolchain.object(target_dir))
}

/// The target directory around `OUT_DIR`: checks, tests and release builds share one eBPF build.
/// Cargo has no variable for it; it lays out `target/[TRIPLE/]PROFILE/build/PACKAGE/out`.
fn target_dir(out_dir: &Path) -> &Path {
    let around = out_dir.ancestors().nth(4).unwrap_or(out_dir);
    match around.parent() {
        Some(parent) if around.file_name() == env::var_os("TARGET").as_deref() => parent,
        _ => around,
    }
}
