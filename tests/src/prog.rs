//! The real eBPF object, run frame by frame with `BPF_PROG_TEST_RUN`: for tests and benchmarks.

pub mod frame;
pub mod raw;
pub mod rig;
