//! Connections that are live when enforcer is installed, in network namespaces of the test's own.
//! Needs root and the tool nft; without them, it says so and passes.

use enforcer_tests::vm;

#[test]
fn n7_a_first_installation_cuts_what_guests_opened_and_nothing_else() -> anyhow::Result<()> {
    // SAFETY: takes nothing.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: needs root");
        return Ok(());
    }
    vm::live_flows()
}
