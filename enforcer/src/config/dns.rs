//! The `[dns]` table: whom the resolver asks, and how much guests may ask it. Without it, or without an
//! upstream, guests have no DNS.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    time::Duration,
};

use toml::Spanned;

use super::{GuestNetwork, problem::Problems, raw::RawDns};
use crate::policy::rule::Net;

/// Port of an upstream that names none.
const PORT: u16 = 53;
/// Most upstreams; two are asked for one question.
const MOST_UPSTREAMS: usize = 4;
/// Bounds of what an answer holds for. An hour is long for an address that may be another's by then.
const TTLS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);
/// Bounds of `lease_grace`.
const GRACES: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_mins(5);

/// How guests' DNS is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Who is asked, in this order.
    pub upstream: Vec<SocketAddr>,
    /// An answer holds for no less.
    pub min_ttl: Duration,
    /// An answer holds for no more.
    pub max_ttl: Duration,
    /// An address stays open for so much longer than its answer holds.
    pub lease_grace: Duration,
    /// Questions of one guest in a second.
    pub queries_per_second: u32,
    /// Questions of one guest at once, after a rest.
    pub burst: u32,
    /// Names of one guest in ten minutes that no rule names.
    pub names_per_10min: usize,
    /// TCP connections of one guest at once.
    pub tcp_connections: usize,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            upstream: Vec::new(),
            min_ttl: Duration::from_secs(5),
            max_ttl: Duration::from_mins(5),
            lease_grace: Duration::from_secs(10),
            queries_per_second: 20,
            burst: 100,
            names_per_10min: 200,
            tcp_connections: 4,
        }
    }
}

/// Checks the table. `networks`: an upstream there would be a guest.
pub(super) fn dns(
    raw: Option<&Spanned<RawDns>>,
    networks: &BTreeMap<String, GuestNetwork>,
    problems: &mut Problems<'_>,
) -> Option<Dns> {
    let (raw, span) = (raw?.get_ref(), raw?.span());
    let Some(texts) = &raw.upstream else {
        let message = "[dns] needs `upstream`, a list of resolvers such as [\"192.0.2.53\"]; without \
                       DNS for guests, leave out the table";
        problems.add(span, message);
        return None;
    };
    let otherwise = Dns::default();
    let settings = Dns {
        upstream: upstreams(texts, networks, problems),
        min_ttl: duration("min_ttl", raw.min_ttl.as_ref(), otherwise.min_ttl, &TTLS, problems),
        max_ttl: duration("max_ttl", raw.max_ttl.as_ref(), otherwise.max_ttl, &TTLS, problems),
        lease_grace: duration(
            "lease_grace",
            raw.lease_grace.as_ref(),
            otherwise.lease_grace,
            &GRACES,
            problems,
        ),
        queries_per_second: number(
            "queries_per_second",
            raw.queries_per_second.as_ref(),
            otherwise.queries_per_second,
            problems,
        ),
        burst: number("burst", raw.burst.as_ref(), otherwise.burst, problems),
        names_per_10min: number(
            "names_per_10min",
            raw.names_per_10min.as_ref(),
            otherwise.names_per_10min,
            problems,
        ),
        tcp_connections: number(
            "tcp_connections",
            raw.tcp_connections.as_ref(),
            otherwise.tcp_connections,
            problems,
        ),
    };
    if settings.min_ttl > settings.max_ttl {
        let value = raw.min_ttl.as_ref().or(raw.max_ttl.as_ref());
        let message = "min_ttl is more than max_ttl (their defaults are \"5s\" and \"5m\")";
        problems.add(value.map_or(span, Spanned::span), message);
    }
    Some(settings).filter(|settings| !settings.upstream.is_empty())
}

