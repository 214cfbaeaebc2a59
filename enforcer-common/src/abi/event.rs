//! Events: what the kernel writes to the ring buffer `EVENTS`.

use super::pod;

/// Value of [`Event::abi`]: [`super::ABI_VERSION`], folded to half its width.
#[expect(clippy::cast_possible_truncation, reason = "checked below")]
pub const EVENT_ABI: u16 = (super::ABI_VERSION | super::ABI_VERSION >> 16) as u16;
const _: () = assert!(EVENT_ABI as u32 & 0x7fff == super::ABI_VERSION & 0x7fff_ffff);

/// Value of [`Event::kind`].
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A flow was opened.
    FlowOpened = 1,
    /// A frame was denied.
    Denied = 2,
    /// A flow ended: a [`FlowEnd`], not an [`Event`].
    FlowClosed = 3,
    /// A process of a guest began to run a program: an [`Exec`].
    Exec = 4,
    /// A process of a guest was refused a call: a [`ConnectRefused`].
    ConnectRefused = 5,
    /// A process of a guest was refused a unix socket: a [`SocketRefused`].
    SocketRefused = 6,
}

impl EventKind {
    /// The kind with this ABI value, if there is one.
    #[must_use]
    pub const fn from_value(value: u16) -> Option<Self> {
        match value {
            1 => Some(Self::FlowOpened),
            2 => Some(Self::Denied),
            3 => Some(Self::FlowClosed),
            4 => Some(Self::Exec),
            5 => Some(Self::ConnectRefused),
            6 => Some(Self::SocketRefused),
            _ => None,
        }
    }
}

/// The program that decided. Value of [`Event::hook`] and [`super::counter::CounterKey::hook`].
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// TC ingress on a guest's veth.
    FromGuest = 1,
    /// TC egress on a guest's veth.
    ToGuest = 2,
    /// TC ingress on a guest bridge.
    FromBridge = 3,
    /// TC egress on a guest bridge.
    ToBridge = 4,
}

impl Hook {
    /// Every hook, in order of value.
    pub const ALL: [Self; 4] = [Self::FromGuest, Self::ToGuest, Self::FromBridge, Self::ToBridge];

    /// The program's name, as in the eBPF object and in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FromGuest => "from_guest",
            Self::ToGuest => "to_guest",
            Self::FromBridge => "from_bridge",
            Self::ToBridge => "to_bridge",
        }
    }

    /// The hook with this ABI value, if there is one.
    #[must_use]
    pub const fn from_value(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::FromGuest),
            2 => Some(Self::ToGuest),
            3 => Some(Self::FromBridge),
            4 => Some(Self::ToBridge),
            _ => None,
        }
    }
}

/// One event. What was not parsed is zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// [`EVENT_ABI`].
    pub abi: u16,
    /// An [`EventKind`].
    pub kind: u16,
    /// Endpoint or network that it concerns: an id, not an ifindex.
    pub owner: u32,
    /// When, monotonic ns (coarse clock, about 4 ms).
    pub time_ns: u64,
    /// Interface of the program.
    pub ifindex: u32,
    /// Interface by which the frame entered the machine; 0: made by the host.
    pub ingress_ifindex: u32,
    /// Length of the frame, bytes.
    pub frame_len: u32,
    /// Rule that allowed or denied, 0: none.
    pub rule: u32,
    /// Source address; IPv4 and ARP in the first four bytes.
    pub source: [u8; 16],
    /// Destination address; IPv4 and ARP in the first four bytes.
    pub destination: [u8; 16],
    /// Source port, or ICMP type; host order.
    pub source_port: u16,
    /// Destination port, or ICMP code; host order.
    pub destination_port: u16,
    /// Ethertype as in the frame, host order.
    pub ethertype: u16,
    /// A [`super::verdict::DropReason`]; 0: none.
    pub reason: u16,
    /// Source MAC address.
    pub source_mac: [u8; 6],
    /// Destination MAC address.
    pub destination_mac: [u8; 6],
    /// IP protocol number.
    pub protocol: u8,
    /// A [`crate::packet::Family`]; 0: not IP.
    pub family: u8,
    /// TCP flags.
    pub tcp_flags: u8,
    /// A [`Hook`].
    pub hook: u8,
}

