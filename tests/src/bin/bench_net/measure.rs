//! What is measured: one figure of one configuration in one round.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::{
    bench::{
        Series, pin_to, thread_cpu,
        traffic::{connects, round_trips},
    },
    harness::netns::within,
};

use crate::world::{Config, Guard, World};

/// Figures of all rounds, by metric and number of the configuration.
pub type Taken = BTreeMap<(Metric, usize), Series>;

/// How long to measure.
pub struct Effort {
    pub rounds: usize,
    /// Of round trips.
    time: Duration,
    connections: usize,
    datagrams: usize,
    /// Each way.
    bytes: usize,
    frames: usize,
}

impl Effort {
    pub const FULL: Self = Self {
        rounds: 16,
        time: Duration::from_millis(300),
        connections: 100,
        datagrams: 60_000,
        bytes: 192 << 20,
        frames: 60_000,
    };
    pub const QUICK: Self = Self {
        rounds: 3,
        time: Duration::from_millis(100),
        connections: 50,
        datagrams: 20_000,
        bytes: 48 << 20,
        frames: 20_000,
    };
    /// No look even: whether everything is measured, and what is denied is. The round that counts for nothing is all there is.
    pub const SMOKE: Self = Self {
        rounds: 0,
        time: Duration::from_millis(10),
        connections: 5,
        datagrams: 640,
        bytes: 1 << 20,
        frames: 2000,
    };
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// A byte from the world to guest A and back, through the published port.
    RoundTrip,
    /// `connect` from there.
    Connect,
    /// Host to guest A, sent and received.
    Datagram,
    /// Host to guest A and back, with super-packets and without.
    Bulk,
    BulkSegments,
    /// A's datagrams to the world.
    Egress,
    /// A's to B.
    Neighbour,
}

pub const METRICS: [Metric; 7] = [
    Metric::RoundTrip,
    Metric::Connect,
    Metric::Datagram,
    Metric::Bulk,
    Metric::BulkSegments,
    Metric::Egress,
    Metric::Neighbour,
];

impl Metric {
    pub fn title(self) -> &'static str {
        match self {
            Self::RoundTrip => "round trip, world to guest, p50",
            Self::Connect => "connect, world to guest, p50",
            Self::Datagram => "datagram, host to guest, CPU",
            Self::Bulk => "CPU a GB, both ways, super-packets",
            Self::BulkSegments => "CPU a GB, both ways, one segment a packet",
            Self::Egress => "denied egress, CPU a frame",
            Self::Neighbour => "guest to guest, CPU a frame",
        }
    }

    /// What its figure counts.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Bulk | Self::BulkSegments => "ms/GB",
            _ => "ns",
        }
    }

    /// Whether it is about what is denied: then the floor is a program that drops.
    pub fn is_denied(self) -> bool {
        matches!(self, Self::Egress | Self::Neighbour)
    }

    /// Whether it makes sense there: the drop program lets nothing through, and without a guard nothing is denied.
    pub fn is_of(self, config: &Config) -> bool {
        match config.guard {
            Guard::Drop => self.is_denied(),
            Guard::Nothing | Guard::Empty => !self.is_denied(),
            _ => !(self.is_denied() && config.flooded),
        }
    }
}

/// The CPU of whoever is measured, and that of whoever disturbs.
const MEASURED: usize = 0;
const OTHER: usize = 1;
/// Frames in a row of a flooding neighbour, and how long it then rests: about half of a CPU.
const BURST: usize = 64;

impl World {
    /// Measures once.
    pub fn measure(&mut self, metric: Metric, effort: &Effort) -> Result<f64> {
        if metric == Metric::BulkSegments {
            self.super_packets(false)?;
        }
        let done = AtomicBool::new(false);
        let figure = thread::scope(|scope| {
            if let Some((socket, frame)) = &self.flooder {
                let done = &done;
                scope.spawn(move || -> Result<()> {
                    pin_to(OTHER)?;
                    while !done.load(Ordering::Relaxed) {
                        let since = Instant::now();
                        for _ in 0..BURST {
                            socket.send(frame)?;
                        }
                        thread::sleep(since.elapsed());
                    }
                    Ok(())
                });
            }
            let measured = scope.spawn(|| {
                pin_to(MEASURED)?;
                self.once(metric, effort)
            });
            let figure = measured.join().map_err(|panic| anyhow::anyhow!("{panic:?}"));
            done.store(true, Ordering::Relaxed);
            figure?
        })?;
        if metric == Metric::BulkSegments {
            self.super_packets(true)?;
        }
        Ok(figure)
    }

