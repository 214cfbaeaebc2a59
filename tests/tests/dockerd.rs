//! Tests with a real dockerd in a namespace of its own. They need root; without it they say so and
//! pass. Run one after the other: `cargo test -p enforcer-tests --test dockerd -- --test-threads=1`.

#[path = "dockerd/baseline.rs"]
mod baseline;
#[path = "dockerd/enforcing.rs"]
mod enforcing;

use enforcer_tests::harness::run;

/// Whether tests can run here; says why not.
fn can_run() -> bool {
    run::obstacle().inspect(|why| eprintln!("skipped: {why}")).is_none()
}
