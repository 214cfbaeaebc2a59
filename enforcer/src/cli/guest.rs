//! `enforcer guest`: guests that enforcer starts, and what becomes of them.

mod order;
mod show;

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
};

use clap::{Args, Subcommand};

use super::{DaemonAt, Dry, Exit, declined, refused, told, would};
use crate::{
    api::{ControlError, Progress, asked::Step, client},
    model::guest::{ExecOrder, GuestStatus, GuestsQuestion, LogsQuestion, ResetOrder, WhichGuest},
};

/// Arguments of `guest`.
#[derive(Debug, Args)]
pub(super) struct GuestArgs {
    #[command(subcommand)]
    verb: GuestVerb,
}

#[derive(Debug, Subcommand)]
enum GuestVerb {
    /// Start a guest for a user; it is done when the kernel holds its policy.
    Start(Box<order::StartArgs>),
    /// Start a guest anew for the same order, with the Docker socket that its user may have now.
    Restart(ChangeArgs),
    /// End a guest, and keep it.
    Stop(ChangeArgs),
    /// Remove a guest, running or not. Its user's volumes stay.
    Remove(ChangeArgs),
    /// Show guests, and which of them need a restart.
    List(ListArgs),
    /// Show all about a guest, and what was ordered.
    Inspect(OneArgs),
    /// Show the last lines that a guest wrote.
    Logs(LogsArgs),
    /// Run a command in a guest, with the guest's own rights.
    Exec(ExecArgs),
    /// Remove volumes of a user who has no guest; the next one has new ones.
    ResetVolumes(ResetArgs),
}

/// Whose guest, and which daemon knows it.
#[derive(Debug, Args)]
struct Whose {
    /// The user's hub of the config [default: users who belong to no hub].
    #[arg(long, value_name = "NAME")]
    hub: Option<String>,
    /// Which of the user's servers, where there are several.
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    #[command(flatten)]
    at: DaemonAt,
}

/// Arguments of `guest restart`, `stop`, `remove` and `inspect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer guest restart alice --hub lab
  enforcer guest remove alice --json")]
