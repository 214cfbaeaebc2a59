//! `enforcer explain`: why a guest may, or may not, begin a conversation.

use std::net::{IpAddr, SocketAddr};

use enforcer_common::packet::{ICMP, ICMPV6, TCP, UDP};

use super::{Exit, ExplainArgs, table::table};
use crate::{
    control_socket::{self, ControlError},
    model::status::{ExplainQuestion, Explained},
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
    let (to, port, protocol) = args.to;
    let question = ExplainQuestion { from: args.from.clone(), to, protocol, port };
    match control_socket::explain(&run_dir, question).await {
        Ok(explained) if args.json => println!("{}", serde_json::to_string(&explained)?),
        Ok(explained) => print!("{}", text(&explained)),
        Err(ControlError::Refused(why)) => {
            eprintln!("{why}");
            return Ok(Exit::Usage);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Exit::Ok)
}

fn text(explained: &Explained) -> String {
    let Explained { guest, network, policy, explanation, is_held, .. } = explained;
    let reason = explanation.reason.as_deref().map(|reason| format!(" ({reason})"));
    let mut text = format!(
        "{}{}: {}\n{guest} on {network}, policy {}\n",
        explanation.verdict,
        reason.unwrap_or_default(),
        explanation.because,
        policy.as_deref().unwrap_or("none"),
    );
    if !is_held {
        text += "the kernel does not hold this policy yet\n";
    }
    let rows = explanation.rules.iter().map(|rule| {
        let applies = if rule.applies { "yes" } else { "no" };
        [&rule.number.to_string(), &rule.action, applies, &rule.why, &rule.name].map(str::to_owned)
    });
    text + &table("Rules", ["number", "action", "applies", "why", "rule"], rows)
}

/// Reads `192.0.2.1:443`, `[2001:db8::1]:53/udp` or `192.0.2.1/icmp`.
pub(super) fn parse_destination(text: &str) -> Result<(IpAddr, u16, u8), String> {
    let (place, protocol) = match text.rsplit_once('/') {
        Some((place, protocol)) => (place, Some(protocol)),
        None => (text, None),
    };
    let wrong = || {
        format!("\"{text}\" is none: write 192.0.2.1:443, [2001:db8::1]:53/udp or 192.0.2.1/icmp")
    };
    if protocol == Some("icmp") {
        let to: IpAddr = place.trim_matches(['[', ']']).parse().map_err(|_not_one| wrong())?;
        return Ok((to, 0, if to.is_ipv4() { ICMP } else { ICMPV6 }));
    }
    let to: SocketAddr = place.parse().map_err(|_not_one| wrong())?;
    let protocol = match protocol {
        None | Some("tcp") => TCP,
        Some("udp") => UDP,
        Some(_) => return Err(wrong()),
    };
    Ok((to.ip(), to.port(), protocol))
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
            ("example.org:443", None),
            ("", None),
        ] {
            assert_eq!(parse_destination(text).ok(), expected, "{text}");
        }
    }
}
