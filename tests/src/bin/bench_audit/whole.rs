//! The whole: a flood of forbidden frames from real guests through the kernel, the ring and the daemon
//! to the files, and the account of it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use enforcer::audit::{
    loss::reason_value,
    queue::Account,
    record::{Cause, Record},
};
use enforcer_common::abi::{
    counter::{CONNECT_REFUSED, EXEC, FLOW_CLOSED, FLOW_OPENED, SOCKET_REFUSED},
    verdict::DropReason,
};
use enforcer_tests::{
    bench::{Random, process_cpu},
    harness::{
        enforcer::{Count, Counters},
        proof::{NO_DENIALS, rise},
    },
    protocol::Send,
};

use crate::{
    Effort,
    world::{CONFIGS, Policed, Stopped, World},
};

/// Guests of each host.
pub const GUESTS: u8 = 4;
/// Kinds of forbidden frames that each of many guests sends.
const REASONS: usize = 8;
/// Longest wait for a daemon that has more to do.
const PATIENCE: Duration = Duration::from_mins(3);
/// A daemon that takes less of this much time has nothing to do.
const LOOK: Duration = Duration::from_millis(200);
const IDLE: Duration = Duration::from_millis(6);

/// Who floods.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub name: &'static str,
    guests: usize,
    reasons: usize,
}

pub const LOADS: [Load; 2] = [
    Load { name: "one guest, one reason", guests: 1, reasons: 1 },
    Load { name: "4 guests, 8 reasons each", guests: GUESTS as usize, reasons: REASONS },
];

/// What one flood of one host showed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Frames that the senders' kernels took, by their own count.
    pub sent: u64,
    /// Seconds that they sent.
    pub sending: f64,
    /// CPU seconds of the senders; the programs run in their time.
    pub senders_cpu: f64,
    /// CPU seconds of the daemon, until it had nothing more to do.
    pub daemon_cpu: f64,
    /// CPU seconds of the kernel's own threads for packets, whoever's they were.
    pub softirq_cpu: f64,
    /// Records with a number, losses included, and seconds until the last was in the files.
    pub numbered: u64,
    pub writing: f64,
    /// What the kernel counted.
    pub kernel: Count,
    /// Records that the daemon lost itself.
    pub queue_lost: u64,
}

/// Where the denials of a host with files are, in the end.
#[derive(Clone, Debug, Default)]
pub struct Settled {
    /// In all floods, by the senders' own count.
    pub sent: u64,
    /// Denials besides, of what guests' kernels say of themselves when they start.
    pub beside: u64,
    pub written: u64,
    pub lost: BTreeMap<Cause, u64>,
    /// Most memory that the daemon ever had, KiB.
    pub peak_kib: u64,
    /// Seconds to verify the store, and to find what was open to an address at a moment in it.
    pub verify: f64,
    pub query: f64,
    /// Records in it, and bytes of its files.
    pub records: u64,
    pub bytes: u64,
}

impl Settled {
    /// Whether what happened is written or told to be lost, exactly.
    pub fn is_exact(&self) -> bool {
        self.sent + self.beside == self.written + self.lost.values().sum::<u64>()
    }
}

/// Every flood of every host by host and load, and what became of it.
pub struct Whole {
    pub seen: Vec<[Vec<Seen>; LOADS.len()]>,
    pub settled: Vec<Option<Settled>>,
}

pub fn all(effort: &Effort, say: impl Fn(&str)) -> Result<Whole> {
    let mut worlds = Vec::new();
    for config in &CONFIGS {
        say(&format!("starting: {}", config.name));
        worlds.push(World::start(config, GUESTS).context(config.name)?);
    }
    let mut seen = vec![<[Vec<Seen>; LOADS.len()]>::default(); CONFIGS.len()];
    let mut order: Vec<usize> = (0..CONFIGS.len() * LOADS.len()).collect();
    let mut random = Random::default();
    for round in 0..effort.floods {
        say(&format!("round {} of {}", round + 1, effort.floods));
        random.shuffle(&mut order);
        for index in &order {
            let (host, load) = (index / LOADS.len(), index % LOADS.len());
            let flood = flood(&worlds[host], &LOADS[load], effort.frames);
            seen[host][load].push(flood.context(CONFIGS[host].name)?);
        }
    }
    let mut settled = Vec::new();
    for ((world, config), seen) in worlds.into_iter().zip(&CONFIGS).zip(&seen) {
        say(&format!("the account of: {}", config.name));
        let sent = seen.iter().flatten().map(|seen| seen.sent).sum();
        settled.push(match world {
            World::Floor(_) => None,
            World::Policed(policed) => settle(*policed, sent).context(config.name)?,
        });
    }
    Ok(Whole { seen, settled })
}

