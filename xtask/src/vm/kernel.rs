//! Debian's cloud kernels: found through meta packages, as exact builds leave the archive.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::apt_cache;
use crate::workspace::{output, succeed};

/// An unpacked kernel package.
pub(crate) struct Kernel {
    /// Its name, which holds the release.
    pub(crate) package: String,
    /// The bootable image.
    pub(crate) image: PathBuf,
    /// Files of all modules by name.
    pub(crate) modules: BTreeMap<String, PathBuf>,
}

impl Kernel {
    /// Unpacks the newest kernel of `series` below `directory`, downloading it at most once.
    pub(crate) fn fetch(series: &str, directory: &Path) -> Result<Self> {
        let package = newest(series)?;
        let unpacked = directory.join(&package);
        if !unpacked.exists() {
            download(&package, directory, &unpacked)?;
        }
        let boot = fs::read_dir(unpacked.join("boot"))?;
        let image = boot
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| {
                path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"vmlinuz"))
            })
            .with_context(|| format!("{package} holds no vmlinuz"))?;
        let mut modules = BTreeMap::new();
        collect_modules(&unpacked, &mut modules)?;
        Ok(Self { package, image, modules })
    }
}

impl Kernel {
    /// The directory of its modules.
    pub(crate) fn modules_directory(&self) -> Result<PathBuf> {
        let (_, module) = self.modules.first_key_value().context("a kernel without modules")?;
        let ancestor =
            module.ancestors().find(|at| at.parent().is_some_and(|p| p.ends_with("modules")));
        Ok(ancestor.with_context(|| format!("{} has no modules", self.package))?.to_owned())
    }

    /// What `uname -r` says under it.
    pub(crate) fn release(&self) -> Result<String> {
        let directory = self.modules_directory()?;
        Ok(directory.file_name().context("no release")?.to_string_lossy().into_owned())
    }
}

/// The package that a meta package of this or the next Debian release points to.
fn newest(series: &str) -> Result<String> {
    let wanted = format!("linux-image-{series}.");
    for meta in ["linux-image-cloud-amd64".to_owned(), format!("linux-image-{series}-cloud-amd64")]
    {
        let found = apt_cache("depends", &meta).unwrap_or_default().lines().find_map(|line| {
            let package = line.trim().strip_prefix("Depends: ")?;
            package.starts_with(&wanted).then(|| package.to_owned())
        });
        if let Some(package) = found {
            return Ok(package);
        }
    }
    bail!(
        "apt knows no cloud kernel {series}: run apt-get update; Debian 12 has 6.1 and 6.12, other \
         releases may have only one of them (choose with --kernel)"
    )
}

fn download(package: &str, directory: &Path, unpacked: &Path) -> Result<()> {
    println!("downloading {package}");
    let debs = directory.join("download");
    let _absent = fs::remove_dir_all(&debs);
    fs::create_dir_all(&debs)?;
    output(Command::new("apt-get").args(["-q", "download", package]).current_dir(&debs))?;
    let deb = fs::read_dir(&debs)?.next().context("apt-get downloaded nothing")??.path();
    let partial = debs.join("unpacked");
    succeed(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&partial))?;
    // Renamed last, so that what has its name is whole.
    fs::rename(&partial, unpacked)?;
    fs::remove_dir_all(&debs)?;
    Ok(())
}

fn collect_modules(directory: &Path, modules: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            collect_modules(&path, modules)?;
        } else if let Some((name, _)) = entry.file_name().to_string_lossy().split_once(".ko") {
            modules.insert(name.replace('-', "_"), path);
        }
    }
    Ok(())
}
