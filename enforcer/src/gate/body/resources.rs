//! What a container may use (S30): what is asked for, within the rules; what is not asked for, as much as they give.

use serde_json::{Map, Value, json};

use super::{
    super::{rules::Rules, verdict::Refusal},
    Notes, fields,
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

/// Memory, CPU time, processes and limits of one process.
pub(super) fn judge(
    object: &Object<'_>,
    rules: &Rules,
    time: Time,
) -> Result<Map<String, Value>, Refusal> {
    let mut limits = Map::new();
    let mut set = |name: &str, value: Value| limits.insert(name.to_owned(), value);
    let most = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let forced =
        |asked: Option<i64>, number: i64| asked.or((time == Time::Create).then_some(number));

    let memory = forced(asked(object, "Memory", most(rules.memory))?, most(rules.memory));
    asked(object, "MemorySwap", most(rules.memory))?;
    if let Some(memory) = memory {
        set("Memory", json!(memory));
        // As much as the memory: none of it is swapped out.
        set("MemorySwap", json!(memory));
    }
    if let Some(reserved) =
        asked(object, "MemoryReservation", memory.unwrap_or(most(rules.memory)))?
    {
        set("MemoryReservation", json!(reserved));
    }
    if let Some(nano_cpus) = forced(cpus(object, most(rules.nano_cpus))?, most(rules.nano_cpus)) {
        set("NanoCpus", json!(nano_cpus));
    }
    if let Some(pids) = forced(asked(object, "PidsLimit", rules.pids.into())?, rules.pids.into()) {
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
fn asked(object: &Object<'_>, name: &str, most: i64) -> Result<Option<i64>, Refusal> {
    match object.field(name) {
        None => Ok(None),
        Some(at) => match at.whole()? {
            0 => Ok(None),
            number if number > most || number < 0 => {
                Err(at.refuse(format_args!("{number} is more than may be had; at most {most}")))
            }
            number => Ok(Some(number)),
        },
    }
}

/// CPU time, in 10⁻⁹ CPUs, however it is said.
fn cpus(object: &Object<'_>, most: i64) -> Result<Option<i64>, Refusal> {
    let nano = asked(object, "NanoCpus", most)?;
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
    if nano > most {
        return Err(at.refuse(format_args!("this is {nano} NanoCpus; at most {most}")));
    }
    Ok(Some(nano))
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
