//! The end of the shared rig.

use anyhow::Result;

use crate::shared;

/// Named so that it runs last.
#[test]
fn zz_nothing_is_left_behind() -> Result<()> {
    shared::stop()
}
