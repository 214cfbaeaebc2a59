//! Calls about groups: which there are, and who is in them.

use axum::{
    Extension, Json, Router,
    extract::State,
    routing::{get, post},
};
use serde::{Deserialize, Serialize};

use super::{ADMIN, Api, Route, Verb, grants::GrantStatus};
use crate::{
    access::{
        grant::{By, Note, Reason, Seconds},
        name::{GroupName, HubName, User, UserName},
        service::AccessError,
        store::StoreError,
    },
    api::{
        error::{ApiError, Code},
        request::{Asking, Strict},
    },
    causes::causes,
    model::caller::Caller,
};

/// Which groups there are.
pub const LIST: Route = Route {
    verb: Verb::Get,
    path: "/v1/groups",
    id: "groups",
    summary: "Groups of a hub, and what their members may have",
    roles: ADMIN,
};

/// Makes one.
pub const CREATE: Route = Route {
    verb: Verb::Post,
    path: "/v1/groups/create",
    id: "group_create",
    summary: "Make a group, with no members and no grant",
    roles: ADMIN,
};

/// Deletes one.
pub const DELETE: Route = Route {
    verb: Verb::Post,
    path: "/v1/groups/delete",
    id: "group_delete",
    summary: "Delete a group that is not built in",
    roles: ADMIN,
};

/// Who is in one.
pub const MEMBERS: Route = Route {
    verb: Verb::Get,
    path: "/v1/groups/members",
    id: "group_members",
    summary: "Who is in a group, since when, until when, by whom and why",
    roles: ADMIN,
};

/// Puts a user in.
pub const ADD: Route = Route {
    verb: Verb::Post,
    path: "/v1/groups/add",
    id: "group_add",
    summary: "Put a user into a group",
    roles: ADMIN,
};

/// Takes a user out.
pub const REMOVE: Route = Route {
    verb: Verb::Post,
    path: "/v1/groups/remove",
    id: "group_remove",
    summary: "Take a user out of a group",
    roles: ADMIN,
};

/// Whose groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OfHub {
    /// The hub's name; left out: users of no hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
}

/// A group that somebody asks about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OfGroup {
    /// The hub's name; left out: users of no hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// The group's name.
    pub group: String,
}

/// A group that is to be made or deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct GroupOrder {
    /// The hub's name; left out: users of no hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// The group's name.
    pub group: String,
    /// Why: one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A user who is to be put in or taken out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MemberOrder {
    /// The hub's name; left out: users of no hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// The group's name.
    pub group: String,
    /// The user's name in that hub.
    pub user: String,
    /// When it is over, RFC 3339 in UTC; left out: never. Of no meaning for a removal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Why: one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Groups of a hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Groups {
    /// Them.
    pub groups: Vec<GroupStatus>,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GroupStatus {
    /// Its name.
    pub group: String,
    /// Whether it can never be deleted.
    pub builtin: bool,
    /// How many members it has; absent: its hub knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<usize>,
    /// What its members may have; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantStatus>,
}

/// Members of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Members {
    /// Them.
    pub members: Vec<MemberStatus>,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MemberStatus {
    /// The user's name.
    pub user: String,
    /// How it came to that; absent: the hub knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<Given>,
}

/// How something was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Given {
    /// When, RFC 3339.
    pub since: String,
    /// Until when; absent: for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// By whom.
    pub by: String,
    /// By what way.
    pub via: String,
    /// Why; may be empty.
    pub reason: String,
}

impl From<&Note> for Given {
    fn from(note: &Note) -> Self {
        Self {
            since: note.since.to_string(),
            until: note.until.map(|until| until.to_string()),
            by: note.by.name.clone(),
            via: note.by.via.clone(),
            reason: note.reason.as_str().to_owned(),
        }
    }
}

/// It is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Changed {
    /// Always true.
    pub changed: bool,
}

/// The answer to what is done.
pub(super) const CHANGED: Json<Changed> = Json(Changed { changed: true });

pub(super) fn router() -> Router<Api> {
    Router::new()
        .route(LIST.path, get(list))
        .route(CREATE.path, post(create))
        .route(DELETE.path, post(delete))
        .route(MEMBERS.path, get(members))
        .route(ADD.path, post(add))
        .route(REMOVE.path, post(remove))
}

async fn list(
    State(api): State<Api>,
    Asking(OfHub { hub }): Asking<OfHub>,
) -> Result<Json<Groups>, ApiError> {
    let groups = api.access.groups(&of_hub(hub)?).await?;
    let groups = groups.into_iter().map(|one| GroupStatus {
        group: one.name.to_string(),
        builtin: one.is_builtin,
        members: one.members,
        grant: one.grant.as_ref().map(|grant| GrantStatus::new(&one.name, grant)),
    });
    Ok(Json(Groups { groups: groups.collect() }))
}

