//! The values that are in force, and where each comes from: the file, or what holds where it says nothing. Pure.
//!
//! Defaults are read from the example that explains them; a test holds them against the parser, and another one
//! parses what is shown here: it is a config file itself.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;
use toml::de::{DeTable, DeValue};

use super::reference::{EXAMPLE, key};
use crate::abuse::Signal;

/// One key with its value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// `daemon.run_dir`; names that need quotes have them.
    pub key: String,
    /// Its value.
    pub value: serde_json::Value,
    /// The same as a config file has it.
    #[serde(skip)]
    pub toml: String,
    /// Where it comes from.
    #[serde(flatten)]
    pub origin: Origin,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Origin {
    /// The file says nothing.
    Default,
    /// The file says so.
    File {
        /// On this line, from 1.
        line: usize,
    },
}

impl fmt::Display for Setting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} = {}", self.key, self.toml)
    }
}

/// Tables of the example whose values are defaults wherever the file says nothing.
const ALWAYS: [&str; 8] =
    ["docker", "daemon", "audit", "outside", "abuse", "access", "guests", "gate"];
/// Its network, whose own values are defaults of every network but for these.
const NETWORK: &str = "networks.tutorials.";
const OF_ONE_NETWORK: [&str; 4] = ["bridge", "subnet", "gateway", "hub"];

/// What holds in a table that is there, or beside a key that is, where it says nothing: the example shows these
/// as comments.
const BESIDE: [(&str, &[(&str, &str)]); 4] = [
    ("audit.dir", &[("fsync", "\"always\""), ("segment_mib", "64"), ("segment_hours", "24")]),
    ("audit.otlp", &[("insecure", "false"), ("timeout", "\"10s\"")]),
    (
        "dns",
        &[
            ("min_ttl", "\"5s\""),
            ("max_ttl", "\"5m\""),
            ("lease_grace", "\"10s\""),
            ("queries_per_second", "20"),
            ("burst", "100"),
            ("names_per_10min", "200"),
            ("tcp_connections", "4"),
        ],
    ),
    ("policies.*", &[("mode", "\"enforce\"")]),
];
/// What is in force with a file of this text, which must be a valid one; sorted by key. What [hubs.NAME.gate] leaves
/// out is as in `[gate]`.
#[must_use]
pub fn effective(text: &str) -> Vec<Setting> {
    let written = leaves(text);
    let mut all: BTreeMap<String, Setting> = defaults_beside(&written);
    all.extend(written);
    all.into_values().collect()
}

/// What holds where a file says nothing, for every file; sorted by key.
#[must_use]
pub fn defaults() -> Vec<Setting> {
    defaults_beside(&BTreeMap::new()).into_values().collect()
}

fn defaults_beside(written: &BTreeMap<String, Setting>) -> BTreeMap<String, Setting> {
    let example = leaves(EXAMPLE);
    let mut all: BTreeMap<String, Setting> = BTreeMap::new();
    let mut put = |key: String, setting: &Setting| {
        all.insert(key.clone(), Setting { key, origin: Origin::Default, ..setting.clone() });
    };
    for (path, setting) in &example {
        let table = path.split('.').next().unwrap_or_default();
        // Of each signal below.
        let is_answer = path.starts_with("abuse.") && path.ends_with(".answer");
        if ALWAYS.contains(&table) && !is_answer {
            put(path.clone(), setting);
        }
    }
    for signal in Signal::ALL.map(Signal::name) {
        if !written.contains_key(&format!("abuse.{signal}.answers")) {
            put(format!("abuse.{signal}.answer"), &literal("\"record\""));
        }
    }
    for network in named(written, "networks") {
        for (path, setting) in &example {
            let Some(path) = path.strip_prefix(NETWORK) else { continue };
            if !OF_ONE_NETWORK.contains(&path.split('.').next().unwrap_or_default()) {
                put(format!("networks.{network}.{path}"), setting);
            }
        }
    }
    for (table, keys) in BESIDE {
        let there = match table.strip_suffix(".*") {
            Some(tables) => named(written, tables).map(|name| format!("{tables}.{name}")).collect(),
            None if has(written, table) => vec![table.strip_suffix(".dir").unwrap_or(table).into()],
            None => Vec::<String>::new(),
        };
        for table in there {
            for (key, value) in keys {
                put(format!("{table}.{key}"), &literal(value));
            }
        }
    }
    // Two defaults follow what the file says elsewhere.
    if written.contains_key("audit.dir") {
        put("audit.stdout".to_owned(), &literal("false"));
    }
    if let Some(action) = written.get("outside.action") {
        put("outside.engine_resolver".to_owned(), action);
    }
    all
}

/// Whether the file has this table or key.
fn has(written: &BTreeMap<String, Setting>, table: &str) -> bool {
    let below = format!("{table}.");
    written.keys().any(|key| key == table || key.starts_with(&below))
}

/// Names of the tables below one.
fn named<'a>(
    written: &'a BTreeMap<String, Setting>,
    table: &str,
) -> impl Iterator<Item = &'a str> + use<'a> {
    let below = format!("{table}.");
    let mut names: Vec<&str> =
        written.keys().filter_map(|key| first(key.strip_prefix(below.as_str())?)).collect();
    names.dedup();
    names.into_iter()
}

/// The first step of a path, with its quotes if it has any.
fn first(path: &str) -> Option<&str> {
    let end = match path.chars().next()? {
        quote @ ('"' | '\'') => {
            let inner = path.get(1..)?;
            let is_escaped = |at: usize| {
                quote == '"' && inner.get(..at).is_some_and(|before| before.ends_with('\\'))
            };
            let mut ends = inner.match_indices(quote).map(|(at, _)| at);
            ends.find(|at| !is_escaped(*at))? + 2
        }
        _ => path.find('.').unwrap_or(path.len()),
    };
    path.get(..end)
}

