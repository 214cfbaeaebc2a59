//! The published document of the calls, `docs/openapi.json`: made of the table, the types of questions and
//! answers, and their comments. Tests only: the daemon serves what is committed.

use schemars::{
    JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, transform::RecursiveTransform,
};
use serde_json::{Map, Value, json};

use super::{
    error::Failure,
    ndjson::{self, Line},
    roles::RoleKind,
    routes::{
        Route, TABLE, Verb,
        access::AccessReport,
        daemon::{Done, Version},
        grants::{GrantOrder, Grants},
        groups::{Changed, GroupOrder, Groups, MemberOrder, Members, OfGroup, OfHub},
        guests::Done as GuestDone,
        names::{Gone, Names},
        restraints::{Pardon, Pardoned},
    },
};
use crate::model::{
    allowance::{AllowOrder, AllowanceList, AllowanceStatus, RevokeOrder},
    flows::{FlowsQuestion, FlowsReport},
    guest::{
        ExecOrder, Executed, GuestDetail, GuestList, GuestLogs, GuestOrder, GuestStatus,
        GuestsQuestion, LogsQuestion, ResetDone, ResetOrder, WhichGuest,
    },
    owned::{OwnNetworkList, OwnNetworkStatus, OwnNetworksQuestion, WhichNetwork},
    restraint::{CutDone, CutOrder},
    status::{ExplainQuestion, Explained, ExplainedName, NameQuestion, StatusReport},
};

const DESCRIPTION: &str = "The control API of enforcer, over HTTP/1.1 on the unix socket `control.sock` in the daemon's run directory \
     (/run/enforcer). Who calls is what the kernel says of the connection (SO_PEERCRED): root and the users of \
     `[daemon] admins` are `admin`, a hub's user is `hub`. One request a connection. Bodies are JSON of at most 64 KiB, \
     without unknown keys. Within /v1/ nothing is renamed, removed or given another type, but calls, fields of answers and codes of \
     errors are added: a client must pass over fields that it does not know.";

/// Types of a call's question and answer.
struct Shape {
    query: Option<Schema>,
    body: Option<Schema>,
    answer: (&'static str, Schema),
}

/// Generators of what is read and what is written: a field that may be left out on the way in is always there
/// on the way out.
struct Generators {
    read: SchemaGenerator,
    written: SchemaGenerator,
}

const JSON: &str = "application/json";

impl Generators {
    fn new() -> Self {
        let settings = || {
            let mut settings = SchemaSettings::draft2020_12()
                .with_transform(RecursiveTransform(tidy as fn(&mut Schema)));
            settings.definitions_path = "/components/schemas".into();
            settings
        };
        Self {
            read: settings().for_deserialize().into_generator(),
            written: settings().for_serialize().into_generator(),
        }
    }

    fn asked<T: JsonSchema>(&mut self) -> Schema {
        self.read.subschema_for::<T>()
    }

    fn told<T: JsonSchema>(&mut self) -> (&'static str, Schema) {
        (JSON, self.written.subschema_for::<T>())
    }

    fn lines<T: JsonSchema>(&mut self) -> (&'static str, Schema) {
        (ndjson::KIND, self.written.subschema_for::<Line<T>>())
    }

    /// The types of the calls about what lasts for a while.
    fn for_a_while(&mut self, id: &str) -> Shape {
        let nothing = |answer| Shape { query: None, body: None, answer };
        match id {
            "cut" => {
                Shape { body: Some(self.asked::<CutOrder>()), ..nothing(self.told::<CutDone>()) }
            }
            "allowances" => nothing(self.told::<AllowanceList>()),
            "allow" => Shape {
                body: Some(self.asked::<AllowOrder>()),
                ..nothing(self.told::<AllowanceStatus>())
            },
            _ => Shape {
                body: Some(self.asked::<RevokeOrder>()),
                ..nothing(self.told::<AllowanceStatus>())
            },
        }
    }

