//! Carries a key or a value from one layout to another, field by field. Pure.
//!
//! What the source has not stays zero where zero means "not known"; what does not fit is an error,
//! never a guess.

use std::ops::Range;

use enforcer_common::abi::layout::Layout;

/// One field of a layout that another daemon described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Where it starts, bytes.
    pub offset: u16,
    /// How long it is, bytes.
    pub size: u16,
    /// How long an element of it is, bytes.
    pub element: u16,
}

/// A key or a value as another daemon described it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Size, bytes.
    pub size: u16,
    /// Its fields.
    pub fields: Vec<Field>,
}

/// Nothing of this layout can be carried over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incompatible {
    /// The source has no such field, and it is needed.
    #[error("no field {0}")]
    Missing(&'static str),
    /// Both have it, but not as the same number of elements.
    #[error("field {0} has another shape")]
    Shape(&'static str),
    /// The source's description contradicts itself.
    #[error("field {0} lies outside its type")]
    Outside(&'static str),
}

/// How to convert from one layout to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversion {
    from_size: usize,
    to_size: usize,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    from: Range<usize>,
    to: Range<usize>,
    /// One integer: it may be as wide as it likes.
    is_integer: bool,
}

impl Conversion {
    /// The way from `from` to `to`, if there is one.
    pub fn new(from: &Described, to: &Layout) -> Result<Self, Incompatible> {
        let mut steps = Vec::new();
        for field in to.fields {
            let Some(source) = from.fields.iter().find(|other| other.name == field.name) else {
                if field.optional {
                    continue;
                }
                return Err(Incompatible::Missing(field.name));
            };
            let is_integer = field.element == field.size && source.element == source.size;
            if !is_integer && (field.size, field.element) != (source.size, source.element) {
                return Err(Incompatible::Shape(field.name));
            }
            let range =
                |offset: u16, size| usize::from(offset)..usize::from(offset) + usize::from(size);
            let from_range = range(source.offset, source.size);
            // Integers are read as 64 bits; none is wider.
            if from_range.end > usize::from(from.size) || (is_integer && source.size > 8) {
                return Err(Incompatible::Outside(field.name));
            }
            steps.push(Step { from: from_range, to: range(field.offset, field.size), is_integer });
        }
        Ok(Self { from_size: from.size.into(), to_size: to.size.into(), steps })
    }

    /// The converted bytes; `None`: a number does not fit, or these are not bytes of that layout.
    #[must_use]
    pub fn convert(&self, from: &[u8]) -> Option<Vec<u8>> {
        if from.len() != self.from_size {
            return None;
        }
        let mut to = vec![0; self.to_size];
        for step in &self.steps {
            let (source, target) = (from.get(step.from.clone())?, to.get_mut(step.to.clone())?);
            if step.is_integer {
                put_integer(integer(source)?, target)?;
            } else {
                target.copy_from_slice(source);
            }
        }
        Some(to)
    }
}

/// As the kernel wrote it; the eBPF target is little-endian.
fn integer(bytes: &[u8]) -> Option<u64> {
    let mut wide = [0; 8];
    wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(u64::from_le_bytes(wide))
}

fn put_integer(value: u64, target: &mut [u8]) -> Option<()> {
    let bytes = value.to_le_bytes();
    let (kept, lost) = bytes.split_at_checked(target.len())?;
    if lost.iter().any(|byte| *byte != 0) {
        return None;
    }
    target.copy_from_slice(kept);
    Some(())
}

impl From<&Layout> for Described {
    fn from(layout: &Layout) -> Self {
        let fields = layout.fields.iter().map(|field| Field {
            name: field.name.to_owned(),
            offset: field.offset,
            size: field.size,
            element: field.element,
        });
        Self { size: layout.size, fields: fields.collect() }
    }
}

#[cfg(test)]
mod tests;
