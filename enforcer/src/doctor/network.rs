//! Guest bridges, netfilter and Docker.

use super::{
    Finding,
    facts::{BridgeFacts, Closing, Facts, Seat, Stranger},
    mend_config,
};
use crate::docker::facts::{EngineFacts, EngineSettings};

/// Docker's own config file.
const DAEMON_JSON: &str = "/etc/docker/daemon.json";

pub(super) fn examine(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![closing(facts)];
    findings.extend(bridges(&facts.bridges));
    findings.push(forwarding(facts.forwards));
    findings.push(br_netfilter(facts.bridge_calls_iptables));
    findings.extend(docker(facts));
    findings
}

fn closing(facts: &Facts) -> Finding {
    const CHECK: &str = "closing";
    match &facts.closing {
        Closing::Bridge => Finding::ok(CHECK, "nft can close guest bridges before programs do"),
        Closing::Ports => {
            Finding::warn(CHECK, "nft cannot tell a frame's bridge here (no CONFIG_NFT_BRIDGE_META)")
                .so("before programs sit there, only the way from port to port is closed, not the way to this host")
                .mend("boot a kernel with CONFIG_NFT_BRIDGE_META, as Debian's are")
        }
        Closing::Impossible(why) => Finding::fail(CHECK, why.clone())
            .so("nothing closes guest bridges at boot, nor ports that are not policed yet: Docker does not start after the \
                 unit that closes, and a daemon that runs says that it does not enforce")
            .mend("apt-get install nftables && modprobe nf_tables"),
        Closing::Unwanted => Finding::warn(CHECK, "[daemon] closed_by is \"nobody\"")
            .so("ports reach one another and this host until they are policed")
            .mend("set closed_by = \"nft\" under [daemon] and systemctl restart enforcer"),
        Closing::Unknown => Finding::warn(CHECK, "not tried: the config is not known")
            .so("whether anything closes guest bridges at boot is not known either")
            .mend(format!("mend the config first: {}", mend_config(facts))),
    }
}

fn bridges(bridges: &Result<Vec<BridgeFacts>, String>) -> Vec<Finding> {
    match bridges {
        Ok(bridges) => vec![vlans(bridges), strangers(bridges)],
        Err(why) => vec![
            Finding::warn("guest_bridges", format!("cannot be looked at: {why}"))
                .so("settings and programs of others on guest bridges are not known")
                .mend("sudo enforcer doctor"),
        ],
    }
}

fn vlans(bridges: &[BridgeFacts]) -> Finding {
    const CHECK: &str = "vlan_filtering";
    let filtering: Vec<&str> = bridges
        .iter()
        .filter(|bridge| bridge.filters_vlans == Some(true))
        .map(|bridge| bridge.name.as_str())
        .collect();
    if filtering.is_empty() {
        return Finding::ok(CHECK, "off on every guest bridge there is");
    }
    let mend =
        filtering.iter().map(|name| format!("ip link set {name} type bridge vlan_filtering 0"));
    Finding::warn(CHECK, format!("on: {}", filtering.join(", ")))
        .so("enforcer does not use it; a port without a PVID has no network, whatever policy says")
        .mend(mend.collect::<Vec<_>>().join(" && "))
}

fn strangers(bridges: &[BridgeFacts]) -> Finding {
    const CHECK: &str = "other_tc_programs";
    let all: Vec<&Stranger> = bridges.iter().flat_map(|bridge| &bridge.strangers).collect();
    if all.is_empty() {
        return Finding::ok(CHECK, "none on guest bridges and their ports");
    }
    let found = all.iter().map(|stranger| {
        format!("{} on {} {}", stranger.program, stranger.interface, direction(stranger))
    });
    let mend = all.iter().map(|stranger| {
        let (interface, direction) = (&stranger.interface, direction(stranger));
        match stranger.seat {
            Seat::Link(link) => format!("bpftool link detach id {link}"),
            Seat::Tcx => format!("bpftool net detach tcx_{direction} dev {interface}"),
            // That one: ours may have the same priority.
            Seat::Filter { priority, handle } => format!(
                "tc filter del dev {interface} {direction} pref {priority} handle {handle:#x} bpf"
            ),
        }
    });
    Finding::warn(CHECK, format!("programs {}", found.collect::<Vec<_>>().join(", ")))
        .so("enforcer's run first, but what they let through others may change, answer or send elsewhere")
        .mend(format!(
            "bpftool prog show id {}   # whose is it? then: {}",
            all.first().map(|stranger| stranger.program).unwrap_or_default(),
            mend.collect::<Vec<_>>().join(" && ")
        ))
}

const fn direction(stranger: &Stranger) -> &'static str {
    if stranger.ingress { "ingress" } else { "egress" }
}

