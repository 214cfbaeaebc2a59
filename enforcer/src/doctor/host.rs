//! The rest of the machine: clock, disks.

use super::{
    Finding,
    facts::{Disk, Facts, Free},
};

/// Less than this and records may be lost within minutes.
const LEAST_BYTES: u64 = 64 << 20;
/// Less than this is soon too little.
const FEW_BYTES: u64 = 1 << 30;
/// Segments, their signatures and the database are files; so few are left soon after.
const LEAST_INODES: u64 = 64;
/// See [`LEAST_INODES`].
const FEW_INODES: u64 = 1024;

pub(super) fn examine(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![clock(&facts.clock_synchronised)];
    findings.extend(facts.disks.iter().map(disk));
    findings
}

fn clock(synchronised: &Result<bool, String>) -> Finding {
    const CHECK: &str = "clock";
    const ON: &str = "timedatectl set-ntp true   # or: apt-get install chrony";
    const MEANS: &str = "records may have wrong times; policy and flows do not use this clock";
    match synchronised {
        Ok(true) => Finding::ok(CHECK, "synchronised"),
        Ok(false) => Finding::warn(CHECK, "not synchronised").so(MEANS).mend(ON),
        Err(why) => {
            Finding::warn(CHECK, format!("the kernel does not tell: {why}")).so(MEANS).mend(ON)
        }
    }
}

fn disk(disk: &Disk) -> Finding {
    const CHECK: &str = "disk_space";
    let Disk { dir, holds, free } = disk;
    let dir = dir.display();
    let free = match free {
        Ok(free) => *free,
        Err(why) => {
            return Finding::warn(CHECK, format!("{dir}: {why}"))
                .so(format!("{holds}: how much fits is not known"))
                .mend(format!("df {dir}"));
        }
    };
    let left = format!("{dir}: {} MiB of {} MiB free", free.bytes >> 20, free.of_bytes >> 20);
    let mend =
        format!("df -h {dir} && df -i {dir}   # then make room, or set keep_mib under [audit]");
    if is_under(free, LEAST_BYTES, LEAST_INODES) {
        return Finding::fail(CHECK, left)
            .so(format!("{holds}: soon nothing can be written"))
            .mend(mend);
    }
    if is_under(free, FEW_BYTES, FEW_INODES) {
        return Finding::warn(CHECK, left).so(format!("{holds}: little room is left")).mend(mend);
    }
    Finding::ok(CHECK, left)
}

/// File systems such as btrfs have no fixed number of inodes, and say 0.
fn is_under(free: Free, bytes: u64, inodes: u64) -> bool {
    free.bytes < bytes || free.of_inodes > 0 && free.inodes < inodes
}