async fn create(
    State(api): State<Api>,
    Extension(by): Extension<Caller>,
    Strict(order): Strict<GroupOrder>,
) -> Result<Json<Changed>, ApiError> {
    let (hub, group) = (of_hub(order.hub)?, named::<GroupName>(&order.group)?);
    api.access.create(&hub, &group, (asked_by(&by), because(order.reason.as_deref())?)).await?;
    Ok(CHANGED)
}

async fn delete(
    State(api): State<Api>,
    Extension(by): Extension<Caller>,
    Strict(order): Strict<GroupOrder>,
) -> Result<Json<Changed>, ApiError> {
    let (hub, group) = (of_hub(order.hub)?, named::<GroupName>(&order.group)?);
    api.access.delete(&hub, &group, (asked_by(&by), because(order.reason.as_deref())?)).await?;
    Ok(CHANGED)
}

async fn members(
    State(api): State<Api>,
    Asking(OfGroup { hub, group }): Asking<OfGroup>,
) -> Result<Json<Members>, ApiError> {
    let members = api.access.members(&of_hub(hub)?, &named(&group)?).await?;
    let members = members.into_iter().map(|(user, note)| MemberStatus {
        user: user.to_string(),
        given: note.as_ref().map(Given::from),
    });
    Ok(Json(Members { members: members.collect() }))
}

async fn add(
    State(api): State<Api>,
    Extension(by): Extension<Caller>,
    Strict(order): Strict<MemberOrder>,
) -> Result<Json<Changed>, ApiError> {
    let until = end(order.until.as_deref())?;
    let (user, group) = (user(order.hub, &order.user)?, named::<GroupName>(&order.group)?);
    api.access
        .add(&user, &group, until, (asked_by(&by), because(order.reason.as_deref())?))
        .await?;
    Ok(CHANGED)
}

async fn remove(
    State(api): State<Api>,
    Extension(by): Extension<Caller>,
    Strict(order): Strict<MemberOrder>,
) -> Result<Json<Changed>, ApiError> {
    if order.until.is_some() {
        return Err(ApiError::new(Code::BadRequest, "a removal has no end"));
    }
    let (user, group) = (user(order.hub, &order.user)?, named::<GroupName>(&order.group)?);
    api.access.remove(&user, &group, (asked_by(&by), because(order.reason.as_deref())?)).await?;
    Ok(CHANGED)
}

/// The hub that is meant.
pub(super) fn of_hub(hub: Option<String>) -> Result<HubName, ApiError> {
    hub.map_or_else(|| Ok(HubName::local()), |name| named(&name))
}

fn user(hub: Option<String>, name: &str) -> Result<User, ApiError> {
    Ok(User { hub: of_hub(hub)?, name: named::<UserName>(name)? })
}

/// A name, or what is wrong with it.
pub(super) fn named<T: std::str::FromStr<Err: std::fmt::Display>>(
    text: &str,
) -> Result<T, ApiError> {
    text.parse().map_err(|error: T::Err| ApiError::new(Code::BadRequest, error.to_string()))
}

/// When something is over.
pub(super) fn end(text: Option<&str>) -> Result<Option<Seconds>, ApiError> {
    text.map(named).transpose()
}

/// Why something is done.
pub(super) fn because(reason: Option<&str>) -> Result<Reason, ApiError> {
    reason.map_or_else(|| Ok(Reason::default()), named)
}

/// Who wants it, as the store keeps it.
pub(super) fn asked_by(caller: &Caller) -> By {
    let nameless = || caller.uid.map_or_else(String::new, |uid| uid.to_string());
    let name = caller.user.clone().unwrap_or_else(nameless);
    By { uid: caller.uid, name, via: "control".to_owned() }
}

impl From<AccessError> for ApiError {
    fn from(error: AccessError) -> Self {
        let code = match &error {
            AccessError::NoHub(_) => Code::NotFound,
            AccessError::Elsewhere(_) => Code::Conflict,
            AccessError::Store(StoreError::NoGroup { .. } | StoreError::NoMember { .. }) => {
                Code::NotFound
            }
            AccessError::Store(StoreError::Exists { .. } | StoreError::BuiltIn(_)) => {
                Code::Conflict
            }
            AccessError::Store(StoreError::NoEnd) => Code::BadRequest,
            AccessError::Closed(_) | AccessError::Hub(_) => Code::Unavailable,
            AccessError::Store(_) => Code::Failed,
            AccessError::NoAnswer => Code::NotYet,
        };
        Self::new(code, causes(&error))
    }
}
