//! The scenario `packaged`: a machine that installs the package, and to which happens what happens to daemons. It announces
//! each step on its uplink; what is counted between two announcements is judged here.

use std::{
    fmt, fs,
    io::Read as _,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::{Seen, pcap::Step};
use crate::{
    package::{self, FIRST_RELEASE, NEXT_RELEASE},
    workspace::{Workspace, succeed},
};

pub(super) const NAME: &str = "packaged";

/// Steps, in order, and what is to be seen in each.
const STEPS: [(&str, Expected); 16] = [
    ("before", Expected::Open),
    ("installing", Expected::Anything),
    ("policed", Expected::Policed),
    ("doctor", Expected::Policed),
    ("killed", Expected::Policed),
    ("frozen", Expected::Policed),
    ("upgraded", Expected::Policed),
    ("locked", Expected::Policed),
    ("rebooting", Expected::Silent),
    ("rebooted", Expected::Policed),
    ("purging", Expected::Anything),
    ("purged", Expected::Open),
    ("returning", Expected::Anything),
    ("closed", Expected::Silent),
    ("opening", Expected::Anything),
    ("returned", Expected::Policed),
];

/// Where policy holds it is measured, and by which release.
const MEASURED: [(&str, &str); 6] = [
    ("policed", FIRST_RELEASE),
    ("killed", FIRST_RELEASE),
    ("frozen", FIRST_RELEASE),
    ("upgraded", NEXT_RELEASE),
    ("rebooted", NEXT_RELEASE),
    ("returned", NEXT_RELEASE),
];

/// What doctor finds wrong, and with its own mend right.
const MENDED: [&str; 5] = ["clock", "boot", "daemon", "watchdog", "open_files"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// Forbidden traffic leaves: the positive control.
    Open,
    /// Policy is being put on, or taken off.
    Anything,
    /// Nothing forbidden leaves; what is legal does, and visitors are answered.
    Policed,
    /// Nothing forbidden leaves; what is legal may have ended.
    Silent,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, forbidden, legal, answers } = self;
        write!(f, "{name:<10} {forbidden:>5} forbidden {legal:>5} legal {answers:>5} answers")
    }
}

/// Both releases in an archive without a file system, as a disk.
pub(super) fn releases(workspace: &Workspace, next: &Path, directory: &Path) -> Result<PathBuf> {
    let root = directory.join("releases");
    let _absent = fs::remove_dir_all(&root);
    fs::create_dir_all(&root)?;
    for (deb, name) in package::releases(workspace, next)?.iter().zip(["1", "2"]) {
        fs::copy(deb, root.join(format!("enforcer_{name}.deb")))?;
    }
    let archive = directory.join("releases.tar");
    succeed(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&root).arg("."))?;
    Ok(archive)
}

/// Clients that come from outside to a port that the machine's Docker publishes, as long as this lives.
pub(super) struct Visitors {
    port: Option<u16>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Visitors {
    /// They begin, if they are wanted.
    pub(super) fn come(wanted: bool) -> Result<Self> {
        let end = Arc::<AtomicBool>::default();
        if !wanted {
            return Ok(Self { port: None, end, thread: None });
        }
        // Free now; qemu takes it at once.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let seen = Arc::clone(&end);
        let thread = thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                let _unanswered = visit(address);
                thread::sleep(Duration::from_millis(500));
            }
        });
        Ok(Self { port: Some(address.port()), end, thread: Some(thread) })
    }

    /// What qemu is told of them.
    pub(super) fn forward(&self) -> String {
        self.port.map(|port| format!(",hostfwd=tcp:127.0.0.1:{port}-:8888")).unwrap_or_default()
    }
}

impl Drop for Visitors {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

fn visit(address: SocketAddr) -> std::io::Result<()> {
    let patience = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.read_to_string(&mut String::new()).map(drop)
}

pub(super) fn judge(seen: &Seen, _: u32) -> Result<()> {
    ensure!(seen.said.contains_key("done"), "it did not come to its end");
    seen.others_are_well()?;
    steps(&seen.uplink.steps)?;
    for (step, version) in MEASURED {
        let words = words(seen, &format!("status-{step}"))?;
        ensure!(words.starts_with(&format!("version {version} docker ")), "{step}: {words}");
    }
    one_docker(seen)?;
    for check in MENDED {
        let words = words(seen, &format!("mend-{check}"))?;
        let mut grades = words.split(' ');
        let (before, after) = (grades.next(), grades.next());
        ensure!(matches!(before, Some("warn" | "fail")), "{check} cannot be spoilt: {words}");
        ensure!(after == Some("ok"), "{check} is not mended: {words}");
    }
    let doctor = words(seen, "doctor")?;
    ensure!(doctor.ends_with(" ok, 0 warn, 0 fail"), "doctor: {doctor}");
    // The host lacks something (3), and says what.
    let locked = words(seen, "locked")?;
    ensure!(locked.starts_with("3 fail ") && !locked.ends_with(" 0"), "locked down: {locked}");
    ensure!(words(seen, "rebooted")? == "ok 0", "a reboot does not mend lockdown");
    ensure!(words(seen, "purged")?.starts_with("inactive docker active "), "after the purge");
    ensure!(words(seen, "reclosed")? != "0", "a later installation does not close by itself");
    Ok(())
}

/// Docker goes on from the installation to the reboot: guests outlive all of it.
fn one_docker(seen: &Seen) -> Result<()> {
    let docker =
        |step| -> Result<&str> { Ok(words(seen, step)?.rsplit(' ').next().unwrap_or_default()) };
    let first = docker("status-policed")?;
    ensure!(first == docker("status-upgraded")?, "Docker was restarted before the reboot");
    ensure!(docker("status-rebooted")? == docker("status-returned")?, "the purge restarted Docker");
    Ok(())
}

fn steps(seen: &[Step]) -> Result<()> {
    let names = seen.iter().map(|step| step.name.as_str());
    ensure!(names.eq(STEPS.iter().map(|(name, _)| *name)), "other steps: {seen:?}");
    for (step, (_, expected)) in seen.iter().zip(STEPS) {
        match expected {
            Expected::Open => ensure!(step.forbidden > 0, "the attack does not work: {step}"),
            Expected::Anything => {}
            Expected::Policed | Expected::Silent => {
                ensure!(step.forbidden == 0, "it leaks: {step}");
            }
        }
        if expected == Expected::Policed {
            ensure!(step.legal > 0 && step.answers > 0, "what is legal does not flow: {step}");
        }
    }
    Ok(())
}

fn words<'a>(seen: &'a Seen, word: &str) -> Result<&'a str> {
    seen.said.get(word).map(String::as_str).with_context(|| format!("it does not say {word:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leak_a_silence_and_a_missing_step_are_seen() {
        let well = || -> Vec<Step> {
            let step = |(name, expected): &(&str, Expected)| Step {
                name: (*name).to_owned(),
                forbidden: usize::from(*expected == Expected::Open),
                legal: 1,
                answers: 1,
            };
            STEPS.iter().map(step).collect()
        };
        assert!(steps(&well()).is_ok());
        let spoil: [fn(&mut Vec<Step>); 5] = [
            |steps| steps[6].forbidden = 1,
            |steps| steps[8].forbidden = 1,
            |steps| steps[2].legal = 0,
            |steps| steps[11].forbidden = 0,
            |steps| drop(steps.remove(5)),
        ];
        for spoil in spoil {
            let mut spoilt = well();
            spoil(&mut spoilt);
            assert!(steps(&spoilt).is_err(), "{spoilt:?}");
        }
    }
}
