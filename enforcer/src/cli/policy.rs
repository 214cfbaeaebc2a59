//! `enforcer policy`: what a config file lets guests reach, and what another one would change about it. Only
//! files are read.

mod import;
mod replay;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{Exit, table::table};
use crate::config::{
    Config, Mode,
    describe::{Change, Described, DescribedRule, LimitsChange, describe, diff, diff_limits},
    file::load,
    parse,
};

/// Arguments of `policy`.
#[derive(Debug, Args)]
pub(super) struct PolicyArgs {
    #[command(subcommand)]
    verb: PolicyVerb,
}

#[derive(Debug, Subcommand)]
enum PolicyVerb {
    /// Show the rules for each kind of guest, with their numbers.
    Show(ShowArgs),
    /// Say which rules come and go, and which limits change, from one config file to another.
    Diff(DiffArgs),
    /// Say what a config file would have decided otherwise about stored records.
    Replay(replay::ReplayArgs),
    /// Turn a network policy of zero-to-jupyterhub into one of ours, and say what has no equal.
    #[command(name = "import-z2jh")]
    Import(import::ImportArgs),
}

/// Arguments of `policy show`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer policy show
  enforcer policy show --config new.toml tutorials
  enforcer policy show --json | jq '.[] | select(.guests == \"group staff\")'

The config file is read, nothing else: `enforcer explain` asks the daemon. A denial beats every permission,
whatever their order; neither networks nor presets ever mean this host or a guest network.")]
struct ShowArgs {
    /// Only this network's.
    network: Option<String>,
    /// The config file.
    #[arg(long, short, default_value = "/etc/enforcer/enforcer.toml")]
    config: PathBuf,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Arguments of `policy diff`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer policy diff /etc/enforcer/enforcer.toml new.toml && echo the same
  enforcer policy diff old.toml new.toml --json | jq '.[] | select(.is_new)'

Rules are compared by what they say, not by where they stand. In JSON a change of limits has `limits_before` and
`limits_after` in the place of `rule`. The exit code is 0 when there is no difference,
otherwise 1.")]
struct DiffArgs {
    /// The config file as it is.
    before: PathBuf,
    /// The config file as it is to be.
    after: PathBuf,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn policy(args: &PolicyArgs) -> anyhow::Result<Exit> {
    match &args.verb {
        PolicyVerb::Show(args) => show(args),
        PolicyVerb::Diff(args) => compare(args),
        PolicyVerb::Replay(args) => replay::run(args),
        PolicyVerb::Import(args) => import::run(args),
    }
}

fn show(args: &ShowArgs) -> anyhow::Result<Exit> {
    let Some(config) = config(&args.config) else { return Ok(Exit::Usage) };
    if let Some(network) = &args.network
        && !config.networks.contains_key(network)
    {
        let known: Vec<&str> = config.networks.keys().map(String::as_str).collect();
        eprintln!("no guest network is called {network}; there are {}", known.join(", "));
        return Ok(Exit::Usage);
    }
    let mut all = describe(&config);
    all.retain(|one| args.network.as_ref().is_none_or(|network| one.network == *network));
    if args.json {
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        for one in &all {
            print!("{}", text(one));
        }
    }
    Ok(Exit::Ok)
}

fn compare(args: &DiffArgs) -> anyhow::Result<Exit> {
    let (Some(before), Some(after)) = (config(&args.before), config(&args.after)) else {
        return Ok(Exit::Usage);
    };
    let (changes, limits) = (diff(&before, &after), diff_limits(&before, &after));
    if args.json {
        let changes = changes.iter().map(serde_json::to_value);
        let all = changes.chain(limits.iter().map(serde_json::to_value));
        println!("{}", serde_json::to_string_pretty(&all.collect::<Result<Vec<_>, _>>()?)?);
    } else if changes.is_empty() && limits.is_empty() {
        println!("no rule comes or goes, and no limit changes");
    } else {
        print!("{}{}", diff_text(&changes), limits_text(&limits));
    }
    Ok(if changes.is_empty() && limits.is_empty() { Exit::Ok } else { Exit::Error })
}

/// A name that a policy may have.
pub(super) fn policy_name(name: &str) -> Result<String, String> {
    let quoted = toml::Value::String(name.to_owned());
    match parse(&format!("[policies.{quoted}]\n[networks.a]\nbridge = \"br-a\"\n"), "") {
        Ok(_) => Ok(name.to_owned()),
        Err(error) => {
            Err(error.problems.first().map(|one| one.message.clone()).unwrap_or_default())
        }
    }
}

/// A config file that is good; of another one the problems have been told.
fn config(path: &Path) -> Option<Config> {
    load(path).map_err(|error| eprintln!("{error}")).ok()
}

fn text(one: &Described) -> String {
    let policy = one.policy.as_ref().map(|name| format!(", policy {name}"));
    let mode = (one.mode == Mode::Audit.name()).then_some(", audit mode");
    let limits = (!one.limits.is_empty()).then(|| format!(", limits {}", one.limits));
    let title = [
        format!("{}: {}", one.network, one.guests),
        policy.unwrap_or_default(),
        mode.unwrap_or_default().to_owned(),
        limits.unwrap_or_default(),
    ];
    let title = title.concat();
    let rows = one.rules.iter().map(|rule| {
        let [ports, to] = cells(rule);
        [rule.number.to_string(), rule.action.to_owned(), ports, rule.name.clone(), to]
    });
    table(&title, ["number", "action", "ports", "rule", "to"], rows)
}

fn diff_text(changes: &[Change]) -> String {
    let rows = changes.iter().map(|change| {
        let sign = if change.is_new { "+" } else { "-" };
        let [ports, to] = cells(&change.rule);
        let of = format!("{}: {}", change.network, change.guests);
        [sign.to_owned(), of, change.rule.action.to_owned(), ports, change.rule.name.clone(), to]
    });
    table("Rules that come (+) and go (-)", ["", "guests", "action", "ports", "rule", "to"], rows)
}

fn limits_text(changes: &[LimitsChange]) -> String {
    if changes.is_empty() {
        return String::new();
    }
    let rows = changes.iter().map(|change| {
        let of = format!("{}: {}", change.network, change.guests);
        [of, change.limits_before.to_string(), change.limits_after.to_string()]
    });
    table("Limits that change", ["guests", "before", "after"], rows)
}

fn cells(rule: &DescribedRule) -> [String; 2] {
    let except = if rule.except.is_empty() {
        String::new()
    } else {
        format!(" but not {}", rule.except.join(", "))
    };
    [rule.ports.clone(), rule.to.join(", ") + &except]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o2_the_table_has_each_rule_with_its_number_and_line() {
        let config = "[policies.p]\n[[policies.p.allow]]\nto = \"192.0.2.7\"\nport = 443\n\
                      [networks.a]\nbridge = \"br-a\"\npolicy = \"p\"\n";
        let config = parse(config, "f.toml").expect("is good");
        let text: String = describe(&config).iter().map(text).collect();
        assert_eq!(
            text,
            "\na: all guests, policy p\n  number  action  ports    rule               to\n  \
             1       allow   tcp 443  allow at f.toml:2  192.0.2.7\n"
        );
        let none = parse("[networks.a]\nbridge = \"br-a\"\n", "f").expect("is good");
        let changes = diff(&config, &none);
        assert!(
            diff_text(&changes)
                .contains("  -  a: all guests  allow   tcp 443  allow at f.toml:2  192.0.2.7")
        );
    }
}
