//! The file in which a daemon leaves to the next one who is held.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use super::super::blocking;
use crate::{
    abuse::{Restraint, Restraints},
    causes::causes,
    config::Abuse,
    kernel::monotonic_ns,
    policy::allowance::LASTS,
};

/// Its name in the run directory.
pub(in super::super) const PATH: &str = "restraints.json";
/// What it is called while it is written.
const NEW: &str = "restraints.json.new";

/// Who was held when the last daemon ended; none for longer from now than the config holds anybody. An error is for people, and then
/// nobody knows.
pub(in super::super) fn load(run_dir: &Path, config: &Abuse) -> Result<Restraints, String> {
    let path = run_dir.join(PATH);
    let failed = |why: String| {
        format!(
            "nobody knows who was slowed, cut off or paused for abuse: {}: {why}; what is wrong there goes with the next \
             change",
            path.display()
        )
    };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Restraints::default()),
        Err(error) => return Err(failed(error.to_string())),
    };
    let most = |one: &Restraint| {
        // What an admin wanted may last longer than what a signal raised.
        let lasts = match one.signal {
            Some(_) => config.lasts(one.answer),
            None => Some(Duration::from_secs(*LASTS.end())),
        };
        let lasts = lasts.and_then(|lasts| u64::try_from(lasts.as_nanos()).ok());
        lasts.unwrap_or(u64::MAX)
    };
    Restraints::read(&text, monotonic_ns(), most).map_err(|error| failed(error.to_string()))
}

/// Writes down who is held: all of it, or nothing. An error is for people.
pub(super) async fn write(path: PathBuf, held: &Restraints) -> Result<(), String> {
    let failed =
        |why: String| format!("a restart would free who is slowed, cut off or paused: {why}");
    let text = held.write().map_err(|error| failed(error.to_string()))?;
    let written = blocking("the list of who is held", move || put(&path, &text)).await;
    written.map_err(|error| failed(causes(&error)))?.map_err(|error| failed(error.to_string()))
}

fn put(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_file_name(NEW);
    // It names guests.
    let mut file =
        fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// Takes the file away.
pub(in super::super) fn remove(run_dir: &Path) -> io::Result<()> {
    for name in [PATH, NEW] {
        match fs::remove_file(run_dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abuse::{Answer, Signal};

    #[tokio::test]
    async fn n7_a_restart_frees_nobody_and_a_spoilt_file_is_told() {
        let dir = std::env::temp_dir().join(format!("enforcer-restraints-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("made");
        let config = Abuse::default();
        assert_eq!(load(&dir, &config), Ok(Restraints::default()));
        let mut held = Restraints::default();
        let until_ns = Some(monotonic_ns() + 1_000_000_000);
        held.put(Restraint {
            container: "ab12".to_owned(),
            name: "ann".to_owned(),
            network: "guests".to_owned(),
            endpoint: 7,
            answer: Answer::Cut,
            signal: Some(Signal::PortSweep),
            until_ns,
        });
        write(dir.join(PATH), &held).await.expect("written");
        assert_eq!(load(&dir, &config).as_ref(), Ok(&held));
        fs::write(dir.join(PATH), "{").expect("spoilt");
        assert!(load(&dir, &config).is_err_and(|why| why.contains("nobody knows who was slowed")));
        remove(&dir).expect("removed");
        assert!(fs::remove_dir(&dir).is_ok(), "nothing is left behind");
    }

    #[tokio::test]
    async fn n7_no_guest_shortens_an_admins_cut() {
        let dir = std::env::temp_dir().join(format!("enforcer-cut-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("made");
        let config = Abuse::default();
        let day = Duration::from_hours(24);
        assert!(config.lasts(Answer::Cut).is_some_and(|lasts| lasts < day));
        let now_ns = monotonic_ns();
        let admins = Restraint {
            container: "ab12".to_owned(),
            name: "ann".to_owned(),
            network: "guests".to_owned(),
            endpoint: 7,
            answer: Answer::Cut,
            signal: None,
            until_ns: Some(now_ns + 86_400_000_000_000),
        };
        let soon = Some(now_ns + 1_000_000_000);
        let own = Restraint { signal: Some(Signal::PortSweep), until_ns: soon, ..admins.clone() };
        // Whichever of them is first.
        for (first, second) in [(&admins, &own), (&own, &admins)] {
            let mut held = Restraints::default();
            held.put(first.clone());
            assert_eq!(held.put(second.clone()), admins);
            write(dir.join(PATH), &held).await.expect("written");
            assert_eq!(load(&dir, &config).as_ref(), Ok(&held), "the next daemon has her end");
        }
        // A signal's that lasts longer is a signal's.
        let mut held = Restraints::default();
        held.put(own.clone());
        assert_eq!(held.put(Restraint { until_ns: Some(now_ns), ..admins.clone() }), own);
        remove(&dir).expect("removed");
        assert!(fs::remove_dir(&dir).is_ok(), "nothing is left behind");
    }
}
