//! What the kernel and user space share: the ABI of maps and events, the packet parser, and the
//! decision itself. No I/O, no clock; the same code runs in eBPF and in `cargo test`.
#![cfg_attr(not(test), no_std)]

pub mod abi;
pub mod decide;
pub mod flow;
pub mod guard;
pub mod limit;
pub mod longest;
pub mod neighbour;
pub mod packet;
pub mod refusal;