struct OneArgs {
    /// The user that it was started for.
    user: String,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

/// The same for what changes something.
#[derive(Debug, Args)]
struct ChangeArgs {
    #[command(flatten)]
    one: OneArgs,
    #[command(flatten)]
    dry: Dry,
}

/// Arguments of `guest list`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer guest list
  enforcer guest list --json | jq -r '.guests[] | select(.restart_needed) | .user'

A guest needs a restart when it has another Docker socket than its user may have now.")]
struct ListArgs {
    /// Of this hub of the config [default: of all].
    #[arg(long, value_name = "NAME")]
    hub: Option<String>,
    /// Of this user.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: DaemonAt,
}

/// Arguments of `guest logs`.
#[derive(Debug, Args)]
struct LogsArgs {
    /// The user that it was started for.
    user: String,
    /// How many lines, the last ones.
    #[arg(long, value_name = "LINES", default_value_t = 100)]
    tail: u32,
    #[command(flatten)]
    whose: Whose,
}

/// Arguments of `guest exec`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  enforcer guest exec alice --hub lab -- df -h /home

There is no terminal and no input; what the command writes is shown when it has ended, 256 KiB of each output
at most. The exit code is 0 if the command's is, else 1.")]
struct ExecArgs {
    /// The user that the guest was started for.
    user: String,
    /// The user inside [default: the guest's].
    #[arg(long, value_name = "USER")]
    run_as: Option<String>,
    #[command(flatten)]
    dry: Dry,
    #[command(flatten)]
    whose: Whose,
    /// The command.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Arguments of `guest reset-volumes`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  enforcer guest remove alice && enforcer guest reset-volumes alice --volume cache

What is in them is lost.")]
struct ResetArgs {
    /// The user.
    user: String,
    /// `home`, `workspace` or `cache`; can be given several times [default: all].
    #[arg(long, value_name = "VOLUME")]
    volume: Vec<String>,
    /// The user's hub of the config [default: users who belong to no hub].
    #[arg(long, value_name = "NAME")]
    hub: Option<String>,
    #[command(flatten)]
    dry: Dry,
    #[command(flatten)]
    at: DaemonAt,
}

/// Asks the daemon.
pub(super) async fn guest(args: GuestArgs) -> anyhow::Result<Exit> {
    match args.verb {
        GuestVerb::Start(args) => {
            let (order, json, Dry { dry_run }, at) = args.order();
            if dry_run {
                let what =
                    format!("a guest would be started for {} from {}", order.user, order.image);
                let asked = GuestsQuestion { hub: order.hub, user: Some(order.user) };
                return would(&at, json, what, async |run_dir| {
                    client::guests(run_dir, &asked).await.map(drop)
                })
                .await;
            }
            told(&at, json, show::started, async |run_dir| {
                let mut shown = Shown::default();
                client::start_guest(&run_dir, &order, |word| shown.show(word)).await
            })
            .await
        }
        GuestVerb::Restart(args) if args.dry.dry_run => {
            args.one.would("would be started anew").await
        }
        GuestVerb::Stop(args) if args.dry.dry_run => args.one.would("would be stopped").await,
        GuestVerb::Remove(args) if args.dry.dry_run => args.one.would("would be removed").await,
        GuestVerb::Restart(ChangeArgs { one: OneArgs { user, json, whose }, .. }) => {
            let (which, at) = whose.which(user);
            told(&at, json, show::started, async |run_dir| {
                let mut shown = Shown::default();
                client::restart_guest(&run_dir, &which, |word| shown.show(word)).await
            })
            .await
        }
        GuestVerb::Stop(args) => {
            args.one
                .done("is stopped", async |run_dir, which| {
                    client::stop_guest(&run_dir, &which).await
                })
                .await
        }
        GuestVerb::Remove(args) => {
            args.one
                .done("is removed", async |run_dir, which| {
                    client::remove_guest(&run_dir, &which).await
                })
                .await
        }
        GuestVerb::List(ListArgs { hub, user, json, at }) => {
            let asked = GuestsQuestion { hub, user };
            told(&at, json, show::listing, async |run_dir| client::guests(&run_dir, &asked).await)
                .await
        }
        GuestVerb::Inspect(OneArgs { user, json, whose }) => {
            let (which, at) = whose.which(user);
            told(&at, json, show::detail, async |run_dir| {
                client::inspect_guest(&run_dir, &which).await
            })
            .await
        }
        GuestVerb::Logs(LogsArgs { user, tail, whose }) => {
            let (WhichGuest { hub, user, server }, at) = whose.which(user);
            let asked = LogsQuestion { hub, user, server, tail: Some(tail) };
            told(&at, false, show::logs, async |run_dir| client::guest_logs(&run_dir, &asked).await)
                .await
        }
        GuestVerb::Exec(ExecArgs { user, run_as, dry: Dry { dry_run }, whose, command }) => {
            if dry_run {
                let text = format!("would run {}", command.join(" "));
                return OneArgs { user, json: false, whose }.would(&text).await;
            }
            let (WhichGuest { hub, user, server }, at) = whose.which(user);
            exec(&at, &ExecOrder { hub, user, server, command, run_as }).await
        }
        GuestVerb::ResetVolumes(args) if args.dry.dry_run => would_reset(args).await,
        GuestVerb::ResetVolumes(ResetArgs { user, volume, hub, at, .. }) => {
            let order = ResetOrder { hub, user, volumes: volume };
            told(
                &at,
                false,
                |names: &Vec<String>| show::reset(names),
                async |run_dir| client::reset_volumes(&run_dir, &order).await,
            )
            .await
        }
    }
}

/// Says which volumes would be removed.
async fn would_reset(args: ResetArgs) -> anyhow::Result<Exit> {
    let ResetArgs { user, volume, hub, at, .. } = args;
    let which = if volume.is_empty() { "all".to_owned() } else { volume.join(", ") };
    let what = format!("volumes of {user} would be removed, with what is in them: {which}");
    would(&at, false, what, async |run_dir| {
        let asked = GuestsQuestion { hub, user: Some(user.clone()) };
        match client::guests(run_dir, &asked).await?.guests.first() {
            None => Ok(()),
            Some(guest) => refused(format!("{user} has a guest: {}", guest.container)),
        }
    })
    .await
}

/// Says which guests of a user need a restart after a change of groups.
pub(super) async fn restarts(run_dir: &std::path::Path, hub: Option<&str>, user: &str) -> String {
    let hub = hub.unwrap_or("local").to_owned();
    let asked = GuestsQuestion { hub: Some(hub), user: Some(user.to_owned()) };
    // The change is made: whether anybody can say this is another matter.
    let guests = client::guests(run_dir, &asked).await.unwrap_or_default().guests;
    let needing = guests.iter().filter(|guest| guest.restart_needed == Some(true));
    let lines: Vec<String> = needing
        .map(|GuestStatus { container, .. }| format!("restart needed: {container}\n"))
        .collect();
    lines.concat()
}

impl Whose {
    fn which(self, user: String) -> (WhichGuest, DaemonAt) {
        let Self { hub, server, at } = self;
        (WhichGuest { hub, user, server }, at)
    }
}

impl OneArgs {
    /// Says what would become of the guest, if there is one.
    async fn would(self, what: &str) -> anyhow::Result<Exit> {
        let Self { user, json, whose } = self;
        let what = format!("the guest of {user} {what}");
        let (which, at) = whose.which(user);
        would(&at, json, what, async |run_dir| {
            client::inspect_guest(run_dir, &which).await.map(drop)
        })
        .await
    }

