//! `--dry-run`: every verb that changes something says what it would change, and changes nothing.

use std::path::Path;

use clap::Args;

use super::{DaemonAt, Exit, told};
use crate::{api::ControlError, audit::record::shown};

/// Whether a verb that changes something only says what it would change.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Dry {
    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// What a verb would have done.
#[derive(Debug, serde::Serialize)]
struct Would {
    /// For people.
    would: String,
    /// Never.
    done: bool,
}

/// What `--dry-run` does: has it looked at, by questions alone, whether there is what the verb is about, and says what it
/// would do. What only the daemon or the engine decides is decided when it is asked for in earnest.
pub(super) async fn would(
    at: &DaemonAt,
    json: bool,
    what: String,
    check: impl AsyncFnOnce(&Path) -> Result<(), ControlError>,
) -> anyhow::Result<Exit> {
    let text = |would: &Would| format!("{}; nothing has changed\n", shown(&would.would));
    told(at, json, text, async |run_dir| {
        check(&run_dir).await?;
        Ok(Would { would: what, done: false })
    })
    .await
}

/// A refusal that is known without asking.
pub(super) fn refused<T>(why: impl Into<String>) -> Result<T, ControlError> {
    Err(ControlError::Refused(why.into()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use crate::cli::Cli;

    /// Verbs that change something.
    const CHANGE: [&str; 25] = [
        "allow",
        "allow revoke",
        "audit erase",
        "close",
        "config init",
        "cut",
        "grant set",
        "group add",
        "group create",
        "group delete",
        "group remove",
        "guest exec",
        "guest remove",
        "guest reset-volumes",
        "guest restart",
        "guest start",
        "guest stop",
        "network create",
        "network remove",
        "pardon",
        "reload",
        "stop",
        "uninstall",
        // Below: what they change is asked for before each time.
        "top",
        // The daemon itself.
        "run",
    ];
    /// Those of them that are no single change.
    const NO_DRY_RUN: [&str; 2] = ["top", "run"];
    /// Verbs that read, and write to standard output alone.
    const READ: [&str; 29] = [
        "allow list",
        "audit query",
        "audit report",
        "audit verify",
        "check",
        "completions",
        "config check",
        "config show",
        "dashboard",
        "doctor",
        "events",
        "explain",
        "flows",
        "gate explain",
        "gate routes",
        "grant list",
        "grant report",
        "group list",
        "group members",
        "guest inspect",
        "guest list",
        "guest logs",
        "learn",
        "network list",
        "policy diff",
        "policy import-z2jh",
        "policy replay",
        "policy show",
        "status",
    ];

    /// Every verb that does something itself, and whether it has `--dry-run`.
    fn verbs(above: &str, command: &clap::Command, found: &mut Vec<(String, bool)>) {
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let name = format!("{above} {}", verb.get_name()).trim().to_owned();
            if !verb.has_subcommands() || verb.is_args_conflicts_with_subcommands_set() {
                let has = verb.get_arguments().any(|one| one.get_long() == Some("dry-run"));
                found.push((name.clone(), has));
            }
            verbs(&name, verb, found);
        }
    }

    #[test]
    fn o2_every_verb_that_changes_something_can_say_what_it_would_change() {
        let mut found = Vec::new();
        verbs("", &Cli::command(), &mut found);
        for (name, has) in &found {
            let (changes, reads) = (CHANGE.contains(&&**name), READ.contains(&&**name));
            assert!(changes != reads, "say in CHANGE or in READ what `enforcer {name}` does");
            let wants = changes && !NO_DRY_RUN.contains(&&**name);
            assert_eq!(*has, wants, "`enforcer {name}` and --dry-run");
        }
        for known in CHANGE.iter().chain(&READ) {
            assert!(found.iter().any(|(name, _)| name == known), "there is no `enforcer {known}`");
        }
    }
}
