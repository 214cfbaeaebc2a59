//! The bpf system call for what the library has no words for: programs of a few instructions, made
//! by hand, and test runs of any program by its descriptor.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result};

const MAP_CREATE: i32 = 0;
const MAP_UPDATE: i32 = 2;
const PROG_LOAD: i32 = 5;
const OBJ_PIN: i32 = 6;
const TEST_RUN: i32 = 10;
const LINK_CREATE: i32 = 28;

/// Which way of an interface. The values are those of `enum bpf_attach_type`.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub enum Hook {
    /// What it receives: `BPF_TCX_INGRESS`.
    Ingress = 46,
    /// What it sends: `BPF_TCX_EGRESS`.
    Egress = 47,
}

/// `TCX_DROP`.
const DROP: u32 = 2;

const PROG_ARRAY: u32 = 3;
const CLASSIFIER: u32 = 3;
const TAIL_CALL: u32 = 12;

/// What a call of [`marked`] or [`counting`] returns when it does not reach its program, and others when they do not find
/// what they are to find.
pub const NOT_REACHED: u32 = 7;

/// A number as the kernel reads descriptors in attributes.
fn number(fd: RawFd) -> u32 {
    fd.cast_unsigned()
}

/// An address as the kernel reads it in attributes.
fn address<T>(values: &[T]) -> u64 {
    values.as_ptr().addr() as u64
}

fn bpf<T>(command: i32, attributes: &mut T) -> io::Result<RawFd> {
    // SAFETY: every caller passes the attributes of its command, a `repr(C)` prefix of `bpf_attr`,
    // whose addresses point to slices that it keeps alive over the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    RawFd::try_from(result).map_err(io::Error::other)
}

fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made it for us.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// An instruction: code, registers (source in the high half), offset, immediate.
fn instruction(code: u8, registers: u8, offset: u16, immediate: u32) -> u64 {
    u64::from(code)
        | u64::from(registers) << 8
        | u64::from(offset) << 16
        | u64::from(immediate) << 32
}

fn set(register: u8, value: u32) -> u64 {
    instruction(0xb7, register, 0, value)
}

fn exit() -> u64 {
    instruction(0x95, 0, 0, 0)
}

fn load(instructions: &[u64]) -> Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
    }
    let mut attributes = Attributes {
        kind: CLASSIFIER,
        count: u32::try_from(instructions.len())?,
        instructions: address(instructions),
        license: address(b"GPL\0"),
    };
    bpf(PROG_LOAD, &mut attributes).map(owned).context("load a program made by hand")
}

/// The least a classifier can do: `TCX_NEXT`.
pub fn empty() -> Result<OwnedFd> {
    load(&[set(0, u32::MAX), exit()])
}

/// The least that denies: `TCX_DROP`.
pub fn dropping() -> Result<OwnedFd> {
    load(&[set(0, DROP), exit()])
}

/// The least that reads so many bytes of a frame where they are, in words. A frame that is shorter makes it return
/// [`NOT_REACHED`].
pub fn reading(bytes: u16) -> Result<OwnedFd> {
    let words = (0..bytes / 8).map(|word| instruction(0x79, 0x25, word * 8, 0));
    let read: Vec<u64> = words.collect();
    let instructions = [
        &[
            set(0, NOT_REACHED),
            // The fields `data` and `data_end` of the context.
            instruction(0x61, 0x12, 76, 0),
            instruction(0x61, 0x13, 80, 0),
            instruction(0xbf, 0x24, 0, 0),
            instruction(0x07, 4, 0, u32::from(bytes)),
            instruction(0x2d, 0x34, u16::try_from(read.len())? + 1, 0),
        ],
        &read[..],
        &[set(0, u32::MAX), exit()],
    ];
    load(&instructions.concat())
}

/// Sends IPv4 packets on by another interface, or in by it as if it had received them; all else goes on.
pub fn redirecting(ifindex: u32, ingress: bool) -> Result<OwnedFd> {
    const REDIRECT: u32 = 23;
    const IPV4: u32 = 0x0800_u16.to_be() as u32;
    load(&[
        // The field `protocol` of the context, in network order.
        instruction(0x61, 0x12, 16, 0),
        instruction(0x55, 2, 4, IPV4),
        set(1, ifindex),
        set(2, ingress.into()),
        instruction(0x85, 0, 0, REDIRECT),
        exit(),
        set(0, u32::MAX),
        exit(),
    ])
}

/// The least that asks what time it is, as the programs that ship do: `bpf_ktime_get_coarse_ns`.
pub fn timing() -> Result<OwnedFd> {
    const COARSE: u32 = 160;
    load(&[instruction(0x85, 0, 0, COARSE), set(0, u32::MAX), exit()])
}

