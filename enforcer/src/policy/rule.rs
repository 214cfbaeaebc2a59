//! What a policy says: rules over destinations. The kernel gets them compiled.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
    sync::Arc,
};

use enforcer_common::{
    abi::policy::{AUDITED, Decision, Direction},
    packet::{Family, ICMP, ICMPV6, IPV4, IPV6, TCP, UDP},
};

use crate::model::names::Pattern;

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

    /// The two networks that it is made of; a single address is made of none.
    #[must_use]
    pub fn halves(&self) -> Option<[Self; 2]> {
        if self.length == width(self.family) {
            return None;
        }
        let length = self.length + 1;
        let upper = self.bits | 1 << (128 - u32::from(length));
        Some([self.bits, upper].map(|bits| Self { bits, length, ..*self }))
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Action {
    /// Opens.
    Allow,
    /// Closes what another rule opens.
    #[default]
    Deny,
    /// Lets through what none of the others opens, and has that recorded: audit mode, as a rule.
    Audit,
}

impl Action {
    /// Its word, as tables and JSON have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Audit => "audit",
        }
    }
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

/// One rule of a policy, with addresses for what the host and Docker have names for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// What it does.
    pub action: Action,
    /// Whether it is about what a guest opens, or about what is opened to it from beyond the bridge.
    pub direction: Direction,
    /// To where; of the other direction, from where.
    pub to: Vec<Net>,
    /// And to what of that not. Most rules of a policy have one list, of this host's addresses: they share it.
    pub except: Arc<[Net]>,
    /// To addresses that the resolver told under these names.
    pub names: Vec<Pattern>,
    /// Names that are not resolved because of it.
    pub refused: Vec<Pattern>,
    /// Whether `names` may lead to private addresses.
    pub private: bool,
    /// Services that it names, for people; those of them that are there are in `to`.
    pub services: Vec<String>,
    /// To which ports; of the other direction, to which of the guest's.
    pub ports: Vec<Ports>,
    /// What it is called, for people: where it is written, or the preset that it is from.
    pub name: String,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            action: Action::default(),
            direction: Direction::Out,
            to: Vec::new(),
            except: Arc::default(),
            names: Vec::new(),
            refused: Vec::new(),
            private: false,
            services: Vec::new(),
            ports: Vec::new(),
            name: String::new(),
        }
    }
}

impl Rule {
    /// Whether it is about an address at the other end.
    #[must_use]
    pub fn is_about(&self, direction: Direction, other: &Net, protocol: u8, port: u16) -> bool {
        self.direction == direction
            && self.to.iter().any(|net| net.covers(other))
            && !self.except.iter().any(|net| net.covers(other))
            && self.ports.iter().any(|ports| ports.has(protocol, port))
    }

    /// Whether it opens what is leased under the name of this class.
    #[must_use]
    pub fn opens_name(&self, class: u32, protocol: u8, port: u16) -> bool {
        self.action == Action::Allow
            && self.names.iter().any(|name| name.class(self.private) == class)
            && self.ports.iter().any(|ports| ports.has(protocol, port))
    }
}

/// What rules say of an address at the other end: the first that denies it, else the first that allows it; and
/// in audit mode, what would be denied. What the compiled form must say, too.
#[must_use]
pub fn decides(
    rules: &[Rule],
    direction: Direction,
    other: &Net,
    (protocol, port): (u8, u16),
) -> Decision {
    let about =
        || (1..).zip(rules).filter(|(_, rule)| rule.is_about(direction, other, protocol, port));
    let first = |action| about().find(|(_, rule)| rule.action == action).map(|(id, _)| id);
    decision(first(Action::Allow), first(Action::Deny), first(Action::Audit).is_some())
}

/// What is decided, by the first rule that allows, the first that denies, and audit mode.
#[must_use]
pub const fn decision(allows: Option<u32>, denies: Option<u32>, audits: bool) -> Decision {
    match (allows, denies) {
        (Some(rule), None) => Decision::opens(rule),
        (_, Some(rule)) if audits => Decision::audits(rule),
        (None, None) if audits => Decision::audits(0),
        (_, Some(rule)) => Decision::denies(rule),
        (None, None) => Decision::NONE,
    }
}

/// What rules say of an address that is leased under the name of this class, where none is about the address itself.
#[must_use]
pub fn decides_by_name(rules: &[Rule], class: u32, (protocol, port): (u8, u16)) -> Decision {
    let opening = (1..).zip(rules).find(|(_, rule)| rule.opens_name(class, protocol, port));
    opening.map_or(Decision::NONE, |(rule, _)| Decision::opens(rule))
}

/// What opens a destination by its address: the number, from 1, of the rule that does; or, in audit mode,
/// [`AUDITED`] with the number of the one that would deny it.
#[must_use]
pub fn opens(rules: &[Rule], to: &Net, protocol: u8, port: u16) -> Option<u32> {
    decides(rules, Direction::Out, to, (protocol, port)).opened_by()
}

/// What [`opens`] has found: the number of the rule that allows, or that would deny but for audit mode, if it is
/// one; and whether it is audit mode that lets through.
#[must_use]
pub const fn found(id: u32) -> (Option<u32>, bool) {
    let rule = match id & !AUDITED {
        0 => None,
        rule => Some(rule),
    };
    (rule, id & AUDITED != 0)
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
    fn a_network_is_its_two_halves() {
        for (whole, lower, upper) in [
            ("0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1"),
            ("192.0.2.0/31", "192.0.2.0", "192.0.2.1"),
            ("::/0", "::/1", "8000::/1"),
            ("2001:db8::/127", "2001:db8::", "2001:db8::1"),
        ] {
            assert_eq!(net(whole).halves(), Some([net(lower), net(upper)]), "{whole}");
        }
        assert_eq!((net("192.0.2.1").halves(), net("::1").halves()), (None, None));
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
