//! The gate and the engine read the same bytes: Go's `encoding/json`, decoding into the engine's own types, beside the
//! gate's reader and judge. Nothing that the gate allows means something else to the engine (S07).

#[path = "differential/bodies.rs"]
mod bodies;
#[path = "differential/cases.rs"]
mod cases;
#[path = "differential/engine.rs"]
mod engine;
#[path = "differential/meaning.rs"]
mod meaning;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use enforcer::gate::{
    call::{BodyKind, Call, call},
    json::{self, Json, Limits},
    judge::judge,
    verdict::{Forward, Verdict},
};
use hyper::Method;
use serde_json::Value;

use self::{
    bodies::{ROUTES, Route, Setting},
    cases::Cases,
    engine::Engine,
    meaning::{asked, asked_in_vain, differences, tagged},
};

/// Cases of a usual run, which takes about 20 s, and of a long one.
const USUAL: u64 = 30_000;
const LONG: u64 = 2_000_000;
/// From which all cases are made.
const SEED: u64 = 0x5eed;
/// Failures that are told whole.
const SHOWN: usize = 5;

/// What the gate makes of bytes.
enum Read {
    /// It goes on so.
    Allowed(Json, Box<Forward>),
    /// By this rule it does not.
    Denied(&'static str),
}

fn read(setting: &Setting, call: &Call, bytes: &[u8]) -> Read {
    let BodyKind::Json { limit } = call.body() else { return Read::Denied("no body") };
    let json = match json::read(bytes, Limits { bytes: limit, ..Limits::default() }) {
        Ok(json) => json,
        Err(refusal) => return Read::Denied(refusal.rule),
    };
    match judge(&setting.context(), call, Some(&json)) {
        Verdict::Allow(forward) => Read::Allowed(json, forward),
        Verdict::Deny(refusal) => Read::Denied(refusal.rule),
    }
}

/// What is wrong with what the gate made of bytes. For those that it allows:
///
/// 1. *One reading.* Go, decoding into no type, finds the value that the gate's reader found: each key, each text, each
///    number as it is written.
/// 2. *One meaning.* Go, decoding into the engine's type, finds the same in the client's bytes as in the gate's value
///    written anew: there is nothing in the bytes that only Go sees. Where it would refuse the bytes, it does so for an empty
///    value of another kind, which goes no further: without such it finds what is compared below.
/// 3. *Nothing asked in vain.* Where a field may ask for nothing, Go finds nothing in the client's bytes, under whatever
///    spelling.
/// 4. *The same goes on.* What goes to the engine is understood strictly, and Go finds in it what it finds in the client's
///    bytes, but for the fields that the gate puts right, each of which is named with the reason (`meaning::PUT_RIGHT`).
fn wrong(
    engine: &mut Engine,
    (route, json, forward): (&Route, &Json, &Forward),
    bytes: &[u8],
) -> Result<Option<(String, String)>> {
    let failed = |kind: &str, what: String| Ok(Some((format!("{}: {kind}", route.target), what)));
    match engine.decode(engine::ANY, false, bytes)? {
        Ok(seen) if seen == tagged(json) => {}
        seen => return failed("another reading", format!("{seen:?}")),
    }
    let value = json.to_value();
    let original = match engine.decode(route.shape, false, bytes)? {
        Ok(original) => {
            let again = engine.decode(route.shape, false, value.to_string().as_bytes())?;
            if again.as_ref() != Ok(&original) {
                return failed("another meaning", format!("{original} is {again:?}"));
            }
            original
        }
        // Of what asks for nothing the kind does not matter to the gate.
        Err(error) => {
            let asked = asked(&value).to_string();
            match engine.decode(route.shape, false, asked.as_bytes())? {
                Ok(original) => original,
                Err(_) => return failed("the engine would refuse it", error),
            }
        }
    };
    if let Some(field) = asked_in_vain(route.model, &original) {
        return failed(&format!("{field} asks for something"), original.to_string());
    }
    let body = forward.body.as_ref().map(Value::to_string).unwrap_or_default();
    let sent = match engine.decode(route.shape, true, body.as_bytes())? {
        Ok(sent) => sent,
        Err(error) => return failed("the engine refuses what goes on", format!("{error}: {body}")),
    };
    let mut differences = differences(route, &original, &sent).into_iter();
    match differences.next() {
        None => Ok(None),
        Some((path, what)) => failed(&format!("{path} goes on otherwise"), what),
    }
}

/// S07: bodies as clients send them, and what strangers make of such, mean to the engine what the gate judged.
#[test]
fn s07_nothing_that_is_allowed_means_something_else_to_the_engine() -> Result<()> {
    let mut engine = Engine::start()?;
    let count = if std::env::var_os("ENFORCER_TEST_LONG").is_some() { LONG } else { USUAL };
    let settings = [Setting::of_user(), Setting::of_hub()];
    let cases = Cases::new(SEED);
    let (mut allowed, mut rules) = (0_u64, BTreeMap::<&str, u64>::new());
    // One case of each kind.
    let mut failures = BTreeMap::new();
    for number in 0..count {
        let (route, bytes) = cases.make(number);
        // A hub creates guests, and has no other route with a body.
        let is_hub = route.shape == ROUTES[0].shape && number % 5 == 0;
        let setting = &settings[usize::from(is_hub)];
        let call = call(&setting.principal, &Method::POST, route.target).context(route.target)?;
        match read(setting, &call, &bytes) {
            Read::Denied(rule) => *rules.entry(rule).or_default() += 1,
            Read::Allowed(json, forward) => {
                allowed += 1;
                if let Some((kind, what)) = wrong(&mut engine, (route, &json, &forward), &bytes)? {
                    failures.entry(kind).or_insert_with(|| {
                        let text = String::from_utf8_lossy(&bytes);
                        let (who, target) = (&setting.principal, route.target);
                        format!("case {number} of seed {SEED:#x}, {who}, {target}:\n{text}\n{what}")
                    });
                }
            }
        }
    }
    println!("{count} cases, {allowed} allowed; refused by {} rules", rules.len());
    let shown: Vec<String> = failures.values().take(SHOWN).cloned().collect();
    let kinds: Vec<&String> = failures.keys().collect();
    ensure!(failures.is_empty(), "{}\n{} kinds: {kinds:#?}", shown.join("\n\n"), kinds.len());
    // Otherwise it would be shown of nothing.
    ensure!(allowed * 5 > count, "only {allowed} of {count} cases were allowed");
    for rule in ["json.duplicate", "json.utf8", "json.bom", "json.trailing", "json.surrogate"] {
        ensure!(rules.contains_key(rule), "no case was refused by {rule}");
    }
    ensure!(rules.contains_key("field.unknown"), "no key was unknown");
    Ok(())
}

/// S07: the engine's side of it sees what is meant for it: what the gate refuses here, the engine would do.
#[test]
fn s07_the_engine_would_do_what_is_refused() -> Result<()> {
    let mut engine = Engine::start()?;
    let setting = Setting::of_user();
    let create = &ROUTES[0];
    let call = call(&setting.principal, &Method::POST, create.target)?;
    for text in [
        r#"{"Image":"alpine:3","Cmd":["x"],"HostConfig":{"Privileged":true}}"#,
        r#"{"Image":"alpine:3","Cmd":["x"],"HostConfig":{"Privileged":false,"privileged":true}}"#,
        r#"{"Image":"alpine:3","Cmd":["x"],"HostConfig":{"Privileged":false,"Privileged":true}}"#,
        r#"{"Image":"alpine:3","Cmd":["x"],"HOSTCONFIG":{"Privileged":true}}"#,
        r#"{"Image":"alpine:3","Cmd":["x"],"HoſtConfig":{"Privileged":true}}"#,
        r#"{"Image":"alpine:3","Cmd":["x"],"HostConfig":{},"hostconfig":{"Privileged":true}}"#,
        r#"{"Image":"alpine:3","Cmd":["x"],"HostConfig":{"\u0070rivileged":true}}"#,
        r#"{"Image":"alpine:3","Cmd":["x"],"Host\u0043onfig":{"Privileged":true}}"#,
        r#"{"Image":"alpine:3","Cmd":["x"],"HostConfig":{"Privileged":true}} trailing"#,
        r#"{"Image":"alpine:3","Cmd":["x"],"HostConfig":null,"Privileged":true}"#,
    ] {
        let seen = engine.decode(create.shape, false, text.as_bytes())?;
        let seen = seen.map_err(anyhow::Error::msg).context(text)?;
        let is_seen = seen["HostConfig"]["Privileged"] == true || seen["Privileged"] == true;
        ensure!(is_seen, "the engine does not see it: {text}: {seen}");
        let is_denied = matches!(read(&setting, &call, text.as_bytes()), Read::Denied(_));
        ensure!(is_denied, "{text} is allowed");
    }
    Ok(())
}