/// The least that looks a key up in a map, and adds one to words of the value at these offsets, as if other CPUs did so,
/// too. Where there is no such key it returns [`NOT_REACHED`]. The key is a multiple of four bytes.
pub fn looking_up(map: BorrowedFd<'_>, key: &[u8], counters: &[usize]) -> Result<OwnedFd> {
    const LOOKUP: u32 = 1;
    let below = u16::try_from(key.len())?;
    // Offsets are from the end of the stack, register 10.
    let stores = key.chunks_exact(4).zip((0..below).step_by(4)).map(|(bytes, at)| {
        let word = bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
        instruction(0x62, 10, at.wrapping_sub(below), word)
    });
    let adds = counters
        .iter()
        .map(|offset| -> Result<u64> { Ok(instruction(0xdb, 0x10, u16::try_from(*offset)?, 0)) });
    let instructions = [
        &stores.collect::<Vec<_>>()[..],
        &[
            instruction(0x18, 0x11, 0, number(map.as_raw_fd())),
            0,
            instruction(0xbf, 0xa2, 0, 0),
            instruction(0x07, 2, 0, u32::from(below).wrapping_neg()),
            instruction(0x85, 0, 0, LOOKUP),
            instruction(0x55, 0, 2, 0),
            set(0, NOT_REACHED),
            exit(),
            set(1, 1),
        ],
        &adds.collect::<Result<Vec<_>>>()?,
        &[set(0, u32::MAX), exit()],
    ];
    load(&instructions.concat())
}

/// Attaches a classifier to an interface of this thread's network namespace. It is there as long as
/// the link.
pub fn attach(program: BorrowedFd<'_>, ifindex: u32, hook: Hook) -> Result<OwnedFd> {
    /// With room for what is not said: all of it is zero.
    #[repr(C)]
    struct Attributes {
        program: u32,
        interface: u32,
        hook: u32,
        flags: u32,
        more: [u64; 4],
    }
    let mut attributes = Attributes {
        program: number(program.as_raw_fd()),
        interface: ifindex,
        hook: hook as u32,
        flags: 0,
        more: [0; 4],
    };
    bpf(LINK_CREATE, &mut attributes).map(owned).context("attach a program made by hand")
}

/// A program that sets the mark and goes on as `program`, which may clear it: in repeated runs the
/// frame is the same one each time.
pub fn marked(program: BorrowedFd<'_>, mark: u32) -> Result<OwnedFd> {
    // Into the field `mark` of the context, which is in register 1.
    before(program, &[set(2, mark), instruction(0x63, 0x21, 8, 0)])
}

/// A program that adds one to the two bytes at an offset of the frame, in network order, and goes on as
/// `program`: in repeated runs each frame has a port that none before it had.
pub fn counting(program: BorrowedFd<'_>, at: u16) -> Result<OwnedFd> {
    before(program, &count(at))
}

/// Adds one to the two bytes at an offset of the frame, in network order; register 5 has them as they
/// are in the frame. Of a frame that is too short it has 0.
fn count(at: u16) -> [u64; 11] {
    [
        set(5, 0),
        // The fields `data` and `data_end` of the context; behind the check the bytes are there.
        instruction(0x61, 0x12, 76, 0),
        instruction(0x61, 0x13, 80, 0),
        instruction(0xbf, 0x24, 0, 0),
        instruction(0x07, 4, 0, u32::from(at) + 2),
        instruction(0x2d, 0x34, 5, 0),
        instruction(0x69, 0x25, at, 0),
        instruction(0xdc, 5, 0, 16),
        instruction(0x07, 5, 0, 1),
        instruction(0xdc, 5, 0, 16),
        instruction(0x6b, 0x52, at, 0),
    ]
}

/// A program that counts as [`counting`] does, looks up the key that begins with `start` and the two
/// bytes, in a hash map with keys of 44 bytes and values of 88, and puts an entry of zeros there: what a
/// hash map of that size costs whatever is built on it.
pub fn inserting(map: BorrowedFd<'_>, start: u32, at: u16) -> Result<OwnedFd> {
    const KEY: u16 = 48;
    const VALUE: u16 = KEY + 88;
    const LOOKUP: u32 = 1;
    const UPDATE: u32 = 2;
    const NOEXIST: u32 = 1;
    // Offsets are from the end of the stack, register 10.
    let zeros = (8..=VALUE).step_by(8).map(|below| instruction(0x7a, 10, below.wrapping_neg(), 0));
    let map = number(map.as_raw_fd());
    let map = [instruction(0x18, 0x11, 0, map), 0];
    let below = |register: u8, offset: u16| {
        let offset = u32::from(offset).wrapping_neg();
        [instruction(0xbf, 0xa0 | register, 0, 0), instruction(0x07, register, 0, offset)]
    };
    let instructions = [
        &count(at)[..],
        &zeros.collect::<Vec<_>>(),
        &[
            // A key has ports in host order.
            instruction(0xdc, 5, 0, 16),
            instruction(0x62, 10, KEY.wrapping_neg(), start),
            instruction(0x6b, 0x5a, (KEY - 4).wrapping_neg(), 0),
        ],
        &map,
        &below(2, KEY),
        &[instruction(0x85, 0, 0, LOOKUP)],
        &map,
        &below(2, KEY),
        &below(3, VALUE),
        &[set(4, NOEXIST), instruction(0x85, 0, 0, UPDATE), set(0, u32::MAX), exit()],
    ];
    load(&instructions.concat())
}

