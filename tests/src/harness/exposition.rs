//! A strict reader of Prometheus' text format 0.0.4, as `enforcer` is to write it: each family has
//! one HELP, one TYPE and then its samples; no series comes twice.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};

/// Labels of a series.
pub type Labels = BTreeMap<String, String>;

/// What a page says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Families and their types.
    pub types: BTreeMap<String, String>,
    /// Values, as they are written, by family and labels.
    pub series: BTreeMap<(String, Labels), String>,
}

impl Page {
    /// Reads a page; fails at the first thing that is not as it must be.
    pub fn read(text: &str) -> Result<Self> {
        ensure!(text.ends_with('\n') && !text.contains('\r'), "ends of lines");
        let mut page = Self::default();
        let mut helped = None;
        let mut family = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                ensure!(helped.is_none(), "no TYPE before: {line}");
                let (name, help) = rest.split_once(' ').with_context(|| line.to_owned())?;
                unescape(help, false).with_context(|| line.to_owned())?;
                ensure!(is_name(name) && !help.is_empty(), "{line}");
                helped = Some(name.to_owned());
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').with_context(|| line.to_owned())?;
                ensure!(helped.take().as_deref() == Some(name), "no HELP before: {line}");
                ensure!(["counter", "gauge"].contains(&kind), "{line}");
                ensure!(name.ends_with("_total") == (kind == "counter"), "{line}");
                let known = page.types.insert(name.to_owned(), kind.to_owned());
                ensure!(known.is_none(), "twice: {line}");
                name.clone_into(&mut family);
            } else {
                ensure!(helped.is_none(), "no TYPE before: {line}");
                let (name, labels, value) = sample(line).with_context(|| line.to_owned())?;
                ensure!(name == family, "not of {family}: {line}");
                let known = page.series.insert((name, labels), value);
                ensure!(known.is_none(), "twice: {line}");
            }
        }
        ensure!(helped.is_none(), "a HELP at the end");
        Ok(page)
    }

    /// The sum over the series of a family that have these labels; `None`: there is none, or one
    /// is no whole number.
    #[must_use]
    pub fn sum(&self, family: &str, labels: &[(&str, &str)]) -> Option<u64> {
        let has = |of: &Labels| {
            labels.iter().all(|(name, value)| of.get(*name).is_some_and(|label| label == value))
        };
        let values = self.series.iter().filter(|((name, of), _)| name == family && has(of));
        let values: Vec<_> = values.map(|(_, value)| value.parse::<u64>().ok()).collect();
        if values.is_empty() { None } else { values.into_iter().sum() }
    }
}

/// A metric's or label's name.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn sample(line: &str) -> Result<(String, Labels, String)> {
    let (name, rest) = line.split_at(line.find(['{', ' ']).context("no value")?);
    ensure!(is_name(name), "no name");
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Labels::new(), rest),
    };
    let value = rest.strip_prefix(' ').context("no blank before the value")?;
    let plain = value.chars().all(|c| c.is_ascii_digit() || ".e-".contains(c));
    ensure!(plain && value.starts_with(|c: char| c.is_ascii_digit()), "no value");
    value.parse::<f64>()?;
    Ok((name.to_owned(), labels, value.to_owned()))
}

/// `a="b",c="d"}` and what comes behind.
fn labels(mut rest: &str) -> Result<(Labels, &str)> {
    let mut labels = Labels::new();
    loop {
        let (name, behind) = rest.split_once("=\"").context("no label")?;
        ensure!(is_name(name), "no name of a label");
        let mut escaped = false;
        let end = behind.find(|c: char| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let (value, behind) = behind.split_at(end.context("no end of a label")?);
        let known = labels.insert(name.to_owned(), unescape(value, true)?);
        ensure!(known.is_none(), "a label twice");
        rest = behind.strip_prefix('"').context("no quote")?;
        if let Some(behind) = rest.strip_prefix('}') {
            return Ok((labels, behind));
        }
        rest = rest.strip_prefix(',').context("no comma between labels")?;
    }
}

fn unescape(text: &str, quotes: bool) -> Result<String> {
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        plain.push(match character {
            '\\' => match characters.next() {
                Some('\\') => '\\',
                Some('n') => '\n',
                Some('"') if quotes => '"',
                other => bail!("escaped {other:?}"),
            },
            '"' if quotes => bail!("a quote"),
            other => other,
        });
    }
    Ok(plain)
}
