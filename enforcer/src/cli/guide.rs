//! The guide's commands and config are read as the program reads them, so that none of them is made up.

use std::path::Path;

use clap::Parser as _;

use super::Cli;
use crate::config::parse;

/// What is read, from the root of the repository.
const DOCUMENTS: [&str; 2] = ["docs/guide.md", "integrations/jupyterhub/README.md"];
/// Config files that stand beside them.
const CONFIGS: [&str; 2] =
    ["integrations/jupyterhub/enforcer.toml", "integrations/jupyterhub/compose/enforcer.toml"];

fn text(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Texts between fences of this language.
fn blocks(document: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in document.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(word)) => open = Some((word == language, String::new())),
            (Some(_), Some(_)) => {
                found.extend(open.take().filter(|(is_wanted, _)| *is_wanted).map(|(_, text)| text));
            }
            (Some((_, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a fence is not closed");
    found
}

/// The words of a line, as a shell reads plain ones: quotes, and no more than one command.
fn words(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for character in line.chars() {
        match (quote, character) {
            (Some(mark), _) if character == mark => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(character),
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, '|' | '>' | '<' | ';' | '&' | '`' | '$') => return None,
            (None, '#') if word.is_none() => break,
            (None, _) => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// Commands of ours in a document, whole lines.
fn commands(document: &str) -> Vec<String> {
    let lines = blocks(document, "sh")
        .into_iter()
        .flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>());
    lines.filter(|line| line.trim_start_matches("sudo ").starts_with("enforcer ")).collect()
}

#[test]
fn every_command_of_the_guide_exists() {
    let all: Vec<String> = DOCUMENTS.iter().flat_map(|path| commands(&text(path))).collect();
    assert!(all.len() > 30, "few commands are found: {all:?}");
    for line in all {
        let read = words(line.trim_start_matches("sudo "));
        let read = read.unwrap_or_else(|| panic!("more than a plain command: {line}"));
        if let Err(error) = Cli::try_parse_from(&read) {
            panic!("{line}: {error}");
        }
    }
    // It would tell.
    assert!(Cli::try_parse_from(["enforcer", "polices"]).is_err());
    assert_eq!(words("enforcer a 'b \"c' \"\" # d").map(|words| words.len()), Some(4));
    assert_eq!(words("enforcer a | jq"), None);
}

#[test]
fn the_guide_s_config_is_accepted_part_by_part() {
    let mut file = String::new();
    let parts = blocks(&text("docs/guide.md"), "toml");
    assert!(parts.len() > 5, "few parts are found");
    for part in parts {
        file.push_str(&part);
        if let Err(error) = parse(&file, "guide.md") {
            panic!("{error}\n{file}");
        }
    }
    for path in CONFIGS {
        if let Err(error) = parse(&text(path), path) {
            panic!("{error}");
        }
    }
}

#[test]
fn what_the_guide_links_to_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for path in DOCUMENTS {
        let document = text(path);
        let from = root.join(path);
        let mut count = 0;
        for rest in document.split("](").skip(1) {
            let target = rest.split([')', '#']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            count += 1;
            let to = from.parent().expect("a directory").join(target);
            assert!(to.exists(), "{path} links to {target}");
        }
        assert!(count > 0, "{path} has no links");
    }
}
