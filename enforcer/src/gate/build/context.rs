//! A context: a tar archive of a client's, read entry by entry and written anew. Files, directories and links go on, each
//! path once and with one meaning; the Dockerfile that was judged is added under a name of its own.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read, Write},
};

use flate2::read::MultiGzDecoder;
use hyper::StatusCode;
use tar::{Archive, Builder, Entry, EntryType, Header};

use crate::gate::{judge::build::DOCKERFILE, verdict::Refusal};

/// Largest Dockerfile, and largest `.dockerignore`, bytes.
const MAX_TEXT: u64 = 256 << 10;
/// Longest path, bytes.
const MAX_PATH: usize = 4_000;
/// Most bytes of names of a context, each with those of all directories above it.
const MAX_NAMES: usize = 64 << 20;
const IGNORE: &str = ".dockerignore";
/// How a gzip stream begins (RFC 1952, 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A context that is written but for its end.
pub(super) struct Rewritten<W: Write> {
    archive: Builder<W>,
    /// The client's Dockerfile.
    pub dockerfile: Vec<u8>,
    ignore: Vec<u8>,
}

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Directory,
    File,
    Link,
}

/// Reads an archive, plain or compressed by gzip, of at most `limit` bytes, and writes it anew. `wanted` is the path
/// of the Dockerfile.
pub(super) fn rewrite<W: Write>(
    read: impl Read,
    write: W,
    wanted: &str,
    limit: u64,
) -> Result<Rewritten<W>, Refusal> {
    let mut read = BufReader::new(read);
    let is_gzip = read.fill_buf().map_err(|error| broken(&error))?.starts_with(&GZIP);
    let read: Box<dyn Read + '_> =
        if is_gzip { Box::new(MultiGzDecoder::new(read)) } else { Box::new(read) };
    let mut archive = Archive::new(Bounded { read, left: limit });
    let mut rewriting = Rewriting {
        archive: Builder::new(write),
        seen: BTreeMap::new(),
        kept: 0,
        texts: BTreeMap::from([(wanted.to_owned(), None), (IGNORE.to_owned(), None)]),
    };
    if wanted == "Dockerfile" {
        // So the engine takes it, where there is no other.
        rewriting.texts.insert(wanted.to_lowercase(), None);
    }
    for entry in archive.entries().map_err(|error| broken(&error))? {
        rewriting.entry(entry.map_err(|error| broken(&error))?)?;
    }
    let Rewriting { archive, mut texts, .. } = rewriting;
    let mut take = |name: &str| texts.remove(name).flatten();
    let ignore = take(IGNORE).unwrap_or_default();
    let dockerfile = take(wanted).or_else(|| take(&wanted.to_lowercase()));
    let dockerfile = dockerfile.ok_or_else(|| {
        Refusal::unclear("build.dockerfile", format!("the context has no file {wanted:?}"))
    })?;
    Ok(Rewritten { archive, dockerfile, ignore })
}

impl<W: Write> Rewritten<W> {
    /// Adds the Dockerfile that was judged. It is kept out of what the build copies, as docker keeps out one that is
    /// not of the context.
    pub(super) fn finish(self, dockerfile: &str) -> io::Result<W> {
        let Self { mut archive, mut ignore, .. } = self;
        let had_one = !ignore.is_empty();
        if had_one && !ignore.ends_with(b"\n") {
            ignore.push(b'\n');
        }
        ignore.extend_from_slice(format!("{DOCKERFILE}\n").as_bytes());
        if !had_one {
            ignore.extend_from_slice(format!("{IGNORE}\n").as_bytes());
        }
        for (name, text) in [(IGNORE, ignore.as_slice()), (DOCKERFILE, dockerfile.as_bytes())] {
            let mut header = Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(u64::try_from(text.len()).unwrap_or(u64::MAX));
            archive.append_data(&mut header, name, text)?;
        }
        archive.into_inner()
    }
}

struct Rewriting<W: Write> {
    archive: Builder<W>,
    seen: BTreeMap<String, Kind>,
    /// Most bytes that names in `seen` can have.
    kept: usize,
    /// Files that are read; `None`: not seen yet.
    texts: BTreeMap<String, Option<Vec<u8>>>,
}

