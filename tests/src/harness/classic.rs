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

/// Takes both away again.
pub fn remove(host: &Namespace, bridge: &str) -> Result<()> {
    host.run(&format!(
        "iptables -w -D FORWARD -i {bridge} ! -o {bridge} -m conntrack --ctstate NEW -j REJECT"
    ))?;
    host.run(&format!("iptables -w -D FORWARD -i {bridge} -o {bridge} -j DROP"))?;
    Ok(())
}
