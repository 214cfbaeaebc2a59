//! The guests' image: a static busybox and the actor.

use std::{
    os::unix::fs::{PermissionsExt as _, symlink},
    path::PathBuf,
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{artifacts, netns::output, run::Run};

/// Name of the image.
pub const NAME: &str = "enforcer-test-guest";

/// The image's root file system as a tar file.
pub fn build(run: &Run) -> Result<PathBuf> {
    let root = run.make_dir("image")?;
    for dir in ["bin", "etc", "run", "tmp", "proc", "sys", "dev"] {
        std::fs::create_dir(root.join(dir))?;
    }
    install("/actor", &root.join("actor"), &artifacts::actor()?)?;
    let busybox = PathBuf::from("/bin/busybox");
    if busybox.exists() {
        install("busybox", &root.join("bin/busybox"), &busybox)?;
        for tool in ["sh", "ip", "ping", "cat", "ls", "nc", "sleep", "wget"] {
            symlink("busybox", root.join("bin").join(tool))?;
        }
    }
    let tar = run.dir().join("image.tar");
    output(Command::new("tar").arg("-cf").arg(&tar).arg("-C").arg(&root).arg("."), "tar")?;
    Ok(tar)
}

fn install(what: &str, to: &std::path::Path, from: &std::path::Path) -> Result<()> {
    std::fs::copy(from, to).with_context(|| format!("copy {what}"))?;
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}
