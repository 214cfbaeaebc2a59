//! `enforcer top` in a process of its own, on a terminal of its own that is looked at before and after.

use std::{
    fs::File,
    io::{self, Read as _},
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::process::{CommandExt as _, ExitStatusExt as _},
    },
    process::{Child, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use clap::Parser as _;

use super::super::{TopArgs, top};

/// What the process of its own is to do.
const CHILD: &str = "ENFORCER_TEST_TOP_CHILD";
/// What a terminal is told when another screen begins, and when it ends.
const OTHER_SCREEN: &str = "\x1b[?1049h";
const OWN_SCREEN: &str = "\x1b[?1049l";
const HIDES_CURSOR: &str = "\x1b[?25l";
const SHOWS_CURSOR: &str = "\x1b[?25h";
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    top: TopArgs,
}

/// Not a test of its own: what the others run on a terminal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_draws() {
    let Some(what) = std::env::var_os(CHILD) else { return };
    if what == "panic" {
        // As soon as it has drawn, and not in the part that draws.
        tokio::spawn(async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            panic!("a part of it panicked");
        });
    }
    let line = Line::parse_from(["top", "--run-dir", "/nonexistent/enforcer"]);
    let outcome = top(line.top).await;
    // Not the test runner's own words for it.
    std::process::exit(i32::from(outcome.is_err()));
}

/// A process on a terminal.
struct Shown {
    child: Child,
    master: Option<File>,
    /// Keeps the terminal's settings readable.
    slave: File,
    settings: libc::termios,
    said: String,
}

/// Whether the terminal belongs to the process, which is told when it goes away.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Belongs {
    Yes,
    No,
}

impl Shown {
    /// Starts it, and waits for the view.
    fn start(what: &str, belongs: Belongs) -> Self {
        let (master, slave) = pty();
        let settings = settings(&slave);
        let mut command = Command::new(std::env::current_exe().expect("a path"));
        command.args(["--exact", "cli::top::screen::tests::a_child_draws", "--nocapture"]);
        command.env(CHILD, what);
        for io in [Command::stdin, Command::stdout, Command::stderr] {
            io(&mut command, slave.try_clone().expect("a descriptor"));
        }
        if belongs == Belongs::Yes {
            // SAFETY: both calls may be made between fork and exec, and use nothing of this process's.
            unsafe { command.pre_exec(own_terminal) };
        }
        let child = command.spawn().expect("the test runner starts");
        let mut shown = Self { child, master: Some(master), slave, settings, said: String::new() };
        shown.read_until(|said| said.contains(OTHER_SCREEN) && said.contains("enforcer"));
        assert!(!shown.is_as_before(), "the terminal was not taken");
        shown
    }

    /// Reads what it writes until that is so.
    fn read_until(&mut self, is: impl Fn(&str) -> bool) {
        let begun = Instant::now();
        let master = self.master.as_mut().expect("a terminal");
        while !is(&self.said) {
            assert!(begun.elapsed() < PATIENCE, "it does not say so: {:?}", self.said);
            read(master, &mut self.said, 200);
        }
    }

    fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        // SAFETY: our own child, not yet waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// Waits for its end; reads on meanwhile, for nobody can write to a terminal that is full.
    fn end(&mut self) -> ExitStatus {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end: {:?}", self.said);
            match &mut self.master {
                Some(master) => drop(read(master, &mut self.said, 50)),
                None => thread::sleep(Duration::from_millis(50)),
            }
        };
        if let Some(master) = &mut self.master {
            while read(master, &mut self.said, 50) {}
        }
        status
    }

    fn is_as_before(&self) -> bool {
        let now = settings(&self.slave);
        let flags = |of: &libc::termios| [of.c_iflag, of.c_oflag, of.c_cflag, of.c_lflag];
        flags(&now) == flags(&self.settings)
    }

    /// Settings, screen and cursor are those of before.
    fn assert_given_back(&self) {
        let last = |what: &str| self.said.rfind(what);
        assert!(self.is_as_before(), "settings: {:?}", self.said);
        assert!(last(OWN_SCREEN) > last(OTHER_SCREEN), "screen: {:?}", self.said);
        assert!(last(SHOWS_CURSOR) > last(HIDES_CURSOR), "cursor: {:?}", self.said);
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// A new terminal: the side that people look at, and the one that programs have. No child of another test gets either.
fn pty() -> (File, File) {
    const FLAGS: i32 = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: takes flags.
    let master = unsafe { libc::posix_openpt(FLAGS) };
    assert!(master >= 0, "posix_openpt: {}", io::Error::last_os_error());
    // SAFETY: just made, for us alone.
    let owned = unsafe { OwnedFd::from_raw_fd(master) };
    // SAFETY: our own descriptor.
    assert_eq!(unsafe { libc::unlockpt(master) }, 0, "{}", io::Error::last_os_error());
    // SAFETY: takes flags, and makes a descriptor.
    let slave = unsafe { libc::ioctl(master, libc::TIOCGPTPEER, FLAGS) };
    assert!(slave >= 0, "TIOCGPTPEER: {}", io::Error::last_os_error());
    let size = libc::winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: reads the size.
    assert_eq!(unsafe { libc::ioctl(master, libc::TIOCSWINSZ, &raw const size) }, 0);
    // SAFETY: just made, for us alone.
    (owned.into(), unsafe { OwnedFd::from_raw_fd(slave) }.into())
}

/// In the child: a session of its own, whose terminal this is.
fn own_terminal() -> io::Result<()> {
    // SAFETY: takes nothing.
    if unsafe { libc::setsid() } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a request without an argument, for the standard input.
    if unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn settings(terminal: &File) -> libc::termios {
    // SAFETY: all-zero bytes are a termios.
    let mut settings = unsafe { std::mem::zeroed() };
    // SAFETY: fills what it is given.
    let failed = unsafe { libc::tcgetattr(terminal.as_raw_fd(), &raw mut settings) };
    assert_eq!(failed, 0, "tcgetattr: {}", io::Error::last_os_error());
    settings
}

/// Adds what is there to be read within so many milliseconds; whether there was something.
fn read(master: &mut File, said: &mut String, milliseconds: i32) -> bool {
    let mut poll = libc::pollfd { fd: master.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one descriptor, ours.
    if unsafe { libc::poll(&raw mut poll, 1, milliseconds) } != 1 {
        return false;
    }
    let mut bytes = [0; 4096];
    let count = master.read(&mut bytes).unwrap_or(0);
    said.push_str(&String::from_utf8_lossy(&bytes[..count]));
    count > 0
}

#[test]
fn whatever_signal_ends_top_the_terminal_is_as_before() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let mut shown = Shown::start("draw", Belongs::Yes);
        shown.signal(signal);
        let status = shown.end();
        assert_eq!(status.code(), Some(0), "signal {signal}: {status:?} {:?}", shown.said);
        shown.assert_given_back();
    }
}

/// The control: what the others look at is not given back by itself.
#[test]
fn a_top_that_is_killed_leaves_the_terminal_taken() {
    let mut shown = Shown::start("draw", Belongs::Yes);
    shown.signal(libc::SIGKILL);
    assert_eq!(shown.end().signal(), Some(libc::SIGKILL));
    assert!(!shown.is_as_before() && !shown.said.contains(OWN_SCREEN), "{:?}", shown.said);
}

#[test]
fn a_panic_in_any_part_of_top_gives_the_terminal_back_says_what_it_was_and_ends_it() {
    let mut shown = Shown::start("panic", Belongs::Yes);
    let status = shown.end();
    assert_eq!(status.code(), Some(super::PANICKED), "{status:?} {:?}", shown.said);
    shown.assert_given_back();
    let after = shown.said.rsplit_once(OWN_SCREEN).expect("its own screen").1;
    assert!(after.contains("a part of it panicked"), "{after:?}");
}

#[test]
fn top_ends_when_its_terminal_goes_away_whether_it_is_told_or_not() {
    for belongs in [Belongs::Yes, Belongs::No] {
        let mut shown = Shown::start("draw", belongs);
        drop(shown.master.take());
        let status = shown.end();
        assert!(status.signal().is_none(), "{status:?}");
    }
}
