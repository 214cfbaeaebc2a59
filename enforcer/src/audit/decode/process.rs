//! Events that know the process.

use enforcer_common::abi::{
    counter::{CONNECT_REFUSED, CounterKey, EXEC},
    event::{COMM_BYTES, Call, ConnectRefused, EXECUTABLE_BYTES, Exec, Process},
    verdict::DropReason,
};

use super::{DecodeError, Fields};

/// A program that began to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Began {
    /// Endpoint of the guest.
    pub owner: u32,
    /// When, monotonic ns.
    pub time_ns: u64,
    /// Which process.
    pub process: Process,
    /// Its program, as far as the kernel kept it.
    pub executable: Vec<u8>,
    /// The end of that is missing.
    pub cut: bool,
}

/// A call that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which.
    pub call: Call,
    /// Why.
    pub reason: DropReason,
    /// All fields.
    pub event: ConnectRefused,
}

impl Began {
    /// What the kernel counted it under.
    pub(super) const fn counter(&self) -> CounterKey {
        CounterKey { owner: self.owner, reason: EXEC, hook: 0, reserved: 0 }
    }
}

impl Refused {
    /// What the kernel counted it under.
    pub(super) const fn counter(&self) -> CounterKey {
        CounterKey { owner: self.event.owner, reason: CONNECT_REFUSED, hook: 0, reserved: 0 }
    }
}

/// Reads the fields in the order of [`Exec`], which has no padding. Bytes beyond the program's name are
/// whatever the ring had there before.
pub(super) fn began(bytes: &[u8]) -> Option<Began> {
    if bytes.len() != size_of::<Exec>() {
        return None;
    }
    let mut fields = Fields(bytes);
    let _abi_and_kind: [u8; 4] = fields.next()?;
    let owner = u32::from_ne_bytes(fields.next()?);
    let time_ns = u64::from_ne_bytes(fields.next()?);
    let process = process(&mut fields)?;
    let length = usize::try_from(u32::from_ne_bytes(fields.next()?)).ok()?;
    let _reserved: [u8; 4] = fields.next()?;
    let room: [u8; EXECUTABLE_BYTES] = fields.next()?;
    let executable = room.get(..length)?.to_vec();
    // The kernel puts a NUL at the end of what it cut.
    Some(Began { owner, time_ns, process, executable, cut: length + 1 == EXECUTABLE_BYTES })
}

/// Reads the fields in the order of [`ConnectRefused`], which has no padding.
pub(super) fn refused(bytes: &[u8]) -> Result<Refused, DecodeError> {
    let event = read_refused(bytes).ok_or(DecodeError::Length(bytes.len()))?;
    let reason = DropReason::from_value(event.reason).ok_or(DecodeError::Reason(event.reason))?;
    let call = Call::from_value(event.call).ok_or(DecodeError::Call(event.call))?;
    Ok(Refused { call, reason, event })
}

fn read_refused(bytes: &[u8]) -> Option<ConnectRefused> {
    if bytes.len() != size_of::<ConnectRefused>() {
        return None;
    }
    let mut fields = Fields(bytes);
    Some(ConnectRefused {
        abi: u16::from_ne_bytes(fields.next()?),
        kind: u16::from_ne_bytes(fields.next()?),
        owner: u32::from_ne_bytes(fields.next()?),
        time_ns: u64::from_ne_bytes(fields.next()?),
        process: process(&mut fields)?,
        destination: fields.next()?,
        destination_port: u16::from_ne_bytes(fields.next()?),
        reason: u16::from_ne_bytes(fields.next()?),
        protocol: u8::from_ne_bytes(fields.next()?),
        family: u8::from_ne_bytes(fields.next()?),
        call: u8::from_ne_bytes(fields.next()?),
        reserved: u8::from_ne_bytes(fields.next()?),
        rule: u32::from_ne_bytes(fields.next()?),
        padding: u32::from_ne_bytes(fields.next()?),
    })
}

