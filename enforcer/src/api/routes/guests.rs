//! Calls about guests that enforcer starts. A hub has its own users' guests, and no others.

use axum::{
    Extension, Json, Router,
    extract::{FromRequestParts, State},
    http::request::Parts,
    response::Response,
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::{
    ALL, Api, Route, Verb,
    groups::{named, of_hub},
};
use crate::{
    access::name::{HubName, UserName},
    api::{
        asked::{Asked, GuestAsked, Progress, Reply},
        error::{ApiError, Code},
        ndjson::{self, Patience},
        request::{Asking, Strict},
        roles::Role,
    },
    guest::{
        check,
        names::{Seat, Use},
        service::Asker,
    },
    model::{
        caller::Caller,
        guest::{
            ExecOrder, GuestDetail, GuestList, GuestLogs, GuestOrder, GuestsQuestion, LogsQuestion,
            ResetDone, ResetOrder, WhichGuest,
        },
    },
};

/// Which guests there are.
pub const LIST: Route = Route {
    verb: Verb::Get,
    path: "/v1/guests",
    id: "guests",
    summary: "Guests that enforcer started, and whether they need a restart",
    roles: ALL,
};

/// One of them.
pub const INSPECT: Route = Route {
    verb: Verb::Get,
    path: "/v1/guests/inspect",
    id: "guest_inspect",
    summary: "All about a guest, and what was ordered",
    roles: ALL,
};

/// What it wrote.
pub const LOGS: Route = Route {
    verb: Verb::Get,
    path: "/v1/guests/logs",
    id: "guest_logs",
    summary: "The last lines that a guest wrote",
    roles: ALL,
};

/// Starts one.
pub const START: Route = Route {
    verb: Verb::Post,
    path: "/v1/guests/start",
    id: "guest_start",
    summary: "Start a guest: done when the kernel holds its policy; nothing is left of one that fails",
    roles: ALL,
};

/// Starts one anew.
pub const RESTART: Route = Route {
    verb: Verb::Post,
    path: "/v1/guests/restart",
    id: "guest_restart",
    summary: "Start a guest anew, for the same order, with the Docker socket that its user may have now",
    roles: ALL,
};

/// Ends one.
pub const STOP: Route = Route {
    verb: Verb::Post,
    path: "/v1/guests/stop",
    id: "guest_stop",
    summary: "End a guest, and keep it",
    roles: ALL,
};

/// Removes one.
pub const REMOVE: Route = Route {
    verb: Verb::Post,
    path: "/v1/guests/remove",
    id: "guest_remove",
    summary: "Remove a guest, running or not; its user's volumes stay",
    roles: ALL,
};

/// Runs a command.
pub const EXEC: Route = Route {
    verb: Verb::Post,
    path: "/v1/guests/exec",
    id: "guest_exec",
    summary: "Run a command in a guest, with the guest's own rights, and take what it writes",
    roles: ALL,
};

/// Removes volumes.
pub const RESET: Route = Route {
    verb: Verb::Post,
    path: "/v1/guests/reset-volumes",
    id: "guest_reset",
    summary: "Remove volumes of a user who has no guest; the next one has new ones",
    roles: ALL,
};

/// Words on their way to whoever asked: further ones are left out until they are taken.
const WORDS: usize = 4;

/// Who asks, and how long that one may listen.
#[derive(Debug)]
pub(super) struct Who {
    pub(super) role: Role,
    pub(super) by: Caller,
    pub(super) patience: Patience,
}

impl<S: Send + Sync> FromRequestParts<S> for Who {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let extensions = &parts.extensions;
        let who = extensions.get().cloned().zip(extensions.get().cloned());
        let known = who.zip(extensions.get().cloned());
        // The guard and the socket put all of them there.
        let unknown = || ApiError::new(Code::Forbidden, "nobody knows who you are");
        let ((role, by), patience) = known.ok_or_else(unknown)?;
        Ok(Self { role, by, patience })
    }
}

