//! The kernel: without most of this the programs are not loaded (threat F27).

use super::{
    Finding,
    facts::{Cgroups, Facts, KernelFacts},
};
use crate::kernel::{features, pins::Ground};

pub(super) fn examine(facts: &Facts) -> Vec<Finding> {
    let kernel = &facts.kernel;
    vec![
        root(facts.is_root),
        release(kernel.release.as_deref()),
        btf(kernel.has_btf),
        jit(kernel.jit.as_deref()),
        lockdown(kernel.lockdown.as_deref()),
        tc_hook(kernel.has_tcx, facts.is_root),
        cgroups(kernel.cgroups),
        pins(facts),
        security_modules(kernel, facts),
    ]
}

fn root(is_root: bool) -> Finding {
    if is_root {
        return Finding::ok("root", "asked as root");
    }
    Finding::fail("root", "not asked as root")
        .so("much of what follows cannot be seen, and is not taken for good")
        .mend("sudo enforcer doctor")
}

fn release(release: Option<&str>) -> Finding {
    const CHECK: &str = "kernel_release";
    const NEWER: &str = "apt-get install linux-image-amd64 && reboot   # 6.1 or newer; 6.6 has TCX";
    match release {
        Some(release) if features::is_new_enough(release) => {
            Finding::ok(CHECK, format!("Linux {release}"))
        }
        Some(release) => Finding::fail(CHECK, format!("Linux {release}, older than 6.1"))
            .so("enforcer does not start; nobody tested it there")
            .mend(NEWER),
        None => Finding::fail(CHECK, "/proc/sys/kernel/osrelease cannot be read")
            .so("enforcer does not start on a kernel that it does not know")
            .mend("mount -t proc proc /proc"),
    }
}

fn btf(has_btf: bool) -> Finding {
    if has_btf {
        return Finding::ok("btf", "the kernel has its own types");
    }
    Finding::fail("btf", "there is no /sys/kernel/btf/vmlinux")
        .so("programs that look into the kernel's structures are not loaded, so enforcer does not start")
        .mend("boot a kernel with CONFIG_DEBUG_INFO_BTF=y, as Debian's and Ubuntu's are")
}

/// The interpreter takes no program with a callback, and the one that ends flows is a timer's.
fn jit(jit: Option<&str>) -> Finding {
    const CHECK: &str = "bpf_jit";
    const ON: &str = "sysctl -w net.core.bpf_jit_enable=1   # and a file in /etc/sysctl.d";
    match jit.map(str::trim) {
        Some("1") => Finding::ok(CHECK, "programs are compiled"),
        Some("2") => Finding::warn(CHECK, "programs are compiled, and their code goes to the kernel's log")
            .so("for developers: the log tells addresses in the kernel")
            .mend(ON),
        Some("0") => Finding::fail(CHECK, "the kernel interprets programs")
            .so("it refuses those with timers, which end flows, so enforcer does not start")
            .mend(ON),
        Some(other) => Finding::warn(CHECK, format!("net.core.bpf_jit_enable is {other}"))
            .so("not a value that enforcer knows")
            .mend(ON),
        None => Finding::warn(CHECK, "net.core.bpf_jit_enable cannot be read")
            .so("where the kernel interprets programs, enforcer does not start")
            .mend("sysctl net.core.bpf_jit_enable   # as root, in the machine's own network namespace"),
    }
}

fn lockdown(modes: Option<&str>) -> Finding {
    const CHECK: &str = "lockdown";
    match modes {
        Some(modes) if modes.contains("[confidentiality]") => Finding::fail(
            CHECK,
            "the kernel is locked down for confidentiality",
        )
        .so("programs may not read kernel memory, so those that know a process are not loaded")
        .mend("boot with lockdown=integrity, or without lockdown=, on the kernel's command line"),
        Some(modes) => Finding::ok(CHECK, format!("{}, which is no obstacle", modes.trim())),
        None => Finding::ok(CHECK, "none that the kernel tells of"),
    }
}

