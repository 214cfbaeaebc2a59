mod happens;

use std::path::PathBuf;

use super::{
    Facts, Finding, Grade, examine,
    facts::{
        BridgeFacts, Cgroups, Closing, DaemonFacts, Disk, Free, KernelFacts, ProcessFacts, Seat,
        Stranger, Units, Wanted,
    },
    worst,
};
use crate::{
    docker::facts::{EngineFacts, EngineSettings},
    kernel::pins::Ground,
    model::status::{ClosureStatus, Health, HealthState, KernelProofStatus, StatusReport},
};

const ROOM: Free = Free { bytes: 9 << 30, of_bytes: 10 << 30, inodes: 90_000, of_inodes: 100_000 };

/// A host where everything is as it should be.
fn well() -> Facts {
    let report = StatusReport {
        health: Health { state: HealthState::Enforcing, reasons: Vec::new() },
        closure: ClosureStatus { wanted: true, closed: true, ..ClosureStatus::default() },
        kernel_proof: KernelProofStatus { active: true, why: String::new() },
        ..StatusReport::default()
    };
    Facts {
        is_root: true,
        config_file: "/etc/enforcer/enforcer.toml".into(),
        has_config_file: true,
        config: Ok(Wanted {
            may_lack_kernel_proof: true,
            has_ipv6: false,
            has_from_rules: false,
            pin_dir: "/sys/fs/bpf/enforcer".into(),
            bridges: vec!["br-a".to_owned()],
        }),
        kernel: KernelFacts {
            release: Some("6.12.1".to_owned()),
            has_btf: true,
            jit: Some("1".to_owned()),
            security_modules: Some("lockdown,capability,bpf".to_owned()),
            lockdown: Some("[none] integrity confidentiality".to_owned()),
            has_tcx: true,
            cgroups: Cgroups::Unified,
            pins: Ground::There,
        },
        closing: Closing::Bridge,
        bridges: Ok(vec![BridgeFacts {
            name: "br-a".to_owned(),
            filters_vlans: Some(false),
            strangers: Vec::new(),
        }]),
        forwards: Some(true),
        bridge_calls_iptables: None,
        engine: Ok(EngineFacts {
            version: "29.1.0".to_owned(),
            api: "1.52".to_owned(),
            live_restore: false,
            settings: Ok(SETTINGS),
        }),
        clock_synchronised: Ok(true),
        disks: vec![Disk { dir: "/var/lib/enforcer".into(), holds: "records", free: Ok(ROOM) }],
        daemon: DaemonFacts {
            report: Ok(Box::new(report)),
            process: Some(ProcessFacts {
                open_files: Some(65_536),
                has_manager: true,
                has_watchdog: true,
            }),
        },
        units: Some(Units { daemon_enabled: true, closed_enabled: true, docker_waits: true }),
    }
}

const SETTINGS: EngineSettings =
    EngineSettings { iptables: true, ip6tables: true, userland_proxy: true };

fn engine(facts: &mut Facts) -> &mut EngineFacts {
    facts.engine.as_mut().expect("there is one")
}

fn report(facts: &mut Facts) -> &mut StatusReport {
    facts.daemon.report.as_mut().expect("it answers")
}

fn wanted(facts: &mut Facts) -> &mut Wanted {
    facts.config.as_mut().expect("valid")
}

fn stranger(facts: &mut Facts, seat: Seat) {
    let stranger = Stranger { interface: "veth7".to_owned(), ingress: true, program: 12, seat };
    facts.bridges.as_mut().expect("seen")[0].strangers.push(stranger);
}

fn left(facts: &mut Facts, free: Free) {
    facts.disks[0].free = Ok(free);
}

fn process(facts: &mut Facts) -> &mut ProcessFacts {
    facts.daemon.process.as_mut().expect("seen")
}

fn unit(facts: &mut Facts) -> &mut Units {
    facts.units.as_mut().expect("systemd")
}

fn no_file(facts: &mut Facts) {
    facts.has_config_file = false;
    facts.config = Err("enforcer.toml: No such file or directory".to_owned());
}

fn no_daemon(facts: &mut Facts) {
    facts.daemon.report = Err("it does not run".to_owned());
}

