//! Gives memory back that nobody uses. The allocator keeps what was freed for the next time: a reload of 10,000 rules, or a
//! look at 100,000 flows, would be the daemon's for as long as it runs.

use std::time::Duration;

use tokio::time::sleep;

/// How often.
const EVERY: Duration = Duration::from_secs(10);

/// Runs until it is dropped.
pub(super) async fn tend() {
    loop {
        sleep(EVERY).await;
        // It holds a lock of the allocator's for milliseconds: no task waits with it on its thread.
        if super::blocking("memory", give_back).await.is_err() {
            return;
        }
    }
}

#[cfg(target_env = "gnu")]
fn give_back() {
    // SAFETY: takes no pointer, and may be called at any time from any thread (malloc_trim(3)).
    unsafe { libc::malloc_trim(0) };
}

/// Other C libraries give it back by themselves, or cannot.
#[cfg(not(target_env = "gnu"))]
const fn give_back() {}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use std::fs;

    use super::*;

    fn resident_kib() -> u64 {
        let status = fs::read_to_string("/proc/self/status").expect("/proc");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("RssAnon");
        line.split_whitespace().next().expect("a number").parse().expect("a number")
    }

    #[test]
    fn what_was_freed_is_given_back() {
        // Small pieces, of which every tenth stays, so that the heap's end does not move.
        let mut pieces: Vec<Option<Vec<u8>>> = (0..400_000).map(|_| Some(vec![1; 400])).collect();
        for piece in pieces.iter_mut().enumerate().filter(|(at, _)| at % 100 != 0) {
            *piece.1 = None;
        }
        let before = resident_kib();
        give_back();
        let after = resident_kib();
        // Of 160 MB; tests beside this one take some meanwhile.
        assert!(after + (60 << 10) < before, "{before} KiB before, {after} KiB after");
        assert_eq!(pieces.iter().flatten().count(), 4000);
    }
}
