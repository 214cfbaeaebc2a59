//! Where fields lie in this kernel's structures, from its type information (BTF): Rust has no CO-RE, so
//! the loader tells the programs.
//!
//! Format: Documentation/bpf/btf.rst. Only `struct`s are looked into, by name.

use std::{fs, io};

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
    /// Those of the running kernel.
    pub(super) fn of_kernel() -> io::Result<Self> {
        let bytes = fs::read(BTF)?;
        let find = |structure: &str, field: &str| {
            offset(&bytes, structure, field).ok_or_else(|| {
                io::Error::other(format!("the kernel's BTF has no {structure}.{field}"))
            })
        };
        Ok(Self {
            bprm_filename: find("linux_binprm", "filename")?,
            task_parent: find("task_struct", "real_parent")?,
            task_tgid: find("task_struct", "tgid")?,
        })
    }
}

/// Where a field that is no bit field lies, bytes.
fn offset(btf: &[u8], structure: &str, field: &str) -> Option<u32> {
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
    let mut at = 0;
    while at < types.len() {
        let (name, info) = (word(types, at)?, word(types, at + 4)?);
        let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        if kind == KIND_STRUCT && is(name, structure) {
            let bits = (0..count).find_map(|index| {
                let member = at + 12 + 12 * index;
                is(word(types, member)?, field).then(|| word(types, member + 8))?
            })?;
            // With bit fields in the structure, the upper byte is the width of this one: 0 for others.
            let is_plain = info >> 31 == 0 || bits >> 24 == 0;
            return (is_plain && bits.is_multiple_of(8)).then_some((bits & 0x00ff_ffff) / 8);
        }
        at += 12 + extra(kind, count)?;
    }
    None
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
        if let Ok(bytes) = fs::read(BTF) {
            assert!(offset(&bytes, "task_struct", "tgid").is_some_and(|at| at > 0 && at % 4 == 0));
            assert!(offset(&bytes, "linux_binprm", "filename").is_some_and(|at| at > 0));
        }
    }
}
