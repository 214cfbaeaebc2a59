//! A wall clock of the daemon's own, that a test can set: a library that is preloaded into it. What
//! eBPF programs read, and every other clock, is the machine's.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::netns::output;

/// See the module.
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    offset: PathBuf,
    file: File,
}

impl Clock {
    /// Makes one that shows the machine's time, with what it needs in `dir`.
    pub fn make(dir: &Path) -> Result<Self> {
        let (source, library) = (dir.join("clock.c"), dir.join("clock.so"));
        fs::write(&source, include_str!("clock.c"))?;
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source);
        output(&mut cc, "compile the clock")?;
        let offset = dir.join("offset");
        let file = File::options().create_new(true).write(true).open(&offset).context("offset")?;
        let clock = Self { library, offset, file };
        clock.set(0)?;
        Ok(clock)
    }

    /// Sets it so many seconds ahead of the machine's, or back.
    pub fn set(&self, seconds: i64) -> Result<()> {
        Ok(self.file.write_all_at(&seconds.to_ne_bytes(), 0)?)
    }

    /// What a process needs in its environment to live by it.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        vec![("LD_PRELOAD", self.library.clone()), ("ENFORCER_TEST_CLOCK", self.offset.clone())]
    }
}
