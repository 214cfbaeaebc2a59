//! Times as records have them.

use std::time::{Duration, SystemTime};

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Wall time.
    pub wall: SystemTime,
    /// Monotonic time, ns.
    pub mono_ns: u64,
}

impl Clock {
    /// Wall time of a monotonic moment.
    #[must_use]
    pub fn rfc3339(&self, mono_ns: u64) -> String {
        let wall = if mono_ns <= self.mono_ns {
            self.wall.checked_sub(Duration::from_nanos(self.mono_ns - mono_ns))
        } else {
            self.wall.checked_add(Duration::from_nanos(mono_ns - self.mono_ns))
        };
        format_time(wall.unwrap_or(self.wall))
    }
}

pub fn format_time(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    // By hand: the formatter of `std` took a tenth of what a record costs.
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    for (place, number) in [
        (0..4, year),
        (5..7, month),
        (8..10, day),
        (11..13, hour),
        (14..16, minute),
        (17..19, second),
        (20..26, u64::from(since.subsec_micros())),
    ] {
        decimal(number, &mut text[place]);
    }
    text.map(char::from).iter().collect()
}

/// Writes a number right-aligned over zeros; what has no room is left out.
fn decimal(mut number: u64, over: &mut [u8]) {
    for digit in over.iter_mut().rev() {
        *digit += (number % 10).to_le_bytes()[0];
        number /= 10;
    }
}

/// Days since 1970-01-01 as a date, by eras of 400 years that begin on 1 March.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (year + era * 400 + next, month, date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_rfc_3339_has_them() {
        let cases = [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000000Z"),
            (4_102_444_800, "2100-01-01T00:00:00.000000Z"),
            (253_402_300_799, "9999-12-31T23:59:59.000000Z"),
        ];
        for (seconds, text) in cases {
            let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(format_time(wall), text);
        }
        let clock = Clock { wall: SystemTime::UNIX_EPOCH, mono_ns: 1_000 };
        assert_eq!(clock.rfc3339(2_001_000), "1970-01-01T00:00:00.002000Z");
    }
}
