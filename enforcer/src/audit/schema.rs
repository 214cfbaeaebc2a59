//! The published JSON Schema of the records, `docs/schema/record-v1.schema.json`: made of the types of
//! [`super::record`], the words of their closed sets and their comments. Tests only: the daemon has
//! nothing of it.

mod tests;
pub(super) mod words;

use schemars::{Schema, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::{Value, json};

use super::record::Record;

/// A MAC address as in [`super::enrich::mac`].
pub(super) const MAC: &str = "^[0-9a-f]{2}(:[0-9a-f]{2}){5}$";

/// A SHA-256 in hexadecimal digits.
pub(super) const SHA256: &str = "^[0-9a-f]{64}$";

const TITLE: &str = "A record of enforcer, version 1";

const DESCRIPTION: &str = "One line of enforcer's audit stream. Keys are flat: a dot is part of a key. Names outside \
     `enforcer.` are those of the Elastic Common Schema and mean what it says; ADR 8 lists the \
     exceptions. Within version 1 nothing is renamed, removed or given another type, but fields, values of \
     `event.action` and words of the other closed sets are added: a consumer must pass over fields that it does \
     not know, and take a word that it does not know for an unknown one. In the files each line ends with \
     one field more, `chain`, and lines with a `kind` are no records but the files' own.";

/// The schema as the types have it.
fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .for_serialize()
        .with_transform(RecursiveTransform(tidy as fn(&mut Schema)));
    let mut schema = settings.into_generator().into_root_schema_for::<Record>();
    schema.insert("$id".to_owned(), json!("urn:enforcer:record:v1"));
    schema.insert("title".to_owned(), json!(TITLE));
    schema.insert("description".to_owned(), json!(DESCRIPTION));
    schema.to_value()
}

/// Says what is written, in words that are JSON Schema's: what is missing is left out and never null,
/// and Rust's names of integers are no formats.
fn tidy(schema: &mut Schema) {
    let Some(fields) = schema.as_object_mut() else { return };
    if let Some(Value::Array(types)) = fields.get_mut("type") {
        types.retain(|one| one != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            fields.insert("type".to_owned(), one);
        }
    }
    let is_rust_s = |format: &Value| format.as_str().is_some_and(|text| text.starts_with("uint"));
    if fields.get("format").is_some_and(is_rust_s) {
        fields.remove("format");
    }
    fields.remove("default");
    if let Some(Value::String(text)) = fields.get_mut("description") {
        *text = text.replace('\n', " ");
    }
}
