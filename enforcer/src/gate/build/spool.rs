//! Files without a name that hold contexts on their way.

use std::{
    fmt::Display,
    fs::{self, File, OpenOptions},
    io::{self, Seek as _, SeekFrom},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream::try_unfold;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{
    StatusCode,
    body::{Body, Frame},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use crate::gate::verdict::Refusal;

/// Longest wait for a context.
const LONGEST: Duration = Duration::from_mins(10);
/// Bytes of a file that are on their way at a time.
const CHUNK: usize = 64 << 10;

/// A file that is gone with whoever has it open.
pub(super) fn nameless(dir: &Path) -> io::Result<File> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    fs::create_dir_all(dir)?;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = dir.join(format!("context-{}-{number}", std::process::id()));
    // One of this name was left behind by another life of this process's number.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file =
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

/// Keeps what a client sends, to its end: in time, without trailers, and at most so many bytes.
pub(super) async fn from_client<B>(dir: &Path, body: &mut B, limit: u64) -> Result<File, Refusal>
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    let mut file = tokio::fs::File::from_std(nameless(dir).map_err(|error| failed(&error))?);
    let reading = async {
        let mut left = limit;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_error| broken("the context is not what it says"))?;
            let data = frame.into_data();
            let data = data.map_err(|_trailers| broken("there are trailers after the context"))?;
            let rest = u64::try_from(data.len()).ok().and_then(|length| left.checked_sub(length));
            left = rest.ok_or_else(too_long)?;
            file.write_all(&data).await.map_err(|error| failed(&error))?;
        }
        file.flush().await.map_err(|error| failed(&error))
    };
    let slow = Refusal {
        status: StatusCode::REQUEST_TIMEOUT,
        rule: "build.slow",
        message: "the context did not come in time".to_owned(),
    };
    timeout(LONGEST, reading).await.unwrap_or(Err(slow))?;
    let mut file = file.into_std().await;
    file.seek(SeekFrom::Start(0)).map_err(|error| failed(&error))?;
    Ok(file)
}

/// What is in a file, as a body.
pub(super) fn to_engine(file: File) -> impl Body<Data = Bytes, Error = io::Error> + Send + 'static {
    StreamBody::new(try_unfold(tokio::fs::File::from_std(file), |mut file| async move {
        let mut chunk = vec![0; CHUNK];
        let length = file.read(&mut chunk).await?;
        chunk.truncate(length);
        Ok((length > 0).then(|| (Frame::data(Bytes::from(chunk)), file)))
    }))
}

/// The host's disk does not take it.
pub(super) fn failed(error: &io::Error) -> Refusal {
    Refusal {
        status: StatusCode::INSUFFICIENT_STORAGE,
        rule: "build.spool",
        message: format!("the context cannot be kept on this host: {error}"),
    }
}

fn broken(why: &str) -> Refusal {
    Refusal::unclear("build.body", why)
}

fn too_long() -> Refusal {
    Refusal {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        rule: "build.context-long",
        message: super::context::TOO_LONG.to_owned(),
    }
}
