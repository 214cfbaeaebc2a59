//! What each map's keys and values look like, by the names of their fields.
//!
//! A daemon writes this beside the maps that it makes. One of another version, newer or older, carries
//! their entries over field by field and so never takes bytes for something that they are not.
//!
//! The rule that makes this safe: **a field keeps its meaning as long as it keeps its name; a change of
//! meaning changes the name.** Its place and its width may change freely.

use super::{
    cgroup::CgroupOwner,
    counter::{Counter, CounterKey, Told, Usage},
    endpoint::{Endpoint, Hub, HubKey, Network},
    flow::{FlowKey, FlowRecord},
    ledger::Ledger,
    policy::{Lease, LeaseKey, Policy, PortKey, Prefix, PrefixKey, PublishedKey, Rule},
};

/// One field of a key or value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name; a field of a nested type is named after both.
    pub name: &'static str,
    /// Where it starts, bytes.
    pub offset: u16,
    /// How long it is, bytes.
    pub size: u16,
    /// How long an element of it is, bytes; an integer is its only element.
    pub element: u16,
    /// Whether zero stands for "not known", so that a layout without it can be carried over.
    pub optional: bool,
}

/// A key or a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Size, bytes.
    pub size: u16,
    /// Its fields, without padding.
    pub fields: &'static [Field],
}

/// A map that outlives a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapLayout {
    /// Its name, as in the eBPF object.
    pub name: &'static str,
    /// Its keys.
    pub key: Layout,
    /// Its values.
    pub value: Layout,
}

/// Bytes of the value of map `LAYOUT`, which holds all of this in one.
pub const LAYOUT_BYTES: usize = 8192;

/// Every map that is carried over to another layout. Queues and the reaper are made anew.
pub const MAPS: &[MapLayout] = &[
    map("LEDGER", ONLY_ENTRY, Ledger::LAYOUT),
    map("POLICIES", POLICY_NUMBER, Policy::LAYOUT),
    map("PREFIXES", PrefixKey::LAYOUT, Prefix::LAYOUT),
    map("PORTS", PortKey::LAYOUT, Rule::LAYOUT),
    map("LEASES", LeaseKey::LAYOUT, Lease::LAYOUT),
    map("NETWORKS", IFINDEX, Network::LAYOUT),
    map("HUBS", HubKey::LAYOUT, Hub::LAYOUT),
    map("PUBLISHED", PublishedKey::LAYOUT, PUBLISHED_VALUE),
    map("USAGE", ENDPOINT_ID, Usage::LAYOUT),
    map("ENDPOINTS", IFINDEX, Endpoint::LAYOUT),
    map("CGROUPS", CGROUP_ID, CgroupOwner::LAYOUT),
    map("FLOWS", FlowKey::LAYOUT, FlowRecord::LAYOUT),
    map("COUNTERS", CounterKey::LAYOUT, Counter::LAYOUT),
    map("TOLD", CounterKey::LAYOUT, Told::LAYOUT),
];

const ONLY_ENTRY: Layout = integer(&[Field::integer("entry", 4)]);
const IFINDEX: Layout = integer(&[Field::integer("ifindex", 4)]);
const CGROUP_ID: Layout = integer(&[Field::integer("cgroup", 8)]);
const ENDPOINT_ID: Layout = integer(&[Field::integer("endpoint", 4)]);
const POLICY_NUMBER: Layout = integer(&[Field::integer("policy", 4)]);
const PUBLISHED_VALUE: Layout = integer(&[Field::integer("published", 4)]);

const fn map(name: &'static str, key: Layout, value: Layout) -> MapLayout {
    MapLayout { name, key, value }
}

const fn integer(fields: &'static [Field; 1]) -> Layout {
    Layout { size: fields[0].size, fields }
}

impl Field {
    const fn integer(name: &'static str, size: u16) -> Self {
        Self { name, offset: 0, size, element: size, optional: false }
    }

