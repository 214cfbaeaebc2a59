//! The published schema of the records: every line of every daemon under test is held against it.

use std::sync::LazyLock;

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::Value;

const TEXT: &str = include_str!("../../../docs/schema/record-v1.schema.json");

/// Compiled once for all tests of a process.
static SCHEMA: LazyLock<Result<Schema, String>> = LazyLock::new(|| Schema::new(TEXT));

struct Schema(Schemas, SchemaIndex);

impl Schema {
    fn new(text: &str) -> Result<Self, String> {
        let resource = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.enable_format_assertions();
        compiler.add_resource("record.json", resource).map_err(|error| error.to_string())?;
        let index = compiler.compile("record.json", &mut schemas);
        Ok(Self(schemas, index.map_err(|error| error.to_string())?))
    }
}

/// Why a line of a daemon is not what the schema says, if it is not. A line that is no JSON is here a
/// string.
pub fn check(record: &Value) -> Result<(), String> {
    let Schema(schemas, index) = SCHEMA.as_ref().map_err(Clone::clone)?;
    schemas.validate(record, *index).map_err(|error| format!("{record}\n{error:#}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_that_is_no_record_is_told_with_its_reason() {
        let good = json!({
            "enforcer.v": 1, "ecs.version": "8.17.0", "event.sequence": 3,
            "@timestamp": "2026-11-22T12:00:00.000000Z", "enforcer.monotonic_ns": 9,
            "event.action": "gap", "enforcer.from_seq": 1, "enforcer.to_seq": 3, "enforcer.count": 3,
        });
        assert_eq!(check(&good), Ok(()));
        let mut bad = good;
        bad["enforcer.count"] = json!("three");
        let told = check(&bad).expect_err("a word for a number");
        assert!(told.contains("three") && told.contains("enforcer.count"), "{told}");
        assert!(check(&json!("half a li")).is_err());
    }
}