/// These instructions, which leave the context in register 1, and then `program`. The array that leads
/// to it lives as long as the process.
fn before(program: BorrowedFd<'_>, first: &[u64]) -> Result<OwnedFd> {
    #[repr(C)]
    struct Create {
        kind: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        flags: u32,
    }
    #[repr(C)]
    struct Update {
        map: u32,
        padding: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let mut create =
        Create { kind: PROG_ARRAY, key_size: 4, value_size: 4, max_entries: 1, flags: 0 };
    let array = owned(bpf(MAP_CREATE, &mut create).context("create an array of programs")?);
    let map = number(array.as_raw_fd());
    let call = [
        // The address of the map, by its descriptor; two slots.
        instruction(0x18, 0x12, 0, map),
        0,
        set(3, 0),
        instruction(0x85, 0, 0, TAIL_CALL),
        set(0, NOT_REACHED),
        exit(),
    ];
    let wrapper = load(&[first, &call].concat())?;
    let program = [number(program.as_raw_fd())];
    let mut update =
        Update { map, padding: 0, key: address(&[0_u32]), value: address(&program), flags: 0 };
    bpf(MAP_UPDATE, &mut update).context("put a program into the array")?;
    // Emptied with its last descriptor: this one must stay as long as the process.
    std::mem::forget(array);
    Ok(wrapper)
}

/// Makes a map of any kind and size, and pins it.
pub fn pinned_map(kind: u32, sizes: (usize, usize), entries: u32, path: &Path) -> Result<OwnedFd> {
    #[repr(C)]
    struct Create {
        kind: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
    }
    #[repr(C)]
    struct Pin {
        path: u64,
        fd: u32,
        flags: u32,
    }
    let mut create = Create {
        kind,
        key_size: u32::try_from(sizes.0)?,
        value_size: u32::try_from(sizes.1)?,
        max_entries: entries,
    };
    let map = owned(bpf(MAP_CREATE, &mut create).context("create a map")?);
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut pin =
        Pin { path: address(name.as_bytes_with_nul()), fd: number(map.as_raw_fd()), flags: 0 };
    bpf(OBJ_PIN, &mut pin).with_context(|| format!("pin {}", path.display()))?;
    Ok(map)
}

/// Writes an entry of any map.
pub fn put(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> Result<()> {
    #[repr(C)]
    struct Update {
        map: u32,
        padding: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let mut update = Update {
        map: number(map.as_raw_fd()),
        padding: 0,
        key: address(key),
        value: address(value),
        flags: 0,
    };
    bpf(MAP_UPDATE, &mut update).map(drop).context("write an entry")
}

/// What a test run said.
#[derive(Clone, Copy, Debug)]
pub struct Ran {
    /// The last return code.
    pub code: i32,
    /// Mean time of a run, as the kernel took it, cut to whole nanoseconds.
    pub duration: Duration,
}

/// Runs any classifier over a frame.
pub fn test_run(
    program: BorrowedFd<'_>,
    frame: &[u8],
    context: &[u8; 192],
    repeat: u32,
) -> Result<Ran> {
    #[repr(C)]
    #[derive(Default)]
    struct Attributes {
        program: u32,
        code: u32,
        size_in: u32,
        size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
        context_size_in: u32,
        context_size_out: u32,
        context_in: u64,
        context_out: u64,
    }
    let mut attributes = Attributes {
        program: number(program.as_raw_fd()),
        size_in: u32::try_from(frame.len())?,
        data_in: address(frame),
        repeat,
        context_size_in: 192,
        context_in: address(context),
        ..Attributes::default()
    };
    bpf(TEST_RUN, &mut attributes).with_context(|| format!("test run of {} bytes", frame.len()))?;
    Ok(Ran {
        code: attributes.code.cast_signed(),
        duration: Duration::from_nanos(u64::from(attributes.duration)),
    })
}