fn upstreams(
    texts: &[Spanned<String>],
    networks: &BTreeMap<String, GuestNetwork>,
    problems: &mut Problems<'_>,
) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for text in texts {
        match upstream(text.get_ref(), networks) {
            Ok(address) if found.contains(&address) => {
                problems.add(text.span(), "this upstream is listed twice; remove one");
            }
            Ok(address) => found.push(address),
            Err(message) => problems.add(text.span(), message),
        }
    }
    if let Some(text) = texts.get(MOST_UPSTREAMS) {
        problems.add(text.span(), format!("more than {MOST_UPSTREAMS} upstreams"));
    }
    found
}

fn upstream(text: &str, networks: &BTreeMap<String, GuestNetwork>) -> Result<SocketAddr, String> {
    let address = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, PORT));
    let address: SocketAddr = address.or_else(|_no_port| text.parse()).map_err(|_error| {
        format!(
            "\"{text}\" is not an address; write it as \"192.0.2.53\", \"192.0.2.53:5353\" or \
             \"[2001:db8::53]:53\""
        )
    })?;
    let ip = address.ip();
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    if ip.is_unspecified() || ip.is_multicast() || is_broadcast || ip != ip.to_canonical() {
        return Err(format!("{ip} is not the address of one machine"));
    }
    if address.port() == 0 {
        return Err("port 0 is no port; a resolver has 53".to_owned());
    }
    let is_of = |network: &GuestNetwork| {
        let ipv4 = network.subnet4.and_then(|(subnet, length)| Net::new(subnet.into(), length));
        let ipv6 = network.subnet6.and_then(|(subnet, length)| Net::new(subnet.into(), length));
        ipv4.into_iter().chain(ipv6).any(|net| net.covers(&Net::host(ip)))
    };
    match networks.iter().find(|(_, network)| is_of(network)) {
        Some((name, _)) => Err(format!(
            "{ip} is on the guest network {name}, where guests would answer for it; name a resolver \
             elsewhere"
        )),
        None => Ok(address),
    }
}

fn duration(
    key: &str,
    value: Option<&Spanned<String>>,
    otherwise: Duration,
    range: &RangeInclusive<Duration>,
    problems: &mut Problems<'_>,
) -> Duration {
    let Some(value) = value else { return otherwise };
    let text = value.get_ref().as_str();
    let split = text.find(|c: char| !c.is_ascii_digit()).and_then(|at| text.split_at_checked(at));
    let found = split.and_then(|(number, unit)| {
        let number: u64 = number.parse().ok()?;
        match unit {
            "s" => Some(Duration::from_secs(number)),
            "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
            _ => None,
        }
    });
    found.filter(|found| range.contains(found)).unwrap_or_else(|| {
        let (least, most) = (range.start().as_secs(), range.end().as_secs() / 60);
        let message = format!("{key} \"{text}\" is not one of \"{least}s\" to \"{most}m\"");
        problems.add(value.span(), message);
        otherwise
    })
}

fn number<T: TryFrom<i64>>(
    key: &str,
    value: Option<&Spanned<i64>>,
    otherwise: T,
    problems: &mut Problems<'_>,
) -> T {
    let Some(value) = value else { return otherwise };
    let most = if key == "tcp_connections" { 64 } else { 10_000 };
    let number = Some(*value.get_ref()).filter(|number| (1..=most).contains(number));
    number.and_then(|number| T::try_from(number).ok()).unwrap_or_else(|| {
        let message = format!("{key} {} is not one of 1 to {most}", value.get_ref());
        problems.add(value.span(), message);
        otherwise
    })
}

#[cfg(test)]
mod tests {
    use super::{super::parse, *};

    const LEAST: &str = "[networks.lab]\nbridge = \"br-lab\"\nsubnet = \"10.9.0.0/24\"\n\
                         gateway = \"10.9.0.1\"\nsubnet6 = \"fd00:9::/64\"\n";

    /// Wraps lines into the table; they start on line 2.
    fn dns(lines: &str) -> String {
        format!("[dns]\n{lines}\n{LEAST}")
    }

