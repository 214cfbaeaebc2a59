//! Times as numbers: microseconds since 1970, UTC. Pure.

use std::time::{Duration, SystemTime};

use crate::audit::record::Clock;

/// Microseconds of a second.
pub(crate) const SECOND: u64 = 1_000_000;

/// A moment as RFC 3339 has it.
pub(super) fn rfc3339(time: SystemTime) -> String {
    Clock { wall: time, mono_ns: 0 }.rfc3339(0)
}

/// A moment, in microseconds since 1970, as RFC 3339 has it.
#[must_use]
pub fn text(micros: u64) -> String {
    rfc3339(SystemTime::UNIX_EPOCH + Duration::from_micros(micros))
}

/// A moment as a number; one before 1970 is 0.
pub(super) fn number(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Reads RFC 3339, `2026-11-22T12:00:00.5Z` for instance; a space may stand for the `T`.
pub(crate) fn micros(text: &str) -> Option<u64> {
    let (date, rest) = text.split_at_checked(10)?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, rest) = rest.split_at_checked(8)?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let fits = (1..=12).contains(&month) && (1..=length(year, month)).contains(&day);
    // 60 is a leap second.
    if !fits || year < 1970 || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction, zone) = fraction(rest)?;
    let offset = offset(zone)?;
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    let seconds = i64::try_from(seconds).ok()?.checked_sub(offset)?;
    Some(u64::try_from(seconds).ok()? * SECOND + fraction)
}

/// Numbers of so many digits, with `between` between them.
fn numbers(text: &str, between: char, digits: [usize; 3]) -> Option<[u64; 3]> {
    let mut parts = text.split(between);
    let mut values = [0; 3];
    for (value, digits) in values.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| part.len() == digits)?;
        *value = part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())??;
    }
    parts.next().is_none().then_some(values)
}

/// Microseconds, and what stands behind them.
fn fraction(text: &str) -> Option<(u64, &str)> {
    let Some(rest) = text.strip_prefix('.') else { return Some((0, text)) };
    let end = rest.find(|character: char| !character.is_ascii_digit())?;
    let (digits, zone) = rest.split_at_checked(end)?;
    if digits.is_empty() {
        return None;
    }
    let value = digits.bytes().chain([b'0'; 6]).take(6);
    Some((value.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')), zone))
}

/// Seconds that a zone is ahead.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" || zone == "z" {
        return Some(0);
    }
    let (sign, clock) = match (zone.strip_prefix('+'), zone.strip_prefix('-')) {
        (Some(clock), _) => (1, clock),
        (_, Some(clock)) => (-1, clock),
        _ => return None,
    };
    let (hour, minute) = clock.split_once(':')?;
    let [hour, minute, _] = numbers(&format!("{hour}:{minute}:00"), ':', [2, 2, 2])?;
    let seconds = (hour < 24 && minute < 60).then_some(hour * 3600 + minute * 60)?;
    Some(sign * i64::try_from(seconds).ok()?)
}

fn length(year: u64, month: u64) -> u64 {
    let leaps = (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    match month {
        2 => 28 + u64::from(leaps),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01, by eras of 400 years that begin on 1 March.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year) = (year / 400, year % 400);
    let day = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + year * 365 + year / 4 - year / 100 + day - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read_as_rfc_3339_has_them() {
        let cases = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T00:00:00.000001Z", Some(951_782_400_000_001)),
            ("2000-02-29 01:30:00.5+01:30", Some(951_782_400_500_000)),
            ("2000-02-28T19:00:00.1234567-05:00", Some(951_782_400_123_456)),
            ("2001-02-29T00:00:00Z", None),
            ("2001-13-01T00:00:00Z", None),
            ("2001-01-01T24:00:00Z", None),
            ("2001-01-01T00:00:00", None),
            ("2001-01-01T00:00:00.Z", None),
            ("2001-01-01T00:00:00+1:00", None),
            ("2001-01-01T+0:00:00Z", None),
            ("1969-12-31T23:59:59Z", None),
            ("tomorrow", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(micros(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_time_reads_back_as_it_was_written(time in 0..4_102_444_800 * SECOND) {
            prop_assert_eq!(micros(&text(time)), Some(time));
            prop_assert_eq!(number(SystemTime::UNIX_EPOCH + Duration::from_micros(time)), time);
        }
    }
}
