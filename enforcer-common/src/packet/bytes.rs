//! How the parser reads a frame.

/// A frame that can be read at any offset.
pub trait Bytes {
    /// Length of the frame, bytes; all of it, also what is not in linear memory.
    fn len(&self) -> u32;

    /// Whether a VLAN tag was taken from the frame into metadata, as TC ingress does.
    fn has_vlan_tag(&self) -> bool;

    /// `N` bytes at `offset` from the start of the Ethernet header; `None`: the frame is shorter.
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;

    /// Whether the frame is empty.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Bytes for [u8] {
    fn len(&self) -> u32 {
        u32::try_from(<[u8]>::len(self)).unwrap_or(u32::MAX)
    }

    fn has_vlan_tag(&self) -> bool {
        false
    }

    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let start = usize::try_from(offset).ok()?;
        self.get(start..start.checked_add(N)?)?.try_into().ok()
    }
}
