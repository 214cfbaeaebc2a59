//! `enforcer events`: the stream as the daemon has it in memory, and as it goes on.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context as _;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    sync::mpsc,
};

use super::{EventsArgs, Exit};
use crate::{
    audit::{
        follow::{self, Wish},
        record::{
            Abuse, AccessChange, AllowanceChange, Body, FlowClosed, GateCall, Life, Record, shown,
        },
        store::{Reveal, moment},
    },
    dashboard::Heard,
};

/// Shows records.
pub(super) async fn events(args: &EventsArgs) -> anyhow::Result<Exit> {
    let run_dir = match args.at.directories() {
        Ok((run_dir, _)) => run_dir,
        Err(error) => {
            eprintln!("{error}");
            return Ok(Exit::Usage);
        }
    };
    let mut names = Names::new(args.at.records());
    let path = follow::path(&run_dir);
    let wish = Wish { from: args.from, follow: args.follow };
    let stream = match ask(&path, wish).await {
        Ok(stream) => stream,
        Err(error) => {
            eprintln!(
                "enforcer: nobody tells events at {}: {error}; {}",
                path.display(),
                advice(error.kind())
            );
            return Ok(Exit::Error);
        }
    };
    let mut lines = BufReader::new(stream).lines();
    let mut output = io::stdout().lock();
    let wide = !args.json && output.is_terminal();
    if !args.json {
        writeln!(output, "{HEAD}")?;
    }
    while let Some(line) = lines.next_line().await? {
        let read = |line: &str| -> anyhow::Result<Record> {
            serde_json::from_str(line)
                .with_context(|| format!("not a record of this version: {line}"))
        };
        let told = names.line(&line);
        let record = read(&told)?;
        // Asked for by the name, or by the pseudonym.
        if !args.wants(&record) && (told == line || !args.wants(&read(&line)?)) {
            continue;
        }
        let line = told;
        let written = if args.json {
            writeln!(output, "{line}")
        } else {
            writeln!(output, "{}", row(&record, wide))
        };
        match written.and_then(|()| output.flush()) {
            // `head` has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            outcome => outcome?,
        }
    }
    Ok(Exit::Ok)
}

fn advice(error: io::ErrorKind) -> &'static str {
    match error {
        io::ErrorKind::PermissionDenied => "call as root (sudo)",
        _ => "is the daemon running?",
    }
}

/// Names of pseudonyms, read again when there may be new ones.
pub(super) struct Names {
    dir: PathBuf,
    reveal: Reveal,
    read: Instant,
}

impl Names {
    pub(super) fn new(dir: PathBuf) -> Self {
        let (reveal, why) = Reveal::try_read(&dir);
        if let Some(why) = why {
            eprintln!("enforcer: {why}");
        }
        Self { dir, reveal, read: Instant::now() }
    }

    pub(super) fn line(&mut self, line: &str) -> String {
        if line.contains(UNKNOWN) && self.read.elapsed() > FRESH {
            self.read = Instant::now();
            self.reveal = Reveal::try_read(&self.dir).0;
        }
        String::from_utf8_lossy(&self.reveal.line(line.as_bytes())).into_owned()
    }
}

/// Asks the daemon for records.
pub(super) async fn ask(path: &Path, wish: Wish) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(path).await?;
    let mut question = serde_json::to_vec(&wish)?;
    question.push(b'\n');
    stream.write_all(&question).await?;
    Ok(stream)
}

/// Follows the stream from what the daemon has in memory, for as long as anybody takes it. A daemon that ends is
/// asked again.
pub(super) async fn hear(run_dir: PathBuf, records: PathBuf, to: mpsc::Sender<Heard>) {
    let path = follow::path(&run_dir);
    let mut names = Names::new(records);
    let mut from = None;
    loop {
        let why = match ask(&path, Wish { from, follow: true }).await {
            Ok(stream) => {
                if to.send(Heard::Deaf(String::new())).await.is_err() {
                    return;
                }
                let mut lines = BufReader::new(stream).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    // One of another version is nothing to show.
                    let Ok(record) = serde_json::from_str::<Record>(&names.line(&line)) else {
                        continue;
                    };
                    from = Some(record.seq + 1);
                    if to.send(Heard::Record(Box::new(record))).await.is_err() {
                        return;
                    }
                }
                "the daemon tells no records any more".to_owned()
            }
            Err(error) => format!("records are not told: {}: {error}", path.display()),
        };
        if to.send(Heard::Deaf(why)).await.is_err() {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// How a value begins that is a pseudonym.
const UNKNOWN: &str = "\"p-";
/// For so long names are taken to be all that there are.
const FRESH: Duration = Duration::from_secs(1);
/// A daemon that tells no records is asked again.
const AGAIN: Duration = Duration::from_secs(3);

const HEAD: &str = "time                         kind         guest            what";

impl EventsArgs {
    fn wants(&self, record: &Record) -> bool {
        let value = serde_json::to_value(&record.body).unwrap_or_default();
        let is = |key: &str, wanted: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| value[key].as_str() == Some(wanted))
        };
        is("container.name", &self.guest)
            && is("user.name", &self.user)
            && is("enforcer.hub", &self.hub)
            && is("enforcer.verdict", &self.verdict)
            && is("event.reason", &self.reason)
            && is("event.action", &self.kind)
            && self.since.is_none_or(|since| {
                moment(&record.time, SystemTime::now()).is_ok_and(|time| time >= since)
            })
    }
}

