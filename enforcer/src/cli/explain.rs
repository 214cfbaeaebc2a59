//! `enforcer explain`: why a guest may, or may not, begin a conversation.

use std::net::{IpAddr, SocketAddr};

use enforcer_common::packet::{ICMP, ICMPV6, TCP, UDP};

use super::{Exit, ExplainArgs, declined, table::table};
use crate::{
    api::{ControlError, client},
    model::{
        names::DomainName,
        status::{ExplainQuestion, Explained, ExplainedName, NameQuestion, Opening},
    },
    policy::explain::Judged,
};

/// Asks the daemon.
pub(super) async fn explain(args: &ExplainArgs) -> anyhow::Result<Exit> {
    let (run_dir, _) = match args.at.directories() {
        Ok(directories) => directories,
        Err(error) => {
            eprintln!("{error}");
            return Ok(Exit::Usage);
        }
    };
    let Destination { at, port, protocol } = args.to.clone();
    let from = args.from.clone();
    let to = match at {
        At::Address(to) => to,
        At::Name(name) => {
            let question = NameQuestion { from, name: name.to_string(), protocol, port };
            let outcome = client::explain_name(&run_dir, &question).await;
            return told(outcome, args.json, |explained| name_text(&name, explained));
        }
    };
    let question = ExplainQuestion { from, to, protocol, port };
    told(client::explain(&run_dir, &question).await, args.json, text)
}

/// Tells the answer, or why there is none.
fn told<T: serde::Serialize>(
    outcome: Result<T, ControlError>,
    json: bool,
    text: impl FnOnce(&T) -> String,
) -> anyhow::Result<Exit> {
    match outcome {
        Ok(explained) if json => println!("{}", serde_json::to_string(&explained)?),
        Ok(explained) => print!("{}", text(&explained)),
        Err(ControlError::Refused(why)) => return Ok(declined(&why)),
        Err(error) => return Err(error.into()),
    }
    Ok(Exit::Ok)
}

/// The answer for people.
pub(super) fn text(explained: &Explained) -> String {
    let Explained { guest, network, policy, explanation, is_held, limits, .. } = explained;
    let reason = explanation.reason.as_deref().map(|reason| format!(" ({reason})"));
    let mut text = format!(
        "{}{}: {}\n{guest} on {network}, policy {}\n",
        explanation.verdict,
        reason.unwrap_or_default(),
        explanation.because,
        policy.as_deref().unwrap_or("none"),
    );
    if !limits.is_empty() {
        let limits = limits.to_string();
        text += &["limits: ", &limits, "\n"].concat();
    }
    if !is_held {
        text += "the kernel does not hold this policy yet\n";
    }
    text + &rules(&explanation.rules)
}

fn name_text(name: &DomainName, explained: &ExplainedName) -> String {
    let ExplainedName { guest, network, policy, explanation, .. } = explained;
    let resolved = if explanation.resolved { "is resolved" } else { "is not resolved" };
    let mut text = format!(
        "{}: {}\n{guest} on {network}, policy {}\n{name} {resolved} for it ({}): {}\n",
        explanation.verdict,
        explanation.so,
        policy.as_deref().unwrap_or("none"),
        explanation.outcome,
        explanation.because,
    );
    let opens = explanation.opens.iter().map(|Opening { number, name, ports }| {
        format!(
            "rule {number} ({name}) opens its addresses at {ports}, but those that a rule denies\n"
        )
    });
    text.extend(opens);
    text + &rules(&explanation.rules)
}

fn rules(rules: &[Judged]) -> String {
    let rows = rules.iter().map(|rule| {
        let applies = if rule.applies { "yes" } else { "no" };
        [&rule.number.to_string(), &rule.action, applies, &rule.why, &rule.name].map(str::to_owned)
    });
    table("Rules", ["number", "action", "applies", "why", "rule"], rows)
}

/// Where somebody may want to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) at: At,
    /// 0 for a protocol without ports.
    pub(super) port: u16,
    /// IP protocol number.
    pub(super) protocol: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// An address.
    Address(IpAddr),
    /// A DNS name.
    Name(DomainName),
}