fn tc_hook(has_tcx: bool, is_root: bool) -> Finding {
    const CHECK: &str = "tc_hook";
    match (has_tcx, is_root) {
        (true, _) => Finding::ok(CHECK, "TCX links"),
        (false, true) => Finding::ok(
            CHECK,
            "filters of a clsact qdisc (Linux before 6.6), which the daemon puts back when somebody takes them off",
        ),
        (false, false) => Finding::warn(CHECK, "not known").mend("sudo enforcer doctor"),
    }
}

fn cgroups(cgroups: Cgroups) -> Finding {
    const CHECK: &str = "cgroups";
    const UNIFIED: &str =
        "add systemd.unified_cgroup_hierarchy=1 to the kernel's command line and reboot";
    const LESS: &str = "packets are judged all the same, but no process of a guest is seen: no exec records, no error \
                        at connect, no guard of unix sockets";
    match cgroups {
        Cgroups::Unified => Finding::ok(CHECK, "v2 alone"),
        Cgroups::Hybrid => {
            Finding::warn(CHECK, "v1 and v2 side by side (hybrid); containers are in v1")
                .so(LESS)
                .mend(UNIFIED)
        }
        Cgroups::Old => Finding::warn(CHECK, "no v2 hierarchy is mounted").so(LESS).mend(UNIFIED),
    }
}

fn pins(facts: &Facts) -> Finding {
    const CHECK: &str = "bpffs";
    let dir = facts.config.as_ref().map_or_else(
        |_unknown| crate::config::DEFAULT_PIN_DIR.to_owned(),
        |wanted| wanted.pin_dir.display().to_string(),
    );
    match facts.kernel.pins {
        Ground::There => Finding::ok(CHECK, format!("{dir} is on one")),
        Ground::Mountable => Finding::ok(
            CHECK,
            "none is mounted at /sys/fs/bpf yet; enforcer mounts it when it starts",
        ),
        Ground::Elsewhere => Finding::fail(CHECK, format!("{dir} is not on a BPF file system"))
            .so("policy cannot outlive the daemon, so enforcer does not start")
            .mend("mount -t bpf bpf /sys/fs/bpf, or set [daemon] pin_dir to a directory below it"),
    }
}

/// A running daemon has tried a connection that the kernel must refuse; otherwise the kernel is asked.
fn security_modules(kernel: &KernelFacts, facts: &Facts) -> Finding {
    const CHECK: &str = "bpf_lsm";
    const PERMITTED: &str = "a guest that gets hold of another unix socket than its own may connect to it: what the \
                             gate refuses is then all that stands between it and the engine";
    const MODULE: &str = "add bpf to lsm= on the kernel's command line (cat /sys/kernel/security/lsm has the others) \
                          and reboot; or set [access] docker_socket = false";
    const MOUNT: &str = "mount -t securityfs securityfs /sys/kernel/security && enforcer doctor";
    let may_lack = facts.config.as_ref().is_ok_and(|wanted| wanted.may_lack_kernel_proof);
    let (why, mend) = match (&facts.daemon.report, kernel.security_modules.as_deref()) {
        (Ok(report), _) if report.kernel_proof.active => {
            return Finding::ok(
                CHECK,
                "a forbidden connection to a unix socket was tried, and refused",
            );
        }
        (Ok(report), _) => (report.kernel_proof.why.clone(), MODULE),
        (Err(_), Some(modules)) => match features::without_bpf(modules) {
            None => {
                return Finding::ok(
                    CHECK,
                    "bpf is among the security modules; no daemon has tried it",
                );
            }
            Some(why) => (why, MODULE),
        },
        (Err(_), None) => {
            ("securityfs is not mounted, so the security modules are not known".to_owned(), MOUNT)
        }
    };
    if may_lack {
        return Finding::warn(CHECK, why).so(PERMITTED).mend(mend);
    }
    Finding::fail(CHECK, why)
        .so("[access] kernel_proof is \"required\", or the config is not known: enforcer does not start without it")
        .mend(mend)
}
