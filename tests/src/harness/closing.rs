//! Whether this kernel can close bridges by nftables; the machine that tests run on may not.

use std::sync::OnceLock;

use enforcer::{closure, config::Config};

/// Why not; `None`: it can.
pub fn missing() -> Option<&'static str> {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    let look = || {
        let closure = Config::default().closure()?;
        closure::probe(&closure).err().map(|error| error.to_string())
    };
    MISSING.get_or_init(look).as_deref()
}

/// The line of `[daemon]` that fits this kernel.
#[must_use]
pub fn config_line() -> &'static str {
    if missing().is_some() { "closed_by = \"nobody\"\n" } else { "" }
}
