//! A Dockerfile: read, judged, and written anew for the engine's older builder. What it is made from is asked for by
//! name here and written as an id, so that neither a variable nor a second image of the name makes something else of it.
//! Each stage begins with a label of its user's: the engine's cache of steps is shared by all, and it finds a step
//! behind the same label only.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::{
    lines::{self, Line},
    words, wrong,
};
use crate::gate::{
    call::build::{NAMING, is_variable},
    json::{self, Json, Limits},
    names,
    verdict::Refusal,
};

/// Longest line that the engine reads, bytes.
const MAX_LINE: usize = 60 << 10;
/// Most instructions: each makes a layer, or a container, or both.
const MAX_STEPS: usize = 500;
/// The base that is none.
const SCRATCH: &str = "scratch";
/// Instructions that go on as they are: what they say is about the image, or done in its own container.
const PLAIN: [&str; 10] = [
    "CMD",
    "ENTRYPOINT",
    "EXPOSE",
    "MAINTAINER",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
    "RUN",
];

/// What a Dockerfile says, as far as it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dockerfile(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    From { base: Base, name: Option<String> },
    CopyFrom { base: Base, chown: String, rest: String },
    Line { word: String, rest: String },
}

/// What a stage, or a copy, is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Base {
    /// Nothing.
    Scratch,
    /// A stage before it, by name or number.
    Stage(String),
    /// An image, as it is called in the file.
    Image(String),
}

impl Dockerfile {
    /// Reads it. `arguments` are the values that the client sends for `ARG`; `reserved` says why a label is not the
    /// client's to set.
    pub(super) fn read(
        text: &[u8],
        arguments: &[(String, Option<String>)],
        reserved: &dyn Fn(&str) -> Option<&'static str>,
    ) -> Result<Self, Refusal> {
        let mut reader =
            Reader { arguments, reserved, globals: BTreeMap::new(), stages: Vec::new() };
        let mut steps = Vec::new();
        for line in lines::read(text)? {
            if steps.len() == MAX_STEPS {
                return Err(line.wrong(format!("there are more than {MAX_STEPS} instructions")));
            }
            if line.rest.len() > MAX_LINE {
                return Err(line.wrong(format!("the line is longer than {MAX_LINE} bytes")));
            }
            steps.push(reader.step(&line)?);
        }
        if reader.stages.is_empty() {
            return Err(wrong(1, "there is no FROM"));
        }
        Ok(Self(steps))
    }

    /// Images that it is made from, by the names that it has for them.
    pub(super) fn images(&self) -> BTreeSet<&str> {
        let bases = self.0.iter().filter_map(|step| match step {
            Step::From { base, .. } | Step::CopyFrom { base, .. } => Some(base),
            Step::Line { .. } => None,
        });
        let images = bases.filter_map(|base| match base {
            Base::Image(name) => Some(name.as_str()),
            Base::Scratch | Base::Stage(_) => None,
        });
        images.collect()
    }

    /// Writes it, with an id for each image, and with this label; `None`: an image has no id.
    pub(super) fn write(
        &self,
        ids: &BTreeMap<String, String>,
        (key, value): &(&str, String),
    ) -> Option<String> {
        let base = |base: &Base| match base {
            Base::Scratch => Some(SCRATCH.to_owned()),
            Base::Stage(name) => Some(name.clone()),
            Base::Image(name) => ids.get(name).cloned(),
        };
        let label = format!("LABEL {key}={value}");
        let mut text = String::new();
        for step in &self.0 {
            let line = match step {
                Step::From { base: from, name } => {
                    let name = name.as_ref().map(|name| format!(" AS {name}")).unwrap_or_default();
                    format!("FROM {}{name}\n{label}\n", base(from)?)
                }
                Step::CopyFrom { base: from, chown, rest } => {
                    format!("COPY --from={}{chown} {rest}\n", base(from)?)
                }
                Step::Line { word, rest } => format!("{word} {rest}\n"),
            };
            text.push_str(&line);
        }
        Some(text)
    }
}

impl Line {
    fn wrong(&self, why: impl std::fmt::Display) -> Refusal {
        wrong(self.number, format_args!("{}: {why}", self.word))
    }
}

struct Reader<'a> {
    arguments: &'a [(String, Option<String>)],
    reserved: &'a dyn Fn(&str) -> Option<&'static str>,
    /// Values of the arguments before the first FROM; `None`: what it says is not understood here.
    globals: BTreeMap<String, Option<String>>,
    /// Stages so far, the current one last, with their names.
    stages: Vec<Option<String>>,
}