type Spoil = fn(&mut Facts);

/// What is wrong, the check that must say so, how bad it is, and words of the mend.
const WRONG: [(&str, Spoil, Grade, &str); 55] = {
    use Grade::{Fail, Warn};
    [
        ("root", |f| f.is_root = false, Fail, "sudo enforcer doctor"),
        (
            "kernel_release",
            |f| f.kernel.release = Some("5.15.0-1".to_owned()),
            Fail,
            "apt-get install linux-image",
        ),
        (
            "kernel_release",
            |f| f.kernel.release = Some("weird".to_owned()),
            Fail,
            "apt-get install linux-image",
        ),
        ("kernel_release", |f| f.kernel.release = None, Fail, "mount -t proc"),
        ("btf", |f| f.kernel.has_btf = false, Fail, "CONFIG_DEBUG_INFO_BTF"),
        (
            "bpf_jit",
            |f| f.kernel.jit = Some("0".to_owned()),
            Fail,
            "sysctl -w net.core.bpf_jit_enable=1",
        ),
        (
            "bpf_jit",
            |f| f.kernel.jit = Some("2".to_owned()),
            Warn,
            "sysctl -w net.core.bpf_jit_enable=1",
        ),
        (
            "bpf_jit",
            |f| f.kernel.jit = Some("7".to_owned()),
            Warn,
            "sysctl -w net.core.bpf_jit_enable=1",
        ),
        ("bpf_jit", |f| f.kernel.jit = None, Warn, "sysctl net.core.bpf_jit_enable"),
        (
            "lockdown",
            |f| f.kernel.lockdown = Some("none integrity [confidentiality]".to_owned()),
            Fail,
            "lockdown=integrity",
        ),
        (
            "tc_hook",
            |f| {
                f.kernel.has_tcx = false;
                f.is_root = false;
            },
            Warn,
            "sudo",
        ),
        (
            "cgroups",
            |f| f.kernel.cgroups = Cgroups::Hybrid,
            Warn,
            "systemd.unified_cgroup_hierarchy=1",
        ),
        (
            "cgroups",
            |f| f.kernel.cgroups = Cgroups::Old,
            Warn,
            "systemd.unified_cgroup_hierarchy=1",
        ),
        ("bpffs", |f| f.kernel.pins = Ground::Elsewhere, Fail, "mount -t bpf bpf /sys/fs/bpf"),
        (
            "bpf_lsm",
            |f| {
                report(f).kernel_proof =
                    KernelProofStatus { active: false, why: "it connected".to_owned() }
            },
            Warn,
            "lsm=",
        ),
        (
            "bpf_lsm",
            |f| {
                report(f).kernel_proof =
                    KernelProofStatus { active: false, why: "it connected".to_owned() };
                wanted(f).may_lack_kernel_proof = false;
            },
            Fail,
            "lsm=",
        ),
        (
            "bpf_lsm",
            |f| {
                f.daemon.report = Err("none".to_owned());
                f.kernel.security_modules = Some("capability,bpfx".to_owned());
            },
            Warn,
            "lsm=",
        ),
        (
            "bpf_lsm",
            |f| {
                f.daemon.report = Err("none".to_owned());
                f.kernel.security_modules = None;
            },
            Warn,
            "mount -t securityfs",
        ),
        ("closing", |f| f.closing = Closing::Ports, Warn, "CONFIG_NFT_BRIDGE_META"),
        (
            "closing",
            |f| f.closing = Closing::Impossible("no nft".to_owned()),
            Fail,
            "apt-get install nftables",
        ),
        ("closing", |f| f.closing = Closing::Unwanted, Warn, "closed_by = \"nft\""),
        (
            "closing",
            |f| f.closing = Closing::Unknown,
            Warn,
            "mend the config first: enforcer check /etc/enforcer/enforcer.toml",
        ),
        (
            "closing",
            |f| {
                f.closing = Closing::Unknown;
                no_file(f);
            },
            Warn,
            "mend the config first: enforcer config init --output /etc/enforcer/enforcer.toml",
        ),
        ("guest_bridges", |f| f.bridges = Err("EPERM".to_owned()), Warn, "sudo"),
        (
            "vlan_filtering",
            |f| f.bridges.as_mut().expect("seen")[0].filters_vlans = Some(true),
            Warn,
            "ip link set br-a type bridge vlan_filtering 0",
        ),
        ("other_tc_programs", |f| stranger(f, Seat::Link(44)), Warn, "bpftool link detach id 44"),
        (
            "other_tc_programs",
            |f| stranger(f, Seat::Tcx),
            Warn,
            "bpftool net detach tcx_ingress dev veth7",
        ),
        (
            "other_tc_programs",
            |f| stranger(f, Seat::Filter { priority: 1, handle: 0x1_0002 }),
            Warn,
            "tc filter del dev veth7 ingress pref 1 handle 0x10002 bpf",
        ),
        ("ip_forward", |f| f.forwards = Some(false), Warn, "sysctl -w net.ipv4.ip_forward=1"),
        ("ip_forward", |f| f.forwards = None, Warn, "sudo"),
        ("docker", |f| f.engine = Err("nobody listens".to_owned()), Fail, "systemctl start docker"),
        (
            "docker_settings",
            |f| engine(f).settings = Err("no process".to_owned()),
            Warn,
            "docker info",
        ),
        (
            "docker_iptables",
            |f| engine(f).settings = Ok(EngineSettings { iptables: false, ..SETTINGS }),
            Warn,
            "remove \"iptables\": false",
        ),
        (
            "docker_ip6tables",
            |f| {
                wanted(f).has_ipv6 = true;
                engine(f).settings = Ok(EngineSettings { ip6tables: false, ..SETTINGS });
            },
            Warn,
            "\"ip6tables\": true",
        ),
        (
            "docker_userland_proxy",
            |f| wanted(f).has_from_rules = true,
            Warn,
            "\"userland-proxy\": false",
        ),
        ("clock", |f| f.clock_synchronised = Ok(false), Warn, "timedatectl set-ntp true"),
        (
            "clock",
            |f| f.clock_synchronised = Err("EPERM".to_owned()),
            Warn,
            "timedatectl set-ntp true",
        ),
        ("disk_space", |f| left(f, Free { bytes: 1 << 20, ..ROOM }), Fail, "df -h"),
        ("disk_space", |f| left(f, Free { bytes: 200 << 20, ..ROOM }), Warn, "df -h"),
        ("disk_space", |f| left(f, Free { inodes: 1, ..ROOM }), Fail, "df -i"),
        ("disk_space", |f| left(f, Free { inodes: 900, ..ROOM }), Warn, "df -i"),
        ("disk_space", |f| f.disks[0].free = Err("EIO".to_owned()), Warn, "df /var/lib/enforcer"),
        (
            "config",
            |f| f.config = Err("enforcer.toml:3:1: unknown".to_owned()),
            Fail,
            "enforcer check /etc",
        ),
        ("config", no_file, Fail, "enforcer config init --output /etc/enforcer/enforcer.toml"),
        ("daemon", no_daemon, Fail, "systemctl enable --now"),
        (
            "daemon",
            |f| {
                no_daemon(f);
                no_file(f);
            },
            Fail,
            "first mend the config; then systemctl enable --now",
        ),
        ("daemon", |f| report(f).health.state = HealthState::Degraded, Warn, "enforcer status"),
        (
            "daemon",
            |f| report(f).health.state = HealthState::NotEnforcing,
            Fail,
            "systemctl restart enforcer",
        ),
        ("closed", |f| report(f).closure.closed = false, Fail, "enforcer close"),
        ("closed", |f| report(f).closure.wanted = false, Warn, "closed_by"),
        ("open_files", |f| process(f).open_files = Some(1024), Warn, "LimitNOFILE=65536"),
        ("watchdog", |f| process(f).has_watchdog = false, Warn, "WatchdogSec=30"),
        (
            "watchdog",
            |f| process(f).has_manager = false,
            Warn,
            "systemctl enable --now enforcer.service",
        ),
        (
            "boot",
            |f| {
                unit(f).closed_enabled = false;
                no_file(f);
            },
            Warn,
            "first mend the config; then systemctl enable enforcer-closed.service",
        ),
        ("boot", |f| f.units = None, Warn, "enforcer close before dockerd"),
    ]
};

