//! The text of the table. Pure.
//!
//! ```text
//!  port ──► TC ingress: stamp ──► prerouting ──► other ports, the host
//!       └── link-local groups ──────────────► input ──► the host
//!  the host ──► TC egress of the bridge: stamp ──► output ──► ports
//! ```

use std::fmt::Write as _;

use crate::model::closure::Closure;

/// The family that sees frames on a bridge.
pub(super) const FAMILY: &str = "bridge";
/// Name of the table.
pub(super) const TABLE: &str = "enforcer";
/// Before `br_netfilter` (0), whose rules for IP can change marks, and before other tables.
const PRIORITY: i32 = -310;

/// A hook of the bridge, the side of it that the guest bridge is on, and whose stamp it demands.
struct Chain {
    hook: &'static str,
    bridge: &'static str,
    stamp: u32,
}

/// The whole transaction: no frame passes between the old table and the new one.
pub(super) fn render(closure: &Closure) -> String {
    let mut text = removal();
    // Writing to a string cannot fail.
    let _infallible = write_table(&mut text, closure);
    text
}

/// Removes the table; adding it first makes that true also where there is none.
pub(super) fn removal() -> String {
    format!("add table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\n")
}

fn write_table(text: &mut String, closure: &Closure) -> std::fmt::Result {
    writeln!(text, "table {FAMILY} {TABLE} {{")?;
    writeln!(text, "  set guest_bridges {{\n    type ifname")?;
    let names: Vec<String> =
        closure.bridges.iter().filter(|name| is_plain(name)).map(|n| format!("\"{n}\"")).collect();
    if !names.is_empty() {
        writeln!(text, "    elements = {{ {} }}", names.join(", "))?;
    }
    writeln!(text, "  }}")?;
    let chains = [
        Chain { hook: "prerouting", bridge: "ibrname", stamp: closure.from_guest },
        // Frames to 01:80:c2:00:00:0x skip the hook above.
        Chain { hook: "input", bridge: "ibrname", stamp: closure.from_guest },
        Chain { hook: "output", bridge: "obrname", stamp: closure.from_host },
    ];
    for Chain { hook, bridge, stamp } in chains {
        let mask = closure.mark_mask;
        writeln!(text, "  chain {hook} {{")?;
        writeln!(text, "    type filter hook {hook} priority {PRIORITY}; policy accept;")?;
        writeln!(
            text,
            "    meta {bridge} @guest_bridges meta mark & {mask:#x} != {stamp:#x} counter drop"
        )?;
        writeln!(text, "  }}")?;
    }
    writeln!(text, "}}")
}

/// The config takes no other names; this is where one would become a rule.
fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty() && name.len() <= 15 && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closure(bridges: &[&str]) -> Closure {
        Closure {
            bridges: bridges.iter().map(|&name| name.to_owned()).collect(),
            mark_mask: 0x3000_0000,
            from_guest: 0x1000_0000,
            from_host: 0x2000_0000,
        }
    }

    #[test]
    fn n6_each_way_into_a_guest_bridge_demands_its_stamp() {
        let text = render(&closure(&["br-a", "br.b"]));
        let guest = "meta ibrname @guest_bridges meta mark & 0x30000000 != 0x10000000 counter drop";
        let host = "meta obrname @guest_bridges meta mark & 0x30000000 != 0x20000000 counter drop";
        assert_eq!(text.matches(guest).count(), 2, "{text}");
        assert_eq!(text.matches(host).count(), 1, "{text}");
        assert!(text.contains("elements = { \"br-a\", \"br.b\" }"), "{text}");
        for hook in ["prerouting", "input", "output"] {
            assert!(text.contains(&format!("hook {hook} priority -310; policy accept;")), "{text}");
        }
    }

    #[test]
    fn the_old_table_goes_in_the_transaction_that_brings_the_new_one() {
        let text = render(&closure(&["br-a"]));
        let lines: Vec<&str> = text.lines().take(3).collect();
        let wanted = [
            "add table bridge enforcer",
            "delete table bridge enforcer",
            "table bridge enforcer {",
        ];
        assert_eq!(lines, wanted);
    }

    #[test]
    fn a_name_never_becomes_a_rule() {
        let text = render(&closure(&["a\" }; flush ruleset", "br-a b", "", "sixteen-bytes-xx"]));
        assert!(!text.contains("elements") && !text.contains("flush"), "{text}");
    }
}
