//! Every route of the engine's API, 1.24 to 1.56, with our answer. A route that is not in the table is denied (S13).

mod routes;
#[cfg(test)]
mod tests;

use hyper::{Method, StatusCode};

pub use self::routes::ROUTES;
use super::{principal::Principal, verdict::Refusal};

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Method.
    pub method: &'static str,
    /// Its path: `{name}` stands for one segment, `{image}` for one or more.
    pub path: &'static str,
    /// What a hub gets.
    pub hub: Answer,
    /// What a user with a filtered socket gets.
    pub user: Answer,
}

/// What is said to a call of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is read and judged as this.
    Judge(Op),
    /// It is denied, whatever else it says.
    Deny(&'static Why),
}

/// Why a route is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Why {
    /// The rule, for records.
    pub rule: &'static str,
    /// A sentence for the client.
    pub reason: &'static str,
    /// Whether it is denied as what does not exist: clients look in several places for what a name may mean.
    pub is_missing: bool,
}

/// Calls that are judged.
#[expect(
    missing_docs,
    reason = "each is named as in Docker's documents; the table has their routes"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    Ping,
    Version,
    Info,
    Events,
    ContainerList,
    ContainerCreate,
    ContainerInspect,
    ContainerStart,
    ContainerStop,
    ContainerRestart,
    ContainerKill,
    ContainerRemove,
    ContainerLogs,
    ContainerWait,
    ContainerAttach,
    ContainerAttachWebSocket,
    ContainerResize,
    ContainerTop,
    ContainerStats,
    ContainerRename,
    ContainerUpdate,
    ContainerPrune,
    ExecCreate,
    ExecStart,
    ExecResize,
    ExecInspect,
    ImageList,
    ImageInspect,
    ImageHistory,
    ImagePull,
    ImageBuild,
    ImageTag,
    ImageRemove,
    VolumeList,
    VolumeCreate,
    VolumeInspect,
    VolumeRemove,
    VolumePrune,
    NetworkList,
    NetworkCreate,
    NetworkInspect,
    NetworkConnect,
    NetworkDisconnect,
    NetworkRemove,
    NetworkPrune,
}

/// A route that was found, and what stands in its path for `{…}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it is judged as.
    pub op: Op,
    /// Container, image, …; empty where the route has no name. An image's segments are joined again.
    pub called: String,
}

/// Finds the route of a call, or says why it is denied.
pub fn find(principal: &Principal, method: &Method, segments: &[String]) -> Result<Found, Refusal> {
    let fits = ROUTES.iter().filter_map(|route| Some((route, called(route.path, segments)?)));
    // A route that says a segment in letters is meant before one that has a name there.
    let found = fits
        .filter(|(route, _)| route.method == method.as_str())
        .min_by_key(|(_, called)| !called.is_empty());
    let Some((route, called)) = found else { return Err(unknown(method)) };
    let answer = match principal {
        Principal::Hub(_) => route.hub,
        Principal::User(_) => route.user,
    };
    match answer {
        Answer::Judge(op) => Ok(Found { op, called }),
        Answer::Deny(why) => {
            let refusal = Refusal::forbidden(why.rule, why.reason);
            let missing = StatusCode::NOT_FOUND;
            let status = if why.is_missing { missing } else { refusal.status };
            Err(Refusal { status, ..refusal })
        }
    }
}

fn unknown(method: &Method) -> Refusal {
    Refusal {
        status: StatusCode::FORBIDDEN,
        rule: "route.unknown",
        message: format!(
            "no {method} of this path is known here; `enforcer gate routes` shows those that are"
        ),
    }
}

/// What stands for the name of a path in segments that are of it; nothing for a path without one.
fn called(path: &str, segments: &[String]) -> Option<String> {
    let pattern: Vec<&str> = path.split('/').skip(1).collect();
    let Some(at) = pattern.iter().position(|part| part.starts_with('{')) else {
        return (pattern == segments).then(String::new);
    };
    let (before, after) = (pattern.get(..at)?, pattern.get(at + 1..)?);
    let length = segments.len().checked_sub(before.len() + after.len())?;
    let takes_many = pattern.get(at) == Some(&"{image}");
    let name = segments.get(at..at + length)?;
    let rest = segments.get(at + length..)?;
    let fits_after =
        after.iter().zip(rest).all(|(part, segment)| part.starts_with('{') || part == segment);
    let fits_length = length == 1 || (length > 1 && takes_many);
    let fits = segments.get(..at)? == before && fits_after && fits_length;
    fits.then(|| name.join("/"))
}
