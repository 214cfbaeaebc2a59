//! The `[outside]` table: which containers are guests wherever they are, and what becomes of those
//! that step outside their policy.

use std::{collections::BTreeMap, fmt};

use toml::Spanned;

use super::{check, problem::Problems, raw::RawOutside};

/// The label that marks guests when the config names none.
const DEFAULT_GUEST_LABEL: &str = "enforcer.guest";

/// How guests are recognised off their network, and what becomes of them there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    /// A container with one of these labels is a guest, whatever network it is on.
    pub guest_labels: Vec<GuestLabel>,
    /// What becomes of a guest with a way out that nothing polices.
    pub action: OutsideAction,
}

impl Default for Outside {
    fn default() -> Self {
        let label = GuestLabel { key: DEFAULT_GUEST_LABEL.to_owned(), value: None };
        Self { guest_labels: vec![label], action: OutsideAction::Stop }
    }
}

/// A label that marks a container as a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestLabel {
    /// Key.
    pub key: String,
    /// Value; `None`: any.
    pub value: Option<String>,
}

impl GuestLabel {
    /// From `key` or `key=value`.
    pub(super) fn parse(text: &Spanned<String>, problems: &mut Problems<'_>) -> Self {
        let (key, value) = match text.get_ref().split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (text.get_ref().as_str(), None),
        };
        if let Err(message) = check::label_key(key) {
            problems.add(text.span(), message);
        }
        Self { key: key.to_owned(), value }
    }

    /// Whether a container's labels have it.
    #[must_use]
    pub fn is_among(&self, labels: &BTreeMap<String, String>) -> bool {
        labels.get(&self.key).is_some_and(|value| self.value.as_ref().is_none_or(|v| v == value))
    }
}

impl fmt::Display for GuestLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        self.value.as_ref().map_or(Ok(()), |value| write!(f, "={value}"))
    }
}

/// What becomes of a guest with a way out that nothing polices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutsideAction {
    /// It loses that way out: the network is taken away, or the container is killed.
    #[default]
    Stop,
    /// It is recorded and goes on.
    Record,
}

/// Checks the table.
pub(super) fn outside(raw: RawOutside, problems: &mut Problems<'_>) -> Outside {
    let default = Outside::default();
    let action = match raw.action.as_ref().map(|action| (action.get_ref().as_str(), action.span()))
    {
        None => default.action,
        Some(("stop", _)) => OutsideAction::Stop,
        Some(("record", _)) => OutsideAction::Record,
        Some((other, span)) => {
            problems.add(span, format!("action \"{other}\" is neither \"stop\" nor \"record\""));
            default.action
        }
    };
    let Some(labels) = raw.guest_labels else { return Outside { action, ..default } };
    let mut guest_labels = Vec::new();
    for text in labels {
        let label = GuestLabel::parse(&text, problems);
        if guest_labels.contains(&label) {
            problems.add(text.span(), "this label is listed twice; remove one");
        }
        guest_labels.push(label);
    }
    Outside { guest_labels, action }
}
