//! The filtered grant and hubs: a request is read as a call, judged by what is known of the principal's things, and
//! what goes on is made of the verdict.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::{Method, StatusCode, body::Incoming};
use serde_json::Value;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::{
    answer,
    body::Context,
    call::{BodyKind, Call},
    errand::Errand,
    facts::Facts,
    found,
    head::{Head, Length, Upgrade},
    hub::ask,
    json::{self, Json, Limits},
    judge::{judge, own},
    principal::Principal,
    serve::Server,
    upstream,
    verdict::{Kind, Refusal, Verdict},
    words::Words,
};
use crate::{
    access::{judge::Answer as Grant, name::User},
    model::owned::Prepared,
};

/// Longest body of a call that has none: what old clients send for nothing.
const NOTHING: usize = 16;
/// Most things of a kind that are gone of which a stream of events still tells.
const MOST_GONE: usize = 256;
/// Longest wait for the rest of a body.
const BODY: Duration = Duration::from_secs(30);
/// The variable by which a hub says for whom a guest is.
const USER: &str = "JUPYTERHUB_USER=";

/// Reads a request's line.
pub(super) fn call(principal: &Principal, head: &Head) -> Result<Call, Refusal> {
    let unknown = || Refusal::forbidden("route.unknown", "this method is none of the engine's");
    let method: Method = head.method.parse().map_err(|_error| unknown())?;
    let call = Call::read(principal, &method, Words::read(&head.target)?)?;
    check_upgrade(head, &call)?;
    Ok(call)
}

/// A web socket is begun where there is one, and nowhere else.
fn check_upgrade(head: &Head, call: &Call) -> Result<(), Refusal> {
    let is_one = matches!(call, Call::ContainerAttach { is_web_socket: true, .. });
    match (head.upgrade, is_one) {
        (Some(Upgrade::WebSocket(Some(_))), true) | (None | Some(Upgrade::Tcp), false) => Ok(()),
        (Some(Upgrade::WebSocket(_)), false) => Err(Refusal::unclear(
            "head.upgrade",
            "this call is no web socket; only GET /containers/{name}/attach/ws is one",
        )),
        _ => Err(Refusal::unclear(
            "head.upgrade",
            "this call is a web socket: send Upgrade: websocket, version 13, and a key of 16 bytes in base64",
        )),
    }
}

/// Reads the body of a request that is to be judged: bounded, in time, without trailers, and what it says it is.
pub(super) async fn body(
    head: &Head,
    call: &Call,
    body: &mut Incoming,
) -> Result<Option<Json>, Refusal> {
    let limit = match call.body() {
        BodyKind::Json { limit } => limit,
        // A context is read elsewhere.
        BodyKind::Empty | BodyKind::Context => NOTHING,
    };
    json(head, limit, body).await
}

/// The same for a body of at most so many bytes; `None`: there is none.
pub(super) async fn json(
    head: &Head,
    limit: usize,
    body: &mut Incoming,
) -> Result<Option<Json>, Refusal> {
    let bytes = bytes(head, limit, body).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    json::read(&bytes, Limits { bytes: limit, ..Limits::default() }).map(Some)
}

/// What is compressed twice over is read by nobody.
pub(super) fn check_encoding(head: &Head) -> Result<(), Refusal> {
    if !head.is_encoded {
        return Ok(());
    }
    Err(Refusal {
        status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
        rule: "body.encoding",
        message: "the body is compressed; send it as it is".to_owned(),
    })
}

