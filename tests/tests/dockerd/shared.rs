//! One rig and one daemon for all tests of this process that only use them: started by the first,
//! stopped by [`stop`] or at exit.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result, bail, ensure};
use enforcer_tests::harness::{
    dockerd::Options,
    enforcer::{Counts, Enforcer, Settings},
    proof::rise,
    residue::Snapshot,
    run::on_lasting_thread,
    topology::{Base, Rig},
};

use crate::flood;

/// Most established flows towards a guest, for the test that uses twice as many.
pub const INBOUND_ESTABLISHED: u32 = 100;
/// Name of the container that is a hub, once it is started.
pub const HUB: &str = "hub";
/// Its port that guests may reach.
pub const HUB_API: u16 = 8000;

/// The daemon and the rig.
pub struct Shared {
    /// The daemon.
    pub daemon: Enforcer,
    /// The rig.
    pub rig: Rig,
    /// Where its records are kept.
    pub records: PathBuf,
    before: Snapshot,
}

enum State {
    Fresh,
    Running(Box<Shared>),
    Failed,
    Stopped,
}

static SHARED: Mutex<State> = Mutex::new(State::Fresh);

/// Runs a test with them; skips it where it cannot run.
pub fn with(test: impl FnOnce(&Shared) -> Result<()>) -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let mut state = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if matches!(*state, State::Fresh) {
        *state = State::Failed;
        // SAFETY: `at_exit` takes nothing and does not unwind.
        unsafe { libc::atexit(at_exit) };
        *state = State::Running(Box::new(on_lasting_thread(Shared::start)?));
    }
    match &*state {
        State::Running(shared) => test(shared),
        _ => bail!("the rig could not be started, or was stopped before"),
    }
}

/// Stops them, and fails if they leave anything behind.
pub fn stop() -> Result<()> {
    let mut state = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    match std::mem::replace(&mut *state, State::Stopped) {
        State::Running(shared) => shared.stop(),
        _ => Ok(()),
    }
}

extern "C" fn at_exit() {
    if let Err(error) = stop() {
        eprintln!("{error:#}");
    }
}

impl Shared {
    fn start() -> Result<Self> {
        let before = Snapshot::take();
        let base = Base::start(Options::default())?;
        let records = base.run.dir().join("records");
        let daemon = Enforcer::start(
            &base,
            &Settings {
                inbound_established: Some(INBOUND_ESTABLISHED),
                hub: Some((HUB.into(), HUB_API)),
                more: format!("\n[audit]\ndir = \"{}\"\nstdout = true\n", records.display()),
                ..Settings::default()
            },
        )?;
        let rig = base.with_guests()?;
        for guest in [&rig.a, &rig.b] {
            daemon.wait_identified(&rig.host, &guest.name, "guest")?;
        }
        Ok(Self { daemon, rig, records, before })
    }

    fn stop(self) -> Result<()> {
        let Self { daemon, rig, before, .. } = self;
        daemon.stop().context("stop enforcer")?;
        rig.stop()?;
        before.ensure_nothing_new()
    }

    /// Does something and gives the rise of the counters meanwhile.
    pub fn counting(&self, work: impl FnOnce() -> Result<()>) -> Result<Counts> {
        let before = self.daemon.counts(&self.rig.host)?;
        work()?;
        Ok(rise(&before, &self.daemon.counts(&self.rig.host)?))
    }

    /// Does something, and fails unless it was denied exactly `times` for `reasons` together, and
    /// records account for it.
    pub fn denied(
        &self,
        times: u64,
        reasons: &[&str],
        work: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        flood::denied(&self.daemon, &self.rig.host, (times, reasons), work)
    }

    /// Fails unless everything legal works; says what was counted when it does not.
    pub fn ensure_legal(&self) -> Result<()> {
        let mut failed = Vec::new();
        let counts = self.counting(|| {
            failed = self.rig.legal_traffic()?;
            failed.retain(|(_, works)| !works);
            Ok(())
        })?;
        ensure!(failed.is_empty(), "legal traffic fails: {failed:?}; counted {counts:?}");
        Ok(())
    }
}
