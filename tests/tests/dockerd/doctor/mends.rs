//! Each failure that `enforcer doctor` can find, made to happen in a mount namespace of its own, where files of the kernel's
//! say what they would say on another host; and what its mend says, followed there.

use std::{process::Output, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use enforcer_tests::harness::{artifacts, run::wait_for};
use serde_json::Value;

use super::check;
use crate::shared::{self, Shared};

/// What spoils one check, and how its mend is followed.
struct Case {
    check: &'static str,
    grade: &'static str,
    spoil: &'static str,
    /// In what is printed.
    mend: &'static str,
    follow: Follow,
}

enum Follow {
    /// To the letter, by this binary and with this config.
    AsPrinted,
    /// What is printed asks for another boot, another user, or for an editor: by this.
    By(&'static str),
}

use Follow::{AsPrinted, By};

const CASES: [Case; 17] = [
    Case {
        check: "root",
        grade: "fail",
        spoil: "AS='setpriv --reuid=65534 --regid=65534 --clear-groups'",
        mend: "sudo enforcer doctor",
        follow: By("AS="),
    },
    Case {
        check: "kernel_release",
        grade: "fail",
        spoil: "echo 5.10.0-1-amd64 > $D/release && mount --bind $D/release /proc/sys/kernel/osrelease",
        mend: "reboot",
        follow: By("umount /proc/sys/kernel/osrelease"),
    },
    Case {
        check: "btf",
        grade: "fail",
        spoil: "mount -t tmpfs none /sys/kernel/btf",
        mend: "CONFIG_DEBUG_INFO_BTF=y",
        follow: By("umount /sys/kernel/btf"),
    },
    Case {
        check: "bpf_jit",
        grade: "fail",
        spoil: "mount -t tmpfs none /proc/sys/net/core && echo 0 > /proc/sys/net/core/bpf_jit_enable",
        mend: "sysctl -w net.core.bpf_jit_enable=1",
        follow: AsPrinted,
    },
    Case {
        check: "lockdown",
        grade: "fail",
        spoil: "mount -t tmpfs none /sys/kernel/security && \
                echo 'none integrity [confidentiality]' > /sys/kernel/security/lockdown",
        mend: "lockdown=integrity",
        follow: By("echo 'none [integrity] confidentiality' > /sys/kernel/security/lockdown"),
    },
    Case {
        check: "bpf_lsm",
        grade: "fail",
        spoil: "printf '[access]\\nkernel_proof = \"required\"\\n' >> $C && \
                mount -t tmpfs none /sys/kernel/security && \
                echo lockdown,capability > /sys/kernel/security/lsm",
        mend: "add bpf to lsm=",
        follow: By("echo lockdown,capability,bpf > /sys/kernel/security/lsm"),
    },
    Case {
        check: "tc_hook",
        grade: "warn",
        // As before Linux 6.6, where nobody but root can tell.
        spoil: "export ENFORCER_TEST_CLSACT=1 && AS='setpriv --reuid=65534 --regid=65534 --clear-groups'",
        mend: "sudo enforcer doctor",
        follow: By("AS="),
    },
    Case {
        check: "cgroups",
        grade: "warn",
        // What is mounted over cannot be unmounted: it is taken from the list.
        spoil: "grep -v ' - cgroup' /proc/self/mountinfo > $D/mounts && mount --bind $D/mounts /proc/$$/mountinfo",
        mend: "systemd.unified_cgroup_hierarchy=1",
        // As after the boot that is asked for.
        follow: By("mkdir $D/unified && mount -t cgroup2 none $D/unified && \
             echo \"30 24 0:26 / $D/unified rw - cgroup2 cgroup2 rw\" >> $D/mounts"),
    },
    Case {
        check: "bpffs",
        grade: "fail",
        spoil: "sed -i \"s,^pin_dir.*,pin_dir = '$D/pins',\" $C",
        mend: "set [daemon] pin_dir",
        follow: By("sed -i \"s,^pin_dir.*,pin_dir = '/sys/fs/bpf/enforcer-lone',\" $C"),
    },
    Case {
        check: "closing",
        grade: "fail",
        spoil: "N=$(command -v nft) && mount --bind /dev/null $N",
        mend: "apt-get install nftables",
        follow: By("umount $N"),
    },
    Case {
        check: "docker",
        grade: "fail",
        spoil: "sed -i \"s,^socket.*,socket = '$D/none.sock',\" $C",
        mend: "set [docker] socket",
        follow: By("sed -i \"s,^socket.*,socket = '$S',\" $C"),
    },
    Case {
        check: "docker_settings",
        grade: "warn",
        spoil: "mount -t tmpfs none /proc/$(cat $P_DOCKER)",
        mend: "docker info",
        follow: By("umount /proc/$(cat $P_DOCKER)"),
    },
    Case {
        check: "guest_bridges",
        grade: "warn",
        spoil: "AS='setpriv --reuid=65534 --regid=65534 --clear-groups'",
        mend: "sudo enforcer doctor",
        follow: By("AS="),
    },
    Case {
        check: "disk_space",
        grade: "fail",
        spoil: "mkdir $D/run-state && mount -t tmpfs -o size=2G none $D/run-state && truncate -s 0 $D/run-state/x && \
                mount -o remount,size=32M $D/run-state",
        mend: "make room",
        follow: By("mount -o remount,size=2G $D/run-state"),
    },
    Case {
        check: "config",
        grade: "fail",
        spoil: "echo nonsense >> $C",
        mend: "enforcer check",
        follow: By("sed -i '$d' $C"),
    },
    Case {
        check: "config",
        grade: "fail",
        spoil: "rm $C",
        mend: "enforcer config init --output ",
        // What is printed asks the machine's own Docker.
        follow: By("$E config init --no-questions --docker-socket $S --output $C"),
    },
    Case {
        check: "open_files",
        grade: "warn",
        spoil: "prlimit --pid $P --nofile=1024:",
        mend: "LimitNOFILE=65536",
        follow: By(
            "prlimit --pid $P --nofile=$(prlimit --pid $P --nofile --output HARD --noheadings | tr -d ' '):",
        ),
    },
];

/// Checks of what only a running daemon and its bridges have.
const OF_A_DAEMON: [&str; 3] = ["closed", "guest_bridges", "open_files"];
/// Checks that are not there where all is well: others are, in their place.
const ELSE_SILENT: [&str; 2] = ["docker_settings", "guest_bridges"];

/// As whoever follows what is printed has it: this binary, and this config.
const VERBS: &str = "enforcer() { $E \"$@\" --config $C; };";

/// Its own config, whose daemon does not run; the engine is there.
fn lone(shared: &Shared) -> String {
    format!(
        "[docker]\nsocket = '{}'\n[daemon]\nrun_dir = '/run/enforcer-lone'\nstate_dir = '/run/enforcer-lone-state'\n\
         pin_dir = '/sys/fs/bpf/enforcer-lone'\n[networks.lone]\nbridge = 'br-lone'\n",
        shared.rig.docker.socket().display()
    )
}

/// Runs a script in a mount namespace, and a directory of its own.
fn alone(shared: &Shared, name: &str, script: &str) -> Result<Output> {
    let dir = shared.rig.run.make_dir(&format!("doctor-{name}"))?;
    let config = dir.join("enforcer.toml");
    let text = if OF_A_DAEMON.contains(&name) {
        std::fs::read_to_string(shared.daemon.config())?
    } else {
        lone(shared).replace("/run/enforcer-lone", &dir.join("run").display().to_string())
    };
    std::fs::write(&config, text)?;
    let mut command = shared.rig.host.command("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script]);
    command.env("E", artifacts::enforcer().context("no binary")?);
    command.env("S", shared.rig.docker.socket()).env("P", shared.daemon.pid().to_string());
    command.env("P_DOCKER", shared.rig.docker.pid_file());
    let output = command.env("D", &dir).env("C", &config).output()?;
    std::fs::remove_dir_all(dir)?;
    Ok(output)
}

/// What doctor says of one check after this was done; nothing, where it says nothing of it.
fn finding(shared: &Shared, name: &str, done: &str) -> Result<Option<Value>> {
    let script = format!("{VERBS} {{ {done}\n}} >&2 && exec $AS $E doctor --json --config $C");
    let output = alone(shared, name, &script)?;
    let answer: Value =
        serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))?;
    Ok(check(&answer, name).ok().cloned())
}

/// What is printed to mend it, once it is found to be that bad.
fn printed(found: Option<&Value>, name: &str, grade: &str) -> Result<String> {
    let found = found.with_context(|| format!("{name} is missing"))?;
    ensure!(found["grade"] == grade, "{name} is not spoilt: {found}");
    Ok(found["mend"].as_str().unwrap_or_default().to_owned())
}

fn is_mended(found: Option<&Value>, name: &str) -> bool {
    match found {
        // A kernel may be able to close between ports only, which no mend changes.
        Some(found) => found["grade"] == "ok" || name == "closing" && found["grade"] == "warn",
        None => ELSE_SILENT.contains(&name),
    }
}

#[test]
fn f26_f27_each_failure_happens_is_told_and_is_mended_by_what_doctor_prints() -> Result<()> {
    shared::with(|shared| {
        for Case { check, grade, spoil, mend, follow } in &CASES {
            let printed = printed(finding(shared, check, spoil)?.as_ref(), check, grade)?;
            ensure!(printed.contains(mend), "{check}: {printed}");
            let follow = match follow {
                AsPrinted => printed.as_str(),
                By(follow) => follow,
            };
            let found = finding(shared, check, &format!("{spoil} && {follow}"))?;
            ensure!(is_mended(found.as_ref(), check), "{follow} does not mend {check}: {found:?}");
        }
        shared.ensure_legal()
    })
}

/// The daemon would close them again by itself within seconds; meanwhile it has no nft.
#[test]
fn n6_doctor_tells_that_guest_bridges_are_open_and_what_it_prints_closes_them() -> Result<()> {
    const CHECK: &str = "closed";
    shared::with(|shared| {
        let host = &shared.rig.host;
        let nft = host.run("which nft")?.trim().to_owned();
        let own = shared.rig.run.make_dir("doctor-nft")?.join("nft");
        std::fs::copy(&nft, &own)?;
        host.run(&format!("mount --bind /dev/null {nft}"))?;
        let outcome = (|| {
            host.run(&format!("{} delete table bridge enforcer", own.display()))?;
            // A reading of the table is good for a second.
            let printed = wait_for("the daemon's word for it", Duration::from_secs(20), || {
                Ok(Some(printed(finding(shared, CHECK, ":")?.as_ref(), CHECK, "fail")?))
            })?;
            ensure!(printed.starts_with("enforcer close"), "{printed}");
            // Here there is one, so that what closes is what was printed.
            let output = alone(shared, CHECK, &format!("umount {nft}; {VERBS} {printed}"))?;
            let said = String::from_utf8_lossy(&output.stdout);
            ensure!(said.contains("table bridge enforcer {"), "{printed}: {output:?}");
            Ok(())
        })();
        host.run(&format!("umount {nft}"))?;
        outcome?;
        wait_for("the daemon's word for it", Duration::from_secs(30), || {
            Ok(is_mended(finding(shared, CHECK, ":")?.as_ref(), CHECK).then_some(()))
        })?;
        shared.ensure_legal()
    })
}

/// What the daemon itself says on such hosts: the same, with the exit code for a host that lacks something.
#[test]
fn f27_on_a_host_that_lacks_something_the_daemon_says_what_and_does_not_start() -> Result<()> {
    shared::with(|shared| {
        for (check, code, says) in [
            ("root", 3, "enforcer runs as root"),
            ("kernel_release", 3, "kernel 5.10.0-1-amd64 is too old"),
            ("btf", 3, "/sys/kernel/btf/vmlinux"),
            ("bpf_lsm", 3, "kernel_proof is \"required\""),
            // Somebody may mount one: it is tried again.
            ("bpffs", 1, "not on a BPF file system"),
        ] {
            let Some(case) = CASES.iter().find(|case| case.check == check) else {
                bail!("no case {check}");
            };
            // In a network of its own: what closes would be another's.
            let run = "unshare --net $AS timeout 20 $E run --config $C";
            let output = alone(shared, check, &format!("{{ {}; }} >&2 && exec {run}", case.spoil))?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(said.contains(says), "{check}: {output:?}");
            ensure!(output.status.code() == Some(code), "{check}: {output:?}");
        }
        shared.ensure_legal()
    })
}

/// Too few open files, in a network of its own: nothing is loaded, and what closes guest networks is there.
#[test]
fn f26_with_too_few_open_files_the_daemon_ends_with_an_error_and_what_closes_stays() -> Result<()> {
    shared::with(|shared| {
        let script = "unshare --net sh -c 'ip link set lo up; timeout 30 prlimit --nofile=24:24 $E run --config $C; \
                      echo code $?; nft list table bridge enforcer'; rm -rf /sys/fs/bpf/enforcer-lone";
        let output = alone(shared, "nofile", script)?;
        let (said, told) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(told.contains("Too many open files"), "{output:?}");
        ensure!(said.contains("code 1") && said.contains("table bridge enforcer {"), "{output:?}");
        Ok(())
    })
}
