//! References of images, and which of them a principal may use (D16).

use super::{facts::Facts, names, rules::Rules};

/// Longest reference, bytes.
const MAX_REFERENCE: usize = 400;

/// A reference by the engine's grammar, with its registry and tag said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Registry, `docker.io` where none is named.
    registry: String,
    /// Path in it, `library/alpine` for `alpine`.
    path: String,
    /// `:latest` or `@sha256:…`, or both.
    version: String,
}

impl Reference {
    /// `None`: it is none, or the engine may take it for an image's id.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_REFERENCE || is_id(text) {
            return None;
        }
        let (named, digest) = match text.split_once('@') {
            Some((named, digest)) => (named, Some(digest).filter(|digest| is_digest(digest))?),
            None => (text, ""),
        };
        let (name, tag) = match named.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag).filter(|tag| is_tag(tag))?),
            _ => (named, ""),
        };
        let (registry, path) = match name.split_once('/') {
            Some((first, rest)) if is_registry(first) => (first, rest.to_owned()),
            _ => ("docker.io", name.to_owned()),
        };
        let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
        let is_official = registry == "docker.io" && !path.contains('/');
        let path = if is_official { format!("library/{path}") } else { path };
        if !is_host(registry) || !path.split('/').all(is_component) {
            return None;
        }
        // `sha256:ab12` is a tag by the grammar, and the beginning of any image's id to the engine.
        if registry == "docker.io" && path.strip_prefix("library/").is_some_and(is_algorithm) {
            return None;
        }
        let version = match (tag, digest) {
            ("", "") => ":latest".to_owned(),
            ("", digest) => format!("@{digest}"),
            (tag, "") => format!(":{tag}"),
            (tag, digest) => format!(":{tag}@{digest}"),
        };
        Some(Self { registry: registry.to_owned(), path, version })
    }

    /// With everything said: `docker.io/library/alpine:latest`.
    #[must_use]
    pub fn full(&self) -> String {
        format!("{}/{}{}", self.registry, self.path, self.version)
    }

    /// As the engine shows it: `alpine:latest`. It is no id and no beginning of one, for it has a colon.
    #[must_use]
    pub fn familiar(&self) -> String {
        let path = match self.registry.as_str() {
            "docker.io" => self.path.strip_prefix("library/").unwrap_or(&self.path).to_owned(),
            registry => format!("{registry}/{}", self.path),
        };
        path + &self.version
    }

    /// Whether one of the patterns means it. `*` stands for any text; a pattern without tag and `*` means `:latest`, as
    /// the reference would. A digest may be any image of its repository, whatever tag stands beside it: it is meant by a
    /// pattern with a digest, and by one that means the whole repository.
    #[must_use]
    pub fn is_among(&self, patterns: &[String]) -> bool {
        // What a user built is that user's alone, whatever a pattern may mean.
        if names::is_marked(&self.familiar()) {
            return false;
        }
        let forms = [self.full(), self.familiar()];
        let names = [&forms[0], &forms[1]].map(|form| form.strip_suffix(&self.version));
        let has_digest = self.version.contains('@');
        let is_wholly = |pattern: &str| {
            let repository =
                pattern.strip_suffix(":*").or(Some(pattern).filter(|all| all.ends_with('*')));
            repository.is_some_and(|all| names.iter().flatten().any(|name| fits(all, name)))
        };
        patterns.iter().any(|pattern| {
            if has_digest && pattern.contains('*') && !pattern.contains('@') {
                is_wholly(pattern)
            } else if pattern.contains('*') {
                forms.iter().any(|form| fits(pattern, form))
            } else {
                Self::parse(pattern).is_some_and(|exact| exact == *self)
            }
        })
    }
}

