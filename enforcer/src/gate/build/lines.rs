//! A Dockerfile's lines: what stands on several of them is one instruction, comments are none. What goes on to the engine
//! is one line for each instruction, without comments, so that the engine cannot part them otherwise.

use super::wrong;
use crate::gate::verdict::Refusal;

/// An instruction, by its word in capitals, and the rest of its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Where it begins, from 1.
    pub number: usize,
    pub word: String,
    pub rest: String,
}

/// Reads lines as the engine's parser does, short of what its versions read in different ways.
pub(super) fn read(text: &[u8]) -> Result<Vec<Line>, Refusal> {
    let text = std::str::from_utf8(text).map_err(|_error| wrong(1, "it is not UTF-8"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let mut lines = Vec::new();
    let mut begun: Option<(usize, String)> = None;
    for (index, physical) in text.split('\n').enumerate() {
        let number = index + 1;
        if physical.chars().any(|letter| letter.is_control() && letter != '\t') {
            return Err(wrong(number, "it has a control character"));
        }
        let start = physical.trim_start();
        if let Some(comment) = start.strip_prefix('#') {
            if lines.is_empty() && begun.is_none() {
                check_directive(number, comment)?;
            }
            continue;
        }
        if start.is_empty() {
            continue;
        }
        let (first, mut line) = begun.take().unwrap_or_else(|| (number, String::new()));
        let part = if line.is_empty() { start } else { physical };
        let is_continued = match part.trim_end_matches([' ', '\t']).strip_suffix('\\') {
            Some(before) if before.ends_with('\\') => {
                return Err(wrong(
                    number,
                    "it ends with two backslashes, which engines read in two ways",
                ));
            }
            Some(before) => {
                line.push_str(before);
                true
            }
            None => {
                line.push_str(part);
                false
            }
        };
        if is_continued {
            begun = Some((first, line));
        } else {
            lines.push(instruction(first, &line)?);
        }
    }
    match begun {
        Some((number, _)) => Err(wrong(number, "it is continued, and there is no next line")),
        None => Ok(lines),
    }
}

/// `# escape=` makes another language of it. `# syntax=` is for `BuildKit`, which is not offered; what people write there
/// by habit means what the engine reads anyway.
fn check_directive(number: usize, comment: &str) -> Result<(), Refusal> {
    let Some((key, value)) = comment.split_once('=') else { return Ok(()) };
    let value = value.trim();
    match key.trim().to_ascii_lowercase().as_str() {
        "escape" if value != "\\" => Err(wrong(number, "\"# escape=\" may be a backslash only")),
        "syntax" if !value.starts_with("docker/dockerfile:1") => {
            Err(wrong(number, "\"# syntax=\" is for BuildKit; leave it out"))
        }
        _ => Ok(()),
    }
}

fn instruction(number: usize, line: &str) -> Result<Line, Refusal> {
    let line = line.trim();
    let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let rest = rest.trim();
    if rest.is_empty() {
        return Err(wrong(number, "an instruction has something to say after its word"));
    }
    if rest.ends_with('\\') {
        return Err(wrong(number, "it ends with a backslash"));
    }
    Ok(Line { number, word: word.to_ascii_uppercase(), rest: rest.to_owned() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(text: &str) -> Vec<(usize, String, String)> {
        let lines = read(text.as_bytes()).expect(text);
        lines.into_iter().map(|line| (line.number, line.word, line.rest)).collect()
    }

    #[test]
    fn s2_lines_that_go_on_are_one_and_comments_are_none() {
        let text = "\u{feff}# syntax=docker/dockerfile:1\r\n# x\r\n\r\nfrom a\r\n  run one \\  \n# two\n   \n  three && \\\n\tfour\nCMD x";
        assert_eq!(
            texts(text),
            [
                (4, "FROM".to_owned(), "a".to_owned()),
                (5, "RUN".to_owned(), "one   three && \tfour".to_owned()),
                (10, "CMD".to_owned(), "x".to_owned()),
            ]
        );
        assert_eq!(texts("# escape=\\\nFROM a\n# escape=`\n").len(), 1);
    }

    #[test]
    fn s2_what_two_engines_may_read_in_two_ways_is_refused() {
        for text in [
            "FROM a\nRUN b \\",
            "FROM a\nRUN b \\\n",
            "FROM a\nRUN b \\\\\nc",
            "FROM a\nRUN b\\\u{a0}",
            "# escape=`\nFROM a",
            "#ESCAPE = `\nFROM a",
            "# syntax=evil.io/x\nFROM a",
            "FROM a\rRUN b",
            "FROM a\u{b}b",
            "FROM a\0",
            "FROM a\u{85}RUN b",
            "FROM",
            "FROM a\nRUN \\\n\\\n",
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(read(b"FROM \xff").is_err());
    }

    proptest! {
        /// What was read and is written a line each is read as the same again: the engine cannot part it otherwise.
        #[test]
        fn s2_what_is_written_is_read_as_the_same(text in "((RUN|from|#|ENV| |\\\\|\n|a|=|\"|'|\t|\u{a0}|\r\n){0,30})") {
            let Ok(lines) = read(text.as_bytes()) else { return Ok(()) };
            let written: Vec<String> = lines.iter().map(|line| format!("{} {}", line.word, line.rest)).collect();
            let again = read(written.join("\n").as_bytes()).expect("ours");
            let parts = |lines: &[Line]| lines.iter().map(|line| (line.word.clone(), line.rest.clone())).collect::<Vec<_>>();
            prop_assert_eq!(parts(&lines), parts(&again));
            prop_assert!(written.iter().all(|line| !line.contains(['\n', '\r']) && !line.starts_with('#')));
        }
    }
}
