//! The path: a version, if any, and segments of plain letters.

use crate::gate::verdict::Refusal;

/// Oldest and newest minor version of the engine's API that is spoken here; the major one is 1.
pub const MINORS: std::ops::RangeInclusive<u8> = 41..=56;

/// A path in its only spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// `46` of `/v1.46/info`; `None`: the client named none.
    pub minor: Option<u8>,
    /// What stands between slashes; none is empty, `.` or `..`.
    pub segments: Vec<String>,
}

impl Path {
    /// Reads `/v1.46/containers/json`.
    pub fn read(text: &str) -> Result<Self, Refusal> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(unclear("path.form", "it does not begin with a slash"));
        };
        let mut segments = rest.split('/').map(segment).collect::<Result<Vec<_>, _>>()?;
        let minor = match segments.first() {
            Some(first) if looks_like_version(first) => Some(minor(&segments.remove(0))?),
            _ => None,
        };
        if segments.is_empty() {
            return Err(unclear("path.form", "nothing stands after the version"));
        }
        Ok(Self { minor, segments })
    }

    /// The path without version, as it was understood.
    #[must_use]
    pub fn canonical(&self) -> String {
        self.segments.iter().fold(String::new(), |path, segment| path + "/" + segment)
    }
}

/// One segment. `%40` and `%3A` are what Python writes for the `@` and `:` of an image; no other letter needs an
/// escape, so that every other escape is there to be read twice.
fn segment(text: &str) -> Result<String, Refusal> {
    let mut segment = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let (read, length) = match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' | ':' | '@' => (letter, 1),
            '%' if rest.starts_with("%40") => ('@', 3),
            '%' if rest.starts_with("%3A") => (':', 3),
            '%' => {
                return Err(unclear(
                    "path.escape",
                    "a letter is escaped that needs none, or is none",
                ));
            }
            _ => {
                return Err(unclear(
                    "path.letter",
                    "a letter is neither of a name nor of an image",
                ));
            }
        };
        segment.push(read);
        rest = rest.get(length..).unwrap_or_default();
    }
    match segment.as_str() {
        "" => {
            Err(unclear("path.form", "two slashes have nothing between them, or one stands last"))
        }
        "." | ".." => Err(unclear("path.dots", "a segment is \".\" or \"..\"")),
        _ => Ok(segment),
    }
}

/// Whether the engine might take it for a version. No route begins like this.
fn looks_like_version(segment: &str) -> bool {
    let mut letters = segment.chars();
    matches!(letters.next(), Some('v' | 'V'))
        && letters.next().is_some_and(|letter| letter.is_ascii_digit() || letter == '.')
}

fn minor(segment: &str) -> Result<u8, Refusal> {
    let spelled = MINORS.into_iter().find(|minor| segment == format!("v1.{minor}"));
    spelled.ok_or_else(|| {
        let (first, last) = (MINORS.start(), MINORS.end());
        let message =
            format!("version {segment:?} is none that is spoken here; use v1.{first} to v1.{last}");
        Refusal::unclear("path.version", message)
    })
}

fn unclear(rule: &'static str, why: &str) -> Refusal {
    Refusal::unclear(rule, format!("the path can be read in more than one way: {why}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn s08_a_path_has_one_spelling() {
        for (path, minor, segments) in [
            ("/_ping", None, &["_ping"][..]),
            ("/v1.41/info", Some(41), &["info"]),
            ("/v1.56/containers/json", Some(56), &["containers", "json"]),
            ("/containers/a_b.c-1/json", None, &["containers", "a_b.c-1", "json"]),
            (
                "/images/quay.io:5000/a/b:1/json",
                None,
                &["images", "quay.io:5000", "a", "b:1", "json"],
            ),
            ("/images/a%40sha256%3Aab/json", None, &["images", "a@sha256:ab", "json"]),
            ("/volumes/v1", None, &["volumes", "v1"]),
            ("/version", None, &["version"]),
        ] {
            let read = Path::read(path).expect(path);
            assert_eq!(
                (read.minor, read.segments),
                (minor, segments.iter().map(|&s| s.into()).collect())
            );
        }
    }

    #[test]
    fn s08_other_spellings_are_refused() {
        let paths = [
            "",
            "/",
            "//",
            "*",
            "containers/json",
            "http://docker/containers/json",
            "HTTP://docker/v1.46/containers/json",
            "//containers/json",
            "/containers//json",
            "/containers/json/",
            "/v1.46",
            "/v1.46/",
            "/v1.46//info",
            "/v1.40/info",
            "/v1.57/info",
            "/v1.99/info",
            "/v01.41/info",
            "/v1.041/info",
            "/v1.4 1/info",
            "/v1.46.0/info",
            "/v1/info",
            "/v0/info",
            "/v2.0/info",
            "/v1./info",
            "/v.1.46/info",
            "/V1.46/info",
            "/v%31.46/info",
            "/v1%2e46/info",
            "/%761.46/info",
            "/v1.46/v1.46%2finfo",
            "/containers/./json",
            "/containers/../images/json",
            "/containers/x/../create",
            "/containers/%2e%2e/json",
            "/containers/%2E/json",
            "/containers%2Fcreate",
            "/containers%2fcreate",
            "/containers/x%00/json",
            "/containers/%6ason",
            "/%63ontainers/json",
            "/containers/x%252Fy/json",
            "/containers/x%/json",
            "/containers/x%4/json",
            "/containers/x%3a/json",
            "/containers/x%zz/json",
            "/containers;x=1/json",
            "/containers/json;a",
            "/containers\\json",
            "/containers/x\\..\\y",
            "/containers/\u{e9}/json",
            "/containers/\u{ff0f}json",
            "/containers/x\t/json",
            "/containers/x\r\n/json",
            "/containers/x\0/json",
            "/containers/x y/json",
            "/containers/x+y/json",
            "/containers/{x}/json",
            "/containers/x#/json",
            "/containers/x&y/json",
            "/containers/~x/json",
            "/containers/*/json",
        ];
        for path in paths {
            assert!(Path::read(path).is_err(), "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn s08_what_is_read_is_what_the_engine_reads(text in "/[a-zA-Z0-9_.:@%/;\\\\~ -]{0,40}|\\PC{0,40}") {
            if let Ok(path) = Path::read(&text) {
                let again = Path::read(&path.canonical());
                prop_assert!(path.minor.is_some() || again == Ok(path.clone()));
                for segment in &path.segments {
                    prop_assert!(!segment.is_empty() && segment != "." && segment != "..");
                    prop_assert!(!segment.contains(['/', '%', '\\', ';', '?', '#']));
                }
            }
        }
    }
}
