//! Names that the engine has things under. Names of volumes and networks are one name space for the whole engine;
//! so that two principals' `data` are two volumes, each name goes there with a mark of its principal before it.

use super::principal::Principal;
use crate::digest;

/// Longest name of a volume or network, bytes; with the mark it still fits into a file's name.
pub const MAX_NAME: usize = 200;

/// Label of an own network: whether its owner asked for one that is internal. To the engine all are.
pub const IS_INTERNAL: &str = "enforcer.internal";

/// Hexadecimal digits of a mark.
const MARK: usize = 16;

/// What stands before each name of a principal's: `enforcer-0123456789abcdef-`.
#[must_use]
pub fn mark(principal: &Principal) -> String {
    // U+0000 is in no name, so that no two principals are the same text.
    let whose = match principal {
        Principal::Hub(hub) => format!("hub\0{hub}"),
        Principal::User(user) => format!("user\0{}\0{}", user.hub, user.name),
    };
    format!("enforcer-{:.MARK$}-", digest::of_text(&whose))
}

/// The name at the engine of what a principal calls `name`.
#[must_use]
pub fn engine_name(principal: &Principal, name: &str) -> String {
    mark(principal) + name
}

/// Whether a name has a mark, whosever.
#[must_use]
pub fn is_marked(name: &str) -> bool {
    let rest = name.strip_prefix("enforcer-").and_then(|rest| rest.split_once('-'));
    rest.is_some_and(|(mark, _)| {
        mark.len() == MARK && mark.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// What a principal calls what the engine has under this name; `None`: it is not one of its names.
#[must_use]
pub fn own_name<'a>(principal: &Principal, engine_name: &'a str) -> Option<&'a str> {
    engine_name.strip_prefix(&mark(principal)).filter(|name| is_name(name))
}

/// Whether the engine takes it as a name of a container, volume or network, and reads it as nothing else.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    name.len() <= MAX_NAME
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && name.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::name::{HubName, User};

    fn user(hub: &str, name: &str) -> Principal {
        Principal::User(User { hub: hub.parse().expect(hub), name: name.parse().expect(name) })
    }

    #[test]
    fn s3_two_principals_share_no_name_and_each_finds_its_own_again() {
        let all = [
            user("a", "ada"),
            user("b", "ada"),
            user("a", "ben"),
            user("a", "\u{e9}"),
            user("a", "e\u{301}"),
            Principal::Hub("a".parse().expect("hub")),
            Principal::Hub(HubName::local()),
        ];
        for one in &all {
            let engine = engine_name(one, "data");
            assert!(is_name(&engine), "{engine}");
            for other in &all {
                let expected = (one == other).then_some("data");
                assert_eq!(own_name(other, &engine), expected);
                assert!(is_marked(&engine) && !is_marked("data") && !is_marked("enforcer-data"));
            }
        }
    }

    #[test]
    fn s01_a_path_is_no_name() {
        for name in [
            "", ".", "..", "/", "a/b", "-a", "_a", ".a", "~", "a b", "a:b", "a\0", "é", " a", "a\n",
        ] {
            assert!(!is_name(name), "{name:?}");
        }
        assert!(is_name(&"x".repeat(MAX_NAME)) && !is_name(&"x".repeat(MAX_NAME + 1)));
        assert!(is_name("0a_.-Z"));
    }
}