#[test]
fn f26_f27_each_thing_that_is_wrong_is_told_with_its_mend_and_nothing_else_is() {
    for (check, spoil, grade, mend) in WRONG {
        let mut facts = well();
        spoil(&mut facts);
        let findings = examine(&facts);
        let found = findings.iter().find(|finding| finding.check == check);
        let found = found.unwrap_or_else(|| panic!("{check} is missing"));
        assert_eq!(found.grade, grade, "{found:?}");
        assert!(found.mend.contains(mend), "{mend:?} is not in {found:?}");
        assert!(worst(&findings) >= grade);
    }
}

#[test]
fn a_unit_that_does_not_start_at_boot_is_named() {
    let cases: [(Spoil, &str); 3] = [
        (|f| unit(f).daemon_enabled = false, "systemctl enable enforcer.service"),
        (|f| unit(f).closed_enabled = false, "systemctl enable enforcer-closed.service"),
        (
            |f| unit(f).docker_waits = false,
            "systemctl reenable enforcer-closed.service enforcer.service",
        ),
    ];
    for (spoil, mend) in cases {
        let mut facts = well();
        spoil(&mut facts);
        let boot = of(&facts, "boot");
        assert!(boot.grade == Grade::Warn && boot.mend.starts_with(mend), "{boot:?}");
    }
}

