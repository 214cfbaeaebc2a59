//! A body for the record: values of variables are nobody's business.

use serde_json::{Value, json};

/// The same value with secrets masked, and with what was changed.
pub(super) fn mask(body: &Value, changed: &[String]) -> Value {
    let mut shown = body.clone();
    if let Some(Value::Array(variables)) = shown.get_mut("Env") {
        for variable in variables {
            let name = variable.as_str().and_then(|text| text.split_once('='));
            if let Some((name, _)) = name {
                *variable = Value::String(format!("{name}=***"));
            }
        }
    }
    if let (Value::Object(fields), false) = (&mut shown, changed.is_empty()) {
        fields.insert("enforcer.changed".to_owned(), json!(changed));
    }
    shown
}
