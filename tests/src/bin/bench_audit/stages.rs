//! Each stage of the pipeline by itself, on one thread, through the library's own code.

use std::{
    fs,
    hint::black_box,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use enforcer::audit::{
    account::{Accounts, Missing},
    decode::decode,
    enrich::Names,
    queue::Account,
    sink::{
        Sink as _,
        files::{Counters, Files},
    },
    store::{Fsync, Settings},
    stream::{Line, line},
};
use enforcer_common::abi::event::Event;
use enforcer_tests::{
    bench::{Random, Series, own_cpu, pin, thread_cpu},
    harness::run::{Run, wait_for},
};
use tokio::sync::mpsc;

use crate::{
    Effort,
    floor::{BATCH, Floor},
    workload::Workload,
};

/// How often the daemon has a sink settle.
const SETTLE: Duration = Duration::from_millis(500);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// The bare loop; whether it syncs at its end.
    Floor { sync: bool },
    /// Bytes become an event.
    Decode,
    /// And it is counted under whose it is.
    Account,
    /// Bytes become a line.
    Serialise,
    /// Bytes become a line in the store.
    Files(Fsync),
    /// And the segment is closed and compressed.
    Compressed,
}

/// A row of the report.
#[derive(Clone, Copy, Debug)]
pub struct Stage {
    pub name: &'static str,
    pub what: What,
    pub goal: Option<Goal>,
}

/// What is to be reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// Records a second.
    Rate(f64),
    /// A multiple of the floor.
    Times(f64),
}

const fn stage(name: &'static str, what: What) -> Stage {
    Stage { name, what, goal: None }
}

const fn aim(name: &'static str, what: What, goal: Goal) -> Stage {
    Stage { name, what, goal: Some(goal) }
}

/// The floor comes first.
pub const STAGES: [Stage; 10] = [
    stage("bare loop (the floor)", What::Floor { sync: false }),
    stage("bare loop, again (A/A)", What::Floor { sync: false }),
    stage("bare loop, fdatasync at its end", What::Floor { sync: true }),
    stage("decode", What::Decode),
    aim("decode + account", What::Account, Goal::Rate(1e6)),
    stage("decode + enrich + serialise", What::Serialise),
    aim("to files, fsync = \"never\"", What::Files(Fsync::Never), Goal::Times(2.0)),
    aim(
        "to files, fsync = \"5s\"",
        What::Files(Fsync::Interval(Duration::from_secs(5))),
        Goal::Times(2.0),
    ),
    aim("to files, fsync = \"always\"", What::Files(Fsync::Batch), Goal::Times(2.0)),
    stage("the same, closed and compressed", What::Compressed),
];

/// What a stage took in each round, nanoseconds a record.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// CPU time: of the thread; with compression of the process.
    pub cpu: Series,
    /// By the clock on the wall.
    pub wall: Series,
}

struct Bench<'a> {
    work: &'a Workload,
    ring: Vec<[u8; size_of::<Event>()]>,
    names: Names,
    floor: Floor<'a>,
    dir: PathBuf,
}

/// Measures all of them; also how many bytes a line has.
pub fn all(effort: &Effort, run: &Run) -> Result<(Vec<Taken>, f64)> {
    let work = Workload::of(effort.records);
    let mut names = Names::default();
    names.update(&Arc::new(work.owners.clone()), 0);
    let floor = Floor::new(&work.owners, work.clock)?;
    let dir = run.make_dir("stages")?;
    let bench = Bench { ring: work.ring(), work: &work, names, floor, dir };
    let bytes = bench.prove()?;
    pin()?;
    let mut taken = vec![Taken::default(); STAGES.len()];
    let mut order: Vec<usize> = (0..STAGES.len()).collect();
    let mut random = Random::default();
    for _ in 0..effort.rounds {
        random.shuffle(&mut order);
        for index in &order {
            let (cpu, wall) = bench.measure(STAGES[*index].what)?;
            let each = |time: Duration| time.as_secs_f64() * 1e9 / work.events.len() as f64;
            taken[*index].cpu.push(each(cpu));
            taken[*index].wall.push(each(wall));
        }
    }
    Ok((taken, bytes))
}

