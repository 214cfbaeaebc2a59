//! What the files of a store are called. Pure.

/// What is promised.
pub(super) const HEAD: &str = "head.json";
/// The first public key.
pub(super) const PUBLIC: &str = "audit.pub";
/// The ends of deleted segments.
pub(super) const TOMBSTONES: &str = "tombstones.jsonl";
/// Which names pseudonyms stand for.
pub(super) const BOOK: &str = "names.jsonl";
/// The key of pseudonyms.
pub(super) const BOOK_KEY: &str = "names.key";
/// Ending of a file that is not finished.
pub(super) const TEMPORARY: &str = ".tmp";

/// What a file is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// A segment, as lines.
    Plain(u64),
    /// A closed segment, compressed.
    Packed(u64),
    /// Where what is in a compressed segment.
    Index(u64),
    /// The secret that will sign a segment's end.
    Key(u64),
    /// One that a crash left behind.
    Temporary,
    /// One there is one of.
    Single,
    /// Not the store's.
    Foreign,
}

/// Tells a file by its name.
pub(super) fn parse(name: &str) -> Name {
    if name.ends_with(TEMPORARY) {
        return Name::Temporary;
    }
    if [HEAD, PUBLIC, TOMBSTONES, BOOK, BOOK_KEY].contains(&name) {
        return Name::Single;
    }
    let Some((digits, ending)) = name.split_once('.') else { return Name::Foreign };
    let Some(number) = digits.parse().ok().filter(|number| stem(*number) == digits) else {
        return Name::Foreign;
    };
    match ending {
        "jsonl" => Name::Plain(number),
        "jsonl.gz" => Name::Packed(number),
        "idx" => Name::Index(number),
        "key" => Name::Key(number),
        _ => Name::Foreign,
    }
}

fn stem(segment: u64) -> String {
    format!("{segment:010}")
}

/// A segment, as lines.
pub(super) fn plain(segment: u64) -> String {
    stem(segment) + ".jsonl"
}

/// A closed segment, compressed.
pub(super) fn packed(segment: u64) -> String {
    stem(segment) + ".jsonl.gz"
}

/// The index of a compressed segment.
pub(super) fn index(segment: u64) -> String {
    stem(segment) + ".idx"
}

/// The secret of a segment.
pub(super) fn key(segment: u64) -> String {
    stem(segment) + ".key"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_their_names() {
        let cases = [
            (plain(7), Name::Plain(7)),
            (packed(12_345_678_901), Name::Packed(12_345_678_901)),
            (index(1), Name::Index(1)),
            (key(1), Name::Key(1)),
            (plain(1) + TEMPORARY, Name::Temporary),
            (HEAD.to_owned(), Name::Single),
            (BOOK.to_owned(), Name::Single),
            ("1.jsonl".to_owned(), Name::Foreign),
            ("+000000001.jsonl".to_owned(), Name::Foreign),
            ("0000000001.jsonl.gz.old".to_owned(), Name::Foreign),
            ("lost+found".to_owned(), Name::Foreign),
        ];
        for (name, kind) in cases {
            assert_eq!(parse(&name), kind, "{name}");
        }
        assert_eq!(plain(7), "0000000007.jsonl");
    }
}
