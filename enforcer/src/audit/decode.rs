//! Audit path 1: bytes from the ring become an event. Pure; what is not understood is an error that
//! is counted, never a guess.

mod process;
mod socket;

use enforcer_common::abi::{
    counter::{CounterKey, FLOW_CLOSED},
    event::{EVENT_ABI, EndCause, Event, EventKind, FlowEnd, Hook},
    verdict::DropReason,
};

pub use process::{Began, Refused};
pub use socket::SocketDenied;

/// An event, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A frame opened a flow, or was denied.
    Judged(Judged),
    /// A flow ended.
    Ended(Ended),
    /// A process began to run a program.
    Began(Box<Began>),
    /// A process was refused a call.
    Refused(Refused),
    /// A process was refused a unix socket.
    SocketDenied(Box<SocketDenied>),
}

/// A frame and its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The program that decided.
    pub hook: Hook,
    /// Why, if denied; otherwise the frame opened a flow.
    pub reason: Option<DropReason>,
    /// All fields.
    pub event: Event,
}

/// The end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Why.
    pub cause: EndCause,
    /// All fields.
    pub end: FlowEnd,
}

impl Decoded {
    /// What the kernel counted it under.
    #[must_use]
    pub fn counter(&self) -> CounterKey {
        match self {
            Self::Judged(Judged { event, .. }) => CounterKey {
                owner: event.owner,
                reason: event.reason,
                hook: event.hook,
                reserved: 0,
            },
            Self::Ended(Ended { end, .. }) => {
                CounterKey { owner: end.owner, reason: FLOW_CLOSED, hook: 0, reserved: 0 }
            }
            Self::Began(began) => began.counter(),
            Self::Refused(refused) => refused.counter(),
            Self::SocketDenied(denied) => denied.counter(),
        }
    }

    /// When it happened, monotonic ns.
    #[must_use]
    pub fn time_ns(&self) -> u64 {
        match self {
            Self::Judged(Judged { event, .. }) => event.time_ns,
            Self::Ended(Ended { end, .. }) => end.time_ns,
            Self::Began(began) => began.time_ns,
            Self::Refused(refused) => refused.event.time_ns,
            Self::SocketDenied(denied) => denied.time_ns,
        }
    }
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
    /// Not known.
    #[error("a flow's end with cause {0}")]
    Cause(u8),
    /// Not known.
    #[error("a refusal of call {0}")]
    Call(u8),
}

/// Decodes one event.
pub fn decode(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let mut fields = Fields(bytes);
    let length = DecodeError::Length(bytes.len());
    let abi = u16::from_ne_bytes(fields.next().ok_or(length)?);
    if abi != EVENT_ABI {
        return Err(DecodeError::Version(abi));
    }
    let kind = u16::from_ne_bytes(fields.next().ok_or(length)?);
    match EventKind::from_value(kind).ok_or(DecodeError::Kind(kind))? {
        EventKind::Denied => judged(read_event(bytes).ok_or(length)?, true),
        EventKind::FlowOpened => judged(read_event(bytes).ok_or(length)?, false),
        EventKind::FlowClosed => {
            let end = read_end(bytes).ok_or(length)?;
            let cause = EndCause::from_value(end.cause).ok_or(DecodeError::Cause(end.cause))?;
            Ok(Decoded::Ended(Ended { cause, end }))
        }
        EventKind::Exec => {
            process::began(bytes).map(|began| Decoded::Began(Box::new(began))).ok_or(length)
        }
        EventKind::ConnectRefused => process::refused(bytes).map(Decoded::Refused),
        EventKind::SocketRefused => {
            socket::denied(bytes).map(|denied| Decoded::SocketDenied(Box::new(denied)))
        }
    }
}

fn judged(event: Event, denied: bool) -> Result<Decoded, DecodeError> {
    let hook = Hook::from_value(event.hook).ok_or(DecodeError::Hook(event.hook))?;
    let reason = DropReason::from_value(event.reason);
    let fits = if denied { reason.is_some() } else { event.reason == 0 };
    if !fits {
        return Err(DecodeError::Reason(event.reason));
    }
    Ok(Decoded::Judged(Judged { hook, reason, event }))
}

