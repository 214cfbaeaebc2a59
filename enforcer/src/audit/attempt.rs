//! What a stored record tells of a conversation that a guest began, or tried to. Pure. It reads records of any
//! version: what is missing is not guessed.

use std::{collections::BTreeMap, net::IpAddr};

use enforcer_common::packet::{ICMP, ICMPV6};
use serde_json::Value;

/// A conversation that a guest began, or tried to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The container's name; its id where the record has no name.
    pub guest: String,
    /// Docker's id of it; its name where the record has no id.
    pub id: String,
    /// Its image, as it was asked for.
    pub image: Option<String>,
    /// The user that it was started for.
    pub user: Option<String>,
    /// The user's group.
    pub group: Option<String>,
    /// Those of its labels that are recorded.
    pub labels: BTreeMap<String, String>,
    /// Guest network.
    pub network: String,
    /// Where to.
    pub to: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Destination port; 0 for an echo request.
    pub port: u16,
    /// What became of it.
    pub outcome: Outcome,
    /// When, RFC 3339.
    pub time: String,
}

/// What becomes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Allowed.
    Allow,
    /// Let through by audit mode only.
    Audit,
    /// Denied: no rule opens it, or one denies it.
    Deny,
    /// Denied: another guest's address.
    Neighbour,
}

impl Outcome {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Audit => "audit",
            Self::Deny | Self::Neighbour => "deny",
        }
    }
}

/// What a record tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// An attempt.
    Attempt(Box<Attempt>),
    /// An attempt of which too little is told.
    Vague,
    /// A name that was looked up, and its addresses.
    Name(String, Vec<IpAddr>),
    /// So many records of attempts were not written.
    Lost(u64),
    /// Something else: no guest's attempt, or not a policy's to decide.
    Other,
}

/// Reads a record.
#[must_use]
pub fn told(record: &Value) -> Told {
    let text = |key: &str| record[key].as_str().unwrap_or_default();
    let by_guest = text("enforcer.role") == "guest";
    let outcome = match (text("event.action"), text("event.reason")) {
        ("flow_opened", _) if record["enforcer.would_deny"].is_string() => Outcome::Audit,
        ("flow_opened", _) => Outcome::Allow,
        ("denied" | "connect_refused", "policy") => Outcome::Deny,
        ("denied" | "connect_refused", "guest_to_guest") => Outcome::Neighbour,
        ("loss", "flow_opened" | "policy" | "guest_to_guest" | "connect_refused") => {
            return Told::Lost(record["enforcer.count"].as_u64().unwrap_or(0));
        }
        ("gap", _) => return Told::Lost(record["enforcer.count"].as_u64().unwrap_or(0)),
        ("dns_query", _) => return name(record),
        _ => return Told::Other,
    };
    // A call has no hook; what others open to a guest is not the guest's attempt.
    if !by_guest || !matches!(text("enforcer.hook"), "from_guest" | "") {
        return Told::Other;
    }
    attempt(record, outcome).map_or(Told::Vague, |attempt| Told::Attempt(Box::new(attempt)))
}

fn attempt(record: &Value, outcome: Outcome) -> Option<Attempt> {
    let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
    let some = |key: &str| record[key].as_str().map(str::to_owned);
    let number = |key: &str| record[key].as_u64();
    let protocol = u8::try_from(number("network.iana_number")?).ok()?;
    let port = if matches!(protocol, ICMP | ICMPV6) {
        0
    } else {
        u16::try_from(number("destination.port")?).ok()?
    };
    let [name, id] = ["container.name", "container.id"].map(text);
    let either =
        |one: &str, other: &str| if one.is_empty() { other.to_owned() } else { one.to_owned() };
    let labels = record["container.labels"].as_object().into_iter().flatten();
    let labels = labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    Some(Attempt {
        guest: either(&name, &id),
        id: either(&id, &name),
        image: some("container.image.name"),
        user: some("user.name"),
        group: some("user.group.name"),
        labels: labels.collect(),
        network: some("network.name")?,
        to: text("destination.ip").parse().ok()?,
        protocol,
        port,
        outcome,
        time: text("@timestamp"),
    })
    .filter(|attempt| !attempt.id.is_empty())
}

fn name(record: &Value) -> Told {
    let name = record["dns.question.name"].as_str().unwrap_or_default();
    let addresses = record["dns.resolved_ip"].as_array().into_iter().flatten();
    let addresses = addresses.filter_map(|address| address.as_str()?.parse().ok()).collect();
    if name.is_empty() { Told::Other } else { Told::Name(name.to_owned(), addresses) }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// A record of a guest's attempt, as the stream has them.
    pub(crate) fn record(
        action: &str,
        reason: Option<&str>,
        guest: &str,
        to: &str,
        (protocol, port): (u8, u16),
    ) -> Value {
        let mut record = json!({
            "event.action": action, "enforcer.role": "guest", "enforcer.hook": "from_guest",
            "@timestamp": "2026-11-22T12:00:00.000000Z", "network.name": "lab",
            "container.name": guest, "container.id": format!("id-{guest}"),
            "container.image.name": "course:1", "destination.ip": to,
            "destination.port": port, "network.iana_number": protocol,
        });
        if let Some(reason) = reason {
            record["event.reason"] = json!(reason);
        }
        record
    }

    #[test]
    fn a_record_is_an_attempt_only_if_a_guest_made_it_and_a_policy_decided() {
        let with = |key: &str, value: Value| {
            let mut one = record("flow_opened", None, "ada", "192.0.2.7", (6, 443));
            one[key] = value;
            told(&one)
        };
        let outcome = |told: Told| match told {
            Told::Attempt(attempt) => Some(attempt.outcome),
            _ => None,
        };
        assert_eq!(outcome(with("x", json!(1))), Some(Outcome::Allow));
        assert_eq!(outcome(with("enforcer.would_deny", json!("policy"))), Some(Outcome::Audit));
        for (reason, expected) in [
            ("policy", Some(Outcome::Deny)),
            ("guest_to_guest", Some(Outcome::Neighbour)),
            ("multicast", None),
        ] {
            for action in ["denied", "connect_refused"] {
                let one = record(action, Some(reason), "ada", "192.0.2.7", (17, 53));
                assert_eq!(outcome(told(&one)), expected, "{action} {reason}");
            }
        }
        assert_eq!(with("enforcer.hook", json!("to_guest")), Told::Other);
        assert_eq!(with("enforcer.role", json!("hub")), Told::Other);
        assert_eq!(with("event.action", json!("flow_closed")), Told::Other);
        assert_eq!(with("destination.ip", json!("?")), Told::Vague);
        assert_eq!(with("destination.port", Value::Null), Told::Vague);
        assert_eq!(with("network.name", Value::Null), Told::Vague);
        let loss = json!({"event.action": "loss", "event.reason": "policy", "enforcer.count": 7});
        assert_eq!(told(&loss), Told::Lost(7));
        let query = json!({"event.action": "dns_query", "dns.question.name": "pypi.org",
            "dns.resolved_ip": ["151.101.0.223", "x"]});
        let addresses = vec![IpAddr::from([151, 101, 0, 223])];
        assert_eq!(told(&query), Told::Name("pypi.org".to_owned(), addresses));
        let Told::Attempt(ping) = told(&record("flow_opened", None, "ada", "192.0.2.7", (1, 8)))
        else {
            panic!("no attempt")
        };
        assert_eq!(ping.port, 0, "echo has no ports");
    }
}
