//! `enforcer network`: networks of users, which the daemon makes and polices.

use std::path::Path;

use clap::{Args, Subcommand};

use super::{DaemonAt, Dry, Exit, refused, table::table, told, would};
use crate::{
    api::{ControlError, client},
    audit::record::shown,
    model::owned::{OwnNetworkList, OwnNetworkStatus, OwnNetworksQuestion, WhichNetwork},
};

/// Arguments of `network`.
#[derive(Debug, Args)]
pub(super) struct NetworkArgs {
    #[command(subcommand)]
    verb: NetworkVerb,
}

#[derive(Debug, Subcommand)]
enum NetworkVerb {
    /// Make a network for a user; it is done when the kernel holds its policy.
    Create(OneArgs),
    /// Remove a user's network that no container is on.
    Remove(OneArgs),
    /// Show networks of users.
    List(ListArgs),
}

/// Arguments of `network create` and `remove`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer network create data --user alice --hub lab
  docker run --network $(enforcer network list --user alice --json | jq -r '.networks[0].engine_name') \\
    --label enforcer.user=alice --label enforcer.hub=lab ...

Containers of that user reach one another there, and nothing else: neither this host nor what is beyond it.
The config says where they have their subnets, with own_networks in [gate].")]
struct OneArgs {
    /// What its owner calls it.
    name: String,
    /// Whose it is.
    #[arg(long, value_name = "NAME")]
    user: String,
    /// The user's hub of the config [default: users who belong to no hub].
    #[arg(long, value_name = "NAME")]
    hub: Option<String>,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    dry: Dry,
    #[command(flatten)]
    at: DaemonAt,
}

/// Arguments of `network list`.
#[derive(Debug, Args)]
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

/// Asks the daemon.
pub(super) async fn network(args: NetworkArgs) -> anyhow::Result<Exit> {
    match args.verb {
        NetworkVerb::Create(OneArgs { name, user, hub, json, dry: Dry { dry_run: true }, at }) => {
            let what = format!("network {name} of {user} would be made, and policed");
            would(&at, json, what, async |run_dir| {
                if is_there(run_dir, hub, user, &name).await? {
                    return refused(format!("network {name} is there already"));
                }
                Ok(())
            })
            .await
        }
        NetworkVerb::Remove(OneArgs { name, user, hub, json, dry: Dry { dry_run: true }, at }) => {
            let what =
                format!("network {name} of {user} would be removed, if no container is on it");
            would(&at, json, what, async |run_dir| {
                if is_there(run_dir, hub, user, &name).await? {
                    return Ok(());
                }
                refused(format!("there is no network {name}"))
            })
            .await
        }
        NetworkVerb::Create(OneArgs { name, user, hub, json, at, .. }) => {
            let which = WhichNetwork { hub, user, name };
            told(&at, json, made, async |run_dir| client::create_network(&run_dir, &which).await)
                .await
        }
        NetworkVerb::Remove(OneArgs { name, user, hub, json, at, .. }) => {
            let text = format!("network {} of {} is removed\n", shown(&name), shown(&user));
            let which = WhichNetwork { hub, user, name };
            let done = async |run_dir: std::path::PathBuf| {
                client::remove_network(&run_dir, &which).await?;
                Ok(serde_json::json!({"done": true}))
            };
            told(&at, json, |_: &_| text, done).await
        }
        NetworkVerb::List(ListArgs { hub, user, json, at }) => {
            let asked = OwnNetworksQuestion { hub, user };
            told(&at, json, listing, async |run_dir| client::networks(&run_dir, &asked).await).await
        }
    }
}

/// Whether a user has a network of this name.
async fn is_there(
    run_dir: &Path,
    hub: Option<String>,
    user: String,
    name: &str,
) -> Result<bool, ControlError> {
    let asked = OwnNetworksQuestion { hub, user: Some(user) };
    let list = client::networks(run_dir, &asked).await?;
    Ok(list.networks.iter().any(|network| network.name == name))
}

fn made(network: &OwnNetworkStatus) -> String {
    let OwnNetworkStatus { user, name, engine_name, subnet, .. } = network;
    let (user, name) = (shown(user), shown(name));
    format!("{user} has network {name}, policed; Docker calls it {engine_name} ({subnet})\n")
}

fn listing(list: &OwnNetworkList) -> String {
    let rows = list.networks.iter().map(|network| {
        let OwnNetworkStatus { hub, user, name, engine_name, bridge, subnet, .. } = network.clone();
        let state = if network.network_id.is_some() { "made" } else { "in the making" };
        [hub, user, name, engine_name, bridge, subnet, state.to_owned()]
    });
    let head = ["hub", "user", "name", "Docker's name", "bridge", "subnet", "state"];
    table("Networks of users", head, rows)
}
