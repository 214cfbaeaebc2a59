//! A public site: an engine, the daemon, and hubs with their proxies in the host's namespace; visitors come from the
//! world's.

use std::{
    ffi::OsString,
    fs::{self, File},
    net::Ipv4Addr,
    os::{fd::AsRawFd as _, unix::fs::PermissionsExt as _},
    path::PathBuf,
    thread,
};

use anyhow::{Context as _, Result, ensure};
use bollard::models::ContainerInspectResponse;
use enforcer_tests::harness::{
    artifacts,
    dockerd::Options,
    enforcer::{Enforcer, Settings},
    residue::Snapshot,
    run,
    topology::{Base, GATEWAY, NETWORK, UPLINK, WORLD},
};

use super::{
    notebook,
    proxy::{self, Ports, Proxy},
    server::{self, Server, TOKEN, VERSIONS},
    visitors::Visitors,
};

/// A hub, and where it is.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Its name in the daemon's config.
    pub name: &'static str,
    /// Its guest network: name, bridge, subnet and gateway.
    pub network: (&'static str, &'static str, &'static str, Ipv4Addr),
    /// Its API.
    pub port: u16,
    /// Its proxy.
    pub proxy: Ports,
    /// Its config, of those that [`server`] has.
    pub config: &'static str,
    /// How visitors sign in.
    pub authenticator: &'static str,
    /// What its containers' names begin with.
    pub prefix: &'static str,
    /// Whether a container goes with its server. Before 24.0.8 an engine with `live-restore` removes such ones when it starts
    /// again (moby#46308).
    pub remove: bool,
    /// Seconds after which it culls idle servers.
    pub cull_after: Option<u32>,
}

/// The public hub: throw-away accounts on the harness's network. The harness has something else at the usual ports.
pub const PUBLIC: Plan = Plan {
    name: "lab",
    network: (NETWORK, "guests0", "10.99.0.0/24", GATEWAY),
    port: 8082,
    proxy: Ports { public: 8100, api: 8101 },
    config: "tmpnb.py",
    authenticator: "tmpauthenticator.TmpAuthenticator",
    prefix: "jupyter",
    remove: true,
    cull_after: None,
};

/// The hub's part of the repository, with the Python package.
pub const PACKAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../integrations/jupyterhub");

/// Memory of a guest, in MiB.
const MEMORY_MIB: u32 = 768;

/// How many programs the notebooks count as: notebooks start slowly on a machine that does something else as well.
const PROGRAMS: u32 = 20;