/// One flood; returns when the daemon has nothing more to do.
fn flood(world: &World, load: &Load, frames: usize) -> Result<Seen> {
    let before = world.policed().map(Policed::counts).transpose()?;
    let lost_before = world.policed().map_or(Ok(0), Policed::queue_lost)?;
    calm(world)?;
    let senders = world.senders().get(..load.guests).context("guests")?;
    let cpu = || -> Result<[Duration; 3]> {
        let of = |sender: &crate::world::Sender| process_cpu(sender.pid);
        let senders = senders.iter().map(of).sum::<Result<Duration>>()?;
        let daemon = world.policed().map(|policed| process_cpu(policed.daemon.pid()));
        Ok([senders, daemon.transpose()?.unwrap_or_default(), softirq_cpu()?])
    };
    let first = last_number(world)?;
    let (begun, since) = (cpu()?, Instant::now());
    let sent = thread::scope(|scope| -> Result<u64> {
        let tasks: Vec<_> = senders
            .iter()
            .map(|sender| {
                let list = world.forbidden(sender, load.reasons);
                let repeat = frames / load.guests / list.len();
                scope.spawn(move || {
                    sender.actor.send(Send {
                        interface: "eth0".into(),
                        frames: list,
                        repeat: u32::try_from(repeat)?,
                        ..Send::default()
                    })
                })
            })
            .collect();
        let mut sum = 0;
        for task in tasks {
            let sent = task.join().map_err(|panic| anyhow::anyhow!("{panic:?}"))??;
            ensure!(sent.refused == 0, "the guest's kernel refused some: {sent:?}");
            sum += sent.sent;
        }
        Ok(sum)
    })?;
    let sending = since.elapsed().as_secs_f64();
    let writing = drained(world, since)?;
    let ended = cpu()?;
    let seconds = |which: usize| ended[which].saturating_sub(begun[which]).as_secs_f64();
    let mut seen = Seen {
        sent,
        sending,
        senders_cpu: seconds(0),
        daemon_cpu: seconds(1),
        softirq_cpu: seconds(2),
        numbered: last_number(world)? - first,
        writing,
        ..Seen::default()
    };
    if let (Some(policed), Some(before)) = (world.policed(), before) {
        seen.kernel = denials(&before, &policed.counts()?);
        let of = &seen.kernel;
        ensure!(of.events == sent, "{sent} sent, the kernel counted {of:?}");
        ensure!(of.recorded + of.suppressed + of.lost == sent, "{sent} sent: {of:?}");
        seen.queue_lost = policed.queue_lost()? - lost_before;
    }
    Ok(seen)
}

/// How much the counters of denials rose.
fn denials(before: &Counters, after: &Counters) -> Count {
    let mut sum = Count::default();
    for (reason, count) in rise(before, after) {
        // A guest also hears what is not for it.
        if !NO_DENIALS.contains(&reason.as_str()) {
            sum.events += count.events;
            sum.recorded += count.recorded;
            sum.suppressed += count.suppressed;
            sum.lost += count.lost;
        }
    }
    sum
}

/// Waits until the daemon does nothing.
fn calm(world: &World) -> Result<()> {
    drained(world, Instant::now()).map(drop)
}

/// Seconds since a moment until the last record was in the files; returns when the daemon has nothing
/// more to do, which includes what it compresses.
fn drained(world: &World, since: Instant) -> Result<f64> {
    let Some(policed) = world.policed() else { return Ok(since.elapsed().as_secs_f64()) };
    let (mut number, mut written) = (last_number(world)?, since.elapsed());
    let (mut cpu, mut looked) = (process_cpu(policed.daemon.pid())?, Instant::now());
    loop {
        thread::sleep(Duration::from_millis(10));
        let now = last_number(world)?;
        // The loss records that follow each second are few.
        if now > number + 64 {
            (number, written) = (now, since.elapsed());
        }
        if looked.elapsed() >= LOOK {
            let next = process_cpu(policed.daemon.pid())?;
            if next.saturating_sub(cpu) < IDLE {
                return Ok(written.as_secs_f64());
            }
            (cpu, looked) = (next, Instant::now());
        }
        ensure!(since.elapsed() < PATIENCE, "the daemon has not finished within {PATIENCE:?}");
    }
}

/// CPU time of ksoftirqd, of all CPUs.
fn softirq_cpu() -> Result<Duration> {
    let mut sum = Duration::ZERO;
    for entry in fs::read_dir("/proc")?.flatten() {
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if name.starts_with("ksoftirqd/") {
            let times = fs::read_to_string(entry.path().join("schedstat")).unwrap_or_default();
            let ran = times.split_whitespace().next().and_then(|ran| ran.parse().ok());
            sum += Duration::from_nanos(ran.unwrap_or(0));
        }
    }
    Ok(sum)
}

/// Files of records, in order.
fn segments(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let number = name.trim_end_matches(".gz").strip_suffix(".jsonl");
        if number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit())) {
            names.push(path);
        }
    }
    names.sort();
    Ok(names)
}

