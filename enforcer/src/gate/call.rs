//! A call: a request that the table lets be judged, with all that its path and query say in types. Nothing else
//! of them exists from here on.

pub mod build;
pub mod headers;
mod read;
#[cfg(test)]
mod tests;

use hyper::Method;

use super::{
    principal::Principal,
    table,
    verdict::Refusal,
    words::{Words, filters::Filters},
};

/// A judged route's request, without its body.
#[expect(missing_docs, reason = "fields and variants are named as in the engine's API")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    Ping {
        is_head: bool,
    },
    Version,
    Info,
    Events {
        since: Option<String>,
        until: Option<String>,
        filters: Filters,
    },
    ContainerList {
        all: bool,
        limit: Option<u32>,
        size: bool,
        since: Option<String>,
        before: Option<String>,
        filters: Filters,
    },
    ContainerCreate {
        name: Option<String>,
        platform: Option<String>,
    },
    ContainerInspect {
        container: String,
        size: bool,
    },
    ContainerStart {
        container: String,
    },
    /// Also restart.
    ContainerStop {
        container: String,
        restarts: bool,
        seconds: Option<i32>,
        signal: Option<String>,
    },
    ContainerKill {
        container: String,
        signal: Option<String>,
    },
    ContainerRemove {
        container: String,
        volumes: bool,
        force: bool,
    },
    ContainerLogs {
        container: String,
        logs: Logs,
    },
    ContainerWait {
        container: String,
        condition: Option<String>,
    },
    ContainerAttach {
        container: String,
        attach: Attach,
        is_web_socket: bool,
    },
    ContainerResize {
        container: String,
        size: Size,
    },
    ContainerTop {
        container: String,
        arguments: Option<String>,
    },
    ContainerStats {
        container: String,
        stream: bool,
        one_shot: bool,
    },
    ContainerRename {
        container: String,
        name: String,
    },
    ContainerUpdate {
        container: String,
    },
    ContainerPrune {
        filters: Filters,
    },
    ExecCreate {
        container: String,
    },
    ExecStart {
        exec: String,
    },
    ExecResize {
        exec: String,
        size: Size,
    },
    ExecInspect {
        exec: String,
    },
    ImageList {
        all: bool,
        digests: bool,
        shared_size: bool,
        manifests: bool,
        filters: Filters,
    },
    ImageInspect {
        image: String,
        manifests: bool,
        platform: Option<String>,
    },
    ImageHistory {
        image: String,
        platform: Option<String>,
    },
    /// `image` with its tag or digest.
    ImagePull {
        image: String,
        platform: Option<String>,
    },
    /// The older builder alone; the context comes as the body.
    ImageBuild(Box<build::Build>),
    ImageTag {
        image: String,
        repository: String,
        tag: Option<String>,
    },
    ImageRemove {
        image: String,
        keeps_parents: bool,
    },
    VolumeList {
        filters: Filters,
    },
    VolumeCreate,
    VolumeInspect {
        volume: String,
    },
    VolumeRemove {
        volume: String,
        force: bool,
    },
    VolumePrune {
        filters: Filters,
    },
    NetworkList {
        filters: Filters,
    },
    NetworkCreate,
    NetworkInspect {
        network: String,
        verbose: bool,
    },
    NetworkConnect {
        network: String,
    },
    NetworkDisconnect {
        network: String,
    },
    NetworkRemove {
        network: String,
    },
    NetworkPrune {
        filters: Filters,
    },
}

/// What of a log is asked for; times in seconds since 1970.
#[expect(missing_docs, reason = "fields are named as in the engine's API")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logs {
    pub follow: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub timestamps: bool,
    pub details: bool,
    pub since: Option<String>,
    pub until: Option<String>,
    /// Lines; `None`: all.
    pub tail: Option<u32>,
}

/// What is attached to.
#[expect(missing_docs, reason = "fields are named as in the engine's API")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attach {
    pub logs: bool,
    pub stream: bool,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub detach_keys: Option<String>,
}

/// A terminal's size, in letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub height: u16,
    /// Columns.
    pub width: u16,
}

/// What may stand in a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// Nothing, or what old clients send for nothing: `{}`, `null`.
    Empty,
    /// A tar archive, as long as a context may be; `gate/build.rs` reads it.
    Context,
    /// One JSON object of at most so many bytes.
    Json {
        /// Bytes.
        limit: usize,
    },
}

impl Call {
    /// Reads the words of a request as the table says.
    pub fn read(principal: &Principal, method: &Method, words: Words) -> Result<Self, Refusal> {
        let Words { path, mut query } = words;
        let found = table::find(principal, method, &path.segments)?;
        let is_head = *method == Method::HEAD;
        let call = read::read(found.op, found.called, is_head, &mut query)?;
        query.end()?;
        Ok(call)
    }

    /// Whether it changes what the principal has: no two such requests of a principal are judged at once.
    #[must_use]
    pub const fn changes(&self) -> bool {
        matches!(
            self,
            Self::ContainerCreate { .. }
                | Self::ExecCreate { .. }
                | Self::ContainerRename { .. }
                | Self::ContainerRemove { .. }
                | Self::ContainerPrune { .. }
                | Self::ImageTag { .. }
                | Self::ImageRemove { .. }
                | Self::VolumeCreate
                | Self::VolumeRemove { .. }
                | Self::VolumePrune { .. }
                | Self::NetworkCreate
                | Self::NetworkRemove { .. }
                | Self::NetworkPrune { .. }
        )
    }

    /// What its body may be. A body where there is none is refused by who reads it.
    #[must_use]
    pub const fn body(&self) -> BodyKind {
        match self {
            Self::ContainerCreate { .. } => BodyKind::Json { limit: 256 << 10 },
            Self::ContainerUpdate { .. }
            | Self::ExecCreate { .. }
            | Self::ExecStart { .. }
            | Self::VolumeCreate
            | Self::NetworkCreate
            | Self::NetworkConnect { .. }
            | Self::NetworkDisconnect { .. } => BodyKind::Json { limit: 64 << 10 },
            Self::ImageBuild(_) => BodyKind::Context,
            _ => BodyKind::Empty,
        }
    }
}

/// The call of a request line.
pub fn call(principal: &Principal, method: &Method, target: &str) -> Result<Call, Refusal> {
    Call::read(principal, method, Words::read(target)?)
}
