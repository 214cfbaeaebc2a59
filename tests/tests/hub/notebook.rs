//! The guests' image: real notebook servers, of the hub's own installation.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use bollard::{
    body_full,
    models::ContainerInspectResponse,
    query_parameters::{CreateImageOptions, ListContainersOptionsBuilder},
};
use enforcer_tests::harness::{netns::output, topology::Base};
use futures_util::TryStreamExt as _;

/// Its name.
pub const IMAGE: &str = "enforcer-test-notebook";
/// Where a notebook listens.
pub const PORT: u16 = 8888;
const FILES: &str = include_str!("image.py");

/// The guests' image with the Python of the hub, its packages and what they are linked with, where they are here.
pub fn load(base: &Base, installed: &Path) -> Result<()> {
    load_with(base, installed, &[], &[])
}

/// The same with more programs and directories, where they are here.
pub fn load_with(
    base: &Base,
    installed: &Path,
    programs: &[PathBuf],
    directories: &[PathBuf],
) -> Result<()> {
    let mut listing = Command::new(installed.join("bin/python"));
    let files = output(listing.args(["-c", FILES]).args(programs), "image.py")?;
    let list = base.run.dir().join("files");
    fs::write(&list, files)?;
    let tar = base.run.dir().join("notebook.tar");
    let mut packing = Command::new("tar");
    packing.args(["--create", "--file"]).arg(&tar);
    packing.arg("--directory").arg(base.run.dir().join("image")).arg(".");
    packing.args(["--directory=/", "--recursion"]).args(directories);
    packing.args(["--no-recursion", "--files-from"]).arg(&list);
    output(&mut packing, "tar")?;
    let bytes = fs::read(&tar)?;
    fs::remove_file(tar)?;
    let options = CreateImageOptions {
        from_src: Some("-".into()),
        repo: Some(IMAGE.into()),
        ..CreateImageOptions::default()
    };
    let loading = base.docker.call(|client| {
        client
            .create_image(Some(options), Some(body_full(bytes.into())), None)
            .try_collect::<Vec<_>>()
    });
    loading.context("load the notebook's image").map(drop)
}

/// A user's notebook as the engine itself knows it, by the hub's label and the user's.
pub fn of(base: &Base, hub: &str, user: &str) -> Result<ContainerInspectResponse> {
    let labels = vec![format!("enforcer.hub={hub}"), format!("enforcer.user={user}")];
    let filters = [("label".to_owned(), labels)].into();
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let found = base.docker.call(|client| client.list_containers(Some(options)))?;
    let [one] = found.as_slice() else { bail!("{user} of {hub} has {} containers", found.len()) };
    let id = one.id.as_deref().context("no id")?;
    base.docker.call(|client| client.inspect_container(id, None))
}
