//! `enforcer learn`: from records, a policy for a person to review.

use std::path::PathBuf;

use clap::Args;

use super::{Exit, policy::policy_name, stored};
use crate::learn::{Learning, Wish};

/// Arguments of `learn`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer learn --from /var/lib/enforcer/audit --image course:2026 --name course > course.toml
  enforcer learn --from monday.jsonl.gz tuesday.jsonl.gz --min-guests 5 --merge
  enforcer learn --from records.jsonl --json | jq -r '.rules[] | select(.left_out) | .to'

For a tutorial that has run with mode = \"audit\": one rule for each destination that at least --min-guests guests had,
with how many guests, when, and what it was called. Private addresses, metadata services and what fewer guests had are
comments, with the reason. A guest with more than --scan destinations is left out. Nothing is put in
force: read it, put it in the config file, and see `enforcer policy diff` and `enforcer policy replay`.")]
pub(super) struct LearnArgs {
    /// Directories of the store, files of records (compressed or not), or - for standard input.
    #[arg(long, value_name = "RECORDS", required = true, num_args = 1..)]
    from: Vec<PathBuf>,
    /// Only guests of this image.
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Only guests on this network.
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// Name of the policy.
    #[arg(long, value_name = "NAME", default_value = "learnt", value_parser = policy_name)]
    name: String,
    /// Guests that must have had a destination for it to be in the policy.
    #[arg(long, value_name = "K", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    min_guests: u32,
    /// Leave out a guest that had more destinations than this.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    scan: u32,
    /// Make one network of addresses of one /24 (IPv6: /64) with the same ports. It opens more than was seen.
    #[arg(long)]
    merge: bool,
    /// Write JSON, for programs: one document.
    #[arg(long)]
    json: bool,
}

/// Learns.
pub(super) fn learn(args: &LearnArgs) -> anyhow::Result<Exit> {
    let mut learning = Learning::new(Wish {
        policy: &args.name,
        image: args.image.as_deref(),
        network: args.network.as_deref(),
        min_guests: usize::try_from(args.min_guests)?,
        scan: usize::try_from(args.scan)?,
        merge: args.merge,
    });
    let read = stored::each(&args.from, &mut |record| learning.take(record))?;
    let learnt = learning.finish();
    if args.json {
        println!("{}", serde_json::to_string(&learnt)?);
    } else {
        print!("{}", learnt.toml);
    }
    let left_out = learnt.rules.iter().filter(|rule| rule.left_out.is_some()).count();
    eprintln!(
        "{} records, {} attempts of {} guests: {} rules, {left_out} more as comments",
        read.records,
        learnt.attempts,
        learnt.guests,
        learnt.rules.len() - left_out
    );
    if read.not_records > 0 {
        eprintln!("{} lines are no records", read.not_records);
    }
    Ok(Exit::Ok)
}
