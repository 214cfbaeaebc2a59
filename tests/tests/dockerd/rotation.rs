//! Files that rotate under load, read along from outside, by a daemon whose clock is set meanwhile.

use std::{
    collections::BTreeSet,
    fs::File,
    io::Read as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, bail, ensure};
use enforcer_tests::{
    harness::{
        artifacts,
        clock::Clock,
        enforcer::Settings,
        residue::Snapshot,
        run::wait_for,
        topology::{GATEWAY, HUB_PORT, NOTEBOOK_PORT},
    },
    protocol::Request,
};
use serde_json::Value;

use crate::{
    flood::{Talk, long, start},
    kept::{directory, kept, records, segment, verify},
    storm::{Accounts, Storm, ensure_accounted, ensure_contiguous, numbered},
};

/// Somebody who reads the files as they come, as a log shipper does, and knows nothing of the store
/// but its names: segments are numbered, the live one grows, closed ones become gzip files.
struct Shipper {
    stop: Arc<AtomicBool>,
    task: thread::JoinHandle<Result<Shipped>>,
}

struct Shipped {
    lines: Vec<String>,
    /// Segments that were read while they grew, and ones that were packed before they were opened.
    grown: usize,
    packed: usize,
}

impl Shipper {
    fn start(dir: &Path) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let (dir, until) = (dir.to_owned(), Arc::clone(&stop));
        let task = thread::spawn(move || {
            let mut shipped = Shipped { lines: Vec::new(), grown: 0, packed: 0 };
            let mut number = 1;
            while ship(&dir, number, &until, &mut shipped)? {
                number += 1;
            }
            Ok(shipped)
        });
        Self { stop, task }
    }

    fn end(self) -> Result<Shipped> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.join().map_err(|panic| anyhow::anyhow!("the shipper: {panic:?}"))?
    }
}

