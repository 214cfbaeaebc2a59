//! Keys and signatures. Pure but for the kernel's random source. A signature is the last field of
//! the JSON object that it covers, and covers its bytes: nothing has to be serialised alike twice.

use std::{fmt, io};

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::hex;

/// Goes before what is signed, so that a signature is good for nothing else.
const DOMAIN: &[u8] = b"enforcer audit store v1\n";
const FIELD: &[u8] = br#","signature":""#;
const CLOSE: &[u8] = br#""}"#;

/// A key that checks the end of a segment; written as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = hex::decode(text.as_bytes())?;
        VerifyingKey::from_bytes(&bytes).ok().map(Self)
    }

    /// Whether this key's secret signed `object`, whose last field is the signature.
    pub(super) fn signed(self, object: &[u8]) -> bool {
        let Some((open, signature)) = split(object) else { return false };
        let message = [DOMAIN, open, b"}"].concat();
        self.0.verify_strict(&message, &signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0.as_bytes()))
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for PublicKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("no public key of 64 hexadecimal digits")
    }
}

/// A key that signs the end of one segment; wiped from memory when dropped.
pub(super) struct Secret(SigningKey);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Secret of {}", self.public())
    }
}

impl Secret {
    /// A new one, from the kernel's random source.
    pub(super) fn generate() -> io::Result<Self> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice()).map_err(io::Error::other)?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// What checks its signatures.
    pub(super) fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// `object`, a JSON object with at least one field, with its signature.
    pub(super) fn sign(&self, object: &[u8]) -> Vec<u8> {
        let open = object.strip_suffix(b"}").unwrap_or(object);
        let signature = self.0.sign(&[DOMAIN, open, b"}"].concat());
        [open, FIELD, hex::encode(&signature.to_bytes()).as_bytes(), CLOSE].concat()
    }

    /// As it is kept in its file.
    pub(super) fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(self.0.as_bytes()) + "\n")
    }

    /// From its file.
    pub(super) fn from_text(text: &[u8]) -> Option<Self> {
        let seed = Zeroizing::new(hex::decode::<32>(text.strip_suffix(b"\n")?)?);
        Some(Self(SigningKey::from_bytes(&seed)))
    }
}

/// What stands before the field, and the signature in it.
fn split(object: &[u8]) -> Option<(&[u8], Signature)> {
    let rest = object.strip_suffix(CLOSE)?;
    let (rest, digits) = rest.split_at_checked(rest.len().checked_sub(128)?)?;
    Some((rest.strip_suffix(FIELD)?, Signature::from_bytes(&hex::decode(digits)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a3_a_signature_covers_every_byte_and_belongs_to_one_key() {
        let secret = Secret::generate().expect("random");
        let object = secret.sign(br#"{"kind":"head","seq":7}"#);
        assert!(secret.public().signed(&object));
        assert!(serde_json::from_slice::<serde_json::Value>(&object).is_ok());
        for place in 0..object.len() {
            let mut changed = object.clone();
            changed[place] ^= 1;
            assert!(!secret.public().signed(&changed), "byte {place}");
        }
        assert!(!Secret::generate().expect("random").public().signed(&object));
    }

    #[test]
    fn keys_are_read_as_they_are_written_and_never_shown() {
        let secret = Secret::generate().expect("random");
        let public = secret.public();
        assert_eq!(PublicKey::parse(&public.to_string()), Some(public));
        assert_eq!(PublicKey::parse("00"), None);
        let text = secret.to_text();
        let read = Secret::from_text(text.as_bytes()).expect("reads");
        assert_eq!(read.public(), public);
        assert!(!format!("{read:?}").contains(text.trim_end()));
        assert!(Secret::from_text(b"00\n").is_none());
    }
}
