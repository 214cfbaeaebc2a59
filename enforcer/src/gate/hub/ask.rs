//! A hub's request as it was understood. Strict, as everything that comes through a socket of the gate's. Pure.

use std::net::IpAddr;

use hyper::Method;

use crate::{
    access::name::{GroupName, NameError, UserName, is_unseen},
    gate::{
        hub::stage::Stage,
        json::Json,
        verdict::Refusal,
        words::{Words, query::Query},
    },
    model::provenance::MOST_GROUPS,
};

/// Longest name of a server, characters, as JupyterHub has it.
const MAX_SERVER: usize = 255;
/// Longest name of an image, bytes.
const MAX_IMAGE: usize = 512;
/// The variables by which a hub says for whom a container is.
const VARIABLES: [&str; 2] = ["JUPYTERHUB_USER=", "JUPYTERHUB_SERVER_NAME="];

/// One of a user's servers; the default one is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seat {
    /// The user.
    pub user: UserName,
    /// The server.
    pub server: String,
}

/// What a hub says of somebody for whom it is about to start a notebook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announcement {
    /// Groups that the user is in, for records.
    pub groups: Vec<GroupName>,
    /// Where the user comes from, for records.
    pub client: Option<IpAddr>,
    /// The image that is going to be asked for.
    pub image: Option<String>,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Who the socket's hub is.
    Hub,
    /// To keep what is said of a spawn.
    Announce(Seat, Box<Announcement>),
    /// How far a spawn is, once it is further than this.
    Spawn(Seat, Option<Stage>),
    /// What was denied to a user's notebook, behind a number in the stream.
    Denials(Seat, u64),
}

/// Reads a request.
pub fn read(method: &Method, target: &str, body: Option<&Json>) -> Result<Ask, Refusal> {
    let Words { path, mut query } = Words::read(target)?;
    let path = path.canonical();
    let ask = match (method.as_str(), path.as_str(), body) {
        ("GET", "/enforcer/v1/hub", None) => Ask::Hub,
        ("GET", "/enforcer/v1/spawns", None) => {
            let seen = query.take("seen").map(|text| stage(&text)).transpose()?;
            Ask::Spawn(seat_in(&mut query)?, seen)
        }
        ("GET", "/enforcer/v1/denials", None) => {
            let after = query.take_number("after", &(0..=u64::MAX))?.unwrap_or(0);
            Ask::Denials(seat_in(&mut query)?, after)
        }
        ("POST", "/enforcer/v1/spawns", Some(body)) => announcement(body)?,
        ("POST", "/enforcer/v1/spawns", None) => {
            return Err(Refusal::unclear("hub.body", "this call has a JSON body; send one"));
        }
        ("GET", _, Some(_)) => {
            return Err(Refusal::unclear("hub.body", "this call has no body; send none"));
        }
        _ => {
            let message = "there is GET of /enforcer/v1/hub, /enforcer/v1/spawns and \
                           /enforcer/v1/denials, and POST of /enforcer/v1/spawns";
            return Err(Refusal::forbidden("hub.unknown", message));
        }
    };
    query.end()?;
    Ok(ask)
}

/// For whom a container is, as the variables of its create say.
#[must_use]
pub fn seat_of_create(body: &Json) -> Option<Seat> {
    let Json::Map(fields) = body else { return None };
    let (_, Json::List(variables)) = fields.iter().find(|(name, _)| name == "Env")? else {
        return None;
    };
    let [user, server] = VARIABLES.map(|variable| {
        variables.iter().rev().find_map(|one| match one {
            Json::Text(text) => text.strip_prefix(variable),
            _ => None,
        })
    });
    seat_named(user?, server.unwrap_or_default()).ok()
}

fn stage(text: &str) -> Result<Stage, Refusal> {
    let known = Stage::ALL.into_iter().find(|stage| stage.name() == text);
    known.ok_or_else(|| Refusal::unclear("hub.stage", "seen: this is no stage of a spawn"))
}

fn seat_in(query: &mut Query) -> Result<Seat, Refusal> {
    let missing = || Refusal::unclear("hub.user", "the query names no user");
    let user = query.take("user").ok_or_else(missing)?;
    seat_named(&user, &query.take("server").unwrap_or_default())
}

fn seat_named(user: &str, server: &str) -> Result<Seat, Refusal> {
    let unnamed = |error: NameError| Refusal::unclear("hub.user", error.to_string());
    let is_bad = |character| is_unseen(character) || character == '/';
    if server.chars().any(is_bad) || server.chars().nth(MAX_SERVER).is_some() {
        let message = format!("a server's name has at most {MAX_SERVER} letters, all seen, no '/'");
        return Err(Refusal::unclear("hub.server", message));
    }
    Ok(Seat { user: user.parse().map_err(unnamed)?, server: server.to_owned() })
}

fn announcement(body: &Json) -> Result<Ask, Refusal> {
    let wrong = |why: String| Refusal::unclear("hub.announcement", why);
    let Json::Map(fields) = body else { return Err(wrong("the body is no object".to_owned())) };
    let (mut user, mut server) = (None, "");
    let mut said = Announcement::default();
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("user", Json::Text(text)) => user = Some(text.as_str()),
            ("server", Json::Text(text)) => server = text,
            ("groups", Json::List(groups)) => said.groups = groups_of(groups)?,
            ("client", Json::Text(text)) => {
                let none = |_error| wrong("client: this is no address".to_owned());
                said.client = Some(text.parse().map_err(none)?);
            }
            ("image", Json::Text(text)) if text.len() <= MAX_IMAGE => {
                said.image = Some(text.clone());
            }
            ("client" | "image" | "groups", Json::Null) => {}
            ("user" | "server" | "groups" | "client" | "image", _) => {
                return Err(wrong(format!("{name}: this is of another type, or too long")));
            }
            _ => return Err(wrong(format!("{name:?} is not known here; leave it out"))),
        }
    }
    let user = user.ok_or_else(|| wrong("user: it is missing".to_owned()))?;
    Ok(Ask::Announce(seat_named(user, server)?, Box::new(said)))
}

