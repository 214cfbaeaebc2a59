//! The command line: one file for each verb.

mod allow;
mod audit;
mod check;
mod close;
mod config;
mod cut;
mod dashboard;
mod doctor;
mod dry;
mod events;
mod explain;
mod flows;
mod gate;
mod grant;
mod group;
mod guest;
#[cfg(test)]
mod guide;
mod learn;
mod lifecycle;
pub mod manual;
mod network;
mod pardon;
mod policy;
mod run;
mod status;
mod stored;
mod table;
mod top;

use std::{path::PathBuf, time::SystemTime};

use clap::{Args, Parser, Subcommand};

use self::dry::{Dry, refused, would};

use crate::{
    api::ControlError,
    audit::{record::shown_lines, store},
    config::{
        DEFAULT_PIN_DIR, DEFAULT_RUN_DIR,
        file::{self, FileError},
    },
    policy::allowance::LASTS,
};

/// Exit codes; they are documented in `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, and everything is enforced.
    Ok = 0,
    /// Something failed.
    Error = 1,
    /// Wrong usage, or a config file that is refused. clap uses it too.
    Usage = 2,
    /// This host lacks something; nothing was changed.
    Preflight = 3,
    /// Policy holds, but something is missing.
    Degraded = 4,
    /// A guest could do what policy forbids, or nobody knows.
    NotEnforcing = 5,
    /// Stored records were changed, removed, added or moved.
    NotIntact = 6,
}

const LONG_ABOUT: &str = "\
enforcer polices the guest networks of a Docker host that strangers may use: containers on such a
network open no connection beyond what the config allows, and reach neither one another nor this
host. Answers flow: whoever may talk to a guest can, at full speed.";

const AFTER_HELP: &str = "\
Examples:
  enforcer check /etc/enforcer/enforcer.toml   say what would be policed, or what is wrong with the file
  enforcer config init                  write a first config file, with a few questions
  enforcer config show                  say which values are in force, and where each comes from
  enforcer close --config FILE          close the guest networks until enforcer runs, at boot
  enforcer run --config FILE            police, in the foreground
  enforcer status                       say what the kernel enforces now
  enforcer status --json | jq .health   the same for programs
  enforcer doctor                       say what this host lacks, and what mends it
  enforcer explain --from G --to 192.0.2.7:443   say which rule allows or denies it
  enforcer flows --guest G              show who talks to whom now, and how much
  enforcer policy diff OLD NEW          say which rules come and go with another config file
  enforcer policy replay --config NEW R say what NEW would have decided otherwise about records R
  enforcer learn --from R               make a policy to review of what guests did
  enforcer events --follow              show what happens, as it happens
  enforcer group add docker-privileged alice --hub lab   let a user have a Docker socket
  enforcer guest start alice --image I  start a guest, policed, for a user
  enforcer guest list                   show guests, and which need a restart
  enforcer grant list                   show which groups have a grant
  enforcer gate explain POST /containers/create BODY   say whether a Docker socket lets it through
  enforcer network create data --user alice
                                        make a network for a user's own containers
  enforcer top                          show guests, traffic and denials, live
  enforcer dashboard                    the same as a web page, on this host only
  enforcer cut jupyter-ann --reason R   cut a guest off for 10 minutes
  enforcer allow jupyter-ann 192.0.2.7:443 --for 1h --reason R
                                        open a destination to one guest for a while
  enforcer pardon jupyter-ann           let a guest go that was cut off for abuse
  enforcer audit verify --key FILE      say whether somebody changed the stored records
  enforcer audit query --to 192.0.2.7   say who reached an address
  enforcer audit report alice           tell everything that is kept of a user or guest
  enforcer audit erase alice            erase a name where records have pseudonyms