/// Why a flow ended. Value of [`FlowEnd::cause`].
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// Both ends closed it, or one reset it.
    Closed = 1,
    /// Nothing was said for too long.
    Idle = 2,
    /// A newer policy denies it.
    Policy = 3,
    /// Its ends used the same ports for another flow.
    Reopened = 4,
    /// Its endpoint is gone.
    Gone = 5,
    /// The kernel had no room to go on with it.
    NoRoom = 6,
    /// Its opener had no answer.
    Unanswered = 7,
}

impl EndCause {
    /// Every cause, in order of value.
    pub const ALL: [Self; 7] = [
        Self::Closed,
        Self::Idle,
        Self::Policy,
        Self::Reopened,
        Self::Gone,
        Self::NoRoom,
        Self::Unanswered,
    ];

    /// The word for it in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Idle => "idle",
            Self::Policy => "policy",
            Self::Reopened => "reopened",
            Self::Gone => "gone",
            Self::NoRoom => "no_room",
            Self::Unanswered => "unanswered",
        }
    }

    /// The cause with this ABI value, if there is one.
    #[must_use]
    pub const fn from_value(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::Closed),
            2 => Some(Self::Idle),
            3 => Some(Self::Policy),
            4 => Some(Self::Reopened),
            5 => Some(Self::Gone),
            6 => Some(Self::NoRoom),
            7 => Some(Self::Unanswered),
            _ => None,
        }
    }
}

/// The end of a flow, and what it carried.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowEnd {
    /// [`EVENT_ABI`].
    pub abi: u16,
    /// [`EventKind::FlowClosed`].
    pub kind: u16,
    /// Endpoint that it belonged to: an id, not an ifindex.
    pub owner: u32,
    /// When its end was noticed, monotonic ns (coarse clock, about 4 ms): up to 20 s after its last
    /// packet and its linger, 5 minutes where its endpoint is gone.
    pub time_ns: u64,
    /// First packet, monotonic ns.
    pub opened_ns: u64,
    /// Last packet that kept it alive, monotonic ns.
    pub last_seen_ns: u64,
    /// Packets the endpoint sent, GSO segments counted.
    pub packets_out: u64,
    /// Bytes the endpoint sent, Ethernet headers included.
    pub bytes_out: u64,
    /// Packets the endpoint was sent.
    pub packets_in: u64,
    /// Bytes the endpoint was sent.
    pub bytes_in: u64,
    /// Rule that allowed it, 0: none needed.
    pub rule: u32,
    /// Who opened it: a [`crate::decide::Opener`].
    pub opener: u32,
    /// The endpoint's address; IPv4 in the first four bytes.
    pub local: [u8; 16],
    /// The peer's address; IPv4 in the first four bytes.
    pub remote: [u8; 16],
    /// The endpoint's port, host order; for ICMP echo the identifier.
    pub local_port: u16,
    /// The peer's port, host order; for ICMP echo the identifier.
    pub remote_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// A [`crate::packet::Family`].
    pub family: u8,
    /// An [`EndCause`].
    pub cause: u8,
    /// Padding, 0.
    pub reserved: u8,
}

/// Room for the name of a process, as the kernel has it (`TASK_COMM_LEN`).
pub const COMM_BYTES: usize = 16;
/// Room for the name of a program that is run. A longer one is cut.
pub const EXECUTABLE_BYTES: usize = 256;

/// Who did something, as seen from outside every container.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Id of the cgroup that the process is in: the guest's, or one within it.
    pub cgroup: u64,
    /// Process id in the machine's own PID namespace (the kernel's `tgid`).
    pub pid: u32,
    /// User id in the machine's own user namespace.
    pub uid: u32,
    /// Group id, likewise.
    pub gid: u32,
    /// Process id of its parent; 0: not known.
    pub parent_pid: u32,
    /// Name of the thread, NUL at its end. The process chose it.
    pub comm: [u8; COMM_BYTES],
}

/// A process began to run a program.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exec {
    /// [`EVENT_ABI`].
    pub abi: u16,
    /// [`EventKind::Exec`].
    pub kind: u16,
    /// Endpoint of the guest: an id, not an ifindex.
    pub owner: u32,
    /// When, monotonic ns.
    pub time_ns: u64,
    /// Which; its name is the new program's.
    pub process: Process,
    /// Bytes of `executable` in use.
    pub executable_len: u32,
    /// Padding, 0.
    pub reserved: u32,
    /// The program, as the caller named it: may be a relative path, or a script. Its end is missing
    /// when all bytes but the last are in use.
    pub executable: [u8; EXECUTABLE_BYTES],
}

