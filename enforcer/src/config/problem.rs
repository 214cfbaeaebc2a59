//! What is wrong with a config file, and on which line.

use std::{fmt, ops::Range};

/// One thing wrong with a config file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong and what to do about it.
    pub message: String,
}

/// A config file that was refused, with everything that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The file as the operator named it.
    pub file: String,
    /// At least one, in order of line.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(formatter)?;
            }
            write!(
                formatter,
                "{}:{}:{}: {}",
                self.file, problem.line, problem.column, problem.message
            )?;
        }
        Ok(())
    }
}

/// Collects problems while the file is checked.
pub(super) struct Problems<'text> {
    text: &'text str,
    /// Where each line after the first begins: every rule asks for its line.
    lines: Vec<usize>,
    found: Vec<Problem>,
}

impl<'text> Problems<'text> {
    pub(super) fn new(text: &'text str) -> Self {
        let lines = text.match_indices('\n').map(|(at, _)| at + 1).collect();
        Self { text, lines, found: Vec::new() }
    }

    /// Notes a problem with what stands at `span`.
    pub(super) fn add(&mut self, span: Range<usize>, message: impl Into<String>) {
        let (line, column) = self.place(&span);
        self.found.push(Problem { line, column, message: message.into() });
    }

    /// Line and column, from 1, at which something begins.
    pub(super) fn place(&self, span: &Range<usize>) -> (usize, usize) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = self.lines.partition_point(|begins| *begins <= before.len());
        let begins = line.checked_sub(1).and_then(|last| self.lines.get(last)).copied();
        let column = before.get(begins.unwrap_or(0)..).unwrap_or_default().chars().count() + 1;
        (line + 1, column)
    }

    /// Notes why serde refused the file.
    pub(super) fn add_toml(&mut self, error: &toml::de::Error) {
        let message = explain(error.message());
        self.add(error.span().unwrap_or(0..0), message);
    }

    /// The value if nothing was found, else everything found, in order of line.
    pub(super) fn finish<T>(mut self, file: &str, value: T) -> Result<T, ConfigError> {
        if self.found.is_empty() {
            return Ok(value);
        }
        self.found.sort_by_key(|problem| (problem.line, problem.column));
        self.found.dedup();
        Err(ConfigError { file: file.to_owned(), problems: self.found })
    }
}

/// Serde's words for an unknown key, with the key that was probably meant.
fn explain(message: &str) -> String {
    let Some(rest) = message.strip_prefix("unknown field `") else {
        return message
            .trim_end()
            .replace('\n', ", ")
            .replace("expected i64", "expected a whole number");
    };
    let mut quoted = rest.split('`').step_by(2);
    let unknown = quoted.next().unwrap_or_default();
    let known: Vec<&str> = quoted.collect();
    let meant = known
        .iter()
        .map(|key| (strsim::damerau_levenshtein(unknown, key), *key))
        .filter(|(distance, key)| *distance <= (key.len() / 3).max(1) || key.starts_with(unknown))
        .min();
    match meant {
        Some((_, key)) => format!("unknown key `{unknown}`; did you mean `{key}`?"),
        None => format!("unknown key `{unknown}`; known here: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_explained() {
        let one = "unknown field `brigde`, expected one of `bridge`, `create`, `subnet`";
        assert_eq!(explain(one), "unknown key `brigde`; did you mean `bridge`?");
        let far = "unknown field `zebra`, expected `socket`";
        assert_eq!(explain(far), "unknown key `zebra`; known here: socket");
        assert_eq!(explain("invalid type"), "invalid type");
    }

    #[test]
    fn lines_and_columns_count_from_one() {
        let text = "a = 1\né = 2\n";
        let mut problems = Problems::new(text);
        problems.add(9..10, "here");
        let error = problems.finish("file", ()).expect_err("one problem");
        assert_eq!(error.to_string(), "file:2:3: here");
        let problems = Problems::new(text);
        for (at, place) in
            [(0, (1, 1)), (5, (1, 6)), (6, (2, 1)), (8, (2, 2)), (13, (3, 1)), (99, (3, 1))]
        {
            assert_eq!(problems.place(&(at..at)), place, "{at}");
        }
        assert_eq!(Problems::new("").place(&(0..0)), (1, 1));
    }
}
