//! Headers of a client that go on to the engine: the login for a pull, and no other (S23).

use serde_json::{Map, Value};

use super::Call;
use crate::gate::{
    json::{self, Json, Limits},
    verdict::Refusal,
};

/// Name of the header that a login goes on in.
pub const REGISTRY_AUTH: &str = "x-registry-auth";
/// Longest login, bytes of the header.
const MAX_AUTH: usize = 8 << 10;
const FIELDS: [&str; 7] =
    ["auth", "email", "identitytoken", "password", "registrytoken", "serveraddress", "username"];

impl Call {
    /// What goes on of a header, whose name is in lower case: `Ok(None)`: nothing. What the proxy makes
    /// itself (`Content-Type`, `Connection`, `Upgrade`) is not asked here.
    pub fn header(&self, name: &str, value: &[u8]) -> Result<Option<String>, Refusal> {
        let is_pull = matches!(self, Self::ImagePull { .. });
        match name {
            REGISTRY_AUTH if is_pull && value.is_empty() => Ok(None),
            REGISTRY_AUTH if is_pull => registry_auth(value).map(Some),
            // docker sends a login with a create as well, where the engine does not read it.
            _ => Ok(None),
        }
    }
}

/// A login, read and written anew: an object of texts in the alphabet of RFC 4648, 5.
fn registry_auth(value: &[u8]) -> Result<String, Refusal> {
    let refuse = |why: &str| {
        Refusal::unclear("header.registry-auth", format!("X-Registry-Auth can not be read: {why}"))
    };
    if value.len() > MAX_AUTH {
        return Err(refuse("it is too long"));
    }
    let text = base64::decode(value).ok_or_else(|| refuse("it is no base64url with padding"))?;
    let Json::Map(entries) = json::read(&text, Limits { bytes: MAX_AUTH, depth: 2 })? else {
        return Err(refuse("it is no JSON object"));
    };
    let mut login = Map::new();
    for (key, value) in entries {
        match value {
            Json::Text(text) if FIELDS.contains(&key.as_str()) => {
                login.insert(key, Value::String(text));
            }
            Json::Null if FIELDS.contains(&key.as_str()) => {}
            _ => return Err(refuse("a field is not known, or is no text")),
        }
    }
    Ok(base64::encode(Value::Object(login).to_string().as_bytes()))
}

/// Base64 in the alphabet for URLs, strict: one text for each run of bytes.
mod base64 {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    pub(super) fn encode(bytes: &[u8]) -> String {
        let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
        for group in bytes.chunks(3) {
            let mut bits = [0; 4];
            for (to, from) in bits.iter_mut().skip(1).zip(group) {
                *to = *from;
            }
            let bits = u32::from_be_bytes(bits);
            for place in 0..4 {
                let index = usize::try_from(bits >> (18 - 6 * place) & 63).unwrap_or(0);
                let letter = if place <= group.len() { LETTERS.get(index) } else { None };
                text.push(letter.map_or('=', |&letter| char::from(letter)));
            }
        }
        text
    }

    /// `None`: it is not what [`encode`] writes for anything.
    pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
        for group in text.chunks(4) {
            let mut bits = 0;
            for (index, letter) in group.iter().enumerate() {
                let value = LETTERS.iter().position(|known| known == letter);
                let value = value.or_else(|| (*letter == b'=' && index >= 2).then_some(0))?;
                bits |= u32::try_from(value).ok()? << (18 - 6 * index);
            }
            let letters = group.iter().position(|&letter| letter == b'=').unwrap_or(group.len());
            bytes.extend(bits.to_be_bytes().into_iter().skip(1).take(letters.saturating_sub(1)));
        }
        (encode(&bytes).as_bytes() == text).then_some(bytes)
    }

    #[cfg(test)]
    mod tests {
        use proptest::prelude::*;

        use super::*;

        #[test]
        fn s23_base64_is_the_one_of_rfc_4648() {
            for (bytes, text) in [
                ("", ""),
                ("f", "Zg=="),
                ("fo", "Zm8="),
                ("foo", "Zm9v"),
                ("foobar", "Zm9vYmFy"),
                ("{}", "e30="),
                ("?>~", "Pz5-"),
                ("???", "Pz8_"),
            ] {
                assert_eq!(encode(bytes.as_bytes()), text);
                assert_eq!(decode(text.as_bytes()).as_deref(), Some(bytes.as_bytes()));
            }
            for text in [
                "Z", "Zg", "Zg=", "Zh==", "Zm8", "Zm9", "Z===", "====", "Zg==Zg==", "Pz8/",
                "Zm9v\n", " Zm9v", "Zm9v=",
            ] {
                assert_eq!(decode(text.as_bytes()), None, "{text:?}");
            }
        }

        proptest! {
            #[test]
            fn s23_base64_is_read_back(bytes: Vec<u8>) {
                prop_assert_eq!(decode(encode(&bytes).as_bytes()), Some(bytes));
            }

            #[test]
            fn s23_no_two_texts_are_one(text in "[A-Za-z0-9_=-]{0,12}") {
                if let Some(bytes) = decode(text.as_bytes()) {
                    prop_assert_eq!(encode(&bytes), text);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pull() -> Call {
        Call::ImagePull { image: "a:1".to_owned(), platform: None }
    }

    #[test]
    fn s23_a_login_goes_on_with_a_pull_alone() {
        let login = base64::encode(br#"{"username":"ada","password":"x","email":null}"#);
        let sent = pull().header(REGISTRY_AUTH, login.as_bytes()).expect("read").expect("sent");
        let text = base64::decode(sent.as_bytes()).expect("base64");
        assert_eq!(text, br#"{"password":"x","username":"ada"}"#);
        assert_eq!(pull().header(REGISTRY_AUTH, b"e30="), Ok(Some("e30=".to_owned())));
        for call in [Call::Info, Call::ContainerCreate { name: None, platform: None }] {
            assert_eq!(call.header(REGISTRY_AUTH, login.as_bytes()), Ok(None));
        }
        for name in
            ["x-registry-config", "x-meta-a", "host", "upgrade", "authorization", "x-docker-token"]
        {
            assert_eq!(pull().header(name, b"x"), Ok(None), "{name}");
        }
    }

    #[test]
    fn s23_a_login_with_a_second_reading_is_refused() {
        let long = "a".repeat(MAX_AUTH);
        for text in [
            "[]",
            "null",
            "",
            "{",
            r#"{"username":1}"#,
            r#"{"username":"a","username":"b"}"#,
            r#"{"Username":"a"}"#,
            r#"{"x":"a"}"#,
            r#"{"auth":{"a":"b"}}"#,
            &long,
        ] {
            let login = base64::encode(text.as_bytes());
            let sent = pull().header(REGISTRY_AUTH, login.as_bytes());
            assert!(sent.is_err() || (text.is_empty() && sent == Ok(None)), "{text}");
        }
        for raw in ["{}", "e30", "e30=\n", "e3 0=", "\u{e9}"] {
            assert!(pull().header(REGISTRY_AUTH, raw.as_bytes()).is_err(), "{raw:?}");
        }
    }
}
