//! `docs/openapi.json` is what the types say, and what answers are.

use std::{collections::BTreeMap, fs};

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::{Map, Value, json};

use super::rig::{Server, body, talk};
use crate::api::{
    openapi::document,
    routes::{TABLE, Verb, daemon::OPENAPI},
};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
const ASK: &str = "ENFORCER_WRITE_SCHEMA";

fn committed() -> Value {
    serde_json::from_str(&fs::read_to_string(FILE).unwrap_or_default()).unwrap_or_default()
}

/// The document, ready to judge answers by.
struct Validator {
    schemas: Schemas,
    answers: BTreeMap<(&'static str, u16), SchemaIndex>,
}

impl Validator {
    fn new() -> Self {
        let mut document = committed();
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        // As a JSON Schema, so that references to its parts hold.
        document["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
        let mut answers = BTreeMap::new();
        compiler.add_resource("openapi.json", document.clone()).expect("is a resource");
        for route in TABLE {
            let verb = route.verb.method().as_str().to_lowercase();
            let responses = &document["paths"][route.path][&verb]["responses"];
            for (status, name) in [(200, "200"), (0, "default")] {
                let contents = responses[name]["content"].as_object().expect("kinds");
                let kind = contents.keys().next().expect("a kind");
                let part =
                    ["paths", route.path, &verb, "responses", name, "content", kind, "schema"];
                let part = part.map(|one| one.replace('~', "~0").replace('/', "~1")).join("/");
                let found = compiler.compile(&format!("openapi.json#/{part}"), &mut schemas);
                answers.insert((route.id, status), found.expect("is a schema"));
            }
        }
        Self { schemas, answers }
    }

    fn check(&self, call: (&'static str, u16), answer: &Value) {
        if let Err(error) = self.schemas.validate(answer, self.answers[&call]) {
            panic!("{call:?}: {answer}\n{error:#}");
        }
    }
}

#[test]
fn the_committed_document_is_that_of_table_and_types() {
    let document = document();
    if std::env::var_os(ASK).is_some() {
        let text = serde_json::to_string_pretty(&document).expect("serialises");
        fs::write(FILE, text + "\n").expect("is written");
    }
    assert!(
        committed() == document,
        "docs/openapi.json is not what the calls' table and types give. If the change is meant, write it anew: \
         {ASK}=1 cargo test -p enforcer --lib api::tests::document"
    );
    // What this binary would serve; after writing, the next one.
    let served: Value = serde_json::from_str(OPENAPI).expect("JSON");
    assert!(served == document || std::env::var_os(ASK).is_some(), "build again");
}

#[test]
fn every_call_is_documented_once_and_somebody_may_call_it() {
    let document = committed();
    let mut ids = std::collections::BTreeSet::new();
    for route in TABLE {
        let verb = route.verb.method().as_str().to_lowercase();
        let operation = &document["paths"][route.path][&verb];
        assert_eq!(operation["operationId"], route.id);
        assert!(ids.insert(route.id), "{} is there twice", route.id);
        assert!(!route.roles.is_empty() && route.path.starts_with("/v1/"), "{route:?}");
    }
    let paths = document["paths"].as_object().expect("paths");
    let documented: usize = paths.values().map(|path| path.as_object().map_or(0, Map::len)).sum();
    assert_eq!(documented, TABLE.len(), "a call is documented that is not there");
}

/// What to ask each call with.
fn question(id: &str) -> (&'static str, &'static str) {
    match id {
        "explain" => ("?from=ann&to=192.0.2.1&protocol=6&port=443", ""),
        "explain_name" => ("?from=ann&name=pypi.org&protocol=6&port=443", ""),
        "groups" | "grants" => ("?hub=local", ""),
        "group_create" | "group_delete" => ("", "{\"group\":\"staff\",\"reason\":\"a course\"}"),
        "group_add" => {
            ("", "{\"group\":\"staff\",\"user\":\"ann\",\"until\":\"2999-01-01T00:00:00Z\"}")
        }
        "group_members" => ("?group=staff", ""),
        "group_remove" => ("", "{\"group\":\"staff\",\"user\":\"ann\"}"),
        "grant_set" => ("", "{\"group\":\"staff\",\"kind\":\"filtered\"}"),
        "flows" => ("?guest=ann", ""),
        "pardon" => ("", "{\"guest\":\"ann\"}"),
        "cut" => ("", "{\"guest\":\"ann\",\"for_s\":600,\"reason\":\"mails\"}"),
        "allow" => (
            "",
            "{\"guest\":\"ann\",\"to\":\"192.0.2.9\",\"protocol\":6,\"port\":443,\"for_s\":600,\"reason\":\"a lesson\"}",
        ),
        "allowance_revoke" => ("", "{\"id\":7}"),
        "erase" => ("", "{\"dir\":\"/a\",\"pseudonyms\":[\"p-1\",\"p-2\"]}"),
        "guests" => ("?hub=local", ""),
        "guest_inspect" | "guest_logs" => ("?user=ann", ""),
        "guest_start" => ("", "{\"user\":\"ann\",\"image\":\"python:3\"}"),
        "guest_restart" | "guest_stop" | "guest_remove" | "guest_reset" => {
            ("", "{\"user\":\"ann\"}")
        }
        "network_create" | "network_remove" => ("", "{\"user\":\"ann\",\"name\":\"data\"}"),
        "guest_exec" => ("", "{\"user\":\"ann\",\"command\":[\"id\"]}"),
        _ => ("", ""),
    }
}

#[tokio::test]
async fn answers_and_errors_are_as_the_document_says() {
    let validator = Validator::new();
    let mut server = Server::start("document");
    server.ready().await;
    for route in TABLE {
        let (query, sent) = question(route.id);
        let (verb, path, length) = (route.verb.method(), route.path, sent.len());
        let head = format!(
            "Host: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{sent}"
        );
        let request = format!("{verb} {path}{query} HTTP/1.1\r\n{head}");
        let answer = talk(server.dir(), request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{}: {answer}", route.id);
        let lines = parts(&answer);
        assert!(!lines.is_empty());
        for line in &lines {
            validator.check((route.id, 200), line);
        }
        // No call has this query.
        let request = format!("{verb} {path}?wrong=1 HTTP/1.1\r\n{head}");
        let answer = talk(server.dir(), request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{}: {answer}", route.id);
        validator.check((route.id, 0), &serde_json::from_str(body(&answer)).expect("JSON"));
        assert!(route.verb == Verb::Get || query.is_empty());
    }
}

/// The body of an answer, or its lines where it comes in lines.
fn parts(answer: &str) -> Vec<Value> {
    let read = |text: &str| serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    let head = answer.split("\r\n\r\n").next().unwrap_or_default();
    if !head.contains("application/x-ndjson") {
        return vec![read(body(answer))];
    }
    // Chunks: a length, and what is that long.
    let lines = body(answer).lines().filter(|line| line.starts_with('{'));
    lines.map(read).collect()
}

#[test]
fn what_is_no_answer_does_not_pass_for_one() {
    let validator = Validator::new();
    let call = validator.answers[&("version", 200)];
    let good = json!({"version": "0.1.0", "abi": 5, "pid": 7});
    validator.check(("version", 200), &good);
    for (field, bad) in [("abi", json!(-1)), ("pid", json!("7")), ("version", Value::Null)] {
        let mut changed = good.clone();
        changed[field] = bad;
        assert!(validator.schemas.validate(&changed, call).is_err(), "{changed}");
    }
    let error = validator.answers[&("version", 0)];
    let unnamed = json!({"error": {"code": "a_whim", "message": ""}});
    assert!(validator.schemas.validate(&unnamed, error).is_err());
}