/// What goes to the engine for an image that a container is to be made of; `None`: it is not for this principal.
/// An image that is its own goes through by what it was called; an id only if it is a full one of its own.
#[must_use]
pub fn usable(asked: &str, rules: &Rules, facts: &Facts, is_open: bool) -> Option<String> {
    let hex = asked.strip_prefix("sha256:").unwrap_or(asked);
    if is_id(asked) {
        let own = facts.images.iter().find(|own| own.id.strip_prefix("sha256:") == Some(hex))?;
        return Some(own.id.clone());
    }
    let reference = Reference::parse(asked)?;
    let is_own = || {
        let mut tags = facts.images.iter().flat_map(|own| &own.tags);
        tags.any(|tag| Reference::parse(tag).as_ref() == Some(&reference))
    };
    if is_open || reference.is_among(&rules.images) || is_own() {
        Some(reference.familiar())
    } else {
        None
    }
}

/// Whether the engine would take it for a full id before it takes it for a name.
fn is_id(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether ids and digests begin with it.
fn is_algorithm(name: &str) -> bool {
    matches!(name, "sha256" | "sha384" | "sha512")
}

fn is_digest(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

/// Whether the first part of a name is a registry: so the engine tells it from a path.
fn is_registry(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost"
}

fn is_host(registry: &str) -> bool {
    let (host, port) = registry.split_once(':').unwrap_or((registry, "1"));
    let is_label = |label: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty()
            && label.bytes().all(is_plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(is_label)
        && !port.is_empty()
        && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// Lower-case words, parted by `.`, `_`, `__` or hyphens.
fn is_component(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends_plain = |byte: Option<u8>| byte.is_some_and(is_word);
    let parts =
        || text.split(|letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit());
    let is_separator =
        |part: &str| matches!(part, "" | "." | "_" | "__") || part.bytes().all(|byte| byte == b'-');
    ends_plain(text.bytes().next()) && ends_plain(text.bytes().last()) && parts().all(is_separator)
}

/// Whether a text is a pattern's, each `*` replaced by something.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, after)) = text
            .split_once(part)
            .filter(|_| !part.is_empty())
            .or_else(|| part.is_empty().then_some(("", text)))
        else {
            return false;
        };
        text = after;
    }
    text.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::facts::OwnImage;

    #[test]
    fn d16_a_reference_is_read_as_the_engine_reads_it() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (text, full) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("alpine:3", "docker.io/library/alpine:3"),
            ("docker.io/alpine", "docker.io/library/alpine:latest"),
            ("index.docker.io/library/alpine", "docker.io/library/alpine:latest"),
            ("jupyter/base-notebook", "docker.io/jupyter/base-notebook:latest"),
            ("quay.io/a/b:1.2", "quay.io/a/b:1.2"),
            ("localhost:5000/a", "localhost:5000/a:latest"),
            ("localhost/a", "localhost/a:latest"),
        ] {
            assert_eq!(Reference::parse(text).map(|found| found.full()).as_deref(), Some(full));
        }
        let exact = Reference::parse(&format!("alpine@{digest}")).expect("a digest");
        assert_eq!(exact.familiar(), format!("alpine@{digest}"));
        for text in [
            "",
            ":3",
            "Alpine",
            "alpine:",
            "alpine:a b",
            "a//b",
            "/a",
            "a/",
            "a/../b",
            "-a",
            "a__-b",
            "a___b",
            "alpine@sha256:00",
            "a@b",
            "http://a/b",
            "a\nb",
            "é",
            "a b",
            "sha256",
            "sha256:ab12",
            "library/sha256:ab12",
            "docker.io/sha256:ab12",
            "index.docker.io/library/sha256:ab12",
            "sha384:ab12",
            "sha512:ab12",
            &format!("sha256:ab12@{digest}"),
            "a.io:x/b",
            ".io/a",
            &digest,
            &"ab".repeat(32),
        ] {
            assert_eq!(Reference::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn d16_only_images_of_the_list_and_own_ones_are_usable() {
        let of_ben = "enforcer-0123456789abcdef-app:latest";
        for pattern in ["*", "docker.io/*", "docker.io/library/*", "enforcer*", of_ben] {
            let rules = Rules { images: vec![pattern.to_owned()], ..Rules::default() };
            assert_eq!(usable(of_ben, &rules, &Facts::default(), false), None, "{pattern}");
        }
        let patterns = ["alpine:3.*", "quay.io/jupyter/*", "busybox"].map(str::to_owned).to_vec();
        let rules = Rules { images: patterns, ..Rules::default() };
        let id = format!("sha256:{}", "c".repeat(64));
        let own = OwnImage { id: id.clone(), tags: vec!["mine:1".to_owned()] };
        let facts = Facts { images: vec![own], ..Facts::default() };
        let usable = |asked: &str| usable(asked, &rules, &facts, false);
        for (asked, sent) in [
            ("alpine:3.20", "alpine:3.20"),
            ("docker.io/library/alpine:3.20", "alpine:3.20"),
            ("busybox", "busybox:latest"),
            ("quay.io/jupyter/base:x", "quay.io/jupyter/base:x"),
            ("mine:1", "mine:1"),
            (&id, &id),
            (&"c".repeat(64), &id),
        ] {
            assert_eq!(usable(asked).as_deref(), Some(sent), "{asked}");
        }
        for asked in [
            "alpine",
            "alpine:2",
            "busybox:1",
            "evil.io/quay.io/jupyter/base",
            "evil.io/busybox",
            "mine",
            "xalpine:3.1",
            "cccccccccccc",
            &"d".repeat(64),
            &format!("sha256:{}", "d".repeat(64)),
            "*",
            "",
        ] {
            assert_eq!(usable(asked), None, "{asked}");
        }
    }

    #[test]
    fn d16_the_beginning_of_an_id_is_no_name_whatever_a_pattern_means() {
        let id = format!("sha256:ab12{}", "c".repeat(60));
        let own = OwnImage { id, tags: vec!["mine:1".to_owned()] };
        let facts = Facts { images: vec![own], ..Facts::default() };
        for pattern in ["*", "docker.io/*", "docker.io/library/*", "sha256*", "sha256:ab12"] {
            let rules = Rules { images: vec![pattern.to_owned()], ..Rules::default() };
            for asked in ["sha256:ab12", "docker.io/library/sha256:ab12", "library/sha256:d"] {
                for is_open in [false, true] {
                    assert_eq!(usable(asked, &rules, &facts, is_open), None, "{pattern} {asked}");
                }
            }
        }
        let other = Reference::parse("quay.io/library/sha256:ab12").expect("a name elsewhere");
        assert_eq!(other.familiar(), "quay.io/library/sha256:ab12");
    }

    #[test]
    fn d16_a_digest_is_vouched_for_by_itself_or_by_its_whole_repository() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let exact = format!("python@{digest}");
        for (pattern, text, expected) in [
            ("python:3.*", format!("python:3.1@{digest}"), false),
            ("python:3.*", format!("python@{digest}"), false),
            ("python:3.1", format!("python:3.1@{digest}"), false),
            ("python", format!("python@{digest}"), false),
            ("quay.io/*/a:1", format!("quay.io/b/a:1@{digest}"), false),
            ("python:*", format!("python@{digest}"), true),
            ("python:*", format!("python:3@{digest}"), true),
            ("docker.io/library/python:*", format!("python@{digest}"), true),
            ("quay.io/b/*", format!("quay.io/b/a@{digest}"), true),
            ("quay.io/b/*", format!("quay.io/c/a@{digest}"), false),
            ("*", format!("python@{digest}"), true),
            (&exact, format!("python@{digest}"), true),
            (&exact, format!("python@sha256:{}", "0b".repeat(32)), false),
            ("python@sha256:0a*", format!("python@{digest}"), true),
        ] {
            let reference = Reference::parse(&text).expect(&text);
            assert_eq!(reference.is_among(&[pattern.to_owned()]), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn d16_a_pattern_is_the_whole_text() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*", "abc", true),
            ("a*c", "abc", true),
            ("a*c", "abcd", false),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "acb", false),
            ("a**c", "ac", true),
            ("ab*ba", "aba", false),
            ("*a", "ba", true),
            ("b", "ab", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }
}
