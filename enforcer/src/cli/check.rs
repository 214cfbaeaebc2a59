//! `enforcer check`: what a config file would police, or everything that is wrong with it.

use std::fmt::Write as _;

use serde_json::json;

use super::{CheckArgs, Exit};
use crate::{
    config::{
        Admin, ClosedBy, Config, GuestNetwork, Guests, HubPlace, HubRule, MetricsAt, Mode, Policy,
        PolicyOverride, Service,
        file::{FileError, load},
    },
    model::limits::LimitsInForce,
};

/// Checks a config file and tells the outcome.
pub(super) fn check(args: &CheckArgs) -> anyhow::Result<Exit> {
    match load(&args.config) {
        Ok(config) if args.json => {
            println!("{}", serde_json::to_string_pretty(&as_json(&config))?);
            Ok(Exit::Ok)
        }
        Ok(config) => {
            print!("{}: valid\n{}", args.config.display(), summary(&config));
            Ok(Exit::Ok)
        }
        Err(error) => {
            if args.json {
                println!("{}", serde_json::to_string_pretty(&error_as_json(&error))?);
            } else {
                eprintln!("{error}");
            }
            Ok(Exit::Usage)
        }
    }
}

/// What would be policed, for people.
fn summary(config: &Config) -> String {
    let mut text =
        config.metrics.as_ref().map_or_else(String::new, |at| format!("\nmetrics at {at}\n"));
    if let Some(dns) = &config.dns {
        let upstream: Vec<_> = dns.upstream.iter().map(ToString::to_string).collect();
        let upstream = upstream.join(", ");
        let _infallible = writeln!(text, "\nguests' DNS is answered with the help of {upstream}");
    }
    for (name, network) in &config.networks {
        // Writing to a string cannot fail.
        let _infallible = write_network(&mut text, name, network);
    }
    let audited = audited(config).join(", ");
    if !audited.is_empty() {
        let _infallible = writeln!(
            text,
            "\nin audit mode, so that what they would deny beyond this host and guest networks is let through: \
             {audited}"
        );
    }
    text
}

/// Policies in audit mode.
fn audited(config: &Config) -> Vec<&str> {
    let audits = |(_, policy): &(&String, &Policy)| policy.mode == Mode::Audit;
    config.policies.iter().filter(audits).map(|(name, _)| name.as_str()).collect()
}

fn write_network(text: &mut String, name: &str, network: &GuestNetwork) -> std::fmt::Result {
    let missing = if network.create { "is created" } else { "is an error" };
    writeln!(text, "\nguest network {name} on bridge {} (if missing: {missing})", network.bridge)?;
    let subnet = network.subnet4.map_or("chosen by Docker".to_owned(), |(address, prefix)| {
        let gateway = network.gateway4.map(|gateway| format!(", gateway {gateway}"));
        format!("{address}/{prefix}{}", gateway.unwrap_or_default())
    });
    writeln!(text, "  IPv4     {subnet}")?;
    let subnet6 = network.subnet6.map(|(address, prefix)| format!("{address}/{prefix}"));
    writeln!(text, "  IPv6     {}", subnet6.as_deref().unwrap_or("none"))?;
    if network.hubs.is_empty() && network.policy.is_none() {
        writeln!(text, "  guests may reach nothing")?;
    }
    if let Some(policy) = &network.policy {
        writeln!(text, "  guests may reach what policy {policy} says")?;
    }
    if !network.overrides.is_empty() {
        writeln!(text, "  overrides for some of them: {}", network.overrides.len())?;
    }
    for hub in &network.hubs {
        writeln!(text, "  guests may reach {}", hub_text(hub))?;
    }
    if !network.services.is_empty() {
        let services: Vec<_> = network.services.iter().map(ToString::to_string).collect();
        writeln!(text, "  services that rules may open: {}", services.join(", "))?;
    }
    let limits = LimitsInForce::from(&network.limits.in_force());
    if !limits.is_empty() {
        writeln!(text, "  limits of each guest: {limits}")?;
    }
    let quotas = network.quotas;
    writeln!(
        text,
        "  flows of each guest: {} in ({} half-open), {} out ({} half-open), {} closing",
        quotas.inbound_established,
        quotas.inbound_half_open,
        quotas.outbound_established,
        quotas.outbound_half_open,
        quotas.closing
    )
}

