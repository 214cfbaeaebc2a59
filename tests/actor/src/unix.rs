//! One exchange over a unix socket: bytes there, bytes back.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{hex, protocol::Received};

/// Most bytes of an answer that are kept.
const MOST: usize = 32 << 20;

/// Writes, and reads until the other end closes, says nothing more for a while, or the time is over.
pub fn exchange(to: &str, data: &[u8], quiet_ms: u64, timeout_ms: u64) -> Result<Received> {
    let (read, ended, errno) = talk(to, data, quiet_ms, timeout_ms)?;
    Ok(Received { data: hex::encode(&read), ended, errno })
}

/// The same; the bytes, whether the other end closed, and `errno` of a failure.
pub fn talk(
    to: &str,
    data: &[u8],
    quiet_ms: u64,
    timeout_ms: u64,
) -> Result<(Vec<u8>, bool, Option<i32>)> {
    let mut stream = UnixStream::connect(to).with_context(|| format!("connect to {to}"))?;
    let mut sink = stream.try_clone()?;
    let data = data.to_vec();
    // Who refuses early does not read all of it.
    let writer = thread::spawn(move || drop(sink.write_all(&data)));
    let (until, mut read) = (Instant::now() + Duration::from_millis(timeout_ms), Vec::new());
    let mut part = vec![0; 1 << 16];
    let (ended, errno) = loop {
        let left = until.saturating_duration_since(Instant::now());
        let quiet = Duration::from_millis(if read.is_empty() { timeout_ms } else { quiet_ms });
        if left.is_zero() || read.len() > MOST {
            break (false, None);
        }
        stream.set_read_timeout(Some(left.min(quiet)))?;
        match stream.read(&mut part) {
            Ok(0) => break (true, None),
            Ok(length) => read.extend_from_slice(part.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break (false, None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break (true, error.raw_os_error()),
        }
    };
    let _ = stream.shutdown(std::net::Shutdown::Both);
    drop(writer.join());
    Ok((read, ended, errno))
}
