//! Rules as text of a config file, for verbs that write policies. Pure. What it writes the parser reads.

/// A rule to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WrittenRule {
    /// Said before it, a line each.
    pub comments: Vec<String>,
    /// `allow` or `deny`.
    pub action: &'static str,
    /// Addresses, networks, or `any`.
    pub to: Vec<String>,
    /// `tcp`, `udp`, `icmp` or `any`; `None`: everything.
    pub protocol: Option<&'static str>,
    /// Ranges of ports; empty: all.
    pub ports: Vec<(u16, u16)>,
    /// It stands there for people only.
    pub is_comment: bool,
}

/// The line that begins the table of a policy.
#[must_use]
pub fn head(policy: &str) -> String {
    format!("[policies.{}]\n", key(policy))
}

/// A rule, after an empty line.
#[must_use]
pub fn rule(policy: &str, rule: &WrittenRule) -> String {
    let WrittenRule { comments, action, to, protocol, ports, is_comment } = rule;
    let mut lines: Vec<String> = comments.iter().map(|line| comment(line)).collect();
    let mut add = |line: String| {
        lines.push(if *is_comment { format!("# {line}") } else { line });
    };
    add(format!("[[policies.{}.{action}]]", key(policy)));
    add(format!("to = {}", list(to.iter().map(|to| quoted(to)))));
    if let Some(protocol) = protocol {
        add(format!("protocol = {}", quoted(protocol)));
    }
    if !ports.is_empty() {
        let range = |(first, last): &(u16, u16)| {
            if first == last { first.to_string() } else { quoted(&format!("{first}-{last}")) }
        };
        add(format!("port = {}", list(ports.iter().map(range))));
    }
    format!("\n{}\n", lines.join("\n"))
}

/// A text as a comment of one line: nothing in it begins another.
#[must_use]
pub fn comment(text: &str) -> String {
    let plain: String =
        text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    format!("# {plain}").trim_end().to_owned()
}

/// One value, or a list on one line: so a comment of it is one line, too.
fn list(values: impl Iterator<Item = String>) -> String {
    let values: Vec<String> = values.collect();
    match values.as_slice() {
        [one] => one.clone(),
        all => format!("[{}]", all.join(", ")),
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A name as a key of TOML.
fn key(name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !name.is_empty() && name.bytes().all(bare) { name.to_owned() } else { quoted(name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Place, parse};

    #[test]
    fn o2_what_is_written_is_what_the_parser_reads() {
        let web = WrittenRule {
            comments: vec!["for \"all\"\nport = 25".to_owned()],
            action: "allow",
            to: vec!["192.0.2.0/24".to_owned(), "2001:db8::7".to_owned()],
            protocol: Some("any"),
            ports: vec![(443, 443), (8000, 8099)],
            is_comment: false,
        };
        let every =
            WrittenRule { action: "deny", to: vec!["any".to_owned()], ..WrittenRule::default() };
        let left_out = WrittenRule { is_comment: true, ..web.clone() };
        for name in ["course", "a.b"] {
            let policy =
                head(name) + &rule(name, &web) + &rule(name, &left_out) + &rule(name, &every);
            let text = format!("{policy}[networks.a]\nbridge = \"br-a\"\npolicy = \"{name}\"\n");
            let config = parse(&text, "f").expect(&text);
            let rules = &config.policies[name].rules;
            assert_eq!(rules.len(), 2, "{text}");
            let Place::Nets { to, .. } = &rules[0].to else { panic!("{rules:?}") };
            assert_eq!((to.len(), rules[0].ports.len()), (2, 4), "{text}");
            assert_eq!(rules[1].ports.len(), 4, "{text}");
        }
    }
}