/// A record as people read it. Names come from elsewhere: nothing of them reaches a terminal raw.
fn row(record: &Record, wide: bool) -> String {
    let (kind, guest, what) = cells(&record.body);
    let text = format!("{:<28} {kind:<12} {guest:<16} {what}", record.time);
    let plain = shown(&text);
    // Other programs get whole lines.
    if wide { plain.chars().take(200).collect() } else { plain }
}

fn closed(f: &FlowClosed) -> String {
    format!(
        "{} port {} > {} port {} protocol {}: {}, {} ms, {} packets forth, {} back, {} bytes forth, {} back",
        f.source,
        f.source_port,
        f.destination,
        f.destination_port,
        f.protocol,
        f.cause,
        f.duration_ns / 1_000_000,
        f.source_packets,
        f.destination_packets,
        f.source_bytes,
        f.destination_bytes
    )
}

fn cells(body: &Body) -> (&'static str, &str, String) {
    match body {
        Body::FlowOpened(t) => {
            let would = if t.would_deny.is_some() { ": audit mode" } else { "" };
            ("flow_opened", &t.subject.container, format!("{t}{would}"))
        }
        Body::Denied(t) => {
            let reason = t.reason.as_deref().unwrap_or_default();
            ("denied", &t.subject.container, format!("{t}: {reason}"))
        }
        Body::FlowClosed(f) => ("flow_closed", &f.subject.container, closed(f)),
        Body::Exec(e) => {
            let what = format!(
                "{} ({}), pid {}, user {}",
                e.executable, e.process.name, e.process.pid, e.process.user
            );
            ("exec", &e.subject.container, what)
        }
        Body::ConnectRefused(r) => {
            let to = format!("{} to {} port {}", r.call, r.destination, r.destination_port);
            let by = format!("pid {}, {}", r.process.pid, r.process.name);
            let what = format!("{to} protocol {}: {} ({by})", r.protocol, r.reason);
            ("refused", &r.subject.container, what)
        }
        Body::SocketRefused(r) => {
            let socket = r.socket.as_deref().unwrap_or("an unnamed socket");
            let by = format!("pid {}, {}", r.process.pid, r.process.name);
            let what = format!("{} {socket}: {} ({by})", r.call, r.reason);
            ("refused", &r.subject.container, what)
        }
        Body::DnsQuery(q) => {
            let what = [&q.kind, &q.name, &q.outcome].map(String::as_str).join(" ");
            let addresses = q.addresses.iter().map(|address| format!(" {address}"));
            let what = addresses.fold(what, |what, address| what + &address);
            ("dns_query", &q.subject.container, what.trim_start().to_owned())
        }
        Body::Unseen(u) => ("unseen", &u.container, format!("{}: {}", u.what, u.why)),
        Body::Loss(l) => {
            let cause = serde_json::to_value(l.cause).unwrap_or_default();
            let cause = cause.as_str().unwrap_or_default().to_owned();
            (
                "loss",
                &l.subject.container,
                format!("{} of {} not written: {cause}", l.count, l.reason),
            )
        }
        Body::Gap(g) => {
            ("gap", "", format!("records {} to {} are missing here", g.from_seq, g.to_seq))
        }
        Body::Outside(o) => {
            ("outside", &o.container, format!("{} {}: {} {}", o.why, o.to, o.action, o.outcome))
        }
        Body::Abuse(a) => ("abuse", &a.subject.container, abuse(a)),
        Body::Allowance(a) => ("allowance", &a.subject.container, allowance(a)),
        Body::Repair(r) => (
            "repair",
            "",
            format!("{} {}: missing for {} ms at most", r.what, r.interface, r.gap_ms),
        ),
        Body::Takeover(t) => ("takeover", "", t.event.clone()),
        Body::Stored(s) => {
            let why = s.why.as_deref().unwrap_or_default();
            ("stored", "", format!("{} {} {why}", s.event, s.dir))
        }
        Body::Retention(r) => {
            ("retention", "", format!("records {} to {} are deleted", r.first_seq, r.last_seq))
        }
        Body::Guest(g) => ("guest", &g.subject.container, g.event.clone()),
        Body::Docker(d) => {
            let what = [&d.event, &d.network].map(String::as_str).join(" ");
            ("docker", &d.container, what.trim_end().to_owned())
        }
        Body::Life(l) => ("life", &l.container, life(l)),
        Body::Policy(p) => {
            let mode = if p.audits { ", audit mode" } else { "" };
            ("policy", "", format!("{} {}: {} rules{mode}", p.policy, p.event, p.rules))
        }
        Body::Group(g) => ("group", "", access(&g.event, "", &g.about)),
        Body::Grant(g) => {
            ("grant", "", access(&g.event, g.kind.as_deref().unwrap_or_default(), &g.about))
        }
        Body::Gate(g) => ("gate", "", gate(g)),
        Body::Erased(e) => {
            ("erased", "", format!("the name of {}, {} in all", e.pseudonym, e.count))
        }
        Body::Config(c) => (
            "config",
            "",
            format!("{} {} {}", c.event, c.file, c.why.as_deref().unwrap_or_default()),
        ),
        Body::Daemon(d) => ("daemon", "", format!("{} {} pid {}", d.event, d.version, d.pid)),
    }
}

