//! Asks a JupyterHub for its groups and who is in them, over its REST API. Each question is asked afresh: who was
//! taken out of a group a moment ago is not in it. What cannot be understood is no answer, and an answer about
//! somebody else is none either.

mod http;
#[cfg(test)]
pub(super) mod tests;

use std::{path::PathBuf, time::Duration};

use hyper::{Method, StatusCode, Uri};
use serde::Deserialize;

use self::http::Client;
use super::name::{GroupName, UserName};

/// Groups or users in one answer that are taken note of.
const MOST: usize = 100_000;
/// Groups on one page of the list.
const PAGE: usize = 100;

/// Where a hub's API is and how it knows us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The address of the API, without a slash at its end.
    pub api: Uri,
    /// File with the token, which is read for each request.
    pub token_file: PathBuf,
    /// Longest that one question may take.
    pub timeout: Duration,
}

/// Why a hub's word is not known.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// No token to ask with.
    #[error("token_file {path}: {why}")]
    Token {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; never what is in it.
        why: String,
    },
    /// Nobody answered, or not in HTTP.
    #[error("{api}: {why}")]
    Silent {
        /// The API's address.
        api: Uri,
        /// What happened.
        why: String,
    },
    /// It took too long.
    #[error("{api}: no answer within {limit:?}")]
    Late {
        /// The API's address.
        api: Uri,
        /// So long was waited.
        limit: Duration,
    },
    /// The token's role lacks a scope.
    #[error("{api}: the token may not: it needs the scopes read:users:groups and admin:groups")]
    Forbidden {
        /// The API's address.
        api: Uri,
    },
    /// Another status than one of those that are expected.
    #[error("{api}: it answered {status}")]
    Status {
        /// The API's address.
        api: Uri,
        /// The status.
        status: StatusCode,
    },
    /// An answer that means nothing here.
    #[error("{api}: its answer is not JupyterHub's: {why}")]
    Strange {
        /// The API's address.
        api: Uri,
        /// Why not.
        why: &'static str,
    },
}

/// `GET /users/{name}`, as far as it is needed.
#[derive(Deserialize)]
struct UserModel {
    name: String,
    groups: Option<Vec<String>>,
}

/// `GET /groups/{name}`.
#[derive(Deserialize)]
struct GroupModel {
    name: String,
    users: Option<Vec<String>>,
}

/// `GET /groups`: a page, or the list as hubs give it that know no pages.
#[derive(Deserialize)]
#[serde(untagged)]
enum GroupList {
    Page {
        items: Vec<GroupModel>,
        #[serde(rename = "_pagination")]
        pagination: Pagination,
    },
    Whole(Vec<GroupModel>),
}

#[derive(Deserialize)]
struct Pagination {
    next: Option<Next>,
}

#[derive(Deserialize)]
struct Next {
    offset: usize,
}

/// A hub that is asked.
#[derive(Debug)]
pub struct JupyterHub {
    client: Client,
}

impl JupyterHub {
    /// Nobody is asked yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { client: Client::new(settings) }
    }

    /// How it is asked.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        self.client.settings()
    }

    /// Groups that a user is in. A user that the hub does not know is in none.
    pub async fn groups_of(&self, user: &UserName) -> Result<Vec<GroupName>, Unavailable> {
        self.client.within(self.ask_user(user)).await
    }

    /// All groups.
    pub async fn groups(&self) -> Result<Vec<GroupName>, Unavailable> {
        self.client.within(self.ask_groups()).await
    }

    /// Who is in a group; `None`: there is no such group.
    pub async fn members(&self, group: &GroupName) -> Result<Option<Vec<UserName>>, Unavailable> {
        let asking = async {
            let Some(model) = self.ask_group(group).await? else { return Ok(None) };
            // As with a user's groups: not the same as nobody.
            let users = model.users.ok_or_else(|| self.client.forbidden())?;
            Ok(Some(names(users)))
        };
        self.client.within(asking).await
    }

    /// Makes those of these groups that are missing; which ones that were.
    pub async fn ensure(&self, groups: &[GroupName]) -> Result<Vec<GroupName>, Unavailable> {
        let ensuring = async {
            let mut made = Vec::new();
            for group in groups {
                if self.ask_group(group).await?.is_none() && self.make(group).await? {
                    made.push(group.clone());
                }
            }
            Ok(made)
        };
        self.client.within(ensuring).await
    }

    async fn ask_user(&self, user: &UserName) -> Result<Vec<GroupName>, Unavailable> {
        let path = format!("/users/{}", escaped(user.as_str()));
        let reply = self.client.send(Method::GET, &path).await?;
        match reply.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(Vec::new()),
            status => return Err(self.client.refused(status)),
        }
        let model: UserModel = self.client.read(&reply.body)?;
        if model.name != user.as_str() {
            return Err(self.client.strange("it tells of another user"));
        }
        // Without that scope the hub leaves the field out: that is not the same as no group.
        let Some(groups) = model.groups else { return Err(self.client.forbidden()) };
        Ok(names(groups))
    }

    async fn ask_group(&self, group: &GroupName) -> Result<Option<GroupModel>, Unavailable> {
        let path = format!("/groups/{}", escaped(group.as_str()));
        let reply = self.client.send(Method::GET, &path).await?;
        match reply.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            status => return Err(self.client.refused(status)),
        }
        let model: GroupModel = self.client.read(&reply.body)?;
        if model.name != group.as_str() {
            return Err(self.client.strange("it tells of another group"));
        }
        Ok(Some(model))
    }

    async fn ask_groups(&self) -> Result<Vec<GroupName>, Unavailable> {
        let (mut groups, mut offset) = (Vec::new(), 0);
        loop {
            let path = format!("/groups?offset={offset}&limit={PAGE}");
            let reply = self.client.send(Method::GET, &path).await?;
            if reply.status != StatusCode::OK {
                return Err(self.client.refused(reply.status));
            }
            let (items, next) = match self.client.read(&reply.body)? {
                GroupList::Whole(items) => (items, None),
                GroupList::Page { items, pagination } => (items, pagination.next),
            };
            groups.extend(items.into_iter().map(|group| group.name));
            match next {
                None => return Ok(names(groups)),
                // A hub that goes round in circles would be asked for ever.
                Some(next) if next.offset > offset && groups.len() < MOST => offset = next.offset,
                Some(_) => return Err(self.client.strange("its list of groups has no end")),
            }
        }
    }

    /// Whether it was made now.
    async fn make(&self, group: &GroupName) -> Result<bool, Unavailable> {
        let path = format!("/groups/{}", escaped(group.as_str()));
        let reply = self.client.send(Method::POST, &path).await?;
        match reply.status {
            StatusCode::CREATED | StatusCode::OK => Ok(true),
            // Somebody else was faster.
            StatusCode::CONFLICT => Ok(false),
            status => Err(self.client.refused(status)),
        }
    }
}

/// Names as we take them. What cannot be a name here has no grant here either.
fn names<T: std::str::FromStr>(texts: Vec<String>) -> Vec<T> {
    texts.into_iter().take(MOST).filter_map(|text| text.parse().ok()).collect()
}

/// A name as one segment of a path: whatever is in it is no slash, no query and no escape.
fn escaped(name: &str) -> String {
    let mut path = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            path.push(char::from(byte));
        } else {
            path.push('%');
            path.extend([byte >> 4, byte & 15].map(|digit| {
                char::from_digit(digit.into(), 16).unwrap_or_default().to_ascii_uppercase()
            }));
        }
    }
    path
}
