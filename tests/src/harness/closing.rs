//! How this host can close bridges by nftables; the machine that tests run on may not tell bridges.

use std::sync::OnceLock;

use enforcer::{
    closure::{self, Ability},
    config::Config,
    control::desired::Closes,
};

/// How; says why not better.
pub fn ability() -> Closes {
    static ABILITY: OnceLock<Closes> = OnceLock::new();
    *ABILITY.get_or_init(|| match Config::default().closure().as_ref().map(closure::ability) {
        Some(Ability::Bridge) => Closes::ByBridge,
        Some(Ability::Ports) => {
            println!("     closed by ports: this kernel's nftables does not tell bridges");
            Closes::ByPorts
        }
        Some(Ability::None(error)) => {
            println!("     not closed: {error}");
            Closes::Not
        }
        None => Closes::Not,
    })
}
