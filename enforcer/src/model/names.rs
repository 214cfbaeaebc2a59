//! Names that guests may resolve, and who may ask: what the resolver is told, and the leases that it
//! asks for.

use std::{
    collections::BTreeMap, fmt, future::Future, net::IpAddr, pin::Pin, str::FromStr, sync::Arc,
    time::Duration,
};

use enforcer_common::abi::policy::name_class;

use crate::policy::rule::Net;

/// Who may ask, by source address. An address that is not in it gets no answer.
pub type Directory = BTreeMap<IpAddr, Client>;

/// Longest name as text, bytes, without a final dot (RFC 1035, 3.1).
const MAX_NAME: usize = 253;
/// Longest label, bytes.
const MAX_LABEL: usize = 63;

/// An endpoint that may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its id in the kernel; never used again.
    pub endpoint: u32,
    /// What it may ask for.
    pub policy: Arc<NamePolicy>,
}

/// Which names an endpoint may resolve. The default refuses every name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamePolicy {
    /// Any name may be resolved; names that no rule names get no lease.
    pub any: bool,
    /// Names that rules name.
    pub allow: Vec<NameRule>,
    /// Names that are refused, whatever allows them.
    pub deny: Vec<Pattern>,
    /// This host and the guest networks: never in an answer.
    pub own: Vec<Net>,
}

/// Names that a rule allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameRule {
    /// Which.
    pub pattern: Pattern,
    /// Goes into the leases; means nothing to the resolver.
    pub group: u32,
    /// Answers may be private addresses.
    pub private: bool,
}

/// An address is open to an endpoint for a while, because it asked for a name that a rule allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Whose; see [`Client::endpoint`].
    pub endpoint: u32,
    /// The address.
    pub address: IpAddr,
    /// See [`NameRule::group`].
    pub group: u32,
    /// For how long, from now.
    pub ttl: Duration,
}

/// What comes of a lease that was asked for; the error is for people.
pub type Granting<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

/// Where leases come from.
pub trait Leases: Send + Sync {
    /// Opens the address. A lease that is there already is prolonged, never shortened.
    fn grant(&self, lease: Lease) -> Granting<'_>;
}

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Answered, perhaps with nothing.
    Answered,
    /// Nothing allows the name.
    RefusedName,
    /// Nobody may ask for this type of it.
    RefusedType,
    /// An address of the answer is forbidden.
    RefusedAddress,
    /// Too many questions, or too many new names.
    RefusedRate,
    /// There is no such name, or it is a local one.
    NoSuchName,
    /// No upstream gave an answer.
    UpstreamFailed,
    /// The addresses could not be opened.
    LeaseFailed,
    /// Not a question as RFC 1035 has it.
    Malformed,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Answered,
        Self::RefusedName,
        Self::RefusedType,
        Self::RefusedAddress,
        Self::RefusedRate,
        Self::NoSuchName,
        Self::UpstreamFailed,
        Self::LeaseFailed,
        Self::Malformed,
    ];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::RefusedName => "refused_name",
            Self::RefusedType => "refused_type",
            Self::RefusedAddress => "refused_address",
            Self::RefusedRate => "refused_rate",
            Self::NoSuchName => "no_such_name",
            Self::UpstreamFailed => "upstream_failed",
            Self::LeaseFailed => "lease_failed",
            Self::Malformed => "malformed",
        }
    }
}

/// A domain name in small ASCII letters, without a final dot. Labels have letters, digits, `-` and `_`
/// only: whatever else a name may have in it is nothing that a guest needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(String);

impl DomainName {
    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its labels, the last part of the name last.
    #[must_use]
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('.')
    }

    /// Whether it is this name, or lies below it.
    #[must_use]
    pub fn is_within(&self, zone: &str) -> bool {
        self.0 == zone || self.is_below(zone)
    }

    fn is_below(&self, zone: &str) -> bool {
        let rest = self.0.strip_suffix(zone).and_then(|rest| rest.strip_suffix('.'));
        rest.is_some_and(|rest| !rest.is_empty())
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no name, or no pattern of names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there.
    #[error("is empty; write a name such as pypi.org")]
    Empty,
    /// Letters beyond ASCII.
    #[error("has letters that DNS does not have; write the ASCII form, which begins with xn--")]
    NotAscii,
    /// A `*` elsewhere than as the first label.
    #[error("has a `*` in the middle; it stands for all that is below a name, as in *.pypi.org")]
    Star,
    /// `*` alone.
    #[error("means every name; to let guests resolve any name, use the preset `dns`")]
    Every,
    /// An IP address.
    #[error("is an address and no name; write it as `to`")]
    Address,
    /// A label that is none.
    #[error("has the part \"{0}\": each part has 1 to 63 letters, digits, `-` and `_`")]
    Label(String),
    /// More bytes than a name may have.
    #[error("is longer than the 253 characters of a name")]
    Long,
}

