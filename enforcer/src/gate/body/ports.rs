//! Published ports (S28).

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::{
    super::{principal::Principal, verdict::Refusal},
    Context, fields,
    object::At,
};

/// Most ports of a container, published or named.
const MAX_PORTS: usize = 64;

/// Ports that a container says it has. They open nothing.
pub(super) fn exposed(entries: &[(&str, At<'_>)]) -> Result<Map<String, Value>, Refusal> {
    let mut ports = Map::new();
    for (port, at) in entries {
        check(port, at, ports.len())?;
        if !at.is_null() && !at.entries()?.is_empty() {
            return Err(at.refuse("nothing is said of an exposed port"));
        }
        ports.insert((*port).to_owned(), json!({}));
    }
    Ok(ports)
}

/// Ports that the host listens on for a container.
pub(super) fn published(
    entries: &[(&str, At<'_>)],
    context: &Context<'_>,
) -> Result<Map<String, Value>, Refusal> {
    let mut ports = Map::new();
    let mut count = 0;
    for (port, at) in entries {
        check(port, at, count)?;
        let mut bindings = Vec::new();
        if !at.is_null() {
            for item in at.list()? {
                count += 1;
                check(port, &item, count - 1)?;
                bindings.push(binding(&item, context)?);
            }
        }
        // An empty list would have the engine choose a port.
        if bindings.is_empty() {
            return Err(at.refuse("name the host port"));
        }
        ports.insert((*port).to_owned(), Value::Array(bindings));
    }
    Ok(ports)
}

fn binding(at: &At<'_>, context: &Context<'_>) -> Result<Value, Refusal> {
    let object = at.object(&fields::PORT)?;
    let (host, port) = (object.text("HostIp")?, object.text("HostPort")?);
    let address = match host {
        "" => None,
        text => Some(text.parse::<IpAddr>().map_err(|error| at.refuse(error))?),
    };
    let is_loopback = address.is_some_and(|address| address.is_loopback());
    let is_any = address.is_none_or(|address| address.is_unspecified());
    if !is_loopback && !is_any {
        return Err(at.refuse("HostIp is 127.0.0.1, 0.0.0.0 or empty"));
    }
    let number = match port {
        "" => 0,
        text if text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse::<u16>().map_err(|error| at.refuse(error))?
        }
        _ => return Err(at.refuse("HostPort is no port")),
    };
    let is_in_range =
        context.rules.host_ports.is_some_and(|(first, last)| (first..=last).contains(&number));
    // A hub's proxy reaches its guests so, at a port that the engine chooses or one that no service has.
    let is_hub_s = matches!(context.principal, Principal::Hub(_)) && is_loopback;
    let is_allowed = (is_in_range && number > 0) || (is_hub_s && (number == 0 || number >= 1024));
    if !is_allowed {
        return Err(at.refuse(match context.rules.host_ports {
            Some((first, last)) => format!("a host port within {first} to {last} must be named"),
            None => "no host port may be published here".to_owned(),
        }));
    }
    let port = if number == 0 { String::new() } else { number.to_string() };
    Ok(
        json!({"HostIp": address.map(|address| address.to_string()).unwrap_or_default(), "HostPort": port}),
    )
}

/// `80/tcp`, and not too many of them.
fn check(port: &str, at: &At<'_>, count: usize) -> Result<(), Refusal> {
    if count >= MAX_PORTS {
        return Err(at.refuse(format_args!("at most {MAX_PORTS} ports")));
    }
    let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    let is_number = !number.starts_with(['+', '0']) && number.parse::<u16>().is_ok();
    if is_number && matches!(protocol, "tcp" | "udp") {
        Ok(())
    } else {
        Err(at.refuse("a port is a number from 1 to 65535 with /tcp or /udp"))
    }
}
