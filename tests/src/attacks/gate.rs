//! The catalogue of attacks on a Docker socket: what a stranger asks of an engine, and what would be seen on the host if
//! the engine did it. Data only; [`crate::harness::yard`] does it, by the raw socket and by the gate's.
//!
//! A row says what it exercises: routes, and fields of the engine's bodies. [`covered`] and [`harmless`] together are
//! all routes and fields that the gate's tables have: who adds one there adds a row here, or says why none can hurt.
//!
//! Texts may hold `@…@`: what the yard fills in. `@name@` is a new name, `@own@` a container of the attacker's,
//! `@id@` what the step before was answered as `Id`.

mod bodies;
mod bytes;
mod cluster;
mod create;
mod harmless;
mod host_config;
mod images;
mod kernel;
mod networks;
mod others;
mod paths;
mod plugins;
mod system;
mod update;
mod volumes;

use std::collections::BTreeSet;

use enforcer::gate::{body::fields::MODELS, table::ROUTES};
use serde_json::{Value, json};

pub use self::harmless::harmless;

/// The image that an attacker may use.
pub const IMAGE: &str = "enforcer-test-guest";

/// One attack.
#[derive(Clone, Debug)]
pub struct Row {
    /// Row of the threat list.
    pub threat: &'static str,
    /// What it is, for people.
    pub name: String,
    /// Routes (`POST /containers/create`) and fields (`HostConfig.Binds`) that it exercises.
    pub covers: Vec<String>,
    /// What is asked, one after the other.
    pub steps: Vec<Step>,
    /// What is seen if it works.
    pub effect: Effect,
    /// What it works on is made anew after it.
    pub harms: bool,
    /// The engine itself understands no such bytes: without a gate nothing would be seen, too. Of these rows only that
    /// no byte reaches the engine is shown.
    pub is_refused_by_engine: bool,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its bytes.
    pub message: Message,
    /// Most milliseconds without a byte of an answer, where an end may not come.
    pub quiet_ms: Option<u64>,
}

/// The bytes of a request.
#[derive(Clone, Debug)]
pub enum Message {
    /// As clients write them.
    Request {
        /// `GET`, …
        method: &'static str,
        /// Path and query.
        target: String,
        /// Header lines.
        headers: String,
        /// What is in it.
        body: Body,
    },
    /// As they are here.
    Bytes(Vec<u8>),
}

