//! Where fields lie in this kernel's structures, from its type information (BTF): Rust has no CO-RE, so
//! the loader tells the programs.
//!
//! Format: Documentation/bpf/btf.rst. Only `struct`s are looked into, by name.

use std::{fs, sync::OnceLock};

const BTF: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;

/// Places of fields that programs read, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    /// `linux_binprm.filename`.
    pub(super) bprm_filename: u32,
    /// `task_struct.real_parent`.
    pub(super) task_parent: u32,
    /// `task_struct.tgid`.
    pub(super) task_tgid: u32,
}

impl Fields {
    /// Those of the running kernel. Looked up once: it takes a while.
    pub(super) fn of_kernel() -> Result<Self, String> {
        static FOUND: OnceLock<Result<Fields, String>> = OnceLock::new();
        FOUND.get_or_init(Self::find).clone()
    }

    fn find() -> Result<Self, String> {
        let [bprm_filename, task_parent, task_tgid] = places([
            ("linux_binprm", "filename"),
            ("task_struct", "real_parent"),
            ("task_struct", "tgid"),
        ])?;
        Ok(Self { bprm_filename, task_parent, task_tgid })
    }
}

/// A field of the object, by the name of its global there, and its place in the kernel, bytes.
pub(super) type Place = (&'static str, u32);

/// Places of fields by which the programs on unix sockets tell who made one, of the running kernel. Looked
/// up once: it takes a while.
pub(super) fn of_sockets() -> Result<Vec<Place>, String> {
    static FOUND: OnceLock<Result<Vec<Place>, String>> = OnceLock::new();
    FOUND.get_or_init(find_of_sockets).clone()
}

fn find_of_sockets() -> Result<Vec<Place>, String> {
    let [common, cookie, family, data, cgroup, sock, peer, address, len, name, css, parent, kn, id] =
        places([
            ("sock", "__sk_common"),
            ("sock_common", "skc_cookie"),
            ("sock_common", "skc_family"),
            ("sock", "sk_cgrp_data"),
            ("sock_cgroup_data", "cgroup"),
            ("socket", "sk"),
            ("unix_sock", "peer"),
            ("unix_sock", "addr"),
            ("unix_address", "len"),
            ("unix_address", "name"),
            ("cgroup", "self"),
            ("cgroup_subsys_state", "parent"),
            ("cgroup", "kn"),
            ("kernfs_node", "id"),
        ])?;
    Ok(vec![
        ("SOCK_CGROUP", data + cgroup),
        ("SOCK_COOKIE", common + cookie),
        ("SOCK_FAMILY", common + family),
        ("SOCKET_SOCK", sock),
        ("UNIX_PEER", peer),
        ("UNIX_ADDRESS", address),
        ("ADDRESS_LEN", len),
        ("ADDRESS_NAME", name),
        ("CGROUP_SELF", css),
        ("CSS_PARENT", parent),
        ("CGROUP_NODE", kn),
        ("NODE_ID", id),
    ])
}

/// Where fields of the running kernel lie; an error names the first that it does not have.
fn places<const N: usize>(wanted: [(&str, &str); N]) -> Result<[u32; N], String>
where
    [Option<u32>; N]: Default,
{
    let btf = fs::read(BTF).map_err(|error| format!("cannot read {BTF}: {error}"))?;
    let found = offsets(&btf, wanted).unwrap_or_default();
    let mut places = [0; N];
    for ((place, found), (structure, field)) in places.iter_mut().zip(found).zip(wanted) {
        *place = found.ok_or_else(|| format!("the kernel's BTF has no {structure}.{field}"))?;
    }
    Ok(places)
}

/// Where fields that are no bit fields lie, bytes: each in the first structure of its name that there is.
/// `None`: these bytes are not understood.
fn offsets<const N: usize>(btf: &[u8], wanted: [(&str, &str); N]) -> Option<[Option<u32>; N]>
where
    [Option<u32>; N]: Default,
{
    if u16::from_ne_bytes(*btf.first_chunk()?) != MAGIC {
        return None;
    }
    let header = word(btf, 4)? as usize;
    let section = |at| Some((header + word(btf, at)? as usize, word(btf, at + 4)? as usize));
    let (types, strings) = (section(8)?, section(16)?);
    let strings = btf.get(strings.0..)?.get(..strings.1)?;
    let types = btf.get(types.0..)?.get(..types.1)?;
    let is = |at: u32, name: &str| {
        let text = strings.get(at as usize..).and_then(|rest| rest.strip_prefix(name.as_bytes()));
        text.is_some_and(|rest| rest.first() == Some(&0))
    };
    let mut found = <[Option<u32>; N]>::default();
    let mut at = 0;
    while at < types.len() && found.contains(&None) {
        let (name, info) = (word(types, at)?, word(types, at + 4)?);
        let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        for ((structure, field), place) in wanted.iter().zip(&mut found) {
            if kind == KIND_STRUCT && place.is_none() && is(name, structure) {
                let mut members = (0..count).map(|index| at + 12 + 12 * index);
                let member = members.find(|at| word(types, *at).is_some_and(|at| is(at, field)));
                *place = member.and_then(|at| whole_bytes(info, word(types, at + 8)?));
            }
        }
        at += 12 + extra(kind, count)?;
    }
    Some(found)
}

/// A member's place, bytes. In a structure with bit fields the upper byte is the width of this one.
fn whole_bytes(info: u32, bits: u32) -> Option<u32> {
    let is_plain = info >> 31 == 0 || bits >> 24 == 0;
    (is_plain && bits.is_multiple_of(8)).then_some((bits & 0x00ff_ffff) / 8)
}

/// Bytes behind the 12 that each type has.
const fn extra(kind: u32, count: usize) -> Option<usize> {
    Some(match kind {
        // Integer, variable, tag of a declaration.
        1 | 14 | 17 => 4,
        // Array.
        3 => 12,
        // Structure, union, list of sections, enumeration of 64 bits.
        4 | 5 | 15 | 19 => 12 * count,
        // Enumeration, parameters of a function.
        6 | 13 => 8 * count,
        // Pointer, forward, typedef, volatile, const, restrict, function, float, tag of a type.
        2 | 7..=12 | 16 | 18 => 0,
        _ => return None,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `int`, then `struct task { int a; int b; }`, by hand.
    fn btf(kind_flag: bool, bits: u32) -> Vec<u8> {
        let strings = b"\0int\0task\0a\0b\0";
        let mut types: Vec<u32> = vec![1, 1 << 24, 4, 32];
        types.extend([5, 4 << 24 | 2 | u32::from(kind_flag) << 31, 8, 10, 1, 0, 12, 1, bits]);
        let length = u32::try_from(types.len() * 4).expect("small");
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        for word in [24, 0, length, length, u32::try_from(strings.len()).expect("small")] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(types.iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend(strings);
        bytes
    }

    fn offset(btf: &[u8], structure: &str, field: &str) -> Option<u32> {
        offsets(btf, [(structure, field)])?[0]
    }

    #[test]
    fn a_field_is_found_by_structure_and_name() {
        // Structure, field -> where.
        let cases = [
            ("task", "a", Some(0)),
            ("task", "b", Some(4)),
            ("task", "c", None),
            ("tas", "b", None),
            ("int", "a", None),
        ];
        for (structure, field, expected) in cases {
            assert_eq!(offset(&btf(false, 32), structure, field), expected, "{structure}.{field}");
            assert_eq!(offset(&btf(true, 32), structure, field), expected, "{structure}.{field}");
        }
        assert_eq!(offset(&btf(true, 3 << 24 | 32), "task", "b"), None, "a bit field");
        assert_eq!(offset(&btf(false, 33), "task", "b"), None, "no whole byte");
    }

    #[test]
    fn what_is_no_type_information_has_no_fields() {
        let good = btf(false, 32);
        for length in 0..good.len() {
            // However much of it is missing: nothing is read that is not there.
            let _ = offset(&good[..length], "task", "b");
        }
        assert_eq!(offset(&[], "task", "b"), None);
        assert_eq!(offset(&[0; 64], "task", "b"), None);
    }

    #[test]
    fn the_running_kernel_s_fields_are_found() {
        // Not every machine that compiles this has them.
        if fs::exists(BTF).unwrap_or(false) {
            let fields = Fields::of_kernel().expect("the fields");
            let all = [fields.bprm_filename, fields.task_parent, fields.task_tgid];
            assert!(all.iter().all(|at| *at > 0 && at.is_multiple_of(4)), "{fields:?}");
        }
    }

    #[test]
    fn s4_the_running_kernel_tells_who_made_a_socket() {
        if fs::exists(BTF).unwrap_or(false) {
            let places = of_sockets().expect("the fields");
            let at = |wanted: &str| places.iter().find(|(name, _)| *name == wanted).expect("one").1;
            // Within pages, not in one another, and as aligned as what they are read as.
            assert!(places.iter().all(|(_, at)| *at < 4096 && at.is_multiple_of(2)), "{places:?}");
            assert!(at("SOCK_CGROUP").is_multiple_of(8) && at("SOCK_CGROUP") > at("SOCK_COOKIE"));
            assert!(at("UNIX_PEER") > at("SOCK_CGROUP"), "a unix_sock begins with a sock");
        }
    }

    #[test]
    fn s4_a_field_that_is_missing_is_named() {
        if fs::exists(BTF).unwrap_or(false) {
            let error =
                places([("sock", "sk_cgrp_data"), ("sock", "sk_nonsense")]).expect_err("no");
            assert!(error.ends_with("has no sock.sk_nonsense"), "{error}");
        }
    }
}