    /// A field of `T`, which `_of` picks.
    #[expect(clippy::cast_possible_truncation, reason = "ABI types are far smaller")]
    pub(crate) const fn of<T, F: Plain>(
        name: &'static str,
        offset: usize,
        _of: fn(&T) -> &F,
        optional: bool,
    ) -> Self {
        Self {
            name,
            offset: offset as u16,
            size: size_of::<F>() as u16,
            element: F::ELEMENT as u16,
            optional,
        }
    }
}

impl Layout {
    /// Of `T`, when its fields and `padding` bytes are all of it.
    #[expect(clippy::cast_possible_truncation, reason = "ABI types are far smaller")]
    pub(crate) const fn of<T>(fields: &'static [Field], padding: usize) -> Self {
        let (mut sum, mut index) = (padding, 0);
        while index < fields.len() {
            sum += fields[index].size as usize;
            index += 1;
        }
        assert!(sum == size_of::<T>(), "a field is missing in the layout");
        Self { size: size_of::<T>() as u16, fields }
    }
}

/// What a field may be: an integer, or an array of integers.
pub(crate) trait Plain {
    /// Size of an element, bytes.
    const ELEMENT: usize;
}

impl Plain for u8 {
    const ELEMENT: usize = 1;
}

impl Plain for u16 {
    const ELEMENT: usize = 2;
}

impl Plain for u32 {
    const ELEMENT: usize = 4;
}

impl Plain for u64 {
    const ELEMENT: usize = 8;
}

impl<T: Plain, const N: usize> Plain for [T; N] {
    const ELEMENT: usize = T::ELEMENT;
}

pub(crate) const fn size_of_field<T, F>(_of: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

/// Describes an ABI type; does not compile when a field is left out.
macro_rules! layout {
    ($name:ident {
        $($(#[$attribute:meta])* $($field:ident).+),+ $(,)?
    } $(optional { $($(#[$optional_attribute:meta])* $($optional:ident).+),+ $(,)? })?
    $(padding $padding:ident)?) => {
        impl $name {
            /// Its fields by name.
            pub const LAYOUT: $crate::abi::layout::Layout = {
                use $crate::abi::layout::{Field, Layout};
                const FIELDS: &[Field] = &[
                    $($(#[$attribute])* Field::of(
                        stringify!($($field).+),
                        ::core::mem::offset_of!($name, $($field).+),
                        |value: &$name| &value.$($field).+,
                        false,
                    ),)+
                    $($($(#[$optional_attribute])* Field::of(
                        stringify!($($optional).+),
                        ::core::mem::offset_of!($name, $($optional).+),
                        |value: &$name| &value.$($optional).+,
                        true,
                    ),)+)?
                ];
                Layout::of::<$name>(
                    FIELDS,
                    0 $(+ $crate::abi::layout::size_of_field(|value: &$name| &value.$padding))?,
                )
            };
        }
    };
}
pub(crate) use layout;

#[cfg(test)]
mod tests {
    use super::*;

    fn layouts() -> impl Iterator<Item = (&'static str, Layout)> {
        MAPS.iter().flat_map(|map| [(map.name, map.key), (map.name, map.value)])
    }

    #[test]
    fn f10_fields_lie_apart_within_their_type_under_names_of_their_own() {
        for (map, layout) in layouts() {
            let mut used = vec![false; layout.size.into()];
            for (index, field) in layout.fields.iter().enumerate() {
                assert!(field.element > 0 && field.size.is_multiple_of(field.element), "{map}");
                assert!(!field.name.contains(' '), "{map} {}", field.name);
                assert!(layout.fields[..index].iter().all(|other| other.name != field.name));
                for byte in field.offset..field.offset + field.size {
                    assert!(!std::mem::replace(&mut used[usize::from(byte)], true), "{map}");
                }
            }
        }
    }

    #[test]
    fn f10_no_field_of_a_key_is_optional() {
        for map in MAPS {
            assert!(map.key.fields.iter().all(|field| !field.optional), "{}", map.name);
        }
    }
}
