//! JSON as the gate reads it: bytes of a stranger in, one value out that nobody reads otherwise. Between the gate and
//! the engine stands another reader, Go's, that takes the last of two equal keys, matches keys whatever their case,
//! and mends text that is no Unicode. What it would read so is refused here (S07).

mod read;
#[cfg(test)]
mod tests;

use hyper::StatusCode;
use serde_json::Value;

use super::verdict::Refusal;

/// Deepest nesting that is ever read, whatever is asked for: the reader calls itself once for each level.
pub const MAX_DEPTH: u8 = 64;

/// What is read at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Length of the text, bytes.
    pub bytes: usize,
    /// Lists and objects within one another. More than `MAX_DEPTH` is `MAX_DEPTH`.
    pub depth: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 1 << 20, depth: 32 }
    }
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// Text; may hold any character, U+0000 too.
    Text(String),
    /// A list.
    List(Vec<Json>),
    /// An object, its keys as they came; no two are equal, in Go's sense of it.
    Map(Vec<(String, Json)>),
}

/// A number, as exact as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Number {
    /// Written as a whole number, and one.
    Whole(i64),
    /// With a fraction or an exponent, or `-0`, as it was written. No field of the engine takes one.
    Decimal(String),
}

/// Reads one value and nothing else.
pub fn read(bytes: &[u8], limits: Limits) -> Result<Json, Refusal> {
    if bytes.len() > limits.bytes {
        let most = limits.bytes;
        return Err(Refusal {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            rule: "json.long",
            message: format!("the body has {} bytes; at most {most} are read", bytes.len()),
        });
    }
    read::read(bytes, limits.depth.min(MAX_DEPTH)).map_err(|(fault, at)| Refusal {
        status: StatusCode::BAD_REQUEST,
        rule: fault.rule(),
        message: format!("the body is no JSON that the gate reads: at byte {at}: {fault}"),
    })
}

/// Why a text is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("it is not UTF-8")]
    Utf8,
    #[error("it begins with a byte order mark; leave it out")]
    Mark,
    #[error("it ends in the middle")]
    Short,
    #[error("there is something after the value")]
    Trailing,
    #[error("a value, a key, ',' or the end of a list or object was expected")]
    Syntax,
    #[error("it is nested too deeply")]
    Depth,
    #[error("the key {0:?} is there twice; keys that differ only in case count as one")]
    Duplicate(String),
    #[error("half a surrogate pair stands alone")]
    Surrogate,
    #[error("a text has a control character or an escape that is none")]
    Text,
    #[error("this is no number, or one beyond 64 bits")]
    Number,
}

impl Fault {
    const fn rule(&self) -> &'static str {
        match self {
            Self::Utf8 => "json.utf8",
            Self::Mark => "json.bom",
            Self::Short => "json.short",
            Self::Trailing => "json.trailing",
            Self::Syntax => "json.syntax",
            Self::Depth => "json.depth",
            Self::Duplicate(_) => "json.duplicate",
            Self::Surrogate => "json.surrogate",
            Self::Text => "json.text",
            Self::Number => "json.number",
        }
    }
}

impl Json {
    /// The same value for what writes it. A decimal becomes the double that is nearest.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(flag) => Value::Bool(*flag),
            Self::Number(Number::Whole(number)) => Value::from(*number),
            Self::Number(Number::Decimal(text)) => serde_json::from_str(text).unwrap_or_default(),
            Self::Text(text) => Value::String(text.clone()),
            Self::List(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Self::Map(entries) => Value::Object(
                entries.iter().map(|(key, value)| (key.clone(), value.to_value())).collect(),
            ),
        }
    }
}

/// A key as Go's `encoding/json` compares it with the name of a field: ASCII letters without case, and the two
/// others that Unicode folds to ASCII ones.
#[must_use]
pub fn fold(key: &str) -> String {
    key.chars()
        .map(|letter| match letter {
            'ſ' => 's',
            '\u{212a}' => 'k',
            letter => letter.to_ascii_lowercase(),
        })
        .collect()
}
