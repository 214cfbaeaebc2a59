//! Messages of ctnetlink. Pure; every length is checked before it is used.
//!
//! Source: include/uapi/linux/netlink.h, netfilter/nfnetlink.h, netfilter/nfnetlink_conntrack.h,
//! netfilter/nf_conntrack_common.h, netfilter/nf_conntrack_tcp.h, 6.1 to 6.18.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use enforcer_common::packet::{TCP, UDP};

use crate::model::connection::{Connection, Direction};

const HEADER: usize = 16;
/// `struct nfgenmsg`.
const GENERIC: usize = 4;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `NFNL_SUBSYS_CTNETLINK << 8`, with `IPCTNL_MSG_CT_NEW` and `IPCTNL_MSG_CT_GET`.
const CT_NEW: u16 = 0x100;
const CT_GET: u16 = 0x101;

/// Flags of an attribute's type, beside the type itself.
const TYPE: u16 = 0x3fff;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_ZONE: u16 = 18;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_TCP_STATE: u16 = 1;

const IPS_ASSURED: u32 = 1 << 2;
const IPS_DYING: u32 = 1 << 9;
const TCP_CONNTRACK_ESTABLISHED: u8 = 3;

/// Where a dump is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More is to come.
    More,
    /// That was all.
    Done,
    /// The kernel's errno.
    Refused(i32),
}

/// Asks for all connections of a family.
pub(super) fn request(family: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(u32::try_from(HEADER + GENERIC).unwrap_or(0).to_ne_bytes());
    bytes.extend(CT_GET.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    // Sequence number and port.
    bytes.extend([0; 8]);
    bytes.extend([family, 0, 0, 0]);
    bytes
}

/// Reads one datagram of the answer; `None`: it is malformed. Connections of other protocols, and
/// those that end just now, are left out.
pub(super) fn answer(mut bytes: &[u8], found: &mut Vec<Connection>) -> Option<Progress> {
    while !bytes.is_empty() {
        let length = usize::try_from(u32::from_ne_bytes(part(bytes, 0)?)).ok()?;
        let kind = u16::from_ne_bytes(part(bytes, 4)?);
        let body = bytes.get(HEADER..length)?;
        match kind {
            NLMSG_DONE => return Some(Progress::Done),
            NLMSG_ERROR => {
                let code = i32::from_ne_bytes(part(body, 0)?);
                return Some(if code == 0 { Progress::More } else { Progress::Refused(-code) });
            }
            CT_NEW => found.extend(connection(body.get(GENERIC..)?)?),
            _ => {}
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(Progress::More)
}

/// Outside `None`: malformed; inside: not one that matters here.
#[expect(clippy::option_option, reason = "said above")]
fn connection(body: &[u8]) -> Option<Option<Connection>> {
    let (mut original, mut reply) = (None, None);
    let (mut status, mut tcp_state, mut zone) = (0, 0, 0);
    for attribute in Attributes(body) {
        let (kind, value) = attribute?;
        match kind {
            CTA_TUPLE_ORIG => original = tuple(value)?,
            CTA_TUPLE_REPLY => reply = tuple(value)?,
            CTA_STATUS => status = u32::from_be_bytes(part(value, 0)?),
            CTA_PROTOINFO => tcp_state = state(value)?,
            CTA_ZONE => zone = u16::from_be_bytes(part(value, 0)?),
            _ => {}
        }
    }
    let (Some((protocol, original)), Some((_, reply))) = (original, reply) else {
        return Some(None);
    };
    // The addresses of another zone are those of another network.
    let wanted = status & IPS_DYING == 0 && zone == 0;
    Some(wanted.then_some(Connection {
        protocol,
        original,
        reply,
        assured: status & IPS_ASSURED != 0,
        established: tcp_state == TCP_CONNTRACK_ESTABLISHED,
    }))
}

/// As [`connection`]: TCP and UDP matter.
#[expect(clippy::option_option, reason = "as for `connection`")]
fn tuple(body: &[u8]) -> Option<Option<(u8, Direction)>> {
    let (mut source, mut destination) = (None, None);
    let (mut protocol, mut source_port, mut destination_port) = (0, 0, 0);
    for attribute in Attributes(body) {
        match attribute? {
            (CTA_TUPLE_IP, value) => {
                for address in Attributes(value) {
                    match address? {
                        (CTA_IP_V4_SRC, value) => source = Some(ipv4(value)?),
                        (CTA_IP_V4_DST, value) => destination = Some(ipv4(value)?),
                        (CTA_IP_V6_SRC, value) => source = Some(ipv6(value)?),
                        (CTA_IP_V6_DST, value) => destination = Some(ipv6(value)?),
                        _ => {}
                    }
                }
            }
            (CTA_TUPLE_PROTO, value) => {
                for field in Attributes(value) {
                    match field? {
                        (CTA_PROTO_NUM, value) => [protocol] = part(value, 0)?,
                        (CTA_PROTO_SRC_PORT, value) => source_port = port(value)?,
                        (CTA_PROTO_DST_PORT, value) => destination_port = port(value)?,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let (Some(source), Some(destination)) = (source, destination) else { return Some(None) };
    let direction = Direction {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    };
    Some(matches!(protocol, TCP | UDP).then_some((protocol, direction)))
}

/// The TCP state within `CTA_PROTOINFO`; 0: none.
fn state(body: &[u8]) -> Option<u8> {
    let mut state = 0;
    for protocol in Attributes(body) {
        if let (CTA_PROTOINFO_TCP, value) = protocol? {
            for field in Attributes(value) {
                if let (CTA_PROTOINFO_TCP_STATE, value) = field? {
                    [state] = part(value, 0)?;
                }
            }
        }
    }
    Some(state)
}

fn ipv4(value: &[u8]) -> Option<IpAddr> {
    part::<4>(value, 0).map(|octets| Ipv4Addr::from(octets).into())
}

fn ipv6(value: &[u8]) -> Option<IpAddr> {
    part::<16>(value, 0).map(|octets| Ipv6Addr::from(octets).into())
}

fn port(value: &[u8]) -> Option<u16> {
    part(value, 0).map(u16::from_be_bytes)
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Attributes one after another: type and value; `None`: malformed, and the last.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = Option<(u16, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let attribute = self.split();
        if attribute.is_none() {
            self.0 = &[];
        }
        Some(attribute)
    }
}

impl<'a> Attributes<'a> {
    fn split(&mut self) -> Option<(u16, &'a [u8])> {
        let length = usize::from(u16::from_ne_bytes(part(self.0, 0)?));
        let kind = u16::from_ne_bytes(part(self.0, 2)?) & TYPE;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

#[cfg(test)]
mod tests;