    fn once(&self, metric: Metric, effort: &Effort) -> Result<f64> {
        match metric {
            Metric::RoundTrip => round_trips(&self.echo.client, &self.echo.server, effort.time),
            Metric::Connect => {
                let (listener, to) = (&self.listener, SocketAddr::from(Self::ECHO_AT));
                within(&self.outside, || connects(listener, to, effort.connections))
            }
            Metric::Datagram => self.datagrams(effort.datagrams),
            Metric::Bulk | Metric::BulkSegments => {
                // A connection learns when it is made how large its packets may be.
                let (at, taker) = &self.bulk;
                let host = &within(&self.host_net, || Ok(TcpStream::connect(at)?))?;
                let (guest, _) = &taker.accept()?;
                let cpu =
                    transfer(host, guest, effort.bytes)? + transfer(guest, host, effort.bytes)?;
                let gigabytes = 2.0 * effort.bytes as f64 / 1e9;
                Ok(cpu.as_secs_f64() * 1e3 / gigabytes)
            }
            Metric::Egress => self.flood(&self.egress, effort.frames, &self.outside),
            Metric::Neighbour => self.flood(&self.neighbour, effort.frames, &self.b_net),
        }
    }

    /// Nanoseconds of CPU for each, sent and taken by one thread: none waits in a queue that is full.
    fn datagrams(&self, count: usize) -> Result<f64> {
        const BATCH: usize = 32;
        let (sender, taker) = &self.datagrams;
        taker.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut buffer = [0; 64];
        let since = thread_cpu()?;
        for _ in 0..count / BATCH {
            for _ in 0..BATCH {
                sender.send(&[1; 32])?;
            }
            for _ in 0..BATCH {
                taker.recv(&mut buffer).context("a datagram did not arrive")?;
            }
        }
        Ok(thread_cpu()?.saturating_sub(since).as_nanos() as f64 / (count / BATCH * BATCH) as f64)
    }

    /// Nanoseconds of CPU for each frame that A sends, none of which may arrive in `victim`.
    fn flood(&self, frame: &[u8], count: usize, victim: &File) -> Result<f64> {
        let before = within(victim, received)?;
        let since = thread_cpu()?;
        for _ in 0..count {
            self.attacker.send(frame)?;
        }
        let cpu = thread_cpu()?.saturating_sub(since);
        let arrived = within(victim, received)? - before;
        // Beside them there is what hosts say unasked.
        ensure!(arrived * 20 < count as u64, "{arrived} of {count} denied frames arrived");
        Ok(cpu.as_nanos() as f64 / count as f64)
    }
}

/// Packets that the interfaces of this thread's network namespace received.
fn received() -> Result<u64> {
    let table = fs::read_to_string("/proc/thread-self/net/dev")?;
    let counts = table.lines().filter_map(|line| line.split_once(':')).map(|(_, counts)| {
        let packets = counts.split_whitespace().nth(1).context("no packets in /proc/net/dev")?;
        Ok(packets.parse::<u64>()?)
    });
    counts.sum()
}

/// CPU time of both ends for so many bytes.
fn transfer(mut from: &TcpStream, mut to: &TcpStream, bytes: usize) -> Result<Duration> {
    const CHUNK: usize = 256 << 10;
    thread::scope(|scope| {
        let taking = scope.spawn(move || -> Result<Duration> {
            let since = thread_cpu()?;
            let (mut buffer, mut left) = (vec![0; CHUNK], bytes);
            while left > 0 {
                let most = left.min(CHUNK);
                let read = to.read(&mut buffer[..most])?;
                ensure!(read > 0, "the connection ended");
                left -= read;
            }
            Ok(thread_cpu()?.saturating_sub(since))
        });
        let since = thread_cpu()?;
        let chunk = vec![0; CHUNK];
        for _ in 0..bytes / CHUNK {
            from.write_all(&chunk)?;
        }
        let sent = thread_cpu()?.saturating_sub(since);
        Ok(sent + taking.join().map_err(|panic| anyhow::anyhow!("{panic:?}"))??)
    })
}
