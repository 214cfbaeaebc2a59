//! `[daemon] admins`: who may use the control API beside root.

use std::{collections::BTreeSet, fmt};

use toml::Spanned;

use super::problem::Problems;

/// Longest name of a user, bytes; as `useradd` has it.
const LONGEST: usize = 32;
/// A number that the kernel shows for anybody without one, and one that means "no change".
const NOBODYS: [u32; 2] = [65_534, u32::MAX];

/// A user of this host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Admin {
    /// By number.
    Uid(u32),
    /// By name, which this host knows or not.
    User(String),
}

impl fmt::Display for Admin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(number) => write!(formatter, "{number}"),
            Self::User(name) => formatter.write_str(name),
        }
    }
}

pub(super) fn admins(raw: &[Spanned<String>], problems: &mut Problems<'_>) -> BTreeSet<Admin> {
    let mut admins = BTreeSet::new();
    for one in raw {
        match admin(one.get_ref()) {
            Ok(admin) => drop(admins.insert(admin)),
            Err(message) => problems.add(one.span(), message),
        }
    }
    admins
}

fn admin(text: &str) -> Result<Admin, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let number = text.parse().ok().filter(|number| !NOBODYS.contains(number));
        return number.map(Admin::Uid).ok_or_else(|| format!("{text} is no user's number"));
    }
    let is_name = |character: char| character.is_alphanumeric() || "._-@+\\$".contains(character);
    if text.is_empty()
        || text.len() > LONGEST
        || text.starts_with('-')
        || !text.chars().all(is_name)
    {
        return Err(format!(
            "\"{text}\" is no user: write a name such as \"alice\", or a number such as \"1000\""
        ));
    }
    Ok(Admin::User(text.to_owned()))
}
