//! What a container may use (S30): what is asked for, within the rules; what is not asked for, as much as they give.

use serde_json::{Map, Value, json};

use super::{
    super::{principal::Principal, rules::Rules, verdict::Refusal},
    Context, Notes, fields,
    object::{At, Object},
};

/// Bandwidth of a CPU: its usual period, µs, and those that the kernel takes.
const PERIOD: i64 = 100_000;
const PERIODS: (i64, i64) = (1_000, 1_000_000);
/// Shares of a container that asks for none; more would take from others.
const SHARES: (i64, i64) = (2, 1_024);
/// Retries of a container that fails; where more or any number are asked for, so many.
const RETRIES: i64 = 10;

/// Whether a container is made or changed. What a change does not name stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Time {
    Create,
    Update,
}

/// What becomes of a wish for more than the rules give. A spawner's config says one number for all its users, who would
/// get no server at all for a number that is too large: theirs is cut, and the record says so. A user hears of it.
struct Beyond<'a> {
    is_cut: bool,
    notes: &'a mut Notes,
}

impl Beyond<'_> {
    fn settle(&mut self, at: &At<'_>, asked: i64, most: i64) -> Result<i64, Refusal> {
        if !self.is_cut {
            return Err(at.refuse(format_args!("{asked} is more than may be had; at most {most}")));
        }
        self.notes.changed.push(format!("{}: {asked} -> {most}", at.path));
        Ok(most)
    }
}

/// Memory, CPU time, processes and limits of one process.
pub(super) fn judge(
    object: &Object<'_>,
    context: &Context<'_>,
    time: Time,
    notes: &mut Notes,
) -> Result<Map<String, Value>, Refusal> {
    let rules = context.rules;
    let mut beyond = Beyond { is_cut: matches!(context.principal, Principal::Hub(_)), notes };
    let mut limits = Map::new();
    let mut set = |name: &str, value: Value| limits.insert(name.to_owned(), value);
    let most = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let forced =
        |asked: Option<i64>, number: i64| asked.or((time == Time::Create).then_some(number));

    let most_memory = most(rules.memory);
    let memory = forced(asked(object, "Memory", most_memory, &mut beyond)?, most_memory);
    let most_swap = memory.filter(|_| beyond.is_cut).unwrap_or(most_memory);
    asked(object, "MemorySwap", most_swap, &mut beyond)?;
    if let Some(memory) = memory {
        set("Memory", json!(memory));
        // As much as the memory: none of it is swapped out.
        set("MemorySwap", json!(memory));
    }
    let most_reserved = memory.unwrap_or(most_memory);
    if let Some(reserved) = asked(object, "MemoryReservation", most_reserved, &mut beyond)? {
        set("MemoryReservation", json!(reserved));
    }
    let most_cpus = most(rules.nano_cpus);
    if let Some(nano_cpus) = forced(cpus(object, most_cpus, &mut beyond)?, most_cpus) {
        set("NanoCpus", json!(nano_cpus));
    }
    let most_pids = i64::from(rules.pids);
    if let Some(pids) = forced(asked(object, "PidsLimit", most_pids, &mut beyond)?, most_pids) {
        set("PidsLimit", json!(pids));
    }
    if let Some(at) = object.field("CpuShares").filter(|at| at.whole() != Ok(0)) {
        set("CpuShares", json!(at.within(SHARES.0, SHARES.1)?));
    }
    let ulimits = ulimits(object, rules)?;
    if !ulimits.is_empty() {
        set("Ulimits", Value::Array(ulimits));
    }
    Ok(limits)
}

/// A limit; `None`: none is asked for. 0 asks for none, and -1 for more than there is.
fn asked(
    object: &Object<'_>,
    name: &str,
    most: i64,
    beyond: &mut Beyond<'_>,
) -> Result<Option<i64>, Refusal> {
    match object.field(name) {
        None => Ok(None),
        Some(at) => match at.whole()? {
            0 => Ok(None),
            number if number > most || number < 0 => beyond.settle(&at, number, most).map(Some),
            number => Ok(Some(number)),
        },
    }
}

/// CPU time, in 10⁻⁹ CPUs, however it is said.
fn cpus(object: &Object<'_>, most: i64, beyond: &mut Beyond<'_>) -> Result<Option<i64>, Refusal> {
    let nano = asked(object, "NanoCpus", most, beyond)?;
    let period = match object.field("CpuPeriod") {
        Some(at) if at.whole()? != 0 => at.within(PERIODS.0, PERIODS.1)?,
        _ => PERIOD,
    };
    let Some(at) = object.field("CpuQuota").filter(|at| at.whole() != Ok(0)) else {
        return Ok(nano);
    };
    // Beyond this, the product would not fit.
    let quota = at.within(1_000, PERIODS.1 * 4_096)?;
    if nano.is_some() {
        return Err(at.refuse("say NanoCpus or CpuQuota"));
    }
    let nano = quota * 1_000_000 / period * 1_000;
    // In NanoCpus, whatever it was said in: that is what goes on.
    if nano > most { beyond.settle(&at, nano, most).map(Some) } else { Ok(Some(nano)) }
}

fn ulimits(object: &Object<'_>, rules: &Rules) -> Result<Vec<Value>, Refusal> {
    let mut ulimits = Vec::new();
    for at in object.list("Ulimits")? {
        let item = at.object(&fields::ULIMIT)?;
        let name = item.text("Name")?;
        let most = most_of(name, rules).ok_or_else(|| at.refuse("the gate knows no such limit"))?;
        let value = |name| item.field(name).map_or(Ok(0), |at: At<'_>| at.within(0, most));
        let (soft, hard) = (value("Soft")?, value("Hard")?);
        let is_twice = ulimits.iter().any(|other: &Value| other["Name"] == name);
        if soft > hard || is_twice {
            return Err(at.refuse("Soft is at most Hard, and each limit is there once"));
        }
        ulimits.push(json!({"Name": name, "Soft": soft, "Hard": hard}));
    }
    Ok(ulimits)
}

/// Most of a limit of one process; `None`: it is not for clients. A core dump is the host's to write.
fn most_of(name: &str, rules: &Rules) -> Option<i64> {
    let memory = i64::try_from(rules.memory).unwrap_or(i64::MAX);
    match name {
        "core" => Some(0),
        "nofile" | "nproc" => Some(1 << 20),
        "memlock" | "stack" => Some(memory),
        "as" | "cpu" | "data" | "fsize" | "rss" => Some(i64::MAX),
        _ => None,
    }
}

/// `RestartPolicy`: a few retries at most (S29). A container that is to run for ever is tried again as often, and the
/// record says so; nothing comes back with the engine.
pub(super) fn restart(object: &Object<'_>, notes: &mut Notes) -> Result<Option<Value>, Refusal> {
    let Some(at) = object.field("RestartPolicy") else { return Ok(None) };
    let policy = at.object(&fields::RESTART)?;
    let name = policy.text("Name")?;
    let retries =
        policy.field("MaximumRetryCount").map_or(Ok(0), |at| at.within(0, i64::from(i32::MAX)))?;
    let capped = match (name, retries) {
        ("", 0) => return Ok(None),
        ("no", 0) => return Ok(Some(json!({"Name": "no"}))),
        ("on-failure", 1..=RETRIES) => retries,
        ("on-failure" | "always" | "unless-stopped", _) => {
            notes.changed.push(format!("{}: {name} -> on-failure:{RETRIES}", at.path));
            RETRIES
        }
        _ => return Err(at.refuse("Name is no, on-failure, always or unless-stopped")),
    };
    Ok(Some(json!({"Name": "on-failure", "MaximumRetryCount": capped})))
}