impl Reader<'_> {
    fn step(&mut self, line: &Line) -> Result<Step, Refusal> {
        if self.stages.is_empty() && !matches!(line.word.as_str(), "ARG" | "FROM") {
            return Err(line.wrong("it stands before the first FROM"));
        }
        let has_flags = line.rest.starts_with("--");
        if has_flags && !matches!(line.word.as_str(), "COPY" | "ADD" | "HEALTHCHECK") {
            return Err(
                line.wrong("flags are for BuildKit, which is not offered here; leave them out")
            );
        }
        if line.rest.contains("<<") && matches!(line.word.as_str(), "RUN" | "COPY" | "ADD") {
            return Err(line.wrong(
                "\"<<\" begins a text of several lines for some engines; put it into a file of the context",
            ));
        }
        match line.word.as_str() {
            "FROM" => return self.from(line),
            "COPY" => return self.copy(line),
            "ADD" => add(line)?,
            "ARG" => self.argument(line)?,
            "ENV" => environment(line)?,
            "LABEL" => self.label(line)?,
            "HEALTHCHECK" => healthcheck(line)?,
            "ONBUILD" => {
                return Err(line.wrong(
                    "it would be done in builds of others, unjudged; write it where it is to be done",
                ));
            }
            word if PLAIN.contains(&word) => {}
            _ => return Err(line.wrong("there is no such instruction")),
        }
        Ok(Step::Line { word: line.word.clone(), rest: line.rest.clone() })
    }

    fn from(&mut self, line: &Line) -> Result<Step, Refusal> {
        let words: Vec<&str> = line.rest.split_ascii_whitespace().collect();
        let (image, name) = match words.as_slice() {
            [image] => (*image, None),
            [image, word, name] if word.eq_ignore_ascii_case("AS") => {
                let name = name.to_ascii_lowercase();
                let is_plain = names::is_name(&name)
                    && name.starts_with(|first: char| first.is_ascii_lowercase());
                if !is_plain || self.stages.contains(&Some(name.clone())) {
                    return Err(line
                        .wrong(format!("{name:?} is no name of a stage, or there is one of it")));
                }
                (*image, Some(name))
            }
            _ => return Err(line.wrong("write it as FROM IMAGE, or FROM IMAGE AS STAGE")),
        };
        let called = words::expand(image, &self.globals);
        let called = called.ok_or_else(|| {
            line.wrong(format!("{image:?}: only $NAME, ${{NAME}} and ${{NAME:-other}} are offered"))
        })?;
        let base = match base(&self.stages, &called).map_err(|why| line.wrong(why))? {
            Base::Image(name) if name == SCRATCH => Base::Scratch,
            base => base,
        };
        self.stages.push(name.clone());
        Ok(Step::From { base, name })
    }

    fn copy(&self, line: &Line) -> Result<Step, Refusal> {
        let (flags, rest) = flags(line, &["from", "chown"])?;
        let Some((_, from)) = flags.iter().find(|(name, _)| *name == "from") else {
            return Ok(Step::Line { word: line.word.clone(), rest: line.rest.clone() });
        };
        // The current stage is not to be copied from, and its name means an image yet.
        let done = self.stages.split_last().map_or(&[][..], |(_, done)| done);
        let base = match base(done, from).map_err(|why| line.wrong(why))? {
            Base::Image(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                if !number.parse::<usize>().is_ok_and(|number| number < done.len()) {
                    return Err(line.wrong("there is no stage of this number before it"));
                }
                Base::Stage(number)
            }
            base => base,
        };
        let chown = flags.iter().find(|(name, _)| *name == "chown");
        let chown = chown.map(|(_, owner)| format!(" --chown={owner}")).unwrap_or_default();
        Ok(Step::CopyFrom { base, chown, rest: rest.to_owned() })
    }

    fn argument(&mut self, line: &Line) -> Result<(), Refusal> {
        for word in split(line)? {
            let (name, value) =
                word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
            if !is_variable(name) || NAMING.contains(&name) {
                return Err(line.wrong(format!("{name:?} is no name of an argument here")));
            }
            if self.stages.is_empty() {
                let asked = self.arguments.iter().find(|(asked, _)| asked == name);
                let value = match (asked, value) {
                    (Some((_, Some(asked))), _) => Some(asked.clone()),
                    (_, None) => Some(String::new()),
                    (_, Some(value)) => {
                        words::unquoted(value).and_then(|value| words::expand(value, &self.globals))
                    }
                };
                self.globals.insert(name.to_owned(), value);
            }
        }
        Ok(())
    }

    fn label(&self, line: &Line) -> Result<(), Refusal> {
        for key in keys(line)? {
            if let Some(why) = (self.reserved)(key) {
                return Err(line.wrong(format!("{key:?}: {why}")));
            }
        }
        Ok(())
    }
}

/// What a name means: a stage that is done, else an image.
fn base(done: &[Option<String>], called: &str) -> Result<Base, &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte);
    if called.is_empty() || !called.bytes().all(is_plain) {
        return Err("that is no name of an image");
    }
    let name = called.to_ascii_lowercase();
    Ok(if done.contains(&Some(name.clone())) {
        Base::Stage(name)
    } else {
        Base::Image(called.to_owned())
    })
}

