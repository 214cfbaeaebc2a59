//! The query of a build: which of the engine's words for it are taken. The engine's older builder alone is offered; what
//! only `BuildKit` has says so.

use super::read::no_name;
use crate::gate::{
    json::{self, Json, Limits},
    names::is_name,
    verdict::Refusal,
    words::query::Query,
};

/// Longest text of arguments or labels, bytes.
const MAX_JSON: usize = 6 << 10;
/// Longest path of a Dockerfile in its context, bytes.
const MAX_PATH: usize = 1_024;
/// Variables by which a guest's user is known: no build sets them (A2).
pub(in crate::gate) const NAMING: [&str; 2] = ["JUPYTERHUB_USER", "JUPYTERHUB_SERVER_NAME"];

/// What is asked of a build, its context apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Build {
    /// The name that the image is to have.
    pub tag: Option<String>,
    /// Path of the Dockerfile in the context, in its shortest form: `docker/Dockerfile`.
    pub dockerfile: String,
    /// Name or number of the stage at which the build ends.
    pub target: Option<String>,
    /// Network of the RUN steps, as the client calls it.
    pub network: Option<String>,
    /// Values for `ARG`, each name once; `None`: the client has none.
    pub arguments: Vec<(String, Option<String>)>,
    /// Labels of the image.
    pub labels: Vec<(String, String)>,
    /// Whether each step is done anew.
    pub no_cache: bool,
    /// Whether nothing but the id is answered.
    pub is_quiet: bool,
    /// Memory of a step, bytes.
    pub memory: Option<u64>,
    /// `/dev/shm` of a step, bytes.
    pub shm: Option<u64>,
    /// Shares of the CPU.
    pub shares: Option<u32>,
    /// CPU time in a period, µs.
    pub quota: Option<u64>,
    /// The period, µs.
    pub period: Option<u64>,
}

pub(super) fn read(query: &mut Query) -> Result<Build, Refusal> {
    refuse_what_only_buildkit_has(query)?;
    if query.take("remote").is_some() {
        let message = "the engine fetches no context for a guest; fetch it yourself and send it";
        return Err(Refusal::forbidden("build.remote", message));
    }
    // Containers of steps go away in any case, and base images are pulled beforehand.
    query.take_bool("rm")?;
    query.take_bool("forcerm")?;
    query.take_only("pull", NO).map_err(|_value| {
        let message = "a build pulls nothing here: leave out --pull and use docker pull before it";
        Refusal::forbidden("build.pull", message)
    })?;
    for (key, values) in REFUSED {
        query.take_only(key, values)?;
    }
    let most = 1 << 44;
    let memory = query.take_number("memory", &(0..=most))?.filter(|&bytes| bytes > 0);
    let swap = query.take_number("memswap", &(-1..=1_i64 << 44))?.filter(|&bytes| bytes != 0);
    if swap.is_some_and(|swap| u64::try_from(swap).ok() != memory) {
        let message = "nothing is swapped out here: leave \"memswap\" out, or make it \"memory\"";
        return Err(Refusal::forbidden("build.memswap", message));
    }
    let dockerfile = query.take("dockerfile").unwrap_or_else(|| "Dockerfile".to_owned());
    Ok(Build {
        tag: query.take("t"),
        dockerfile: path(&dockerfile)?,
        target: query
            .take("target")
            .map(|target| if is_name(&target) { Ok(target) } else { Err(no_name("stage")) })
            .transpose()?,
        network: query.take("networkmode"),
        arguments: arguments(query)?,
        labels: labels(query)?,
        no_cache: query.take_bool("nocache")?,
        is_quiet: query.take_bool("q")?,
        memory,
        shm: query.take_number("shmsize", &(0..=most))?.filter(|&bytes| bytes > 0),
        shares: query.take_number("cpushares", &(0..=1_024))?.filter(|&shares| shares > 0),
        quota: query.take_number("cpuquota", &(0..=most))?.filter(|&quota| quota > 0),
        period: query.take_number("cpuperiod", &(0..=1_000_000))?.filter(|&period| period > 0),
    })
}