fn forwarding(forwards: Option<bool>) -> Finding {
    const CHECK: &str = "ip_forward";
    match forwards {
        Some(true) => Finding::ok(CHECK, "on"),
        Some(false) => Finding::warn(CHECK, "off")
            .so("guests reach nothing beyond this host, not even what policy opens, and nobody reaches published ports")
            .mend("sysctl -w net.ipv4.ip_forward=1   # Docker sets it too, unless told \"ip-forward\": false"),
        None => Finding::warn(CHECK, "net.ipv4.ip_forward cannot be read").mend("sudo enforcer doctor"),
    }
}

/// Good either way: origin is told by the interface, not by what netfilter left of a mark.
fn br_netfilter(calls: Option<bool>) -> Finding {
    const CHECK: &str = "br_netfilter";
    match calls {
        Some(true) => Finding::ok(
            CHECK,
            "on: frames between ports go through iptables as well, which costs time and which enforcer does not need",
        ),
        Some(false) | None => {
            Finding::ok(CHECK, "off: frames between ports do not go through iptables")
        }
    }
}

fn docker(facts: &Facts) -> Vec<Finding> {
    let engine = match &facts.engine {
        Ok(engine) => engine,
        Err(why) => {
            return vec![
                Finding::fail("docker", why.clone())
                    .so("the daemon waits for it; containers that start meanwhile have no network")
                    .mend("systemctl start docker, or set [docker] socket"),
            ];
        }
    };
    let mut findings = vec![Finding::ok("docker", describe(engine))];
    match &engine.settings {
        Ok(settings) => findings.extend(settings_of(*settings, facts)),
        Err(why) => findings.push(
            Finding::warn("docker_settings", format!("not known: {why}"))
                .so("whether Docker translates addresses and how it publishes ports is not known")
                .mend("docker info; cat /etc/docker/daemon.json"),
        ),
    }
    findings
}

fn describe(engine: &EngineFacts) -> String {
    let restarts = if engine.live_restore {
        "guests survive its restart (live-restore)"
    } else {
        "guests end when it restarts (no live-restore)"
    };
    format!("{} (API {}); {restarts}", engine.version, engine.api)
}

fn settings_of(settings: EngineSettings, facts: &Facts) -> Vec<Finding> {
    let wanted = facts.config.as_ref().ok();
    let has_ipv6 = wanted.is_some_and(|wanted| wanted.has_ipv6);
    let has_from = wanted.is_some_and(|wanted| wanted.has_from_rules);
    vec![iptables(settings), ip6tables(settings, has_ipv6), userland_proxy(settings, has_from)]
}

fn iptables(settings: EngineSettings) -> Finding {
    const CHECK: &str = "docker_iptables";
    if settings.iptables {
        return Finding::ok(CHECK, "Docker translates addresses and publishes ports");
    }
    let ports = if settings.userland_proxy {
        "published ports work by docker-proxy alone, so that rules with `from` see this host in place of the visitor"
    } else {
        "published ports do not work, for there is no docker-proxy either"
    };
    Finding::warn(CHECK, "Docker was told \"iptables\": false")
        .so(format!(
            "isolation does not need it, but what policy opens beyond this host gets no answer, as guests' addresses \
             are not translated; {ports}"
        ))
        .mend(without("iptables"))
}

fn ip6tables(settings: EngineSettings, has_ipv6: bool) -> Finding {
    const CHECK: &str = "docker_ip6tables";
    match (settings.ip6tables, has_ipv6) {
        (true, _) => Finding::ok(CHECK, "Docker publishes ports over IPv6"),
        (false, false) => Finding::ok(CHECK, "off; no guest network has IPv6"),
        (false, true) => Finding::warn(CHECK, "Docker was told \"ip6tables\": false, or is older than 27")
            .so("a guest network has IPv6; what policy opens there is not translated, so private addresses get no answer")
            .mend(format!(
                "set \"ip6tables\": true in {DAEMON_JSON}, and before Docker 27 \"experimental\": true as well, && systemctl \
                 restart docker"
            )),
    }
}

fn userland_proxy(settings: EngineSettings, has_from: bool) -> Finding {
    const CHECK: &str = "docker_userland_proxy";
    match (settings.userland_proxy, has_from) {
        (false, _) => Finding::ok(CHECK, "off"),
        (true, false) => Finding::ok(CHECK, "on; no rule is about who comes in"),
        (true, true) => Finding::warn(CHECK, "on, and rules with `from` are about who comes in")
            .so("what docker-proxy hands on, as IPv6 visitors of a network without IPv6, comes from this host: such \
                 rules do not see it")
            .mend(format!("set \"userland-proxy\": false in {DAEMON_JSON} && systemctl restart docker")),
    }
}

fn without(key: &str) -> String {
    format!(
        "remove \"{key}\": false from {DAEMON_JSON} (or --{key}=false from dockerd's arguments) && systemctl restart docker"
    )
}
