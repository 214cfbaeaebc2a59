//! What the capture outside the machine says about whose frames were on its uplink.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

/// In every beacon of a guest that has room for it.
const GUEST: &[u8] = b"enforcer-beacon-guest";
/// Where guests' beacons call; their SYNs have no room for more.
const GUEST_PORT: u16 = 47077;
/// Where the beacon of another network calls.
const OTHER_PORT: u16 = 47078;
/// Where the one guest calls that may; as datagrams, which have room for its name.
const LEGAL_PORT: u16 = 47079;
/// In what that guest says, also to visitors.
const LEGAL: &[u8] = b"enforcer-beacon-legal";
/// Before the name of a step, which ends with a semicolon.
const STEP: &[u8] = b"enforcer-step ";
/// The guests' subnet: source addresses that nobody hid.
const GUEST_SUBNET: [u8; 3] = [172, 30, 0];
/// Docker derives a MAC address from the address: 02:42:ac:1e:00:xx.
const GUEST_MAC: [u8; 5] = [0x02, 0x42, 0xac, 0x1e, 0x00];

/// Frames on the uplink, as seconds since the epoch.
#[derive(Debug, Default)]
pub(super) struct Uplink {
    /// Guests' frames, masqueraded or not.
    pub(super) guests: Vec<f64>,
    /// Frames of the container on the network that enforcer does not police.
    pub(super) others: Vec<f64>,
    /// What came between announcements of the machine's, in order; nothing before the first of them.
    pub(super) steps: Vec<Step>,
}

/// How many frames came after one announcement and before the next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// What was announced.
    pub(super) name: String,
    /// Of guests, which policy forbids.
    pub(super) forbidden: usize,
    /// Of the one guest that policy allows something.
    pub(super) legal: usize,
    /// Answers of a guest to visitors from outside.
    pub(super) answers: usize,
}

/// Reads a capture in the classic format, little-endian as qemu writes it.
pub(super) fn read(path: &Path) -> Result<Uplink> {
    let bytes = fs::read(path).with_context(|| format!("no capture {}", path.display()))?;
    let (header, mut rest) = bytes.split_at_checked(24).context("a capture without a header")?;
    if header[..4] != 0xa1b2_c3d4_u32.to_le_bytes() {
        bail!("{} is no capture", path.display());
    }
    let mut uplink = Uplink::default();
    while let Some((record, after)) = rest.split_at_checked(16) {
        let field = |at: usize| {
            record.get(at..at + 4).and_then(|field| field.try_into().ok()).map(u32::from_le_bytes)
        };
        let (Some(seconds), Some(micros), Some(length)) = (field(0), field(4), field(8)) else {
            break;
        };
        let Some((frame, next)) = after.split_at_checked(length as usize) else { break };
        let at = f64::from(seconds) + f64::from(micros) / 1e6;
        uplink.take(at, frame);
        rest = next;
    }
    Ok(uplink)
}

impl Uplink {
    fn take(&mut self, at: f64, frame: &[u8]) {
        if let Some(name) = step(frame) {
            self.steps.push(Step { name, ..Step::default() });
            return;
        }
        let mut nobody = Step::default();
        let step = self.steps.last_mut().unwrap_or(&mut nobody);
        let is_legal = contains(frame, LEGAL);
        let port = destination_port(frame);
        if is_legal && port == Some(LEGAL_PORT) {
            step.legal += 1;
        } else if is_legal {
            step.answers += 1;
        } else if is_guests(frame) || port == Some(LEGAL_PORT) {
            step.forbidden += 1;
            self.guests.push(at);
        } else if port == Some(OTHER_PORT) {
            self.others.push(at);
        }
    }
}

/// What the machine announces, if this is an announcement.
fn step(frame: &[u8]) -> Option<String> {
    let at = frame.windows(STEP.len()).position(|window| window == STEP)? + STEP.len();
    let name = frame.get(at..)?.split(|byte| *byte == b';').next()?;
    Some(String::from_utf8_lossy(name).into_owned())
}

fn contains(frame: &[u8], what: &[u8]) -> bool {
    frame.windows(what.len()).any(|window| window == what)
}

fn is_guests(frame: &[u8]) -> bool {
    contains(frame, GUEST)
        || frame.get(6..11) == Some(&GUEST_MAC)
        || frame.get(6 + 6..14) == Some(&[8, 0]) && frame.get(26..29) == Some(&GUEST_SUBNET)
        || destination_port(frame) == Some(GUEST_PORT)
}

/// Of a UDP datagram or TCP segment over IPv4 without options.
fn destination_port(frame: &[u8]) -> Option<u16> {
    let is_ipv4 = frame.get(12..15)? == [8, 0, 0x45];
    let port = u16::from_be_bytes(frame.get(36..38)?.try_into().ok()?);
    (is_ipv4 && matches!(frame.get(23)?, 6 | 17)).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(source: [u8; 4], mac: [u8; 6], port: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 42];
        frame[6..12].copy_from_slice(&mac);
        frame[12..15].copy_from_slice(&[8, 0, 0x45]);
        frame[23] = 17;
        frame[26..30].copy_from_slice(&source);
        frame[36..38].copy_from_slice(&port.to_be_bytes());
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn a_guests_frame_is_known_by_any_of_its_signs() {
        let (host, mac) = ([10, 0, 2, 15], [0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        assert!(is_guests(&frame(host, mac, 47077, b"")));
        assert!(is_guests(&frame(host, mac, 9, b"enforcer-beacon-guest-7")));
        assert!(is_guests(&frame([172, 30, 0, 9], mac, 9, b"")));
        assert!(is_guests(&frame(host, [0x02, 0x42, 0xac, 0x1e, 0, 2], 9, b"")));
        assert!(!is_guests(&frame(host, mac, OTHER_PORT, b"enforcer-beacon-other")));
        assert_eq!(destination_port(&frame(host, mac, OTHER_PORT, b"")), Some(OTHER_PORT));
    }

    #[test]
    fn frames_are_counted_by_the_step_that_they_came_in() {
        let (host, mac) = ([10, 0, 2, 15], [0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        let mut uplink = Uplink::default();
        let mut take = |port, payload: &[u8]| uplink.take(0.0, &frame(host, mac, port, payload));
        take(GUEST_PORT, b"");
        take(9, b"enforcer-step one;");
        take(GUEST_PORT, b"");
        take(LEGAL_PORT, b"enforcer-beacon-legal");
        take(9, b"enforcer-step two;");
        take(50000, b"enforcer-beacon-legal");
        // Nobody may open a connection there.
        take(LEGAL_PORT, b"");
        let step = |name: &str, forbidden, legal, answers| Step {
            name: name.to_owned(),
            forbidden,
            legal,
            answers,
        };
        assert_eq!(uplink.steps, [step("one", 1, 1, 0), step("two", 1, 0, 1)]);
        assert_eq!(uplink.guests.len(), 3);
    }
}
