//! The virtual machine's only file system: busybox, kernel modules, the test binary.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::kernel::Kernel;
use crate::workspace::{output, succeed};

/// What the data path and its tests use; each after what it depends on, which is added.
const MODULES: [&str; 7] = [
    "veth",
    "bridge",
    "sch_ingress",
    "cls_bpf",
    "nf_tables",
    "nft_meta_bridge",
    "nft_reject_bridge",
];

/// The one program that enforcer runs.
const NFT: &str = "/usr/sbin/nft";

const BUSYBOX: &str = "/bin/busybox";

/// Everything is mounted that a Debian host has mounted; the test binary alone judges.
const INIT: &str = "#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t securityfs securityfs /sys/kernel/security
while read -r module; do insmod \"/modules/$module\"; done < /modules/order
ip link set lo up
uname -r
ENFORCER_TEST_OWN_MACHINE=1 /test
echo \"exit status $?\"
poweroff -f
";

/// Packs `binary` and the modules of `kernel` into a compressed archive at `image`.
pub(crate) fn write(image: &Path, kernel: &Kernel, binary: &Path) -> Result<()> {
    let root = image.with_extension("root");
    let _absent = fs::remove_dir_all(&root);
    for directory in ["bin", "dev", "modules", "proc", "run", "sys", "tmp"] {
        fs::create_dir_all(root.join(directory))?;
    }
    fs::copy(BUSYBOX, root.join("bin/busybox"))
        .with_context(|| format!("{BUSYBOX} is missing: apt-get install busybox-static"))?;
    add_libraries(binary, &root)?;
    succeed(Command::new("strip").arg("-o").arg(root.join("test")).arg(binary))?;
    let init = root.join("init");
    fs::write(&init, INIT)?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;

    ensure!(Path::new(NFT).exists(), "{NFT} is missing: apt-get install nftables");
    add_libraries(Path::new(NFT), &root)?;
    copy(Path::new(NFT), &root)?;

    add_modules(&MODULES, kernel, &root)?;
    pack(&root, image)
}

/// Adds modules and the order in which to load them.
pub(crate) fn add_modules(names: &[&str], kernel: &Kernel, root: &Path) -> Result<()> {
    let mut order = Vec::new();
    for name in names {
        add_module(name, kernel, &root.join("modules"), &mut order)?;
    }
    fs::write(root.join("modules/order"), order.join("\n") + "\n")?;
    Ok(())
}

/// Packs a directory into a compressed archive at `image`, and removes it.
pub(crate) fn pack(root: &Path, image: &Path) -> Result<()> {
    let pack = "set -e; cd \"$1\"; find . | cpio --quiet -o -H newc | gzip -1 > \"$2\"";
    succeed(Command::new("sh").args(["-c", pack, "sh"]).arg(root).arg(image))?;
    fs::remove_dir_all(root)?;
    Ok(())
}

/// Adds the libraries that a program is linked with, at their own places.
fn add_libraries(program: &Path, root: &Path) -> Result<()> {
    let libraries = output(Command::new("ldd").arg(program))?;
    for file in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        copy(Path::new(file), root)?;
    }
    Ok(())
}

/// Adds a file at its own place.
fn copy(file: &Path, root: &Path) -> Result<()> {
    let place = root.join(file.strip_prefix("/").context("not an absolute path")?);
    fs::create_dir_all(place.parent().context("a file at the root")?)?;
    fs::copy(file, &place).with_context(|| format!("cannot copy {}", file.display()))?;
    Ok(())
}

/// Adds a module after those that it depends on, decompressed: busybox cannot.
fn add_module(name: &str, kernel: &Kernel, into: &Path, order: &mut Vec<String>) -> Result<()> {
    let file = format!("{name}.ko");
    if order.contains(&file) {
        return Ok(());
    }
    let Some(path) = kernel.modules.get(name) else {
        bail!("{} has no module {name}", kernel.package);
    };
    let bytes = decompressed(path)?;
    for dependency in dependencies(&bytes) {
        add_module(&dependency.replace('-', "_"), kernel, into, order)?;
    }
    fs::write(into.join(&file), bytes)?;
    order.push(file);
    Ok(())
}

fn decompressed(path: &PathBuf) -> Result<Vec<u8>> {
    if path.extension().is_some_and(|extension| extension == "ko") {
        return Ok(fs::read(path)?);
    }
    let output = Command::new("xz").arg("-dc").arg(path).output().context("cannot run xz")?;
    if !output.status.success() {
        bail!("xz cannot read {}", path.display());
    }
    Ok(output.stdout)
}

/// The `depends=a,b` entry of a module's information section.
fn dependencies(module: &[u8]) -> Vec<String> {
    let entry = module.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(b"depends="));
    let names = String::from_utf8_lossy(entry.unwrap_or_default()).into_owned();
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}
