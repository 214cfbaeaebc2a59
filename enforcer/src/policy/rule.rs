//! What a policy says: rules over destinations. The kernel gets them compiled.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use enforcer_common::packet::{Family, ICMP, ICMPV6, IPV4, IPV6, TCP, UDP};

/// Destinations with the same first bits. In order, a network comes before those within it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Net {
    family: Family,
    /// IPv4 in the highest 32; all after `length` are 0.
    bits: u128,
    length: u8,
}

impl Net {
    /// The first `length` bits of an address; `None`: it has not so many.
    #[must_use]
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        let (family, bits) = match address {
            IpAddr::V4(address) => (IPV4, u128::from(address.to_bits()) << 96),
            IpAddr::V6(address) => (IPV6, address.to_bits()),
        };
        let net = Self { family, bits, length: width(family) };
        (length <= net.length).then(|| net.first(length))
    }

    /// A single address.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        let length = if address.is_ipv4() { 32 } else { 128 };
        Self::new(address, length).unwrap_or(Self { family: IPV6, bits: 0, length: 128 })
    }

    /// Family of its addresses.
    #[must_use]
    pub const fn family(&self) -> Family {
        self.family
    }

    /// Number of bits.
    #[must_use]
    pub const fn length(&self) -> u8 {
        self.length
    }

    /// The network of its first `length` bits.
    #[must_use]
    pub fn first(&self, length: u8) -> Self {
        let length = length.min(self.length);
        let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
        Self { bits: self.bits & mask, length, ..*self }
    }

    /// Whether everything in `other` is in it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.family == other.family
            && self.length <= other.length
            && other.first(self.length).bits == self.bits
    }

    /// The bits as two words, the first ones first.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "one half, then the other")]
    pub const fn words(&self) -> [u64; 2] {
        [(self.bits >> 64) as u64, self.bits as u64]
    }

    /// Its lowest address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        if self.family == IPV4 {
            Ipv4Addr::from_bits((self.bits >> 96) as u32).into()
        } else {
            Ipv6Addr::from_bits(self.bits).into()
        }
    }
}

/// Bits of an address.
#[must_use]
pub const fn width(family: Family) -> u8 {
    if family == IPV4 { 32 } else { 128 }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address())?;
        if self.length == width(self.family) { Ok(()) } else { write!(f, "/{}", self.length) }
    }
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// Neither an address nor one with a prefix length.
    #[error("is not an address or a network such as 192.0.2.0/24 or 2001:db8::/32")]
    Text,
    /// Bits after the prefix.
    #[error("has bits beyond its prefix: did you mean {0}?")]
    Host(Net),
}

impl FromStr for Net {
    type Err = NetError;

    fn from_str(text: &str) -> Result<Self, NetError> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_not_one| NetError::Text)?;
        let whole = Self::host(address);
        let Some(length) = length else { return Ok(whole) };
        let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        let length: u8 = Some(length)
            .filter(|_| digits)
            .and_then(|length| length.parse().ok())
            .filter(|length| *length <= whole.length)
            .ok_or(NetError::Text)?;
        let net = whole.first(length);
        if net.bits == whole.bits { Ok(net) } else { Err(NetError::Host(net)) }
    }
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Opens.
    Allow,
    /// Closes what another rule opens.
    Deny,
}

/// Ports of one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ports {
    /// IP protocol number.
    pub protocol: u8,
    /// First port; 0 for a protocol without ports.
    pub first: u16,
    /// Last port.
    pub last: u16,
}

impl Ports {
    /// Everything that the packet path understands.
    pub const ALL: [Self; 4] =
        [Self::any(TCP), Self::any(UDP), Self::echo(ICMP), Self::echo(ICMPV6)];

    /// Every port of a protocol.
    #[must_use]
    pub const fn any(protocol: u8) -> Self {
        Self { protocol, first: 0, last: u16::MAX }
    }

    /// Echo requests.
    #[must_use]
    pub const fn echo(protocol: u8) -> Self {
        Self { protocol, first: 0, last: 0 }
    }

    /// One port.
    #[must_use]
    pub const fn one(protocol: u8, port: u16) -> Self {
        Self { protocol, first: port, last: port }
    }

    /// Whether a destination port is among them.
    #[must_use]
    pub const fn has(&self, protocol: u8, port: u16) -> bool {
        self.protocol == protocol && self.first <= port && port <= self.last
    }
}

/// One rule of a policy, with addresses for names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// What it does.
    pub action: Action,
    /// To where.
    pub to: Vec<Net>,
    /// And to what of that not.
    pub except: Vec<Net>,
    /// To which ports.
    pub ports: Vec<Ports>,
    /// What it is called, for people: where it is written, or the preset that it is from.
    pub name: String,
}

impl Rule {
    /// Whether it is about a destination.
    #[must_use]
    pub fn is_about(&self, to: &Net, protocol: u8, port: u16) -> bool {
        self.to.iter().any(|net| net.covers(to))
            && !self.except.iter().any(|net| net.covers(to))
            && self.ports.iter().any(|ports| ports.has(protocol, port))
    }
}

/// Number, from 1, of the rule that opens a destination: the first that allows it, unless one denies it.
/// What the compiled form must say, too.
#[must_use]
pub fn opens(rules: &[Rule], to: &Net, protocol: u8, port: u16) -> Option<u32> {
    let about = || (1..).zip(rules).filter(|(_, rule)| rule.is_about(to, protocol, port));
    if about().any(|(_, rule)| rule.action == Action::Deny) {
        return None;
    }
    about().next().map(|(id, _)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Net {
        text.parse().expect("a network")
    }

    #[test]
    fn networks_are_read_strictly_and_written_as_people_do() {
        for text in ["0.0.0.0/0", "192.0.2.0/24", "192.0.2.7", "::/0", "2001:db8::/32", "fd00::1"] {
            assert_eq!(net(text).to_string(), text);
        }
        assert_eq!(net("192.0.2.7/32").to_string(), "192.0.2.7");
        for text in
            ["", "/", "192.0.2.0/33", "192.0.2.0/", "192.0.2.0/+4", "192.0.2/24", "::/129", "a"]
        {
            assert_eq!(text.parse::<Net>(), Err(NetError::Text), "{text}");
        }
        assert_eq!("192.0.2.7/24".parse::<Net>(), Err(NetError::Host(net("192.0.2.0/24"))));
    }

    #[test]
    fn a_network_covers_what_begins_as_it_does() {
        for (outer, inner, expected) in [
            ("0.0.0.0/0", "192.0.2.7", true),
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.0/24", false),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "192.0.2.7", false),
            ("2001:db8::/33", "2001:db8:8000::", false),
        ] {
            assert_eq!(net(outer).covers(&net(inner)), expected, "{outer} {inner}");
        }
    }
}
