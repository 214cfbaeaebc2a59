//! systemd's journal: each record an entry with fields, in its native protocol (systemd,
//! `docs/JOURNAL_NATIVE_PROTOCOL.md`): one datagram, `FIELD=value` a line.

use std::{
    fmt::Write as _, io, os::unix::net::UnixDatagram, path::PathBuf, sync::Arc, time::Duration,
};

use serde_json::{Map, Value};

use super::Sink;
use crate::audit::stream::Line;

/// Where the journal listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";
/// Longest value of a field, characters: an entry must fit a datagram, or nothing after it gets through.
const MAX_VALUE: usize = 4096;
/// Longest wait for a journal that does not read; then it is tried again.
const PATIENCE: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    socket: Option<UnixDatagram>,
    /// Number of the last record that was sent.
    sent: Option<u64>,
}

impl Journal {
    /// Sends to the socket at `path`.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path, socket: None, sent: None }
    }

    fn send(&mut self, entry: &[u8]) -> io::Result<()> {
        let socket = if let Some(socket) = self.socket.take() {
            socket
        } else {
            let socket = UnixDatagram::unbound()?;
            socket.set_write_timeout(Some(PATIENCE))?;
            // By name each time a new journal may be there.
            socket.connect(&self.path)?;
            socket
        };
        socket.send(entry)?;
        self.socket = Some(socket);
        Ok(())
    }
}

impl Sink for Journal {
    fn name(&self) -> &'static str {
        "journald"
    }

    fn take(&mut self, lines: &[Arc<Line>]) -> io::Result<()> {
        for line in lines {
            // What was sent before an error is offered again.
            if self.sent.is_some_and(|sent| line.seq <= sent) {
                continue;
            }
            self.send(entry(line).as_bytes())?;
            self.sent = Some(line.seq);
        }
        Ok(())
    }

    fn settle(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The entry of a record.
fn entry(line: &Line) -> String {
    let fields: Map<String, Value> = serde_json::from_str(&line.text).unwrap_or_default();
    let text = |key: &str| fields.get(key).map(plain).unwrap_or_default();
    let mut entry = String::new();
    // Severity as in RFC 5424: a denial is a notice, a loss or what is outside a warning.
    let priority = match text("event.action").as_str() {
        "loss" | "gap" | "outside" | "repair" => 4,
        "unseen" => 4,
        "denied" | "connect_refused" | "socket_refused" => 5,
        _ => 6,
    };
    field(&mut entry, "MESSAGE", &message(&text));
    field(&mut entry, "PRIORITY", &priority.to_string());
    field(&mut entry, "SYSLOG_IDENTIFIER", "enforcer");
    for (key, value) in &fields {
        field(&mut entry, &name(key), &plain(value));
    }
    entry
}

/// A record's field as systemd's journal names fields: capitals, digits and underscores, and none
/// of its own at the start. `source.ip` is `ENFORCER_SOURCE_IP`, `enforcer.cause` `ENFORCER_CAUSE`.
fn name(key: &str) -> String {
    let key = key.strip_prefix("enforcer.").unwrap_or(key);
    let key = key.trim_start_matches('@').replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    format!("ENFORCER_{}", key.to_ascii_uppercase())
}

/// One line for people.
fn message(text: &impl Fn(&str) -> String) -> String {
    let kind = text("event.action");
    let mut words = kind.clone();
    for (word, key) in [
        ("guest", "container.name"),
        ("network", "network.name"),
        ("event", "enforcer.event"),
        ("what", "enforcer.what"),
        ("why", "enforcer.why"),
        ("to", "enforcer.to"),
        ("reason", "event.reason"),
        ("cause", "enforcer.cause"),
        ("count", "enforcer.count"),
        ("process", "process.name"),
        ("executable", "process.executable"),
        ("name", "dns.question.name"),
        ("type", "dns.question.type"),
        ("outcome", "enforcer.outcome"),
    ] {
        let value = text(key);
        if !value.is_empty() {
            let _ = write!(words, " {word}={value}");
        }
    }
    let (source, destination) = (text("source.ip"), text("destination.ip"));
    if !destination.is_empty() {
        let (from, to) = (text("source.port"), text("destination.port"));
        if !source.is_empty() {
            let _ = write!(words, " {source} {from}");
        }
        let _ = write!(words, " > {destination} {to} protocol {}", text("network.iana_number"));
    }
    words
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A value with a line feed would begin another field: it becomes a blank, as every control
/// character does.
fn field(entry: &mut String, name: &str, value: &str) {
    let plain = value.chars().map(|c| if c.is_control() { ' ' } else { c });
    let value: String = plain.take(MAX_VALUE).collect();
    // Writing to a string cannot fail.
    let _ = writeln!(entry, "{name}={value}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::queue::Account;

    fn line(seq: u64, container: &str) -> Arc<Line> {
        let text = serde_json::json!({
            "enforcer.v": 1, "event.sequence": seq, "event.action": "denied", "container.name": container, "event.reason": "policy",
            "source.ip": "10.0.0.2", "destination.ip": "192.0.2.1", "destination.port": 25, "network.iana_number": 6,
        });
        let time = "t".to_owned();
        Arc::new(Line { seq, time, mono_ns: 1, account: Account::Nothing, text: text.to_string() })
    }

    fn receive(socket: &UnixDatagram) -> String {
        let mut bytes = vec![0; 1 << 16];
        let length = socket.recv(&mut bytes).expect("an entry");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[test]
    fn f16_f18_entries_have_fields_and_a_journal_that_was_away_gets_them() {
        let dir = std::env::temp_dir().join(format!("enforcer-journal-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let path = dir.join("socket");
        let mut sink = Journal::new(path.clone());
        let lines = [line(1, "ann\nPRIORITY=0\u{1b}[2J"), line(2, "ben")];
        assert!(sink.take(&lines).is_err(), "nobody listens");

        let socket = UnixDatagram::bind(&path).expect("bound");
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
        assert!(sink.take(&lines).is_ok());
        let first = receive(&socket);
        assert_eq!(
            first.lines().filter(|line| line.starts_with("PRIORITY=")).count(),
            1,
            "{first}"
        );
        for wanted in [
            "PRIORITY=5",
            "SYSLOG_IDENTIFIER=enforcer",
            "ENFORCER_EVENT_SEQUENCE=1",
            "ENFORCER_CONTAINER_NAME=ann PRIORITY=0 [2J",
            "ENFORCER_DESTINATION_PORT=25",
        ] {
            assert!(first.lines().any(|line| line == wanted), "{wanted}: {first}");
        }
        assert!(receive(&socket).contains("ENFORCER_EVENT_SEQUENCE=2"));

        // However long a value is.
        assert!(sink.take(&[line(3, &"x".repeat(1 << 20))]).is_ok());
        let long = receive(&socket);
        assert!(
            long.contains("ENFORCER_EVENT_SEQUENCE=3") && long.len() < 5 * MAX_VALUE,
            "{}",
            long.len()
        );

        // The journal restarts: its socket is another one. What was sent is not sent again.
        drop(socket);
        std::fs::remove_file(&path).expect("removed");
        assert!(sink.take(&[line(4, "cat")]).is_err(), "nobody listens any more");
        let socket = UnixDatagram::bind(&path).expect("bound");
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
        assert!(sink.take(&[line(2, "ben"), line(4, "cat")]).is_ok());
        assert!(receive(&socket).contains("ENFORCER_EVENT_SEQUENCE=4"));
        std::fs::remove_dir_all(&dir).expect("removed");
    }
}
