//! Visitors of a hub who come from the world's namespace: one program for all of them.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use enforcer_tests::harness::netns::{Namespace, die_with_parent};
use serde_json::{Value, json};

const PROGRAM: &str = include_str!("visitors.py");

/// The visitors, each known by a number. They leave with this.
pub struct Visitors {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Where a visitor's sign-in led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Whom the hub takes the visitor for.
    pub user: String,
    /// The notebook's page.
    pub url: String,
    /// What the spawn page showed: percent and message.
    pub progress: Vec<(u64, String)>,
}

impl Visitors {
    /// Of the hub whose proxy is at `url`.
    pub fn start(world: &Namespace, installed: &Path, url: &str) -> Result<Self> {
        let mut command = world.command(installed.join("bin/python"));
        command.args(["-c", PROGRAM, url]).stdin(Stdio::piped()).stdout(Stdio::piped());
        die_with_parent(&mut command, libc::SIGKILL);
        let mut process = command.spawn().context("start the visitors")?;
        let orders = process.stdin.take().context("no input")?;
        let answers = BufReader::new(process.stdout.take().context("no output")?);
        Ok(Self { process, orders, answers })
    }

    /// One visitor does one thing.
    pub fn ask(&mut self, who: usize, what: &str, with: Value) -> Result<Value> {
        let answers = self.ask_all(what, &[(who, with)])?;
        answers.into_iter().next().context("no answer")
    }

    /// Each does it, all at the same time; the answers in the order of the visitors that were named.
    pub fn ask_all(&mut self, what: &str, each: &[(usize, Value)]) -> Result<Vec<Value>> {
        for (who, with) in each {
            let order = json!({"who": who, "do": what, "with": with});
            writeln!(self.orders, "{order}").context("the visitors have gone")?;
        }
        let mut answers = vec![None; each.len()];
        for _ in each {
            let mut line = String::new();
            self.answers.read_line(&mut line)?;
            let mut answer: Value = serde_json::from_str(&line).context("the visitors' answer")?;
            let at = each.iter().position(|(who, _)| answer["who"] == *who);
            let slot = at.and_then(|at| answers.get_mut(at)).context("nobody was asked")?;
            if let Some(why) = answer["failed"].as_str() {
                // The others' answers would be taken for those to the next question.
                bail!("visitor {}: {what}: {why}", answer["who"]);
            }
            *slot = Some(answer["done"].take());
        }
        answers.into_iter().collect::<Option<_>>().context("an answer is missing")
    }

    /// Visitors `0..count` come at once and get notebooks.
    pub fn arrive(&mut self, count: usize) -> Result<Vec<Arrived>> {
        let each: Vec<_> = (0..count).map(|who| (who, json!([]))).collect();
        self.ask_all("arrive", &each)?.iter().map(Arrived::from).collect()
    }

    /// One who gives a name at the hub's form.
    pub fn arrive_as(&mut self, who: usize, name: &str) -> Result<Arrived> {
        Arrived::from(&self.ask(who, "arrive", json!([name]))?)
    }

    /// The same, who asks for a server by its name.
    pub fn arrive_at(&mut self, who: usize, name: &str, server: &str) -> Result<Arrived> {
        Arrived::from(&self.ask(who, "arrive", json!([name, server]))?)
    }

    /// Each of `0..count` starts a kernel, and opens its websocket.
    pub fn open(&mut self, count: usize) -> Result<()> {
        let each: Vec<_> = (0..count).map(|who| (who, json!([]))).collect();
        self.ask_all("open", &each).map(drop)
    }

    /// What a cell prints.
    pub fn cell(&mut self, who: usize, code: &str) -> Result<String> {
        let printed = self.ask(who, "cell", json!([code]))?;
        Ok(printed.as_str().context("no text")?.to_owned())
    }

    /// The same for visitors `0..`, at the same time, each with code of its own.
    pub fn cells(&mut self, codes: &[String]) -> Result<Vec<String>> {
        let each: Vec<_> = codes.iter().map(|code| json!([code])).enumerate().collect();
        let printed = self.ask_all("cell", &each)?;
        let texts = printed.iter().map(|text| text.as_str().map(str::to_owned));
        texts.collect::<Option<_>>().context("no text")
    }
}

impl Arrived {
    fn from(answer: &Value) -> Result<Self> {
        let text = |key: &str| answer[key].as_str().map(str::to_owned);
        let steps = answer["progress"].as_array().context("no progress")?.iter();
        let progress = steps.map(|step| {
            let message = step[1].as_str().unwrap_or_default();
            (step[0].as_u64().unwrap_or_default(), message.to_owned())
        });
        let (user, url) = (text("user").context("no user")?, text("url").context("no URL")?);
        ensure!(!user.is_empty(), "{answer}");
        Ok(Self { user, url, progress: progress.collect() })
    }
}

impl Drop for Visitors {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
