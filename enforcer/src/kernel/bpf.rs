//! bpf(2) as far as aya does not offer it: links by ifindex, by id and from pins, queries by
//! ifindex, what a link or a program is.
//!
//! Source: include/uapi/linux/bpf.h (`union bpf_attr`, `struct bpf_link_info`, `bpf_prog_info`,
//! `bpf_map_info`), 6.1 to 6.18.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

const OBJ_PIN: libc::c_long = 6;
const OBJ_GET: libc::c_long = 7;
const PROG_TEST_RUN: libc::c_long = 10;
const PROG_GET_FD_BY_ID: libc::c_long = 13;
const MAP_GET_FD_BY_ID: libc::c_long = 14;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const PROG_QUERY: libc::c_long = 16;
const RAW_TRACEPOINT_OPEN: libc::c_long = 17;
const LINK_CREATE: libc::c_long = 28;
const LINK_UPDATE: libc::c_long = 29;
const LINK_GET_FD_BY_ID: libc::c_long = 30;
const LINK_DETACH: libc::c_long = 34;

/// Before all other programs of the hook (no `relative_fd` given).
const BPF_F_BEFORE: u32 = 1 << 3;
/// The kernel's own limit of programs on a hook (`BPF_MPROG_MAX`).
const MOST_ON_A_HOOK: u32 = 64;
/// More maps than a program of ours uses.
const MOST_MAPS: u32 = 64;
/// `BPF_LINK_TYPE_TCX`.
const LINK_TYPE_TCX: u32 = 11;
/// `BPF_LINK_TYPE_CGROUP`.
const LINK_TYPE_CGROUP: u32 = 3;

/// Where a TCX program sits. Values of the kernel's `enum bpf_attach_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TcxHook {
    Ingress = 46,
    Egress = 47,
}

/// A program on a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OnHook {
    /// Id of the program.
    pub(super) program: u32,
    /// Id of the link that holds it there; 0: none.
    pub(super) link: u32,
}

/// What a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkInfo {
    /// Its id.
    pub(super) id: u32,
    /// Id of the program that it runs.
    pub(super) program: u32,
    /// Its interface; 0: gone, and the link does nothing any more.
    pub(super) ifindex: u32,
    /// Its hook.
    pub(super) hook: TcxHook,
}

#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
    relative_fd: u32,
    pad: u32,
    expected_revision: u64,
    rest: [u64; 6],
}

