//! Loads the eBPF object: sets its constants, creates its maps, has the kernel verify its programs.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use aya::{
    Btf, Ebpf, EbpfError, EbpfLoader, VerifierLogLevel,
    programs::{ProgramError, SchedClassifier},
};
use enforcer_common::abi::event::Hook;

use super::{
    KernelError,
    features::Features,
    fields::{self, Fields},
    import::{self, Importer},
    layout,
    links::Hooks,
    maps::{CounterMap, Maps},
    migrate::MigrateError,
    object::{self, ObjectError},
    pins::{Anchors, MAPS, PinError, Pins, RING},
    processes::{self, Processes},
    ring::EventRing,
    sys,
};
use crate::model::closure::stamps;

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
    /// Programs that know the process.
    pub processes: Processes,
    /// Counters of denials and records.
    pub counters: CounterMap,
    /// Events.
    pub ring: EventRing,
    /// No map was pinned before.
    pub fresh: bool,
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
    /// The maps could not be pinned or opened.
    #[error(transparent)]
    Pins(#[from] PinError),
    /// The programs were built to log, and have no map for it.
    #[cfg(feature = "bpf-log")]
    #[error("the eBPF programs cannot log")]
    Log(#[from] aya_log::Error),
    /// The layout of the maps could not be written beside them.
    #[error(transparent)]
    Layout(#[from] MigrateError),
    /// Something else.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// Lines of the verifier's log that an error shows: the cause is at its end.
const LOG_LINES: usize = 25;

/// Programs that the kernel verified.
pub(super) struct Programs {
    ebpf: Ebpf,
    /// Kernel's ids, in the order of [`Hook::ALL`].
    ids: [u32; 4],
}

/// Loads the programs once more, on the same maps.
pub(super) type Reload = Box<dyn FnMut() -> Result<Programs, LoadError> + Send>;

impl Programs {
    pub(super) fn id(&self, hook: Hook) -> u32 {
        Hook::ALL.iter().position(|other| *other == hook).map_or(0, |index| self.ids[index])
    }

    pub(super) fn program(&mut self, hook: Hook) -> Result<&mut SchedClassifier, ProgramError> {
        self.ebpf.program_mut(hook.name()).ok_or(ProgramError::NotLoaded)?.try_into()
    }

    pub(super) fn fd(&self, hook: Hook) -> io::Result<BorrowedFd<'_>> {
        let program: &SchedClassifier = self
            .ebpf
            .program(hook.name())
            .and_then(|program| program.try_into().ok())
            .ok_or_else(|| io::Error::other("not loaded"))?;
        program.fd().map(AsFd::as_fd).map_err(io::Error::other)
    }
}

/// Loads everything on the maps that are pinned, and pins those that are not; attaches nothing.
pub fn load(options: LoadOptions, features: &Features, pins: &Pins) -> Result<Loaded, LoadError> {
    let fresh = pins.maps()?.is_empty();
    let btf = Btf::from_sys_fs().map_err(LoadError::Btf)?;
    let globals = globals();
    let mut programs = programs(options, &btf, globals.as_ref().ok(), pins)?;
    let ebpf = &mut programs.ebpf;
    #[cfg(feature = "bpf-log")]
    let log = super::bpf_log::LogRing::take(ebpf)?;
    for name in import::PROGRAMS {
        load_program(ebpf, name)?;
    }
    let importer = Importer::new(ebpf)?;
    let processes = Processes::load(ebpf, &btf, &globals, features, pins.clone())?;
    let ring = EventRing::take(ebpf)?;
    let counters = CounterMap::take(ebpf)?;
    let maps = Maps::take(ebpf)?;
    let anchors = Anchors::open(pins)?;
    layout::write(&pins.maps_dir())?;
    if let Some(flows) = anchors.capacity("FLOWS").filter(|flows| *flows != options.max_flows) {
        tracing::warn!(
            flows,
            asked = options.max_flows,
            "the flow table that is in the kernel has another size than max_flows; it stays until \
             `enforcer uninstall` or a reboot"
        );
    }
    let again = pins.clone();
    let reload = Box::new(move || {
        let btf = Btf::from_sys_fs().map_err(LoadError::Btf)?;
        self::programs(options, &btf, None, &again)
    });
    Ok(Loaded {
        hooks: Hooks::new(programs, reload, pins.clone(), anchors, features.tcx),
        maps,
        processes,
        counters,
        ring,
        fresh,
        importer,
        #[cfg(feature = "bpf-log")]
        log,
    })
}

/// What the programs that know the process are told; an error is for people.
fn globals() -> Result<processes::Globals, String> {
    Ok(processes::Globals { load: sys::monotonic_ns(), fields: Fields::of_kernel()? })
}

fn programs(
    options: LoadOptions,
    btf: &Btf,
    globals: Option<&processes::Globals>,
    pins: &Pins,
) -> Result<Programs, LoadError> {
    let bytes = object::embedded()?;
    let (from_guest, from_host) =
        stamps(options.mark_mask).ok_or(LoadError::MarkMask { mask: options.mark_mask })?;
    let mut loader = EbpfLoader::new();
    loader
        .btf(Some(btf))
        .override_global("MARK_FROM_GUEST", &from_guest, true)
        .override_global("MARK_FROM_HOST", &from_host, true)
        .override_global("MARK_MASK", &options.mark_mask, true)
        .map_max_entries("FLOWS", options.max_flows)
        .map_max_entries("CHECKS_SOON", options.max_flows.saturating_mul(2))
        .map_max_entries("CHECKS_LATER", options.max_flows)
        .verifier_log_level(VerifierLogLevel::STATS);
    if let Some(processes::Globals { load, fields }) = globals {
        loader
            .override_global("EXEC_LOADED", load, true)
            .override_global("BPRM_FILENAME", &fields.bprm_filename, true)
            .override_global("TASK_PARENT", &fields.task_parent, true)
            .override_global("TASK_TGID", &fields.task_tgid, true);
    }
    // Where they are not known nothing that reads them is loaded.
    let sockets = fields::of_sockets().unwrap_or_default();
    for (name, place) in &sockets {
        loader.override_global(name, place, true);
    }
    for map in MAPS.into_iter().chain([RING]) {
        loader.map_pin_path(map, pins.map(map));
    }
    let mut ebpf = loader.load(bytes).map_err(LoadError::Maps)?;
    let mut ids = [0; 4];
    for (hook, id) in Hook::ALL.into_iter().zip(&mut ids) {
        *id = load_program(&mut ebpf, hook.name())?;
    }
    Ok(Programs { ebpf, ids })
}

fn load_program(ebpf: &mut Ebpf, name: &'static str) -> Result<u32, LoadError> {
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