/// Reads one segment to its end; false: it is the last one.
fn ship(dir: &Path, number: u64, stop: &AtomicBool, shipped: &mut Shipped) -> Result<bool> {
    let plain = |number: u64| dir.join(format!("{number:010}.jsonl"));
    let packed = |number: u64| dir.join(format!("{number:010}.jsonl.gz"));
    let Ok(mut file) = File::open(plain(number)) else {
        let text = segment(dir, number)?;
        ensure!(text.ends_with('\n'), "segment {number} ends within a line");
        shipped.lines.extend(text.lines().map(str::to_owned));
        shipped.packed += 1;
        return Ok(true);
    };
    shipped.grown += 1;
    let mut text = String::new();
    loop {
        // Looked up before the read: what ended by then is read wholly.
        let stopped = stop.load(Ordering::Relaxed);
        let has_next = plain(number + 1).exists() || packed(number + 1).exists();
        let length = file.read_to_string(&mut text)?;
        let whole = text.rfind('\n').map_or(0, |place| place + 1);
        shipped.lines.extend(text.drain(..whole).as_str().lines().map(str::to_owned));
        if (has_next || stopped) && length == 0 {
            ensure!(text.is_empty(), "segment {number} ends within a line: {text}");
            return Ok(has_next);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// By so much a clock is wrong, s.
const DAY: i64 = 86_400;
/// Keeps a day's records, as few of them as it can in one file.
const KEPT_A_DAY: &str = "segment_mib = 1\nkeep_days = 1\n";

/// A1, F07, F19, F20: of what each of two guests says it sent for each reason, each frame is a record
/// or in a loss record; whoever follows the files while they rotate and are compressed reads each line
/// once and whole; and a wall clock that is set a day ahead, a day back and right again meanwhile ends
/// no flow, deletes nothing, and leaves every number at its place.
///
/// The clock is set for the daemon alone, by a library that is preloaded into it: the machine's is also
/// everybody else's. What the kernel's programs make of a machine's own clock is `vmtest`'s to prove.
#[test]
fn a1_f07_f19_f20_storms_add_up_while_files_rotate_and_the_clock_is_set() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let seconds = if long() { 60 } else { 14 };
    let residue = Snapshot::take();
    let (owner, dir) = directory("storm")?;
    let clock = Clock::make(owner.path())?;
    let environment = clock.environment();
    let (rig, daemon) = start(&Settings { environment, ..kept(&dir, KEPT_A_DAY) })?;
    let host = &rig.host.actor;
    let talk = Talk::open(host, &rig)?;
    let brief = host.hold(rig.a.at(NOTEBOOK_PORT), 2000)?.id.context("no connection")?;
    let begun = SystemTime::now();
    let reader = Shipper::start(&dir);
    let storm = Storm::start(&rig, seconds)?;
    thread::sleep(Duration::from_secs(1));
    // The store looks for what is too old every 10 s.
    for (offset, rest) in [(DAY + 60, 11), (-DAY, 1), (0, 0)] {
        clock.set(offset)?;
        talk.go_on(&format!("{offset} s off"))?;
        ensure!(rig.a.actor.connect((GATEWAY, HUB_PORT), 2000)?.errno.is_none(), "{offset}: hub");
        if offset > 0 {
            host.call::<()>(&Request::Close { id: brief, reset: true })?;
        }
        thread::sleep(Duration::from_secs(rest));
    }
    talk.go_on("all the time")?;
    let sent = storm.end()?;
    // By then the one that was closed has ended; it lingers for 10 s.
    let is_end = |record: &&Value| {
        record["event.action"] == "flow_closed" && record["destination.port"] == NOTEBOOK_PORT
    };
    wait_for("the flow's end", Duration::from_secs(15), || {
        Ok(records(&dir)?.iter().find(is_end).map(drop))
    })?;
    let found = ensure_accounted("the files", &sent, || records(&dir))?;
    let accounts = Accounts::of(&found);
    for key in sent.keys() {
        ensure!(accounts.written.contains_key(key), "nothing is written of {key:?}");
    }
    ensure_both_clocks(&found)?;
    let (code, text) = verify(&rig, &dir)?;
    ensure!(code == 0, "{code}: {text}");

    // And only that one.
    let ended: Vec<_> = found.iter().filter(is_end).collect();
    let [ended] = ended[..] else { bail!("these flows ended: {ended:?}") };
    ensure!(ended["enforcer.cause"] == "closed", "{ended}");
    ensure!(ended["event.duration"].as_u64() < Some(60_000_000_000), "{ended}");
    let closed = ended["source.port"].as_u64().context("no port")?;
    let open = found
        .iter()
        .filter(|record| record["event.action"] == "flow_opened")
        .filter(|record| record["destination.port"] == NOTEBOOK_PORT)
        .filter_map(|record| record["source.port"].as_u64())
        .find(|port| *port != closed)
        .context("the conversation was not recorded")?;
    // Who talked at that time is known, whatever the clock said later.
    let at = begun + Duration::from_secs(1);
    let at = enforcer::audit::record::Clock { wall: at, mono_ns: 0 }.rfc3339(0);
    let mut query = rig.host.command(artifacts::enforcer().context("no binary")?);
    query.args(["audit", "query", "--json", "--at", &at, "--to"]);
    query.arg(rig.a.at(NOTEBOOK_PORT).to_string()).arg("--dir").arg(&dir);
    let output = query.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    for port in [open, closed] {
        let is = |line: &str| line.contains(&format!("\"source.port\":{port},"));
        ensure!(text.lines().any(is), "port {port} is not in what was open at {at}: {text}");
    }

    daemon.stop()?;
    let shipped = reader.end()?;
    let told: Vec<Value> = shipped
        .lines
        .iter()
        .map(|line| serde_json::from_str(line).with_context(|| format!("not a line: {line}")))
        .collect::<Result<_>>()?;
    let last = records(&dir)?;
    ensure!(told == last, "{} lines were shipped, {} stored", told.len(), last.len());
    let numbered = numbered(told);
    ensure!(numbered.first().is_some_and(|record| record["event.sequence"] == 1), "not from 1");
    ensure!(ensure_contiguous("the files", &numbered)? == 0, "the files have a gap");
    let deleted = numbered.iter().find(|record| record["event.action"] == "retention");
    ensure!(deleted.is_none(), "a clock that was set deleted records: {deleted:?}");
    let segments = shipped.grown + shipped.packed;
    println!(
        "{} frames, {} written, {} lines; {segments} segments, {} packed before they were read",
        sent.values().sum::<u64>(),
        accounts.written.values().sum::<u64>(),
        numbered.len(),
        shipped.packed
    );
    ensure!(segments >= 4, "only {segments} segments");
    rig.stop()?;
    residue.ensure_nothing_new()
}

/// Wall time is days apart, the clock that nobody sets a minute or two, and it goes on and on.
fn ensure_both_clocks(records: &[Value]) -> Result<()> {
    let walls = records.iter().filter_map(|record| record["@timestamp"].as_str());
    let days: BTreeSet<_> = walls.filter_map(|wall| wall.get(..10)).collect();
    ensure!(days.len() >= 3, "{days:?}");
    let steady: Vec<u64> = records
        .iter()
        .filter(|record| record["event.action"] == "loss")
        .filter_map(|record| record["enforcer.monotonic_ns"].as_u64())
        .collect();
    ensure!(steady.len() > 10 && steady.is_sorted(), "the steady clock jumps: {steady:?}");
    let span = steady.last().unwrap_or(&0) - steady.first().unwrap_or(&0);
    ensure!(span < 180_000_000_000, "{span} ns");
    Ok(())
}