/// Reads the fields in the order of [`Event`], which has no padding.
fn read_event(bytes: &[u8]) -> Option<Event> {
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

/// Reads the fields in the order of [`FlowEnd`], which has no padding.
fn read_end(bytes: &[u8]) -> Option<FlowEnd> {
    if bytes.len() != size_of::<FlowEnd>() {
        return None;
    }
    let mut fields = Fields(bytes);
    Some(FlowEnd {
        abi: u16::from_ne_bytes(fields.next()?),
        kind: u16::from_ne_bytes(fields.next()?),
        owner: u32::from_ne_bytes(fields.next()?),
        time_ns: u64::from_ne_bytes(fields.next()?),
        opened_ns: u64::from_ne_bytes(fields.next()?),
        last_seen_ns: u64::from_ne_bytes(fields.next()?),
        packets_out: u64::from_ne_bytes(fields.next()?),
        bytes_out: u64::from_ne_bytes(fields.next()?),
        packets_in: u64::from_ne_bytes(fields.next()?),
        bytes_in: u64::from_ne_bytes(fields.next()?),
        rule: u32::from_ne_bytes(fields.next()?),
        opener: u32::from_ne_bytes(fields.next()?),
        local: fields.next()?,
        remote: fields.next()?,
        local_port: u16::from_ne_bytes(fields.next()?),
        remote_port: u16::from_ne_bytes(fields.next()?),
        protocol: u8::from_ne_bytes(fields.next()?),
        family: u8::from_ne_bytes(fields.next()?),
        cause: u8::from_ne_bytes(fields.next()?),
        reserved: u8::from_ne_bytes(fields.next()?),
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
        let reason = Some(DropReason::Policy);
        assert_eq!(
            decoded,
            Decoded::Judged(Judged { hook: Hook::FromGuest, reason, event: expected })
        );
        assert_eq!((decoded.counter().owner, decoded.counter().reason), (7, 22));
    }

    /// The end of a flow, by hand.
    fn end(cause: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        for half in [EVENT_ABI, 3] {
            bytes.extend(half.to_ne_bytes());
        }
        bytes.extend(7u32.to_ne_bytes());
        for long in 1u64..=7 {
            bytes.extend(long.to_ne_bytes());
        }
        for word in [42u32, 5] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend([[1u8; 16], [2; 16]].concat());
        for half in [8888u16, 50_000] {
            bytes.extend(half.to_ne_bytes());
        }
        bytes.extend([6, 4, cause, 0]);
        bytes
    }

    #[test]
    fn the_end_of_a_flow_is_read_field_by_field() {
        let decoded = decode(&end(2)).expect("decodes");
        let expected = FlowEnd {
            abi: EVENT_ABI,
            kind: 3,
            owner: 7,
            time_ns: 1,
            opened_ns: 2,
            last_seen_ns: 3,
            packets_out: 4,
            bytes_out: 5,
            packets_in: 6,
            bytes_in: 7,
            rule: 42,
            opener: 5,
            local: [1; 16],
            remote: [2; 16],
            local_port: 8888,
            remote_port: 50_000,
            protocol: 6,
            family: 4,
            cause: 2,
            reserved: 0,
        };
        assert_eq!(decoded, Decoded::Ended(Ended { cause: EndCause::Idle, end: expected }));
        assert_eq!((decoded.counter().owner, decoded.counter().reason), (7, FLOW_CLOSED));
        for cause in EndCause::ALL {
            assert!(
                matches!(decode(&end(cause as u8)), Ok(Decoded::Ended(ended)) if ended.cause == cause)
            );
        }
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
            (bytes(EVENT_ABI, 3, 0, 1), DecodeError::Length(88)),
            (end(0), DecodeError::Cause(0)),
        ];
        for (bytes, error) in cases {
            assert_eq!(decode(&bytes), Err(error));
        }
    }
}
