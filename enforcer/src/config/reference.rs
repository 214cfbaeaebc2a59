//! Every key of the config, told from the example that explains them: the text of a reference and of a man page.
//!
//! The example is read line by line: a header `[table]`, a key `key = value`, either of them behind `# ` where it
//! is not the default, and prose. A test holds it against the keys that the parser takes.

use std::fmt::Write as _;

/// A config file that has every key.
pub const EXAMPLE: &str = include_str!("../../../examples/enforcer.toml");

/// One thing that the example says, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Words.
    Prose(String),
    /// The header of a table, with its brackets.
    Table {
        /// `[daemon]`, `[[networks.tutorials.hub]]`.
        header: String,
        /// Whether the example has it; otherwise it shows how it could be.
        is_set: bool,
    },
    /// A key with a value: the default, where it has one.
    Key {
        /// `run_dir = "/run/enforcer"`.
        line: String,
        /// Whether the example has it.
        is_set: bool,
    },
}

/// What the example says.
#[must_use]
pub fn parts(example: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut goes_on = false;
    for line in example.lines() {
        let (text, is_set) = match line.strip_prefix("# ") {
            Some(text) => (text, false),
            None => (line, true),
        };
        let text = text.trim_end();
        let part = if text.is_empty() || text == "#" {
            goes_on = false;
            continue;
        } else if is_header(text) {
            Part::Table { header: text.to_owned(), is_set }
        } else if key(text).is_some() {
            Part::Key { line: text.to_owned(), is_set }
        } else {
            match parts.last_mut() {
                Some(Part::Prose(prose)) if goes_on => {
                    prose.push('\n');
                    prose.push_str(text);
                }
                _ => parts.push(Part::Prose(text.to_owned())),
            }
            goes_on = true;
            continue;
        };
        goes_on = false;
        parts.push(part);
    }
    parts
}

fn is_header(text: &str) -> bool {
    let text = text.split(" #").next().unwrap_or_default().trim_end();
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let inner = inner.map(|inner| inner.trim_matches(['[', ']']));
    inner.is_some_and(|inner| {
        !inner.is_empty()
            && inner
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
    })
}

/// The key of `key = value`.
#[must_use]
pub fn key(text: &str) -> Option<&str> {
    let (key, _) = text.split_once(" = ")?;
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (!key.is_empty() && key.bytes().all(is_plain)).then_some(key)
}

/// As a page of Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut text = "# Config reference\n\n\
        Made of [examples/enforcer.toml](../examples/enforcer.toml); `man 5 enforcer.toml` is the same. A value is the \
        default, unless its text says otherwise. What is marked *not set* is not there by default.\n"
        .to_owned();
    for part in parts(EXAMPLE) {
        // Writing to a string cannot fail.
        let _infallible = match part {
            Part::Prose(prose) => writeln!(text, "\n{}", shielded(&prose)),
            Part::Table { header, is_set } => {
                writeln!(text, "\n## `{header}`{}", if is_set { "" } else { " (not set)" })
            }
            Part::Key { line, is_set } => {
                writeln!(text, "\n- `{line}`{}", if is_set { "" } else { " (not set)" })
            }
        };
    }
    text
}

