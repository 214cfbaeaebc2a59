//! Each check, and the test that spoils it on a host.

use std::{collections::BTreeSet, path::Path};

use super::WRONG;

const MENDS: &str = "tests/tests/dockerd/doctor/mends.rs";
const BESIDE: &str = "tests/tests/dockerd/doctor.rs";
const ENGINE: &str = "tests/tests/dockerd/doctor/engine.rs";
const PACKAGE: &str = "tests/tests/package.rs";
const MACHINE: &str = "xtask/src/vm/systemd/packaged.sh";

/// Where each check is spoilt on a host, and what it then prints is followed until it is well: a file, and what does it there.
const HAPPENS: [(&str, &str, &str); 27] = [
    ("root", MENDS, "check: \"root\","),
    ("kernel_release", MENDS, "check: \"kernel_release\","),
    ("btf", MENDS, "check: \"btf\","),
    ("bpf_jit", MENDS, "check: \"bpf_jit\","),
    ("lockdown", MENDS, "check: \"lockdown\","),
    ("tc_hook", MENDS, "check: \"tc_hook\","),
    ("cgroups", MENDS, "check: \"cgroups\","),
    ("bpffs", MENDS, "check: \"bpffs\","),
    ("bpf_lsm", MENDS, "check: \"bpf_lsm\","),
    ("closing", MENDS, "check: \"closing\","),
    ("guest_bridges", MENDS, "check: \"guest_bridges\","),
    ("vlan_filtering", BESIDE, "mends(shared, \"vlan_filtering\","),
    ("other_tc_programs", BESIDE, "const CHECK: &str = \"other_tc_programs\""),
    ("ip_forward", BESIDE, "mends(shared, \"ip_forward\","),
    ("docker", MENDS, "check: \"docker\","),
    ("docker_settings", MENDS, "check: \"docker_settings\","),
    ("docker_iptables", ENGINE, "(\"docker_iptables\","),
    ("docker_ip6tables", ENGINE, "(\"docker_ip6tables\","),
    ("docker_userland_proxy", ENGINE, "(\"docker_userland_proxy\","),
    ("clock", MACHINE, "mends clock "),
    ("disk_space", MENDS, "check: \"disk_space\","),
    ("config", MENDS, "check: \"config\","),
    ("daemon", MACHINE, "mends daemon "),
    ("closed", MENDS, "const CHECK: &str = \"closed\""),
    ("open_files", MENDS, "check: \"open_files\","),
    ("watchdog", MACHINE, "mends_by_edit watchdog "),
    ("boot", PACKAGE, "check[\"check\"] == \"boot\""),
];

#[test]
fn f26_f27_each_check_has_a_test_that_spoils_it_and_follows_what_it_prints() {
    let listed: BTreeSet<&str> = HAPPENS.iter().map(|(check, ..)| *check).collect();
    let checks: BTreeSet<&str> = WRONG.iter().map(|(check, ..)| *check).collect();
    assert_eq!(listed, checks);
    for (check, file, words) in HAPPENS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
        let text = std::fs::read_to_string(&path).expect(file);
        assert!(text.contains(words), "{file} does not spoil {check}: no {words:?}");
    }
}
