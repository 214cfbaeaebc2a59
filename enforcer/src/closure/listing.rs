//! What nft lists, without what changes by itself. Pure.

use serde_json::Value;

use crate::model::closure::Drops;

/// Takes a listing apart into what was written, and what was dropped since.
pub(super) fn read(text: &str) -> Result<(Value, Drops), serde_json::Error> {
    let mut listing: Value = serde_json::from_str(text)?;
    let mut drops = Drops::new();
    if let Some(objects) = listing.get_mut("nftables").and_then(Value::as_array_mut) {
        objects.retain(|object| object.get("metainfo").is_none());
        for rule in objects.iter_mut().filter_map(|object| object.get_mut("rule")) {
            let chain = rule.get("chain").and_then(Value::as_str).unwrap_or_default().to_owned();
            *drops.entry(chain).or_default() += take_counts(rule);
        }
    }
    forget_handles(&mut listing);
    Ok((listing, drops))
}

/// How many rules a listing has.
pub(super) fn rules(listing: &Value) -> usize {
    let objects = listing.get("nftables").and_then(Value::as_array).into_iter().flatten();
    objects.filter(|object| object.get("rule").is_some()).count()
}

/// Zeroes a rule's counters; the packets that they had counted.
fn take_counts(rule: &mut Value) -> u64 {
    let statements = rule.get_mut("expr").and_then(Value::as_array_mut).into_iter().flatten();
    let counters = statements.filter_map(|statement| statement.get_mut("counter"));
    counters
        .map(|counter| {
            let packets = counter.get("packets").and_then(Value::as_u64).unwrap_or_default();
            *counter = Value::Null;
            packets
        })
        .sum()
}

/// Handles are numbered on at each writing.
fn forget_handles(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(forget_handles),
        Value::Object(fields) => {
            fields.remove("handle");
            fields.values_mut().for_each(forget_handles);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(handle: u32, packets: u32, right: u32) -> String {
        format!(
            r#"{{"nftables": [
              {{"metainfo": {{"version": "1.0.{handle}"}}}},
              {{"table": {{"family": "bridge", "name": "enforcer", "handle": {handle}}}}},
              {{"rule": {{"table": "enforcer", "chain": "input", "handle": {handle}, "expr": [
                {{"match": {{"op": "!=", "left": {{"meta": {{"key": "mark"}}}}, "right": {right}}}}},
                {{"counter": {{"packets": {packets}, "bytes": 99}}}}, {{"drop": null}}]}}}}]}}"#
        )
    }

    #[test]
    fn counts_and_handles_are_no_change_but_a_rule_is() {
        let (first, drops) = read(&listing(1, 7, 5)).expect("JSON");
        assert_eq!(drops, Drops::from([("input".to_owned(), 7)]));
        assert_eq!(read(&listing(2, 8, 5)).expect("JSON").0, first);
        assert_ne!(read(&listing(1, 7, 6)).expect("JSON").0, first);
        assert_eq!(rules(&first), 1);
        assert!(read("").is_err());
    }
}
