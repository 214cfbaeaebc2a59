//! Denials among lines of the stream, for whoever is told of some containers alone. Pure.

use serde_json::Value;

use super::stream::Line;

/// Kinds of records that tell of a denial whatever they say.
const KINDS: [&str; 5] = ["denied", "connect_refused", "socket_refused", "outside", "abuse"];

/// The newest denials to these containers, by their full ids, at most so many, the oldest first.
pub fn of<'a>(
    lines: impl DoubleEndedIterator<Item = &'a Line>,
    containers: &[&str],
    most: usize,
) -> Vec<Value> {
    let mentions = |line: &&Line| containers.iter().any(|id| line.text.contains(id));
    let read = |line: &Line| serde_json::from_str::<Value>(&line.text).ok();
    let found = lines.rev().filter(mentions).filter_map(read);
    let mut found: Vec<Value> = found.filter(|it| is_one(it, containers)).take(most).collect();
    found.reverse();
    found
}

/// An id may be in what another guest wrote.
fn is_one(record: &Value, containers: &[&str]) -> bool {
    let text = |name: &str| record[name].as_str().unwrap_or_default();
    let kind = text("event.action");
    let is_denial = KINDS.contains(&kind)
        || (kind == "dns_query" && text("enforcer.outcome").starts_with("refused_"));
    is_denial && containers.contains(&text("container.id"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::queue::Account;

    #[test]
    fn a2_denials_to_other_containers_are_not_told() {
        let line = |seq: u64, text: &str| Line {
            seq,
            time: String::new(),
            mono_ns: 0,
            account: Account::Nothing,
            text: text.to_owned(),
        };
        let lines = [
            line(1, r#"{"event.action":"denied","container.id":"aa11","event.sequence":1}"#),
            line(2, r#"{"event.action":"flow_opened","container.id":"aa11","event.sequence":2}"#),
            line(3, r#"{"event.action":"denied","container.id":"bb22","enforcer.why":"aa11"}"#),
            line(
                4,
                r#"{"event.action":"connect_refused","container.id":"aa11","event.sequence":4}"#,
            ),
            line(
                5,
                r#"{"event.action":"dns_query","container.id":"aa11","enforcer.outcome":"answered"}"#,
            ),
            line(
                6,
                r#"{"event.action":"dns_query","container.id":"aa11","enforcer.outcome":"refused_name","event.sequence":6}"#,
            ),
            line(7, "aa11 is no record"),
        ];
        let found = |most| {
            let found = of(lines.iter(), &["aa11"], most);
            found.iter().filter_map(|it| it["event.sequence"].as_u64()).collect::<Vec<_>>()
        };
        assert_eq!(found(9), [1, 4, 6]);
        assert_eq!(found(2), [4, 6], "the newest");
        assert_eq!(of(lines.iter(), &[], 9), [] as [Value; 0]);
    }
}
