//! What becomes of a request, by its head alone. Pure.

use std::net::SocketAddr;

use hyper::{
    Method,
    header::{HOST, HeaderMap, HeaderName, HeaderValue},
    http::{request::Parts, uri::Authority},
};
use sha2::{Digest as _, Sha256};

/// The page.
pub(super) const PAGE: &str = include_str!("page.html");

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The page.
    Page,
    /// What it shows.
    Sight,
}

/// Why a request is refused: status and words.
pub(super) type Refusal = (u16, &'static str);

/// What is asked for, by somebody who means this server. `at` is its address; `None`: a unix socket, whose file says who
/// may connect.
pub(super) fn judge(head: &Parts, at: Option<SocketAddr>) -> Result<Asked, Refusal> {
    if let Some(at) = at
        && !names_us(&head.headers, at)
    {
        // Any name can be made to lead to a loopback address; a browser says which one it was.
        return Err((421, "not a name of this server"));
    }
    let site = head.headers.get("sec-fetch-site");
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        return Err((403, "another site may not ask this"));
    }
    if head.method != Method::GET {
        return Err((405, "there is nothing to change here"));
    }
    match head.uri.path() {
        "/" => Ok(Asked::Page),
        "/sight.json" => Ok(Asked::Sight),
        _ => Err((404, "there is nothing here")),
    }
}

/// Whether the one `Host` is a name of this server: its address or localhost, with its port.
fn names_us(headers: &HeaderMap, at: SocketAddr) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Some(host) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    let is_name = |name: &str| {
        name.eq_ignore_ascii_case("localhost")
            || name.trim_matches(['[', ']']).parse() == Ok(at.ip())
    };
    is_name(host.host()) && host.port_u16().unwrap_or(80) == at.port()
}

/// Headers of every answer: nothing is loaded but what the page itself has, by the hashes of its style and its script.
pub(super) fn headers() -> Vec<(HeaderName, HeaderValue)> {
    let (style, script) =
        (hash(between("<style>", "</style>")), hash(between("<script>", "</script>")));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    [
        ("content-security-policy", policy.as_str()),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((HeaderName::from_static(name), value.parse().ok()?)))
    .collect()
}

/// What stands between two tags of the page, each of which it has once.
fn between(open: &str, close: &str) -> &'static str {
    let after = PAGE.split_once(open).map_or("", |(_, after)| after);
    after.split_once(close).map_or("", |(inner, _)| inner)
}

/// SHA-256 in base64, as a content security policy has it.
fn hash(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digest = Sha256::digest(text);
    let mut base64 = String::new();
    for three in digest.chunks(3) {
        let bits = three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - three.len()));
        for digit in 0..4 {
            let index = usize::try_from(bits >> (18 - 6 * digit) & 63).unwrap_or_default();
            let letter = if digit > three.len() { '=' } else { char::from(DIGITS[index]) };
            base64.push(letter);
        }
    }
    base64
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn head(method: &str, path: &str, headers: &[(&str, &str)]) -> Parts {
        let request = Request::builder().method(method).uri(path);
        let add = |request: hyper::http::request::Builder, (name, value): &(&str, &str)| {
            request.header(*name, *value)
        };
        headers.iter().fold(request, add).body(()).expect("a request").into_parts().0
    }

    #[test]
    fn s17_only_a_name_of_this_server_gets_an_answer() {
        let at: SocketAddr = "127.0.0.1:9470".parse().expect("an address");
        let asked = |hosts: &[&str]| {
            let headers: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            judge(&head("GET", "/", &headers), Some(at))
        };
        for ours in ["127.0.0.1:9470", "localhost:9470", "LOCALHOST:9470"] {
            assert_eq!(asked(&[ours]), Ok(Asked::Page), "{ours}");
        }
        for other in [
            "evil.example:9470",
            "127.0.0.1",
            "127.0.0.1:80",
            "127.0.0.2:9470",
            "localhost.evil.example:9470",
            "",
        ] {
            assert_eq!(asked(&[other]).map_err(|refused| refused.0), Err(421), "{other}");
        }
        assert!(asked(&[]).is_err() && asked(&["localhost:9470", "localhost:9470"]).is_err());
        let ipv6 = "[::1]:9470".parse().expect("an address");
        assert!(judge(&head("GET", "/", &[("host", "[::1]:9470")]), Some(ipv6)).is_ok());
        assert!(judge(&head("GET", "/", &[("host", "127.0.0.1:9470")]), Some(ipv6)).is_err());
        assert_eq!(judge(&head("GET", "/sight.json", &[]), None), Ok(Asked::Sight));
    }

    #[test]
    fn s17_nothing_is_changed_and_other_sites_get_nothing() {
        for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"] {
            assert_eq!(judge(&head(method, "/", &[]), None).map_err(|refused| refused.0), Err(405));
        }
        for path in ["/status", "/sight.json/", "//"] {
            assert_eq!(judge(&head("GET", path, &[]), None).map_err(|refused| refused.0), Err(404));
        }
        for (site, is_served) in
            [("cross-site", false), ("same-site", false), ("same-origin", true), ("none", true)]
        {
            let asked = judge(&head("GET", "/sight.json", &[("sec-fetch-site", site)]), None);
            assert_eq!(asked.is_ok(), is_served, "{site}");
        }
    }

    #[test]
    fn the_page_has_all_that_it_needs_and_makes_no_markup_of_names() {
        for (tag, times) in [("<style>", 1), ("<script>", 1), ("</script>", 1), ("</style>", 1)] {
            assert_eq!(PAGE.matches(tag).count(), times, "{tag}");
        }
        for forbidden in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "http://",
            "https://",
            "src=",
            "style=",
        ] {
            assert!(!PAGE.contains(forbidden), "{forbidden}");
        }
        let headers = headers();
        assert_eq!(headers.len(), 6);
        let policy = headers[0].1.to_str().expect("text");
        assert!(
            policy.starts_with("default-src 'none'; style-src 'sha256-")
                && !policy.contains("unsafe"),
            "{policy}"
        );
    }

    #[test]
    fn hashes_are_written_as_browsers_compare_them() {
        assert_eq!(hash(""), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        assert_eq!(hash("abc"), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }
}
