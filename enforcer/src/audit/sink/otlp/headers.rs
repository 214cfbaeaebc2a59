//! Headers that a collector asks for: a key, a tenant. Their values are never shown.

use std::{
    fmt, fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use hyper::{
    HeaderMap,
    header::{self, HeaderName, HeaderValue},
};

/// What a request has of its own.
const OWN: [HeaderName; 8] = [
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::HOST,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::USER_AGENT,
];

/// Bits of a mode by which others than the owner and a group read or write, or a group writes.
const OPEN: u32 = 0o027;

/// Where they are.
#[derive(Clone, PartialEq, Eq)]
pub enum Headers {
    /// In the config.
    Here(HeaderMap),
    /// In a file, `Name: value` a line, which is read for each request: who changes it needs no restart.
    In(PathBuf),
}

impl Default for Headers {
    fn default() -> Self {
        Self::Here(HeaderMap::new())
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(headers) => f.debug_set().entries(headers.keys()).finish(),
            Self::In(path) => path.fmt(f),
        }
    }
}

impl Headers {
    pub(super) fn read(&self) -> io::Result<HeaderMap> {
        match self {
            Self::Here(headers) => Ok(headers.clone()),
            Self::In(path) => file(path).map_err(|error| {
                io::Error::new(error.kind(), format!("headers_file {}: {error}", path.display()))
            }),
        }
    }
}

/// A header, or what is wrong with it. The value is not repeated: it may be a secret.
pub fn pair(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let valid = HeaderName::from_bytes(name.as_bytes());
    let Ok(name) = valid else { return Err(format!("\"{name}\" is no name of a header")) };
    if OWN.contains(&name) {
        return Err(format!("the header \"{name}\" is not free; leave it out"));
    }
    let Ok(mut value) = HeaderValue::from_str(value) else {
        return Err(format!("the value of \"{name}\" is none that a header can have"));
    };
    value.set_sensitive(true);
    Ok((name, value))
}

fn file(path: &Path) -> io::Result<HeaderMap> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() || metadata.mode() & OPEN != 0 {
        let message = "not a file that only its owner may change and only they and a group may \
                       read: chmod 600";
        return Err(io::Error::other(message));
    }
    parse(&fs::read_to_string(path)?).map_err(io::Error::other)
}

fn parse(text: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let at = |message: &str| format!("line {}: {message}", number + 1);
        let Some((name, value)) = line.split_once(':') else {
            return Err(at("write it as \"Name: value\""));
        };
        let (name, value) = pair(name.trim(), value.trim()).map_err(|message| at(&message))?;
        if headers.insert(name, value).is_some() {
            return Err(at("this name is there twice"));
        }
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn headers_of_a_file_are_read_or_the_line_is_named() {
        let good = parse("# a key\nAuthorization: Basic  YTpi\n\nX-Scope-OrgID:lab\n");
        let good = good.expect("headers");
        assert_eq!(good.get("authorization").map(HeaderValue::as_bytes), Some(&b"Basic  YTpi"[..]));
        assert_eq!(good.get("x-scope-orgid").map(HeaderValue::as_bytes), Some(&b"lab"[..]));
        assert_eq!(good.len(), 2);
        for (text, named) in [
            ("secret", "line 1: write it as"),
            ("\nX Y: secret", "line 2: \"X Y\" is no name"),
            ("content-type: secret", "is not free"),
            ("A: secret\u{7}", "the value of \"a\""),
            ("A: secret\na: b", "line 2: this name is there twice"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(named) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_not_used_and_no_value_is_shown() {
        let path = std::env::temp_dir().join(format!("enforcer-headers-{}", std::process::id()));
        let headers = Headers::In(path.clone());
        assert!(headers.read().is_err(), "there is none");
        fs::write(&path, "A: secret\n").expect("written");
        for (mode, is_good) in [(0o600, true), (0o440, true), (0o644, false), (0o660, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
            assert_eq!(headers.read().is_ok(), is_good, "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("set");
        let here = Headers::Here(headers.read().expect("headers"));
        assert_eq!(format!("{here:?}"), "{\"a\"}");
        fs::remove_file(path).expect("removed");
    }
}