Exit codes:
  0  done; for `status`: everything is enforced
  1  something failed; for `policy diff` and `policy replay`: there is a difference; for
     `policy import-z2jh`: something has no equal
  2  wrong usage, or the config file is refused
  3  this host lacks something that is needed; nothing was changed; for `doctor`: a check fails
  4  `status`: degraded; policy holds, but something is missing, the daemon for instance
  5  `status`: not enforcing
  6  `audit verify`: not intact; stored records were changed, removed, added or moved

ENFORCER_LOG sets what is logged to standard error: error, warn, info (default), debug.";

/// Polices the guest networks of a public Docker host.
#[derive(Debug, Parser)]
#[command(name = "enforcer", version, long_about = LONG_ABOUT, after_help = AFTER_HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Police the guest networks of a config file, in the foreground.
    Run(RunArgs),
    /// Say what a config file would police, or everything that is wrong with it.
    Check(CheckArgs),
    /// Write a first config file, check one, and show what is in force with it.
    Config(config::ConfigArgs),
    /// Close the guest networks of a config file: no frame passes until `run` polices them.
    Close(CloseArgs),
    /// Say what is enforced now, as the kernel reports it.
    Status(StatusArgs),
    /// Say whether this host has what enforcer needs, and what mends it where it has not.
    Doctor(DoctorArgs),
    /// Say why a guest may, or may not, reach a destination: which rule decides, and what the others say.
    Explain(ExplainArgs),
    /// Show live flows, as the kernel holds them now.
    Flows(flows::FlowsArgs),
    /// Show what a config file lets guests reach, or what another one would change; import one.
    Policy(policy::PolicyArgs),
    /// Make a policy, for a person to review, of what guests did as records tell it.
    Learn(learn::LearnArgs),
    /// Show and change groups: who may have a Docker socket.
    Group(group::GroupArgs),
    /// Show and change grants: which Docker socket members of groups may have.
    Grant(grant::GrantArgs),
    /// Say what the gate would decide of a request to its Docker sockets, and show its routes.
    Gate(gate::GateArgs),
    /// Start, end and show guests that enforcer starts itself.
    Guest(guest::GuestArgs),
    /// Make, remove and show networks of users: policed before anybody is on them.
    Network(network::NetworkArgs),
    /// Show audit records that the daemon has in memory, and those to come.
    Events(EventsArgs),
    /// Cut a guest off for a while: it opens nothing but to its hubs, and visitors still come in.
    Cut(cut::CutArgs),
    /// Let a guest go that was cut off or paused for abuse.
    Pardon(PardonArgs),
    /// Open a destination to one guest for a while, beyond its policy; show what is open, or close it.
    Allow(allow::AllowArgs),
    /// Show guests, their traffic and denials on a terminal, live, and act on them.
    Top(top::TopArgs),
    /// Serve a web page of the same to look at, on this host only.
    Dashboard(dashboard::DashboardArgs),
    /// Have the daemon read its config file again; one that is refused changes nothing.
    Reload(DaemonArgs),
    /// End the daemon. Guests stay policed, and new ones stay closed.
    Stop(DaemonArgs),
    /// End the daemon, open what it closed, and remove every trace of it from the kernel.
    Uninstall(UninstallArgs),
    /// Verify the stored records, find some of them, tell a guest's story, or erase a name.
    Audit(audit::AuditArgs),
    /// Write what a shell needs to complete commands.
    Completions(manual::CompletionsArgs),
    /// Write the man pages and completions into a directory, as packages do.
    #[command(hide = true)]
    Manual(manual::ManualArgs),
}

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  enforcer run --config /etc/enforcer/enforcer.toml >> /var/log/enforcer.jsonl

