//! Events of unix sockets that were refused.

use enforcer_common::abi::{
    counter::{CounterKey, SOCKET_REFUSED},
    event::{Process, SOCKET_NAME_BYTES, SOCKET_NAME_ROOM, SocketCall, SocketRefused},
};

use super::{DecodeError, Fields, process::process};

/// A unix socket that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketDenied {
    /// Endpoint of the guest.
    pub owner: u32,
    /// When, monotonic ns.
    pub time_ns: u64,
    /// Which process.
    pub process: Process,
    /// What it wanted with the socket.
    pub call: SocketCall,
    /// Id of the cgroup in which the socket was made; 0: not known.
    pub maker: u64,
    /// Its address as it was bound; empty: it has none.
    pub name: Vec<u8>,
}

impl SocketDenied {
    /// What the kernel counted it under.
    pub(super) const fn counter(&self) -> CounterKey {
        CounterKey { owner: self.owner, reason: SOCKET_REFUSED, hook: 0, reserved: 0 }
    }
}

/// Reads the fields in the order of [`SocketRefused`], which has no padding. Bytes beyond the name are
/// whatever the ring had there before.
pub(super) fn denied(bytes: &[u8]) -> Result<SocketDenied, DecodeError> {
    let length = DecodeError::Length(bytes.len());
    let (denied, call) = read(bytes).ok_or(length)?;
    let call = SocketCall::from_value(call).ok_or(DecodeError::Call(call))?;
    Ok(SocketDenied { call, ..denied })
}

fn read(bytes: &[u8]) -> Option<(SocketDenied, u8)> {
    if bytes.len() != size_of::<SocketRefused>() {
        return None;
    }
    let mut fields = Fields(bytes);
    let _abi_and_kind: [u8; 4] = fields.next()?;
    let owner = u32::from_ne_bytes(fields.next()?);
    let time_ns = u64::from_ne_bytes(fields.next()?);
    let process = process(&mut fields)?;
    let maker = u64::from_ne_bytes(fields.next()?);
    let length = usize::try_from(u32::from_ne_bytes(fields.next()?)).ok()?;
    let [call, ..] = fields.next::<4>()?;
    let room: [u8; SOCKET_NAME_ROOM] = fields.next()?;
    let name = room.get(..SOCKET_NAME_BYTES)?.get(..length)?.to_vec();
    // The caller puts the right call in its place.
    let any = SocketCall::Connect;
    Some((SocketDenied { owner, time_ns, process, call: any, maker, name }, call))
}

#[cfg(test)]
mod tests {
    use enforcer_common::abi::event::{EVENT_ABI, EventKind};

    use super::{
        super::{Decoded, decode},
        *,
    };

    /// The bytes that the kernel writes, by hand.
    fn bytes(length: u32, call: u8) -> Vec<u8> {
        let mut bytes = [EVENT_ABI, EventKind::SocketRefused as u16].map(u16::to_ne_bytes).concat();
        bytes.extend(7u32.to_ne_bytes());
        bytes.extend([5u64, 99].map(u64::to_ne_bytes).concat());
        bytes.extend([1000u32, 33, 34, 0].map(u32::to_ne_bytes).concat());
        bytes.extend(b"curl\0\0\0\0\0\0\0\0\0\0\0\0");
        bytes.extend(1u64.to_ne_bytes());
        bytes.extend(length.to_ne_bytes());
        bytes.extend([call, 0, 0, 0]);
        bytes.extend(b"/run/docker.sock\0left from a longer one");
        bytes.resize(200, 0xff);
        bytes
    }

    #[test]
    fn s4_a_refused_socket_is_read_field_by_field() {
        let process = Process {
            cgroup: 99,
            pid: 1000,
            uid: 33,
            gid: 34,
            parent_pid: 0,
            comm: *b"curl\0\0\0\0\0\0\0\0\0\0\0\0",
        };
        for call in SocketCall::ALL {
            let decoded = decode(&bytes(16, call as u8)).expect("decodes");
            let name = b"/run/docker.sock".to_vec();
            let expected = SocketDenied { owner: 7, time_ns: 5, process, call, maker: 1, name };
            assert_eq!((decoded.counter().reason, decoded.time_ns()), (SOCKET_REFUSED, 5));
            assert_eq!(decoded, Decoded::SocketDenied(Box::new(expected)));
        }
        for wrong in [bytes(109, 1), bytes(u32::MAX, 1), bytes(16, 1)[..199].to_vec()] {
            assert_eq!(decode(&wrong), Err(DecodeError::Length(wrong.len())));
        }
        assert_eq!(decode(&bytes(16, 4)), Err(DecodeError::Call(4)));
    }
}
