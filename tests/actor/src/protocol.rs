//! What the harness asks an actor, and what it answers: one JSON object a line, over a unix socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Number of something that an actor keeps open: a listener, a connection, a capture.
pub type Id = u64;

/// One command.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    /// Answers `null`.
    Ready,
    /// Answers [`Interface`].
    Interface {
        /// Its name.
        name: String,
    },
    /// Sends frames by `AF_PACKET`. Answers [`Sent`].
    Send(Send),
    /// Sends IPv4 packets, header included, by a raw IP socket. Answers [`Sent`].
    RawIp {
        /// Where the kernel routes them.
        to: Ipv4Addr,
        /// Packets, hexadecimal.
        packets: Vec<String>,
    },
    /// Opens a TCP connection. Answers [`Connected`].
    Connect {
        /// Peer.
        to: SocketAddr,
        /// How.
        by: ConnectBy,
        /// Sent with or right after the connect, hexadecimal.
        data: String,
        /// Most milliseconds to wait.
        timeout_ms: u64,
        /// Keep it open as [`Connected::id`].
        hold: bool,
    },
    /// Listens on TCP. Answers [`Listening`].
    Listen {
        /// Local address; port 0: any.
        at: SocketAddr,
        /// What it does with a connection.
        serve: Serve,
    },
    /// The next connection that a [`Serve::Hold`] listener accepted. Answers [`Connected`].
    Accept {
        /// The listener.
        id: Id,
        /// Most milliseconds to wait.
        timeout_ms: u64,
    },
    /// What a listener saw. Answers [`Served`].
    Served {
        /// The listener.
        id: Id,
    },
    /// Writes to a held connection. Answers [`Sent`].
    Write {
        /// The connection.
        id: Id,
        /// Bytes, hexadecimal.
        data: String,
    },
    /// Reads from a held connection until `length` bytes, its end or the deadline. Answers
    /// [`Received`].
    Read {
        /// The connection.
        id: Id,
        /// Most bytes.
        length: usize,
        /// Most milliseconds to wait.
        timeout_ms: u64,
    },
    /// Closes a held connection, a listener or a socket. Answers `null`.
    Close {
        /// Which one.
        id: Id,
        /// A connection: by RST.
        reset: bool,
    },
    /// Connects, moves bytes and hashes them. Answers [`Transferred`].
    Transfer {
        /// A [`Serve::Sink`] or [`Serve::Source`] listener.
        to: SocketAddr,
        /// Bytes to send; 0: receive until the end.
        send: u64,
        /// Most milliseconds for all of it.
        timeout_ms: u64,
    },
    /// Listens on UDP. Answers [`Listening`].
    UdpListen {
        /// Local address; port 0: any.
        at: SocketAddr,
        /// Send each datagram back.
        echo: bool,
    },
    /// Sends datagrams from a connected socket and waits for one answer. Answers [`Exchanged`].
    UdpExchange {
        /// Local port, 0: any.
        from_port: u16,
        /// Peer.
        to: SocketAddr,
        /// Payload, hexadecimal.
        data: String,
        /// How many times.
        count: u32,
        /// `UDP_SEGMENT`: the size of each datagram; 0: off.
        segment: u16,
        /// Most milliseconds to wait for an answer.
        timeout_ms: u64,
    },
    /// Sends a datagram by `sendto`, from a socket that is not connected. Answers [`Sent`].
    UdpSendTo {
        /// Peer.
        to: SocketAddr,
        /// Payload, hexadecimal.
        data: String,
    },
    /// Connects a UDP socket and sends nothing, as `getaddrinfo` does. Answers [`Connected`].
    UdpConnect {
        /// Peer.
        to: SocketAddr,
    },
    /// Runs a program to its end, again and again. Answers [`Ran`].
    Run {
        /// Its path, and its arguments.
        program: Vec<String>,
        /// How many times.
        times: u64,
    },
    /// Writes to a unix socket and reads until its end, `quiet_ms` without a byte or the deadline. Answers
    /// [`Received`].
    Unix {
        /// The socket's path.
        to: String,
        /// What is written, hexadecimal.
        data: String,
        /// Most milliseconds without a byte, once there was one.
        quiet_ms: u64,
        /// Most milliseconds for all of it.
        timeout_ms: u64,
    },
    /// One ICMP or `ICMPv6` echo. Answers [`Exchanged`].
    Echo {
        /// Peer.
        to: IpAddr,
        /// IPv6 link-local peers: by which interface.
        interface: String,
        /// Payload, hexadecimal.
        data: String,
        /// Most milliseconds to wait.
        timeout_ms: u64,
    },
    /// Starts to capture. Answers [`Capturing`].
    Capture {
        /// Interface.
        interface: String,
        /// What to keep.
        filter: Filter,
        /// Frames that the actor sends itself, too.
        outgoing: bool,
        /// Most frames to keep; all are counted.
        keep: usize,
    },
    /// Ends a capture, once nothing came for `settle_ms`. Answers [`Captured`].
    CaptureEnd {
        /// The capture.
        id: Id,
        /// Milliseconds.
        settle_ms: u64,
    },
}

