//! `enforcer config show`: the values in force.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::{
    audit::record::shown,
    cli::Exit,
    config::{
        effective::{Origin, Setting, defaults, effective},
        file,
    },
};

/// Arguments of `config show`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer config show
  enforcer config show --json | jq -r '.settings[] | select(.from == \"file\") | \"\\(.line) \\(.key)\"'
  enforcer config show --defaults

Each line is `key = value`, so that the whole is a config file, and says where the value comes from: a line of the
file, or the default. What [hubs.NAME.gate] leaves out is as in [gate]. The daemon is not asked: what was
written since its last `reload` is not in force yet.")]
pub(super) struct ShowArgs {
    /// The config file.
    #[arg(long, short, default_value = "/etc/enforcer/enforcer.toml")]
    config: PathBuf,
    /// Show what holds where a file says nothing; no file is read.
    #[arg(long, conflicts_with = "config")]
    defaults: bool,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Shows them; a file that is refused is told as by `check`.
pub(super) fn show(args: &ShowArgs) -> anyhow::Result<Exit> {
    let (settings, file) = if args.defaults {
        (defaults(), None)
    } else {
        let text = match file::read(&args.config) {
            Ok((text, _)) => text,
            Err(error) => {
                eprintln!("{error}");
                return Ok(Exit::Usage);
            }
        };
        (effective(&text), Some(args.config.display().to_string()))
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&json!({"file": file, "settings": settings}))?);
    } else {
        print!("{}", listing(&settings, file.as_deref().unwrap_or_default()));
    }
    Ok(Exit::Ok)
}

/// A line for each; the origins line up where lines are short.
fn listing(settings: &[Setting], file: &str) -> String {
    const COLUMN: usize = 56;
    let line = |setting: &Setting| {
        let origin = match setting.origin {
            Origin::Default => "default".to_owned(),
            Origin::File { line } => format!("{}:{line}", shown(file)),
        };
        format!("{:<COLUMN$}  # {origin}\n", shown(&setting.to_string()))
    };
    settings.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn each_value_says_where_it_comes_from_and_the_whole_is_a_config() {
        let text = "[networks.a]\nbridge = \"br-a\"\n";
        let told = listing(&effective(text), "/etc/e.toml");
        for words in ["networks.a.bridge = \"br-a\"", "  # /etc/e.toml:2\n"] {
            assert!(told.contains(words), "{words:?} is missing in:\n{told}");
        }
        let default = told.lines().find(|line| line.starts_with("daemon.run_dir = "));
        assert!(default.is_some_and(|line| line.ends_with("  # default")), "{told}");
        assert!(parse(&told, "f").is_ok(), "{told}");
    }
}
