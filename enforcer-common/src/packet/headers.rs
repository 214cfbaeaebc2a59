//! Header structs of `network-types` from bytes.

use core::mem;

use network_types::{
    arp::ArpHdr,
    eth::EthHdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
    tcp::TcpHdr,
    udp::UdpHdr,
};

/// A header that is plain bytes: no padding, every bit pattern valid.
pub(super) trait Header<const N: usize>: Sized {
    /// The header with these bytes.
    fn from_bytes(bytes: [u8; N]) -> Self;
}

macro_rules! headers {
    ($($name:ty = $len:literal),+ $(,)?) => {
        $(
            impl Header<$len> for $name {
                #[inline(always)]
                fn from_bytes(bytes: [u8; $len]) -> Self {
                    // SAFETY: the compiler checks that the sizes are equal; all fields are integers
                    // or byte arrays without padding, so every bit pattern is a valid value.
                    unsafe { mem::transmute::<[u8; $len], Self>(bytes) }
                }
            }
        )+
    };
}

headers!(EthHdr = 14, ArpHdr = 28, Ipv4Hdr = 20, Ipv6Hdr = 40, TcpHdr = 20, UdpHdr = 8);
