//! Reads the facts: files of the kernel's, netlink, nft, the engine, the daemon. It changes nothing.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use enforcer_common::abi::event::Hook;

use super::facts::{
    BridgeFacts, Cgroups, Closing, DaemonFacts, Disk, Facts, Free, KernelFacts, ProcessFacts, Seat,
    Stranger, Units, Wanted,
};
use crate::{
    api::client,
    causes::causes,
    closure::{self, Ability},
    config::{
        Config, KernelProof, Place,
        file::{self, FileError},
    },
    docker,
    kernel::{self, cgroups, clsact, features, links::is_ingress, pins::Pins, sweep},
    model::link::{Link, LinkKind},
    netlink,
};

/// Where systemd looks for units, and for links to those that start at boot.
const UNITS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// There where systemd is the service manager (`sd_booted(3)`).
const SYSTEMD: &str = "/run/systemd/system";

/// Everything, for the config file `config_file`.
pub async fn gather(config_file: &Path) -> Facts {
    let loaded = file::load(config_file);
    let (config, known) = match &loaded {
        Ok(config) => (config.clone(), Some(config)),
        Err(_) => (Config::default(), None),
    };
    let report = client::status(&config.run_dir).await;
    let process = report.as_ref().ok().map(|report| process(report.pid));
    Facts {
        is_root: kernel::is_root(),
        config_file: config_file.to_owned(),
        has_config_file: !loaded.as_ref().is_err_and(FileError::is_missing),
        kernel: kernel_facts(&config.pin_dir),
        closing: match known {
            Some(config) => closing(config).await,
            None => Closing::Unknown,
        },
        bridges: bridges(&config).await.map_err(|error| format!("{error:#}")),
        forwards: is_on("/proc/sys/net/ipv4/ip_forward"),
        bridge_calls_iptables: is_on("/proc/sys/net/bridge/bridge-nf-call-iptables"),
        engine: docker::facts::ask(&config.docker_socket).await.map_err(|error| causes(&error)),
        clock_synchronised: kernel::clock_is_synchronised().map_err(|error| error.to_string()),
        disks: disks(&config),
        daemon: DaemonFacts {
            report: report.map(Box::new).map_err(|error| causes(&error)),
            process,
        },
        units: Path::new(SYSTEMD).is_dir().then(units),
        config: loaded.map(|config| wanted(&config)).map_err(|error| error.to_string()),
    }
}

fn wanted(config: &Config) -> Wanted {
    let rules = || config.policies.values().flat_map(|policy| &policy.rules);
    Wanted {
        may_lack_kernel_proof: config.access.kernel_proof != KernelProof::Required,
        has_ipv6: config.networks.values().any(|network| network.subnet6.is_some()),
        has_from_rules: rules().any(|rule| matches!(rule.to, Place::From(_))),
        pin_dir: config.pin_dir.clone(),
        bridges: config.networks.values().map(|network| network.bridge.clone()).collect(),
    }
}

fn kernel_facts(pin_dir: &Path) -> KernelFacts {
    KernelFacts {
        release: text("/proc/sys/kernel/osrelease"),
        has_btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        jit: text("/proc/sys/net/core/bpf_jit_enable"),
        security_modules: text("/sys/kernel/security/lsm"),
        lockdown: text("/sys/kernel/security/lockdown"),
        has_tcx: features::has_tcx(),
        cgroups: match (cgroups::root(), has_old_cgroups()) {
            (Some(_), false) => Cgroups::Unified,
            (Some(_), true) => Cgroups::Hybrid,
            (None, _) => Cgroups::Old,
        },
        pins: Pins::ground(pin_dir),
    }
}

fn has_old_cgroups() -> bool {
    fs::read_to_string("/proc/self/mountinfo").is_ok_and(|mounts| has_controllers(&mounts))
}

/// Whether a v1 hierarchy with a controller is among the mounts; systemd's own, which has none, counts not.
fn has_controllers(mounts: &str) -> bool {
    mounts.lines().any(|line| {
        let Some((_, kind)) = line.split_once(" - ") else { return false };
        kind.starts_with("cgroup ") && !kind.ends_with("name=systemd")
    })
}

async fn closing(config: &Config) -> Closing {
    let Some(closure) = config.closure() else { return Closing::Unwanted };
    let ability = tokio::task::spawn_blocking(move || closure::ability(&closure)).await;
    match ability {
        Ok(Ability::Bridge) => Closing::Bridge,
        Ok(Ability::Ports) => Closing::Ports,
        Ok(Ability::None(error)) => Closing::Impossible(causes(&error)),
        Err(error) => Closing::Impossible(error.to_string()),
    }
}

