//! `enforcer policy import-z2jh`: a network policy of zero-to-jupyterhub as one of ours.

use std::{fs, path::PathBuf};

use clap::Args;

use super::policy_name;
use crate::{
    cli::Exit,
    config::parse,
    z2jh::{Chart, Note, Wish, import},
};

/// Arguments of `policy import-z2jh`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer policy import-z2jh values.yaml > policy.toml
  enforcer policy import-z2jh binder.yaml --at binderhub.jupyterhub.singleuser --name binder
  enforcer policy import-z2jh values.yaml --json | jq -r '.no_equal[] | \"\\(.path): \\(.why)\"'

Reads singleuser.networkPolicy and singleuser.cloudMetadata of a values file, with the chart's defaults for what
it leaves out. The policy goes to standard output, what has no equal also to standard error; it is left out,
so that the policy opens less and never more. What the chart does not know is refused.

The exit code is 0 when everything has an equal, 1 when something has none, 2 when the file is refused.")]
pub(super) struct ImportArgs {
    /// The values file, YAML.
    file: PathBuf,
    /// Name of the policy.
    #[arg(long, value_name = "NAME", default_value = "z2jh", value_parser = policy_name)]
    name: String,
    /// Where in the file the chart's `singleuser` is, if that is not clear.
    #[arg(long, value_name = "PATH")]
    at: Option<String>,
    /// Version of the chart, whose defaults hold.
    #[arg(long, value_name = "VERSION", default_value = "4", value_parser = chart)]
    chart: Chart,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Imports.
pub(super) fn run(args: &ImportArgs) -> anyhow::Result<Exit> {
    let file = args.file.display().to_string();
    let text = match fs::read_to_string(&args.file) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("cannot read {file}: {error}");
            return Ok(Exit::Usage);
        }
    };
    let wish = Wish {
        policy: &args.name,
        at: args.at.as_deref(),
        chart: args.chart,
        has_dns: has_preset("dns"),
    };
    let imported = match import(&text, &file, &wish) {
        Ok(imported) => imported,
        Err(problems) => {
            for problem in problems {
                eprintln!("{file}:{}: {}", problem.line, problem.message);
            }
            return Ok(Exit::Usage);
        }
    };
    if args.json {
        println!("{}", serde_json::to_string(&imported)?);
    } else {
        print!("{}", imported.toml);
        tell(&file, "no equal", &imported.no_equal);
        tell(&file, "meant otherwise", &imported.differs);
    }
    Ok(if imported.no_equal.is_empty() { Exit::Ok } else { Exit::Error })
}

fn tell(file: &str, what: &str, notes: &[Note]) {
    for Note { path, line, why } in notes {
        let place =
            line.map_or_else(|| "the chart's default".to_owned(), |line| format!("{file}:{line}"));
        eprintln!("{place}: {what}: {path}: {why}");
    }
}

/// Whether our config knows a preset.
fn has_preset(name: &str) -> bool {
    let text = format!("[policies.p]\npresets = [\"{name}\"]\n[networks.a]\nbridge = \"br-a\"\n");
    parse(&text, "").is_ok()
}

fn chart(version: &str) -> Result<Chart, String> {
    let major = version.split('.').next().unwrap_or_default();
    match major.parse::<u32>() {
        Ok(1) => Ok(Chart::One),
        Ok(2) => Ok(Chart::Two),
        Ok(3..) => Ok(Chart::Three),
        _ => Err("write the chart's version, 1 or later, such as 4 or 3.2.1".to_owned()),
    }
}