fn hub_text(hub: &HubRule) -> String {
    let at = match &hub.at {
        HubPlace::Gateway => "this host at the bridge's address".to_owned(),
        HubPlace::Address(address) => address.to_string(),
        HubPlace::Container(name) => format!("container {name}"),
    };
    format!("{at}, port {}/{}", hub.port, protocol(hub))
}

fn protocol(hub: &HubRule) -> &'static str {
    if hub.protocol == 17 { "udp" } else { "tcp" }
}

fn as_json(config: &Config) -> serde_json::Value {
    let subnet = |address: String, prefix: u8| format!("{address}/{prefix}");
    let networks = config.networks.iter().map(|(name, network)| {
        let hubs: Vec<_> = network.hubs.iter().map(hub_json).collect();
        let quotas = network.quotas;
        let value = json!({
            "bridge": network.bridge,
            "create": network.create,
            "subnet": network.subnet4.map(|(at, prefix)| subnet(at.to_string(), prefix)),
            "gateway": network.gateway4,
            "subnet6": network.subnet6.map(|(at, prefix)| subnet(at.to_string(), prefix)),
            "policy": network.policy,
            "override": network.overrides.iter().map(override_json).collect::<Vec<_>>(),
            "hub": hubs,
            "service": network.services.iter().map(service_json).collect::<Vec<_>>(),
            "limits": LimitsInForce::from(&network.limits.in_force()),
            "quotas": {
                "inbound_half_open": quotas.inbound_half_open,
                "inbound_established": quotas.inbound_established,
                "outbound_half_open": quotas.outbound_half_open,
                "outbound_established": quotas.outbound_established,
                "closing": quotas.closing,
            },
        });
        (name.clone(), value)
    });
    json!({
        "valid": true,
        "audited_policies": audited(config),
        "docker": {"socket": config.docker_socket},
        "daemon": {
            "run_dir": config.run_dir,
            "pin_dir": config.pin_dir,
            "mark_mask": config.mark_mask,
            "max_flows": config.max_flows,
            "closed_by": match config.closed_by {
                ClosedBy::Nft => "nft",
                ClosedBy::Nobody => "nobody",
            },
            "refuse_at_connect": config.refuse_at_connect,
            "admins": config.admins.iter().map(Admin::to_string).collect::<Vec<_>>(),
        },
        "metrics": config.metrics.as_ref().map(|at| match at {
            MetricsAt::Listen(address) => json!({"listen": address}),
            MetricsAt::Socket(path) => json!({"socket": path}),
        }),
        "dns": config.dns.as_ref().map(|dns| json!({
            "upstream": dns.upstream,
            "min_ttl_s": dns.min_ttl.as_secs(),
            "max_ttl_s": dns.max_ttl.as_secs(),
            "lease_grace_s": dns.lease_grace.as_secs(),
            "queries_per_second": dns.queries_per_second,
            "burst": dns.burst,
            "names_per_10min": dns.names_per_10min,
            "tcp_connections": dns.tcp_connections,
        })),
        "networks": networks.collect::<serde_json::Map<_, _>>(),
    })
}

fn hub_json(hub: &HubRule) -> serde_json::Value {
    let mut value = match &hub.at {
        HubPlace::Gateway => json!({"gateway": true}),
        HubPlace::Address(address) => json!({"address": address}),
        HubPlace::Container(name) => json!({"container": name}),
    };
    value["port"] = json!(hub.port);
    value["protocol"] = json!(protocol(hub));
    value
}

fn service_json(service: &Service) -> serde_json::Value {
    match service {
        Service::Container(name) => json!({"container": name}),
        Service::Label(label) => json!({"label": label.to_string()}),
    }
}