    async fn done(
        self,
        done: &str,
        ask: impl AsyncFnOnce(PathBuf, WhichGuest) -> Result<(), ControlError>,
    ) -> anyhow::Result<Exit> {
        let Self { user, json, whose } = self;
        let text = format!("the guest of {user} {done}\n");
        let (which, at) = whose.which(user);
        let done = async |run_dir| {
            let () = ask(run_dir, which).await?;
            Ok(serde_json::json!({"done": true}))
        };
        told(&at, json, |_: &_| text, done).await
    }
}

async fn exec(at: &DaemonAt, order: &ExecOrder) -> anyhow::Result<Exit> {
    let run_dir = match at.directories() {
        Ok((run_dir, _)) => run_dir,
        Err(error) => {
            eprintln!("{error}");
            return Ok(Exit::Usage);
        }
    };
    let ran = match client::exec_in_guest(&run_dir, order).await {
        Ok(ran) => ran,
        Err(ControlError::Refused(why)) => return Ok(declined(&why)),
        Err(error) => return Err(error.into()),
    };
    print!("{}", show::output(&ran.stdout, io::stdout().is_terminal()));
    eprint!("{}", show::output(&ran.stderr, io::stderr().is_terminal()));
    if ran.cut {
        eprintln!("there was more than is shown");
    }
    match ran.exit_code {
        Some(0) => return Ok(Exit::Ok),
        Some(code) => eprintln!("the command ended with code {code}"),
        None => eprintln!("the engine does not say how the command ended"),
    }
    Ok(Exit::Error)
}

/// How far a start is, on a terminal.
#[derive(Debug, Default)]
struct Shown {
    something: bool,
}

impl Shown {
    fn show(&mut self, word: Progress) {
        if !io::stderr().is_terminal() {
            return;
        }
        let Some(text) = step(word) else { return };
        self.something = true;
        eprint!("\r\x1b[K{text} …");
        // A terminal that is gone shows nothing.
        let _ = io::stderr().flush();
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if self.something {
            eprint!("\r\x1b[K");
        }
    }
}

fn step(Progress { done, of, step }: Progress) -> Option<String> {
    const MIB: u64 = 1 << 20;
    Some(match step? {
        Step::Pull if of > 0 => format!("pulling the image: {} of {} MiB", done / MIB, of / MIB),
        Step::Pull => "looking for the image".to_owned(),
        Step::Create => "making the container".to_owned(),
        Step::Start => "starting it".to_owned(),
        Step::Police => "waiting for its policy".to_owned(),
        Step::Unknown => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_is_told_in_mebibytes_of_how_many() {
        let word = |step, done, of| Progress { done, of, step };
        let pull = step(word(Some(Step::Pull), 3 << 20, 10 << 20));
        assert_eq!(pull.as_deref(), Some("pulling the image: 3 of 10 MiB"));
        assert!(step(word(Some(Step::Police), 0, 0)).is_some_and(|text| text.contains("policy")));
        assert_eq!(step(word(None, 1, 2)), None);
    }
}
