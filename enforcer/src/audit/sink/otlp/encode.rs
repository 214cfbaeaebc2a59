//! Lines as a request. Pure; time and the host's name are arguments.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber},
    resource::v1::Resource,
};
use prost::Message as _;
use serde::Deserialize as _;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::audit::{
    record::{Body, Record},
    store::{hex, time},
    stream::Line,
};

/// What the names of events begin with.
const EVENTS: &str = "enforcer";
/// Which part of the program speaks.
const SCOPE: &str = "enforcer.audit";
/// Attribute by which a receiver finds a record that came twice.
const UID: &str = "log.record.uid";
/// Bytes of it.
const UID_BYTES: usize = 16;

/// Turns lines into requests.
#[derive(Debug)]
pub(super) struct Encoder {
    host: String,
    resource: Resource,
    scope: InstrumentationScope,
}

impl Encoder {
    pub(super) fn new(host: &str) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let attributes =
            [("service.name", "enforcer"), ("service.version", version), ("host.name", host)];
        let attributes = attributes.map(|(key, value)| attribute(key, text(value)));
        let scope = InstrumentationScope {
            name: SCOPE.to_owned(),
            version: version.to_owned(),
            ..InstrumentationScope::default()
        };
        let resource = Resource { attributes: attributes.into(), ..Resource::default() };
        Self { host: host.to_owned(), resource, scope }
    }

    /// The body of a request.
    pub(super) fn request(&self, lines: &[Arc<Line>], now: SystemTime) -> Bytes {
        let observed = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let log_records = lines.iter().map(|line| self.record(line, observed)).collect();
        let scope = Some(self.scope.clone());
        let scope_logs = vec![ScopeLogs { scope, log_records, ..ScopeLogs::default() }];
        let resource = Some(self.resource.clone());
        let resource_logs = vec![ResourceLogs { resource, scope_logs, ..ResourceLogs::default() }];
        ExportLogsServiceRequest { resource_logs }.encode_to_vec().into()
    }

    fn record(&self, line: &Line, observed: Duration) -> LogRecord {
        let fields: Value = serde_json::from_str(&line.text).unwrap_or_default();
        let body = Record::deserialize(&fields).ok().map(|record| record.body);
        let (severity, word) = severity(body.as_ref());
        let fields = if let Value::Object(fields) = fields { fields } else { Map::new() };
        let mut attributes: Vec<_> =
            fields.into_iter().map(|(key, value)| attribute(&key, any(value))).collect();
        attributes.push(attribute(UID, text(&self.uid(line))));
        LogRecord {
            time_unix_nano: time::micros(&line.time).unwrap_or_default().saturating_mul(1000),
            observed_time_unix_nano: u64::try_from(observed.as_nanos()).unwrap_or(u64::MAX),
            severity_number: severity.into(),
            severity_text: word.to_owned(),
            body: Some(text(&line.text)),
            attributes,
            event_name: body.map_or_else(String::new, |body| format!("{EVENTS}.{}", body.kind())),
            ..LogRecord::default()
        }
    }

    /// The same for the same line of the same host, and for no other: numbers alone come again where
    /// no files are kept.
    fn uid(&self, line: &Line) -> String {
        let mut hash = Sha256::new();
        hash.update(&self.host);
        hash.update([0]);
        hash.update(&line.text);
        hex::encode(hash.finalize().get(..UID_BYTES).unwrap_or_default())
    }
}

/// What somebody may have to look at is a warning.
fn severity(body: Option<&Body>) -> (SeverityNumber, &'static str) {
    match body {
        Some(
            Body::Denied(_) | Body::Loss(_) | Body::Gap(_) | Body::Outside(_) | Body::Abuse(_),
        ) => (SeverityNumber::Warn, "WARN"),
        _ => (SeverityNumber::Info, "INFO"),
    }
}

fn attribute(key: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

fn text(text: &str) -> AnyValue {
    AnyValue { value: Some(any_value::Value::StringValue(text.to_owned())) }
}

fn any(value: Value) -> AnyValue {
    use any_value::Value as To;
    let value = match value {
        Value::Null => None,
        Value::Bool(value) => Some(To::BoolValue(value)),
        Value::String(value) => Some(To::StringValue(value)),
        Value::Number(number) => Some(match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => To::IntValue(number),
            // A whole number that is too large would lose digits as a float.
            (None, Some(float)) if !number.is_u64() => To::DoubleValue(float),
            _ => To::StringValue(number.to_string()),
        }),
        Value::Array(values) => {
            let values = values.into_iter().map(any).collect();
            Some(To::ArrayValue(ArrayValue { values }))
        }
        Value::Object(fields) => {
            let values = fields.into_iter().map(|(key, value)| attribute(&key, any(value)));
            Some(To::KvlistValue(KeyValueList { values: values.collect() }))
        }
    };
    AnyValue { value }
}
