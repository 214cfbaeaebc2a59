//! One run: a unique tag, and a directory that goes when the run ends.

use std::{
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};

/// A run's name and directory.
#[derive(Debug)]
pub struct Run {
    tag: String,
    dir: PathBuf,
}

static RUNS: AtomicU32 = AtomicU32::new(0);

impl Run {
    /// A new run with an empty directory.
    pub fn start() -> Result<Self> {
        let number = RUNS.fetch_add(1, Ordering::Relaxed);
        let tag = format!("ef{:x}-{number}", process::id());
        let dir = std::env::temp_dir().join(&tag);
        std::fs::create_dir(&dir).with_context(|| format!("create {}", dir.display()))?;
        Ok(Self { tag, dir })
    }

    /// A name that no other run has.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes a directory in it.
    pub fn make_dir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.dir.join(name);
        std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        Ok(dir)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if std::env::var_os("ENFORCER_TEST_KEEP").is_some() {
            eprintln!("kept {}", self.dir.display());
        } else if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            eprintln!("remove {}: {error}", self.dir.display());
        }
    }
}

/// Why tests that need root cannot run here; `None`: they can.
#[must_use]
pub fn obstacle() -> Option<String> {
    // SAFETY: no arguments, cannot fail.
    let user = unsafe { libc::geteuid() };
    if user != 0 {
        return Some("needs root".into());
    }
    let missing: Vec<&str> =
        ["dockerd", "ip", "iptables", "tar"].into_iter().filter(|tool| !on_path(tool)).collect();
    (!missing.is_empty()).then(|| format!("needs {}", missing.join(", ")))
}

fn on_path(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .any(|dir| dir.join(tool).exists())
}

/// Does something on a thread that lasts as long as the process: what it starts with
/// `PR_SET_PDEATHSIG` ends with the thread that started it.
pub fn on_lasting_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (give, take) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _ = give.send(work());
        loop {
            std::thread::park();
        }
    });
    take.recv().context("the thread panicked")?
}

/// Polls until `ready` gives a value.
pub fn wait_for<T>(
    what: &str,
    within: std::time::Duration,
    mut ready: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = std::time::Instant::now();
    loop {
        let outcome = ready();
        match outcome {
            Ok(Some(value)) => return Ok(value),
            Ok(None) | Err(_) if started.elapsed() < within => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            Ok(None) => anyhow::bail!("{what}: not within {within:?}"),
            Err(error) => return Err(error.context(format!("{what}: not within {within:?}"))),
        }
    }
}
