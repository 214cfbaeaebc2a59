//! What an actor keeps open between two commands.

use std::{
    collections::{HashMap, VecDeque},
    net::TcpStream,
    os::fd::AsRawFd as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use anyhow::{Context as _, Result, bail};

use super::capture::Capture;
use crate::protocol::{Id, Served};

/// Everything open, by id.
#[derive(Default)]
pub(super) struct Registry {
    last_id: AtomicU64,
    open: Mutex<HashMap<Id, Open>>,
}

/// One open thing.
pub(super) enum Open {
    /// A held TCP connection.
    Connection(TcpStream),
    /// A TCP or UDP listener.
    Listener(Arc<Listener>),
    /// A capture.
    Capture(Capture),
}

/// A listener, shared with the thread that serves it.
#[derive(Default)]
pub(super) struct Listener {
    /// The thread ends soon after this is set.
    pub(super) stop: AtomicBool,
    /// What it saw.
    pub(super) served: Mutex<Served>,
    /// Connections for [`crate::protocol::Request::Accept`].
    pub(super) waiting: Mutex<VecDeque<TcpStream>>,
}

/// Locks, whatever a panicking thread left behind.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    /// Keeps something.
    pub(super) fn insert(&self, open: Open) -> Id {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        lock(&self.open).insert(id, open);
        id
    }

    /// A second handle on a held connection.
    pub(super) fn connection(&self, id: Id) -> Result<TcpStream> {
        match lock(&self.open).get(&id) {
            Some(Open::Connection(stream)) => stream.try_clone().context("clone the connection"),
            _ => bail!("{id} is not a connection"),
        }
    }

    /// A listener.
    pub(super) fn listener(&self, id: Id) -> Result<Arc<Listener>> {
        match lock(&self.open).get(&id) {
            Some(Open::Listener(listener)) => Ok(Arc::clone(listener)),
            _ => bail!("{id} is not a listener"),
        }
    }

    /// What a listener saw.
    pub(super) fn served(&self, id: Id) -> Result<Served> {
        Ok(lock(&self.listener(id)?.served).clone())
    }

    /// Takes a capture out.
    pub(super) fn take_capture(&self, id: Id) -> Result<Capture> {
        match lock(&self.open).remove(&id) {
            Some(Open::Capture(capture)) => Ok(capture),
            _ => bail!("{id} is not a capture"),
        }
    }

    /// Closes something; a connection by RST if asked.
    pub(super) fn close(&self, id: Id, reset: bool) -> Result<()> {
        match lock(&self.open).remove(&id).with_context(|| format!("nothing has id {id}"))? {
            Open::Connection(stream) if reset => {
                let linger = libc::linger { l_onoff: 1, l_linger: 0 };
                let length = size_of::<libc::linger>() as libc::socklen_t;
                // SAFETY: `linger` is valid for `length` bytes during the call.
                let done = unsafe {
                    libc::setsockopt(
                        stream.as_raw_fd(),
                        libc::SOL_SOCKET,
                        libc::SO_LINGER,
                        (&raw const linger).cast(),
                        length,
                    )
                };
                super::sys::check(done).context("SO_LINGER")?;
            }
            Open::Listener(listener) => listener.stop.store(true, Ordering::Relaxed),
            Open::Connection(_) | Open::Capture(_) => {}
        }
        Ok(())
    }
}