/// What a guest does too much of, and what is done about it.
fn abuse(a: &Abuse) -> String {
    let measured = |m: u64| format!(" {m}, more than {}", a.threshold.unwrap_or_default());
    let measured = a.measured.map(measured).unwrap_or_default();
    let until = a.until.as_ref().map(|until| format!(" until {until}")).unwrap_or_default();
    let why = if a.why.is_empty() { String::new() } else { format!(": {}", a.why) };
    format!("{}{measured}: {}{until} {}{why}", a.signal, a.answer, a.outcome)
}

/// What is open for a while, or is no longer.
fn allowance(a: &AllowanceChange) -> String {
    let to = format!("{} port {} protocol {}", a.destination, a.destination_port, a.protocol);
    format!("{} {to} until {}: {}", a.event, a.until, a.why)
}

/// What became of a guest that enforcer starts and ends, and whose it is.
fn life(l: &Life) -> String {
    let who = [&*l.hub, l.user.as_deref().unwrap_or_default()].join(" ");
    let what = [&*l.event, &who, l.grant.as_deref().unwrap_or_default(), &l.why, &l.error];
    let what: Vec<&str> = what.into_iter().filter(|word| !word.is_empty()).collect();
    what.join(" ")
}

/// A request at the gate, in one line; whose it is, then what.
fn gate(call: &GateCall) -> String {
    let whose = call
        .user
        .as_deref()
        .map_or_else(|| format!("hub {}", call.hub), |user| format!("{user} of {}", call.hub));
    let count = call.count.map(|count| count.to_string());
    let status = call.status.map(|status| status.to_string());
    let words = [Some(&*call.event), Some(&*call.verdict), Some(&*whose), call.method.as_deref()];
    let words = words.into_iter().chain([call.path.as_deref(), status.as_deref()]);
    let words = words.chain([call.rule.as_deref(), count.as_deref(), call.why.as_deref()]);
    words.flatten().collect::<Vec<_>>().join(" ")
}

/// Who may have a socket, in one line; hub and group, then the user.
fn access(event: &str, kind: &str, about: &AccessChange) -> String {
    let mut line = event.to_owned();
    let place = [&*about.hub, about.group.as_deref().unwrap_or_default()].join(" ");
    let until = about.until.as_ref().map(|until| format!("until {until}"));
    let by = Some(format!("by {}", about.by_name)).filter(|_| !about.by_name.is_empty());
    let words = [Some(kind), Some(&place), about.user.as_deref(), until.as_deref(), by.as_deref()];
    let words = words.into_iter().chain([about.why.as_deref(), Some(&*about.error)]);
    for word in words.flatten().map(str::trim).filter(|word| !word.is_empty()) {
        line.push(' ');
        line.push_str(word);
    }
    line
}
