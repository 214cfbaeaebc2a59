//! A client of a unix socket: standard input goes there, what comes back goes to standard output, until the other end
//! closes. The end of the input is not told: some servers take it for the client's end.

use std::{io, os::unix::net::UnixStream, path::Path, thread};

use anyhow::{Context as _, Result};

/// Talks to whoever listens at a path.
pub fn run(path: &Path) -> Result<()> {
    let stream =
        UnixStream::connect(path).with_context(|| format!("connect to {}", path.display()))?;
    let mut to = stream.try_clone()?;
    thread::spawn(move || io::copy(&mut io::stdin(), &mut to));
    // A connection that is reset has ended.
    match io::copy(&mut &stream, &mut io::stdout()) {
        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(error.into()),
        _ => Ok(()),
    }
}
