//! Frames and packets as bytes, by each of the kernel's doors.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    os::fd::{AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::sys;
use crate::{
    hex,
    protocol::{Send, SendBy, Sent},
};

/// Most frames that one command sends.
const MOST: usize = 4_000_000;
const PACKET_VERSION: i32 = 10;
const PACKET_TX_RING: i32 = 13;
const PACKET_VNET_HDR: i32 = 15;
const PACKET_QDISC_BYPASS: i32 = 20;
const TPACKET_V2: i32 = 1;
/// Room for one frame of a ring, its header included.
const SLOT: usize = 2048;
/// Where a frame starts in its slot: `TPACKET2_HDRLEN - sizeof(struct sockaddr_ll)`.
const SLOT_HEADER: usize = 32;
const SLOTS: usize = 64;

/// Sends frames.
pub(super) fn send(send: &Send) -> Result<Sent> {
    let prefix = match &send.by {
        SendBy::VnetHeader(header) => hex::decode(header)?,
        _ => Vec::new(),
    };
    let frames = send
        .frames
        .iter()
        .map(|frame| Ok([prefix.clone(), hex::decode(frame)?].concat()))
        .collect::<Result<Vec<_>>>()?;
    let repeat = send.repeat.max(1) as usize;
    ensure!(frames.len().saturating_mul(repeat) <= MOST, "more than {MOST} frames");
    let fd = sys::socket(libc::AF_PACKET, libc::SOCK_RAW, 0).context("AF_PACKET")?;
    match send.by {
        SendBy::Plain | SendBy::TxRing => {}
        SendBy::QdiscBypass => {
            sys::set(&fd, libc::SOL_PACKET, PACKET_QDISC_BYPASS, &1_i32).context("QDISC_BYPASS")?;
        }
        SendBy::VnetHeader(_) => {
            sys::set(&fd, libc::SOL_PACKET, PACKET_VNET_HDR, &1_i32).context("VNET_HDR")?;
        }
    }
    sys::bind_packet(&fd, sys::ifindex(&send.interface)?, 0).context("bind")?;
    if send.by == SendBy::TxRing {
        return send_by_ring(&fd, &frames, repeat);
    }
    let mut sent = Sent::default();
    let begun = Instant::now();
    for _ in 0..repeat {
        for frame in &frames {
            pace(begun, sent.sent + sent.refused, send.rate);
            count(&mut sent, send_patiently(|| sys::send(&fd, frame)));
        }
    }
    Ok(sent)
}

/// Sends whole IPv4 packets by `IPPROTO_RAW`.
pub(super) fn send_raw_ip(to: Ipv4Addr, packets: &[String]) -> Result<Sent> {
    let fd = sys::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW).context("SOCK_RAW")?;
    let to = SocketAddr::from((to, 0));
    let mut sent = Sent::default();
    for packet in packets {
        let packet = hex::decode(packet)?;
        count(&mut sent, send_patiently(|| sys::send_to(&fd, &packet, 0, to)));
    }
    Ok(sent)
}

/// Waits until it is time for the frame after `done`.
fn pace(begun: Instant, done: u64, rate: u32) {
    if rate > 0 {
        let due = Duration::from_nanos(done.saturating_mul(1_000_000_000) / u64::from(rate));
        if let Some(early) = due.checked_sub(begun.elapsed()) {
            std::thread::sleep(early);
        }
    }
}

fn count(sent: &mut Sent, result: io::Result<usize>) {
    match result {
        Ok(_) => sent.sent += 1,
        Err(error) => {
            sent.refused += 1;
            sent.errno = error.raw_os_error();
        }
    }
}

/// Tries again for a while when the device's queue is full.
fn send_patiently(mut send: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    let mut result = send();
    for _ in 0..1000 {
        if !matches!(&result, Err(error) if error.raw_os_error() == Some(libc::ENOBUFS)) {
            break;
        }
        std::thread::yield_now();
        result = send();
    }
    result
}

/// `struct tpacket_req`.
#[repr(C)]
#[derive(Clone, Copy)]
struct RingRequest {
    block_size: u32,
    block_count: u32,
    frame_size: u32,
    frame_count: u32,
}

fn send_by_ring(fd: &OwnedFd, frames: &[Vec<u8>], repeat: usize) -> Result<Sent> {
    sys::set(fd, libc::SOL_PACKET, PACKET_VERSION, &TPACKET_V2).context("PACKET_VERSION")?;
    let length = SLOT * SLOTS;
    let request = RingRequest {
        block_size: u32::try_from(length)?,
        block_count: 1,
        frame_size: u32::try_from(SLOT)?,
        frame_count: u32::try_from(SLOTS)?,
    };
    sys::set(fd, libc::SOL_PACKET, PACKET_TX_RING, &request).context("TX_RING")?;
    let ring = Ring::map(fd, length)?;
    let mut sent = Sent::default();
    let mut slot = 0;
    for frame in frames.iter().cycle().take(frames.len() * repeat) {
        ensure!(frame.len() + SLOT_HEADER <= SLOT, "a frame does not fit a slot of the ring");
        ring.fill(slot, frame);
        slot = (slot + 1) % SLOTS;
        // One frame at a time: the call returns when the slot is free again.
        count(&mut sent, sys::send(fd, &[]));
    }
    Ok(sent)
}

/// A mapped transmit ring.
struct Ring {
    base: *mut u8,
    length: usize,
}

impl Ring {
    fn map(fd: &OwnedFd, length: usize) -> Result<Self> {
        // SAFETY: a new mapping at an address that the kernel chooses.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        ensure!(base != libc::MAP_FAILED, "mmap: {}", io::Error::last_os_error());
        Ok(Self { base: base.cast(), length })
    }

    /// Puts a frame into a slot and hands the slot to the kernel.
    fn fill(&self, slot: usize, frame: &[u8]) {
        let length = u32::try_from(frame.len()).unwrap_or(0);
        // SAFETY: `slot < SLOTS` and header + frame fit a slot (checked by the caller), so every
        // access lies in the mapping; slots are 16-byte aligned.
        #[expect(clippy::multiple_unsafe_ops_per_block, reason = "one bounds argument for all")]
        #[expect(clippy::cast_ptr_alignment, reason = "a slot starts at a multiple of 2048")]
        unsafe {
            let start = self.base.add(slot * SLOT);
            std::ptr::copy_nonoverlapping(frame.as_ptr(), start.add(SLOT_HEADER), frame.len());
            start.add(4).cast::<u32>().write_volatile(length);
            start.add(8).cast::<u32>().write_volatile(length);
            // TP_STATUS_SEND_REQUEST
            start.cast::<u32>().write_volatile(1);
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: exactly what `map` mapped, and no reference to it is left.
        unsafe { libc::munmap(self.base.cast(), self.length) };
    }
}