fn split(line: &Line) -> Result<Vec<&str>, Refusal> {
    words::split(&line.rest)
        .ok_or_else(|| line.wrong("a quote has no end, or a backslash nothing after it"))
}

fn environment(line: &Line) -> Result<(), Refusal> {
    match keys(line)?.into_iter().find(|key| NAMING.contains(key)) {
        Some(key) => Err(line.wrong(format!("{key} says whose a guest is, which no build does"))),
        None => Ok(()),
    }
}

/// Keys of `KEY=VALUE …`, or of the old form `KEY VALUE`: plain ones, for variables would make others of them.
fn keys(line: &Line) -> Result<Vec<&str>, Refusal> {
    let mut found = Vec::new();
    let words = split(line)?;
    let is_old = words.first().is_some_and(|first| !first.contains('='));
    for word in words.iter().take(if is_old { 1 } else { usize::MAX }) {
        let key = match word.split_once('=') {
            Some((key, _)) => key,
            None if is_old => word,
            None => return Err(line.wrong(format!("{word:?} has no \"=\""))),
        };
        let bare = words::unquoted(key).unwrap_or_default();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
        if bare.is_empty() || !bare.bytes().all(is_plain) {
            return Err(line.wrong(format!("{key:?} is no plain key: write it with letters, digits, \".\", \"_\", \"-\" and \"/\"")));
        }
        found.push(bare);
    }
    Ok(found)
}

/// Names and values.
type Flags<'a> = Vec<(&'a str, &'a str)>;

/// Flags of an instruction, each once, and what stands after them.
fn flags<'a>(line: &'a Line, known: &[&str]) -> Result<(Flags<'a>, &'a str), Refusal> {
    let mut flags: Flags<'_> = Vec::new();
    let mut rest = line.rest.as_str();
    while rest.starts_with("--") {
        let (word, behind) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
        // The engine looks for white space byte by byte, also within a letter of UTF-8: a flag is plain ASCII.
        let word_is_plain = word.bytes().all(|byte| byte.is_ascii_graphic());
        let flag = word.strip_prefix("--").and_then(|flag| flag.split_once('='));
        let flag = flag.filter(|(name, value)| {
            word_is_plain
                && known.contains(name)
                && !value.is_empty()
                && !value.contains(['"', '\'', '\\', '$'])
                && !flags.iter().any(|(other, _)| other == name)
        });
        let refuse = || {
            line.wrong(format!(
                "{word:?} is not offered; known are {known:?}, each once, with plain values"
            ))
        };
        flags.push(flag.ok_or_else(refuse)?);
        rest = behind.trim_start_matches([' ', '\t']);
    }
    Ok((flags, rest))
}

/// `ADD`: from the context alone. The engine would fetch a URL itself, from the host's own network (S23).
fn add(line: &Line) -> Result<(), Refusal> {
    let (_, rest) = flags(line, &["chown"])?;
    let listed;
    let words: Vec<&str> = if rest.starts_with('[') {
        let limits = Limits { bytes: MAX_LINE, depth: 2 };
        let Ok(Json::List(list)) = json::read(rest.as_bytes(), limits) else {
            return Err(line.wrong("the list is none"));
        };
        listed = list;
        let texts = listed.iter().map(|item| match item {
            Json::Text(text) => Ok(text.as_str()),
            _ => Err(line.wrong("the list has something else than texts in it")),
        });
        texts.collect::<Result<_, _>>()?
    } else {
        rest.split_whitespace().collect()
    };
    let is_odd = |word: &&&str| {
        // Variables and quotes could make a URL of what is none.
        word.contains(['$', '\\', '"', '\'']) || word.contains("://") || word.starts_with("git@")
    };
    let sources = words.split_last().map_or(&[][..], |(_, sources)| sources);
    match sources.iter().find(is_odd) {
        Some(word) => Err(line.wrong(format!(
            "{word:?}: the engine fetches nothing for a guest, and a source has no variables and \
             quotes; fetch it in a RUN step, or use COPY"
        ))),
        None => Ok(()),
    }
}

fn healthcheck(line: &Line) -> Result<(), Refusal> {
    let known = ["interval", "timeout", "start-period", "start-interval", "retries"];
    let (flags, _) = flags(line, &known)?;
    // Each look is a process that the engine starts.
    let is_slow = |(name, value): &(&str, &str)| {
        let digits = value.strip_suffix(['s', 'm', 'h']).unwrap_or_default();
        !matches!(*name, "interval" | "start-interval")
            || digits.parse::<u32>().is_ok_and(|number| number > 0)
    };
    match flags.iter().find(|flag| !is_slow(flag)) {
        Some((name, value)) => Err(line.wrong(format!(
            "--{name}={value}: write it in whole seconds, minutes or hours, such as 30s"
        ))),
        None => Ok(()),
    }
}
