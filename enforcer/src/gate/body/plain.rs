//! Texts that are what they look like.

use super::{super::verdict::Refusal, object::At};

/// Most items of a list that a client makes up.
pub(super) const MAX_ITEMS: usize = 256;

/// Whether it is a host's name, or a label of one.
pub(super) fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(is_plain)
            && !label.starts_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// A host's name, or nothing.
pub(super) fn host<'a>(at: &At<'a>) -> Result<&'a str, Refusal> {
    let text = at.text()?;
    if text.is_empty() || is_host(text) { Ok(text) } else { Err(at.refuse("this is no host name")) }
}

/// One line of at most `most` bytes.
pub(super) fn line<'a>(at: &At<'a>, most: usize) -> Result<&'a str, Refusal> {
    let text = at.text()?;
    if text.len() > most || text.chars().any(char::is_control) {
        return Err(at.refuse(format_args!("this is not one line of at most {most} bytes")));
    }
    Ok(text)
}

/// Texts of a list, each without U+0000.
pub(super) fn texts<'a>(items: &[At<'a>]) -> Result<Vec<&'a str>, Refusal> {
    if let Some(beyond) = items.get(MAX_ITEMS * 16) {
        return Err(beyond.refuse(format_args!("at most {} items", MAX_ITEMS * 16)));
    }
    items.iter().map(At::text).collect()
}

/// A command: a list of texts, or one text, which is a list of one.
pub(super) fn command<'a>(at: &At<'a>) -> Result<Vec<&'a str>, Refusal> {
    match at.text() {
        Ok(text) => Ok(vec![text]),
        Err(_) => texts(&at.list()?),
    }
}

/// Height and width of a terminal.
pub(super) fn console(at: &At<'_>) -> Result<[i64; 2], Refusal> {
    match at.list()?.as_slice() {
        [height, width] => Ok([height.within(0, 65_535)?, width.within(0, 65_535)?]),
        _ => Err(at.refuse("the size of a terminal is two numbers")),
    }
}

/// A size as the engine writes it, bytes: digits, then nothing or one of `b`, `k`, `m`, `g`, in either case.
pub(super) fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = text.strip_prefix(digits)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        _ => return None,
    };
    // `parse` would take a sign.
    let is_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse::<u64>().ok().filter(|_| is_digits)?.checked_mul(factor)
}
