//! The guests' image: real notebook servers, of the hub's own installation.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};
use bollard::{body_full, query_parameters::CreateImageOptions};
use enforcer_tests::harness::{netns::output, topology::Base};
use futures_util::TryStreamExt as _;

/// Its name.
pub const IMAGE: &str = "enforcer-test-notebook";
/// Where a notebook listens.
pub const PORT: u16 = 8888;
const FILES: &str = include_str!("image.py");

/// The guests' image with the Python of the hub, its packages and what they are linked with, where they are here.
pub fn load(base: &Base, installed: &Path) -> Result<()> {
    let files = output(Command::new(installed.join("bin/python")).args(["-c", FILES]), "image.py")?;
    let list = base.run.dir().join("files");
    fs::write(&list, files)?;
    let tar = base.run.dir().join("notebook.tar");
    let mut packing = Command::new("tar");
    packing.args(["--create", "--file"]).arg(&tar);
    packing.arg("--directory").arg(base.run.dir().join("image")).arg(".");
    packing.args(["--directory=/", "--no-recursion", "--files-from"]).arg(&list);
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
