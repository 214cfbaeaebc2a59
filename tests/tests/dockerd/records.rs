//! The stream of records: what is in it, and who gets it.

use std::{collections::HashMap, ffi::OsStr, os::unix::ffi::OsStrExt as _, time::Duration};

use anyhow::{Context as _, Result, ensure};
use bollard::{
    models::{ContainerCreateBody, HostConfig},
    query_parameters::CreateContainerOptions,
};
use enforcer_tests::{
    harness::{
        artifacts,
        client::Actor,
        image, netns,
        run::wait_for,
        topology::{BRIDGE, GATEWAY, NETWORK},
    },
    hex,
    protocol::{Request, Sent, Serve, Served},
};
use serde_json::Value;

use crate::shared;

/// A port of A's that takes a transfer.
const SINK: u16 = 7300;

/// A1, A2: a flow's end says whose it was, who opened it, how long it lasted and what it carried.
#[test]
fn a1_the_end_of_a_flow_is_recorded_with_its_bytes() -> Result<()> {
    const BYTES: usize = 60_000;
    shared::with(|shared| {
        let rig = &shared.rig;
        let sink = rig.a.actor.listen(([0, 0, 0, 0], SINK), Serve::Sink)?;
        let host = &rig.host.actor;
        let id = host.hold(rig.a.at(SINK), 2000)?.id.context("no connection")?;
        host.call::<Sent>(&Request::Write { id, data: hex::encode(&vec![7; BYTES]) })?;
        wait_for("its bytes", Duration::from_secs(5), || {
            let served: Served = rig.a.actor.served(sink.id)?;
            Ok((served.received == BYTES as u64).then_some(()))
        })?;
        host.call::<()>(&Request::Close { id, reset: true })?;
        rig.a.actor.call::<()>(&Request::Close { id: sink.id, reset: false })?;
        // The kernel looks at it once its linger of 10 s is over; nobody asks it to.
        let record = wait_for("the flow's end", Duration::from_secs(30), || {
            Ok(shared.daemon.records().into_iter().find(|record| {
                record["event.action"] == "flow_closed" && record["destination.port"] == SINK
            }))
        })?;
        for (key, wanted) in [
            ("container.name", Value::from(&*rig.a.name)),
            ("network.name", NETWORK.into()),
            ("enforcer.cause", "closed".into()),
            ("enforcer.opener", "host".into()),
            ("source.ip", GATEWAY.to_string().into()),
            ("destination.ip", rig.a.ipv4.to_string().into()),
            ("network.iana_number", 6.into()),
        ] {
            ensure!(record[key] == wanted, "{key}: {record}");
        }
        let number = |key: &str| record[key].as_u64().unwrap_or_default();
        let (into, out) = (number("source.bytes"), number("destination.bytes"));
        // Headers of 54 bytes or more for each segment, and not a tenth of it sent again.
        let sent = BYTES as u64;
        ensure!(into > sent && into < sent + sent / 5, "{record}");
        ensure!(out > 0 && out < sent / 10 && number("source.packets") > 40, "{record}");
        ensure!(number("event.duration") < 30_000_000_000, "{record}");
        Ok(())
    })
}