impl FromStr for DomainName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if !text.is_ascii() {
            return Err(NameError::NotAscii);
        }
        if text.len() > MAX_NAME {
            return Err(NameError::Long);
        }
        let is_one = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_label =
            |label: &&str| (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(is_one);
        if let Some(label) = text.split('.').find(|label| !is_label(label)) {
            let is_star = label.contains('*');
            return Err(if is_star { NameError::Star } else { NameError::Label(label.to_owned()) });
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

/// One name, or all below one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pattern {
    /// `pypi.org`
    Exact(DomainName),
    /// `*.pythonhosted.org`: at least one label more, so not the name itself.
    Below(DomainName),
}

impl Pattern {
    /// The class that stands for it in the kernel; another one where it may lead to private addresses, so that
    /// what one rule leases no other opens.
    #[must_use]
    pub fn class(&self, private: bool) -> u32 {
        let mark = if private { " private" } else { "" };
        name_class(format!("{self}{mark}").as_bytes())
    }

    /// Whether it means this name.
    #[must_use]
    pub fn matches(&self, name: &DomainName) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Below(zone) => name.is_below(&zone.0),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => name.fmt(f),
            Self::Below(zone) => write!(f, "*.{zone}"),
        }
    }
}

impl FromStr for Pattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == "*" {
            return Err(NameError::Every);
        }
        if text.parse::<Net>().is_ok() {
            return Err(NameError::Address);
        }
        match text.strip_prefix("*.") {
            Some(zone) => zone.parse().map(Self::Below),
            None => text.parse().map(Self::Exact),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_a_name_or_all_that_is_below_one() {
        // Pattern, name -> whether it means it.
        let table = [
            ("pypi.org", "pypi.org", true),
            ("PyPI.org.", "pypi.ORG", true),
            ("pypi.org", "www.pypi.org", false),
            ("pypi.org", "notpypi.org", false),
            ("*.pythonhosted.org", "files.pythonhosted.org", true),
            ("*.pythonhosted.org", "a.b.pythonhosted.org", true),
            ("*.pythonhosted.org", "pythonhosted.org", false),
            ("*.pythonhosted.org", "evilpythonhosted.org", false),
            ("*.pythonhosted.org", "pythonhosted.org.evil.net", false),
            ("_sip._tcp.example.org", "_sip._tcp.example.org", true),
        ];
        for (pattern, name, expected) in table {
            let parsed: Pattern = pattern.parse().expect("a pattern");
            let name: DomainName = name.parse().expect("a name");
            assert_eq!(parsed.matches(&name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn o2_what_is_no_pattern_is_refused_with_advice() {
        let long = "a.".repeat(128);
        let label = format!("{}.org", "a".repeat(64));
        for (text, advice) in [
            ("", "is empty"),
            (".", "is empty"),
            ("*", "use the preset `dns`"),
            ("*.", "is empty"),
            ("a.*.org", "`*` in the middle"),
            ("*pi.org", "`*` in the middle"),
            ("*.*.org", "`*` in the middle"),
            ("pypi..org", "the part \"\""),
            (".pypi.org", "the part \"\""),
            ("py pi.org", "the part \"py pi\""),
            ("pypi.org/x", "the part \"org/x\""),
            ("bücher.example", "begins with xn--"),
            ("192.0.2.1", "write it as `to`"),
            ("2001:db8::1", "write it as `to`"),
            ("192.0.2.0/24", "write it as `to`"),
            (&label, "1 to 63"),
            (&long, "longer than"),
        ] {
            let error = text.parse::<Pattern>().expect_err(text).to_string();
            assert!(error.contains(advice), "{text}: {error}");
        }
    }

    #[test]
    fn a_pattern_reads_back_as_it_is_shown() {
        for text in ["pypi.org", "*.pythonhosted.org", "xn--bcher-kva.example"] {
            assert_eq!(text.parse::<Pattern>().expect("a pattern").to_string(), text);
        }
    }
}
