//! Clients of a Docker socket who leave room for nobody else: idle ones, slow ones, and greedy ones. Each kind is one
//! thread, with many connections.

use std::{
    collections::VecDeque,
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

/// Between two looks at connections that idle or are slow: a slow one says, or takes, a byte a second.
const PAUSE: Duration = Duration::from_millis(200);
const SLOW: Duration = Duration::from_secs(1);
/// Connections that a greedy one has at once, and how many of them are streams that do not end.
const GREEDY: usize = 72;
const STREAMS: usize = 60;
/// Between two of its requests.
const BREATH: Duration = Duration::from_millis(2);

/// What was tried, for whoever reads the log.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    opened: u64,
    failed: u64,
    answered: u64,
}

/// `SOCKET SECONDS IDLE SLOW GREEDY BIG`: how many of each, and the name of a container about which there is much to
/// tell. Says what it did, a line for each kind.
pub fn run(arguments: &[String]) -> Result<()> {
    let [socket, seconds, idle, slow, greedy, big] = arguments else {
        anyhow::bail!("usage: actor load SOCKET SECONDS IDLE SLOW GREEDY BIG");
    };
    let until = Instant::now() + Duration::from_secs(seconds.parse()?);
    let (idle, slow, greedy): (usize, usize, usize) =
        (idle.parse()?, slow.parse()?, greedy.parse()?);
    thread::scope(|scope| {
        let idlers = scope.spawn(|| keep(socket, idle, until, &[]));
        let head = b"GET /_ping HTTP/1.1\r\nHost: docker\r\nX-Slow: ";
        let half = slow / 2;
        let talkers = scope.spawn(move || keep(socket, half, until, head));
        let readers = scope.spawn(move || take(socket, slow - half, until, big));
        let greedy: Vec<_> = (0..greedy)
            .map(|number| scope.spawn(move || grab(socket, (big, number), until)))
            .collect();
        let mut out = io::stdout().lock();
        for (kind, thread) in [("idle", idlers), ("slow", talkers), ("takes", readers)] {
            tell(&mut out, kind, thread.join().ok().context("a thread has ended")?)?;
        }
        for thread in greedy {
            tell(&mut out, "greedy", thread.join().ok().context("a thread has ended")?)?;
        }
        Ok(())
    })
}

fn tell(out: &mut impl io::Write, kind: &str, count: Count) -> Result<()> {
    let Count { opened, failed, answered } = count;
    Ok(writeln!(out, "{kind} {opened} opened {failed} failed {answered} answered")?)
}

/// Connections that say nothing, or this, a byte a second; one that is ended is opened again.
fn keep(socket: &str, number: usize, until: Instant, text: &[u8]) -> Count {
    let (mut count, mut open) = (Count::default(), VecDeque::<(UnixStream, usize, Instant)>::new());
    while Instant::now() < until {
        while open.len() < number {
            count.opened += 1;
            let Ok(stream) = connect(socket) else {
                count.failed += 1;
                break;
            };
            open.push_back((stream, 0, Instant::now()));
        }
        thread::sleep(PAUSE);
        open.retain_mut(|(stream, said, last)| {
            if last.elapsed() >= SLOW && *said < text.len() {
                *last = Instant::now();
                *said += stream.write(text.get(*said..*said + 1).unwrap_or_default()).unwrap_or(0);
            }
            is_open(stream)
        });
    }
    count
}

/// Asks for much, and takes a byte a second of it.
fn take(socket: &str, number: usize, until: Instant, big: &str) -> Count {
    let request = format!("GET /v1.41/containers/{big}/json HTTP/1.1\r\nHost: docker\r\n\r\n");
    let (mut count, mut open) = (Count::default(), Vec::<UnixStream>::new());
    while Instant::now() < until {
        while open.len() < number {
            count.opened += 1;
            let asked = connect(socket).and_then(|mut stream| {
                stream.write_all(request.as_bytes())?;
                Ok(stream)
            });
            let Ok(stream) = asked else {
                count.failed += 1;
                break;
            };
            open.push(stream);
        }
        thread::sleep(SLOW);
        open.retain_mut(|stream| match stream.read(&mut [0]) {
            Ok(0) => false,
            Ok(_) => {
                count.answered += 1;
                true
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        });
    }
    count
}

/// Asks as fast as it can for what costs most, several requests at once, and waits for no answer.
fn grab(socket: &str, (big, number): (&str, usize), until: Instant) -> Count {
    let wait = format!(
        "POST /v1.41/containers/{big}/wait?condition=next-exit HTTP/1.1\r\nHost: docker\r\n\r\n"
    );
    let events = "GET /v1.41/events HTTP/1.1\r\nHost: docker\r\n\r\n";
    let list = "GET /v1.41/containers/json?all=1 HTTP/1.1\r\nHost: docker\r\n\r\n";
    let body = r#"{"Image":"enforcer-test-guest","Cmd":["true"]}"#;
    let (mut count, mut streams, mut open) = (Count::default(), VecDeque::new(), VecDeque::new());
    while Instant::now() < until {
        count.opened += 1;
        let turn = count.opened;
        let length = body.len();
        let create = format!(
            "POST /v1.41/containers/create?name={big}-{number}-{turn} HTTP/1.1\r\nHost: docker\r\nContent-Length: \
             {length}\r\n\r\n{body}"
        );
        let is_stream = streams.len() < STREAMS;
        let request = match turn % 3 {
            _ if is_stream && turn % 8 == 0 => events.to_owned(),
            _ if is_stream => wait.clone(),
            0 => create,
            1 => list.to_owned(),
            // What does not wait for its answer is refused, and costs all the same.
            _ => [list, &create, events].concat(),
        };
        let asked = connect(socket).and_then(|mut stream| {
            stream.write_all(request.as_bytes())?;
            Ok(stream)
        });
        match asked {
            Ok(stream) if is_stream => streams.push_back(stream),
            Ok(stream) => open.push_back(stream),
            Err(_) => {
                count.failed += 1;
                thread::yield_now();
            }
        }
        if open.len() + streams.len() >= GREEDY
            && let Some(mut oldest) = open.pop_front()
        {
            let mut part = [0; 64];
            let _ = oldest.set_nonblocking(false);
            let _ = oldest.set_read_timeout(Some(PAUSE));
            let is_answer = oldest.read(&mut part).is_ok_and(|read| read > 0);
            count.answered += u64::from(is_answer);
        }
        if turn % 64 == 0 {
            streams.retain_mut(is_open);
        }
        // Who is many is not to have all of the machine's time, too: what is tried here is the gate.
        thread::sleep(BREATH);
    }
    count
}

fn connect(socket: &str) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(socket)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Whether the other end is; what it said is thrown away.
fn is_open(stream: &mut UnixStream) -> bool {
    match stream.read(&mut [0; 4096]) {
        Ok(read) => read > 0,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}
