//! What people write when they ask. Pure.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime},
};

use super::Peer;
use crate::audit::store::time;

/// Reads an address, or an address and a port.
pub fn parse_peer(text: &str) -> Result<Peer, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Peer { address, port: None });
    }
    text.parse::<SocketAddr>()
        .map(|socket| Peer { address: socket.ip(), port: Some(socket.port()) })
        .map_err(|_error| {
            "write an address, or one with a port: 10.0.0.2, 10.0.0.2:80, fd00::1, [fd00::1]:80"
                .to_owned()
        })
}

/// Reads a time, or how long before `now` it was, as microseconds since 1970.
pub fn moment(text: &str, now: SystemTime) -> Result<u64, String> {
    if let Some(time) = time::micros(text) {
        return Ok(time);
    }
    ago(text).and_then(|ago| now.checked_sub(ago)).map(time::number).ok_or_else(|| {
        "write a time as 2026-11-22T12:00:00Z, or how long ago it was: 90s, 15m, 2h, 3d".to_owned()
    })
}

/// Reads a time to come, or how long after `now` it is, as RFC 3339.
pub fn end(text: &str, now: SystemTime) -> Result<String, String> {
    if time::micros(text).is_some() {
        return Ok(text.to_owned());
    }
    ago(text).and_then(|span| now.checked_add(span)).map(time::rfc3339).ok_or_else(|| {
        "write a time as 2026-12-31T18:00:00Z, or for how long: 90s, 15m, 12h, 30d".to_owned()
    })
}

fn ago(text: &str) -> Option<Duration> {
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let (count, _) = text.split_at_checked(text.len() - 1)?;
    if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(Duration::from_secs(count.parse::<u64>().ok()?.checked_mul(unit)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_an_address_with_or_without_a_port() {
        let cases = [
            ("10.0.0.2", Some(("10.0.0.2", None))),
            ("10.0.0.2:80", Some(("10.0.0.2", Some(80)))),
            ("fd00:0::1", Some(("fd00::1", None))),
            ("[fd00::1]:80", Some(("fd00::1", Some(80)))),
            ("10.0.0.2:", None),
            ("10.0.0.2:70000", None),
            ("example.org", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let peer = parse_peer(text).ok().map(|peer| (peer.address.to_string(), peer.port));
            assert_eq!(peer, expected.map(|(address, port)| (address.to_owned(), port)), "{text}");
        }
        assert!(parse_peer("example.org").expect_err("a name").contains("10.0.0.2:80"));
    }

    #[test]
    fn an_end_is_a_time_or_so_much_later() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(24);
        let day = |text: &str| end(text, now).ok();
        assert_eq!(day("2d").as_deref(), Some("1970-01-04T00:00:00.000000Z"));
        assert_eq!(day("2026-12-31T18:00:00Z").as_deref(), Some("2026-12-31T18:00:00Z"));
        for text in ["", "d", "-1d", "soon", "2026-12-31", "99999999999999999999d"] {
            assert_eq!(day(text), None, "{text}");
        }
    }

    #[test]
    fn a_moment_is_a_time_or_so_long_ago() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let cases = [
            ("1970-01-02T00:00:00Z", Some(86_400)),
            ("90s", Some(999_910)),
            ("15m", Some(999_100)),
            ("2h", Some(992_800)),
            ("3d", Some(740_800)),
            ("12d", Some(0)),
            ("h", None),
            ("-1h", None),
            ("1w", None),
            ("99999999999999999999d", None),
            ("yesterday", None),
            ("", None),
        ];
        for (text, seconds) in cases {
            let expected = seconds.map(|seconds: u64| seconds * time::SECOND);
            assert_eq!(moment(text, now).ok(), expected, "{text}");
        }
    }
}
