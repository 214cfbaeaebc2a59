//! Ends the daemon, and removes every trace of it: programs, pins, settings of bridge ports, the run
//! directory. The only way to open what it closed.

use std::{fs, io, path::Path, time::Duration};

use tokio::time::{Instant, sleep};

use super::{abuse, allow, now};
use crate::{
    api::{self, ControlError},
    audit::record::{Body, Daemon, ECS_VERSION, Record, VERSION},
    closure::{self, ClosureError},
    config::Config,
    gate,
    kernel::{
        KernelError,
        pins::{PinError, Pins},
        sweep,
    },
    metrics,
    model::{
        caller::Caller,
        closure::OWN_BRIDGES,
        link::{LinkKind, Links, PortSettings},
    },
    netlink::{self, NetlinkError},
    run_dir::{self, RunDir, RunDirError},
};

/// Longest wait for a daemon that was told to end.
const PATIENCE: Duration = Duration::from_secs(15);

/// Something could not be removed; what was removed stays removed, and a second try goes on.
#[derive(Debug, thiserror::Error)]
pub enum UninstallError {
    /// The daemon does not end.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Another daemon, or no run directory.
    #[error(transparent)]
    Claim(#[from] RunDirError),
    /// A pin.
    #[error(transparent)]
    Pins(#[from] PinError),
    /// A program.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The table that closes guest bridges.
    #[error(transparent)]
    Closure(#[from] ClosureError),
    /// A bridge port.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// What is left in the state directory.
    #[error("cannot remove the list of allowances in {}", dir.display())]
    StateDir {
        /// The directory.
        dir: std::path::PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The run directory.
    #[error("cannot remove {dir}")]
    RunDir {
        /// The directory.
        dir: std::path::PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Programs taken off interfaces.
    pub programs: usize,
    /// Bridge ports that were given the kernel's own settings again.
    pub ports: usize,
}

impl Removed {
    /// The record of it: the last of its stream.
    #[must_use]
    pub fn record(&self) -> Record {
        let now = now();
        let daemon = Daemon {
            event: "uninstall".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            by: Caller::default(),
        };
        Record {
            v: VERSION,
            ecs: ECS_VERSION.into(),
            seq: 1,
            time: now.rfc3339(now.mono_ns),
            mono_ns: now.mono_ns,
            truncated: false,
            body: Body::Daemon(daemon),
        }
    }
}

/// Ends the daemon, if one runs, and waits for its end.
pub async fn stop(run_dir: &Path) -> Result<(), ControlError> {
    match api::client::stop(run_dir).await {
        Ok(()) => {}
        Err(ControlError::NotRunning(_)) if !run_dir::is_held(run_dir) => return Ok(()),
        Err(error) => return Err(error),
    }
    let begun = Instant::now();
    while run_dir::is_held(run_dir) {
        if begun.elapsed() > PATIENCE {
            return Err(ControlError::TimedOut(api::path(run_dir)));
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Ends the daemon and removes everything. May be repeated.
pub async fn uninstall(config: &Config) -> Result<Removed, UninstallError> {
    stop(&config.run_dir).await?;
    // No other daemon starts meanwhile.
    let claimed = RunDir::claim(&config.run_dir)?;
    let links = netlink::links::list().await?;
    let mut removed = Removed { programs: sweep::programs(links.keys().copied())?, ports: 0 };
    let handle = netlink::connect()?;
    for port in ports(config, &links) {
        match open_port(&handle, port, &links).await {
            Ok(()) => removed.ports += 1,
            Err(error) if error.is_gone() => {}
            Err(error) => return Err(error.into()),
        }
    }
    match closure::remove() {
        // Where there can be no table, there is none.
        Err(error) if !error.is_lasting() => return Err(error.into()),
        _ => {}
    }
    if let Some(pins) = Pins::existing(&config.pin_dir) {
        pins.remove_all()?;
    }
    let dir = config.run_dir.clone();
    let failed = |source| UninstallError::RunDir { dir, source };
    abuse::remove(&config.run_dir).map_err(failed.clone())?;
    // What was open to single guests for a while is not opened by the next installation.
    let state_dir = config.state_dir.clone();
    allow::remove(&config.state_dir)
        .map_err(|source| UninstallError::StateDir { dir: state_dir, source })?;
    gate::remove_all(&config.run_dir).map_err(failed.clone())?;
    // A daemon that was killed leaves its socket.
    for file in ["control.sock.new", "control.sock", "lock"] {
        match fs::remove_file(config.run_dir.join(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    if let Some(at) = &config.metrics {
        metrics::remove_left_behind(at).await;
    }
    // Only now: nobody else could have taken the lock that was removed.
    drop(claimed);
    // Somebody else's files in it are theirs.
    let _not_empty = fs::remove_dir(&config.run_dir);
    Ok(removed)
}

fn ports(config: &Config, links: &Links) -> Vec<u32> {
    let bridges: Vec<u32> = links
        .values()
        .filter(|link| link.kind == LinkKind::Bridge)
        .filter(|link| {
            link.name.starts_with(OWN_BRIDGES)
                || config.networks.values().any(|network| network.bridge == link.name)
        })
        .map(|link| link.ifindex)
        .collect();
    let of_ours = |master: Option<u32>| master.is_some_and(|master| bridges.contains(&master));
    links.values().filter(|link| of_ours(link.master)).map(|link| link.ifindex).collect()
}

async fn open_port(
    handle: &rtnetlink::Handle,
    port: u32,
    links: &Links,
) -> Result<(), NetlinkError> {
    netlink::ports::set(handle, port, PortSettings::KERNELS).await?;
    match links.get(&port).and_then(|link| link.peer_mac) {
        Some(mac) => netlink::ports::drop_mac(handle, port, mac).await,
        None => Ok(()),
    }
}
