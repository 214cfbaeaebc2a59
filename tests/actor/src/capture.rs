//! Captures: a thread drains a packet socket and keeps what matches.

use std::{
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{
    registry::{Open, Registry, lock},
    sys,
};
use crate::{
    hex,
    protocol::{Captured, Capturing, Filter, Id},
};

const PACKET_STATISTICS: i32 = 6;
const PACKET_IGNORE_OUTGOING: i32 = 23;
/// Longest time that the end of a capture waits for quiet.
const LONGEST_SETTLE: Duration = Duration::from_secs(5);

/// A running capture.
pub(super) struct Capture {
    state: Arc<State>,
    thread: JoinHandle<()>,
}

struct State {
    fd: OwnedFd,
    stop: AtomicBool,
    captured: Mutex<(Captured, Instant)>,
}

/// Starts one; when this returns, no frame is missed any more.
pub(super) fn start(
    registry: &Registry,
    interface: &str,
    filter: &Filter,
    outgoing: bool,
    keep: usize,
) -> Result<Capturing> {
    let fd = sys::socket(libc::AF_PACKET, libc::SOCK_RAW, 0).context("AF_PACKET")?;
    if !outgoing {
        sys::set(&fd, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &1_i32)
            .context("IGNORE_OUTGOING")?;
    }
    // The forced size needs CAP_NET_ADMIN; in a guest the plain one must do.
    if sys::set(&fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &(32_i32 << 20)).is_err() {
        sys::set(&fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &(4_i32 << 20)).context("RCVBUF")?;
    }
    sys::set_timeout(&fd, 10)?;
    let every = u16::try_from(libc::ETH_P_ALL)?;
    sys::bind_packet(&fd, sys::ifindex(interface)?, every).context("bind")?;
    let matcher = Matcher::new(filter)?;
    let state = Arc::new(State {
        fd,
        stop: AtomicBool::new(false),
        captured: Mutex::new((Captured::default(), Instant::now())),
    });
    let thread = {
        let state = Arc::clone(&state);
        thread::spawn(move || state.drain(&matcher, keep))
    };
    Ok(Capturing { id: registry.insert(Open::Capture(Capture { state, thread })) })
}

/// Ends one once it was quiet for `settle_ms`.
pub(super) fn end(registry: &Registry, id: Id, settle_ms: u64) -> Result<Captured> {
    let capture = registry.take_capture(id)?;
    let settle = Duration::from_millis(settle_ms).min(LONGEST_SETTLE);
    let asked = Instant::now();
    while asked.elapsed() < LONGEST_SETTLE {
        let last = lock(&capture.state.captured).1.max(asked);
        if last.elapsed() >= settle {
            break;
        }
        thread::sleep(Duration::from_millis(5));
    }
    capture.state.stop.store(true, Ordering::Relaxed);
    let _ = capture.thread.join();
    let mut captured = std::mem::take(&mut lock(&capture.state.captured).0);
    // struct tpacket_stats: packets, drops
    let mut statistics = [0_u32; 2];
    sys::query(&capture.state.fd, libc::SOL_PACKET, PACKET_STATISTICS, &mut statistics)?;
    captured.missed = u64::from(statistics[1]);
    Ok(captured)
}

impl State {
    fn drain(&self, matcher: &Matcher, keep: usize) {
        let mut buffer = vec![0; 1 << 17];
        let mut stopped = None;
        loop {
            let received = sys::receive(&self.fd, &mut buffer);
            if self.stop.load(Ordering::Relaxed) {
                // What waits in the socket was there before the end: on a busy machine that may be all of it.
                let since: Instant = *stopped.get_or_insert_with(Instant::now);
                if received.is_err() || since.elapsed() > LONGEST_SETTLE {
                    return;
                }
            }
            let Ok(length) = received else { continue };
            let Some(frame) = buffer.get(..length.min(buffer.len())) else { continue };
            if !matcher.matches(frame) {
                continue;
            }
            let mut captured = lock(&self.captured);
            captured.1 = Instant::now();
            captured.0.count += 1;
            if captured.0.frames.len() < keep {
                captured.0.frames.push(hex::encode(frame));
            }
        }
    }
}

struct Matcher {
    marker: Vec<u8>,
    filter: Filter,
}

impl Matcher {
    fn new(filter: &Filter) -> Result<Self> {
        Ok(Self { marker: hex::decode(&filter.marker)?, filter: filter.clone() })
    }

    fn matches(&self, frame: &[u8]) -> bool {
        let filter = &self.filter;
        (filter.lengths.is_empty() || filter.lengths.contains(&frame.len()))
            && (self.marker.is_empty()
                || frame.windows(self.marker.len()).any(|part| part == self.marker))
            && filter.ethertype.is_none_or(|wanted| word(frame, 12) == Some(wanted))
            && filter.source_mac.is_none_or(|wanted| frame.get(6..12) == Some(wanted.as_slice()))
            && filter.port.is_none_or(|wanted| {
                ports(frame).is_some_and(|(from, to)| from == wanted || to == wanted)
            })
    }
}

fn word(frame: &[u8], at: usize) -> Option<u16> {
    frame.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn ports(frame: &[u8]) -> Option<(u16, u16)> {
    let (protocol, start) = match word(frame, 12)? {
        0x0800 => (*frame.get(23)?, 14 + usize::from(frame.get(14)? & 15) * 4),
        0x86dd => (*frame.get(20)?, 54),
        _ => return None,
    };
    matches!(protocol, 6 | 17).then_some(())?;
    Some((word(frame, start)?, word(frame, start + 2)?))
}
