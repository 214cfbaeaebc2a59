//! What an answer means. Pure; time is an argument.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::{
    HeaderMap, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use prost::Message as _;
use serde_json::Value;

use super::plain;

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// What it means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Everything was taken.
    Taken,
    /// So many were not; none: a warning.
    Partly {
        /// How many.
        rejected: u64,
        /// What the collector says.
        why: String,
    },
    /// Nothing was taken, and the same is not to be sent again.
    Refused {
        /// What the collector says.
        why: String,
    },
    /// The same in smaller pieces may be taken.
    TooLarge {
        /// What the collector says.
        why: String,
    },
    /// Nothing was taken: later perhaps.
    Later {
        /// When, if the collector says.
        after: Option<Duration>,
        /// What it says.
        why: String,
    },
}

/// google.rpc.Status, which OTLP has errors in; its details are for programs.
#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
}

/// Reads an answer.
pub(super) fn read(reply: &Reply, now: SystemTime) -> Answer {
    let status = reply.status;
    if status.is_success() {
        return taken(reply);
    }
    let why = why(reply);
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Answer::Later { after: after(&reply.headers, now), why },
        StatusCode::PAYLOAD_TOO_LARGE => Answer::TooLarge { why },
        _ if status.is_client_error() || status.is_server_error() => Answer::Refused { why },
        // A redirect, which nobody follows: where records go is in the config.
        _ => Answer::Later { after: None, why },
    }
}

fn taken(reply: &Reply) -> Answer {
    if reply.body.is_empty() {
        return Answer::Taken;
    }
    let partial = match media_type(&reply.headers) {
        "application/x-protobuf" => ExportLogsServiceResponse::decode(&*reply.body)
            .ok()
            .map(|response| response.partial_success.unwrap_or_default())
            .map(|partial| (partial.rejected_log_records, partial.error_message)),
        "application/json" => {
            serde_json::from_slice(&reply.body).ok().and_then(|json| of_json(&json))
        }
        _ => None,
    };
    match partial {
        Some((rejected, why)) if rejected > 0 || !why.is_empty() => {
            Answer::Partly { rejected: u64::try_from(rejected).unwrap_or(0), why: plain(&why) }
        }
        Some(_) => Answer::Taken,
        // Whatever listens there might take anything and keep nothing.
        None => {
            let why = format!("{} without an answer of OTLP: what is at `endpoint`?", reply.status);
            Answer::Later { after: None, why }
        }
    }
}

/// What a collector rejected, as JSON has it: 64-bit numbers may be strings.
fn of_json(json: &Value) -> Option<(i64, String)> {
    json.as_object()?;
    let partial = &json["partialSuccess"];
    let rejected = &partial["rejectedLogRecords"];
    let rejected = rejected.as_i64().or_else(|| rejected.as_str()?.parse().ok());
    let why = partial["errorMessage"].as_str().unwrap_or_default();
    Some((rejected.unwrap_or(0), why.to_owned()))
}

/// The status, and what the collector says about it.
fn why(reply: &Reply) -> String {
    let said = match media_type(&reply.headers) {
        "application/x-protobuf" => Status::decode(&*reply.body).map(|it| it.message).ok(),
        "application/json" => serde_json::from_slice::<Value>(&reply.body)
            .ok()
            .and_then(|json| Some(json["message"].as_str()?.to_owned())),
        "text/plain" => Some(String::from_utf8_lossy(&reply.body).into_owned()),
        _ => None,
    };
    match said.map(|said| plain(&said)).filter(|said| !said.is_empty()) {
        Some(said) => format!("{}: {said}", reply.status),
        None => reply.status.to_string(),
    }
}

fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split_once(';').map_or(value, |(media_type, _)| media_type).trim()
}

/// `Retry-After`: seconds, or a date.
fn after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(value)
            .ok()
            .map(|date| date.duration_since(now).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsPartialSuccess;

    use super::*;

    fn reply(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Reply {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")));
        let status = StatusCode::from_u16(status).expect("a status");
        Reply { status, headers: headers.collect(), body: Bytes::copy_from_slice(body) }
    }

    #[test]
    fn answers_mean_what_the_specification_says() {
        const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
        const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");
        const TEXT: (&str, &str) = ("content-type", "text/plain");
        let partial = |rejected, why: &str| {
            let partial = ExportLogsPartialSuccess {
                rejected_log_records: rejected,
                error_message: why.to_owned(),
            };
            ExportLogsServiceResponse { partial_success: Some(partial) }.encode_to_vec()
        };
        let partly = |rejected, why: &str| Answer::Partly { rejected, why: why.to_owned() };
        let refused = |why: &str| Answer::Refused { why: why.to_owned() };
        let later = |seconds: Option<u64>, why: &str| Answer::Later {
            after: seconds.map(Duration::from_secs),
            why: why.to_owned(),
        };
        let error = Status { message: "no\u{1b}[31m".to_owned() }.encode_to_vec();
        let elsewhere = "200 OK without an answer of OTLP: what is at `endpoint`?";
        let date = ("retry-after", "Thu, 01 Jan 1970 00:02:00 GMT");
        let past = ("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT");
        for (reply, expected) in [
            (reply(200, &[PROTOBUF], &[]), Answer::Taken),
            (reply(204, &[], &[]), Answer::Taken),
            (reply(200, &[PROTOBUF], &partial(0, "")), Answer::Taken),
            (reply(200, &[PROTOBUF], &partial(-4, "")), Answer::Taken),
            (reply(200, &[PROTOBUF], &partial(0, "old")), partly(0, "old")),
            (reply(200, &[PROTOBUF], &partial(3, "no room\n")), partly(3, "no room")),
            (reply(202, &[JSON], b"{}"), Answer::Taken),
            (
                reply(200, &[JSON], br#"{"partialSuccess":{"rejectedLogRecords":"2"}}"#),
                partly(2, ""),
            ),
            (reply(200, &[("content-type", "text/html")], b"<p>It works!"), later(None, elsewhere)),
            (reply(200, &[PROTOBUF], b"\xff"), later(None, elsewhere)),
            (reply(200, &[JSON], b"[]"), later(None, elsewhere)),
            (reply(301, &[], &[]), later(None, "301 Moved Permanently")),
            (reply(400, &[PROTOBUF], &error), refused("400 Bad Request: no [31m")),
            (reply(401, &[JSON], br#"{"message":"who?"}"#), refused("401 Unauthorized: who?")),
            (reply(404, &[TEXT], b"here?"), refused("404 Not Found: here?")),
            (reply(500, &[], b"?"), refused("500 Internal Server Error")),
            (reply(501, &[], &[]), refused("501 Not Implemented")),
            (reply(413, &[], &[]), Answer::TooLarge { why: "413 Payload Too Large".to_owned() }),
            (reply(429, &[], &[]), later(None, "429 Too Many Requests")),
            (reply(502, &[], &[]), later(None, "502 Bad Gateway")),
            (reply(503, &[("retry-after", "7")], &[]), later(Some(7), "503 Service Unavailable")),
            (reply(503, &[date], &[]), later(Some(60), "503 Service Unavailable")),
            (reply(503, &[past], &[]), later(Some(0), "503 Service Unavailable")),
            (reply(504, &[("retry-after", "soon")], &[]), later(None, "504 Gateway Timeout")),
        ] {
            let now = SystemTime::UNIX_EPOCH + Duration::from_mins(1);
            assert_eq!(read(&reply, now), expected, "{reply:?}");
        }
    }
}