/// A body.
#[derive(Clone, Debug)]
pub enum Body {
    /// None.
    None,
    /// JSON, or what looks so.
    Text(String),
    /// A file that the yard has.
    File(&'static str),
}

/// What is seen on the host.
#[derive(Clone, Debug)]
pub enum Effect {
    /// A container is there that was not, and the engine says this of it: a place in its inspection, and what is there.
    Container(&'static str, Is),
    /// The same of a network.
    Network(&'static str, Is),
    /// The same of a volume.
    Volume(&'static str, Is),
    /// The engine says this when it is asked for something.
    Says(String, &'static str, Is),
    /// The engine says something else there than before.
    Changes(String, &'static str),
    /// The engine does not find it any more.
    Gone(String),
    /// The answer has this.
    Answer(&'static str),
    /// The engine opened a connection to where the attacker sent it.
    Canary,
    /// Something is at a path of this host.
    File(String),
    /// The process of a new container: something is at a path, as it sees the file system.
    Inside(String),
    /// It has a namespace in common with the host: `pid`, `ipc`, …
    Namespace(&'static str),
    /// Its `status` has this line.
    Status(&'static str),
    /// It has this capability.
    Capability(u32),
}

/// What a value is if an attack works.
#[derive(Clone, Debug)]
pub enum Is {
    /// This.
    Equal(Value),
    /// A text that has this, or something whose JSON has it.
    Has(String),
    /// A number that is more than this, or a bound that there is none of: 0, -1, nothing.
    Beyond(i64),
}

impl Is {
    /// Whether it is so.
    #[must_use]
    pub fn fits(&self, found: Option<&Value>) -> bool {
        match (self, found) {
            (Self::Equal(wanted), found) => found == Some(wanted),
            (Self::Has(part), Some(Value::String(text))) => text.contains(part),
            (Self::Has(part), Some(found)) => found.to_string().contains(part),
            (Self::Has(_), None) => false,
            (Self::Beyond(_), None | Some(Value::Null)) => true,
            (Self::Beyond(most), Some(found)) => {
                found.as_i64().is_some_and(|number| number <= 0 || number > *most)
            }
        }
    }
}

/// This.
fn is(value: Value) -> Is {
    Is::Equal(value)
}

/// Something with this.
fn has(part: &str) -> Is {
    Is::Has(part.to_owned())
}

impl Step {
    fn new(method: &'static str, target: &str, body: Body) -> Self {
        let (target, headers) = (target.to_owned(), String::new());
        let message = Message::Request { method, target, headers, body };
        Self { message, quiet_ms: None }
    }

    /// With header lines.
    fn with(mut self, lines: &str) -> Self {
        if let Message::Request { headers, .. } = &mut self.message {
            headers.push_str(lines);
        }
        self
    }

    /// An end of its answer may not come.
    const fn quiet(mut self, milliseconds: u64) -> Self {
        self.quiet_ms = Some(milliseconds);
        self
    }
}

/// A request without a body.
fn ask(method: &'static str, target: &str) -> Step {
    Step::new(method, target, Body::None)
}

/// A request with a JSON body.
fn send(method: &'static str, target: &str, body: &Value) -> Step {
    Step::new(method, target, Body::Text(body.to_string()))
}

/// A request with a file of the yard's.
fn upload(method: &'static str, target: &str, file: &'static str) -> Step {
    Step::new(method, target, Body::File(file)).with("Content-Type: application/x-tar\r\n")
}

/// A create.
fn create(body: &Value) -> Step {
    send("POST", "/v1.41/containers/create?name=@name@", body)
}

/// A body of a create with these fields.
fn container(fields: &Value) -> Value {
    let mut body = json!({"Image": IMAGE, "Cmd": ["sleep", "600"], "StopSignal": "SIGKILL"});
    for (name, value) in fields.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    body
}

/// A body of a create with these fields in `HostConfig`.
fn on_host(fields: &Value) -> Value {
    container(&json!({"HostConfig": fields}))
}

/// Start of what was just made.
fn start() -> Step {
    ask("POST", "/v1.41/containers/@name@/start")
}

/// The catalogue while it is written.
#[derive(Debug, Default)]
struct Book(Vec<Row>);

impl Book {
    /// Adds a row.
    fn add(
        &mut self,
        threat: &'static str,
        name: impl Into<String>,
        covers: &[&str],
        steps: impl Into<Vec<Step>>,
        effect: Effect,
    ) -> &mut Row {
        let covers = covers.iter().map(ToString::to_string).collect();
        let (name, steps) = (name.into(), steps.into());
        let row =
            Row { threat, name, covers, steps, effect, harms: false, is_refused_by_engine: false };
        let at = self.0.len();
        self.0.push(row);
        &mut self.0[at]
    }
}

impl Row {
    /// What it works on is to be made anew.
    const fn harms(&mut self) -> &mut Self {
        self.harms = true;
        self
    }

    /// The engine would not do it either.
    const fn refused_by_engine(&mut self) -> &mut Self {
        self.is_refused_by_engine = true;
        self
    }

    /// Identifies it in output.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{} {}", self.threat, self.name)
    }
}

/// Every attack, in the order in which they are tried.
#[must_use]
pub fn catalogue() -> Vec<Row> {
    let mut book = Book::default();
    paths::add(&mut book);
    host_config::add(&mut book);
    kernel::add(&mut book);
    create::add(&mut book);
    update::add(&mut book);
    bodies::add(&mut book);
    bytes::add(&mut book);
    networks::add(&mut book);
    volumes::add(&mut book);
    images::add(&mut book);
    system::add(&mut book);
    others::add(&mut book);
    plugins::add(&mut book);
    // An engine is in a swarm from its first row to its last.
    cluster::add(&mut book);
    book.0
}

/// All routes and fields of the gate's tables.
#[must_use]
pub fn everything() -> BTreeSet<String> {
    let routes = ROUTES.iter().map(|route| format!("{} {}", route.method, route.path));
    let fields = MODELS.iter().flat_map(|model| {
        model.fields.iter().map(|field| format!("{}.{}", model.name, field.name))
    });
    routes.chain(fields).collect()
}

/// What rows exercise.
#[must_use]
pub fn covered(rows: &[Row]) -> BTreeSet<String> {
    rows.iter().flat_map(|row| row.covers.clone()).collect()
}
