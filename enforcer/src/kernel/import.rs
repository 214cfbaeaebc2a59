//! Hands flows to the program `import_flows`, which puts them into the table as the packet path does.

use std::{
    io,
    ops::AddAssign,
    os::fd::{AsFd as _, OwnedFd},
};

use aya::{Ebpf, programs::SchedClassifier};
use enforcer_common::abi::import::{IMPORT_BATCH, IMPORT_OFFSET, Import, Outcome, Outcomes};

use super::{KernelError, load::LoadError, raw};

/// Name of the program.
pub const PROGRAM: &str = "import_flows";

/// The loaded program. One run at a time: all share the room of a CPU.
#[derive(Debug)]
pub struct Importer {
    program: OwnedFd,
}

/// What became of flows that were to be imported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported([u64; Outcome::ALL.len()]);

impl Imported {
    /// How many ended so.
    #[must_use]
    pub const fn count(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize]
    }

    /// Flows that the table has now and had not before.
    #[must_use]
    pub const fn taken(&self) -> u64 {
        self.count(Outcome::Taken)
    }

    /// Live flows that the table could not take.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.count(Outcome::NoEndpoint) + self.count(Outcome::Quota) + self.count(Outcome::Full)
    }
}

impl AddAssign for Imported {
    fn add_assign(&mut self, other: Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }
}

impl AddAssign<Outcomes> for Imported {
    fn add_assign(&mut self, outcomes: Outcomes) {
        for outcome in Outcome::ALL {
            self.0[outcome as usize] += u64::from(outcomes.count(outcome));
        }
    }
}

impl Importer {
    /// The program of a loaded object.
    pub fn new(ebpf: &Ebpf) -> Result<Self, LoadError> {
        let program: &SchedClassifier = ebpf
            .program(PROGRAM)
            .and_then(|program| program.try_into().ok())
            .ok_or(LoadError::NoProgram { program: PROGRAM })?;
        let program = program
            .fd()
            .map_err(io::Error::other)
            .and_then(|fd| fd.as_fd().try_clone_to_owned())
            .map_err(failed)?;
        Ok(Self { program })
    }

    /// Imports flows; their endpoints, policies and usage entries must be in the maps before.
    pub fn import(
        &mut self,
        flows: impl IntoIterator<Item = Import>,
    ) -> Result<Imported, KernelError> {
        let mut imported = Imported::default();
        let mut frame = Vec::with_capacity(IMPORT_OFFSET + IMPORT_BATCH * size_of::<Import>());
        let mut flows = flows.into_iter().peekable();
        while flows.peek().is_some() {
            frame.clear();
            frame.resize(IMPORT_OFFSET, 0);
            for flow in flows.by_ref().take(IMPORT_BATCH) {
                frame.extend_from_slice(bytes(&flow));
            }
            let word = raw::test_run(self.program.as_fd(), &frame).map_err(failed)?;
            imported += Outcomes::from_word(word);
        }
        Ok(imported)
    }
}

fn failed(source: io::Error) -> KernelError {
    KernelError::Run { program: PROGRAM, source }
}

fn bytes(flow: &Import) -> &[u8] {
    // SAFETY: an `Import` is plain integers without padding (`Pod`), and lives as long as the slice.
    unsafe { std::slice::from_raw_parts((&raw const *flow).cast(), size_of::<Import>()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n7_what_is_refused_is_counted_apart_from_what_was_over_or_known() {
        let mut imported = Imported::default();
        for outcome in Outcome::ALL {
            let mut outcomes = Outcomes::default();
            outcomes.add(outcome);
            imported += outcomes;
        }
        imported += imported;
        assert_eq!((imported.taken(), imported.refused()), (2, 6));
        assert_eq!(imported.count(Outcome::Over), 2);
    }
}