async fn bytes(head: &Head, limit: usize, body: &mut Incoming) -> Result<Bytes, Refusal> {
    let refusal =
        |status, rule, message: &str| Refusal { status, rule, message: message.to_owned() };
    check_encoding(head)?;
    let most = format!("the body is longer than {limit} bytes");
    let too_long = || refusal(StatusCode::PAYLOAD_TOO_LARGE, "body.long", &most);
    if let Length::Sized(length) = head.length
        && usize::try_from(length).map_or(true, |length| length > limit)
    {
        return Err(too_long());
    }
    let reading = async {
        let mut read = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let broken = |_error| {
                refusal(StatusCode::BAD_REQUEST, "body.broken", "the body is not what it says")
            };
            let data = frame.map_err(broken)?.into_data().map_err(|_trailers| {
                refusal(
                    StatusCode::BAD_REQUEST,
                    "body.trailers",
                    "there are trailers after the body",
                )
            })?;
            if read.len().saturating_add(data.len()) > limit {
                return Err(too_long());
            }
            read.extend_from_slice(&data);
        }
        Ok(read.freeze())
    };
    let slow = refusal(StatusCode::REQUEST_TIMEOUT, "body.slow", "the body did not come in time");
    timeout(BODY, reading).await.unwrap_or(Err(slow))
}

impl Server {
    /// Judges a call; what it returns goes on.
    pub(super) async fn judge(
        self: &Arc<Self>,
        principal: &Principal,
        call: &Call,
        body: Option<&Json>,
    ) -> Result<Errand, Refusal> {
        // Of what changes what there is, one at a time: bounds are of all of it.
        let turn = if call.changes() { self.turns.take(principal).await } else { None };
        let config = Arc::clone(&self.doorman.config.borrow());
        let rules = found::rules(principal, &config);
        let mut facts = match call {
            // It is asked for all the time, and tells of nothing.
            Call::Ping { .. } => Facts::default(),
            _ => self.facts(principal),
        };
        if let Call::ContainerCreate { .. } = call {
            let count = facts.containers.iter().filter(|own| !own.is_notebook).count();
            if u32::try_from(count).is_ok_and(|count| count >= rules.max_containers) {
                // Some may have ended by themselves; if nobody can tell, the bound holds.
                if let Err(refusal) = self.sweep(Kind::Container).await {
                    tracing::debug!("gate: what the engine has was not looked at: {refusal}");
                }
                facts = self.facts(principal);
            }
            (facts.socket, facts.groups) = self.look_up(principal, body).await;
        }
        if let Call::ExecCreate { container } = call {
            facts.kept_commands = self.kept_commands(&facts, container).await?;
        }
        let seat = match (principal, call, body) {
            (Principal::Hub(hub), Call::ContainerCreate { .. }, Some(body)) => {
                ask::seat_of_create(body).map(|seat| (hub, seat))
            }
            _ => None,
        };
        if let Some((hub, seat)) = &seat {
            self.add_said(hub, seat, &mut facts);
        }
        let context = Context { principal, rules: &rules, facts: &facts, name: None, bridge: None };
        let prepared = match call {
            Call::NetworkCreate => self.prepare(&context, call, body).await?,
            _ => None,
        };
        let context = Context { bridge: prepared.as_ref(), ..context };
        match judge(&context, call, body) {
            Verdict::Deny(refusal) => Err(refusal),
            Verdict::Allow(forward) => {
                if let Some((hub, seat)) = &seat {
                    self.spawns.asked(hub, seat, Instant::now());
                }
                Ok(Errand {
                    server: Arc::clone(self),
                    principal: principal.clone(),
                    rules,
                    facts,
                    forward: *forward,
                    prepared,
                    _turn: turn,
                })
            }
        }
    }

    /// Has a network policed before it is there, if it may be made.
    async fn prepare(
        &self,
        context: &Context<'_>,
        call: &Call,
        body: Option<&Json>,
    ) -> Result<Option<Prepared>, Refusal> {
        let (Principal::User(owner), Some(networks)) = (context.principal, &self.networks) else {
            return Ok(None);
        };
        // Its bridge is not known yet; all else that the judge looks at is.
        let context = Context { bridge: Some(Prepared::made_up()), ..*context };
        let forward = match judge(&context, call, body) {
            Verdict::Allow(forward) => forward,
            Verdict::Deny(refusal) => return Err(refusal),
        };
        let name = forward.body.as_ref().and_then(|body| body.get("Name")?.as_str());
        let Some(name) = name.map(str::to_owned) else { return Ok(None) };
        let (networks, owner) = (Arc::clone(networks), owner.clone());
        let (prepared, waiting) = oneshot::channel();
        tokio::spawn(async move {
            let outcome = networks.prepare(&owner, &name).await;
            // The client has gone in the meantime: nobody is going to ask the engine.
            if let Err(Ok(unused)) = prepared.send(outcome) {
                networks.abandon(&unused).await;
            }
        });
        let ended = |_error| Refusal {
            status: StatusCode::SERVICE_UNAVAILABLE,
            rule: "network.failed",
            message: "the network was not prepared; try again".to_owned(),
        };
        waiting.await.map_err(ended)?.map(Some)
    }