fn override_json(one: &PolicyOverride) -> serde_json::Value {
    let (key, value) = match &one.guests {
        Guests::User(name) => ("user", name.clone()),
        Guests::Group(name) => ("group", name.clone()),
        Guests::Label(label) => ("label", label.to_string()),
    };
    json!({key: value, "policy": one.policy})
}

fn error_as_json(error: &FileError) -> serde_json::Value {
    let problems: Vec<_> = match error {
        FileError::Refused(refused) => refused
            .problems
            .iter()
            .map(|problem| {
                let (line, column) = (problem.line, problem.column);
                json!({"line": line, "column": column, "message": problem.message})
            })
            .collect(),
        other => vec![json!({"line": null, "column": null, "message": other.to_string()})],
    };
    json!({"valid": false, "problems": problems})
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../../examples/enforcer.toml");

    #[test]
    fn the_summary_says_what_guests_may_reach() {
        let config = crate::config::parse(EXAMPLE, "f").expect("valid");
        let text = summary(&config);
        for words in [
            "guest network tutorials on bridge br-tutorials (if missing: is created)",
            "IPv4     172.30.0.0/24, gateway 172.30.0.1",
            "IPv6     none",
            "guests may reach this host at the bridge's address, port 8081/tcp",
            "guests may reach container jupyterhub, port 8081/tcp",
        ] {
            assert!(text.contains(words), "{words:?} is missing in:\n{text}");
        }
    }

    #[test]
    fn o2_policies_in_audit_mode_are_named() {
        let text = format!("{EXAMPLE}\n[policies.a]\nmode = \"audit\"\n[policies.b]\n");
        let config = crate::config::parse(&text, "f").expect("valid");
        assert!(summary(&config).ends_with("is let through: a\n"), "{}", summary(&config));
        assert_eq!(as_json(&config)["audited_policies"], json!(["a"]));
    }

    #[test]
    fn where_metrics_are_is_told() {
        let parse = |text: &str| crate::config::parse(text, "f").expect("valid");
        let config = parse(&format!("{EXAMPLE}\n[metrics]\nlisten = \"[::1]:9469\"\n"));
        assert!(summary(&config).contains("metrics at http://[::1]:9469/metrics\n"));
        assert_eq!(as_json(&config)["metrics"], json!({"listen": "[::1]:9469"}));
        let config = parse(&format!("{EXAMPLE}\n[metrics]\nsocket = \"/run/m\"\n"));
        assert_eq!(as_json(&config)["metrics"], json!({"socket": "/run/m"}));
        let config = parse(EXAMPLE);
        assert!(as_json(&config)["metrics"].is_null() && !summary(&config).contains("metrics"));
    }

    #[test]
    fn whom_the_resolver_asks_is_told() {
        let parse = |text: &str| crate::config::parse(text, "f").expect("valid");
        let config = parse(&format!("{EXAMPLE}\n[dns]\nupstream = [\"192.0.2.53\"]\n"));
        let text = summary(&config);
        assert!(
            text.contains("guests' DNS is answered with the help of 192.0.2.53:53\n"),
            "{text}"
        );
        let value = as_json(&config);
        assert_eq!(value["dns"]["upstream"], json!(["192.0.2.53:53"]));
        assert_eq!(value["dns"]["max_ttl_s"], 300);
        let config = parse(EXAMPLE);
        assert!(as_json(&config)["dns"].is_null() && !summary(&config).contains("DNS"));
    }

    #[test]
    fn json_has_the_keys_of_the_file() {
        let config = crate::config::parse(EXAMPLE, "f").expect("valid");
        let value = as_json(&config);
        assert_eq!(value["networks"]["tutorials"]["subnet"], "172.30.0.0/24");
        assert_eq!(value["networks"]["tutorials"]["hub"][1]["container"], "jupyterhub");
        let refused = crate::config::parse("[networks.x]\n", "f").expect_err("refused");
        let value = error_as_json(&FileError::Refused(refused));
        assert_eq!((&value["valid"], &value["problems"][0]["line"]), (&json!(false), &json!(1)));
    }
}