/// It is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "GuestDone"))]
pub struct Done {
    /// Always true.
    pub done: bool,
}

pub(super) fn router() -> Router<Api> {
    Router::new()
        .route(LIST.path, get(list))
        .route(INSPECT.path, get(inspect))
        .route(LOGS.path, get(logs))
        .route(START.path, post(start))
        .route(RESTART.path, post(restart))
        .route(STOP.path, post(stop))
        .route(REMOVE.path, post(remove))
        .route(EXEC.path, post(exec))
        .route(RESET.path, post(reset))
}

async fn list(
    State(api): State<Api>,
    Extension(role): Extension<Role>,
    Asking(GuestsQuestion { hub, user }): Asking<GuestsQuestion>,
) -> Result<Json<GuestList>, ApiError> {
    let hub = match (&role, hub) {
        (Role::Admin, None) => None,
        (_, hub) => Some(hub_of(&role, hub)?),
    };
    let user = user.as_deref().map(named::<UserName>).transpose()?;
    let guests =
        api.put(|reply| Asked::Guest(Box::new(GuestAsked::List(hub, user, reply)))).await??;
    Ok(Json(GuestList { guests }))
}

async fn inspect(
    State(api): State<Api>,
    Extension(role): Extension<Role>,
    Asking(which): Asking<WhichGuest>,
) -> Result<Json<GuestDetail>, ApiError> {
    let seat = seat(&role, which)?;
    Ok(Json(api.put(|reply| Asked::Guest(Box::new(GuestAsked::Inspect(seat, reply)))).await??))
}

async fn logs(
    State(api): State<Api>,
    Extension(role): Extension<Role>,
    Asking(LogsQuestion { hub, user, server, tail }): Asking<LogsQuestion>,
) -> Result<Json<GuestLogs>, ApiError> {
    let seat = seat(&role, WhichGuest { hub, user, server })?;
    Ok(Json(api.put(|reply| Asked::Guest(Box::new(GuestAsked::Logs(seat, tail, reply)))).await??))
}

async fn start(
    State(api): State<Api>,
    Who { role, by, patience }: Who,
    Strict(order): Strict<GuestOrder>,
) -> Result<Response, ApiError> {
    let asker = asker(&role, hub_of(&role, order.hub.clone())?, by);
    begin(&api, patience, same, |words, reply| {
        GuestAsked::Start(Box::new(order), asker, words, reply)
    })
    .await
}

async fn restart(
    State(api): State<Api>,
    Who { role, by, patience }: Who,
    Strict(which): Strict<WhichGuest>,
) -> Result<Response, ApiError> {
    let (seat, asker) = meant(&role, which, by)?;
    begin(&api, patience, same, |words, reply| GuestAsked::Restart(seat, asker, words, reply)).await
}

async fn stop(
    State(api): State<Api>,
    Who { role, by, patience }: Who,
    Strict(which): Strict<WhichGuest>,
) -> Result<Response, ApiError> {
    let (seat, asker) = meant(&role, which, by)?;
    begin(&api, patience, done, |_, reply| GuestAsked::Stop(seat, asker, reply)).await
}

async fn remove(
    State(api): State<Api>,
    Who { role, by, patience }: Who,
    Strict(which): Strict<WhichGuest>,
) -> Result<Response, ApiError> {
    let (seat, asker) = meant(&role, which, by)?;
    begin(&api, patience, done, |_, reply| GuestAsked::Remove(seat, asker, reply)).await
}

async fn exec(
    State(api): State<Api>,
    Who { role, by, patience }: Who,
    Strict(ExecOrder { hub, user, server, command, run_as }): Strict<ExecOrder>,
) -> Result<Response, ApiError> {
    let (seat, asker) = meant(&role, WhichGuest { hub, user, server }, by)?;
    let what = (command, run_as);
    begin(&api, patience, same, |_, reply| GuestAsked::Exec(seat, what, asker, reply)).await
}