/// Frames for `AF_PACKET`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Send {
    /// Interface.
    pub interface: String,
    /// Frames, hexadecimal.
    pub frames: Vec<String>,
    /// How many times all of them.
    pub repeat: u32,
    /// By which of the kernel's doors.
    pub by: SendBy,
    /// Most frames a second; 0: as fast as it goes.
    #[serde(default)]
    pub rate: u32,
}

/// A way to hand a frame to the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SendBy {
    /// `send`.
    #[default]
    Plain,
    /// `PACKET_QDISC_BYPASS`.
    QdiscBypass,
    /// `PACKET_VNET_HDR`, with this header in hexadecimal.
    VnetHeader(String),
    /// `PACKET_TX_RING`: frames in shared memory.
    TxRing,
}

/// A way to open a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectBy {
    /// `connect`.
    Plain,
    /// `sendto` with `MSG_FASTOPEN`.
    FastOpen,
    /// `connect` on an `IPPROTO_MPTCP` socket.
    Mptcp,
}

/// What a TCP listener does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Serve {
    /// Sends everything back.
    Echo,
    /// Hashes everything.
    Sink,
    /// Sends this many bytes of the pattern, then closes.
    Source(u64),
    /// Sends this text, then closes.
    Banner(String),
    /// Keeps it for [`Request::Accept`].
    Hold,
}

/// What a capture keeps. Every part that is given must match.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Filter {
    /// Bytes anywhere in the frame, hexadecimal; empty: any.
    pub marker: String,
    /// Ethertype as the frame carries it.
    pub ethertype: Option<u16>,
    /// TCP or UDP port, source or destination, of an IPv4 or plain IPv6 packet.
    pub port: Option<u16>,
    /// Source MAC address.
    pub source_mac: Option<[u8; 6]>,
    /// Lengths of the whole frame, one of them; empty: any.
    pub lengths: Vec<usize>,
}

/// An interface of the actor's namespace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Interface {
    /// Its index.
    pub ifindex: u32,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Its IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 addresses.
    pub ipv6: Vec<Ipv6Addr>,
    /// Default IPv4 gateway.
    pub gateway: Option<Ipv4Addr>,
    /// The MAC address by which the neighbour table knows the gateway.
    pub gateway_mac: Option<[u8; 6]>,
}

/// What was sent.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sent {
    /// Frames, packets or bytes that the kernel took.
    pub sent: u64,
    /// Ones that it refused, with `errno` of the last.
    pub refused: u64,
    /// `errno` of the last refusal.
    pub errno: Option<i32>,
}

/// The end of a connect.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Connected {
    /// The connection, when it is held.
    pub id: Option<Id>,
    /// Local end.
    pub local: Option<SocketAddr>,
    /// Remote end.
    pub peer: Option<SocketAddr>,
    /// `errno` of the failure; `ETIMEDOUT` after the deadline.
    pub errno: Option<i32>,
    /// Milliseconds that it took.
    pub took_ms: u64,
    /// First bytes of the peer's answer, when the connection is not held.
    pub answer: String,
}

/// A listener.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listening {
    /// Its id.
    pub id: Id,
    /// Its address.
    pub at: SocketAddr,
}

/// What a listener saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// Connections accepted, or datagrams received.
    pub accepted: u64,
    /// Bytes received.
    pub received: u64,
    /// SHA-256 of the bytes of the last finished sink connection.
    pub sha256: String,
    /// Addresses of the last peers.
    pub peers: Vec<SocketAddr>,
}

/// Bytes from a connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Received {
    /// Them, hexadecimal.
    pub data: String,
    /// The peer ended the stream.
    pub ended: bool,
    /// `errno` of a failure, e.g. `ECONNRESET`.
    pub errno: Option<i32>,
}

/// A finished transfer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Transferred {
    /// Bytes.
    pub bytes: u64,
    /// SHA-256 of them.
    pub sha256: String,
    /// Milliseconds that it took.
    pub took_ms: u64,
}

/// A datagram exchange.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exchanged {
    /// Local port.
    pub local_port: u16,
    /// Datagrams (segments count) that the kernel took.
    pub sent: u64,
    /// The answer, hexadecimal.
    pub answer: Option<String>,
    /// `errno` of a failed send or receive.
    pub errno: Option<i32>,
}

/// Programs that were run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ran {
    /// How many began.
    pub began: u64,
    /// Process id of the last, as the actor sees it.
    pub pid: u32,
    /// Milliseconds that all of them took.
    pub took_ms: u64,
}

/// A running capture.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Capturing {
    /// Its id.
    pub id: Id,
}

/// A finished capture.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Captured {
    /// Frames that matched.
    pub count: u64,
    /// The first of them, hexadecimal.
    pub frames: Vec<String>,
    /// Frames that the kernel dropped before the actor saw them. Not 0: the count proves nothing.
    pub missed: u64,
}

/// An answer on the wire.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was done.
    Done(serde_json::Value),
    /// It was not.
    Failed {
        /// Why.
        message: String,
        /// `errno`, where there is one.
        errno: Option<i32>,
    },
}