#[repr(C)]
#[derive(Default)]
struct RawTracepoint {
    name: u64,
    prog_fd: u32,
    pad: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkUpdate {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct ProgQuery {
    target_ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_count: u32,
    pad: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

#[repr(C)]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
}

/// The head of `struct __sk_buff`.
#[repr(C)]
#[derive(Default)]
struct SkBuff {
    before_ingress_ifindex: [u32; 9],
    ingress_ifindex: u32,
    ifindex: u32,
    rest: [u32; 32],
    last: [u32; 5],
}

#[repr(C)]
#[derive(Default)]
struct Obj {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct InfoByFd {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The head of `struct bpf_link_info` with its TCX part.
#[repr(C)]
#[derive(Default)]
struct RawLinkInfo {
    kind: u32,
    id: u32,
    prog_id: u32,
    pad: u32,
    ifindex: u32,
    attach_type: u32,
    rest: [u64; 4],
}

/// The head of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Default)]
struct RawProgramInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_prog_len: u32,
    xlated_prog_len: u32,
    jited_prog_insns: u64,
    xlated_prog_insns: u64,
    load_time: u64,
    created_by_uid: u32,
    nr_map_ids: u32,
    map_ids: u64,
    name: [u8; 16],
}

/// The head of `struct bpf_map_info`.
#[repr(C)]
#[derive(Default)]
struct RawMapInfo {
    kind: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    name: [u8; 16],
}

pub(super) fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<i32> {
    // SAFETY: `attr` is a live, writable, zero-initialised `union bpf_attr` prefix of the size given;
    // pointers within it refer to buffers that the caller keeps alive during the call.
    let outcome =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if outcome < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(i32::try_from(outcome).unwrap_or(0))
    }
}

/// A command that answers with a descriptor.
fn descriptor<T>(command: libc::c_long, attr: &mut T) -> io::Result<OwnedFd> {
    let fd = bpf(command, attr)?;
    // SAFETY: the kernel just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn address<T>(buffer: &mut T) -> u64 {
    std::ptr::from_mut(buffer).expose_provenance() as u64
}

/// Attaches a program as the first of a TCX hook. The link lives as long as the descriptor and its
/// pins.
///
/// Kernel: 6.6. By ifindex, for a name may be another interface's by now.
pub(super) fn attach_tcx(
    program: BorrowedFd<'_>,
    ifindex: u32,
    hook: TcxHook,
) -> io::Result<OwnedFd> {
    descriptor(
        LINK_CREATE,
        &mut LinkCreate {
            prog_fd: number(program),
            target_ifindex: ifindex,
            attach_type: hook as u32,
            flags: BPF_F_BEFORE,
            ..Default::default()
        },
    )
}

/// Puts a program on the tracepoint, or the hook of security modules, that it was loaded for. The link lives
/// as long as the descriptor and its pins; it can be neither updated nor taken off.
pub(super) fn attach_tracing(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // No name: the program knows by BTF where it belongs.
    descriptor(
        RAW_TRACEPOINT_OPEN,
        &mut RawTracepoint { name: 0, prog_fd: number(program), pad: 0 },
    )
}

/// Puts a program on a cgroup and all below it, behind those that are there. The link lives as long as
/// the descriptor and its pins.
pub(super) fn attach_cgroup(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    attach_type: u32,
) -> io::Result<OwnedFd> {
    descriptor(
        LINK_CREATE,
        &mut LinkCreate {
            prog_fd: number(program),
            target_ifindex: number(cgroup),
            attach_type,
            ..Default::default()
        },
    )
}

/// Whether a link on a cgroup or a tracepoint does anything. Only the former can be taken off.
pub(super) fn is_attached(link: BorrowedFd<'_>) -> io::Result<bool> {
    let mut raw = RawLinkInfo::default();
    info(link, &mut raw)?;
    // A cgroup's id lies where an interface's index does; 0: it was taken off.
    Ok(raw.kind != LINK_TYPE_CGROUP || (raw.ifindex, raw.attach_type) != (0, 0))
}

/// Kernel's id of a program.
pub(super) fn program_id(program: BorrowedFd<'_>) -> io::Result<u32> {
    let mut raw = RawProgramInfo::default();
    info(program, &mut raw)?;
    Ok(raw.id)
}

/// Has a link run another program. A frame meets either the old one or the new one.
pub(super) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr =
        LinkUpdate { link_fd: number(link), new_prog_fd: number(program), ..Default::default() };
    bpf(LINK_UPDATE, &mut attr).map(drop)
}

/// Takes a link's program off its interface, whoever else holds the link.
pub(super) fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    bpf(LINK_DETACH, &mut number(link)).map(drop)
}

/// The link with this id.
pub(super) fn link_by_id(id: u32) -> io::Result<OwnedFd> {
    // The id, and room for the rest of the union's member.
    descriptor(LINK_GET_FD_BY_ID, &mut [id, 0, 0, 0])
}

/// The program with this id.
pub(super) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    descriptor(PROG_GET_FD_BY_ID, &mut [id, 0, 0, 0])
}