#[test]
fn a_host_that_is_well_has_no_complaint() {
    let findings = examine(&well());
    let complaints: Vec<&Finding> = findings.iter().filter(|f| f.grade != Grade::Ok).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    assert!(findings.iter().all(|finding| finding.mend.is_empty() && finding.means.is_empty()));
    assert_eq!(worst(&findings), Grade::Ok);
}

#[test]
fn every_check_can_fail() {
    let findings = examine(&well());
    // Good either way, and there to be read.
    let always = ["br_netfilter"];
    for finding in &findings {
        let can_fail = WRONG.iter().any(|(check, ..)| *check == finding.check);
        assert!(can_fail != always.contains(&finding.check), "{}", finding.check);
    }
}

#[test]
fn s16_without_a_daemon_the_security_modules_are_told_and_a_config_that_is_not_known_asks_for_them()
{
    let mut facts = well();
    facts.daemon = DaemonFacts { report: Err("none".to_owned()), process: None };
    assert_eq!(of(&facts, "bpf_lsm").grade, Grade::Ok);
    facts.kernel.security_modules = Some("capability".to_owned());
    assert_eq!(of(&facts, "bpf_lsm").grade, Grade::Warn);
    facts.config = Err("no file".to_owned());
    assert_eq!(of(&facts, "bpf_lsm").grade, Grade::Fail);
}

#[test]
fn without_iptables_it_is_told_what_becomes_of_published_ports() {
    let mut facts = well();
    for (userland_proxy, words) in [(true, "docker-proxy alone"), (false, "do not work")] {
        engine(&mut facts).settings =
            Ok(EngineSettings { iptables: false, userland_proxy, ..SETTINGS });
        let found = of(&facts, "docker_iptables");
        assert!(found.means.contains(words), "{found:?}");
    }
}

#[test]
fn a_file_system_without_a_number_of_inodes_is_not_full_of_them() {
    let mut facts = well();
    left(&mut facts, Free { inodes: 0, of_inodes: 0, ..ROOM });
    assert_eq!(of(&facts, "disk_space").grade, Grade::Ok);
}

#[test]
fn where_pins_would_lie_is_named_as_the_config_has_it() {
    let mut facts = well();
    wanted(&mut facts).pin_dir = PathBuf::from("/srv/pins");
    facts.kernel.pins = Ground::Elsewhere;
    assert!(of(&facts, "bpffs").found.contains("/srv/pins"));
}

fn of(facts: &Facts, check: &str) -> Finding {
    let mut findings = examine(facts).into_iter();
    findings.find(|finding| finding.check == check).unwrap_or_else(|| panic!("no {check}"))
}
