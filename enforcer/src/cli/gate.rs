//! `enforcer gate`: what the gate lets through its sockets. Nothing is asked but the table and the rules: no daemon,
//! no engine.

use std::fmt::Write as _;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::json;

use super::{Exit, table::table};
use crate::{
    access::name::{HubName, User, UserName},
    gate::{
        body::Context,
        explain::explain,
        facts::{Facts, GuestNetwork, OwnContainer, OwnVolume},
        names,
        networks::Prepared,
        principal::Principal,
        rules::Rules,
        table::{Answer, ROUTES},
        verdict::Verdict,
    },
};

/// Arguments of `gate`.
#[derive(Debug, Args)]
pub(super) struct GateArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Say what would be decided of a request, and by which rule.
    Explain(ExplainArgs),
    /// Show each route of the engine's API with our answer to hubs and to users.
    Routes(RoutesArgs),
}

/// Arguments of `gate explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer gate explain GET /v1.46/containers/json
  enforcer gate explain POST '/containers/create?name=db' '{\"Image\":\"alpine:3\"}' --image 'alpine:*'
  enforcer gate explain POST /containers/db/exec '{\"Cmd\":[\"sh\"],\"Privileged\":true}' --container db
  enforcer gate explain --hub POST /commit --json

The request is judged as one of a user with a filtered socket who has nothing but what --container and --volume
name, by default bounds and the images of --image. Exits with 1 if it is denied.")]
struct ExplainArgs {
    /// GET, POST, …
    method: String,
    /// Path and query as in a request line.
    target: String,
    /// The body, JSON.
    body: Option<String>,
    /// As a request of a hub.
    #[arg(long)]
    hub: bool,
    /// An image that may be used; \"*\" stands for any text.
    #[arg(long = "image", value_name = "PATTERN")]
    images: Vec<String>,
    /// A container that is the principal's own, by a name.
    #[arg(long = "container", value_name = "NAME")]
    containers: Vec<String>,
    /// A volume that is the principal's own, by a name.
    #[arg(long = "volume", value_name = "NAME")]
    volumes: Vec<String>,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Arguments of `gate routes`.
#[derive(Debug, Args)]
struct RoutesArgs {
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Does what is asked.
pub(super) fn gate(args: &GateArgs) -> anyhow::Result<Exit> {
    match &args.verb {
        Verb::Explain(args) => {
            let verdict = decide(args)?;
            if args.json {
                println!("{}", verdict.to_json());
            } else {
                print!("{}", text(&verdict));
            }
            Ok(if matches!(verdict, Verdict::Allow(_)) { Exit::Ok } else { Exit::Error })
        }
        Verb::Routes(args) => {
            print!("{}", if args.json { routes_json() } else { routes() });
            Ok(Exit::Ok)
        }
    }
}

fn decide(args: &ExplainArgs) -> anyhow::Result<Verdict> {
    let method: Method =
        args.method.parse().with_context(|| format!("{:?} is no method", args.method))?;
    let hub: HubName = "hub".parse().context("a hub's name")?;
    let principal = if args.hub {
        Principal::Hub(hub)
    } else {
        let name: UserName = "user".parse().context("a user's name")?;
        Principal::User(User { hub, name })
    };
    let rules = Rules { images: args.images.clone(), ..Rules::default() };
    let facts = facts(&principal, args);
    let context = Context {
        principal: &principal,
        rules: &rules,
        facts: &facts,
        name: None,
        bridge: Some(Prepared::made_up()),
    };
    Ok(explain(&context, &method, &args.target, args.body.as_deref()))
}

/// The things that the command line names. Ids are made up, and different.
fn facts(principal: &Principal, args: &ExplainArgs) -> Facts {
    let containers = args.containers.iter().enumerate().map(|(index, name)| OwnContainer {
        id: format!("{index:064x}"),
        name: name.clone(),
        is_notebook: false,
    });
    let volumes = args.volumes.iter().map(|name| OwnVolume {
        name: name.clone(),
        engine_name: names::engine_name(principal, name),
        is_plain: true,
    });
    Facts {
        containers: containers.collect(),
        volumes: volumes.collect(),
        guest_network: Some(GuestNetwork {
            name: "guests".to_owned(),
            gateway: [192, 0, 2, 1].into(),
            resolves: true,
        }),
        ..Facts::default()
    }
}

fn text(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Allow(forward) => {
            let mut text =
                format!("allowed; the engine gets\n  {} {}\n", forward.method, forward.target);
            if !forward.shown.is_null() {
                // Writing to a text does not fail.
                let _ = writeln!(text, "{:#}", forward.shown);
            }
            text
        }
        Verdict::Deny(refusal) => {
            let (status, rule) = (refusal.status.as_u16(), refusal.rule);
            format!("denied with {status} by rule {rule}: {}\n", refusal.message)
        }
    }
}

fn word(answer: Answer) -> String {
    match answer {
        Answer::Judge(op) => format!("judged as {op:?}"),
        Answer::Deny(why) => format!("denied: {}", why.rule),
    }
}

fn routes() -> String {
    let rows = ROUTES.iter().map(|route| {
        [route.method.to_owned(), route.path.to_owned(), word(route.hub), word(route.user)]
    });
    table("Routes", ["method", "path", "hub", "user"], rows)
}

fn routes_json() -> String {
    let answer = |answer: Answer| match answer {
        Answer::Judge(op) => json!({"judged": format!("{op:?}")}),
        Answer::Deny(why) => json!({"rule": why.rule, "reason": why.reason}),
    };
    let lines = ROUTES.iter().map(|route| {
        let (hub, user) = (answer(route.hub), answer(route.user));
        json!({"method": route.method, "path": route.path, "hub": hub, "user": user}).to_string()
            + "\n"
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: GateArgs,
    }

    fn verdict(words: &[&str]) -> Verdict {
        let line = Line::parse_from(["gate", "explain"].iter().chain(words));
        let Verb::Explain(args) = line.args.verb else { panic!("explain") };
        decide(&args).expect("decided")
    }

    #[test]
    fn s2_explain_says_what_the_engine_would_get() {
        let verdict = verdict(&["POST", "/v1.46/containers/db/stop?t=5", "--container", "db"]);
        let text = text(&verdict);
        assert!(text.starts_with("allowed"), "{text}");
        assert!(text.contains(&format!("POST /containers/{:064x}/stop?t=5", 0)), "{text}");
    }

    #[test]
    fn s2_explain_says_which_rule_denies() {
        for (words, rule) in [
            (vec!["POST", "/commit"], "route.commit"),
            (vec!["GET", "/v1.99/info"], "path.version"),
            (vec!["POST", "/containers/other/stop"], "own.missing"),
            (
                vec!["POST", "/containers/create", "{\"Image\":\"a\",\"Image\":\"b\"}"],
                "json.duplicate",
            ),
        ] {
            let verdict = verdict(&words);
            let Verdict::Deny(refusal) = &verdict else { panic!("{words:?} is allowed") };
            assert_eq!(refusal.rule, rule, "{words:?}");
            assert!(text(&verdict).contains(rule) && verdict.to_json()["rule"] == rule);
        }
    }

    #[test]
    fn s13_routes_are_shown_to_people_and_to_programs() {
        assert_eq!(routes_json().lines().count(), ROUTES.len());
        let text = routes();
        assert!(
            text.contains("denied: route.plugins") && text.contains("judged as ContainerCreate")
        );
    }
}
