//! The machine's disk: Debian with systemd and dockerd, and its containers, made once; and the
//! initramfs, which brings what is tested: binary, units, config.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::super::{build_actor, initramfs, kernel::Kernel};
use crate::workspace::{Workspace, output, succeed};

/// The oldest Debian that is supported; its dockerd is the oldest, too.
const SUITE: &str = "bookworm";
const PREPARE: &str = include_str!("prepare.sh");
const PACKAGES: &str = "systemd,systemd-sysv,udev,dbus,kmod,iproute2,iptables,nftables,docker.io,\
                        busybox-static,systemd-timesyncd";
/// What the machine needs to find its disk; everything else is loaded from there.
const MODULES: [&str; 5] = ["virtio_pci", "virtio_blk", "crc32c_generic", "crc32c", "ext4"];
/// Units of Debian's that only take time.
const MASKED: [&str; 8] = [
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "systemd-timesyncd.service",
];

/// Debian's root, from its archive at most once.
fn debian(directory: &Path) -> Result<PathBuf> {
    let root = directory.join(format!("debian-{SUITE}"));
    if !root.exists() {
        println!("installing Debian {SUITE} for the machine");
        let partial = root.with_extension("partial");
        let _absent = fs::remove_dir_all(&partial);
        let mut debootstrap = Command::new("debootstrap");
        debootstrap.args(["--variant=minbase", &format!("--include={PACKAGES}"), SUITE]);
        output(debootstrap.arg(&partial)).context("apt-get install debootstrap")?;
        // Renamed last, so that what has its name is whole.
        fs::rename(&partial, &root)?;
    }
    Ok(root)
}

/// A number that changes with what is on the disk, so that an old one is not taken for it.
pub(super) fn key(workspace: &Workspace) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    (SUITE, PACKAGES, MASKED, PREPARE, fs::read(build_actor(workspace)?)?).hash(&mut hasher);
    Ok(hasher.finish())
}

/// A disk with Debian, the modules of `kernel` and the beacons' image, at `disk`.
pub(super) fn write_disk(
    workspace: &Workspace,
    directory: &Path,
    kernel: &Kernel,
    disk: &Path,
) -> Result<()> {
    let debian = debian(directory)?;
    let stage = directory.join("stage");
    let _absent = fs::remove_dir_all(&stage);
    succeed(Command::new("cp").args(["-a", "--reflink=auto"]).arg(&debian).arg(&stage))?;
    let release = kernel.release()?;
    let modules = stage.join("lib/modules");
    fs::create_dir_all(&modules)?;
    succeed(Command::new("cp").arg("-a").arg(kernel.modules_directory()?).arg(&modules))?;
    succeed(Command::new("chroot").arg(&stage).args(["depmod", &release]))?;
    beacons_image(workspace, &stage.join("opt/image.tar"), &directory.join("image"))?;
    for unit in MASKED {
        let at = stage.join("etc/systemd/system").join(unit);
        let _absent = fs::remove_file(&at);
        symlink("/dev/null", at)?;
    }
    fs::write(stage.join("etc/machine-id"), "0123456789abcdef0123456789abcdef\n")?;
    let _absent = fs::remove_file(disk);
    succeed(Command::new("truncate").args(["-s", "3G"]).arg(disk))?;
    output(Command::new("mkfs.ext4").arg("-q").arg("-d").arg(&stage).arg(disk))?;
    fs::remove_dir_all(&stage)?;
    Ok(())
}

/// The containers' file system: one static program.
fn beacons_image(workspace: &Workspace, tar: &Path, root: &Path) -> Result<()> {
    let _absent = fs::remove_dir_all(root);
    fs::create_dir_all(root)?;
    fs::copy(build_actor(workspace)?, root.join("actor"))?;
    fs::create_dir_all(tar.parent().context("a tar at the root")?)?;
    succeed(Command::new("tar").arg("-cf").arg(tar).arg("-C").arg(root).arg("."))
}

