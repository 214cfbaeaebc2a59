use proptest::prelude::*;

use super::*;

const RATE: Rate = Rate { per_second: 1000, burst_ns: 2 * SECOND };

/// Sends frames of so many units at their times; how many units passed.
fn passed(rate: Rate, frames: &[(u64, u64)]) -> u64 {
    let (mut due, mut passed) = (0, 0);
    for (now, units) in frames {
        let taken = rate.take(due, rate.cost_ns(*units), *now);
        due = taken.due_ns;
        passed += if taken.passes { *units } else { 0 };
    }
    passed
}

#[test]
fn c1_at_one_moment_exactly_the_burst_passes() {
    for now in [0, SECOND, u64::MAX / 2] {
        assert_eq!(passed(RATE, &vec![(now, 1); 5000]), 2000, "{now}");
    }
    // A second later there is room for what the rate lets through in a second.
    let mut frames = vec![(SECOND, 1); 5000];
    frames.extend(vec![(2 * SECOND, 1); 5000]);
    assert_eq!(passed(RATE, &frames), 3000);
    // A long rest saves up no more than the burst.
    frames.extend(vec![(90_000 * SECOND, 1); 5000]);
    assert_eq!(passed(RATE, &frames), 5000);
}

#[test]
fn c1_the_coarse_clock_of_the_kernel_costs_nothing_of_the_rate() {
    let rate = Rate { per_second: 10_000_000, burst_ns: SECOND / 10 };
    // 20 Mbit/s in frames of 1,514 bytes for 20 s; the clock moves every 4 ms.
    let every = 1514 * 8 * SECOND / 20_000_000;
    let frames = |at: u64| (SECOND + at * every / 4_000_000 * 4_000_000, 1514 * 8);
    let passed = passed(rate, &(0..20 * SECOND / every).map(frames).collect::<Vec<_>>());
    assert!((199_000_000..=201_000_000).contains(&passed), "{passed}");
}

#[test]
fn c1_another_limit_and_a_clock_that_goes_back_hold_nobody_up() {
    let slow = Rate { per_second: 1, burst_ns: 1000 * SECOND };
    let due = slow.take(0, slow.cost_ns(1000), SECOND).due_ns;
    assert_eq!(due, 1001 * SECOND);
    // No more is owed than the new limit's burst: it is empty, and fills at its own rate.
    let first = RATE.take(due, RATE.cost_ns(1), SECOND);
    assert_eq!(first, Taken { passes: false, due_ns: 3 * SECOND });
    assert!(RATE.take(first.due_ns, RATE.cost_ns(1), SECOND + 1_000_000).passes);
    let back = RATE.take(500 * SECOND, RATE.cost_ns(1), 2 * SECOND);
    assert_eq!(back, Taken { passes: false, due_ns: 4 * SECOND });
}

#[test]
fn what_is_without_bounds_is_charged_without_overflow() {
    let none = Rate::default();
    assert_eq!((none.is_set(), none.cost_ns(u64::MAX)), (false, 0));
    let one = Rate { per_second: 1, burst_ns: u64::MAX };
    assert_eq!(one.cost_ns(u64::MAX), (1 << 32) * SECOND);
    let taken = one.take(u64::MAX, one.cost_ns(u64::MAX), u64::MAX);
    assert_eq!(taken, Taken { passes: false, due_ns: u64::MAX });
}

#[test]
fn c1_a_super_packet_is_charged_the_headers_of_all_its_segments() {
    for (len, payload, segments, expected) in [
        (66, 0, 1, 66),
        (60, 0, 0, 60),
        (1514, 1448, 1, 1514),
        (66 + 45 * 1448, 45 * 1448, 45, 45 * 1514),
        (10, 20, 3, 10),
    ] {
        assert_eq!(wire_bytes(len, payload, segments), expected, "{len} {payload} {segments}");
    }
}

proptest! {
    #[test]
    fn c1_never_more_passes_than_the_burst_and_the_rate_allow(
        per_second in 1..10_000_000_000_u64,
        burst_ns in 0..10 * SECOND,
        start in 0..u64::MAX / 2,
        frames in vec![(0..SECOND, 1..20_000_u64); 100],
    ) {
        let rate = Rate { per_second, burst_ns };
        let mut now = start;
        let timed = frames.iter().map(|(wait, units)| {
            now += wait;
            (now, *units)
        });
        let passed = passed(rate, &timed.collect::<Vec<_>>());
        let most = u128::from(per_second) * u128::from(burst_ns + (now - start));
        prop_assert!(u128::from(passed) * u128::from(SECOND) <= most);
    }

    #[test]
    fn c1_who_keeps_to_the_rate_loses_nothing(
        per_second in 1..1_000_000_u64,
        units in 1..20_000_u64,
        frames in 1..100_u64,
    ) {
        let rate = Rate { per_second, burst_ns: 0 };
        let rate = Rate { burst_ns: rate.cost_ns(units), ..rate };
        let every = rate.cost_ns(units);
        let timed: Vec<_> = (0..frames).map(|n| (SECOND + n * every, units)).collect();
        prop_assert_eq!(passed(rate, &timed), frames * units);
    }

    #[test]
    fn c1_whatever_the_numbers_are_a_bucket_is_never_ahead_by_more_than_its_burst(
        per_second: u64, burst_ns: u64, due: u64, units: u64, now: u64,
    ) {
        let rate = Rate { per_second, burst_ns };
        let taken = rate.take(due, rate.cost_ns(units), now);
        prop_assert!(taken.due_ns <= now.saturating_add(burst_ns));
    }
}
