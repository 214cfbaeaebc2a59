//! `package`: a Debian package and a tarball, of one tree that is laid out first.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    build,
    workspace::{Workspace, output, succeed},
};

/// Documents beside the program, and directories of them; all at the same place below the package's own directory, so
/// that what they link to is there.
const DOCUMENTS: [&str; 11] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "LICENSE-APACHE",
    "LIMITATIONS.md",
    "README.md",
    "SPECIFICATION.md",
    "THREAT-MODEL.md",
    "docs",
    "examples",
    "integrations",
    "packaging",
];
/// What programs leave in such directories.
const LEFT: [&str; 2] = ["__pycache__", "build"];
/// Versions of the packages that a machine is given one after the other.
pub(crate) const FIRST_RELEASE: &str = "0.1.0-1";
pub(crate) const NEXT_RELEASE: &str = "0.2.0-1";
const UNITS: [&str; 2] = ["enforcer.service", "enforcer-closed.service"];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// For tests, two packages of the debug build: it is there already, and has switches that no host should have
    #[arg(long)]
    debug: bool,
    #[command(flatten)]
    build: build::Arguments,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let made = if arguments.debug {
        debug(workspace)?.into()
    } else {
        build::run(workspace, &arguments.build)?;
        let to = workspace.target.join("package");
        let root = lay_out(workspace, &workspace.target.join("release/enforcer"))?;
        vec![deb(workspace, &["--deb-revision", "1"], &to)?, tarball(workspace, &root, &to)?]
    };
    for path in made {
        println!("{}", path.display());
    }
    Ok(())
}

/// Two packages of the debug build, the second of them a later revision, in a directory of their own: none is to be
/// taken for another.
pub(crate) fn debug(workspace: &Workspace) -> Result<[PathBuf; 2]> {
    // All of them: another choice of packages would compile the dependencies with other features.
    let host = ["build", "--workspace", "--exclude", "enforcer-ebpf", "--bin", "enforcer"];
    succeed(&mut workspace.cargo(host))?;
    lay_out(workspace, &workspace.target.join("debug/enforcer"))?;
    let to = workspace.target.join("package/debug");
    let named = |revision| deb(workspace, &["--fast", "--deb-revision", revision], &to);
    Ok([named("1")?, named("2")?])
}

/// For a machine of their own, two releases: the debug build, and `next`, whose maps have another layout and which has
/// a later version.
pub(crate) fn releases(workspace: &Workspace, next: &Path) -> Result<[PathBuf; 2]> {
    let to = workspace.target.join("package/releases");
    lay_out(workspace, &workspace.target.join("debug/enforcer"))?;
    let first = deb(workspace, &["--fast", "--deb-version", FIRST_RELEASE], &to)?;
    lay_out(workspace, next)?;
    let second = deb(workspace, &["--fast", "--deb-version", NEXT_RELEASE], &to)?;
    Ok([first, second])
}

/// Everything where it belongs on a host, with this binary; where that is.
fn lay_out(workspace: &Workspace, built: &Path) -> Result<PathBuf> {
    // The package's list of files names it.
    ensure!(
        workspace.target == workspace.root.join("target"),
        "packages are made below target: unset CARGO_TARGET_DIR"
    );
    let root = workspace.target.join("package/root");
    let _absent = fs::remove_dir_all(&root);
    let (units, share) = (root.join("usr/lib/systemd/system"), root.join("usr/share"));
    let documents = share.join("doc/enforcer");
    for at in [&root.join("usr/bin"), &units, &documents] {
        fs::create_dir_all(at)?;
    }
    let binary = root.join("usr/bin/enforcer");
    succeed(Command::new("strip").arg("-o").arg(&binary).arg(built))?;
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755))?;
    succeed(Command::new(&binary).arg("manual").arg(&share))?;
    for section in ["man/man1", "man/man5"] {
        for page in fs::read_dir(share.join(section))? {
            succeed(Command::new("gzip").arg("-9n").arg(page?.path()))?;
        }
    }
    let source = |path: &str| workspace.root.join(path);
    for unit in UNITS {
        fs::copy(source("packaging/systemd").join(unit), units.join(unit))?;
    }
    for dir in ["tmpfiles.d", "sysusers.d"] {
        let to = root.join("usr/lib").join(dir);
        fs::create_dir_all(&to)?;
        fs::copy(source("packaging").join(dir).join("enforcer.conf"), to.join("enforcer.conf"))?;
    }
    document(&workspace.root, &documents)?;
    Ok(root)
}

