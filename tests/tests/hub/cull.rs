//! An idle culler, and what is left of a user whom it culled.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bollard::query_parameters::ListVolumesOptions;
use enforcer_tests::harness::{dockerd::Options, http::Line, run::wait_for};

use super::site::{self, PUBLIC, Plan, Site};

const PLANS: [Plan; 1] = [Plan { authenticator: "dummy", cull_after: Some(8), ..PUBLIC }];

/// N4, S3: who does nothing is culled by the hub's own culler, through the gate: container, endpoint and user are gone, the
/// volume is there when they come back. Once the hub has it removed they begin anew.
#[test]
fn s3_an_idle_server_is_culled_and_its_volume_stays_until_it_is_reset() -> Result<()> {
    site::with(Options::default(), &PLANS, |site| {
        let written = note(site, "open('/home/work/note', 'w').write('kept')\nprint('new')")?;
        ensure!(written == "new\n", "{written}");
        culled(site)?;
        let read = note(site, "print(open('/home/work/note').read())")?;
        ensure!(read == "kept\n", "{read}");
        culled(site)?;

        let gate = Line::Here(site.gate("lab")?);
        let reset = gate.ask("DELETE", "/v1.41/volumes/jupyterhub-user-ann", None)?;
        ensure!(reset.status == 204, "{}", reset.shown());
        let volumes =
            site.base.docker.call(|client| client.list_volumes(None::<ListVolumesOptions>))?;
        let volumes = volumes.volumes;
        ensure!(volumes.is_none_or(|volumes| volumes.is_empty()), "a volume is left");
        let read = note(site, "import os\nprint(os.path.exists('/home/work/note'))")?;
        ensure!(read == "False\n", "{read}");
        Ok(())
    })
}

/// Ann comes, runs a cell, and goes without a word.
fn note(site: &Site, code: &str) -> Result<String> {
    let mut visitors = site.visitors(0)?;
    visitors.arrive_as(0, "ann")?;
    visitors.open(1)?;
    visitors.cell(0, code)
}

fn culled(site: &Site) -> Result<()> {
    let server = &site.hubs.first().context("no hub")?.server;
    wait_for("the culler", Duration::from_mins(1), || {
        let (status, said) = server.call("GET", "/users/ann", None)?;
        ensure!(status == 404, "{status}: {said}");
        Ok(Some(()))
    })?;
    let left = site.notebook("lab", "ann");
    ensure!(left.is_err(), "a culled user has a container");
    let gate = Line::Here(site.gate("lab")?);
    let listed = gate.get("GET", "/v1.41/containers/json?all=1", None)?;
    ensure!(listed.as_array().is_some_and(Vec::is_empty), "{listed}");
    wait_for("the endpoint's end", Duration::from_secs(20), || {
        let endpoints = site.daemon()?.status(&site.base.host)?["endpoints"].clone();
        ensure!(!endpoints.to_string().contains("jupyter-ann"), "{endpoints}");
        Ok(Some(()))
    })
}