/// Outside of backticks a reader of Markdown takes these for its own.
fn shielded(prose: &str) -> String {
    let mut text = String::new();
    for (number, piece) in prose.split('`').enumerate() {
        if number > 0 {
            text.push('`');
        }
        if number % 2 == 0 {
            text += &piece
                .replace('*', "\\*")
                .replace('[', "\\[")
                .replace('<', "\\<")
                .replace('_', "\\_");
        } else {
            text += piece;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::config::raw::RawConfig;

    /// Where the reference is kept.
    const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference.md");

    #[test]
    fn the_committed_reference_is_that_of_the_example() {
        if std::env::var_os("ENFORCER_WRITE_SCHEMA").is_some() {
            std::fs::write(COMMITTED, markdown()).expect("written");
        }
        let committed = std::fs::read_to_string(COMMITTED).unwrap_or_default();
        assert!(
            committed == markdown(),
            "examples/enforcer.toml has changed; run: ENFORCER_WRITE_SCHEMA=1 cargo test -p enforcer --lib \
             the_committed"
        );
    }

    #[test]
    fn an_example_is_read_as_tables_keys_and_prose() {
        let text = "# first\n# second\n\n# third\n[a.b]  # why\nkey = 1\n# other = \"x = y\"\n# [[c]]\n# Not = this\n#\n";
        let table = |header: &str, is_set| Part::Table { header: header.to_owned(), is_set };
        let key = |line: &str, is_set| Part::Key { line: line.to_owned(), is_set };
        assert_eq!(
            parts(text),
            [
                Part::Prose("first\nsecond".to_owned()),
                Part::Prose("third".to_owned()),
                table("[a.b]  # why", true),
                key("key = 1", true),
                key("other = \"x = y\"", false),
                table("[[c]]", false),
                Part::Prose("Not = this".to_owned()),
            ]
        );
    }

    /// What the example names by table, those of all networks, policies, hubs and signals together: keys with a
    /// value, and with `prose` the words of paragraphs too.
    fn named(prose: bool) -> BTreeMap<String, BTreeSet<String>> {
        let mut tables: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut table = String::new();
        // What stands before a header is about the table that follows as well.
        let mut before: Vec<String> = Vec::new();
        for part in parts(EXAMPLE) {
            let (text, is_prose) = match part {
                Part::Table { header, .. } => {
                    table = general(&header);
                    tables.entry(table.clone()).or_default().extend(before.drain(..));
                    continue;
                }
                Part::Prose(text) if prose => (text, true),
                Part::Prose(_) => continue,
                Part::Key { line, .. } => (key(&line).map(str::to_owned).expect("a key"), false),
            };
            let split = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
            let words: Vec<String> = text.split(split).map(str::to_owned).collect();
            if is_prose {
                before.clone_from(&words);
            } else {
                before.clear();
            }
            tables.entry(table.clone()).or_default().extend(words);
        }
        tables
    }

    fn general(header: &str) -> String {
        let path = header.split(" #").next().unwrap_or_default().trim().trim_matches(['[', ']']);
        let mut steps: Vec<&str> = path.split('.').collect();
        match steps[..] {
            ["abuse", signal] if signal != "slow" => steps[1] = "destinations",
            ["networks" | "policies" | "hubs", _, ..] => steps[1] = "NAME",
            _ => {}
        }
        steps.join(".")
    }

    /// The keys that the parser takes in a table: it names them when it meets another one.
    fn taken(header: &str) -> Vec<String> {
        let text = format!("{header}\nno_such_key = 1\n");
        let error = toml::from_str::<RawConfig>(&text).expect_err("no such key").to_string();
        let (_, expected) = error.split_once("expected ").unwrap_or_else(|| panic!("{error}"));
        let names = expected.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        assert!(!names.is_empty(), "{header}: {error}");
        names
    }

    #[test]
    fn o2_every_key_that_the_parser_takes_is_in_the_reference() {
        let tables = [
            "[docker]",
            "[daemon]",
            "[audit]",
            "[audit.otlp]",
            "[outside]",
            "[abuse]",
            "[abuse.slow]",
            "[abuse.destinations]",
            "[metrics]",
            "[dns]",
            "[access]",
            "[guests]",
            "[gate]",
            "[hubs.NAME]",
            "[networks.NAME]",
            "[[networks.NAME.hub]]",
            "[[networks.NAME.service]]",
            "[[networks.NAME.override]]",
            "[networks.NAME.quotas]",
            "[networks.NAME.limits]",
            "[policies.NAME]",
            "[[policies.NAME.allow]]",
            "[[policies.NAME.deny]]",
            "[policies.NAME.limits]",
        ];
        let (keys, words) = (named(false), named(true));
        let everywhere: BTreeSet<&String> = words.values().flatten().collect();
        for header in tables {
            let table = header.trim_matches(['[', ']']);
            for key in taken(header) {
                let path = format!("{table}.{key}");
                let as_table = words.keys().any(|table| *table == general(&path));
                // Where one of several keys is to be chosen, a paragraph names them.
                let chosen = header.starts_with("[[") || header == "[metrics]";
                let here = if chosen { &words } else { &keys };
                let here = here.get(table).is_some_and(|names| names.contains(&key));
                // "As in [networks.NAME.limits]", or what a paragraph explains for all rules or signals.
                let together = ["policies.NAME.", "abuse."]
                    .iter()
                    .any(|shared| table.starts_with(shared) && everywhere.contains(&key));
                assert!(as_table || here || together, "{path} is not in examples/enforcer.toml");
            }
        }
        // A table that is not above would be missed.
        for key in taken("") {
            assert!(
                tables
                    .iter()
                    .any(|header| header.trim_matches(['[', ']']).split('.').next() == Some(&key)),
                "{key}"
            );
        }
    }
}
