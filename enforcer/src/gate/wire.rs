//! A client's connection as the HTTP library sees it: what was read of it before comes first, and bytes are counted.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    net::UnixStream,
};

use super::{
    head::{self, Head, Progress},
    verdict::Refusal,
};

/// Bytes both ways.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// From the client.
    pub(super) sent: AtomicU64,
    /// To it.
    pub(super) received: AtomicU64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Wire {
    before: Bytes,
    stream: UnixStream,
    traffic: Arc<Traffic>,
}

/// What came first over a connection.
pub(super) type Opening = Result<(Head, Bytes), Refusal>;

/// Reads the head of a request, and what came together with it. `None`: the client has gone before it said all of it.
pub(super) async fn open(stream: &mut UnixStream) -> io::Result<Option<Opening>> {
    let mut read = BytesMut::with_capacity(4096);
    loop {
        if stream.read_buf(&mut read).await? == 0 {
            return Ok(None);
        }
        let end = match head::progress(&read) {
            Ok(Progress::More) => continue,
            Ok(Progress::Whole(end)) => end,
            Err(refusal) => return Ok(Some(Err(refusal))),
        };
        let (first, rest) = read.split_at(end);
        let head = head::read(first).and_then(|head| head::alone(&head, rest).map(|()| head));
        return Ok(Some(head.map(|head| (head, read.freeze()))));
    }
}

impl Wire {
    /// `before` was read already.
    pub(super) fn new(before: Bytes, stream: UnixStream, traffic: Arc<Traffic>) -> Self {
        traffic.sent.fetch_add(length(before.len()), Ordering::Relaxed);
        Self { before, stream, traffic }
    }
}

impl AsRef<UnixStream> for Wire {
    fn as_ref(&self) -> &UnixStream {
        &self.stream
    }
}

fn length(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.before.has_remaining() {
            let most = self.before.len().min(into.remaining());
            into.put_slice(&self.before.split_to(most));
            return Poll::Ready(Ok(()));
        }
        let there = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        let more = length(into.filled().len().saturating_sub(there));
        self.traffic.sent.fetch_add(more, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.traffic.received.fetch_add(length(written), Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, parts))?;
        self.traffic.received.fetch_add(length(written), Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
