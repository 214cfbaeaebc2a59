//! Bytes as hexadecimal text, for the actor's protocol.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};

/// Lower-case hexadecimal digits of `bytes`.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The bytes that `text` stands for.
pub fn decode(text: &str) -> Result<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        bail!("an odd number of hexadecimal digits");
    }
    text.as_bytes()
        .chunks(2)
        .map(|pair| {
            let digits = std::str::from_utf8(pair).context("not ASCII")?;
            u8::from_str_radix(digits, 16).with_context(|| format!("not hexadecimal: {digits}"))
        })
        .collect()
}
