//! Real hubs: groups of two versions of JupyterHub at once, and guests that one starts through the gate, in network
//! namespaces of the tests' own. Needs root, python3 with venv, and a package index for the first run; without root it
//! says so and passes.

#[path = "hub/browser.rs"]
mod browser;
#[path = "hub/cull.rs"]
mod cull;
#[path = "hub/deployed.rs"]
mod deployed;
#[path = "hub/many.rs"]
mod many;
#[path = "hub/notebook.rs"]
mod notebook;
#[path = "hub/own_spawner.rs"]
mod own_spawner;
#[path = "hub/package.rs"]
mod package;
#[path = "hub/party.rs"]
mod party;
#[path = "hub/proxy.rs"]
mod proxy;
#[path = "hub/reach.rs"]
mod reach;
#[path = "hub/restarts.rs"]
mod restarts;
#[path = "hub/server.rs"]
mod server;
#[path = "hub/site.rs"]
mod site;
#[path = "hub/spawner.rs"]
mod spawner;
#[path = "hub/two_hubs.rs"]
mod two_hubs;
#[path = "hub/visitor.rs"]
mod visitor;
#[path = "hub/visitors.rs"]
mod visitors;

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command, sync::Arc, thread};

use anyhow::{Context as _, Result, bail, ensure};
use enforcer::{
    access::{
        grant::Socket,
        judge::{Answer, Why},
        name::User,
        service::Access,
    },
    audit::record::Body,
    config,
};
use server::{Server, TOKEN, VERSIONS};
use tokio::sync::{mpsc, watch};

const PORTS: [u16; 2] = [8081, 8091];
const GROUP: &str = "/groups/docker-privileged";
/// A name with what a path must not have as it is.
const ANN: &str = "zo\u{eb}+1@example.org";
const ANN_IN_A_PATH: &str = "zo%C3%AB%2B1%40example.org";

#[test]
fn s1_groups_of_two_jupyterhubs_are_asked_for_afresh_and_come_back_when_deleted() -> Result<()> {
    // SAFETY: takes nothing.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: needs root");
        return Ok(());
    }
    // From outside of the namespace: in it there is nobody.
    let installed = VERSIONS.map(server::install);
    let [old, new] = installed;
    let (old, new) = (old?, new?);
    let dir = std::env::temp_dir().join(format!("enforcer-hub-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
    let here = dir.clone();
    // A thread of its own takes its namespace with it.
    let outcome = thread::spawn(move || {
        // SAFETY: changes this thread alone.
        let alone = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        ensure!(alone == 0, "unshare: {}", std::io::Error::last_os_error());
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().context("ip")?;
        ensure!(up.success(), "ip link set lo up: {up}");
        let hubs = [
            Server::start(&old, &here.join("old"), PORTS[0])?,
            Server::start(&new, &here.join("new"), PORTS[1])?,
        ];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(of_two_hubs(hubs, &here))
    });
    let outcome = outcome.join();
    fs::remove_dir_all(&dir)?;
    outcome.map_err(|panic| anyhow::anyhow!("{panic:?}"))?
}

/// What the daemon has, and the records that it makes.
struct Rig {
    access: Access,
    journal: mpsc::UnboundedReceiver<Body>,
    /// The daemon lives as long as somebody may change its config.
    _config: watch::Sender<Arc<config::Config>>,
}

impl Rig {
    async fn start(dir: &Path) -> Result<Self> {
        let token = dir.join("token");
        fs::write(&token, TOKEN)?;
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600))?;
        let tables = ["old", "new"].into_iter().zip(PORTS).map(|(name, port)| {
            format!(
                "[networks.{name}]\nbridge = \"br-{name}\"\n[hubs.{name}]\nnetworks = [\"{name}\"]\n\
                 api = \"http://127.0.0.1:{port}/hub/api\"\ntoken_file = \"{}\"\n",
                token.display()
            )
        });
        let daemon = format!("[daemon]\nstate_dir = \"{}\"\n", dir.join("state").display());
        let text: String = [daemon].into_iter().chain(tables).collect();
        let (config, config_out) = watch::channel(Arc::new(config::parse(&text, "test")?));
        let (sender, journal) = mpsc::unbounded_channel();
        let access = Access::new(config_out, sender);
        access.tend().await;
        Ok(Self { access, journal, _config: config })
    }

    async fn socket(&self, hub: &str) -> Result<Answer> {
        Ok(self.access.socket_for(&User { hub: hub.parse()?, name: ANN.parse()? }).await)
    }

    /// Events about the built-in group, and their hubs.
    fn events(&mut self) -> Vec<(String, String)> {
        let mut events = Vec::new();
        while let Ok(body) = self.journal.try_recv() {
            if let Body::Group(change) = body {
                events.push((change.event, change.about.hub));
            }
        }
        events
    }
}