    /// The types of a call. One that is not here does not compile into the document.
    fn shape(&mut self, id: &str) -> Shape {
        let nothing = |answer| Shape { query: None, body: None, answer };
        match id {
            "version" => nothing(self.told::<Version>()),
            "openapi" => nothing(self.told::<Map<String, Value>>()),
            "status" => nothing(self.told::<StatusReport>()),
            "reload" | "stop" => nothing(self.told::<Done>()),
            "explain" => Shape {
                query: Some(self.read.root_schema_for::<ExplainQuestion>()),
                ..nothing(self.told::<Explained>())
            },
            "explain_name" => Shape {
                query: Some(self.read.root_schema_for::<NameQuestion>()),
                ..nothing(self.told::<ExplainedName>())
            },
            "flows" => Shape {
                query: Some(self.read.root_schema_for::<FlowsQuestion>()),
                ..nothing(self.told::<FlowsReport>())
            },
            "pardon" => {
                Shape { body: Some(self.asked::<Pardon>()), ..nothing(self.told::<Pardoned>()) }
            }
            "cut" | "allowances" | "allow" | "allowance_revoke" => self.for_a_while(id),
            "erase" => {
                let line = self.lines::<Gone>();
                Shape { body: Some(self.asked::<Names>()), ..nothing(line) }
            }
            "guests" => Shape {
                query: Some(self.read.root_schema_for::<GuestsQuestion>()),
                ..nothing(self.told::<GuestList>())
            },
            "guest_inspect" => Shape {
                query: Some(self.read.root_schema_for::<WhichGuest>()),
                ..nothing(self.told::<GuestDetail>())
            },
            "guest_logs" => Shape {
                query: Some(self.read.root_schema_for::<LogsQuestion>()),
                ..nothing(self.told::<GuestLogs>())
            },
            "guest_start" => {
                let line = self.lines::<GuestStatus>();
                Shape { body: Some(self.asked::<GuestOrder>()), ..nothing(line) }
            }
            "guest_restart" => {
                let line = self.lines::<GuestStatus>();
                Shape { body: Some(self.asked::<WhichGuest>()), ..nothing(line) }
            }
            "guest_stop" | "guest_remove" => {
                let line = self.lines::<GuestDone>();
                Shape { body: Some(self.asked::<WhichGuest>()), ..nothing(line) }
            }
            "guest_exec" => {
                let line = self.lines::<Executed>();
                Shape { body: Some(self.asked::<ExecOrder>()), ..nothing(line) }
            }
            "guest_reset" => {
                let line = self.lines::<ResetDone>();
                Shape { body: Some(self.asked::<ResetOrder>()), ..nothing(line) }
            }
            "networks" => Shape {
                query: Some(self.read.root_schema_for::<OwnNetworksQuestion>()),
                ..nothing(self.told::<OwnNetworkList>())
            },
            "network_create" => {
                let line = self.lines::<OwnNetworkStatus>();
                Shape { body: Some(self.asked::<WhichNetwork>()), ..nothing(line) }
            }
            "network_remove" => {
                let line = self.lines::<GuestDone>();
                Shape { body: Some(self.asked::<WhichNetwork>()), ..nothing(line) }
            }
            "groups" => Shape {
                query: Some(self.read.root_schema_for::<OfHub>()),
                ..nothing(self.told::<Groups>())
            },
            "group_members" => Shape {
                query: Some(self.read.root_schema_for::<OfGroup>()),
                ..nothing(self.told::<Members>())
            },
            "group_create" | "group_delete" => {
                Shape { body: Some(self.asked::<GroupOrder>()), ..nothing(self.told::<Changed>()) }
            }
            "group_add" | "group_remove" => {
                Shape { body: Some(self.asked::<MemberOrder>()), ..nothing(self.told::<Changed>()) }
            }
            "grants" => Shape {
                query: Some(self.read.root_schema_for::<OfHub>()),
                ..nothing(self.told::<Grants>())
            },
            "access_report" => nothing(self.told::<AccessReport>()),
            "grant_set" => {
                Shape { body: Some(self.asked::<GrantOrder>()), ..nothing(self.told::<Changed>()) }
            }
            other => panic!("no types are known of the call {other}"),
        }
    }
}

/// The document as table and types have it.
pub(super) fn document() -> Value {
    let mut generators = Generators::new();
    let mut paths: Map<String, Value> = Map::new();
    for route in TABLE {
        let shape = generators.shape(route.id);
        let failure = generators.told::<Failure>().1;
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.verb.method().as_str().to_lowercase()] = operation(route, &shape, &failure);
    }
    let mut schemas = generators.read.take_definitions(true);
    for (name, schema) in generators.written.take_definitions(true) {
        let before = schemas.insert(name.clone(), schema.clone());
        assert!(before.is_none_or(|before| before == schema), "two types are called {name}");
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "enforcer control API",
            "version": "1",
            "description": DESCRIPTION,
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "http://localhost", "description": "unix:///run/enforcer/control.sock" }],
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

fn operation(route: &Route, shape: &Shape, failure: &Schema) -> Value {
    let roles = route.roles.iter().map(|role| match role {
        RoleKind::Admin => "admin",
        RoleKind::Hub => "hub",
    });
    let (kind, answer) = &shape.answer;
    let said = match *kind {
        JSON => "Done.",
        _ => "Begun: a JSON object a line, as it goes on; the last has `done` or `error`.",
    };
    let mut operation = json!({
        "operationId": route.id,
        "summary": route.summary,
        "x-roles": roles.collect::<Vec<_>>(),
        "responses": {
            "200": { "description": said, "content": { *kind: { "schema": answer } } },
            "default": {
                "description": "Not done, and why.",
                "content": { JSON: { "schema": failure } },
            },
        },
    });
    if let Some(query) = &shape.query {
        operation["parameters"] = parameters(query);
    }
    if let Some(body) = &shape.body {
        operation["requestBody"] =
            json!({ "required": true, "content": { JSON: { "schema": body } } });
    }
    assert!(shape.query.is_none() || route.verb == Verb::Get, "a query changes nothing");
    operation
}

/// The fields of a type, as parameters of a query.
fn parameters(query: &Schema) -> Value {
    let query = query.as_value();
    let required = query["required"].as_array().cloned().unwrap_or_default();
    let fields = query["properties"].as_object().cloned().unwrap_or_default();
    let parameters = fields.into_iter().map(|(name, mut schema)| {
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        let required = required.contains(&json!(name));
        // A query has no null: what is not there is left out.
        if let Some(kind) = schema["type"].as_array().and_then(|kinds| kinds.first()).cloned() {
            schema["type"] = kind;
        }
        json!({
            "name": name, "in": "query", "required": required,
            "description": description, "schema": schema,
        })
    });
    parameters.collect()
}

/// Rust's names of integers are no formats, and a comment's lines are one.
fn tidy(schema: &mut Schema) {
    let Some(fields) = schema.as_object_mut() else { return };
    let is_rust_s = |format: &Value| format.as_str().is_some_and(|text| text.starts_with("uint"));
    if fields.get("format").is_some_and(is_rust_s) {
        fields.remove("format");
    }
    if let Some(Value::String(text)) = fields.get_mut("description") {
        *text = text.replace('\n', " ");
    }
}
