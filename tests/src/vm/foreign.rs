//! A program of somebody else's on our hooks: lets everything pass, and wants to be first.

use std::{borrow::Cow, io, os::fd::FromRawFd as _, os::fd::OwnedFd};

use anyhow::{Context as _, Result};
use aya::programs::{
    LinkOrder, SchedClassifier, TcAttachType, loaded_programs,
    tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle},
};

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
/// `r0 = -1; exit`: the next program decides.
const PASS: [u64; 2] = [0xffff_ffff_0000_00b7, 0x0000_0000_0000_0095];
const NAME: &[u8] = b"foreign";

#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kern_version: u32,
    flags: u32,
    name: [u8; 16],
}

/// A loaded program.
pub struct Foreign {
    program: SchedClassifier,
    _fd: OwnedFd,
}

impl Foreign {
    /// Loads it.
    pub fn load() -> Result<Self> {
        let mut attr = ProgLoad {
            prog_type: BPF_PROG_TYPE_SCHED_CLS,
            insn_count: 2,
            instructions: PASS.as_ptr().expose_provenance() as u64,
            license: c"GPL".as_ptr().expose_provenance() as u64,
            ..ProgLoad::default()
        };
        attr.name[..NAME.len()].copy_from_slice(NAME);
        // SAFETY: a live prefix of `union bpf_attr` of the size given, whose pointers refer to
        // constants.
        let fd = unsafe {
            libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw mut attr, size_of::<ProgLoad>())
        };
        if fd < 0 {
            return Err(io::Error::last_os_error()).context("load a program");
        }
        // SAFETY: the kernel just made this descriptor for us.
        let fd = unsafe { OwnedFd::from_raw_fd(i32::try_from(fd)?) };
        // One of before may still be listed on its way out: it cannot be had any more.
        let program = loaded_programs()
            .filter_map(Result::ok)
            .filter(|info| info.name() == NAME)
            .find_map(|info| {
                SchedClassifier::from_program_info(info, Cow::Borrowed("foreign")).ok()
            })
            .context("the program is not listed")?;
        Ok(Self { program, _fd: fd })
    }

    /// Its id.
    pub fn id(&self) -> Result<u32> {
        Ok(self.program.info()?.id())
    }

    /// Puts it before all others on an interface's ingress; dropping the link takes it off.
    pub fn attach_first(&mut self, name: &str, tcx: bool) -> Result<SchedClassifierLink> {
        let options = if tcx {
            TcAttachOptions::TcxOrder(LinkOrder::first())
        } else {
            TcAttachOptions::Netlink(NlOptions { priority: 1, ..NlOptions::default() })
        };
        let id = self.program.attach_with_options(name, TcAttachType::Ingress, options)?;
        Ok(self.program.take_link(id)?)
    }

    /// Puts it where a killed daemon's filter would be.
    pub fn leave_behind(&mut self, name: &str, handle: TcHandle) -> Result<()> {
        let options = NlOptions { priority: 1, handle, classid: None };
        let options = TcAttachOptions::Netlink(options);
        let id = self.program.attach_with_options(name, TcAttachType::Ingress, options)?;
        // Nothing detaches it.
        std::mem::forget(self.program.take_link(id)?);
        Ok(())
    }
}