fn literal(toml: &str) -> Setting {
    let value = format!("x = {toml}\n");
    let found = leaves(&value).remove("x");
    found.unwrap_or_else(|| Setting {
        key: String::new(),
        value: serde_json::Value::Null,
        toml: toml.to_owned(),
        origin: Origin::Default,
    })
}

/// Every key of a text that is no table itself, by its path. A text that is no TOML has none.
fn leaves(text: &str) -> BTreeMap<String, Setting> {
    let mut found = BTreeMap::new();
    if let (Ok(spans), Ok(values)) = (DeTable::parse(text), text.parse::<toml::Table>()) {
        walk(text, "", spans.get_ref(), &values, &mut found);
    }
    found
}

fn walk(
    text: &str,
    above: &str,
    spans: &DeTable<'_>,
    values: &toml::Table,
    found: &mut BTreeMap<String, Setting>,
) {
    for (name, span) in spans {
        let Some(value) = values.get(name.get_ref().as_ref()) else { continue };
        let name = quoted(name.get_ref());
        let path = if above.is_empty() { name } else { format!("{above}.{name}") };
        match (span.get_ref(), value) {
            (DeValue::Table(spans), toml::Value::Table(values)) if !values.is_empty() => {
                walk(text, &path, spans, values, found);
            }
            _ => {
                let before = text.get(..span.span().start).unwrap_or_default();
                let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
                let json = serde_json::to_value(value).unwrap_or_default();
                let setting = Setting {
                    key: path.clone(),
                    value: json,
                    toml: value.to_string(),
                    origin: Origin::File { line },
                };
                found.insert(path, setting);
            }
        }
    }
}

/// A key as a path has it.
fn quoted(name: &str) -> String {
    let is_bare = key(&format!("{name} = ")).is_some()
        || !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if is_bare { name.to_owned() } else { toml::Value::from(name).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, parse};

    const LEAST: &str = "[networks.a]\nbridge = \"br-a\"\n";
    const MUCH: &str = "\
[audit]\ndir = \"/var/lib/enforcer/audit\"\nlabels = [\"course\"]\n[audit.otlp]\nendpoint = \"http://127.0.0.1:4318\"\n\
[outside]\naction = \"record\"\n[abuse]\nwindow = \"2m\"\n[abuse.smtp]\nanswers = [\"record\", \"cut\"]\n\
[abuse.destinations]\nanswers = [\"record\"]\n[dns]\nupstream = [\"192.0.2.53\"]\n\
[policies.web]\n[[policies.web.allow]]\nto = \"192.0.2.0/24\"\nport = 443\n\
[networks.a]\nbridge = \"br-a\"\npolicy = \"web\"\n[[networks.a.hub]]\ngateway = true\nport = 8081\n\
[networks.\"b.c\"]\nbridge = \"br-b\"\n[networks.\"b.c\".quotas]\nclosing = 4096\n";

    /// Without what tells a text from another one of the same meaning.
    fn meaning(text: &str) -> Config {
        let config = parse(text, "f").unwrap_or_else(|error| panic!("{error}\n{text}"));
        let mut config = Config { digest: String::new(), ..config };
        for rule in config.policies.values_mut().flat_map(|policy| &mut policy.rules) {
            rule.name = String::new();
        }
        config
    }

    fn as_file(settings: &[Setting]) -> String {
        settings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n") + "\n"
    }

    #[test]
    fn o2_what_is_shown_is_a_config_file_of_the_same_meaning() {
        for text in [LEAST, MUCH, EXAMPLE] {
            let shown = as_file(&effective(text));
            assert_eq!(meaning(&shown), meaning(text), "{shown}");
        }
    }

    #[test]
    fn o2_defaults_are_those_of_the_parser_and_stand_beside_what_the_file_says() {
        let shown = as_file(&defaults());
        assert_eq!(meaning(&format!("{shown}{LEAST}")), meaning(LEAST), "{shown}");
        assert!(defaults().len() > 40, "{shown}");
        let all = effective(MUCH);
        let of = |key: &str| {
            let found = all.iter().find(|setting| setting.key == key);
            found.map(|setting| (setting.toml.as_str(), setting.origin))
        };
        let default = |value| Some((value, Origin::Default));
        assert_eq!(of("daemon.run_dir"), default("\"/run/enforcer\""));
        assert_eq!(of("audit.stdout"), default("false"));
        assert_eq!(of("audit.fsync"), default("\"always\""));
        assert_eq!(of("outside.engine_resolver"), default("\"record\""));
        assert_eq!(of("dns.burst"), default("100"));
        assert_eq!(of("abuse.window"), Some(("\"2m\"", Origin::File { line: 9 })));
        assert_eq!((of("abuse.smtp.answer"), of("abuse.smtp.more_than")), (None, default("20")));
        assert_eq!(
            of("networks.\"b.c\".quotas.closing").map(|(value, _)| value),
            Some("4096"),
            "{all:?}"
        );
        assert_eq!(of("networks.a.quotas.closing"), default("8192"));
        let json = serde_json::to_value(&all).expect("serialises");
        let window =
            json.as_array().expect("a list").iter().find(|one| one["key"] == "abuse.window");
        let expected =
            serde_json::json!({"key": "abuse.window", "value": "2m", "from": "file", "line": 9});
        assert_eq!(window, Some(&expected));
    }
}
