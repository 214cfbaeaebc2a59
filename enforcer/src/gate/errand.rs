//! What was allowed is done: the engine is asked, what it made is noted, and its answer is reduced to what is the
//! principal's. What changes something goes on to its end, also where the client has gone away in the meantime.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION},
    http::response::Parts,
    upgrade::OnUpgrade,
};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::{
    answer,
    body::Context,
    build::Ready,
    facts::Facts,
    head::Upgrade,
    notes::{self, Found},
    principal::Principal,
    raw::{self, Done},
    rules::Rules,
    serve::Server,
    store::Note,
    turns::Turn,
    upstream::{self, Line, Relayed, Sent},
    verdict::{Answer, Effect, Forward, Kind, Refusal, View},
    view,
};
use crate::model::owned::Prepared;

/// Longest answer that is read whole, bytes.
const MAX_ANSWER: usize = 4 << 20;

/// An allowed request, with all that its answer is reduced by.
#[derive(Debug)]
pub(super) struct Errand {
    pub(super) server: Arc<Server>,
    pub(super) principal: Principal,
    pub(super) rules: Rules,
    pub(super) facts: Facts,
    pub(super) forward: Forward,
    /// The network that the engine is asked to make.
    pub(super) prepared: Option<Prepared>,
    /// Kept until it is done.
    pub(super) _turn: Option<Turn>,
}

impl Errand {
    /// Does it, for a client whose connection may become a stream.
    pub(super) async fn run(self, client: Option<(Upgrade, OnUpgrade)>) -> Result<Done, Refusal> {
        if !self.forward.effects.is_empty() {
            // The client may go away: what the engine does is noted in any case.
            let doing = tokio::spawn(self.change());
            let ended = || answer::odd("gate.ended", "the request did not get to its end");
            return doing.await.map_err(|_panicked| ended())?;
        }
        let client = client.filter(|_| self.forward.answer == Answer::Hijack);
        let (response, line) = self.ask(client.as_ref().map(|(upgrade, _)| *upgrade)).await?;
        let is_error = response.status().is_client_error() || response.status().is_server_error();
        match self.forward.answer {
            _ if is_error => self.error(response, line).await,
            Answer::Hijack | Answer::Stream => raw::relay(response, line, client, answer::shown),
            Answer::Shown(View::Events) => Ok(self.events(response, line)),
            Answer::Whole | Answer::Shown(_) | Answer::OneByOne => self.whole(response, line).await,
        }
    }

    /// Builds an image. It is noted before the client hears of the end; whose build breaks off has no image.
    pub(super) async fn build(self, ready: Ready) -> Result<Done, Refusal> {
        let api = self.server.api()?;
        let engine = (&*self.server.engine_socket, &*api);
        let (response, line) = ready.send(engine, &self.forward).await?;
        if !response.status().is_success() {
            return self.error(response, line).await;
        }
        let (parts, body) = response.into_parts();
        let body = Relayed::from_engine(body, line).then(async move {
            if let Err(refusal) = self.settle(&Value::Null).await {
                // A build that fails says so in its answer, and leaves no tag.
                tracing::debug!(principal = %self.principal, "gate: no image was built: {refusal}");
            }
        });
        let mut answer = Response::new(Either::Right(body));
        *answer.status_mut() = parts.status;
        *answer.headers_mut() = answer::shown(&parts.headers);
        Ok((answer, None))
    }

