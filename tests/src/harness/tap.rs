//! What somebody says to the engine: a socket in front of the engine's, which keeps what goes there.

use std::{
    io::{Read, Write as _},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::{Context as _, Result};

use super::http;

/// A socket that hands on, and keeps what it handed on. It lasts as long as the process.
#[derive(Clone, Debug)]
pub struct Tap {
    /// Where it listens.
    pub socket: PathBuf,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    /// Listens at `socket` for the engine at `engine`.
    pub fn start(socket: &Path, engine: &Path) -> Result<Self> {
        let listener = UnixListener::bind(socket)
            .with_context(|| format!("listen at {}", socket.display()))?;
        let tap = Self { socket: socket.to_owned(), said: Arc::default() };
        let (said, engine) = (Arc::clone(&tap.said), engine.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (said, engine) = (Arc::clone(&said), engine.clone());
                thread::spawn(move || drop(relay(&client, &engine, &said)));
            }
        });
        Ok(tap)
    }

    /// Whether somebody said this since the last [`Tap::forget`].
    #[must_use]
    pub fn has(&self, text: &str) -> bool {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        http::find(&said, text.as_bytes()).is_some()
    }

    /// Begins anew.
    pub fn forget(&self) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Both ways, until both have ended.
fn relay(client: &UnixStream, engine: &Path, said: &Mutex<Vec<u8>>) -> std::io::Result<()> {
    let engine = UnixStream::connect(engine)?;
    let (mut to_client, mut from_engine) = (client.try_clone()?, engine.try_clone()?);
    let back = thread::spawn(move || {
        let _ = std::io::copy(&mut from_engine, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let mut part = vec![0; 1 << 16];
    let (mut from_client, mut to_engine) = (client, &engine);
    while let Ok(length) = from_client.read(&mut part) {
        let bytes = part.get(..length).filter(|bytes| !bytes.is_empty());
        let Some(bytes) = bytes else { break };
        said.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        to_engine.write_all(bytes)?;
    }
    let _ = engine.shutdown(Shutdown::Write);
    drop(back.join());
    Ok(())
}