/// Which call was refused. Value of [`ConnectRefused::call`].
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// connect(2) of a TCP socket.
    Connect = 1,
    /// sendto(2), sendmsg(2) or sendmmsg(2) of a UDP socket, with an address.
    SendMsg = 2,
    /// A packet of a connected UDP socket.
    Send = 3,
}

impl Call {
    /// Every call, in order of value.
    pub const ALL: [Self; 3] = [Self::Connect, Self::SendMsg, Self::Send];

    /// The word for it in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::SendMsg => "sendmsg",
            Self::Send => "send",
        }
    }

    /// The call with this ABI value, if there is one.
    #[must_use]
    pub const fn from_value(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::Connect),
            2 => Some(Self::SendMsg),
            3 => Some(Self::Send),
            _ => None,
        }
    }
}

/// A process was refused a call that no packet was made for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectRefused {
    /// [`EVENT_ABI`].
    pub abi: u16,
    /// [`EventKind::ConnectRefused`].
    pub kind: u16,
    /// Endpoint of the guest: an id, not an ifindex.
    pub owner: u32,
    /// When, monotonic ns.
    pub time_ns: u64,
    /// Who.
    pub process: Process,
    /// Destination address; IPv4 in the first four bytes.
    pub destination: [u8; 16],
    /// Destination port, host order.
    pub destination_port: u16,
    /// A [`super::verdict::DropReason`]: why a packet would have been denied.
    pub reason: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// A [`crate::packet::Family`].
    pub family: u8,
    /// A [`Call`].
    pub call: u8,
    /// Padding, 0.
    pub reserved: u8,
    /// Rule that denies it; 0: none opens it.
    pub rule: u32,
    /// Padding, 0.
    pub padding: u32,
}

/// What a process wanted with a unix socket. Value of [`SocketRefused::call`].
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketCall {
    /// To connect to it.
    Connect = 1,
    /// To send it a datagram.
    Send = 2,
    /// To receive, from another process, a socket that is connected to it.
    Receive = 3,
}

impl SocketCall {
    /// Every one, in order of value.
    pub const ALL: [Self; 3] = [Self::Connect, Self::Send, Self::Receive];

    /// The word for it in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Send => "send",
            Self::Receive => "receive",
        }
    }

    /// The one with this ABI value, if there is one.
    #[must_use]
    pub const fn from_value(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::Connect),
            2 => Some(Self::Send),
            3 => Some(Self::Receive),
            _ => None,
        }
    }
}

/// Longest address of a unix socket, bytes (`sun_path`).
pub const SOCKET_NAME_BYTES: usize = 108;
/// Room for it: the verifier knows a length by a mask of its bits.
pub const SOCKET_NAME_ROOM: usize = 128;

/// A process was refused a unix socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketRefused {
    /// [`EVENT_ABI`].
    pub abi: u16,
    /// [`EventKind::SocketRefused`].
    pub kind: u16,
    /// Endpoint of the guest: an id, not an ifindex.
    pub owner: u32,
    /// When, monotonic ns.
    pub time_ns: u64,
    /// Who.
    pub process: Process,
    /// Id of the cgroup in which the other socket was made; 0: not readable.
    pub maker: u64,
    /// Bytes of `name` in use.
    pub name_len: u32,
    /// A [`SocketCall`].
    pub call: u8,
    /// Padding, 0.
    pub reserved: [u8; 3],
    /// Address of the other socket as it was bound: a path, or a NUL and a name; none: it has none.
    pub name: [u8; SOCKET_NAME_ROOM],
}

const _: () = assert!(size_of::<Event>() == 88 && size_of::<FlowEnd>() == 112);
const _: () = assert!(size_of::<Process>() == 40 && size_of::<Exec>() == 320);
const _: () = assert!(size_of::<ConnectRefused>() == 88 && size_of::<SocketRefused>() == 200);
pod!(Event, FlowEnd, Process, Exec, ConnectRefused, SocketRefused);