pub(super) fn process(fields: &mut Fields<'_>) -> Option<Process> {
    Some(Process {
        cgroup: u64::from_ne_bytes(fields.next()?),
        pid: u32::from_ne_bytes(fields.next()?),
        uid: u32::from_ne_bytes(fields.next()?),
        gid: u32::from_ne_bytes(fields.next()?),
        parent_pid: u32::from_ne_bytes(fields.next()?),
        comm: fields.next::<COMM_BYTES>()?,
    })
}

#[cfg(test)]
mod tests {
    use enforcer_common::abi::event::{EVENT_ABI, EventKind};

    use super::{
        super::{Decoded, decode},
        *,
    };

    const PROCESS: Process = Process {
        cgroup: 99,
        pid: 1000,
        uid: 33,
        gid: 34,
        parent_pid: 999,
        comm: *b"curl\0\0\0\0\0\0\0\0\0\0\0\0",
    };

    /// The bytes that the kernel writes, by hand.
    fn head(kind: EventKind) -> Vec<u8> {
        let mut bytes = Vec::new();
        for half in [EVENT_ABI, kind as u16] {
            bytes.extend(half.to_ne_bytes());
        }
        bytes.extend(7u32.to_ne_bytes());
        bytes.extend(5u64.to_ne_bytes());
        bytes.extend(99u64.to_ne_bytes());
        for word in [1000u32, 33, 34, 999] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(b"curl\0\0\0\0\0\0\0\0\0\0\0\0");
        bytes
    }

    fn exec(length: u32) -> Vec<u8> {
        let mut bytes = head(EventKind::Exec);
        bytes.extend([length, 0].map(u32::to_ne_bytes).concat());
        bytes.extend(b"/usr/bin/curl\0left from a longer one");
        bytes.resize(320, 0xff);
        bytes
    }

    #[test]
    fn a2_a_program_that_begins_is_read_field_by_field() {
        let decoded = decode(&exec(13)).expect("decodes");
        let executable = b"/usr/bin/curl".to_vec();
        let began = Began { owner: 7, time_ns: 5, process: PROCESS, executable, cut: false };
        assert_eq!(decoded, Decoded::Began(Box::new(began)));
        assert_eq!((decoded.counter().reason, decoded.counter().owner), (EXEC, 7));
        let Ok(Decoded::Began(longest)) = decode(&exec(255)) else { panic!("decodes") };
        assert!(longest.cut && longest.executable.len() == 255);
        for bytes in [exec(257), exec(u32::MAX), exec(13)[..319].to_vec(), head(EventKind::Exec)] {
            assert_eq!(decode(&bytes), Err(DecodeError::Length(bytes.len())));
        }
    }

    fn refusal(reason: u16, call: u8) -> Vec<u8> {
        let mut bytes = head(EventKind::ConnectRefused);
        bytes.extend([9u8; 16]);
        bytes.extend([443u16, reason].map(u16::to_ne_bytes).concat());
        bytes.extend([6, 4, call, 0]);
        bytes.extend([3u32, 0].map(u32::to_ne_bytes).concat());
        bytes
    }

    #[test]
    fn a2_a_refused_call_is_read_field_by_field() {
        let decoded = decode(&refusal(22, 1)).expect("decodes");
        let event = ConnectRefused {
            abi: EVENT_ABI,
            kind: EventKind::ConnectRefused as u16,
            owner: 7,
            time_ns: 5,
            process: PROCESS,
            destination: [9; 16],
            destination_port: 443,
            reason: 22,
            protocol: 6,
            family: 4,
            call: 1,
            reserved: 0,
            rule: 3,
            padding: 0,
        };
        let refused = Refused { call: Call::Connect, reason: DropReason::Policy, event };
        assert_eq!(decoded, Decoded::Refused(refused));
        assert_eq!(decoded.counter().reason, CONNECT_REFUSED, "not among the frames denied");
        assert_eq!(decode(&refusal(0, 1)), Err(DecodeError::Reason(0)));
        assert_eq!(decode(&refusal(22, 9)), Err(DecodeError::Call(9)));
        assert_eq!(decode(&refusal(22, 1)[..87]), Err(DecodeError::Length(87)));
    }
}
