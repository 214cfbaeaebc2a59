//! The filters of a list: a JSON object in the query. Written anew for the engine, with keys that the list knows.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::gate::{
    json::{self, Json, Limits},
    verdict::Refusal,
};

/// Most values of one key.
const MAX_VALUES: usize = 64;
/// Longest value, bytes.
const MAX_VALUE: usize = 512;

/// A key that a list knows.
pub type Known = &'static str;

/// Keys and their values; every value of one key is another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters(pub BTreeMap<String, Vec<String>>);

impl Filters {
    /// Reads an object of lists, or, as old clients write it, an object of objects whose values are all `true`.
    pub fn read(text: &str, known: &[Known]) -> Result<Self, Refusal> {
        let limits = Limits { bytes: super::MAX_TARGET, depth: 3 };
        let Json::Map(entries) = json::read(text.as_bytes(), limits)? else {
            return Err(refused("they are no object"));
        };
        let mut filters = BTreeMap::new();
        for (key, value) in entries {
            if !known.contains(&key.as_str()) {
                let message =
                    format!("the filter {key:?} is not known for this list; leave it out");
                return Err(Refusal::forbidden("filters.unknown", message));
            }
            filters.insert(key, values(value)?);
        }
        Ok(Self(filters))
    }

    /// The values of one key; they are no longer in the filters.
    pub fn take(&mut self, key: &str) -> Option<Vec<String>> {
        self.0.remove(key).filter(|values| !values.is_empty())
    }

    /// With these values and no others for a key.
    pub fn set(&mut self, key: &str, values: Vec<String>) {
        self.0.insert(key.to_owned(), values);
    }

    /// The text for the engine; `None`: there are no filters.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let entries = self.0.iter().filter(|(_, values)| !values.is_empty());
        let map: Map<String, Value> =
            entries.map(|(key, values)| (key.clone(), Value::from(values.clone()))).collect();
        (!map.is_empty()).then(|| Value::Object(map).to_string())
    }
}

fn values(value: Json) -> Result<Vec<String>, Refusal> {
    let found: Vec<String> = match value {
        Json::List(items) => items.into_iter().map(text).collect::<Result<_, _>>()?,
        Json::Map(entries) if entries.iter().all(|(_, value)| *value == Json::Bool(true)) => {
            entries.into_iter().map(|(key, _)| key).collect()
        }
        _ => return Err(refused("a value is neither a list of texts nor an object of true")),
    };
    let is_plain = |text: &String| text.len() <= MAX_VALUE && !text.chars().any(char::is_control);
    if found.len() > MAX_VALUES || !found.iter().all(is_plain) {
        return Err(refused(
            "there are too many values, or one is too long or has a control character",
        ));
    }
    let mut values = Vec::with_capacity(found.len());
    for text in found {
        if !values.contains(&text) {
            values.push(text);
        }
    }
    Ok(values)
}

fn text(item: Json) -> Result<String, Refusal> {
    match item {
        Json::Text(text) => Ok(text),
        // Python's library leaves an exit code a number.
        Json::Number(json::Number::Whole(number)) => Ok(number.to_string()),
        _ => Err(refused("a value is no text")),
    }
}

fn refused(why: &str) -> Refusal {
    Refusal::unclear("filters.form", format!("the filters can not be read: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s07_both_forms_of_filters_are_read_and_written_as_one() {
        for text in [r#"{"name":["a","b","a"],"label":[]}"#, r#"{"name":{"a":true,"b":true}}"#] {
            let filters = Filters::read(text, &["name", "label"]).expect(text);
            assert_eq!(filters.text().as_deref(), Some(r#"{"name":["a","b"]}"#));
        }
        assert_eq!(Filters::read("{}", &[]).expect("empty").text(), None);
    }

    #[test]
    fn s07_filters_with_a_second_reading_are_refused() {
        for text in [
            "",
            "null",
            "[]",
            "1",
            "\"name\"",
            "{",
            "{}{}",
            "{} x",
            r#"{"name":null}"#,
            r#"{"name":"a"}"#,
            r#"{"name":[null]}"#,
            r#"{"name":[["a"]]}"#,
            r#"{"name":{"a":false}}"#,
            r#"{"name":{"a":1}}"#,
            r#"{"name":["a"],"name":["b"]}"#,
            r#"{"name":["a"],"n\u0061me":["b"]}"#,
            r#"{"name":["a"],"NAME":["b"]}"#,
            r#"{"Name":["a"]}"#,
            r#"{"id":["a"]}"#,
            r#"{"name":["a\u0000"]}"#,
            r#"{"name":["\ud800"]}"#,
            "{\"name\":[\"a\"],}",
            "\u{feff}{}",
            r#"{"name":[1.5]}"#,
        ] {
            assert!(Filters::read(text, &["name"]).is_err(), "{text:?}");
        }
    }
}