async fn reset(
    State(api): State<Api>,
    Who { role, by, patience }: Who,
    Strict(ResetOrder { hub, user, volumes }): Strict<ResetOrder>,
) -> Result<Response, ApiError> {
    let unknown = |name: &String| {
        let message = format!("\"{name}\" is no volume: there are home, workspace and cache");
        ApiError::new(Code::BadRequest, message)
    };
    let uses = volumes.iter().map(|name| Use::from_name(name).ok_or_else(|| unknown(name)));
    let mut uses: Vec<Use> = uses.collect::<Result<_, ApiError>>()?;
    if uses.is_empty() {
        uses.extend(Use::ALL);
    }
    let (seat, asker) = meant(&role, WhichGuest { hub, user, server: None }, by)?;
    let removed = |removed| ResetDone { removed };
    begin(&api, patience, removed, |_, reply| GuestAsked::Reset(seat.user, uses, asker, reply))
        .await
}

/// Puts an order to the supervisor, and answers in lines: it is carried out whether or not anybody listens.
async fn begin<T: Send + 'static, A: Serialize + Send + 'static>(
    api: &Api,
    patience: Patience,
    told: impl FnOnce(T) -> A + Send + 'static,
    order: impl FnOnce(mpsc::Sender<Progress>, Reply<T>) -> GuestAsked,
) -> Result<Response, ApiError> {
    let (progress, words) = mpsc::channel(WORDS);
    let (reply, answer) = oneshot::channel();
    let asked = api.supervisor.send(Asked::Guest(Box::new(order(progress, reply)))).await;
    asked.map_err(|_gone| ApiError::stopping())?;
    let outcome = async {
        let answer = answer.await.map_err(|_gone| ApiError::stopping())??;
        Ok(told(answer))
    };
    Ok(ndjson::respond(words, outcome, patience))
}

/// It is told as it is.
fn same<T>(told: T) -> T {
    told
}

pub(super) const fn done((): ()) -> Done {
    Done { done: true }
}

/// The hub that is meant. A hub's own is its only one.
pub(super) fn hub_of(role: &Role, asked: Option<String>) -> Result<HubName, ApiError> {
    match role {
        Role::Admin => of_hub(asked),
        Role::Hub(own) if asked.as_ref().is_none_or(|asked| asked == own) => named(own),
        Role::Hub(own) => {
            let message = format!("you are hub {own}: what is of another one is not yours");
            Err(ApiError::new(Code::Forbidden, message))
        }
    }
}

fn seat(role: &Role, WhichGuest { hub, user, server }: WhichGuest) -> Result<Seat, ApiError> {
    let seat = check::seat(hub_of(role, hub)?, &user, server.as_deref());
    seat.map_err(|refusal| ApiError::new(Code::BadRequest, refusal.to_string()))
}

fn asker(role: &Role, hub: HubName, by: Caller) -> Asker {
    Asker { hub, is_admin: *role == Role::Admin, by }
}

fn meant(role: &Role, which: WhichGuest, by: Caller) -> Result<(Seat, Asker), ApiError> {
    let seat = seat(role, which)?;
    let asker = asker(role, seat.user.hub.clone(), by);
    Ok((seat, asker))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s17_a_hub_has_its_own_guests_and_no_others() {
        let lab = Role::Hub("lab".to_owned());
        let of = |role: &Role, hub: Option<&str>| {
            let hub = hub_of(role, hub.map(str::to_owned));
            hub.map(|hub| hub.to_string()).map_err(|error| error.code)
        };
        assert_eq!(of(&lab, None).as_deref(), Ok("lab"));
        assert_eq!(of(&lab, Some("lab")).as_deref(), Ok("lab"));
        for other in ["local", "course", "", "LAB"] {
            assert_eq!(of(&lab, Some(other)), Err(Code::Forbidden), "{other}");
        }
        assert_eq!(of(&Role::Admin, None).as_deref(), Ok("local"));
        assert_eq!(of(&Role::Admin, Some("course")).as_deref(), Ok("course"));
        assert!(!asker(&lab, HubName::local(), Caller::default()).is_admin);
    }
}
