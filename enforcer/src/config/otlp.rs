//! The `[audit.otlp]` table: the collector that gets records. They name guests, so they leave this
//! host in clear only if somebody says so.

use std::{net::IpAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use hyper::{
    HeaderMap, Uri,
    http::uri::{Authority, PathAndQuery, Scheme},
};
use toml::Spanned;

use super::{check, problem::Problems, raw::RawOtlp};
use crate::audit::sink::otlp::{Headers, Settings, pair};

/// Where a collector takes logs.
const PATH: &str = "/v1/logs";
/// Longest that a request may take when the config says nothing.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What it may be.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_mins(1);

/// Checks the table.
pub(super) fn otlp(raw: &Spanned<RawOtlp>, problems: &mut Problems<'_>) -> Option<Settings> {
    let table = raw.get_ref();
    let headers = headers(table, problems);
    let timeout = timeout(table.timeout.as_ref(), TIMEOUT, &TIMEOUTS, problems);
    let Some(endpoint) = &table.endpoint else {
        let message = "[audit.otlp] has no `endpoint`, such as \"http://127.0.0.1:4318\"";
        problems.add(raw.span(), message);
        return None;
    };
    let found = address(endpoint.get_ref(), table.insecure.unwrap_or(false));
    let endpoint = found.map_err(|message| problems.add(endpoint.span(), message)).ok()?;
    Some(Settings { endpoint, headers, timeout })
}

fn address(text: &str, insecure: bool) -> Result<Uri, String> {
    if text.starts_with("https:") {
        return Err("there is no TLS in enforcer; name a collector on this host, such as \
                    \"http://127.0.0.1:4318\", and have that one use TLS"
            .to_owned());
    }
    let wrong = || format!("\"{text}\" is no address such as \"http://127.0.0.1:4318\"");
    // A fragment is not kept by who parses.
    let parsed = text.parse::<Uri>().ok().filter(|_| !text.contains('#')).ok_or_else(wrong)?;
    let authority = parsed.authority().filter(|_| parsed.scheme() == Some(&Scheme::HTTP));
    let authority = authority.filter(|it| is_host(it)).ok_or_else(wrong)?;
    if authority.as_str().contains('@') {
        return Err("a password in an address would be shown; use `headers_file`".to_owned());
    }
    if parsed.query().is_some() {
        return Err(format!("\"{text}\" has a query, which OTLP does not know; leave it out"));
    }
    if !is_local(authority.host()) && !insecure {
        return Err(format!(
            "{} is not on this host, and records name guests: name a collector on this host, \
             or say `insecure = true` and they go there in clear",
            authority.host().trim_matches(['[', ']'])
        ));
    }
    let base = parsed.path().trim_end_matches('/');
    let path = if base.ends_with(PATH) { base.to_owned() } else { format!("{base}{PATH}") };
    let path: PathAndQuery = path.parse().map_err(|_error| wrong())?;
    let uri = Uri::builder().scheme(Scheme::HTTP).authority(authority.clone());
    uri.path_and_query(path).build().map_err(|_error| wrong())
}

/// Whether a host is this one, and nobody is asked for its address.
pub(super) fn is_local(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Whether there is a host, and a port that can be connected to, if there is one.
pub(super) fn is_host(authority: &Authority) -> bool {
    let colon = authority.as_str().rsplit_once(':').filter(|(_, port)| !port.contains(']'));
    let port = colon.map(|(_, port)| port.parse::<u16>().is_ok_and(|port| port != 0));
    !authority.host().is_empty() && port.unwrap_or(true)
}

fn headers(raw: &RawOtlp, problems: &mut Problems<'_>) -> Headers {
    let map = match (&raw.headers, &raw.headers_file) {
        (Some(_), Some(file)) => {
            problems.add(file.span(), "say `headers` or `headers_file`, not both");
            return Headers::default();
        }
        (None, None) => return Headers::default(),
        (None, Some(file)) => {
            if let Err(message) = check::absolute_path(file.get_ref()) {
                problems.add(file.span(), message);
            }
            return Headers::In(PathBuf::from(file.get_ref()));
        }
        (Some(map), None) => map.get_ref(),
    };
    let mut headers = HeaderMap::new();
    for (name, value) in map {
        match pair(name.get_ref(), value.get_ref()) {
            Ok((key, value)) => {
                if headers.insert(key, value).is_some() {
                    problems.add(name.span(), "this header is there twice");
                }
            }
            Err(message) => problems.add(name.span(), message),
        }
    }
    Headers::Here(headers)
}

/// A time that a request may take, one of `range`.
pub(super) fn timeout(
    raw: Option<&Spanned<String>>,
    otherwise: Duration,
    range: &RangeInclusive<Duration>,
    problems: &mut Problems<'_>,
) -> Duration {
    let Some(raw) = raw else { return otherwise };
    let text = raw.get_ref().as_str();
    let split = text.find(|c: char| !c.is_ascii_digit()).and_then(|at| text.split_at_checked(at));
    let value = split.and_then(|(number, unit)| {
        let number = number.parse().ok()?;
        match unit {
            "ms" => Some(Duration::from_millis(number)),
            "s" => Some(Duration::from_secs(number)),
            _ => None,
        }
    });
    value.filter(|value| range.contains(value)).unwrap_or_else(|| {
        let (least, most) = (range.start().as_millis(), range.end().as_secs());
        let message = format!("timeout \"{text}\" is not one of \"{least}ms\" to \"{most}s\"");
        problems.add(raw.span(), message);
        otherwise
    })
}