/// Guest bridges of the config that exist.
async fn bridges(config: &Config) -> anyhow::Result<Vec<BridgeFacts>> {
    let wanted: BTreeSet<&str> = config.networks.values().map(|n| n.bridge.as_str()).collect();
    let links = netlink::links::list().await?;
    let handle = netlink::connect()?;
    let mut found = Vec::new();
    let is_wanted = |link: &&Link| wanted.contains(link.name.as_str());
    for bridge in links.values().filter(is_wanted) {
        let name = &bridge.name;
        let mut strangers = Vec::new();
        let ports = links.values().filter(|link| link.master == Some(bridge.ifindex));
        for link in ports.chain([bridge]) {
            strangers
                .extend(strangers_on(&handle, (link.ifindex, &link.name), hooks(link.kind)).await?);
        }
        let filters_vlans = is_on(&format!("/sys/class/net/{name}/bridge/vlan_filtering"));
        found.push(BridgeFacts { name: name.clone(), filters_vlans, strangers });
    }
    Ok(found)
}

const fn hooks(kind: LinkKind) -> [Hook; 2] {
    match kind {
        LinkKind::Bridge => [Hook::FromBridge, Hook::ToBridge],
        LinkKind::Veth | LinkKind::Other => [Hook::FromGuest, Hook::ToGuest],
    }
}

/// Programs of others on an interface, beside or in place of ours of these hooks.
pub async fn strangers_on(
    handle: &rtnetlink::Handle,
    (ifindex, name): (u32, &str),
    hooks: [Hook; 2],
) -> anyhow::Result<Vec<Stranger>> {
    let mut found = Vec::new();
    for hook in hooks {
        let ingress = is_ingress(hook);
        let at = |program, seat| Stranger { interface: name.to_owned(), ingress, program, seat };
        let others = sweep::others(ifindex, hook)?;
        found.extend(others.into_iter().map(|(program, link)| match link {
            0 => at(program, Seat::Tcx),
            link => at(program, Seat::Link(link)),
        }));
        let filters = netlink::filters::programs(handle, ifindex, ingress).await?;
        let others = filters.into_iter().filter(|filter| filter.major != clsact::MAJOR);
        found.extend(others.map(|filter| {
            let handle = u32::from(filter.major) << 16 | u32::from(filter.minor);
            at(filter.program, Seat::Filter { priority: filter.priority, handle })
        }));
    }
    Ok(found)
}

fn disks(config: &Config) -> Vec<Disk> {
    let audit = config.audit.files.as_ref().map(|files| (files.dir.clone(), "stored records"));
    let state = (config.state_dir.clone(), "groups and grants");
    audit.into_iter().chain([state]).map(|(dir, holds)| disk(dir, holds)).collect()
}

/// Of a directory that is yet to be made, the one above it counts.
fn disk(dir: PathBuf, holds: &'static str) -> Disk {
    let there = dir.ancestors().find(|above| above.exists()).unwrap_or(&dir);
    let free = kernel::file_system(there)
        .map(|[bytes, of_bytes, inodes, of_inodes]| Free { bytes, of_bytes, inodes, of_inodes })
        .map_err(|error| error.to_string());
    Disk { dir, holds, free }
}

fn process(pid: u32) -> ProcessFacts {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let limits = fs::read_to_string(proc.join("limits")).unwrap_or_default();
    let environment = fs::read(proc.join("environ")).unwrap_or_default();
    let has = |name: &str| {
        environment.split(|byte| *byte == 0).any(|one| one.starts_with(name.as_bytes()))
    };
    ProcessFacts {
        open_files: open_files(&limits),
        has_manager: has("NOTIFY_SOCKET="),
        has_watchdog: has("WATCHDOG_USEC="),
    }
}

/// The soft limit in `/proc/PID/limits`.
fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

fn units() -> Units {
    let exists = |path: &str| {
        // A link counts, wherever it leads: systemd reads the name.
        UNITS.iter().any(|dir| Path::new(dir).join(path).symlink_metadata().is_ok())
    };
    Units {
        daemon_enabled: exists("multi-user.target.wants/enforcer.service"),
        closed_enabled: exists("sysinit.target.wants/enforcer-closed.service"),
        docker_waits: exists("docker.service.requires/enforcer-closed.service")
            || exists("docker.service.d/enforcer.conf"),
    }
}

fn text(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// `None`: not readable, or no flag.
fn is_on(path: &str) -> Option<bool> {
    match text(path)?.as_str() {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_hierarchy_is_told_by_its_controllers() {
        let unified = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let systemd =
            "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n";
        let memory = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        assert!(!has_controllers(unified));
        assert!(!has_controllers(&format!("{unified}{systemd}")));
        assert!(has_controllers(&format!("{unified}{systemd}{memory}")));
        assert!(!has_controllers("nonsense\n"));
    }

    #[test]
    fn the_limit_of_open_files_is_the_soft_one() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max cpu time              unlimited            unlimited            seconds   \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(open_files(limits), Some(1024));
        assert_eq!(open_files(&limits.replace("1024 ", "unlimited ")), Some(u64::MAX));
        assert_eq!(open_files(""), None);
    }

    #[test]
    fn the_space_of_a_directory_that_is_yet_to_be_made_is_that_above_it() {
        let here = disk("/proc/self/nothing/here".into(), "x");
        assert!(here.free.is_ok(), "{here:?}");
        let tmp = disk(std::env::temp_dir(), "x").free.expect("readable");
        assert!(tmp.of_bytes >= tmp.bytes, "{tmp:?}");
    }
}
