//! The classic recipe that enforcer replaces, exactly as operators apply it: two iptables rules.

use anyhow::Result;

use super::netns::Namespace;

/// Applies both rules to a bridge: guests open no connection, and do not reach each other.
pub fn apply(host: &Namespace, bridge: &str) -> Result<()> {
    host.sysctl("net/bridge/bridge-nf-call-iptables", "1")?;
    host.run(&format!(
        "iptables -w -I FORWARD -i {bridge} ! -o {bridge} -m conntrack --ctstate NEW -j REJECT"
    ))?;
    host.run(&format!("iptables -w -I FORWARD -i {bridge} -o {bridge} -j DROP"))?;
    Ok(())
}

/// The same as an operator would write it for nftables, with a set of bridges.
pub fn apply_sets(host: &Namespace, bridge: &str) -> Result<()> {
    host.sysctl("net/bridge/bridge-nf-call-iptables", "1")?;
    for line in [
        "add table inet guests".to_owned(),
        "add set inet guests bridges { type ifname; }".to_owned(),
        format!("add element inet guests bridges {{ \"{bridge}\" }}"),
        "add chain inet guests forward { type filter hook forward priority -10; }".to_owned(),
        "add rule inet guests forward iifname @bridges oifname @bridges drop".to_owned(),
        "add rule inet guests forward iifname @bridges ct state new reject".to_owned(),
    ] {
        host.run(&format!("nft {line}"))?;
    }
    Ok(())
}

/// Takes both away again.
pub fn remove(host: &Namespace, bridge: &str) -> Result<()> {
    host.run(&format!(
        "iptables -w -D FORWARD -i {bridge} ! -o {bridge} -m conntrack --ctstate NEW -j REJECT"
    ))?;
    host.run(&format!("iptables -w -D FORWARD -i {bridge} -o {bridge} -j DROP"))?;
    Ok(())
}