/// F16: whatever whoever creates a guest puts into its name and labels, and whatever a port is called,
/// a record is one line, nothing in it is read as anything else, and what is cut says so.
#[test]
fn f16_hostile_names_and_labels_stay_in_their_fields() -> Result<()> {
    const MOST: usize = 128;
    shared::with(|shared| {
        let rig = &shared.rig;
        let dir = rig.run.make_dir("hostile")?;
        let name = format!("n{}", "a.-_".repeat(60));
        let user = "mallory\r\n{\"event.action\":\"daemon\"}\u{1b}[2J\u{0}\u{202e}";
        let labels = HashMap::from([
            ("enforcer.user".to_owned(), user.to_owned()),
            ("enforcer.group".to_owned(), "g\n".repeat(1 << 19)),
        ]);
        let body = ContainerCreateBody {
            image: Some(image::NAME.into()),
            entrypoint: Some(vec!["/actor".into(), "/run/actor/actor.sock".into()]),
            labels: Some(labels),
            stop_signal: Some("SIGKILL".into()),
            host_config: Some(HostConfig {
                binds: Some(vec![format!("{}:/run/actor", dir.display())]),
                network_mode: Some(NETWORK.into()),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptions { name: Some(name.clone()), ..Default::default() };
        let docker = &rig.docker;
        let id = docker.call(|client| client.create_container(Some(options), body))?.id;
        docker.call(|client| client.start_container(&id, None))?;
        let actor = Actor::wait(dir.join("actor.sock"))?;
        let ipv4 = actor.interface("eth0")?.ipv4.context("no address")?;
        let record =
            wait_for("its record", Duration::from_secs(10), || {
                rig.host.actor.connect((ipv4, 9), 300)?;
                // The first ones may be older than what is known of the guest.
                Ok(shared.daemon.records().into_iter().rfind(|record| {
                    record["container.id"] == *id && !record["user.name"].is_null()
                }))
            });
        docker.remove(&name)?;
        let record = record?;
        let cut = |text: &str| format!("{}…", text.chars().take(MOST).collect::<String>());
        for (key, wanted) in [
            ("container.name", Value::from(cut(&name))),
            ("user.name", user.into()),
            ("user.group.name", cut(&"g\n".repeat(MOST)).into()),
            ("enforcer.truncated", true.into()),
        ] {
            ensure!(record[key] == wanted, "{key}: {record}");
        }

        // A port of the bridge with the worst name that the kernel takes.
        let port = OsStr::from_bytes(b"p\x1b[2J\"\\");
        let ip = |words: &[&OsStr]| netns::output(rig.host.command("ip").args(words), "ip");
        let add = ["type", "veth", "peer", "name", "behind"].map(OsStr::new);
        ip(&[&["link", "add"].map(OsStr::new)[..], &[port], &add].concat())?;
        let up = ["master", BRIDGE, "up"].map(OsStr::new);
        ip(&[&["link", "set"].map(OsStr::new)[..], &[port], &up].concat())?;
        let told = wait_for("the port's record", Duration::from_secs(20), || {
            Ok(shared.daemon.records().into_iter().find(|record| {
                record["enforcer.why"] == "no_container"
                    && record["enforcer.interface"].as_str().is_some_and(|is| is.contains('\u{1b}'))
            }))
        });
        ip(&[&["link", "del"].map(OsStr::new)[..], &[port]].concat())?;
        let told = told?;
        ensure!(told["enforcer.interface"] == "p\u{1b}[2J\"\\", "{told}");
        ensure!(told["enforcer.truncated"].is_null(), "{told}");
        // Every line was one object, and numbers follow one another: none was broken or made up.
        for pair in shared.daemon.records().windows(2) {
            let number = |record: &Value| record["event.sequence"].as_u64();
            ensure!(number(&pair[0]).map(|n| n + 1) == number(&pair[1]), "{pair:?}");
        }
        Ok(())
    })
}

/// The verb shows what there is; without a daemon it says what to do.
#[test]
fn events_without_a_daemon_say_so() -> Result<()> {
    shared::with(|shared| {
        let host = &shared.rig.host;
        let (code, text) = shared.daemon.verb(host, "events", &["--guest", &shared.rig.a.name])?;
        ensure!(code == 0 && text.contains("kind"), "{code}: {text}");
        let mut command = host.command(artifacts::enforcer().context("no binary")?);
        command.args(["events", "--run-dir"]).arg(shared.rig.run.make_dir("nobody")?);
        let output = command.output()?;
        let text = String::from_utf8_lossy(&output.stderr);
        let code = output.status.code();
        ensure!(code == Some(1) && text.contains("is the daemon running?"), "{code:?}: {text}");
        Ok(())
    })
}