fn is_filtered(answer: &Answer) -> bool {
    matches!(answer, Answer::Granted(granted) if granted.socket == Socket::Filtered)
}

async fn of_two_hubs(mut hubs: [Server; 2], dir: &Path) -> Result<()> {
    for hub in &hubs {
        let (status, _) = hub.call("GET", GROUP, None)?;
        ensure!(status == 404, "the group is there before anybody made it: {status}");
    }
    let mut rig = Rig::start(dir).await?;
    let problems = rig.access.problems().borrow().clone();
    ensure!(problems.is_empty(), "{problems:?}");
    for hub in &hubs {
        hub.manage("GET", GROUP, None).context("it is made at the start")?;
        hub.manage("POST", &format!("/users/{ANN_IN_A_PATH}"), Some("{}"))?;
    }
    for name in ["old", "new"] {
        let answer = rig.socket(name).await?;
        ensure!(answer == Answer::Refused(Why::NotMember), "{name}: {answer:?}");
    }

    let ann = serde_json::json!({"users": [ANN]}).to_string();
    for (at, (name, other)) in [("old", "new"), ("new", "old")].into_iter().enumerate() {
        let hub = &hubs[at];
        let users = format!("{GROUP}/users");
        hub.manage("POST", &users, Some(&ann))?;
        let answer = rig.socket(name).await?;
        ensure!(is_filtered(&answer), "{name}: a member at once: {answer:?}");
        let members = rig.access.members(&name.parse()?, &"docker-privileged".parse()?).await?;
        ensure!(members == [(ANN.parse()?, None)], "{name}: {members:?}");
        // The same name in the other hub is somebody else.
        let answer = rig.socket(other).await?;
        ensure!(!is_filtered(&answer), "{other}: {answer:?}");
        hub.manage("DELETE", &users, Some(&ann))?;
        let answer = rig.socket(name).await?;
        ensure!(answer == Answer::Refused(Why::NotMember), "{name}: removed: {answer:?}");

        hub.manage("POST", &users, Some(&ann))?;
        ensure!(is_filtered(&rig.socket(name).await?), "{name}: a member again");
        rig.events();
        hub.manage("DELETE", GROUP, None)?;
        let answer = rig.socket(name).await?;
        ensure!(answer == Answer::Refused(Why::NotMember), "{name}: deleted: {answer:?}");
        hub.manage("GET", GROUP, None).context("it is back before the guest starts")?;
        let events = rig.events();
        ensure!(events == [("recreated".to_owned(), name.to_owned())], "{events:?}");
        let groups = rig.access.groups(&name.parse()?).await?;
        let [group] = groups.as_slice() else { bail!("{groups:?}") };
        ensure!(group.is_builtin && group.name.as_str() == "docker-privileged", "{group:?}");
    }

    hubs[1].manage("POST", &format!("{GROUP}/users"), Some(&ann))?;
    ensure!(is_filtered(&rig.socket("new").await?), "a member for what follows");
    fs::write(dir.join("token"), "f".repeat(32))?;
    let answer = rig.socket("new").await?;
    ensure!(matches!(&answer, Answer::Refused(Why::NoMemberships(_))), "another token: {answer:?}");
    fs::write(dir.join("token"), TOKEN)?;
    ensure!(is_filtered(&rig.socket("new").await?), "the token is read each time");
    rig.events();
    hubs[1].kill()?;
    let answer = rig.socket("new").await?;
    ensure!(matches!(&answer, Answer::Refused(Why::NoMemberships(_))), "silence: {answer:?}");
    let unavailable = ("unavailable".to_owned(), "new".to_owned());
    ensure!(rig.events().contains(&unavailable), "it is recorded");
    let answer = rig.socket("old").await?;
    ensure!(answer == Answer::Refused(Why::NotMember), "the other hub answers: {answer:?}");
    Ok(())
}