/// A running hub and its proxy.
pub struct Hub {
    /// The hub.
    pub server: Server,
    /// Its proxy.
    pub proxy: Proxy,
    plan: Plan,
    dir: PathBuf,
    installed: PathBuf,
    environment: Vec<(&'static str, OsString)>,
}

/// The site, in the order in which it ends.
pub struct Site {
    /// The hubs, in the order of their plans.
    pub hubs: Vec<Hub>,
    /// The daemon.
    daemon: Option<Enforcer>,
    /// The rest.
    pub base: Base,
    /// The hubs' own Python.
    pub installed: PathBuf,
}

/// Runs a test on a site, and fails if anything is left behind; skips it where it cannot run.
pub fn with(
    options: Options,
    plans: &'static [Plan],
    test: impl FnOnce(&mut Site) -> Result<()> + Send + 'static,
) -> Result<()> {
    apart(move |installed, program| {
        let mut site = Site::start(options, plans, installed, &program)?;
        test(&mut site).with_context(|| site.last_words())?;
        site.end()
    })
}

/// Runs what has need of the hubs' Python and of the proxy's program on a thread of its own, which takes the host's namespace
/// with it.
pub fn apart(test: impl FnOnce(PathBuf, PathBuf) -> Result<()> + Send + 'static) -> Result<()> {
    if let Some(why) = run::obstacle() {
        eprintln!("skipped: {why}");
        return Ok(());
    }
    if artifacts::enforcer().is_none() {
        assert!(std::env::var_os("CI").is_none(), "no enforcer binary to test: set ENFORCER_BIN");
        eprintln!("skipped: no enforcer binary; build it or set ENFORCER_BIN");
        return Ok(());
    }
    // From outside of the namespace: in it there is nobody.
    let installed = server::install(VERSIONS[1])?;
    let program = proxy::install(&installed.with_file_name("proxy"))?;
    let residue = Snapshot::take();
    let outcome = thread::spawn(move || test(installed, program));
    outcome.join().map_err(|panic| anyhow::anyhow!("{panic:?}"))??;
    residue.ensure_nothing_new()
}

impl Site {
    fn start(
        options: Options,
        plans: &[Plan],
        installed: PathBuf,
        program: &std::path::Path,
    ) -> Result<Self> {
        let base = Base::start(options)?;
        base.docker.count_as(PROGRAMS)?;
        notebook::load(&base, &installed)?;
        let token = base.run.dir().join("token");
        fs::write(&token, TOKEN)?;
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600))?;
        let tables: String = plans.iter().map(|plan| plan.tables(&token)).collect();
        let more = format!("{tables}[guests]\nmemory_mib = {MEMORY_MIB}\n");
        let settings = Settings { more, refuse_at_connect: true, ..Settings::default() };
        let daemon = Enforcer::start(&base, &settings)?;
        enter(&base)?;
        let gates = daemon.config().with_file_name("run").join("gate");
        let hubs = plans.iter().map(|plan| {
            let dir = base.run.make_dir(&format!("hub-{}", plan.name))?;
            let proxy = Proxy::start(program.to_owned(), plan.proxy, dir.join("proxy.log"))?;
            let gate = gates.join(plan.name).with_extension("sock");
            let environment = plan.environment(&gate, &installed);
            let server =
                Server::start_as(plan.config, &installed, &dir, (plan.port, &environment))?;
            let installed = installed.clone();
            Ok(Hub { server, proxy, plan: *plan, dir, installed, environment })
        });
        let hubs = hubs.collect::<Result<_>>()?;
        Ok(Self { hubs, daemon: Some(daemon), base, installed })
    }

    /// Visitors of one of the hubs, from the world.
    pub fn visitors(&self, hub: usize) -> Result<Visitors> {
        let plan = self.hubs.get(hub).context("no such hub")?.plan;
        let url = format!("http://{UPLINK}:{}/", plan.proxy.public);
        Visitors::start(&self.base.world, &self.installed, &url)
    }

    /// A user's notebook as the engine itself knows it.
    pub fn notebook(&self, hub: &str, user: &str) -> Result<ContainerInspectResponse> {
        notebook::of(&self.base, hub, user)
    }

    /// The daemon.
    pub fn daemon(&self) -> Result<&Enforcer> {
        self.daemon.as_ref().context("no daemon runs")
    }

    /// A hub's gate.
    pub fn gate(&self, hub: &str) -> Result<PathBuf> {
        let gates = self.daemon()?.config().with_file_name("run").join("gate");
        Ok(gates.join(hub).with_extension("sock"))
    }

    /// The first hub.
    pub fn hub(&mut self) -> Result<&mut Hub> {
        self.hubs.first_mut().context("no hub")
    }

    /// Kills the daemon (`SIGKILL`).
    pub fn kill_daemon(&mut self) -> Result<()> {
        self.daemon.as_mut().context("no daemon runs")?.kill_now()
    }

    /// Starts the daemon again after a kill.
    pub fn resume_daemon(&mut self) -> Result<()> {
        let daemon = self.daemon.take().context("no daemon ran")?;
        let binary = artifacts::enforcer().context("no enforcer binary")?;
        self.daemon = Some(daemon.restart(&self.base.host, binary)?);
        Ok(())
    }

    /// What hubs and daemon logged last, for whoever asks why.
    fn last_words(&self) -> String {
        let logs = self.hubs.iter().map(|hub| hub.log().unwrap_or_default());
        let daemon = self.daemon.as_ref().map(Enforcer::log_text);
        let engine = fs::read_to_string(self.base.run.dir().join("docker/log")).unwrap_or_default();
        let mut words = String::new();
        for log in logs.chain(daemon).chain([engine]) {
            let lines: Vec<&str> = log.lines().collect();
            words += &lines.get(lines.len().saturating_sub(25)..).unwrap_or_default().join("\n");
            words += "\n--\n";
        }
        words
    }

    fn end(self) -> Result<()> {
        // Hubs first, or they look for their engine.
        drop(self.hubs);
        self.daemon.context("no daemon runs")?.stop().map(drop)
    }
}

