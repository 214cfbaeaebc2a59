//! The daemon's run directory, and the lock by which one daemon at a time has it. The kernel releases the
//! lock however the daemon ends.

use std::{
    fs::{self, DirBuilder, File, Permissions, TryLockError},
    io,
    os::unix::fs::{
        DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
    },
    path::{Path, PathBuf},
};

/// Why the run directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// Another daemon holds it.
    #[error("another enforcer runs already: it holds {0}")]
    AlreadyRunning(PathBuf),
    /// A file failed.
    #[error("{doing} {path}: {source}", path = .path.display())]
    Io {
        /// What was done.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

/// The run directory, held by this daemon alone until dropped.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// Held for its lock.
    _lock: File,
}

impl RunDir {
    /// Claims a directory, which is created when missing.
    pub fn claim(path: &Path) -> Result<Self, RunDirError> {
        let io = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| RunDirError::Io { doing, path, source }
        };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(io("create the directory", path))?;
        let lock_path = path.join("lock");
        // Whoever may open it may hold its lock.
        let mut options = File::options();
        options.create(true).truncate(false).write(true).mode(0o600);
        let lock = options.custom_flags(libc::O_NOFOLLOW).open(&lock_path);
        let lock = lock.map_err(io("open the lock", &lock_path))?;
        let private = lock.set_permissions(Permissions::from_mode(0o600));
        private.map_err(io("close to others", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RunDirError::AlreadyRunning(lock_path)),
            Err(TryLockError::Error(source)) => return Err(io("lock", &lock_path)(source)),
        }
        // An uninstallation removes the file while it holds the lock: what is locked then is nobody's.
        let held = lock.metadata().map_err(io("look at", &lock_path))?.ino();
        if fs::metadata(&lock_path).map_or(true, |found| found.ino() != held) {
            return Err(RunDirError::AlreadyRunning(lock_path));
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether a daemon holds the run directory.
#[must_use]
pub fn is_held(run_dir: &Path) -> bool {
    let lock = File::options().write(true).open(run_dir.join("lock"));
    lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_daemon_for_each_run_directory() {
        let path = std::env::temp_dir().join(format!("enforcer-run-dir-{}", std::process::id()));
        let first = RunDir::claim(&path).expect("claimed");
        assert!(is_held(&path));
        for (path, mode) in [(path.clone(), 0o700), (path.join("lock"), 0o600)] {
            let found = fs::metadata(&path).expect("there").permissions().mode() & 0o777;
            assert_eq!(found, mode, "{}", path.display());
        }
        let second = RunDir::claim(&path);
        assert!(matches!(second, Err(RunDirError::AlreadyRunning(_))), "{second:?}");
        drop(first);
        assert!(!is_held(&path));
        let again = RunDir::claim(&path);
        fs::remove_dir_all(&path).expect("there");
        again.expect("claimed again");
    }
}