/// All documents below `root`, to a directory.
fn document(root: &Path, to: &Path) -> Result<()> {
    DOCUMENTS.iter().try_for_each(|path| copy(&root.join(path), &to.join(path)))
}

/// A file, or a directory with what is in it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_left = LEFT.iter().any(|left| name == *left);
        if !is_left && !name.to_string_lossy().ends_with(".egg-info") {
            copy(&entry.path(), &to.join(&name))?;
        }
    }
    Ok(())
}

/// By cargo-deb, whose part is the list of files, the dependencies on libraries, and the archive; with `more` of its
/// options, one of which tells packages apart.
fn deb(workspace: &Workspace, more: &[&str], to: &Path) -> Result<PathBuf> {
    fs::create_dir_all(to)?;
    let own = workspace.target.join("tools/bin/cargo-deb");
    let mut cargo_deb = workspace.command(if own.exists() { own } else { "cargo-deb".into() });
    cargo_deb.args(["--package", "enforcer", "--no-build", "--no-strip", "--quiet"]);
    cargo_deb.args(more).arg("--output").arg(to);
    let made = output(&mut cargo_deb).context("./x package installs cargo-deb")?;
    let path = made.lines().last().context("cargo-deb does not say what it made")?;
    Ok(path.trim().into())
}

/// The same tree, for other distributions.
fn tarball(workspace: &Workspace, root: &Path, to: &Path) -> Result<PathBuf> {
    let name = format!("enforcer-{}-x86_64-linux-gnu", env!("CARGO_PKG_VERSION"));
    let path = to.join(format!("{name}.tar.gz"));
    let mut tar = workspace.command("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner"]);
    tar.arg(format!("--transform=s,^[.],{name},"))
        .arg("-czf")
        .arg(&path)
        .arg("-C")
        .arg(root)
        .arg(".");
    succeed(&mut tar)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files and directories that a document links to, other than by address.
    fn links(document: &str) -> Vec<&str> {
        let targets = document.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        targets.filter(|target| !target.is_empty() && !target.contains("://")).collect()
    }

    #[test]
    fn f23_what_documents_of_the_package_link_to_is_in_it() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let to = std::env::temp_dir().join(format!("enforcer-documents-{}", std::process::id()));
        fs::create_dir_all(&to).expect("made");
        document(&root, &to).expect("copied");
        let read = ["README.md", "docs/guide.md", "integrations/jupyterhub/README.md"];
        let missing = |path: &&str| {
            let text = fs::read_to_string(to.join(path)).expect(path);
            let from = to.join(path);
            let dir = from.parent().expect("a directory");
            let all = links(&text);
            assert!(!all.is_empty(), "{path} has no links");
            all.iter()
                .filter(|link| !dir.join(link).exists())
                .map(|link| (*link).to_owned())
                .collect::<Vec<_>>()
        };
        let missing: Vec<String> = read.iter().flat_map(missing).collect();
        let hub = to.join("integrations/jupyterhub/jupyterhub_config.py").is_file();
        fs::remove_dir_all(&to).expect("removed");
        assert!(missing.is_empty() && hub, "{missing:?}");
        assert_eq!(links("[a](b.md#c) [d](https://e) [f](#g)"), ["b.md"]);
    }
}
