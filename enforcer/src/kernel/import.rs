//! Hands flows and counts to the programs that put them into the tables as the packet path does.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use aya::{Ebpf, programs::SchedClassifier};
use enforcer_common::abi::import::{
    IMPORT_BATCH, IMPORT_OFFSET, Import, ImportCounter, Outcome, Outcomes,
};

use super::{KernelError, bpf, load::LoadError};

const FLOWS: &str = "import_flows";
const COUNTERS: &str = "import_counters";

/// Names of the programs. They sit on no hook.
pub const PROGRAMS: [&str; 2] = [FLOWS, COUNTERS];

/// The loaded programs. One run at a time: all share the room of a CPU.
#[derive(Debug)]
pub struct Importer {
    flows: OwnedFd,
    counters: OwnedFd,
}

/// What became of flows that were to be imported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported([u64; Outcome::ALL.len()]);

impl Imported {
    /// How many ended so.
    #[must_use]
    pub const fn count(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize - 1]
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

impl Imported {
    fn add(&mut self, outcome: Outcome) {
        self.0[outcome as usize - 1] += 1;
    }
}

impl Importer {
    /// The programs of a loaded object.
    pub fn new(ebpf: &Ebpf) -> Result<Self, LoadError> {
        Ok(Self { flows: loaded(ebpf, FLOWS)?, counters: loaded(ebpf, COUNTERS)? })
    }

    /// Imports flows; their endpoints, policies and usage entries must be in the maps before.
    pub fn import(
        &mut self,
        flows: impl IntoIterator<Item = Import>,
    ) -> Result<Imported, KernelError> {
        self.import_each(flows, |_flow, _outcome| {})
    }

    /// As [`Importer::import`]; tells what became of each.
    pub fn import_each(
        &mut self,
        flows: impl IntoIterator<Item = Import>,
        mut told: impl FnMut(&Import, Outcome),
    ) -> Result<Imported, KernelError> {
        let mut imported = Imported::default();
        let mut flows = flows.into_iter();
        while let Some((batch, frame)) = next_frame(&mut flows) {
            let word = bpf::test_run(self.flows.as_fd(), &frame, 0).map_err(failed(FLOWS))?;
            for (index, flow) in batch.iter().enumerate() {
                // One that the program did not come to is not in the table.
                let outcome = Outcomes::from_word(word).get(index).unwrap_or(Outcome::Full);
                imported.add(outcome);
                told(flow, outcome);
            }
        }
        Ok(imported)
    }

    /// Adds counts; how many.
    pub fn add_counters(
        &mut self,
        counters: impl IntoIterator<Item = ImportCounter>,
    ) -> Result<u64, KernelError> {
        let mut taken = 0;
        let mut counters = counters.into_iter();
        while let Some((_, frame)) = next_frame(&mut counters) {
            let word = bpf::test_run(self.counters.as_fd(), &frame, 0).map_err(failed(COUNTERS))?;
            taken += u64::from(word);
        }
        Ok(taken)
    }
}

/// As many elements as a frame holds, and the frame.
fn next_frame<T: aya::Pod>(elements: &mut impl Iterator<Item = T>) -> Option<(Vec<T>, Vec<u8>)> {
    let batch: Vec<T> = elements.take(IMPORT_BATCH).collect();
    let mut frame = vec![0; IMPORT_OFFSET];
    for element in &batch {
        frame.extend_from_slice(bytes(element));
    }
    (!batch.is_empty()).then_some((batch, frame))
}

fn loaded(ebpf: &Ebpf, name: &'static str) -> Result<OwnedFd, LoadError> {
    let program: &SchedClassifier = ebpf
        .program(name)
        .and_then(|program| program.try_into().ok())
        .ok_or(LoadError::NoProgram { program: name })?;
    let fd = program.fd().map_err(io::Error::other);
    Ok(fd.and_then(|fd| fd.as_fd().try_clone_to_owned()).map_err(failed(name))?)
}

fn failed(program: &'static str) -> impl FnOnce(io::Error) -> KernelError {
    move |source| KernelError::Run { program, source }
}

fn bytes<T: aya::Pod>(element: &T) -> &[u8] {
    // SAFETY: plain integers without padding (`Pod`), and it lives as long as the slice.
    unsafe { std::slice::from_raw_parts((&raw const *element).cast(), size_of::<T>()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n7_what_is_refused_is_counted_apart_from_what_was_over_or_known() {
        let mut imported = Imported::default();
        for outcome in Outcome::ALL {
            imported.add(outcome);
        }
        imported.add(Outcome::Taken);
        assert_eq!((imported.taken(), imported.refused()), (2, 3));
        assert_eq!(imported.count(Outcome::Over), 1);
    }
}
