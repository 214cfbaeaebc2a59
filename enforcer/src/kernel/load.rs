//! Loads the eBPF object: sets its constants, creates its maps, has the kernel verify its programs.

use aya::{
    Btf, EbpfError, EbpfLoader, VerifierLogLevel,
    programs::{ProgramError, SchedClassifier},
};
use enforcer_common::abi::event::Hook;

use super::{
    KernelError,
    features::Features,
    import::{self, Importer},
    links::Hooks,
    maps::{CounterMap, Maps},
    object::{self, ObjectError},
    ring::EventRing,
};

/// What is set at load time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Bits of `skb->mark` that carry the stamp; at least two.
    pub mark_mask: u32,
    /// Most flows that the kernel keeps.
    pub max_flows: u32,
}

/// The loaded object, in the parts that different tasks own.
pub struct Loaded {
    /// Programs and where they sit.
    pub hooks: Hooks,
    /// Maps that control writes.
    pub maps: Maps,
    /// Counters of denials and records.
    pub counters: CounterMap,
    /// Events.
    pub ring: EventRing,
    /// Takes flows that were live before.
    pub importer: Importer,
    /// Lines for a developer.
    #[cfg(feature = "bpf-log")]
    pub log: super::bpf_log::LogRing,
}

/// The object could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The object does not fit this binary.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The mask has no room for two values.
    #[error("mark_mask {mask:#x} has fewer than two bits")]
    MarkMask {
        /// The mask.
        mask: u32,
    },
    /// The kernel's type information is unreadable.
    #[error("cannot read the kernel's BTF")]
    Btf(#[source] aya::BtfError),
    /// Maps could not be created, or the object is broken.
    #[error("cannot create the eBPF maps")]
    Maps(#[source] EbpfError),
    /// A program is not in the object.
    #[error("the eBPF object has no program {program}")]
    NoProgram {
        /// Its name.
        program: &'static str,
    },
    /// A map is not in the object, or has another type.
    #[error("the eBPF object has no usable map {map}")]
    NoMap {
        /// Its name.
        map: &'static str,
        /// How it differs; `None`: absent.
        #[source]
        source: Option<aya::maps::MapError>,
    },
    /// The verifier refused a program.
    #[error("the kernel refuses program {program}{log}")]
    Program {
        /// Its name.
        program: &'static str,
        /// The end of the verifier's log.
        log: String,
        /// Why.
        #[source]
        source: ProgramError,
    },
    /// The programs were built to log, and have no map for it.
    #[cfg(feature = "bpf-log")]
    #[error("the eBPF programs cannot log")]
    Log(#[from] aya_log::Error),
    /// Something else.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// Lines of the verifier's log that an error shows: the cause is at its end.
const LOG_LINES: usize = 25;

/// Loads everything; attaches nothing.
pub fn load(options: LoadOptions, features: &Features) -> Result<Loaded, LoadError> {
    let bytes = object::embedded()?;
    let (from_guest, from_host) =
        stamps(options.mark_mask).ok_or(LoadError::MarkMask { mask: options.mark_mask })?;
    let btf = Btf::from_sys_fs().map_err(LoadError::Btf)?;
    let mut ebpf = EbpfLoader::new()
        .btf(Some(&btf))
        .override_global("MARK_FROM_GUEST", &from_guest, true)
        .override_global("MARK_FROM_HOST", &from_host, true)
        .override_global("MARK_MASK", &options.mark_mask, true)
        .map_max_entries("FLOWS", options.max_flows)
        .map_max_entries("CHECKS_SOON", options.max_flows.saturating_mul(2))
        .map_max_entries("CHECKS_LATER", options.max_flows)
        .verifier_log_level(VerifierLogLevel::STATS)
        .load(bytes)
        .map_err(LoadError::Maps)?;
    #[cfg(feature = "bpf-log")]
    let log = super::bpf_log::LogRing::take(&mut ebpf)?;
    let mut ids = [0; 4];
    for (hook, id) in Hook::ALL.into_iter().zip(&mut ids) {
        *id = load_program(&mut ebpf, hook.name())?;
    }
    for name in import::PROGRAMS {
        load_program(&mut ebpf, name)?;
    }
    let importer = Importer::new(&ebpf)?;
    let ring = EventRing::take(&mut ebpf)?;
    let counters = CounterMap::take(&mut ebpf)?;
    let maps = Maps::take(&mut ebpf)?;
    Ok(Loaded {
        hooks: Hooks::new(ebpf, ids, features.tcx),
        maps,
        counters,
        ring,
        importer,
        #[cfg(feature = "bpf-log")]
        log,
    })
}

fn load_program(ebpf: &mut aya::Ebpf, name: &'static str) -> Result<u32, LoadError> {
    let program: &mut SchedClassifier = ebpf
        .program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or(LoadError::NoProgram { program: name })?;
    let refused = |source: ProgramError| LoadError::Program {
        program: name,
        log: verifier_log(&source),
        source,
    };
    program.load().map_err(refused)?;
    program.info().map(|info| info.id()).map_err(refused)
}

fn verifier_log(error: &ProgramError) -> String {
    let ProgramError::LoadError { verifier_log, .. } = error else { return String::new() };
    let log = verifier_log.to_string();
    let lines: Vec<&str> = log.lines().collect();
    let tail = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default();
    format!("; the verifier's log ends:\n{}", tail.join("\n"))
}

/// The two stamps: the lowest two bits of the mask, one for each.
fn stamps(mask: u32) -> Option<(u32, u32)> {
    let first = mask & mask.wrapping_neg();
    let rest = mask & !first;
    let second = rest & rest.wrapping_neg();
    (second != 0).then_some((first, second))
}

#[cfg(test)]
mod tests {
    use super::stamps;

    #[test]
    fn stamps_are_two_bits_of_the_mask() {
        assert_eq!(stamps(0x0600_0000), Some((0x0200_0000, 0x0400_0000)));
        assert_eq!(stamps(0x8000_0001), Some((1, 0x8000_0000)));
        assert_eq!(stamps(0x10), None);
        assert_eq!(stamps(0), None);
    }
}
