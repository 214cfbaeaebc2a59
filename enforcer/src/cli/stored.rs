//! Records from wherever an operator has them: the directory of a store, files, compressed or not, or standard
//! input.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use flate2::read::MultiGzDecoder;
use serde_json::Value;

use crate::audit::store::{self, Query, Reveal};

/// Longest line that is read; a record is much shorter.
const LONGEST: u64 = 1 << 20;
/// How a gzip file begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Records.
    pub(super) records: u64,
    /// Lines that are none.
    pub(super) not_records: u64,
}

/// Hands every record of these to `visit`, in their order.
pub(super) fn each(paths: &[PathBuf], visit: &mut dyn FnMut(&Value)) -> anyhow::Result<Counted> {
    let mut read = Counted::default();
    let mut line = |line: &[u8]| match serde_json::from_slice::<Value>(line) {
        Ok(record) if record.is_object() => {
            read.records += 1;
            visit(&record);
        }
        _ => read.not_records += 1,
    };
    for path in paths {
        if path.as_os_str() == "-" {
            lines(Box::new(io::stdin().lock()), &mut line).context("cannot read standard input")?;
        } else if path.is_dir() {
            directory(path, &mut line)?;
        } else {
            let file =
                File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
            lines(Box::new(file), &mut line)
                .with_context(|| format!("cannot read {}", path.display()))?;
        }
    }
    Ok(read)
}

/// A store, with names where records have pseudonyms and they may be read.
fn directory(dir: &Path, line: &mut dyn FnMut(&[u8])) -> anyhow::Result<()> {
    let (reveal, why) = Reveal::try_read(dir);
    if let Some(why) = why {
        eprintln!("enforcer: {why}");
    }
    store::query(dir, &Query::default(), &mut |stored, _| {
        line(&reveal.line(stored));
        true
    })?;
    Ok(())
}

fn lines(source: Box<dyn Read + '_>, line: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let mut source = BufReader::new(source);
    let mut expanded: Box<dyn io::BufRead + '_> = if source.fill_buf()?.starts_with(&GZIP) {
        Box::new(BufReader::new(MultiGzDecoder::new(source)))
    } else {
        Box::new(source)
    };
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        if expanded.by_ref().take(LONGEST).read_until(b'\n', &mut buffer)? == 0 {
            return Ok(());
        }
        let text = buffer.trim_ascii();
        if !text.is_empty() {
            line(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    #[test]
    fn records_are_read_from_plain_and_compressed_files_and_what_is_none_is_counted() {
        let name = format!("enforcer-stored-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).expect("made");
        let text = "{\"event.sequence\":1}\n\nnot one\n[]\n{\"event.sequence\":2}";
        let (plain, packed) = (dir.join("a.jsonl"), dir.join("b.jsonl.gz"));
        fs::write(&plain, text).expect("written");
        // Two members, as a closed segment has them.
        let mut members = Vec::new();
        for half in ["{\"event.sequence\":3}\n", "{\"event.sequence\":4}\n"] {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(half.as_bytes()).expect("encoded");
            members.extend(encoder.finish().expect("encoded"));
        }
        fs::write(&packed, members).expect("written");
        let mut seen = Vec::new();
        let mut visit = |record: &Value| seen.push(record["event.sequence"].as_u64());
        let outcome = each(&[plain, packed, dir.join("missing")], &mut visit);
        assert!(outcome.expect_err("one is missing").to_string().contains("missing"));
        assert_eq!(seen, [Some(1), Some(2), Some(3), Some(4)]);
        let read = each(&[dir.join("a.jsonl")], &mut |_| {}).expect("is there");
        assert_eq!(read, Counted { records: 2, not_records: 2 });
        fs::remove_dir_all(&dir).expect("removed");
    }
}
