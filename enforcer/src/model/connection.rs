//! A connection that the host's conntrack knows.

use std::net::{IpAddr, SocketAddr};

/// Source and destination of the packets of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direction {
    /// Who sends.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
}

/// One connection. Address translation makes the two directions differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// IP protocol number.
    pub protocol: u8,
    /// As its initiator sends.
    pub original: Direction,
    /// As the answers come: from whom they really come, to whom the answering side sends them.
    pub reply: Direction,
    /// Both sides have spoken, more than once.
    pub assured: bool,
    /// TCP: the handshake is over and neither side has finished.
    pub established: bool,
}

impl Connection {
    /// Who opened it.
    #[must_use]
    pub const fn initiator(&self) -> IpAddr {
        self.original.source.ip()
    }
}