/// The initramfs: what is under test, and the scenario's script.
pub(super) fn write_initramfs(
    workspace: &Workspace,
    directory: &Path,
    kernel: &Kernel,
    image: &Path,
) -> Result<()> {
    let root = directory.join("initramfs");
    let _absent = fs::remove_dir_all(&root);
    for at in ["bin", "dev", "modules", "proc", "root", "sys", "tmp"] {
        fs::create_dir_all(root.join(at))?;
    }
    fs::copy("/bin/busybox", root.join("bin/busybox"))
        .context("/bin/busybox is missing: apt-get install busybox-static")?;
    script(&root.join("init"), include_str!("init.sh"))?;
    overlay(&root.join("overlay"))?;
    installed(workspace, &root.join("installed"))?;
    // The others are built in; a machine that does not find its disk would say so.
    let modules: Vec<&str> =
        MODULES.into_iter().filter(|name| kernel.modules.contains_key(*name)).collect();
    initramfs::add_modules(&modules, kernel, &root)?;
    initramfs::pack(&root, image)
}

/// What is laid over Debian's root in every scenario: the uplink, the judges, and what makes the daemon heard outside.
fn overlay(root: &Path) -> Result<()> {
    let (units, enabled) = (root.join("usr/lib/systemd/system"), root.join("etc/systemd/system"));
    for at in ["opt", "etc/systemd/journald.conf.d", "etc/systemd/system/enforcer.service.d"] {
        fs::create_dir_all(root.join(at))?;
    }
    fs::create_dir_all(&units)?;
    // The word "ready" is to be seen from outside.
    fs::write(
        enabled.join("enforcer.service.d/console.conf"),
        "[Service]\nStandardError=journal+console\n",
    )?;
    fs::write(
        root.join("etc/systemd/journald.conf.d/volatile.conf"),
        "[Journal]\nStorage=volatile\n",
    )?;
    fs::write(units.join("uplink.service"), include_str!("uplink.service"))?;
    fs::write(units.join("judge.service"), include_str!("judge.service"))?;
    script(&root.join("opt/judge.sh"), include_str!("judge.sh"))?;
    script(&root.join("opt/packaged.sh"), include_str!("packaged.sh"))?;
    fs::write(root.join("opt/enforcer.toml"), include_str!("packaged.toml"))?;
    fs::write(root.join("opt/ntp.pl"), include_str!("ntp.pl"))?;
    script(&root.join("opt/prepare.sh"), PREPARE)?;
    for unit in ["uplink.service", "judge.service"] {
        enable(&enabled, "multi-user.target.wants", unit)?;
    }
    Ok(())
}

/// Enforcer as if a package had installed it, and somebody enabled it.
fn installed(workspace: &Workspace, root: &Path) -> Result<()> {
    let (units, enabled) = (root.join("usr/lib/systemd/system"), root.join("etc/systemd/system"));
    for at in ["usr/bin", "usr/lib/tmpfiles.d", "etc/enforcer"] {
        fs::create_dir_all(root.join(at))?;
    }
    fs::create_dir_all(&units)?;
    let binary = workspace.target.join("debug/enforcer");
    succeed(Command::new("strip").arg("-o").arg(root.join("usr/bin/enforcer")).arg(&binary))?;
    let packaging = workspace.root.join("packaging");
    for unit in ["enforcer.service", "enforcer-closed.service"] {
        fs::copy(packaging.join("systemd").join(unit), units.join(unit))?;
    }
    let tmpfiles = "tmpfiles.d/enforcer.conf";
    fs::copy(packaging.join(tmpfiles), root.join("usr/lib").join(tmpfiles))?;
    let drop_in = "docker.service.d/enforcer.conf";
    fs::create_dir_all(enabled.join("docker.service.d"))?;
    fs::copy(packaging.join("systemd").join(drop_in), enabled.join(drop_in))?;
    fs::write(root.join("etc/enforcer/enforcer.toml"), include_str!("enforcer.toml"))?;
    enable(&enabled, "sysinit.target.wants", "enforcer-closed.service")?;
    enable(&enabled, "multi-user.target.wants", "enforcer.service")
}

/// As `systemctl enable` does it.
fn enable(enabled: &Path, target: &str, unit: &str) -> Result<()> {
    fs::create_dir_all(enabled.join(target))?;
    symlink(Path::new("/usr/lib/systemd/system").join(unit), enabled.join(target).join(unit))?;
    Ok(())
}

fn script(at: &Path, text: &str) -> Result<()> {
    fs::write(at, text)?;
    fs::set_permissions(at, fs::Permissions::from_mode(0o755))?;
    Ok(())
}
