//! The context of a program on a socket's call.

use aya_ebpf::{bindings::bpf_sock_addr, programs::SockAddrContext};
use enforcer_common::{
    abi::event::Call,
    packet::{IPV4, IPV6, TCP, UDP},
};

use crate::process::{Destination, Socket, judge};

/// The call goes on, to whatever hooks come next.
const GO_ON: i32 = 1;
/// It fails with EPERM.
const REFUSE: i32 = 0;

/// What a process asks for.
pub struct Asked(*mut bpf_sock_addr);

impl Asked {
    #[inline(always)]
    pub fn new(ctx: &SockAddrContext) -> Self {
        Self(ctx.sock_addr)
    }

    #[inline(always)]
    pub fn connect4(&self) -> i32 {
        // A UDP socket is connected to learn its own address, too: nothing is sent.
        if self.protocol() == u32::from(TCP) { self.four(Call::Connect, TCP) } else { GO_ON }
    }

    #[inline(always)]
    pub fn connect6(&self) -> i32 {
        if self.protocol() == u32::from(TCP) { self.six(Call::Connect, TCP) } else { GO_ON }
    }

    #[inline(always)]
    pub fn sendmsg4(&self) -> i32 {
        if self.protocol() == u32::from(UDP) { self.four(Call::SendMsg, UDP) } else { GO_ON }
    }

    #[inline(always)]
    pub fn sendmsg6(&self) -> i32 {
        if self.protocol() == u32::from(UDP) { self.six(Call::SendMsg, UDP) } else { GO_ON }
    }

    #[inline(always)]
    fn four(&self, call: Call, protocol: u8) -> i32 {
        // SAFETY: the kernel's context; the verifier knows its fields.
        let word = unsafe { (&raw const (*self.0).user_ip4).read_volatile() };
        self.decide(
            call,
            protocol,
            &Destination { address: four_in_sixteen(word), port: self.port(), family: IPV4 },
        )
    }

    #[inline(always)]
    fn six(&self, call: Call, protocol: u8) -> i32 {
        // SAFETY: as above; each word is read for itself, as the verifier wants it.
        let words = unsafe {
            let at = (&raw const (*self.0).user_ip6).cast::<u32>();
            [
                at.read_volatile(),
                at.add(1).read_volatile(),
                at.add(2).read_volatile(),
                at.add(3).read_volatile(),
            ]
        };
        let mapped = words[0] == 0 && words[1] == 0 && words[2] == 0xffff_u32.to_be();
        let to = if mapped {
            Destination { address: four_in_sixteen(words[3]), port: self.port(), family: IPV4 }
        } else {
            Destination { address: sixteen(words), port: self.port(), family: IPV6 }
        };
        self.decide(call, protocol, &to)
    }

    #[inline(always)]
    fn decide(&self, call: Call, protocol: u8, to: &Destination) -> i32 {
        let socket = Socket { call, protocol, port: self.own_port() };
        if judge(&socket, to) { GO_ON } else { REFUSE }
    }

    #[inline(always)]
    fn protocol(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (&raw const (*self.0).protocol).read_volatile() }
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the first two bytes")]
    fn port(&self) -> u16 {
        // SAFETY: as above. In network order, in the first two bytes.
        u16::from_be(unsafe { (&raw const (*self.0).user_port).read_volatile() } as u16)
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a port, in host order")]
    fn own_port(&self) -> u16 {
        // SAFETY: as above; the socket of the call lives as long as the call.
        unsafe {
            let socket = (&raw const (*self.0).__bindgen_anon_1.sk).read_volatile();
            if socket.is_null() {
                return 0;
            }
            (&raw const (*socket).src_port).read_volatile() as u16
        }
    }
}

#[inline(always)]
fn four_in_sixteen(word: u32) -> [u8; 16] {
    let mut address = [0; 16];
    address[..4].copy_from_slice(&word.to_ne_bytes());
    address
}

#[inline(always)]
fn sixteen(words: [u32; 4]) -> [u8; 16] {
    let mut address = [0; 16];
    address[..4].copy_from_slice(&words[0].to_ne_bytes());
    address[4..8].copy_from_slice(&words[1].to_ne_bytes());
    address[8..12].copy_from_slice(&words[2].to_ne_bytes());
    address[12..].copy_from_slice(&words[3].to_ne_bytes());
    address
}
