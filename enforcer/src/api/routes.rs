//! The calls: a table that says what there is and who may, and beside it what answers. A call is in both;
//! one that is in the router alone is denied.

pub mod access;
pub mod allowances;
pub mod daemon;
pub mod grants;
pub mod groups;
pub mod guests;
pub mod names;
pub mod networks;
pub mod restraints;
pub mod traffic;

use axum::{Router, extract::DefaultBodyLimit, http::Method, middleware};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    asked::Asked,
    error::{ApiError, Code},
    guard,
    refusals::Refusals,
    request::MAX_BODY,
    roles::{RoleKind, Roles},
};
use crate::access::service::Access;

/// An entry of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Route {
    /// How it is called.
    pub verb: Verb,
    /// Where: a pattern of the router's.
    pub path: &'static str,
    /// What programs call it; `operationId` of the document.
    pub id: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
    /// Who may.
    pub roles: &'static [RoleKind],
}

/// HTTP methods that calls have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Changes nothing.
    Get,
    /// Does something.
    Post,
    /// Makes or replaces something.
    Put,
    /// Removes something.
    Delete,
}

impl Verb {
    /// The verb of a method, if calls have it.
    #[must_use]
    pub fn of(method: &Method) -> Option<Self> {
        let all = [Self::Get, Self::Post, Self::Put, Self::Delete];
        all.into_iter().find(|verb| verb.method() == *method)
    }

    /// As HTTP has it.
    #[must_use]
    pub const fn method(self) -> Method {
        match self {
            Self::Get => Method::GET,
            Self::Post => Method::POST,
            Self::Put => Method::PUT,
            Self::Delete => Method::DELETE,
        }
    }
}

/// Only admins.
pub(super) const ADMIN: &[RoleKind] = &[RoleKind::Admin];
/// Whoever has a role.
pub(super) const ALL: &[RoleKind] = &[RoleKind::Admin, RoleKind::Hub];

/// Every call.
pub static TABLE: &[Route] = &[
    daemon::VERSION,
    daemon::DOCUMENT,
    daemon::STATUS,
    daemon::RELOAD,
    daemon::STOP,
    traffic::EXPLAIN,
    traffic::EXPLAIN_NAME,
    traffic::FLOWS,
    restraints::PARDON,
    restraints::CUT,
    allowances::LIST,
    allowances::ALLOW,
    allowances::REVOKE,
    names::ERASE,
    groups::LIST,
    groups::CREATE,
    groups::ADD,
    groups::MEMBERS,
    grants::SET,
    grants::LIST,
    access::REPORT,
    groups::REMOVE,
    groups::DELETE,
    guests::LIST,
    guests::INSPECT,
    guests::LOGS,
    guests::START,
    guests::RESTART,
    guests::STOP,
    guests::REMOVE,
    guests::EXEC,
    guests::RESET,
    networks::LIST,
    networks::CREATE,
    networks::REMOVE,
];

/// What answers calls.
#[derive(Clone, Debug)]
pub struct Api {
    /// The supervisor.
    pub supervisor: mpsc::Sender<Asked>,
    /// Who may be who, now.
    pub roles: watch::Receiver<Roles>,
    /// Groups and grants.
    pub access: Access,
    /// Calls that were refused.
    pub refusals: Refusals,
}

impl Api {
    /// Puts a question to the supervisor, and waits for the answer.
    async fn put<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> Asked,
    ) -> Result<T, ApiError> {
        let (sender, answer) = oneshot::channel();
        let asked = self.supervisor.send(question(sender)).await;
        asked.map_err(|_gone| ApiError::stopping())?;
        answer.await.map_err(|_gone| ApiError::stopping())
    }
}

/// Every call, guarded.
pub(super) fn router(api: Api) -> Router {
    guarded(
        Router::new()
            .merge(daemon::router())
            .merge(traffic::router())
            .merge(restraints::router())
            .merge(allowances::router())
            .merge(names::router())
            .merge(groups::router())
            .merge(grants::router())
            .merge(access::router())
            .merge(guests::router())
            .merge(networks::router()),
        api,
    )
}

/// Puts the guard before a router, and before what it does not know.
pub(super) fn guarded(router: Router<Api>, api: Api) -> Router {
    // The guard never lets a call through to this.
    let nothing = || async { ApiError::new(Code::NoSuchCall, "there is no such call") };
    router
        .fallback(nothing)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(api.clone(), guard::guard))
        .with_state(api)
}

#[cfg(test)]
impl Route {
    /// What tests fill up.
    pub(super) const NONE: Self =
        Self { verb: Verb::Get, path: "", id: "", summary: "", roles: &[] };
}