    fn of(text: &str) -> Option<Dns> {
        parse(text, "f").expect("valid").dns
    }

    #[test]
    fn guests_have_dns_where_an_upstream_is_named() {
        assert_eq!((of(LEAST), of(&dns("upstream = []"))), (None, None));
        let found =
            of(&dns("upstream = [\"192.0.2.53\", \"[2001:db8::53]:5353\", \"127.0.0.53\"]"));
        let upstream = ["192.0.2.53:53", "[2001:db8::53]:5353", "127.0.0.53:53"];
        let upstream = upstream.map(|text| text.parse().expect("an address")).to_vec();
        assert_eq!(found, Some(Dns { upstream, ..Dns::default() }));
        let all = "upstream = [\"192.0.2.53:5300\"]\nmin_ttl = \"1s\"\nmax_ttl = \"60m\"\n\
                   lease_grace = \"0s\"\nqueries_per_second = 1\nburst = 2\nnames_per_10min = 3\n\
                   tcp_connections = 4";
        let expected = Dns {
            upstream: vec!["192.0.2.53:5300".parse().expect("an address")],
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_hours(1),
            lease_grace: Duration::ZERO,
            queries_per_second: 1,
            burst: 2,
            names_per_10min: 3,
            tcp_connections: 4,
        };
        assert_eq!(of(&dns(all)), Some(expected));
    }

    #[test]
    fn o2_a_table_about_dns_that_is_wrong_is_refused_with_line_and_advice() {
        let with = |line: &str| dns(&format!("upstream = [\"192.0.2.53\"]\n{line}"));
        let at = |text: &str| dns(&format!("upstream = [\"{text}\"]"));
        for (text, line, words) in [
            (format!("[dns]\n{LEAST}"), 1, "needs `upstream`"),
            (dns("upstraem = []"), 2, "did you mean `upstream`"),
            (dns("upstream = \"192.0.2.53\""), 2, "expected"),
            (at("dns.example.org"), 2, "write it as \"192.0.2.53\""),
            (at("2001:db8::53:53:"), 2, "\"[2001:db8::53]:53\""),
            (at("0.0.0.0"), 2, "not the address of one machine"),
            (at("224.0.0.251:5353"), 2, "not the address of one machine"),
            (at("255.255.255.255"), 2, "not the address of one machine"),
            (at("::ffff:192.0.2.53"), 2, "not the address of one machine"),
            (at("192.0.2.53:0"), 2, "a resolver has 53"),
            (at("10.9.0.1"), 2, "on the guest network lab"),
            (at("10.9.0.77:5353"), 2, "on the guest network lab"),
            (at("fd00:9::5"), 2, "on the guest network lab"),
            (dns("upstream = [\"192.0.2.53\", \"192.0.2.53:53\"]"), 2, "listed twice"),
            (with("min_ttl = \"0s\""), 3, "is not one of \"1s\" to \"60m\""),
            (with("max_ttl = \"2h\""), 3, "is not one of"),
            (with("max_ttl = 300"), 3, "expected a string"),
            (with("min_ttl = \"10m\""), 3, "min_ttl is more than max_ttl"),
            (with("max_ttl = \"2s\""), 3, "min_ttl is more than max_ttl"),
            (with("lease_grace = \"6m\""), 3, "is not one of \"0s\" to \"5m\""),
            (with("queries_per_second = 0"), 3, "is not one of 1 to 10000"),
            (with("burst = 100000"), 3, "is not one of 1 to 10000"),
            (with("names_per_10min = -1"), 3, "is not one of 1 to 10000"),
            (with("tcp_connections = 65"), 3, "is not one of 1 to 64"),
        ] {
            let error = parse(&text, "f.toml").expect_err(&text);
            let [problem] = error.problems.as_slice() else { panic!("{text}\n{error}") };
            assert!(problem.line == line && problem.message.contains(words), "{text}\n{error}");
        }
    }
}