    /// Asks for a change, and notes it.
    async fn change(self) -> Result<Done, Refusal> {
        if self.forward.answer == Answer::OneByOne {
            return self.prune().await;
        }
        self.note(notes::before(&self.forward)).await?;
        // Who breaks off may still make a network: what was prepared for it stays, until somebody has looked.
        let (response, line) = self.ask(None).await?;
        if !response.status().is_success() {
            if let (Some(networks), Some(prepared)) = (&self.server.networks, &self.prepared) {
                networks.abandon(prepared).await;
            }
            return self.error(response, line).await;
        }
        let (parts, answer) = read(response, line).await?;
        let value: Value = if answer.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&answer).map_err(|_error| not_understood())?
        };
        if let Err(refusal) = self.settle(&value).await {
            tracing::error!(principal = %self.principal, "gate: nobody has what was made: {refusal}");
            self.undo(&value).await;
            return Err(refusal);
        }
        self.shown(&parts, answer, Some(value))
    }

    /// Notes what the engine says that it did.
    pub(super) async fn settle(&self, answer: &Value) -> Result<(), Refusal> {
        self.police(answer).await?;
        let found = notes::after(&self.forward, answer).ok_or_else(not_understood)?;
        let mut notes = Vec::new();
        for found in found {
            let text = |value: Value, field: &str| {
                let text = value.get(field).and_then(Value::as_str).map(str::to_owned);
                text.ok_or_else(not_understood)
            };
            notes.push(match found {
                Found::Note(note) => note,
                Found::NameOf(id) => {
                    let name = text(self.value(&format!("/containers/{id}/json")).await?, "Name")?;
                    let about = name.trim_start_matches('/').to_owned();
                    Note::Add { kind: Kind::Container, id, about }
                }
                Found::ImageOf(id) => {
                    let about = text(self.value(&format!("/images/{id}/json")).await?, "Id")?;
                    Note::Add { kind: Kind::Image, id, about }
                }
            });
        }
        self.note(notes).await
    }

    /// Nobody is told of a network before programs are on its bridge.
    async fn police(&self, answer: &Value) -> Result<(), Refusal> {
        let Some(networks) = &self.server.networks else { return Ok(()) };
        if let Some(prepared) = &self.prepared {
            let id = answer.get("Id").and_then(Value::as_str).ok_or_else(not_understood)?;
            networks.settle(prepared, id).await?;
        }
        for effect in &self.forward.effects {
            if let Effect::Removed(Kind::Network, id) = effect {
                networks.removed(id).await;
            }
        }
        Ok(())
    }

    async fn note(&self, notes: Vec<Note>) -> Result<(), Refusal> {
        if notes.is_empty() {
            return Ok(());
        }
        let (store, principal) = (Arc::clone(&self.server.store), self.principal.clone());
        let noting = spawn_blocking(move || store.note(&principal, &notes)).await;
        let failed = |why: String| Refusal {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            rule: "gate.store",
            message: why,
        };
        match noting {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(failed(crate::causes::causes(&error))),
            Err(_panicked) => Err(failed("the store does not answer".to_owned())),
        }
    }

    /// Takes away what was made and cannot be noted: it would be nobody's.
    async fn undo(&self, answer: &Value) {
        let text = |field: &str| answer.get(field).and_then(Value::as_str);
        let was_there = |name: &str| self.facts.volumes.iter().any(|own| own.engine_name == name);
        let path = match self.forward.target.split(['/', '?']).nth(1) {
            Some("containers") => text("Id").map(|id| format!("/containers/{id}?force=1&v=1")),
            // The engine answers with a volume that is there already as with a new one.
            Some("volumes") => {
                text("Name").filter(|name| !was_there(name)).map(|name| format!("/volumes/{name}"))
            }
            Some("networks") => text("Id").map(|id| format!("/networks/{id}")),
            _ => None,
        };
        let (Some(path), Ok(api)) = (path, self.server.api()) else { return };
        let request = Request::delete(format!("/v{api}{path}"));
        let Ok(request) = request.body(Either::Left(Full::default())) else { return };
        let why = match upstream::ask(&self.server.engine_socket, request).await {
            Ok((response, _line)) if response.status().is_success() => {
                if let (Some(networks), Some(_), Some(id)) =
                    (&self.server.networks, &self.prepared, text("Id"))
                {
                    networks.removed(id).await;
                }
                return;
            }
            Ok((response, _line)) => response.status().to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!(path, "gate: it stays at the engine: {why}");
    }

    pub(super) async fn value(&self, path: &str) -> Result<Value, Refusal> {
        upstream::value(&self.server.engine_socket, &self.server.api()?, path).await
    }

    async fn ask(&self, upgrade: Option<Upgrade>) -> Result<(Response<Incoming>, Line), Refusal> {
        let Forward { method, target, body, .. } = &self.forward;
        let api = self.server.api()?;
        let mut request = Request::builder().method(method).uri(format!("/v{api}{target}"));
        if body.is_some() {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let body: Sent = Either::Left(match body {
            Some(body) => Full::new(Bytes::from(body.to_string())),
            None => Full::default(),
        });
        let wrong = |()| answer::odd("gate.target", "the gate made a request that is none");
        let mut request = request.body(body).map_err(|_error| wrong(()))?;
        if let Some(upgrade) = upgrade {
            answer::upgraded(request.headers_mut(), upgrade);
        }
        if let Some(Upgrade::WebSocket(Some(key))) = upgrade {
            let key = HeaderValue::from_str(key.text()).map_err(|_error| wrong(()))?;
            let headers = request.headers_mut();
            headers.insert(SEC_WEBSOCKET_KEY, key);
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            // The engine wants one, and does not look at it.
            headers.insert(ORIGIN, HeaderValue::from_static("http://docker"));
        }
        Ok(upstream::ask(&self.server.engine_socket, request).await?)
    }

    /// An answer that is read to its end before any of it goes on.
    async fn whole(&self, response: Response<Incoming>, line: Line) -> Result<Done, Refusal> {
        let (parts, body) = read(response, line).await?;
        self.shown(&parts, body, None)
    }

    fn shown(&self, parts: &Parts, body: Bytes, value: Option<Value>) -> Result<Done, Refusal> {
        let body = match self.forward.answer {
            Answer::Shown(view) => {
                let value = match value {
                    Some(value) => value,
                    None => serde_json::from_slice(&body).map_err(|_error| not_understood())?,
                };
                let shown = view::reduce(view, &self.context(), &value);
                Bytes::from(shown.ok_or_else(not_understood)?.to_string())
            }
            _ => body,
        };
        let mut answer = Response::new(Either::Left(Full::new(body)));
        *answer.status_mut() = parts.status;
        *answer.headers_mut() = answer::shown(&parts.headers);
        Ok((answer, None))
    }

    /// The engine says no, in words that may be about others.
    async fn error(&self, response: Response<Incoming>, line: Line) -> Result<Done, Refusal> {
        let (parts, body) = read(response, line).await?;
        let said = serde_json::from_slice::<Value>(&body).ok();
        let said = said.as_ref().and_then(|value| value.get("message")?.as_str());
        let said = said.unwrap_or("the engine refuses, and does not say why");
        let text = json!({"message": view::error(&self.context(), said)}).to_string();
        let mut answer = Response::new(Either::Left(Full::new(Bytes::from(text))));
        *answer.status_mut() = parts.status;
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok((answer, None))
    }

    /// Events of own things, for as long as somebody listens. What was the principal's when the stream began, or became
    /// it since, is told of to its end.
    fn events(self, response: Response<Incoming>, line: Line) -> Done {
        let (parts, body) = response.into_parts();
        let Self { server, principal, rules, mut facts, .. } = self;
        let mut known = None;
        let reduce = move |line: &[u8]| {
            let serial = server.store.serial();
            if known.replace(serial) != Some(serial) {
                server.learn(&principal, &mut facts);
            }
            let context = context(&principal, &rules, &facts);
            view::event_line(&context, line)
        };
        let body = Relayed::lines(body, line, Box::new(reduce));
        let mut answer = Response::new(Either::Right(body));
        *answer.status_mut() = parts.status;
        *answer.headers_mut() = answer::shown(&parts.headers);
        (answer, None)
    }

    pub(super) const fn context(&self) -> Context<'_> {
        context(&self.principal, &self.rules, &self.facts)
    }
}

const fn context<'a>(principal: &'a Principal, rules: &'a Rules, facts: &'a Facts) -> Context<'a> {
    Context { principal, rules, facts, name: None, bridge: None }
}

async fn read(response: Response<Incoming>, line: Line) -> Result<(Parts, Bytes), Refusal> {
    let (parts, body) = response.into_parts();
    let read = Limited::new(body, MAX_ANSWER).collect().await;
    let long = |_error| answer::odd("engine.answer", "the engine's answer is too long, or broken");
    drop(line);
    Ok((parts, read.map_err(long)?.to_bytes()))
}

pub(super) fn not_understood() -> Refusal {
    answer::odd("engine.answer", "the engine's answer is not understood")
}