/// Number of the last record in the live segment; 0 without files or before the first.
fn last_number(world: &World) -> Result<u64> {
    let Some(dir) = world.policed().and_then(|policed| policed.dir.as_deref()) else {
        return Ok(0);
    };
    // A segment may begin or go between two looks.
    for _ in 0..100 {
        if let Some(number) = segments(dir)?.last().and_then(|path| number_at_end(path)) {
            return Ok(number);
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(0)
}

/// Number of the last whole record of a file; none: it has none yet.
fn number_at_end(path: &Path) -> Option<u64> {
    const TAIL: u64 = 16 << 10;
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).ok()?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail).ok()?;
    let end = tail.iter().rposition(|byte| *byte == b'\n')?;
    let lines = tail.get(..end)?.rsplit(|byte| *byte == b'\n');
    lines.filter_map(|line| serde_json::from_slice::<Record>(line).ok()).map(|r| r.seq).next()
}

/// Ends a host, and reads what became of what happened.
fn settle(policed: Policed, sent: u64) -> Result<Option<Settled>> {
    let status = fs::read_to_string(format!("/proc/{}/status", policed.daemon.pid()))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    let senders: Vec<_> = policed.senders.iter().map(|sender| sender.name.clone()).collect();
    // Losses are told once a second.
    thread::sleep(Duration::from_millis(1500));
    let happened = denials(&Counters::new(), &policed.counts()?).events;
    let stopped = policed.stop_daemon()?;
    // Each flood was counted to the frame, so the rest is somebody else's.
    let beside = happened.checked_sub(sent).context("the kernel counted less than was sent")?;
    let mut settled = Settled { sent, beside, peak_kib: peak.unwrap_or(0), ..Settled::default() };
    let Some(dir) = stopped.dir.clone() else {
        stopped.end()?;
        return Ok(None);
    };
    let mut owners = BTreeMap::new();
    for path in segments(&dir)? {
        settled.bytes += path.metadata()?.len();
        settled.records += read(&path, &senders, &mut owners)?;
    }
    for owner in owners.into_values().filter(|owner| owner.is_ours) {
        settled.written += owner.written;
        for (cause, count) in owner.lost {
            *settled.lost.entry(cause).or_default() += count;
        }
    }
    audit(&stopped, &mut settled)?;
    stopped.end()?;
    Ok(Some(settled))
}

/// What the files account for of one endpoint's denials.
#[derive(Default)]
struct Owner {
    /// Whether it was called as one of the senders is: its first records may be older than its name.
    is_ours: bool,
    written: u64,
    lost: BTreeMap<Cause, u64>,
}

/// Takes in what a file accounts for; how many records it has.
fn read(path: &Path, senders: &[String], owners: &mut BTreeMap<u32, Owner>) -> Result<u64> {
    let mut records = 0;
    let mut zcat = None;
    let lines: Box<dyn BufRead> = if path.extension().is_some_and(|extension| extension == "gz") {
        let child =
            Command::new("zcat").arg(path).stdout(Stdio::piped()).spawn().context("zcat")?;
        let output = zcat.insert(child).stdout.take().context("no output of zcat")?;
        Box::new(BufReader::new(output))
    } else {
        Box::new(BufReader::new(File::open(path)?))
    };
    for line in lines.split(b'\n') {
        // The store's own lines are no records.
        let Ok(record) = serde_json::from_slice::<Record>(&line?) else { continue };
        records += 1;
        let Some(subject) = record.body.subject() else { continue };
        let owner = owners.entry(subject.endpoint).or_default();
        owner.is_ours |= senders.contains(&subject.container);
        match Account::of(&record.body) {
            Account::Event(counter) if is_denial(counter.reason) => owner.written += 1,
            Account::Loss(key, count) if is_denial(key.counter.reason) => {
                *owner.lost.entry(key.cause).or_default() += count;
            }
            _ => {}
        }
    }
    if let Some(mut zcat) = zcat {
        ensure!(zcat.wait()?.success(), "zcat {}", path.display());
    }
    Ok(records)
}

/// Whether a counter is of what the flood does.
fn is_denial(reason: u16) -> bool {
    let not_addressed = reason_value(DropReason::NotAddressed.name());
    // That a guest's own programs begin is no frame either.
    let others = [FLOW_OPENED, FLOW_CLOSED, EXEC, CONNECT_REFUSED, SOCKET_REFUSED];
    !others.contains(&reason) && Some(reason) != not_addressed
}

/// How long the store takes to verify, and to answer what was open at a moment.
fn audit(stopped: &Stopped, settled: &mut Settled) -> Result<()> {
    let since = Instant::now();
    stopped.audit(&["verify"])?;
    settled.verify = since.elapsed().as_secs_f64();
    let since = Instant::now();
    stopped.audit(&["query", "--to", "198.51.100.2:53", "--at", "90s"])?;
    settled.query = since.elapsed().as_secs_f64();
    Ok(())
}