/// Those for which there is room in records; all of them have to be names.
fn groups_of(groups: &[Json]) -> Result<Vec<GroupName>, Refusal> {
    let read = |group: &Json| match group {
        Json::Text(text) => text
            .parse::<GroupName>()
            .map_err(|error| Refusal::unclear("hub.announcement", format!("groups: {error}"))),
        _ => Err(Refusal::unclear("hub.announcement", "groups: not all of them are texts")),
    };
    let mut all = groups.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    all.truncate(MOST_GROUPS);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::json::{self, Limits};

    fn ask(method: &str, target: &str, body: &str) -> Result<Ask, &'static str> {
        let body = (!body.is_empty())
            .then(|| json::read(body.as_bytes(), Limits::default()).expect("JSON"));
        let method = method.parse().expect("a method");
        read(&method, target, body.as_ref()).map_err(|refusal| refusal.rule)
    }

    fn seat(user: &str, server: &str) -> Seat {
        Seat { user: user.parse().expect("a user"), server: server.to_owned() }
    }

    #[test]
    fn s08_what_is_no_call_of_a_hub_s_is_refused() {
        for (method, target, body, rule) in [
            ("GET", "/enforcer/v1/spawns", "", "hub.user"),
            ("GET", "/enforcer/v1/spawns?user=", "", "hub.user"),
            ("GET", "/enforcer/v1/spawns?user=ann&user=ben", "", "query.twice"),
            ("GET", "/enforcer/v1/spawns?user=ann&x=1", "", "query.unknown"),
            ("GET", "/enforcer/v1/spawns?user=ann&seen=soon", "", "hub.stage"),
            ("GET", "/enforcer/v1/spawns?user=ann&server=a%2Fb", "", "hub.server"),
            ("GET", "/enforcer/v1/denials?user=ann&after=-1", "", "query.number"),
            ("GET", "/enforcer/v1/hub", "{\"a\":1}", "hub.body"),
            ("POST", "/enforcer/v1/spawns", "", "hub.body"),
            ("POST", "/enforcer/v1/hub", "{\"user\":\"ann\"}", "hub.unknown"),
            ("DELETE", "/enforcer/v1/spawns?user=ann", "", "hub.unknown"),
            ("GET", "/enforcer/v2/hub", "", "hub.unknown"),
            ("GET", "/v1.46/enforcer/v1/", "", "path.form"),
            ("POST", "/enforcer/v1/spawns", "[]", "hub.announcement"),
            ("POST", "/enforcer/v1/spawns", "{\"groups\":[]}", "hub.announcement"),
            ("POST", "/enforcer/v1/spawns", "{\"user\":\"ann\",\"hub\":\"x\"}", "hub.announcement"),
            ("POST", "/enforcer/v1/spawns", "{\"user\":5}", "hub.announcement"),
            ("POST", "/enforcer/v1/spawns", "{\"user\":\"a/b\"}", "hub.user"),
            ("POST", "/enforcer/v1/spawns", "{\"user\":\"a\",\"groups\":[1]}", "hub.announcement"),
            (
                "POST",
                "/enforcer/v1/spawns",
                "{\"user\":\"a\",\"groups\":[\"\"]}",
                "hub.announcement",
            ),
            (
                "POST",
                "/enforcer/v1/spawns",
                "{\"user\":\"a\",\"client\":\"example.org\"}",
                "hub.announcement",
            ),
        ] {
            assert_eq!(ask(method, target, body), Err(rule), "{method} {target} {body}");
        }
    }

    #[test]
    fn a_hub_s_calls_are_read() {
        assert_eq!(ask("GET", "/enforcer/v1/hub", ""), Ok(Ask::Hub));
        let spawn = ask("GET", "/enforcer/v1/spawns?user=ann%20b&seen=asked", "");
        assert_eq!(spawn, Ok(Ask::Spawn(seat("ann b", ""), Some(Stage::Asked))));
        let denials = ask("GET", "/enforcer/v1/denials?user=ann&server=two&after=7", "");
        assert_eq!(denials, Ok(Ask::Denials(seat("ann", "two"), 7)));
        let body =
            r#"{"user":"ann","server":"two","groups":["staff"],"client":"::1","image":null}"#;
        let Ok(Ask::Announce(of, said)) = ask("POST", "/enforcer/v1/spawns", body) else {
            panic!("refused")
        };
        assert_eq!(of, seat("ann", "two"));
        assert_eq!((said.groups.len(), said.client), (1, "::1".parse().ok()));
        assert_eq!(said.image, None);
    }

    #[test]
    fn s17_a_create_is_for_whom_its_variables_name() {
        let found = |text: &str| {
            seat_of_create(&json::read(text.as_bytes(), Limits::default()).expect("JSON"))
        };
        let both = r#"{"Env":["A=b","JUPYTERHUB_USER=ann","JUPYTERHUB_SERVER_NAME=two"]}"#;
        assert_eq!(found(both), Some(seat("ann", "two")));
        assert_eq!(found(r#"{"Env":["JUPYTERHUB_USER=ann"]}"#), Some(seat("ann", "")));
        assert_eq!(found(r#"{"Env":["JUPYTERHUB_SERVER_NAME=two"]}"#), None);
        assert_eq!(found("{}"), None);
    }
}
