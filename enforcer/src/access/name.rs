//! Names of hubs, users and groups. Whoever holds one knows that it is one line, that nothing in it turns a
//! terminal around, and that it fits into one segment of a path. They are compared byte by byte: no
//! case is folded and no form of Unicode is made another, so that no two names become one.

use std::{fmt, str::FromStr};

/// Longest name of a user or group, characters: as long as JupyterHub's column.
pub const MAX_NAME: usize = 255;
/// Longest name of a hub, bytes: it becomes part of a socket's path.
pub const MAX_HUB: usize = 32;
/// The hub of users that have none.
const LOCAL: &str = "local";

/// Why a text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing at all.
    #[error("a {0} has a name; this one is empty")]
    Empty(What),
    /// Longer than can be kept.
    #[error("the name of a {what} has at most {most} characters")]
    Long {
        /// Of what.
        what: What,
        /// So many.
        most: usize,
    },
    /// `.` and `..` are ways in a path; a slash parts it.
    #[error("the name of a {0} has no '/', and is neither '.' nor '..'")]
    Path(What),
    /// White space at an end, which nobody sees.
    #[error("the name of a {0} neither begins nor ends with white space")]
    Blank(What),
    /// A character that is not seen, ends a line or turns it around.
    #[error("the name of a {0} has a character that cannot be seen or that changes how others are")]
    Unseen(What),
    /// A hub's name is plain.
    #[error(
        "the name of a hub has lower-case letters, digits, '-' and '_' only, and starts with a letter or \
         a digit"
    )]
    Hub,
}

/// Of what a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A hub.
    Hub,
    /// A user.
    User,
    /// A group.
    Group,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hub => "hub",
            Self::User => "user",
            Self::Group => "group",
        })
    }
}

/// A hub: the name space of its users and groups.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HubName(String);

impl HubName {
    /// The name space of users who belong to no hub. No hub of the config can be called so.
    #[must_use]
    pub fn local() -> Self {
        Self(LOCAL.to_owned())
    }

    /// Whether it is that one.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.0 == LOCAL
    }
}

impl FromStr for HubName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let is_plain = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
        };
        match text.as_bytes() {
            [] => Err(NameError::Empty(What::Hub)),
            bytes if bytes.len() > MAX_HUB => {
                Err(NameError::Long { what: What::Hub, most: MAX_HUB })
            }
            [b'-' | b'_', ..] => Err(NameError::Hub),
            bytes if !bytes.iter().copied().all(is_plain) => Err(NameError::Hub),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

/// A user; it means somebody only together with a hub.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(String);

/// A group; it means something only together with a hub.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName(String);

impl FromStr for UserName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check(What::User, text).map(Self)
    }
}

impl FromStr for GroupName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check(What::Group, text).map(Self)
    }
}

macro_rules! is_text {
    ($($name:ident),*) => {$(
        impl $name {
            /// As it is written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

is_text!(HubName, UserName, GroupName);

/// A user of a hub: who somebody is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct User {
    /// Whose name space it is.
    pub hub: HubName,
    /// The name in it.
    pub name: UserName,
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of hub {}", self.name, self.hub)
    }
}

fn check(what: What, text: &str) -> Result<String, NameError> {
    if text.is_empty() {
        return Err(NameError::Empty(what));
    }
    if text.chars().nth(MAX_NAME).is_some() {
        return Err(NameError::Long { what, most: MAX_NAME });
    }
    if text.contains('/') || text == "." || text == ".." {
        return Err(NameError::Path(what));
    }
    if text.chars().any(is_unseen) {
        return Err(NameError::Unseen(what));
    }
    if text.trim() != text {
        return Err(NameError::Blank(what));
    }
    Ok(text.to_owned())
}

/// Characters without a picture of their own: controls, ends of lines, those that direct a line (UAX 9), and those that
/// stand for nothing. The two joiners stay: Persian and Indic names need them.
#[must_use]
pub(crate) fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
                | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn s1_names_that_jupyterhub_has_are_names() {
        for name in
            ["ann", "Ann.B-c_d", "ann@example.org", "jörg", "名前", "a b", "a%2fb", "a\u{200c}b"]
        {
            assert_eq!(name.parse::<UserName>().expect(name).as_str(), name);
            assert_eq!(name.parse::<GroupName>().expect(name).as_str(), name);
        }
        for name in ["jupyterhub", "lab-2", "0", "a_b"] {
            assert_eq!(name.parse::<HubName>().expect(name).as_str(), name);
        }
    }

    #[test]
    fn s1_what_would_be_seen_as_another_name_is_none() {
        let long = "x".repeat(MAX_NAME + 1);
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "/",
            " ann",
            "ann ",
            "ann\n",
            "an\0n",
            "ann\u{202e}",
            "a\u{200b}nn",
            "\u{feff}ann",
            "a\u{2066}nn",
            "ann\u{a0}",
            "a\u{2028}b",
            &long,
        ] {
            assert!(name.parse::<UserName>().is_err(), "{name:?}");
            assert!(name.parse::<GroupName>().is_err(), "{name:?}");
        }
        let long = "x".repeat(MAX_HUB + 1);
        for name in ["", "A", "-a", "_a", "a.b", "a/b", "ä", "a b", &long] {
            assert!(name.parse::<HubName>().is_err(), "{name:?}");
        }
        // Two forms of one letter are two names.
        assert_ne!("\u{e9}".parse::<UserName>(), "e\u{301}".parse());
        assert_ne!("Ann".parse::<UserName>(), "ann".parse());
    }

    proptest! {
        #[test]
        fn s1_a_name_is_what_was_written_or_none(text in "\\PC{0,40}|.{0,40}") {
            if let Ok(name) = text.parse::<UserName>() {
                prop_assert_eq!(name.as_str(), &text);
                let odd = ['/', '\n', '\r', '\0', '\u{1b}', '\u{202e}'];
                prop_assert!(!text.contains(odd));
            }
        }
    }
}