impl Plan {
    fn tables(&self, token: &std::path::Path) -> String {
        let Self { name, port, network: (network, bridge, subnet, gateway), .. } = self;
        let own = if *network == NETWORK {
            String::new()
        } else {
            format!(
                "[networks.{network}]\nbridge = \"{bridge}\"\ncreate = true\nsubnet = \"{subnet}\"\n\
                 gateway = \"{gateway}\"\n"
            )
        };
        format!(
            "{own}[[networks.{network}.hub]]\ngateway = true\nport = {port}\n[hubs.{name}]\n\
             networks = [\"{network}\"]\napi = \"http://127.0.0.1:{port}/hub/api\"\n\
             token_file = \"{}\"\n",
            token.display()
        )
    }

    fn environment(
        &self,
        gate: &std::path::Path,
        installed: &std::path::Path,
    ) -> Vec<(&'static str, OsString)> {
        let (network, _, _, gateway) = self.network;
        let Ports { public, api } = self.proxy;
        let culling = self.cull_after.map(|after| ("CULL_AFTER", after.to_string().into()));
        let all = [
            ("DOCKER_HOST", format!("unix://{}", gate.display()).into()),
            ("PUBLIC_URL", format!("http://{UPLINK}:{public}").into()),
            ("PROXY_API", format!("http://127.0.0.1:{api}").into()),
            ("CONFIGPROXY_AUTH_TOKEN", proxy::TOKEN.into()),
            ("HUB_ADDRESS", gateway.to_string().into()),
            ("HUB_AUTHENTICATOR", self.authenticator.into()),
            ("GUEST_IMAGE", notebook::IMAGE.into()),
            ("GUEST_SERVER", installed.join("bin/jupyterhub-singleuser").into()),
            ("GUEST_NETWORK", network.into()),
            ("GUEST_PREFIX", self.prefix.into()),
            ("PYTHONPATH", PACKAGE.into()),
            ("PYTHONDONTWRITEBYTECODE", "1".into()),
            ("WORLD", WORLD.to_string().into()),
            ("GUEST_REMOVE", if self.remove { "True" } else { "False" }.into()),
        ];
        all.into_iter().chain(culling).collect()
    }
}

impl Hub {
    /// Starts it again after a kill: it goes on from its database.
    pub fn resume(&mut self) -> Result<()> {
        let asked = (self.plan.port, self.environment.as_slice());
        self.server = Server::start_as(self.plan.config, &self.installed, &self.dir, asked)?;
        Ok(())
    }

    /// What it logged.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.dir.join("log"))?)
    }
}

/// Takes this thread into the host's network namespace.
pub fn enter(base: &Base) -> Result<()> {
    let net = File::open(format!("/proc/{}/ns/net", base.host.pid()))?;
    // SAFETY: changes this thread alone.
    let entered = unsafe { libc::setns(net.as_raw_fd(), libc::CLONE_NEWNET) };
    ensure!(entered == 0, "setns: {}", std::io::Error::last_os_error());
    Ok(())
}

/// A notebook's address on its guest network.
pub fn address<'a>(notebook: &'a ContainerInspectResponse, network: &str) -> Result<&'a str> {
    let settings = notebook.network_settings.as_ref().context("no settings")?;
    let endpoint = settings.networks.as_ref().and_then(|all| all.get(network));
    endpoint.context("no network")?.ip_address.as_deref().context("no address")
}
