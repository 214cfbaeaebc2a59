//! What a visitor sees, in a real browser.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::harness::{
    dockerd::Options,
    netns::output,
    topology::{UPLINK, WORLD},
};
use serde_json::Value;

use super::{
    own_spawner::PLANS,
    site::{self, PUBLIC},
};

const PROGRAM: &str = include_str!("browser.py");

/// N4: a person with a browser logs in, sees on the spawn page how far enforcer is, gets `JupyterLab`, and reads what a cell
/// printed: an answer, and a refusal. What the pages hold is what counts; pictures of them are left in `target/hub/shots`.
#[test]
fn n4_a_browser_shows_the_login_the_progress_the_notebook_and_a_cell_s_output() -> Result<()> {
    if Command::new("chromium").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "no browser: install chromium");
        eprintln!("skipped: needs chromium");
        return Ok(());
    }
    site::with(Options::default(), &PLANS, |site| {
        let shots = site.installed.with_file_name("shots");
        let profile = site.base.run.dir().join("chromium");
        let mut browser = site.base.world.command(site.installed.join("bin/python"));
        browser.args(["-c", PROGRAM]).arg(format!("http://{UPLINK}:{}/", PUBLIC.proxy.public));
        browser.arg(profile).arg(shots).arg(WORLD.to_string());
        let shown: Value = serde_json::from_str(&output(&mut browser, "the browser")?)?;
        let log = shown["log"].as_str().context("no log")?;
        for told in ["Your server's network is policed", "enforcer denied a"] {
            ensure!(log.contains(told), "{shown}");
        }
        let output = shown["output"].as_str().map(str::trim);
        ensure!(output == Some("the answer is 42\nOperation not permitted"), "{shown}");
        ensure!(
            shown["path"].as_str().is_some_and(|path| path.starts_with("/user/ann/lab")),
            "{shown}"
        );
        Ok(())
    })
}