    /// What is known of a principal's things now.
    pub(super) fn facts(&self, principal: &Principal) -> Facts {
        let config = Arc::clone(&self.doorman.config.borrow());
        let inventory = Arc::clone(&self.doorman.inventory.borrow());
        found::facts(principal, &self.store, (&inventory, &config))
    }

    /// How many commands the engine keeps of an own container. It keeps those that are never begun as long as the
    /// container runs, and nothing that was noted here would tell of them all.
    async fn kept_commands(&self, facts: &Facts, called: &str) -> Result<usize, Refusal> {
        // What is not the principal's is refused by the judge.
        let Ok(own) = own::container(facts, called) else { return Ok(0) };
        let path = format!("/containers/{}/json", own.id);
        let answer = upstream::value(&self.engine_socket, &self.api()?, &path).await?;
        match answer.get("ExecIDs") {
            Some(Value::Null) => Ok(0),
            Some(Value::Array(ids)) => Ok(ids.len()),
            _ => {
                Err(answer::odd("engine.answer", "the engine does not say which commands it keeps"))
            }
        }
    }

    /// Adds what has become the principal's since.
    pub(super) fn learn(&self, principal: &Principal, facts: &mut Facts) {
        let before = std::mem::replace(facts, self.facts(principal));
        keep(&mut facts.containers, before.containers, |own| &own.id);
        keep(&mut facts.networks, before.networks, |own| &own.id);
        keep(&mut facts.volumes, before.volumes, |own| &own.engine_name);
    }

    /// The socket of the user for whom a hub starts a guest, if that user has a grant now, and the user's groups.
    async fn look_up(
        &self,
        principal: &Principal,
        body: Option<&Json>,
    ) -> (Option<PathBuf>, Vec<String>) {
        let Principal::Hub(hub) = principal else { return (None, Vec::new()) };
        let named = body.and_then(|body| named(body)?.parse().ok());
        let Some(name) = named else { return (None, Vec::new()) };
        let user = User { hub: hub.clone(), name };
        let (answer, groups) = self.access.look_up(&user).await;
        let socket = match (answer, self.doors.get()) {
            (Grant::Granted(_), Some(doors)) => doors.open_for(&user).await,
            _ => None,
        };
        let mut groups = groups;
        let config = Arc::clone(&self.doorman.config.borrow());
        // A record has room for a few: those that give the socket are among them whatever a hub calls its own.
        groups.sort_by_key(|group| !config.access.builtin_groups.contains(group));
        (socket, groups.iter().map(ToString::to_string).collect())
    }
}

/// Adds what is gone since. Of that there are a few last events; a stream that lasts forgets the rest, what went first
/// before all.
fn keep<T>(all: &mut Vec<T>, before: Vec<T>, id: impl Fn(&T) -> &String) {
    let is_gone = |own: &T| all.iter().all(|other| id(other) != id(own));
    let gone: Vec<T> = before.into_iter().filter(is_gone).take(MOST_GONE).collect();
    all.extend(gone);
}

