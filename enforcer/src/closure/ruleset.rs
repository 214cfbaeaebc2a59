//! The text of the table. Pure.
//!
//! ```text
//!  port ──► TC ingress: stamp ──► prerouting ──► other ports, the host
//!       └── link-local groups ──────────────► input ──► the host
//!  the host ──► TC egress of the bridge: stamp ──► output ──► ports
//! ```

use std::{collections::BTreeSet, fmt::Write as _};

use crate::model::closure::{By, Closure, OWN_BRIDGES};

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
    match &closure.by {
        By::Bridge => write_by_bridge(text, closure)?,
        By::Ports { others } => write_by_ports(text, closure, others)?,
    }
    writeln!(text, "}}")
}

/// How many rules the table has.
pub(super) const fn rules(closure: &Closure) -> usize {
    match closure.by {
        By::Bridge => 6,
        By::Ports { .. } => 1,
    }
}

fn write_set(text: &mut String, set: &str, names: &BTreeSet<String>) -> std::fmt::Result {
    writeln!(text, "  set {set} {{\n    type ifname")?;
    let names: Vec<String> =
        names.iter().filter(|name| is_plain(name)).map(|n| format!("\"{n}\"")).collect();
    if !names.is_empty() {
        writeln!(text, "    elements = {{ {} }}", names.join(", "))?;
    }
    writeln!(text, "  }}")
}

/// Programs of ours stamp what they let out of a port; `to_guest` and `from_bridge` refuse the rest,
/// so what is left is a frame from one port without programs to another.
fn write_by_ports(
    text: &mut String,
    closure: &Closure,
    others: &BTreeSet<String>,
) -> std::fmt::Result {
    write_set(text, "other_ports", others)?;
    let Closure { mark_mask, from_guest, .. } = closure;
    writeln!(text, "  chain forward {{")?;
    writeln!(text, "    type filter hook forward priority {PRIORITY}; policy accept;")?;
    writeln!(
        text,
        "    iifname \"veth*\" oifname \"veth*\" iifname != @other_ports oifname != @other_ports \
         meta mark & {mark_mask:#x} != {from_guest:#x} counter drop"
    )?;
    writeln!(text, "  }}")
}

fn write_by_bridge(text: &mut String, closure: &Closure) -> std::fmt::Result {
    write_set(text, "guest_bridges", &closure.bridges)?;
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
        for which in ["@guest_bridges".to_owned(), format!("\"{OWN_BRIDGES}*\"")] {
            writeln!(
                text,
                "    meta {bridge} {which} meta mark & {mask:#x} != {stamp:#x} counter drop"
            )?;
        }
        writeln!(text, "  }}")?;
    }
    Ok(())
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
            by: By::Bridge,
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
        assert_eq!(text.matches("counter drop").count(), rules(&closure(&["br-a"])));
        let own = "meta ibrname \"en-own-*\" meta mark & 0x30000000 != 0x10000000 counter drop";
        assert_eq!(text.matches(own).count(), 2, "{text}");
        let own = "meta obrname \"en-own-*\" meta mark & 0x30000000 != 0x20000000 counter drop";
        assert_eq!(text.matches(own).count(), 1, "bridges of own networks: {text}");
        for hook in ["prerouting", "input", "output"] {
            assert!(text.contains(&format!("hook {hook} priority -310; policy accept;")), "{text}");
        }
    }

    #[test]
    fn n6_where_the_bridge_is_not_told_only_unknown_veths_are_kept_apart() {
        let others = ["veth1".to_owned(), "veth2".to_owned()].into();
        let text = render(&Closure { by: By::Ports { others }, ..closure(&["br-a"]) });
        let rule = "iifname \"veth*\" oifname \"veth*\" iifname != @other_ports \
                    oifname != @other_ports meta mark & 0x30000000 != 0x10000000 counter drop";
        assert_eq!(text.matches("counter drop").count(), 1, "{text}");
        assert!(text.contains(rule), "{text}");
        assert!(text.contains("elements = { \"veth1\", \"veth2\" }"), "{text}");
        assert!(!text.contains("ibrname"), "{text}");
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