/// Reads `192.0.2.1:443`, `[2001:db8::1]:53/udp` or `192.0.2.1/icmp`, also with a name in the place of the address.
pub(super) fn parse_destination(text: &str) -> Result<Destination, String> {
    let (place, protocol) = match text.rsplit_once('/') {
        Some((place, protocol)) => (place, Some(protocol)),
        None => (text, None),
    };
    let wrong = || {
        format!(
            "\"{text}\" is none: write 192.0.2.1:443, [2001:db8::1]:53/udp, 192.0.2.1/icmp or pypi.org:443"
        )
    };
    // What looks like an address is none of a name.
    let named = |text: &str| {
        let name: DomainName = text.parse().ok()?;
        let is_numeric = name.labels().next_back()?.bytes().all(|byte| byte.is_ascii_digit());
        (!is_numeric).then_some(name)
    };
    if protocol == Some("icmp") {
        let address = place.trim_matches(['[', ']']).parse::<IpAddr>();
        let protocol = if matches!(address, Ok(IpAddr::V6(_))) { ICMPV6 } else { ICMP };
        let at = address.map(At::Address).ok().or_else(|| named(place).map(At::Name));
        return Ok(Destination { at: at.ok_or_else(wrong)?, port: 0, protocol });
    }
    let protocol = match protocol {
        None | Some("tcp") => TCP,
        Some("udp") => UDP,
        Some(_) => return Err(wrong()),
    };
    if let Ok(to) = place.parse::<SocketAddr>() {
        return Ok(Destination { at: At::Address(to.ip()), port: to.port(), protocol });
    }
    let (name, port) = place.rsplit_once(':').ok_or_else(wrong)?;
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|_| digits).ok_or_else(wrong)?;
    Ok(Destination { at: At::Name(named(name).ok_or_else(wrong)?), port, protocol })
}

/// Writes what [`parse_destination`] reads.
pub(super) fn destination(to: IpAddr, protocol: u8, port: u16) -> String {
    let end = SocketAddr::from((to, port));
    match protocol {
        TCP => end.to_string(),
        UDP => format!("{end}/udp"),
        ICMP | ICMPV6 => format!("{to}/icmp"),
        other => format!("{to} protocol {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_read_as_people_write_them() {
        let four: IpAddr = [192, 0, 2, 1].into();
        let six: IpAddr = "2001:db8::1".parse().expect("an address");
        for (text, expected) in [
            ("192.0.2.1:443", Some((four, 443, TCP))),
            ("192.0.2.1:53/udp", Some((four, 53, UDP))),
            ("[2001:db8::1]:443/tcp", Some((six, 443, TCP))),
            ("192.0.2.1/icmp", Some((four, 0, ICMP))),
            ("2001:db8::1/icmp", Some((six, 0, ICMPV6))),
            ("192.0.2.1", None),
            ("192.0.2.1:443/sctp", None),
            ("", None),
        ] {
            let expected = expected.map(|(to, port, protocol)| {
                (Destination { at: At::Address(to), port, protocol }, to)
            });
            let read = parse_destination(text).ok();
            assert_eq!(read.as_ref(), expected.as_ref().map(|(read, _)| read), "{text}");
            if let Some((Destination { port, protocol, .. }, to)) = expected {
                assert_eq!(parse_destination(&destination(to, protocol, port)).ok(), read);
            }
        }
        for (text, expected) in [
            ("pypi.org:443", Some(("pypi.org", 443, TCP))),
            ("PyPI.org.:53/udp", Some(("pypi.org", 53, UDP))),
            ("pypi.org/icmp", Some(("pypi.org", 0, ICMP))),
            ("pypi.org", None),
            ("pypi.org:", None),
            ("pypi.org:+443", None),
            ("pypi.org:65536", None),
            ("192.0.2.256:443", None),
            ("*.pypi.org:443", None),
            (":443", None),
        ] {
            let name = |name: &str| At::Name(name.parse().expect("a name"));
            let expected =
                expected.map(|(at, port, protocol)| Destination { at: name(at), port, protocol });
            assert_eq!(parse_destination(text).ok(), expected, "{text}");
        }
    }
}
