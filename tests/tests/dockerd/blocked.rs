//! Sinks that fail or hang while two guests misbehave: policy holds, other sinks get everything, and each
//! accounts for every frame in the end.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _},
    net::Shutdown,
    os::unix::{fs::OpenOptionsExt as _, net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::harness::{
    artifacts,
    dockerd::Options,
    enforcer::{Enforcer, Settings},
    netns::{Namespace, die_with_parent},
    residue::Snapshot,
    run::wait_for,
    topology::{Base, GATEWAY, HUB_PORT, Rig},
};
use serde_json::Value;

use crate::{
    flood::{Talk, long},
    kept::{directory, kept, records, verify},
    storm::{Accounts, Storm, ensure_accounted, ensure_contiguous, numbered},
};

/// What somebody has heard so far.
type Heard = Arc<Mutex<Vec<Value>>>;

fn heard(heard: &Heard) -> Vec<Value> {
    heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn hear(into: &Heard, record: Value) {
    into.lock().unwrap_or_else(PoisonError::into_inner).push(record);
}

/// Somebody who reads from a FIFO for a while.
struct Tap {
    stop: Arc<AtomicBool>,
    heard: Heard,
    reader: thread::JoinHandle<Result<()>>,
}

impl Tap {
    fn open(fifo: &Path) -> Result<Self> {
        let mut file =
            File::options().read(true).custom_flags(libc::O_NONBLOCK).open(fifo).context("fifo")?;
        let (stop, heard) = (Arc::<AtomicBool>::default(), Heard::default());
        let (until, into) = (Arc::clone(&stop), Arc::clone(&heard));
        let reader = thread::spawn(move || {
            let (mut bytes, mut rest) = (vec![0; 1 << 16], Vec::new());
            while !until.load(Ordering::Relaxed) {
                let Ok(length @ 1..) = file.read(&mut bytes) else {
                    thread::sleep(Duration::from_millis(2));
                    continue;
                };
                rest.extend_from_slice(&bytes[..length]);
                while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = rest.drain(..=end).collect();
                    let text = String::from_utf8_lossy(&line);
                    hear(&into, serde_json::from_str(&text).with_context(|| text.into_owned())?);
                }
            }
            Ok(())
        });
        Ok(Self { stop, heard, reader })
    }

    /// Lets it be, at whatever place in a line.
    fn close(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.reader.join().map_err(|panic| anyhow::anyhow!("the tap: {panic:?}"))?
    }
}

/// Somebody who asks for events, and reads them once told to.
struct Follower {
    child: Child,
    heard: Heard,
}

impl Follower {
    fn start(host: &Namespace, daemon: &Enforcer) -> Result<Self> {
        let mut command = host.command(artifacts::enforcer().context("no binary")?);
        command.args(["events", "--json", "--follow", "--from", "1", "--config"]);
        command.arg(daemon.config()).stdin(Stdio::null()).stdout(Stdio::piped());
        die_with_parent(&mut command, libc::SIGKILL);
        Ok(Self { child: command.spawn()?, heard: Heard::default() })
    }

    fn read(&mut self) -> Result<()> {
        let output = self.child.stdout.take().context("it reads already")?;
        let into = Arc::clone(&self.heard);
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                hear(&into, serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        Ok(())
    }

    /// Reads for the first time, up to `last` unless it was let go before; how many it missed.
    fn read_late(&mut self, last: &Value) -> Result<u64> {
        ensure!(heard(&self.heard).is_empty(), "it read");
        self.read()?;
        let told = wait_for("the late reader", Duration::from_secs(10), || {
            let told = heard(&self.heard);
            let mut backwards = told.iter().rev();
            let has_last = backwards.any(|told| told["event.sequence"] == last["event.sequence"]);
            // One that read nothing for a minute was let go.
            let ended = self.child.try_wait()?.is_some();
            Ok((has_last || ended).then_some(told))
        })?;
        ensure_contiguous("the late reader", &told)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What systemd's journal is to the daemon: a socket, and whoever reads from it.
struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
    reader: thread::JoinHandle<()>,
}

impl Journal {
    /// Starts it; what it gets becomes records again at the end of `into`.
    fn start(host: &Namespace, into: &Heard) -> Result<Self> {
        let dir = PathBuf::from(format!("/proc/{}/root/run/systemd/journal", host.pid()));
        fs::create_dir_all(&dir)?;
        let path = dir.join("socket");
        let socket = UnixDatagram::bind(&path)?;
        let (from, into) = (socket.try_clone()?, Arc::clone(into));
        let reader = thread::spawn(move || {
            let mut bytes = vec![0; 1 << 16];
            while let Ok(length @ 1..) = from.recv(&mut bytes) {
                let entry = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default());
                hear(&into, record_of(&entry));
            }
        });
        Ok(Self { socket, path, reader })
    }

    /// Stops it once it has read what it got.
    fn stop(self) -> Result<()> {
        fs::remove_file(&self.path)?;
        self.socket.shutdown(Shutdown::Read)?;
        self.reader.join().map_err(|panic| anyhow::anyhow!("the journal: {panic:?}"))
    }
}

/// An entry of the journal as the record that it was made of, as far as accounts need it.
fn record_of(entry: &str) -> Value {
    let fields: BTreeMap<_, _> = entry.lines().filter_map(|line| line.split_once('=')).collect();
    let named = [
        ("event.sequence", "EVENT_SEQUENCE"),
        ("event.action", "EVENT_ACTION"),
        ("event.reason", "EVENT_REASON"),
        ("container.name", "CONTAINER_NAME"),
        ("enforcer.cause", "CAUSE"),
        ("enforcer.count", "COUNT"),
        ("enforcer.from_seq", "FROM_SEQ"),
    ];
    let values = named.iter().filter_map(|(key, name)| {
        let value = *fields.get(format!("ENFORCER_{name}").as_str())?;
        let number = value.parse::<u64>().ok().map(Value::from);
        Some(((*key).to_owned(), number.unwrap_or_else(|| value.into())))
    });
    Value::Object(values.collect())
}

/// A file system on which every write hangs, until it is dropped.
struct Frozen(Child);

impl Frozen {
    fn new(host: &Namespace, mount: &Path) -> Result<Self> {
        let mount = mount.display();
        // Whatever becomes of this process, its end of the pipe closes, and writes go on.
        let mut thaw = host.command("sh");
        thaw.args(["-c", &format!("read -r _; fsfreeze -u {mount}")]).stdin(Stdio::piped());
        let frozen = Self(thaw.spawn()?);
        host.run(&format!("fsfreeze -f {mount}"))?;
        Ok(frozen)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Everything that a test of failing sinks talks to.
struct Field<'a> {
    rig: &'a Rig,
    daemon: &'a Enforcer,
    talk: &'a Talk<'a>,
}

impl Field<'_> {
    /// Whether status says that a sink does not take records.
    fn tells(&self, sink: &str) -> Result<bool> {
        let told = format!("not written to {sink}");
        Ok(self.daemon.reasons(&self.rig.host)?.iter().any(|reason| reason.contains(&told)))
    }

    fn wait_told(&self, sink: &str, wanted: bool) -> Result<()> {
        wait_for(&format!("{sink}: told {wanted}"), Duration::from_secs(8), || {
            Ok((self.tells(sink)? == wanted).then_some(()))
        })
    }

    /// What is allowed goes on, and status answers. That what is forbidden does not is what the storm
    /// fails on: not one of its frames may arrive.
    fn ensure_unaffected(&self, words: &str) -> Result<()> {
        let begun = Instant::now();
        self.daemon.status(&self.rig.host).context("status")?;
        let took = begun.elapsed();
        ensure!(took < Duration::from_secs(2), "{words}: status took {took:?}");
        let hub = self.rig.a.actor.connect((GATEWAY, HUB_PORT), 2000)?;
        ensure!(hub.errno.is_none(), "{words}: the hub is silent: {hub:?}");
        self.talk.go_on(words)
    }
}

/// Where `files` are: a file system that can be frozen, where there are loop devices.
fn mount_disk(host: &Namespace, dir: &Path) -> Result<(PathBuf, bool)> {
    let (image, mount) = (dir.join("image"), dir.join("disk"));
    fs::create_dir_all(&mount)?;
    let freezes = Path::new("/dev/loop-control").exists();
    if freezes {
        File::create(&image)?.set_len(512 << 20)?;
        host.run(&format!("mkfs.ext4 -q -F -m 0 {}", image.display()))?;
        mount_image(host, &image, &mount)?;
    } else {
        eprintln!("skipped: a disk that hangs and becomes read-only: it needs a loop device");
        host.run(&format!("mount -t tmpfs -o size=512m tmpfs {}", mount.display()))?;
    }
    Ok((mount, freezes))
}

fn mount_image(host: &Namespace, image: &Path, mount: &Path) -> Result<()> {
    host.run(&format!("mount -o loop {} {}", image.display(), mount.display())).map(drop)
}

/// A1, F07, F14, F18: a disk on which writes hang and that becomes read-only under way, a reader of standard
/// output that stopped reading, a follower that never reads, and a journal that is absent, comes, and
/// goes for a while. A follower that reads gets everything meanwhile.
#[test]
fn a1_f14_f18_disks_pipes_and_journals_that_fail_lose_nothing_in_silence() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    // The queue of a sink holds what some ten seconds of it write, or a little more.
    let seconds = if long() { 90 } else { 9 };
    let residue = Snapshot::take();
    let (owner, _) = directory("hang")?;
    let base = Base::start(Options::default())?;
    let (mount, freezes) = mount_disk(&base.host, owner.path())?;
    let fifo = owner.path().join("fifo");
    base.host.run(&format!("mkfifo {}", fifo.display()))?;
    let rig = base.with_guests()?;
    let dir = mount.join("audit");
    let inside = PathBuf::from(format!("/proc/{}/root{}", rig.host.pid(), dir.display()));
    let more = "stdout = true\njournald = true\n";
    let settings = Settings { output: Some(fifo.clone()), ..kept(&dir, more) };
    let daemon = Enforcer::start_beside(&rig, &settings)?;
    for guest in [&rig.a, &rig.b] {
        daemon.wait_identified(&rig.host, &guest.name, "guest")?;
    }
    let talk = Talk::open(&rig.host.actor, &rig)?;
    let field = Field { rig: &rig, daemon: &daemon, talk: &talk };
    let [mut follower, mut lazy] =
        [Follower::start(&rig.host, &daemon)?, Follower::start(&rig.host, &daemon)?];
    follower.read()?;
    ensure!(!field.tells("files")? && !field.tells("standard output")?, "failing from the start");
    field.wait_told("journald", true)?;
    let storm = Storm::start(&rig, seconds)?;
    let entries = Heard::default();
    let journal = Journal::start(&rig.host, &entries)?;
    field.wait_told("journald", false)?;

    if freezes {
        hang(&field, &mount, &inside)?;
    }
    journal.stop()?;
    field.wait_told("journald", true)?;
    // Nobody has read from it yet.
    field.wait_told("standard output", true)?;
    let journal = Journal::start(&rig.host, &entries)?;

    let mut sent = storm.end()?;
    let kept = numbered(ensure_accounted("the files", &sent, || records(&inside))?);
    let kept_missing = ensure_contiguous("the files", &kept)?;
    let told_live = ensure_accounted("the follower", &sent, || Ok(heard(&follower.heard)))?;
    ensure!(ensure_contiguous("the follower", &told_live)? == 0, "the follower missed some");
    let entries = ensure_accounted("the journal", &sent, || Ok(heard(&entries)))?;
    let entries_missing = ensure_contiguous("the journal", &entries)?;
    for first in [&told_live, &entries].map(|records| records.first()) {
        ensure!(first.is_some_and(|record| record["event.sequence"] == 1), "not from 1: {first:?}");
    }
    if kept_missing == 0 {
        ensure_same(kept, &told_live)?;
    }

    // Somebody reads again.
    let tap = Tap::open(&fifo)?;
    let told = ensure_accounted("standard output", &sent, || Ok(heard(&tap.heard)))?;
    let told_missing = ensure_contiguous("standard output", &told)?;
    ensure!(!long() || told_missing > 0, "standard output missed nothing: no gap was tested");
    field.wait_told("standard output", false)?;
    tap.close()?;
    let late_missing = lazy.read_late(told_live.last().context("nothing was told")?)?;
    println!(
        "{} frames, {} records; missed: files {kept_missing}, journal {entries_missing}, standard \
         output {told_missing}, late reader {late_missing}",
        sent.values().sum::<u64>(),
        told_live.len()
    );

    // Nobody reads once more; the disk fails for good, and the daemon is told to stop.
    let storm = Storm::start(&rig, 3)?;
    if freezes {
        read_only(&field, &mount)?;
    }
    for (key, count) in storm.end()? {
        *sent.entry(key).or_default() += count;
    }
    ensure_accounted("the follower", &sent, || Ok(heard(&follower.heard)))?;
    drop((follower, lazy));
    let begun = Instant::now();
    let ended = daemon.end()?;
    let took = begun.elapsed();
    // What hangs is given up one after the other: 5.5 s, and what the machine takes.
    ensure!(took < Duration::from_secs(10), "it took {took:?} to stop");
    journal.stop()?;

    // Mended, it goes on where it was, and the next daemon tells what is missing.
    if freezes {
        rig.host.run(&format!("umount {}", mount.display()))?;
        mount_image(&rig.host, &owner.path().join("image"), &mount)?;
    }
    let daemon = ended.restart(&rig.host, artifacts::enforcer().context("no binary")?)?;
    let kept = numbered(ensure_accounted("the files, mended", &sent, || records(&inside))?);
    ensure_contiguous("the files, mended", &kept)?;
    let causes = Accounts::of(&kept).causes;
    println!("mended: lost by {causes:?}");
    ensure!(!freezes || causes.contains_key("killed"), "nothing was lost: {causes:?}");
    ensure_intact(&rig, &dir)?;
    daemon.stop()?;
    rig.stop()?;
    residue.ensure_nothing_new()
}

/// Every write to the disk hangs for a while.
fn hang(field: &Field<'_>, mount: &Path, inside: &Path) -> Result<()> {
    let length = || -> Result<u64> {
        let sizes = fs::read_dir(inside)?.map(|entry| Ok(entry?.metadata()?.len()));
        sizes.sum()
    };
    let frozen = Frozen::new(&field.rig.host, mount)?;
    let begun = Instant::now();
    let before = length()?;
    while begun.elapsed() < Duration::from_secs(4) {
        field.ensure_unaffected("on a disk that hangs")?;
        thread::sleep(Duration::from_millis(200));
    }
    ensure!(length()? == before, "the disk does not hang");
    ensure!(field.tells("files")?, "status does not say that the disk hangs");
    drop(frozen);
    field.wait_told("files", false)
}

/// The disk becomes read-only under way, as one does on which an error was found.
fn read_only(field: &Field<'_>, mount: &Path) -> Result<()> {
    let host = &field.rig.host;
    // Nobody can have it so by asking: files are open for writing on it.
    let asked = host.run(&format!("mount -o remount,ro {}", mount.display()));
    ensure!(asked.is_err(), "the disk became read-only with files open on it");
    host.run(&format!("mount -o remount,abort {}", mount.display()))?;
    wait_for("the failure to be told", Duration::from_secs(8), || {
        field.ensure_unaffected("on a disk that is read-only")?;
        Ok(field.tells("files")?.then_some(()))
    })
}

/// The files tell what a follower heard, and each line's place in the chain.
fn ensure_same(kept: Vec<Value>, heard: &[Value]) -> Result<()> {
    let unchained = |mut record: Value| {
        record.as_object_mut().map(|record| record.remove("chain"));
        record
    };
    let mut pairs = kept.into_iter().map(unchained).zip(heard);
    let differ = pairs.find(|(one, other)| one != *other);
    ensure!(differ.is_none(), "the files and the follower: {differ:?}");
    Ok(())
}

fn ensure_intact(rig: &Rig, dir: &Path) -> Result<()> {
    let (code, text) = verify(rig, dir)?;
    ensure!(code == 0, "{code}: {text}");
    Ok(())
}