Audit records go to standard output, one JSON object a line; logs go to standard error. SIGTERM and
SIGINT end it.")]
struct RunArgs {
    /// The config file; examples/enforcer.toml explains every key.
    #[arg(long, short, default_value = "/etc/enforcer/enforcer.toml")]
    config: PathBuf,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer check /etc/enforcer/enforcer.toml
  enforcer check --json enforcer.toml | jq -r '.problems[] | \"\\(.line): \\(.message)\"'

Nothing is changed, and neither Docker nor the kernel is asked.")]
struct CheckArgs {
    /// The config file.
    config: PathBuf,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Arguments of `close`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  enforcer close --config /etc/enforcer/enforcer.toml

Writes the table `enforcer` of nftables' bridge family: on the bridges of guest networks, also those
that Docker has yet to create, it drops every frame that no eBPF program of enforcer has let
through. So guests have no network until `enforcer run` polices them, and none where it fails.
Needs nft, but neither Docker nor the daemon; doing it again changes nothing. enforcer-closed.service
does it at boot. `enforcer run` writes the same table and repairs it.")]
struct CloseArgs {
    /// The config file; examples/enforcer.toml explains every key.
    #[arg(long, short, default_value = "/etc/enforcer/enforcer.toml")]
    config: PathBuf,
    #[command(flatten)]
    dry: Dry,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer status
  enforcer status --config /etc/enforcer/enforcer.toml
  enforcer status --json | jq '.endpoints[] | select(.role == \"unknown\")'

The exit code is 0 only when everything is enforced, so that monitoring can call this.")]
struct StatusArgs {
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: DaemonAt,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo enforcer doctor
  sudo enforcer doctor --json | jq '.checks[] | select(.grade != \"ok\")'

Looks at the kernel, at Docker and its settings, at the guest bridges, the clock, disks, the config, the daemon
and its units. Each line is ok, warn or fail; what is not ok says what it means and what mends it. Nothing is
changed. Exit codes: 0 where nothing fails, also with warnings; 3 where something does.")]
struct DoctorArgs {
    /// The config file.
    #[arg(long, short, default_value = "/etc/enforcer/enforcer.toml")]
    config: PathBuf,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer explain --from jupyter-ann --to 151.101.0.223:443
  enforcer explain --from 172.30.0.5 --to [2001:db8::1]:53/udp
  enforcer explain --from 4f9d3b --to 192.0.2.1/icmp --json | jq -r .verdict
  enforcer explain --from jupyter-ann --to pypi.org:443

Of a DNS name it says whether the guest's resolver asks for it, and which rules open what it leads to; the
verdict is `by_address` where rules about its addresses decide.

The daemon is asked; nothing is sent to the destination. Flows that exist already, and limits, have no part
in the answer.")]
struct ExplainArgs {
    /// The guest: its container's name, the beginning of its id, or its address.
    #[arg(long, value_name = "GUEST")]
    from: String,
    /// Where to: ADDRESS:PORT or NAME:PORT, with /udp for UDP; ADDRESS/icmp for an echo request.
    #[arg(long, value_name = "DESTINATION", value_parser = explain::parse_destination)]
    to: explain::Destination,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: DaemonAt,
}

/// Arguments of `pardon`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer pardon jupyter-ann
  enforcer pardon 4f9d3b --json

`enforcer status` lists who is cut off or paused. What the guest did before is not held against it again.")]
struct PardonArgs {
    /// The guest: its container's name, or the beginning of its id.
    guest: String,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    dry: Dry,
    #[command(flatten)]
    at: DaemonAt,
}

/// Arguments of `events`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer events --follow
  enforcer events --guest jupyter-ann --verdict deny
  enforcer events --json --from 1200 --follow | my-collector

The daemon has the latest 16384 records in memory; --from goes on where a reader was, and a `gap` says
what is missing. Filters apply to what is shown.")]
struct EventsArgs {
    /// Go on as records are made.
    #[arg(long, short)]
    follow: bool,
    /// Begin with the record of this number.
    #[arg(long, value_name = "NUMBER")]
    from: Option<u64>,
    /// Only those since this time, as 2026-01-31T12:00:00Z or 15m, 2h, 3d ago.
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<u64>,
    /// Only those of this container.
    #[arg(long, value_name = "NAME")]
    guest: Option<String>,
    /// Only those of guests that were started for this user.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Only those of guests that this hub started.
    #[arg(long, value_name = "NAME")]
    hub: Option<String>,
    /// Only those with this verdict.
    #[arg(long, value_parser = ["allow", "deny"])]
    verdict: Option<String>,
    /// Only those with this reason.
    #[arg(long)]
    reason: Option<String>,
    /// Only those of this kind: `denied`, `flow_opened`, `flow_closed`, `loss`, `repair`, …
    #[arg(long)]
    kind: Option<String>,
    /// Write JSON, one record a line, for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: DaemonAt,
}

/// Which daemon is asked.
#[derive(Debug, Args)]
struct DaemonAt {
    /// Ask the daemon of this config file.
    #[arg(long, value_name = "FILE", conflicts_with = "run_dir")]
    config: Option<PathBuf>,
    /// Ask the daemon of this run directory [default: /run/enforcer].
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
}

impl DaemonAt {
    /// Its run directory and its pin directory.
    fn directories(&self) -> Result<(PathBuf, PathBuf), FileError> {
        if let Some(config) = &self.config {
            return file::load(config).map(|config| (config.run_dir, config.pin_dir));
        }
        let run_dir = self.run_dir.clone().unwrap_or_else(|| DEFAULT_RUN_DIR.into());
        Ok((run_dir, DEFAULT_PIN_DIR.into()))
    }
}

impl DaemonAt {
    /// The directory of its records, as far as that is known.
    fn records(&self) -> PathBuf {
        let config = self.config.as_ref().and_then(|config| file::load(config).ok());
        let files = config.and_then(|config| config.audit.files);
        files.map_or_else(|| store::DEFAULT_DIR.into(), |files| files.dir)
    }
}

/// Asks the daemon, and tells the answer, or why there is none.
async fn told<T: serde::Serialize>(
    at: &DaemonAt,
    json: bool,
    text: impl FnOnce(&T) -> String,
    ask: impl AsyncFnOnce(PathBuf) -> Result<T, ControlError>,
) -> anyhow::Result<Exit> {
    let (run_dir, _) = match at.directories() {
        Ok(directories) => directories,
        Err(error) => {
            eprintln!("{error}");
            return Ok(Exit::Usage);
        }
    };
    match ask(run_dir).await {
        Ok(answer) if json => println!("{}", serde_json::to_string(&answer)?),
        Ok(answer) => print!("{}", text(&answer)),
        Err(ControlError::Refused(why)) => return Ok(declined(&why)),
        Err(error) => return Err(error.into()),
    }
    Ok(Exit::Ok)
}

/// Tells why the daemon says no, which may quote what a guest wrote.
fn declined(why: &str) -> Exit {
    eprintln!("{}", shown_lines(why));
    Exit::Usage
}

/// Reads a time to come, or for how long, as RFC 3339.
fn parse_end(text: &str) -> Result<String, String> {
    store::end(text, SystemTime::now())
}

/// Reads for how long: 30s, 15m, 2h, 3d; seconds.
fn parse_span(text: &str) -> Result<u64, String> {
    let wrong = || format!("\"{text}\" is no time such as 30s, 15m, 2h or 3d");
    let unit = text.chars().next_back().and_then(|letter| match letter {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3600),
        'd' => Some(86_400),
        _ => None,
    });
    let number = text.get(..text.len().saturating_sub(1)).and_then(|text| text.parse::<u64>().ok());
    let seconds = number.zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
    seconds
        .filter(|seconds| LASTS.contains(seconds))
        .ok_or_else(wrong)
        .map_err(|why| format!("{why}, from 10s to 7d"))
}

/// Reads a time, or how long ago it was, as microseconds since 1970.
fn parse_moment(text: &str) -> Result<u64, String> {
    store::moment(text, SystemTime::now())
}

/// Arguments of `reload` and `stop`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer check /etc/enforcer/enforcer.toml && enforcer reload
  enforcer stop

`stop` opens nothing: what the kernel enforces it goes on enforcing, and containers that start
meanwhile have no network. `enforcer uninstall` opens.")]
struct DaemonArgs {
    /// The config file that the daemon runs with.
    #[arg(long, short, default_value = "/etc/enforcer/enforcer.toml")]
    config: PathBuf,
    #[command(flatten)]
    dry: Dry,
}

/// Arguments of `uninstall`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  enforcer uninstall --yes >> /var/log/enforcer.jsonl

Guests can then reach one another, this host and everything beyond it, as far as Docker lets them.
One record of it goes to standard output.")]
struct UninstallArgs {
    /// The config file that the daemon ran with.
    #[arg(long, short, default_value = "/etc/enforcer/enforcer.toml")]
    config: PathBuf,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    dry: Dry,
}

/// Does what the command line asks.
pub async fn dispatch(cli: Cli) -> anyhow::Result<Exit> {
    match cli.command {
        Command::Run(args) => run::run(args).await,
        Command::Check(args) => check::check(&args),
        Command::Config(args) => config::config(args).await,
        Command::Close(args) => close::close(&args).await,
        Command::Status(args) => status::status(&args).await,
        Command::Doctor(args) => doctor::doctor(&args).await,
        Command::Explain(args) => explain::explain(&args).await,
        Command::Flows(args) => flows::flows(&args).await,
        Command::Policy(args) => policy::policy(&args),
        Command::Learn(args) => learn::learn(&args),
        Command::Group(args) => group::group(args).await,
        Command::Guest(args) => guest::guest(args).await,
        Command::Network(args) => network::network(args).await,
        Command::Grant(args) => grant::grant(args).await,
        Command::Gate(args) => gate::gate(&args),
        Command::Events(args) => events::events(&args).await,
        Command::Cut(args) => cut::cut(args).await,
        Command::Allow(args) => allow::allow(args).await,
        Command::Dashboard(args) => dashboard::dashboard(args).await,
        Command::Top(args) => top::top(args).await,
        Command::Pardon(args) => pardon::pardon(args).await,
        Command::Reload(args) => lifecycle::reload(&args).await,
        Command::Stop(args) => lifecycle::stop(&args).await,
        Command::Uninstall(args) => lifecycle::uninstall(&args).await,
        Command::Audit(args) => audit::audit(args).await,
        Command::Completions(args) => manual::completions(&args),
        Command::Manual(args) => manual::write(&args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn spans_are_read_with_their_unit() {
        for (text, seconds) in
            [("10s", Some(10)), ("15m", Some(900)), ("7d", Some(604_800)), ("8d", None)]
        {
            assert_eq!(parse_span(text).ok(), seconds, "{text}");
        }
        for wrong in ["", "h", "9s", "1w", "-1h", "1.5h", "99999999999999999999s", "1é"] {
            assert!(parse_span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_config_and_a_run_directory_exclude_each_other() {
        let arguments = ["enforcer", "status", "--config", "a", "--run-dir", "b"];
        let error = Cli::try_parse_from(arguments).expect_err("refused");
        assert_eq!(error.exit_code(), Exit::Usage as i32);
    }

    #[test]
    fn bad_questions_to_the_audit_store_are_told_with_what_to_write() {
        let cases = [
            (["--to", "example.org"], "10.0.0.2:80"),
            (["--at", "yesterday"], "2026-11-22T12:00:00Z"),
            (["--since", "1w"], "15m"),
            (["--verdict", "maybe"], "allow"),
        ];
        for (arguments, words) in cases {
            let all = ["enforcer", "audit", "query"].into_iter().chain(arguments);
            let error = Cli::try_parse_from(all).expect_err("refused");
            assert_eq!(error.exit_code(), Exit::Usage as i32);
            assert!(error.to_string().contains(words), "{error}");
        }
        let both = ["enforcer", "audit", "query", "--at", "2h", "--since", "3h"];
        assert!(Cli::try_parse_from(both).is_err());
    }
}
