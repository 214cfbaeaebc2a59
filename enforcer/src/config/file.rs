//! Reads a config file from disk.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use super::{Config, ConfigError, parse};

/// A config file longer than this is none.
const MAX_BYTES: u64 = 1 << 20;

/// Why a config file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// It is not text, or too long.
    #[error("{file}: not a config file: {why}")]
    NotText {
        /// The file.
        file: String,
        /// Why.
        why: &'static str,
    },
    /// It is refused.
    #[error(transparent)]
    Refused(#[from] ConfigError),
}

impl FileError {
    /// Whether there is no such file.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Reads and checks a config file.
pub fn load(path: &Path) -> Result<Config, FileError> {
    read(path).map(|(_, config)| config)
}

/// The same, with its text.
pub fn read(path: &Path) -> Result<(String, Config), FileError> {
    let file = path.display().to_string();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|opened| opened.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|source| FileError::Read { file: file.clone(), source })?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_BYTES) {
        return Err(FileError::NotText { file, why: "longer than 1 MiB" });
    }
    let Ok(text) = String::from_utf8(bytes) else {
        return Err(FileError::NotText { file, why: "not UTF-8" });
    };
    let config = parse(&text, &file)?;
    Ok((text, config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o2_a_file_that_is_not_there_is_told_from_one_that_is_of_no_use() {
        let dir = env!("CARGO_MANIFEST_DIR");
        let missing = |path: &str| load(&Path::new(dir).join(path)).map_err(|why| why.is_missing());
        assert_eq!(missing("no.toml").err(), Some(true));
        // A directory; a file that is no config.
        assert_eq!((missing("src").err(), missing("Cargo.toml").err()), (Some(false), Some(false)));
    }
}