impl Bench<'_> {
    /// The floor writes what the pipeline writes; bytes of a line.
    fn prove(&self) -> Result<f64> {
        for ((seq, bytes), (shape, event)) in (1..).zip(&self.ring).zip(&self.work.events) {
            let made = self.line(seq, bytes, &mut Vec::new())?;
            let mut bare = Vec::new();
            self.floor.format(seq, *shape, event, &mut bare)?;
            ensure!(
                made.text.as_bytes() == bare,
                "the floor writes something else:\n{}\n{}",
                made.text,
                String::from_utf8_lossy(&bare)
            );
        }
        let path = self.dir.join("bare");
        let bare = self.floor.write(&self.work.events, &path, false)?;
        let mut store = self.open(Fsync::Never, u64::MAX)?;
        self.take(&mut store)?;
        let stored = fs::read(self.dir.join("store/0000000001.jsonl"))?;
        // The first line is the store's own.
        let begin = stored.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        ensure!(stored.len() - begin == usize::try_from(bare)?, "the floor writes {bare} bytes");
        Ok(bare as f64 / self.work.events.len() as f64)
    }

    fn line(&self, seq: u64, bytes: &[u8], room: &mut Vec<u8>) -> Result<Line> {
        Ok(line(seq, self.names.draft(&decode(bytes)?, self.work.clock), room))
    }

    fn measure(&self, what: What) -> Result<(Duration, Duration)> {
        match what {
            What::Floor { sync } => {
                let path = self.dir.join("bare");
                timed(|| self.floor.write(&self.work.events, &path, sync).map(drop))
            }
            What::Decode => timed(|| {
                for bytes in &self.ring {
                    black_box(decode(black_box(bytes))?);
                }
                Ok(())
            }),
            What::Account => timed(|| self.account()),
            What::Serialise => timed(|| {
                let mut room = Vec::new();
                for (seq, bytes) in (1..).zip(&self.ring) {
                    black_box(self.line(seq, bytes, &mut room)?);
                }
                Ok(())
            }),
            What::Files(fsync) => {
                let mut store = self.open(fsync, u64::MAX)?;
                timed(|| self.take(&mut store))
            }
            What::Compressed => {
                let mut store = self.open(Fsync::Batch, 1)?;
                let (begun, since) = (own_cpu()?, Instant::now());
                self.take(&mut store)?;
                let packed = self.dir.join("store/0000000001.jsonl.gz");
                let plain = self.dir.join("store/0000000001.jsonl");
                wait_for("compression", Duration::from_mins(1), || {
                    Ok((packed.exists() && !plain.exists()).then_some(()))
                })?;
                Ok((own_cpu()?.saturating_sub(begun), since.elapsed()))
            }
        }
    }

    fn account(&self) -> Result<()> {
        let mut accounts = Accounts::default();
        let mut missing = Missing::new(&accounts, std::iter::empty());
        for bytes in &self.ring {
            let counter = decode(bytes)?.counter();
            missing.see(counter);
            accounts.take(&Account::Event(counter));
        }
        black_box(accounts);
        Ok(())
    }

    /// An empty store.
    fn open(&self, fsync: Fsync, segment_bytes: u64) -> Result<Files> {
        let dir = self.dir.join("store");
        remove(&dir)?;
        let settings = Settings { fsync, segment_bytes, ..Settings::new(dir) };
        let counters = Counters { boot: "bench".to_owned(), map: Some(1) };
        let (journal, _) = mpsc::unbounded_channel();
        Ok(Files::open(settings, counters, false, &journal)?.files)
    }

    /// As the daemon's threads do it, one after the other.
    fn take(&self, store: &mut Files) -> Result<()> {
        let (mut settled, mut room) = (Instant::now(), Vec::new());
        for (batch, first) in self.ring.chunks(BATCH).zip((1_u64..).step_by(BATCH)) {
            let lines = batch
                .iter()
                .zip(first..)
                .map(|(bytes, seq)| Ok(Arc::new(self.line(seq, bytes, &mut room)?)));
            store.take(&lines.collect::<Result<Vec<_>>>()?)?;
            if settled.elapsed() >= SETTLE {
                store.settle()?;
                settled = Instant::now();
            }
        }
        store.settle()?;
        Ok(())
    }
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// CPU time of this thread, and time.
fn timed(work: impl FnOnce() -> Result<()>) -> Result<(Duration, Duration)> {
    let (begun, since) = (thread_cpu()?, Instant::now());
    work()?;
    Ok((thread_cpu()?.saturating_sub(begun), since.elapsed()))
}