impl<W: Write> Rewriting<W> {
    fn entry<R: Read>(&mut self, mut entry: Entry<'_, R>) -> Result<(), Refusal> {
        let kind = match entry.header().entry_type() {
            EntryType::Directory => Kind::Directory,
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::Symlink | EntryType::Link => Kind::Link,
            EntryType::XGlobalHeader => return Ok(()),
            other => {
                let message =
                    "the context has something else than files, directories and links in it";
                return Err(Refusal::forbidden("build.entry", format!("{message}: {other:?}")));
            }
        };
        let path = path(&entry.path_bytes())?;
        if path.is_empty() && kind == Kind::Directory {
            return Ok(());
        }
        self.place(&path, kind)?;
        let mut header = Header::new_gnu();
        header.set_entry_type(entry.header().entry_type());
        header.set_size(0);
        header.set_mode(entry.header().mode().map_err(|error| broken(&error))? & 0o7777);
        header.set_mtime(entry.header().mtime().map_err(|error| broken(&error))?);
        let written = match entry.header().entry_type() {
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default();
                let target = text(&target)?;
                self.archive.append_link(&mut header, &path, target)
            }
            EntryType::Link => {
                let target = self::path(&entry.link_name_bytes().unwrap_or_default())?;
                if self.seen.get(&target) != Some(&Kind::File) || target == IGNORE {
                    return Err(odd(&path, "it links to what is no file before it"));
                }
                self.archive.append_link(&mut header, &path, target)
            }
            EntryType::Directory => self.archive.append_data(&mut header, &path, io::empty()),
            _ if self.texts.contains_key(&path) => {
                let mut text = Vec::new();
                if entry.size() > MAX_TEXT {
                    return Err(odd(&path, format!("it is longer than {MAX_TEXT} bytes")));
                }
                entry.read_to_end(&mut text).map_err(|error| broken(&error))?;
                header.set_size(entry.size());
                let written = if path == IGNORE {
                    Ok(())
                } else {
                    self.archive.append_data(&mut header, &path, text.as_slice())
                };
                self.texts.insert(path, Some(text));
                written
            }
            _ => {
                header.set_size(entry.size());
                self.archive.append_data(&mut header, &path, &mut entry)
            }
        };
        written.map_err(|error| broken(&error))
    }

    /// Notes what stands at a path. A path has one meaning: nothing stands below a file or link, or twice.
    fn place(&mut self, path: &str, kind: Kind) -> Result<(), Refusal> {
        let first = path.split('/').next().unwrap_or_default();
        if path.is_empty() || first == DOCKERFILE || (first == IGNORE && path != IGNORE) {
            return Err(odd(path, "it is enforcer's name, or none"));
        }
        let is_text = self.texts.contains_key(path);
        if is_text && kind == Kind::Link || path == IGNORE && kind != Kind::File {
            return Err(odd(path, "it is to be a file, and nothing else"));
        }
        // Names of all directories above it are kept.
        self.kept += path.len() * (1 + path.matches('/').count());
        if self.kept > MAX_NAMES {
            return Err(odd(path, "there are too many names in the context, or too deep ones"));
        }
        for (at, _) in path.match_indices('/') {
            let above = path.get(..at).unwrap_or_default();
            if *self.seen.entry(above.to_owned()).or_insert(Kind::Directory) != Kind::Directory {
                return Err(odd(path, "it stands below a file or a link"));
            }
        }
        match self.seen.insert(path.to_owned(), kind) {
            None => Ok(()),
            Some(Kind::Directory) if kind == Kind::Directory => Ok(()),
            Some(_) => Err(odd(path, "it is there twice")),
        }
    }
}

/// A path of the context in its shortest form; the context itself is the empty one.
fn path(bytes: &[u8]) -> Result<String, Refusal> {
    let path = text(bytes)?;
    if path.starts_with('/') || path.split('/').any(|part| part == "..") || path.len() > MAX_PATH {
        return Err(odd(path, "it is no path within the context"));
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    Ok(parts.join("/"))
}

fn text(bytes: &[u8]) -> Result<&str, Refusal> {
    let text =
        std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty() && !text.contains('\0'));
    text.ok_or_else(|| odd(&String::from_utf8_lossy(bytes), "it is no path in UTF-8"))
}

fn odd(path: &str, why: impl std::fmt::Display) -> Refusal {
    Refusal::unclear("build.context", format!("the context's {path:?}: {why}"))
}

/// What cannot be read is no archive; what is too long says so.
fn broken(error: &io::Error) -> Refusal {
    let is_long = error.kind() == io::ErrorKind::FileTooLarge
        || error.get_ref().is_some_and(|inner| inner.to_string().contains(TOO_LONG));
    if is_long {
        let message =
            format!("{TOO_LONG}; leave out what the build does not need by a .dockerignore");
        return Refusal {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            rule: "build.context-long",
            message,
        };
    }
    let message = format!("the context is no tar archive, plain or gzip: {error}");
    Refusal::unclear("build.context", message)
}

pub(super) const TOO_LONG: &str = "the context is longer than [gate] build_context lets it be";

/// A reader that fails where its bound is passed, so that nothing is taken for an end.
struct Bounded<R> {
    read: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.read.read(into)?;
        let left = u64::try_from(length).ok().and_then(|length| self.left.checked_sub(length));
        self.left = left.ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, TOO_LONG))?;
        Ok(length)
    }
}

#[cfg(test)]
mod tests;