/// What clients say for no.
const NO: &[&str] = &["0", "false", "False"];
/// Lists, maps and texts that docker sends empty; nothing else of them is offered.
const REFUSED: [(&str, &[&str]); 10] = [
    ("cachefrom", &["[]", "null"]),
    ("ulimits", &["[]", "null"]),
    ("extrahosts", &[]),
    ("securityopt", &[]),
    ("squash", NO),
    ("platform", &[]),
    ("isolation", &["default"]),
    ("cgroupparent", &[]),
    ("cpusetcpus", &[]),
    ("cpusetmems", &[]),
];

fn refuse_what_only_buildkit_has(query: &mut Query) -> Result<(), Refusal> {
    let version = query.take("version").filter(|version| version != "1");
    let others = ["session", "buildid", "outputs"].map(|key| query.take(key)).into_iter().flatten();
    if version.is_some() || others.count() > 0 {
        let message = "BuildKit is not offered here, for what it does is seen by nobody; set \
                       DOCKER_BUILDKIT=0 and build again";
        return Err(Refusal::forbidden("build.buildkit", message));
    }
    Ok(())
}

/// A path in the context, in its shortest form.
fn path(text: &str) -> Result<String, Refusal> {
    let parts = text.split('/').filter(|part| !matches!(*part, "" | "."));
    let parts: Vec<&str> = parts.collect();
    if text.len() > MAX_PATH || parts.is_empty() || parts.contains(&"..") || text.contains('\\') {
        let message = format!("{text:?} is no path of a Dockerfile within the context");
        return Err(Refusal::unclear("build.dockerfile", message));
    }
    Ok(parts.join("/"))
}

fn arguments(query: &mut Query) -> Result<Vec<(String, Option<String>)>, Refusal> {
    let read = |(name, value): (String, Json)| {
        let value = match value {
            Json::Null => None,
            Json::Text(text) if is_text(&text) => Some(text),
            _ => return Err(unclear("buildargs", &name, "its value is no line of text")),
        };
        if !is_variable(&name) {
            return Err(unclear("buildargs", &name, "that is no name of a variable"));
        }
        if NAMING.contains(&name.as_str()) {
            return Err(unclear(
                "buildargs",
                &name,
                "it says whose a guest is, which no build does",
            ));
        }
        Ok((name, value))
    };
    map(query, "buildargs")?.into_iter().map(read).collect()
}

fn labels(query: &mut Query) -> Result<Vec<(String, String)>, Refusal> {
    let read = |(name, value): (String, Json)| match value {
        Json::Text(text) if is_text(&text) => Ok((name, text)),
        _ => Err(unclear("labels", &name, "its value is no line of text")),
    };
    map(query, "labels")?.into_iter().map(read).collect()
}

fn map(query: &mut Query, key: &str) -> Result<Vec<(String, Json)>, Refusal> {
    let Some(text) = query.take(key) else { return Ok(Vec::new()) };
    match json::read(text.as_bytes(), Limits { bytes: MAX_JSON, depth: 2 })? {
        Json::Null => Ok(Vec::new()),
        Json::Map(entries) => Ok(entries),
        _ => Err(Refusal::unclear(
            "build.map",
            format!("{key:?} of the query is no object of texts"),
        )),
    }
}

fn unclear(key: &str, name: &str, why: &str) -> Refusal {
    Refusal::unclear("build.map", format!("{key:?} of the query, {name:?}: {why}"))
}

/// Whether a shell takes it for a name of a variable.
pub(in crate::gate) fn is_variable(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    name.bytes().next().is_some_and(is_letter)
        && name.bytes().all(|byte| is_letter(byte) || byte.is_ascii_digit())
}

fn is_text(text: &str) -> bool {
    !text.chars().any(|letter| letter.is_control() && letter != '\t')
}