/// The user whom the variables of a create name.
fn named(body: &Json) -> Option<&str> {
    let Json::Map(fields) = body else { return None };
    let variables = fields.iter().find(|(name, _)| name == "Env").map(|(_, value)| value)?;
    let Json::List(variables) = variables else { return None };
    variables.iter().find_map(|variable| match variable {
        Json::Text(text) => text.strip_prefix(USER),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::head;

    #[test]
    fn s08_what_is_no_call_of_the_table_is_none() {
        let principal = Principal::Hub("lab".parse().expect("a hub"));
        for (method, target, is_call) in [
            ("GET", "/_ping", true),
            ("HEAD", "/v1.43/_ping", true),
            ("POST", "/_ping", false),
            ("GET", "/_ping?x=1", false),
            ("GET", "/_ping/", false),
            ("GET", "//_ping", false),
            ("GET", "/v1.43/v1.43/_ping", false),
            ("GET", "/v2.43/_ping", false),
            ("GET", "/%5fping", false),
            ("GET", "/containers/json", true),
            ("POST", "/commit", false),
        ] {
            let (method, target) = (method.to_owned(), target.to_owned());
            let length = Length::None;
            let head = Head { method, target, length, upgrade: None, is_encoded: false };
            let read = call(&principal, &head);
            assert_eq!(read.is_ok(), is_call, "{head:?}: {read:?}");
        }
    }

    #[test]
    fn s27_a_web_socket_is_begun_where_there_is_one_and_nowhere_else() {
        let (hub, name) = ("lab".parse().expect("a hub"), "ada".parse().expect("a user"));
        let principal = Principal::User(User { hub, name });
        let key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let web = format!("Connection: Upgrade\r\nUpgrade: websocket\r\n{key}");
        let tcp = "Connection: Upgrade\r\nUpgrade: tcp\r\n";
        for (line, headers, is_call) in [
            ("GET /containers/x/attach/ws?stream=1", &*web, true),
            ("GET /containers/x/attach/ws", key, false),
            ("GET /containers/x/attach/ws", tcp, false),
            ("GET /containers/x/attach/ws", "Connection: Upgrade\r\nUpgrade: websocket\r\n", false),
            ("GET /containers/x/attach/ws?x=1", &web, false),
            ("POST /containers/x/attach?stream=1", tcp, true),
            ("POST /containers/x/attach?stream=1", "", true),
            ("POST /containers/x/attach?stream=1", &web, false),
            ("POST /exec/x/start", &web, false),
            ("GET /events", &web, false),
        ] {
            let head = format!("{line} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
            let read = call(&principal, &head::read(head.as_bytes()).expect("a head"));
            assert_eq!(read.is_ok(), is_call, "{head}: {read:?}");
        }
    }

    #[test]
    fn s30_a_stream_of_events_remembers_so_many_things_that_are_gone_and_no_more() {
        let mut all = Vec::new();
        for number in 0..3 * MOST_GONE {
            let now = vec!["stays".to_owned(), format!("n{number}")];
            let before = std::mem::replace(&mut all, now);
            keep(&mut all, before, |name| name);
        }
        assert_eq!(all.len(), 2 + MOST_GONE);
        let newest = 3 * MOST_GONE - 1;
        assert!(all.contains(&"stays".to_owned()) && all.contains(&format!("n{newest}")));
        assert!(all.contains(&format!("n{}", newest - MOST_GONE)), "gone lately");
        assert!(!all.contains(&format!("n{}", newest - MOST_GONE - 1)), "gone long ago");
    }

    #[test]
    fn s17_a_guest_s_user_is_the_one_that_the_hub_names() {
        let read = |text: &str| json::read(text.as_bytes(), Limits::default()).expect(text);
        for (text, expected) in [
            (r#"{"Env":["A=b","JUPYTERHUB_USER=ada"]}"#, Some("ada")),
            (r#"{"Env":["JUPYTERHUB_USER"]}"#, None),
            (r#"{"Env":{"JUPYTERHUB_USER":"ada"}}"#, None),
            (r#"{"Labels":{"enforcer.user":"ada"}}"#, None),
            ("[]", None),
        ] {
            assert_eq!(named(&read(text)), expected, "{text}");
        }
    }
}
