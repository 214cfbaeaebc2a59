//! The `[outside]` table: which containers are guests wherever they are, and what becomes of those
//! that step outside their policy.

use std::{collections::BTreeMap, fmt};

use toml::Spanned;

use super::{check, problem::Problems, raw::RawOutside};
use crate::model::provenance::{CLIENT_LABEL, GROUPS_LABEL};

/// The label that marks guests when the config names none.
const DEFAULT_GUEST_LABEL: &str = "enforcer.guest";

/// How guests are recognised off their network, and what becomes of them there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    /// A container with one of these labels is a guest, whatever network it is on.
    pub guest_labels: Vec<GuestLabel>,
    /// What becomes of a guest with a way out that nothing polices.
    pub action: OutsideAction,
    /// What becomes of a guest whose names the engine's own resolver resolves from the host's network.
    pub engine_resolver: OutsideAction,
}

impl Default for Outside {
    fn default() -> Self {
        let label = GuestLabel { key: DEFAULT_GUEST_LABEL.to_owned(), value: None };
        let action = OutsideAction::Stop;
        Self { guest_labels: vec![label], action, engine_resolver: action }
    }
}

/// A label that marks a container as a guest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
        // A hub says them of its users as it likes.
        if matches!(key, GROUPS_LABEL | CLIENT_LABEL) {
            let message = format!("\"{key}\" is for records alone; no guest is told by it");
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
    let mut of = |key, raw: Option<&Spanned<String>>, default| what(key, raw, default, problems);
    let action = of("action", raw.action.as_ref(), default.action);
    let engine_resolver = of("engine_resolver", raw.engine_resolver.as_ref(), action);
    let Some(labels) = raw.guest_labels else {
        return Outside { action, engine_resolver, ..default };
    };
    let mut guest_labels = Vec::new();
    for text in labels {
        let label = GuestLabel::parse(&text, problems);
        if guest_labels.contains(&label) {
            problems.add(text.span(), "this label is listed twice; remove one");
        }
        guest_labels.push(label);
    }
    Outside { guest_labels, action, engine_resolver }
}

fn what(
    key: &str,
    raw: Option<&Spanned<String>>,
    default: OutsideAction,
    problems: &mut Problems<'_>,
) -> OutsideAction {
    let Some(raw) = raw else { return default };
    match raw.get_ref().as_str() {
        "stop" => OutsideAction::Stop,
        "record" => OutsideAction::Record,
        other => {
            let message = format!("{key} \"{other}\" is neither \"stop\" nor \"record\"");
            problems.add(raw.span(), message);
            default
        }
    }
}
