//! A connection that has become a stream of bytes, both ways (attach, exec): byte exact, each half closed by itself,
//! nothing kept but what is on its way. Whatever looks like a request in it is none (S27).

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    time::Duration,
};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader, copy_buf, split},
    net::UnixStream,
    time::{sleep, timeout},
};

use super::upstream::Line;

/// Bytes on their way, each way.
const BUFFER: usize = 64 << 10;
/// How long a client may go on after the engine has ended: what it says goes nowhere.
const LINGER: Duration = Duration::from_secs(10);

/// Longest wait for a client to take the answer's head.
const TAKEN: Duration = Duration::from_secs(1);

/// What the kernel says of bytes that somebody has not read yet.
#[derive(Debug)]
pub(super) struct Unread(OwnedFd);

impl Unread {
    pub(super) fn of(stream: &UnixStream) -> io::Result<Self> {
        stream.as_fd().try_clone_to_owned().map(Self)
    }

    /// Waits until there are none, and no longer than [`TAKEN`].
    async fn end(&self) {
        let end = async {
            while self.bytes() > 0 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let _ = timeout(TAKEN, end).await;
    }

    fn bytes(&self) -> libc::c_int {
        let mut bytes = 0;
        // SAFETY: writes one integer, which lives as long as the call; `SIOCOUTQ` is this number.
        let failed =
            unsafe { libc::ioctl(self.0.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) } != 0;
        if failed { 0 } else { bytes }
    }
}

/// Both ends of a stream, as soon as the answer that begins it has gone out.
#[derive(Debug)]
pub(super) struct Hijack {
    /// The client's.
    pub(super) client: OnUpgrade,
    /// The engine's.
    pub(super) engine: OnUpgrade,
    /// The engine's connection until it is one.
    pub(super) line: Line,
}

impl Hijack {
    /// Has both ends talk until they are done. Docker's SDK for Python reads the head through a buffer and what follows past
    /// it: what comes together with the head is lost to it, so nothing does.
    pub(super) async fn run(self, unread: Option<Unread>) {
        // It went away before the answer.
        let (Ok(client), Ok(engine)) = (self.client.await, self.engine.await) else { return };
        if let Some(unread) = unread {
            unread.end().await;
        }
        pipe(TokioIo::new(client), TokioIo::new(engine), LINGER).await;
        drop(self.line);
    }
}

/// Copies both ways. The end of one way is told to who reads it, and the other way goes on.
async fn pipe<C, E>(client: C, engine: E, linger: Duration)
where
    C: AsyncRead + AsyncWrite,
    E: AsyncRead + AsyncWrite,
{
    let (from_client, to_client) = split(client);
    let (from_engine, to_engine) = split(engine);
    let mut up = std::pin::pin!(copy(from_client, to_engine));
    let mut down = std::pin::pin!(copy(from_engine, to_client));
    tokio::select! {
        () = &mut up => down.await,
        () = &mut down => drop(timeout(linger, up).await),
    }
}

async fn copy(from: impl AsyncRead, to: impl AsyncWrite) {
    let mut from = std::pin::pin!(BufReader::with_capacity(BUFFER, from));
    let mut to = std::pin::pin!(to);
    // One that breaks off has ended, too.
    let _ = copy_buf(&mut from, &mut to).await;
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn s27_bytes_are_unread_until_somebody_takes_them() {
        let (mut near, mut far) = UnixStream::pair().expect("a pair");
        let unread = Unread::of(&near).expect("a descriptor");
        assert_eq!(unread.bytes(), 0);
        near.write_all(b"HTTP/1.1 101 \r\n\r\n").await.expect("written");
        assert!(timeout(Duration::from_millis(20), unread.end()).await.is_err());
        let _ = far.read(&mut [0; 64]).await.expect("read");
        assert!(timeout(Duration::from_millis(500), unread.end()).await.is_ok());
    }

    #[tokio::test]
    async fn s27_each_half_closes_by_itself_and_what_comes_later_still_arrives() {
        let (mut client, near) = UnixStream::pair().expect("a pair");
        let (far, mut engine) = UnixStream::pair().expect("a pair");
        let piping = tokio::spawn(pipe(near, far, LINGER));
        client.write_all(b"GET /containers/json HTTP/1.1\r\n\r\n\0\xff").await.expect("written");
        client.shutdown().await.expect("shut");
        let mut read = Vec::new();
        engine.read_to_end(&mut read).await.expect("the end is told");
        assert_eq!(read, b"GET /containers/json HTTP/1.1\r\n\r\n\0\xff");
        engine.write_all(b"later").await.expect("written");
        drop(engine);
        let mut read = Vec::new();
        client.read_to_end(&mut read).await.expect("read");
        assert_eq!(read, b"later");
        piping.await.expect("ended");
    }

    #[tokio::test]
    async fn s26_a_client_that_stays_after_the_engine_is_left() {
        let (mut client, near) = tokio::io::duplex(64);
        let (far, engine) = tokio::io::duplex(64);
        drop(engine);
        tokio::spawn(pipe(near, far, Duration::from_millis(50))).await.expect("ended");
        assert_eq!(client.read(&mut [0; 8]).await.expect("the end"), 0);
    }
}
