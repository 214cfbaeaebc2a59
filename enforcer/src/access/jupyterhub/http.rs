//! HTTP/1.1 to a hub: a connection and a token for each request, nothing is followed, and both time and length of an
//! answer are limited.

use std::{
    fmt,
    fs::OpenOptions,
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, StatusCode, Uri,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT},
};
use hyper_util::{
    client::legacy::{Client as Connections, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{Settings, Unavailable};
use crate::causes::causes;

/// Longest answer that is read, bytes: a group's has all of its users.
const MAX_ANSWER: usize = 8 << 20;
/// Longest file of a token, bytes.
const MAX_TOKEN: u64 = 4096;
/// Bits of a mode by which others than the owner and a group read or write, or a group writes.
const OPEN: u32 = 0o027;
/// Lists come in pages.
const PAGES: HeaderValue = HeaderValue::from_static("application/jupyterhub-pagination+json");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Who asks.
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("enforcer/", env!("CARGO_PKG_VERSION")));

/// What came back.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// See the module.
pub(super) struct Client {
    connections: Connections<HttpConnector, Full<Bytes>>,
    settings: Settings,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Client {
    pub(super) const fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn new(settings: Settings) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        // A hub that was restarted answers on no connection of before.
        let connections =
            Connections::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Self { connections, settings }
    }

    /// The whole of a question, within its time.
    pub(super) async fn within<T>(
        &self,
        asking: impl Future<Output = Result<T, Unavailable>>,
    ) -> Result<T, Unavailable> {
        let limit = self.settings.timeout;
        let late = || Unavailable::Late { api: self.settings.api.clone(), limit };
        timeout(limit, asking).await.unwrap_or_else(|_elapsed| Err(late()))
    }

    /// Sends a request to a path below the API. A redirection is an answer like any other: the token goes nowhere
    /// else.
    pub(super) async fn send(&self, method: Method, path: &str) -> Result<Reply, Unavailable> {
        let api = &self.settings.api;
        let uri: Uri = format!("{}{path}", api.to_string().trim_end_matches('/'))
            .parse()
            .map_err(|_error| self.strange("no address can be made of a name"))?;
        let body = if method == Method::POST { Bytes::from_static(b"{}") } else { Bytes::new() };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, self.authorization()?);
        headers.insert(ACCEPT, PAGES);
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(USER_AGENT, AGENT);
        let silent = |why: String| Unavailable::Silent { api: api.clone(), why };
        let sent = self.connections.request(request).await;
        let (head, body) = sent.map_err(|error| silent(causes(&error)))?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(|error| silent(causes(&*error)))?.to_bytes();
        Ok(Reply { status: head.status, body })
    }

    pub(super) fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, Unavailable> {
        serde_json::from_slice(body).map_err(|_error| self.strange("no such JSON"))
    }

    pub(super) fn strange(&self, why: &'static str) -> Unavailable {
        Unavailable::Strange { api: self.settings.api.clone(), why }
    }

    pub(super) fn forbidden(&self) -> Unavailable {
        Unavailable::Forbidden { api: self.settings.api.clone() }
    }

    pub(super) fn refused(&self, status: StatusCode) -> Unavailable {
        if status == StatusCode::FORBIDDEN {
            return self.forbidden();
        }
        Unavailable::Status { api: self.settings.api.clone(), status }
    }

    fn authorization(&self) -> Result<HeaderValue, Unavailable> {
        let path = &self.settings.token_file;
        let bad = |why: String| Unavailable::Token { path: path.clone(), why };
        let token = token(path).map_err(|error| bad(error.to_string()))?;
        let text = Zeroizing::new(format!("token {}", token.trim()));
        let is_token = token.trim().bytes().all(|byte| byte.is_ascii_graphic());
        if token.trim().is_empty() || !is_token {
            return Err(bad("there is no token in it, on a line of its own".to_owned()));
        }
        let value = HeaderValue::from_str(&text);
        let mut value = value.map_err(|_error| bad("no header can have it".to_owned()))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Whose file may say who we are: root's, or this daemon's own user's.
fn is_ours(owner: u32) -> bool {
    // SAFETY: no arguments, cannot fail.
    owner == 0 || owner == unsafe { libc::geteuid() }
}

fn token(path: &Path) -> io::Result<Zeroizing<String>> {
    // A pipe in its place must not hold up a guest, and a link leads where whoever made it wants.
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
    let file =
        OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(
            |error| match error.raw_os_error() {
                Some(libc::ELOOP) => {
                    io::Error::other("it is a symbolic link: name the file itself")
                }
                _ => error,
            },
        )?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.mode() & OPEN != 0 {
        let message = "not a file that only its owner may change and only they and a group may \
                       read: chmod 600";
        return Err(io::Error::other(message));
    }
    if !is_ours(metadata.uid()) {
        return Err(io::Error::other("it is another user's than this daemon's: chown root"));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_TOKEN).read_to_string(&mut text)?;
    Ok(text)
}
