//! The book as a reader uses it: names in the place of pseudonyms.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
};

use super::{BookError, Kind, PREFIX, Row, SHOWN, failed, rows::parse};
use crate::audit::store::{
    disk::{Directory, read_whole},
    names,
};

/// Characters of a pseudonym.
const LENGTH: usize = PREFIX.len() + 2 * SHOWN;

/// Names by pseudonym.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reveal {
    rows: BTreeMap<String, Row>,
}

impl Reveal {
    /// Reads the book of a directory, also beside a daemon that writes; empty if there is none.
    pub fn read(dir: &Path) -> Result<Self, BookError> {
        let disk = Directory::open(dir).map_err(failed("open", names::BOOK))?;
        let bytes = read_whole(&disk, names::BOOK).map_err(failed("read", names::BOOK))?;
        parse(&bytes.unwrap_or_default()).map(|found| Self::of(found.rows))
    }

    /// The same; where the caller may not read it, or cannot, there are no names, and the reason is said.
    #[must_use]
    pub fn try_read(dir: &Path) -> (Self, Option<String>) {
        match Self::read(dir) {
            Ok(reveal) => (reveal, None),
            // No directory: whoever reads the records says so.
            Err(BookError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                (Self::default(), None)
            }
            Err(error) => {
                let why = crate::causes::causes(&error);
                (Self::default(), Some(format!("pseudonyms stay pseudonyms: {why}")))
            }
        }
    }

    /// Of these rows.
    #[must_use]
    pub fn of(rows: Vec<Row>) -> Self {
        Self { rows: rows.into_iter().map(|row| (row.pseudonym.clone(), row)).collect() }
    }

    /// A record's line with names in it.
    #[must_use]
    pub fn line<'a>(&self, line: &'a [u8]) -> Cow<'a, [u8]> {
        if self.rows.is_empty() {
            return line.into();
        }
        let (mut told, mut rest) = (Vec::new(), line);
        while let Some(place) = memchr::memmem::find(rest, PREFIX.as_bytes()) {
            let end = place + LENGTH;
            let found = rest.get(place..end).and_then(|bytes| str::from_utf8(bytes).ok());
            if let Some(row) = found.and_then(|pseudonym| self.rows.get(pseudonym)) {
                told.extend_from_slice(rest.get(..place).unwrap_or_default());
                // A text as JSON has it, without its quotes.
                let name = serde_json::to_string(&row.name).unwrap_or_default();
                let inner = name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
                told.extend_from_slice(inner.unwrap_or_default().as_bytes());
                rest = rest.get(end..).unwrap_or_default();
            } else {
                let end = place + PREFIX.len();
                told.extend_from_slice(rest.get(..end).unwrap_or_default());
                rest = rest.get(end..).unwrap_or_default();
            }
        }
        if told.is_empty() {
            return line.into();
        }
        told.extend_from_slice(rest);
        told.into()
    }

    /// A word, and the pseudonyms of everything that is called so.
    #[must_use]
    pub fn with_pseudonyms(&self, word: &str) -> Vec<String> {
        let named = self.rows.values().filter(|row| row.name == word);
        [word.to_owned()].into_iter().chain(named.map(|row| row.pseudonym.clone())).collect()
    }

    /// What somebody may mean who asks with a pseudonym: the user's name, or the id of the container.
    #[must_use]
    pub fn meaning(&self, pseudonym: &str) -> Option<String> {
        let row = self.rows.get(pseudonym)?;
        match row.kind {
            Kind::User => Some(format!("user:{}", row.name)),
            Kind::Container if !row.scope.is_empty() => Some(format!("id:{}", row.scope)),
            Kind::Container => Some(format!("container:{}", row.name)),
            Kind::Server | Kind::Label => None,
        }
    }

    /// Whose name is to be erased when this word is: users of that name, else containers of that name or
    /// id; or the pseudonym itself. With each, the names that go with it.
    #[must_use]
    pub fn meant(&self, word: &str) -> BTreeMap<&Row, BTreeSet<&str>> {
        let kinds: [&dyn Fn(&&Row) -> bool; 3] = [
            &|row| row.pseudonym == word,
            &|row| row.kind == Kind::User && row.name == word,
            &|row| {
                let by_id = word.len() >= 4 && row.scope.starts_with(word);
                row.kind == Kind::Container && (row.name == word || by_id)
            },
        ];
        let mut found = kinds.iter().map(|is| self.rows.values().filter(is).collect::<Vec<_>>());
        let roots = found.find(|rows| !rows.is_empty()).unwrap_or_default();
        let with = |root: &Row| {
            let rows = self.rows.values().filter(|row| row.goes_with(&root.pseudonym));
            rows.map(|row| row.name.as_str()).collect()
        };
        roots.into_iter().map(|root| (root, with(root))).collect()
    }

    /// Whether it has no names.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}
