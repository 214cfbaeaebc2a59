//! The lines of the book. Pure but for the salt.

use super::{BookError, Deserialize, Hmac, PREFIX, SHOWN, Serialize, Sha256, hex, time};
use hmac::Mac as _;

/// Bytes of a salt.
const SALT: usize = 16;

/// What a name is the name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A user.
    User,
    /// A server of a user's.
    Server,
    /// A container.
    Container,
    /// Value of a label.
    Label,
}

impl Kind {
    /// The word in the file.
    const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Server => "server",
            Self::Container => "container",
            Self::Label => "label",
        }
    }
}

/// A name and its pseudonym.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// What records have.
    pub pseudonym: String,
    /// What it is the name of.
    pub kind: Kind,
    /// The name.
    pub name: String,
    /// What the name is unique within: a user's pseudonym, a container's id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// Pseudonym of the user with whom it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// What makes the pseudonym another one for the same name.
    salt: String,
    /// A use, at most a day before the last one; RFC 3339.
    pub used: String,
}

impl Row {
    /// A new one, with a salt of its own.
    pub(super) fn new(
        key: &[u8],
        (kind, name): (Kind, &str),
        scope: &str,
        of: Option<&str>,
        now: u64,
    ) -> Self {
        let mut salt = [0; SALT];
        // Without randomness a name gets the same pseudonym again, which is as good until it is erased;
        // the kernel's source does not fail once it was there for the key.
        let _ = getrandom::fill(&mut salt);
        let salt = hex::encode(&salt);
        Self {
            pseudonym: pseudonym(key, kind, [name, scope, &salt]),
            kind,
            name: name.to_owned(),
            scope: scope.to_owned(),
            of: of.map(str::to_owned),
            salt,
            used: time::text(now),
        }
    }

    /// Microseconds since 1970.
    pub(super) fn used_at(&self) -> u64 {
        time::micros(&self.used).unwrap_or(u64::MAX)
    }

    /// Whether it is this pseudonym's, or goes with it.
    #[must_use]
    pub fn goes_with(&self, pseudonym: &str) -> bool {
        self.pseudonym == pseudonym || self.of.as_deref() == Some(pseudonym)
    }
}

/// Keyed, so that names cannot be tried out on the records; with lengths, so that no two questions are
/// the same bytes.
fn pseudonym(key: &[u8], kind: Kind, parts: [&str; 3]) -> String {
    // HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return PREFIX.to_owned() };
    for part in [kind.name()].into_iter().chain(parts) {
        mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        mac.update(part.as_bytes());
    }
    let digest = mac.finalize().into_bytes();
    PREFIX.to_owned() + &hex::encode(digest.get(..SHOWN).unwrap_or_default())
}

/// What a row is found by.
pub(super) fn write_place(text: &mut String, kind: Kind, name: &str, scope: &str) {
    for part in [kind.name(), scope, name] {
        text.push_str(part);
        // In no name that Docker or a hub takes, and in no label.
        text.push('\0');
    }
}

/// An erasure of which no record is known to be kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Erasure {
    /// Whose name was erased.
    pub pseudonym: String,
    /// Names that were erased: its own, and those that went with it.
    pub count: u64,
    /// When, RFC 3339.
    pub time: String,
}

impl Erasure {
    /// A number for it.
    #[must_use]
    pub fn id(&self) -> u64 {
        id(&self.pseudonym)
    }
}

/// The number of a pseudonym; 0 if it is none.
#[must_use]
pub fn id(pseudonym: &str) -> u64 {
    let digits = pseudonym.strip_prefix(PREFIX).unwrap_or_default();
    u64::from_str_radix(digits, 16).unwrap_or(0)
}

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(super) enum Line {
    /// A name.
    Name(Row),
    /// It was used again, or somebody was found whom it goes with.
    Used {
        pseudonym: String,
        used: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<String>,
    },
    /// It was erased.
    Erased(Erasure),
}

/// What a file has.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) rows: Vec<Row>,
    pub(super) erasures: Vec<Erasure>,
    /// Its last line is not finished.
    pub(super) is_torn: bool,
}

/// Reads the file.
pub(super) fn parse(bytes: &[u8]) -> Result<Found, BookError> {
    let mut found = Found::default();
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
    found.is_torn = whole < bytes.len();
    let lines = bytes.get(..whole).unwrap_or_default().split_inclusive(|byte| *byte == b'\n');
    for (line, number) in lines.zip(1..) {
        match serde_json::from_slice(line) {
            Ok(Line::Name(row)) => found.rows.push(row),
            Ok(Line::Erased(erasure)) => found.erasures.push(erasure),
            Ok(Line::Used { pseudonym, used, of }) => {
                let row = found.rows.iter_mut().rfind(|row| row.pseudonym == pseudonym);
                if let Some(row) = row {
                    row.used = used;
                    row.of = of.or(row.of.take());
                }
            }
            // A power cut leaves zeros where bytes were to come; nobody has used them.
            Err(_) if line.contains(&0) => found.is_torn = true,
            Err(_) => return Err(BookError::Line { line: number }),
        }
    }
    Ok(found)
}