/// What runs on a TCX hook, in order.
pub(super) fn query_tcx(ifindex: u32, hook: TcxHook) -> io::Result<Vec<OnHook>> {
    let mut programs = [0u32; MOST_ON_A_HOOK as usize];
    let mut links = [0u32; MOST_ON_A_HOOK as usize];
    let mut attr = ProgQuery {
        target_ifindex: ifindex,
        attach_type: hook as u32,
        prog_ids: address(&mut programs),
        prog_count: MOST_ON_A_HOOK,
        link_ids: address(&mut links),
        ..Default::default()
    };
    match bpf(PROG_QUERY, &mut attr) {
        Ok(_) => {
            let found = programs.iter().zip(&links).take(attr.prog_count as usize);
            Ok(found.map(|(program, link)| OnHook { program: *program, link: *link }).collect())
        }
        // Nothing was ever attached there.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// Pins a map, a program or a link.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let pathname = path.as_ptr().expose_provenance() as u64;
    let mut attr = Obj { pathname, bpf_fd: number(object), ..Default::default() };
    bpf(OBJ_PIN, &mut attr).map(drop)
}

/// Opens what is pinned at a path.
pub(super) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let pathname = path.as_ptr().expose_provenance() as u64;
    descriptor(OBJ_GET, &mut Obj { pathname, ..Default::default() })
}

fn info<T: Default>(object: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    let mut attr = InfoByFd {
        bpf_fd: number(object),
        info_len: u32::try_from(size_of::<T>()).unwrap_or(0),
        info: address(info),
    };
    bpf(OBJ_GET_INFO_BY_FD, &mut attr).map(drop)
}

/// What a link is; an error if it is not a TCX link.
pub(super) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut raw = RawLinkInfo::default();
    info(link, &mut raw)?;
    let hook = match (raw.kind, raw.attach_type) {
        (LINK_TYPE_TCX, 46) => TcxHook::Ingress,
        (LINK_TYPE_TCX, 47) => TcxHook::Egress,
        _ => return Err(io::Error::other("not a TCX link")),
    };
    Ok(LinkInfo { id: raw.id, program: raw.prog_id, ifindex: raw.ifindex, hook })
}

/// Name of a program, and the names of the maps that it uses.
pub(super) fn program_names(program: BorrowedFd<'_>) -> io::Result<(String, Vec<String>)> {
    let mut ids = [0u32; MOST_MAPS as usize];
    let mut raw =
        RawProgramInfo { nr_map_ids: MOST_MAPS, map_ids: address(&mut ids), ..Default::default() };
    info(program, &mut raw)?;
    let maps = ids.iter().take(raw.nr_map_ids as usize).filter_map(|id| {
        let map = descriptor(MAP_GET_FD_BY_ID, &mut [*id, 0, 0, 0]).ok()?;
        let mut raw = RawMapInfo::default();
        info(std::os::fd::AsFd::as_fd(&map), &mut raw).ok()?;
        Some(text(&raw.name))
    });
    Ok((text(&raw.name), maps.collect()))
}

/// Most entries that a map may hold.
pub(super) fn map_capacity(map: BorrowedFd<'_>) -> io::Result<u32> {
    let mut raw = RawMapInfo::default();
    info(map, &mut raw)?;
    Ok(raw.max_entries)
}

/// Runs a TC program on a frame that entered by an interface (0: the host made it) and is on
/// loopback; returns its verdict.
pub(super) fn test_run(program: BorrowedFd<'_>, frame: &[u8], ingress: u32) -> io::Result<u32> {
    let mut context = SkBuff { ingress_ifindex: ingress, ..Default::default() };
    let mut attr = TestRun {
        prog_fd: number(program),
        data_size_in: u32::try_from(frame.len()).map_err(io::Error::other)?,
        data_in: frame.as_ptr().expose_provenance() as u64,
        repeat: 1,
        ctx_size_in: u32::try_from(size_of::<SkBuff>()).unwrap_or(0),
        ctx_in: address(&mut context),
        ..Default::default()
    };
    bpf(PROG_TEST_RUN, &mut attr)?;
    Ok(attr.retval)
}

fn text(name: &[u8; 16]) -> String {
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

const _: () = assert!(size_of::<LinkCreate>() == 80 && size_of::<ProgQuery>() == 64);
const _: () = assert!(size_of::<TestRun>() == 80 && size_of::<SkBuff>() == 192);
const _: () = assert!(size_of::<RawProgramInfo>() == 80 && size_of::<RawMapInfo>() == 40);
