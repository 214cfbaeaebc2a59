//! Audit path 1: bytes from the ring become an event. Pure; what is not understood is an error that
//! is counted, never a guess.

use enforcer_common::abi::{
    event::{EVENT_ABI, Event, EventKind, Hook},
    verdict::DropReason,
};

/// An event, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// What happened.
    pub kind: EventKind,
    /// The program that decided.
    pub hook: Hook,
    /// Why, if denied.
    pub reason: Option<DropReason>,
    /// All fields.
    pub event: Event,
}

/// Bytes that are no event of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Too few or too many bytes.
    #[error("an event of {0} bytes")]
    Length(usize),
    /// Another ABI.
    #[error("an event of ABI version {0}")]
    Version(u16),
    /// Not known.
    #[error("an event of kind {0}")]
    Kind(u16),
    /// Not known.
    #[error("an event of hook {0}")]
    Hook(u8),
    /// Not known, or missing from a denial.
    #[error("an event with reason {0}")]
    Reason(u16),
}

/// Decodes one event.
pub fn decode(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let event = read(bytes).ok_or(DecodeError::Length(bytes.len()))?;
    if event.abi != EVENT_ABI {
        return Err(DecodeError::Version(event.abi));
    }
    let kind = EventKind::from_value(event.kind).ok_or(DecodeError::Kind(event.kind))?;
    let hook = Hook::from_value(event.hook).ok_or(DecodeError::Hook(event.hook))?;
    let reason = DropReason::from_value(event.reason);
    let fits = match kind {
        EventKind::Denied => reason.is_some(),
        EventKind::FlowOpened => event.reason == 0,
    };
    if !fits {
        return Err(DecodeError::Reason(event.reason));
    }
    Ok(Decoded { kind, hook, reason, event })
}

/// Reads the fields in the order of [`Event`], which has no padding.
fn read(bytes: &[u8]) -> Option<Event> {
    if bytes.len() != size_of::<Event>() {
        return None;
    }
    let mut fields = Fields(bytes);
    Some(Event {
        abi: u16::from_ne_bytes(fields.next()?),
        kind: u16::from_ne_bytes(fields.next()?),
        owner: u32::from_ne_bytes(fields.next()?),
        time_ns: u64::from_ne_bytes(fields.next()?),
        ifindex: u32::from_ne_bytes(fields.next()?),
        ingress_ifindex: u32::from_ne_bytes(fields.next()?),
        frame_len: u32::from_ne_bytes(fields.next()?),
        rule: u32::from_ne_bytes(fields.next()?),
        source: fields.next()?,
        destination: fields.next()?,
        source_port: u16::from_ne_bytes(fields.next()?),
        destination_port: u16::from_ne_bytes(fields.next()?),
        ethertype: u16::from_ne_bytes(fields.next()?),
        reason: u16::from_ne_bytes(fields.next()?),
        source_mac: fields.next()?,
        destination_mac: fields.next()?,
        protocol: u8::from_ne_bytes(fields.next()?),
        family: u8::from_ne_bytes(fields.next()?),
        tcp_flags: u8::from_ne_bytes(fields.next()?),
        hook: u8::from_ne_bytes(fields.next()?),
    })
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn next<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that the kernel writes, by hand.
    fn bytes(abi: u16, kind: u16, reason: u16, hook: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(abi.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(7u32.to_ne_bytes());
        bytes.extend(1_000u64.to_ne_bytes());
        for word in [20u32, 21, 60, 2] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend([[1u8; 16], [2; 16]].concat());
        for half in [1234u16, 80, 0x0800, reason] {
            bytes.extend(half.to_ne_bytes());
        }
        bytes.extend([[3u8; 6], [4; 6]].concat());
        bytes.extend([6, 4, 2, hook]);
        bytes
    }

    #[test]
    fn every_field_is_where_the_kernel_puts_it() {
        let decoded = decode(&bytes(EVENT_ABI, 2, 22, 1)).expect("decodes");
        let expected = Event {
            abi: EVENT_ABI,
            kind: 2,
            owner: 7,
            time_ns: 1_000,
            ifindex: 20,
            ingress_ifindex: 21,
            frame_len: 60,
            rule: 2,
            source: [1; 16],
            destination: [2; 16],
            source_port: 1234,
            destination_port: 80,
            ethertype: 0x0800,
            reason: 22,
            source_mac: [3; 6],
            destination_mac: [4; 6],
            protocol: 6,
            family: 4,
            tcp_flags: 2,
            hook: 1,
        };
        assert_eq!(decoded.event, expected);
        assert_eq!(decoded.reason, Some(DropReason::Policy));
        assert_eq!((decoded.kind, decoded.hook), (EventKind::Denied, Hook::FromGuest));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        let mut long = bytes(EVENT_ABI, 2, 22, 1);
        long.push(0);
        let cases = [
            (Vec::new(), DecodeError::Length(0)),
            (long, DecodeError::Length(89)),
            (bytes(EVENT_ABI + 1, 2, 22, 1), DecodeError::Version(EVENT_ABI + 1)),
            (bytes(EVENT_ABI, 9, 22, 1), DecodeError::Kind(9)),
            (bytes(EVENT_ABI, 2, 22, 0), DecodeError::Hook(0)),
            (bytes(EVENT_ABI, 2, 999, 1), DecodeError::Reason(999)),
            (bytes(EVENT_ABI, 2, 0, 1), DecodeError::Reason(0)),
            (bytes(EVENT_ABI, 1, 22, 1), DecodeError::Reason(22)),
        ];
        for (bytes, error) in cases {
            assert_eq!(decode(&bytes), Err(error));
        }
    }
}
