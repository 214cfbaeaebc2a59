//! Where attacks on a Docker socket are tried: an engine with things of others on it, and ways to see what became of
//! them. What is seen is asked of the engine's own socket, of the kernel and of the host's files; an attacker's answer
//! counts only where the answer is what they were after.

mod others;
mod seen;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use self::others::Others;
use super::{
    dockerd::Dockerd,
    http::{Line, Reply, Sending},
    netns::Namespace,
    run::Run,
};
use crate::{
    attacks::gate::{Body, Effect, Message, Row, Step},
    protocol::{Id, Serve},
};

/// Most milliseconds that an answer without an end is waited for.
const ENDLESS: u64 = 15_000;

/// Who attacks, and what is theirs.
#[derive(Clone, Debug)]
pub struct Attacker {
    /// Their way to a socket.
    pub line: Line,
    /// A container that they made.
    pub own: String,
    /// The container that they come from, or one that stands for it.
    pub notebook: String,
    /// First letter of names that they give.
    pub letter: char,
}

/// What the steps of an attack were answered.
type Replies = Vec<Reply>;

/// The engine, and what is on it.
pub struct Yard<'a> {
    /// The engine's own socket.
    pub engine: Line,
    host: &'a Namespace,
    dir: PathBuf,
    socket: PathBuf,
    others: Others,
    canary: (Id, u16),
    /// Ids and names of what belongs here: the rest came by an attack.
    known: BTreeSet<String>,
}

impl<'a> Yard<'a> {
    /// Puts things of others on an engine.
    pub fn open(run: &Run, docker: &Dockerd, host: &'a Namespace) -> Result<Self> {
        let listening = host.actor.listen(([127, 0, 0, 1], 0), Serve::Banner(String::new()))?;
        let engine = Line::Here(docker.socket());
        let dir = run.dir().to_owned();
        fs::write(dir.join("marker"), "of the host")?;
        std::os::unix::fs::symlink(dir.join("docker"), dir.join("link"))?;
        let port = listening.at.port();
        let others = Others::prepare(run, engine.clone(), port)?;
        let mut yard = Self {
            engine,
            host,
            dir,
            socket: docker.socket(),
            others,
            canary: (listening.id, port),
            known: BTreeSet::new(),
        };
        yard.others.restore()?;
        yard.keep_all()?;
        Ok(yard)
    }

    /// Ends what would not end with its engine: who is frozen.
    pub fn close(self) -> Result<()> {
        self.engine.get("DELETE", "/v1.41/containers/paused?force=1", None).map(drop)
    }

    /// Everything that is there now belongs here.
    pub fn keep_all(&mut self) -> Result<()> {
        self.known = seen::all(&self.engine)?;
        Ok(())
    }

    /// Removes what an attack made, and makes anew what it harmed.
    pub fn tidy(&mut self, effect: &Effect, harmed: bool) -> Result<()> {
        for (kind, thing) in seen::new(&self.engine, seen::kinds(effect), &self.known)? {
            kind.remove(&self.engine, &thing)?;
        }
        if harmed {
            self.others.restore()?;
            self.keep_all()?;
        }
        Ok(())
    }

    /// What stands for the words of a row, as things are now. Names that an attacker gives are as long as `@name@`.
    pub fn words(&self, row: &Row, index: usize, who: &Attacker) -> Result<Words> {
        let mut words = Words(BTreeMap::new());
        let text = format!("{:?}", (&row.steps, &row.effect));
        // Bytes hold none but a name.
        let places: BTreeSet<&str> = text.split('@').skip(1).chain(["name"]).collect();
        for place in places {
            let value = match place {
                "name" => format!("{}{index:05}", who.letter),
                "own" => who.own.clone(),
                "notebook" => who.notebook.clone(),
                "own_pid" => self.others.pid(&who.own)?,
                "run" => self.dir.display().to_string(),
                "link" => self.dir.join("link").display().to_string(),
                "socket" => self.socket.display().to_string(),
                "canary" => format!("127.0.0.1:{}", self.canary.1),
                "now" => self.now()?,
                place => match self.others.word(place)? {
                    Some(word) => word,
                    None => continue,
                },
            };
            words.0.insert(format!("@{place}@"), value);
        }
        Ok(words)
    }

    /// A second at the end of which the engine has something to tell of others: of what was, it keeps 256 events.
    fn now(&self) -> Result<String> {
        for name in ["victim", "bens"] {
            let target = format!("/v1.41/containers/{name}/exec");
            self.engine.get("POST", &target, Some(&json!({"Cmd": ["true"]})))?;
        }
        Ok((SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + 1).to_string())
    }

    /// What a word of a row stands for, one that says what is another's.
    pub fn word(&self, word: &str) -> Result<String> {
        self.others.word(word)?.with_context(|| format!("{word} is no word"))
    }

    /// Does what a row says. A step that is refused ends nothing: the next may work nevertheless.
    pub fn perform(&self, row: &Row, words: &mut Words, who: &Attacker) -> Result<Replies> {
        let mut replies = Vec::new();
        for step in &row.steps {
            let reply = who.line.send(&self.sending(step, words)?)?;
            let id = reply.json().ok().and_then(|json| json["Id"].as_str().map(str::to_owned));
            if let Some(id) = id {
                words.0.insert("@id@".to_owned(), id);
            }
            replies.push(reply);
        }
        Ok(replies)
    }

    fn sending(&self, step: &Step, words: &Words) -> Result<Sending> {
        let mut sending = match &step.message {
            Message::Bytes(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                Sending::raw(words.fill(&text).into_bytes(), 0, 0)
            }
            Message::Request { method, target, headers, body } => {
                let body = match body {
                    Body::None => Vec::new(),
                    Body::Text(text) => words.fill(text).into_bytes(),
                    Body::File(name) => fs::read(self.dir.join(name)).context(*name)?,
                };
                Sending::request(method, &words.fill(target), &words.fill(headers), &body)
            }
        };
        if let Some(quiet) = step.quiet_ms {
            (sending.quiet_ms, sending.timeout_ms) = (quiet, ENDLESS);
        }
        if matches!(step.message, Message::Bytes(_)) {
            // Who understands nothing may wait for more.
            sending.timeout_ms = 700;
        }
        Ok(sending)
    }

    /// What of an effect is measured by how it changes.
    pub fn before(&self, effect: &Effect, words: &Words) -> Result<Value> {
        match effect {
            Effect::Canary => Ok(self.host.actor.served(self.canary.0)?.accepted.into()),
            Effect::Changes(target, place) => {
                Ok(self.says(&words.fill(target))?.pointer(place).cloned().unwrap_or_default())
            }
            _ => Ok(Value::Null),
        }
    }

    fn says(&self, target: &str) -> Result<Value> {
        let reply = self.engine.ask("GET", &format!("/v1.41{target}"), None)?;
        ensure!(reply.status == 200, "GET {target}: {}", reply.shown());
        reply.json()
    }
}

/// What stands for the words of a row.
#[derive(Clone, Debug)]
pub struct Words(BTreeMap<String, String>);

impl Words {
    /// A text with them in it.
    #[must_use]
    pub fn fill(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (place, value) in &self.0 {
            if text.contains(place.as_str()) {
                text = text.replace(place.as_str(), value);
            }
        }
        text
    }
}
