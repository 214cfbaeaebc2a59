//! The Python package for hubs, with a real JupyterHub and DockerSpawner beside it: its own tests.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::server::{self, VERSIONS};

#[test]
fn the_package_passes_its_own_tests_beside_a_real_spawner() -> Result<()> {
    // SAFETY: takes nothing.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: needs root, as the others here");
        return Ok(());
    }
    let package = concat!(env!("CARGO_MANIFEST_DIR"), "/../integrations/jupyterhub");
    let installed = server::install(VERSIONS[1])?;
    let mut python = Command::new(installed.join("bin/python"));
    python.args(["-B", "-m", "unittest"]);
    python.args(["tests.test_client", "tests.test_deployment", "tests.test_spawner"]);
    let output = python.current_dir(package).output().context("python")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && !said.contains("skipped"), "{said}");
    Ok(())
}
