//! Resolver: the sockets. One pair, UDP and TCP, for each gateway address, bound to it: an answer comes
//! from where the question went to. An address that cannot be bound is a problem to tell and is tried
//! again; the others go on.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd as _,
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};

use super::{question::MAX_QUESTION, serve::Resolver};
use crate::kernel::raise_receive_buffer;

/// An address that cannot be bound is tried again this often: its bridge may be about to appear.
const AGAIN: Duration = Duration::from_secs(2);
/// Longest wait for a client that is to send a question, or to take an answer, by TCP.
const IDLE: Duration = Duration::from_secs(5);
/// Questions that wait for us, bytes as the kernel counts them: all guests of a network share one socket.
const RECEIVE_BUFFER: i32 = 4 << 20;
/// After an error that may last, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers on each address that is wanted, until nobody can want another; tells on which it does, and what
/// keeps it from the others.
pub async fn listen(
    resolver: Arc<Resolver>,
    mut wanted: watch::Receiver<BTreeSet<SocketAddr>>,
    (held, problems): (watch::Sender<BTreeSet<SocketAddr>>, watch::Sender<Vec<String>>),
) {
    let mut tasks = JoinSet::new();
    let mut listening: BTreeMap<SocketAddr, AbortHandle> = BTreeMap::new();
    loop {
        let now = wanted.borrow_and_update().clone();
        listening.retain(|address, task| {
            let stays = now.contains(address) && !task.is_finished();
            if !stays {
                task.abort();
            }
            stays
        });
        while tasks.try_join_next().is_some() {}
        let mut found = Vec::new();
        for address in now {
            if listening.contains_key(&address) {
                continue;
            }
            match bind(address).await {
                Ok((datagrams, streams)) => {
                    tracing::info!(%address, "guests' DNS is answered");
                    let task = tasks.spawn(answer(Arc::clone(&resolver), datagrams, streams));
                    listening.insert(address, task);
                }
                Err(error) => found.push(format!(
                    "DNS is not answered on {address}: {error}; names in rules open nothing there"
                )),
            }
        }
        replace(&held, listening.keys().copied().collect());
        publish(&problems, found);
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            // A listener that ended is begun again.
            Some(_) = tasks.join_next() => sleep(PAUSE).await,
            () = sleep(AGAIN) => {}
        }
    }
}

fn replace(held: &watch::Sender<BTreeSet<SocketAddr>>, now: BTreeSet<SocketAddr>) {
    held.send_if_modified(|known| {
        let changed = *known != now;
        if changed {
            *known = now;
        }
        changed
    });
}

fn publish(problems: &watch::Sender<Vec<String>>, found: Vec<String>) {
    problems.send_if_modified(|known| {
        let changed = *known != found;
        if changed {
            for problem in &found {
                tracing::warn!("{problem}");
            }
            *known = found;
        }
        changed
    });
}

async fn bind(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let datagrams = UdpSocket::bind(address).await?;
    if let Err(error) = raise_receive_buffer(datagrams.as_fd(), RECEIVE_BUFFER) {
        tracing::warn!(%address, %error, "a burst of questions may be lost: the socket's buffer is small");
    }
    Ok((datagrams, TcpListener::bind(address).await?))
}

async fn answer(resolver: Arc<Resolver>, datagrams: UdpSocket, streams: TcpListener) {
    // Whichever ends, the other has to begin again with it.
    tokio::select! {
        () = by_udp(Arc::clone(&resolver), Arc::new(datagrams)) => {}
        () = by_tcp(resolver, streams) => {}
    }
}

async fn by_udp(resolver: Arc<Resolver>, socket: Arc<UdpSocket>) {
    let mut tasks = JoinSet::new();
    // One byte more than a question has: what is longer is seen to be.
    let mut buffer = [0; MAX_QUESTION + 1];
    loop {
        while tasks.try_join_next().is_some() {}
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            sleep(PAUSE).await;
            continue;
        };
        let bytes = buffer.get(..length).unwrap_or_default();
        let Some(admitted) = resolver.admit(from.ip(), bytes) else { continue };
        let (resolver, socket) = (Arc::clone(&resolver), Arc::clone(&socket));
        tasks.spawn(async move {
            if let Some(answer) = resolver.answer(admitted, false).await {
                // A client that is gone needs none.
                let _ = socket.send_to(&answer, from).await;
            }
        });
    }
}

async fn by_tcp(resolver: Arc<Resolver>, listener: TcpListener) {
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let Ok((stream, from)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        let Some(place) = resolver.connect(from.ip()) else { continue };
        let resolver = Arc::clone(&resolver);
        tasks.spawn(async move {
            // Its errors are the client's own.
            let _ = converse(&resolver, stream, from.ip()).await;
            drop(place);
        });
    }
}

/// Answers one question after the other, as long as the client keeps up.
async fn converse(resolver: &Resolver, mut stream: TcpStream, from: IpAddr) -> io::Result<()> {
    loop {
        let question = timeout(IDLE, receive(resolver, &mut stream, from)).await??;
        let Some(admitted) = resolver.admit(from, &question) else { return Ok(()) };
        let Some(answer) = resolver.answer(admitted, true).await else { return Ok(()) };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let whole = [&length.to_be_bytes()[..], &answer].concat();
        timeout(IDLE, stream.write_all(&whole)).await??;
    }
}

async fn receive(resolver: &Resolver, stream: &mut TcpStream, from: IpAddr) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > MAX_QUESTION {
        resolver.too_long(from);
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut question = vec![0; length];
    stream.read_exact(&mut question).await?;
    Ok(question)
}
