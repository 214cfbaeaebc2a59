//! SHA-256 of a text as hexadecimal digits: what two readers compare.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// The digest.
#[must_use]
pub fn of_text(text: &str) -> String {
    Sha256::digest(text).iter().fold(String::new(), |mut digits, byte| {
        // Writing to a string cannot fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_has_the_digest_that_everybody_knows() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(super::of_text(""), empty);
    }
}
