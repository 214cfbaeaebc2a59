//! The published document of the control API: answers of real daemons are held against it.

use anyhow::{Context as _, Result, anyhow};
use boon::{Compiler, Schemas};
use serde_json::{Value, json};

const TEXT: &str = include_str!("../../../docs/openapi.json");

/// Fails if an answer with status 200 to a GET of `path` is not what the document says.
pub fn check(path: &str, answer: &Value) -> Result<()> {
    let mut document: Value = serde_json::from_str(TEXT)?;
    document["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    let told = |error: boon::CompileError| anyhow!("{error:#}");
    compiler.add_resource("openapi.json", document).map_err(told)?;
    let kind = "application/json";
    let part = ["paths", path, "get", "responses", "200", "content", kind, "schema"];
    let part = part.map(|one| one.replace('~', "~0").replace('/', "~1")).join("/");
    let index = compiler.compile(&format!("openapi.json#/{part}"), &mut schemas).map_err(told)?;
    let outcome = schemas.validate(answer, index).map_err(|error| anyhow!("{error:#}"));
    outcome.with_context(|| format!("{path}: {answer}"))
}
