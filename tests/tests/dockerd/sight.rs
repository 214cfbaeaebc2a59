//! What an operator sees and does: `enforcer config`, `allow`, `cut`, `top` in a terminal and the dashboard in a browser.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::{
    harness::{
        client::Actor,
        enforcer::{Enforcer, Settings},
        netns::{Namespace, die_with_parent},
        residue::Snapshot,
        run::{Run, wait_for},
        topology::{GATEWAY, Rig, WORLD},
    },
    protocol::Serve,
};
use serde_json::{Value, json};

use crate::flood::{Talk, binary, finish, start};

fn reaches(actor: &Actor) -> Result<bool> {
    Ok(actor.connect((WORLD, 80), 500)?.errno.is_none())
}

/// Whether it comes to that within a few seconds.
fn soon(what: &str, is: impl Fn() -> Result<bool>) -> Result<()> {
    wait_for(what, Duration::from_secs(10), || Ok(is()?.then_some(())))
}

/// A verb that must say so.
fn says(
    (daemon, rig): (&Enforcer, &Rig),
    (verb, arguments): (&str, &[&str]),
    (code, words): (i32, &str),
) -> Result<()> {
    let (found, said) = daemon.verb(&rig.host, verb, arguments)?;
    ensure!(
        found == code && said.contains(words),
        "{verb} {arguments:?}: {found}: {said}\n{}",
        daemon.log_text()
    );
    Ok(())
}

fn restarted(rig: &Rig, daemon: Enforcer) -> Result<Enforcer> {
    let daemon = daemon.restart(&rig.host, binary()?)?;
    for guest in [&rig.a, &rig.b] {
        daemon.wait_identified(&rig.host, &guest.name, "guest")?;
    }
    Ok(daemon)
}

/// What is opened for a while is open to that guest alone, outlives a restart, and ends: by itself, or revoked. Nothing
/// opens this host, a neighbour or a metadata service. A cut that an admin wants beats it, until a pardon. Dry runs
/// change nothing.
#[test]
fn n1_a_guest_is_allowed_something_for_a_while_and_cut_off_for_a_while() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (rig, daemon) = start(&Settings::default())?;
    let to = format!("{WORLD}:80");
    let both = (&daemon, &rig);
    let (a, b) = (rig.a.name.as_str(), rig.b.name.as_str());
    let why = ["--reason", "a lecture"];
    ensure!(!reaches(&rig.a.actor)?, "closed to begin with");
    let order = [&[a, &to, "--for", "1h"], &why[..]].concat();
    says(both, ("allow", &[&order[..], &["--dry-run"]].concat()), (0, "nothing has changed"))?;
    ensure!(!reaches(&rig.a.actor)?, "a dry run opened it");
    says(both, ("allow", &order), (0, "may reach"))?;
    ensure!(reaches(&rig.a.actor)? && !reaches(&rig.b.actor)?, "open to one of them");
    for closed in
        [format!("{GATEWAY}:22"), "169.254.169.254:80".to_owned(), format!("{}:80", rig.b.ipv4)]
    {
        says(both, ("allow", &[&[a, &closed], &why[..]].concat()), (2, ""))?;
    }
    daemon.wait_record("an allowance", |record| {
        record["event.action"] == "allowance"
            && record["enforcer.event"] == "allowed"
            && record["container.name"] == a
            && record["enforcer.why"] == "a lecture"
            && record["enforcer.by.uid"] == 0
    })?;
    // For as short a while as there is; it is looked at below.
    says(both, ("allow", &[&[b, &to, "--for", "10s"], &why[..]].concat()), (0, "may reach"))?;
    ensure!(reaches(&rig.b.actor)?, "open to the other one");

    let daemon = restarted(&rig, daemon)?;
    let both = (&daemon, &rig);
    soon("what is allowed after a restart", || reaches(&rig.a.actor))?;
    says(both, ("allow", &["list"]), (0, "a lecture"))?;
    soon("the end of a while", || Ok(!reaches(&rig.b.actor)?))?;

    let cut = [&[a], &why[..]].concat();
    says(both, ("cut", &[&cut[..], &["--dry-run"]].concat()), (0, "nothing has changed"))?;
    ensure!(reaches(&rig.a.actor)?, "a dry run cut it off");
    says(both, ("cut", &cut), (0, "is cut off until"))?;
    soon("the cut", || Ok(!reaches(&rig.a.actor)?))?;
    says(both, ("pardon", &[a, "--dry-run"]), (0, "would be let go"))?;
    ensure!(!reaches(&rig.a.actor)?, "a dry run let it go");
    says(both, ("pardon", &[a]), (0, "no longer cut off"))?;
    soon("the pardon", || reaches(&rig.a.actor))?;
    let (_, list) = daemon.verb(&rig.host, "allow", &["list", "--json"])?;
    let list: Value = serde_json::from_str(&list).with_context(|| list.clone())?;
    let id = list["allowances"][0]["id"].as_u64().context("one is left")?.to_string();
    says(both, ("allow", &["revoke", &id, "--dry-run"]), (0, "nothing has changed"))?;
    ensure!(reaches(&rig.a.actor)?, "a dry run closed it");
    says(both, ("allow", &["revoke", &id]), (0, "closed:"))?;
    soon("a revocation", || Ok(!reaches(&rig.a.actor)?))?;
    says(both, ("allow", &["revoke", &id]), (2, "there is no allowance"))?;
    for verb in ["reload", "stop", "uninstall"] {
        says(both, (verb, &["--dry-run"]), (0, "nothing has changed"))?;
    }
    says(both, ("status", &[]), (0, "enforcing"))?;
    first_config(&rig, &daemon)?;
    seen(&rig, &daemon)?;
    finish(rig, daemon, &residue)
}

/// The engine says nothing of its guests before the new daemon is there.
fn restarted_before_the_engine(rig: &Rig, daemon: Enforcer) -> Result<Enforcer> {
    rig.docker.signal(libc::SIGSTOP)?;
    let daemon = binary().and_then(|binary| daemon.restart(&rig.host, binary));
    thread::sleep(Duration::from_millis(500));
    rig.docker.signal(libc::SIGCONT)?;
    let daemon = daemon?;
    for guest in [&rig.a, &rig.b] {
        daemon.wait_identified(&rig.host, &guest.name, "guest")?;
    }
    Ok(daemon)
}

/// A conversation that was allowed for a while, and goes on all the while, outlives restarts: with overrides, where only
/// the engine says which policy a guest has, and without.
#[test]
fn n7_a_restart_ends_no_conversation_that_was_allowed_for_a_while() -> Result<()> {
    const PORT: u16 = 7100;
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (rig, mut daemon) = start(&Settings::default())?;
    rig.world.actor.listen((WORLD, PORT), Serve::Echo)?;
    let to = format!("{WORLD}:{PORT}");
    let order = [rig.a.name.as_str(), &to, "--reason", "a lecture"];
    says((&daemon, &rig), ("allow", &order), (0, "may reach"))?;
    let talk = Talk::to(&rig.a.actor, (WORLD, PORT))?;
    talk.go_on("before")?;
    let plain = fs::read_to_string(daemon.config())?;
    let overridden = format!(
        "{plain}\n[policies.staff]\n[[policies.staff.allow]]\nhost = true\nport = 22\n\
         [[networks.guests.override]]\ngroup = \"staff\"\npolicy = \"staff\"\n"
    );
    for text in [&plain, &overridden] {
        crate::policies::reload(&daemon, &rig, text)?;
        talk.go_on("after a reload")?;
        let is_over = AtomicBool::new(false);
        daemon = thread::scope(|scope| -> Result<Enforcer> {
            let talking = scope.spawn(|| -> Result<()> {
                while !is_over.load(Ordering::Relaxed) {
                    talk.go_on("all the while")?;
                    thread::sleep(Duration::from_millis(2));
                }
                Ok(())
            });
            let daemon = restarted_before_the_engine(&rig, daemon);
            is_over.store(true, Ordering::Relaxed);
            talking.join().map_err(|panic| anyhow::anyhow!("{panic:?}"))??;
            daemon
        })?;
        talk.go_on("after a restart")?;
    }
    says((&daemon, &rig), ("allow", &["list"]), (0, "a lecture"))?;
    // The next installation opens nothing of it.
    let kept = daemon.config().with_file_name("state").join("allowances.json");
    ensure!(kept.exists(), "{} is not there", kept.display());
    says((&daemon, &rig), ("uninstall", &["--yes"]), (0, ""))?;
    ensure!(!kept.exists(), "{} is left", kept.display());
    drop(daemon);
    rig.stop()?;
    residue.ensure_nothing_new()
}

/// A first config file of what the engine has: `check` takes it, and none is overwritten.
fn first_config(rig: &Rig, daemon: &Enforcer) -> Result<()> {
    let file = rig.run.dir().join("first.toml");
    let path = file.to_str().context("a path")?;
    let socket = rig.docker.socket();
    let socket = socket.to_str().context("a path")?;
    let init = |more: &[&str]| {
        let arguments = ["init", "--no-questions", "--docker-socket", socket, "--output", path];
        daemon.raw(&rig.host, "config", &[&arguments[..], more].concat())
    };
    let (code, said) = init(&["--network", "guests", "--dry-run"])?;
    ensure!(code == 0 && said.contains("guests0") && !file.exists(), "{code}: {said}");
    let (code, said) = init(&["--network", "guests", "--internet", "--hub-port", "8081"])?;
    ensure!(code == 0 && file.exists(), "{code}: {said}");
    let (code, said) = init(&["--network", "other"])?;
    ensure!(code == 2 && said.contains("--force"), "{code}: {said}");
    let (code, said) = daemon.raw(&rig.host, "config", &["check", path])?;
    ensure!(code == 0 && said.contains("on bridge guests0"), "{code}: {said}");
    let (code, said) = daemon.verb(&rig.host, "config", &["show"])?;
    ensure!(
        code == 0 && said.contains("# default") && said.contains("networks.guests.bridge"),
        "{said}"
    );
    Ok(())
}

/// `top` in a terminal, and the dashboard in a browser, show guests that were denied something.
fn seen(rig: &Rig, daemon: &Enforcer) -> Result<()> {
    ensure!(!reaches(&rig.b.actor)?, "a denial to be shown");
    let terminal = Terminal::start(rig, daemon)?;
    terminal.shows("guest-a")?;
    terminal.shows("enforcing")?;
    terminal.keep("top")?;
    terminal.press(&["/", "g", "u", "e", "s", "t", "-", "b", "Enter"])?;
    soon("a filter", || Ok(!terminal.screen()?.contains("guest-a")))?;
    terminal.press(&["Tab"])?;
    terminal.shows("policy")?;
    terminal.press(&["e"])?;
    terminal.shows("What to do:")?;
    terminal.press(&["q", "x"])?;
    terminal.shows("[y/N]")?;
    terminal.press(&["y"])?;
    terminal.shows("CUT OFF")?;
    says((daemon, rig), ("pardon", &[&rig.b.name]), (0, "no longer cut off"))?;
    terminal.press(&["q"])?;
    terminal.shows("ended 0")?;
    drop(terminal);
    let Some(browser) = browser() else { return Ok(()) };
    let page = Dashboard::start(
        &rig.host,
        daemon.binary(),
        &["--config", daemon.config().to_str().context("a path")?],
    )?;
    let dom = page.dom(&rig.host, browser, rig.run.dir())?;
    for words in ["guest-a", "guest-b", ">enforcing<", "No rule allows this new flow."] {
        ensure!(dom.contains(words), "{words:?} is not in the page: {dom}");
    }
    page.keep(&rig.host, browser, rig.run.dir())
}

/// `enforcer top` in a tmux of its own.
struct Terminal<'a> {
    host: &'a Namespace,
    socket: String,
}

impl<'a> Terminal<'a> {
    fn start(rig: &'a Rig, daemon: &Enforcer) -> Result<Self> {
        let socket = rig.run.dir().join("tmux").display().to_string();
        let terminal = Self { host: &rig.host, socket };
        let (binary, config) = (daemon.binary().display(), daemon.config().display());
        let line = format!("NO_COLOR=1 {binary} top --config {config}; echo ended $?; sleep 60");
        terminal.tmux(&["new-session", "-d", "-x", "80", "-y", "24", &line])?;
        Ok(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.host.command("tmux");
        command
            .args(["-f", "/dev/null", "-S", &self.socket])
            .args(arguments)
            .env("LC_ALL", "C.UTF-8");
        let output = command.output().context("tmux")?;
        ensure!(
            output.status.success(),
            "tmux {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn press(&self, keys: &[&str]) -> Result<()> {
        keys.iter().try_for_each(|key| self.tmux(&["send-keys", key]).map(drop))
    }

    fn screen(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p"])
    }

    fn shows(&self, words: &str) -> Result<()> {
        soon(words, || Ok(self.screen()?.contains(words)))
            .with_context(|| self.screen().unwrap_or_default())
    }

    /// Keeps what is on it where somebody wants to look.
    fn keep(&self, name: &str) -> Result<()> {
        match std::env::var_os("ENFORCER_KEEP_SIGHTS") {
            Some(dir) => {
                Ok(fs::write(Path::new(&dir).join(name).with_extension("txt"), self.screen()?)?)
            }
            None => Ok(()),
        }
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.tmux(&["kill-server"]);
    }
}

/// A browser; without one there is nothing to test, and CI has one.
fn browser() -> Option<&'static str> {
    let found = ["/usr/bin/chromium", "/usr/bin/chromium-browser"];
    let found = found.into_iter().find(|path| Path::new(path).exists());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI has no chromium");
        eprintln!("skipped: no chromium");
    }
    found
}

/// `enforcer dashboard`, and where it is.
struct Dashboard {
    child: Child,
    at: String,
}

impl Dashboard {
    fn start(host: &Namespace, binary: &Path, more: &[&str]) -> Result<Self> {
        let mut command = host.command(binary);
        command.args(["dashboard", "--listen", "127.0.0.1:0"]).args(more).stdout(Stdio::piped());
        die_with_parent(&mut command, libc::SIGKILL);
        let mut child = command.spawn().context("enforcer dashboard")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("its output")?).read_line(&mut line)?;
        let at = line.trim().strip_prefix("dashboard at ").context("where it is")?.to_owned();
        Ok(Self { child, at })
    }

    fn chromium(
        &self,
        host: &Namespace,
        browser: &str,
        home: &Path,
        more: &[&str],
    ) -> Result<String> {
        let mut command = host.command(browser);
        command
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
            ])
            .args(["--virtual-time-budget=4000", "--timeout=20000"])
            .arg(format!("--user-data-dir={}", home.join("browser").display()))
            .args(more)
            .arg(&self.at)
            .env("HOME", home);
        let output = command.output().context("chromium")?;
        ensure!(output.status.success(), "chromium: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The page as the browser has it after a few looks.
    fn dom(&self, host: &Namespace, browser: &str, home: &Path) -> Result<String> {
        self.chromium(host, browser, home, &["--dump-dom"])
    }

    /// Keeps a picture of it where somebody wants to look.
    fn keep(&self, host: &Namespace, browser: &str, home: &Path) -> Result<()> {
        let Some(dir) = std::env::var_os("ENFORCER_KEEP_SIGHTS") else { return Ok(()) };
        let picture = format!("--screenshot={}", Path::new(&dir).join("dashboard.png").display());
        self.chromium(host, browser, home, &[&picture, "--window-size=1280,900"]).map(drop)
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whatever guests and strangers are called, the page shows it as text: no script of theirs runs, and nothing is loaded.
#[test]
fn s17_what_guests_are_called_does_nothing_to_the_dashboard() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let Some(browser) = browser() else { return Ok(()) };
    let residue = Snapshot::take();
    let run = Run::start()?;
    let host = Namespace::create(&run, "host")?;
    let hostile =
        "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>";
    let status = json!({
        "version": "9.9.9", "abi": 1, "pid": 1, "docker": hostile,
        "health": {"state": "degraded", "reasons": [hostile]},
        "closure": {"wanted": true, "closed": true, "drops": {}},
        "networks": [], "programs": [],
        "counters": [{"endpoint": hostile, "container": hostile, "network": hostile, "hook": "from_guest",
            "reason": hostile, "events": 3, "packets": 3, "bytes": 9, "recorded": 3, "suppressed": 0, "lost": 0}],
        "endpoints": [{"container": hostile, "network": hostile, "interface": "v", "ifindex": 3, "role": "guest",
            "mac": "", "addresses": [hostile], "flows": {"inbound_half_open": 0, "inbound_established": 0,
            "outbound_half_open": 0, "outbound_established": 1, "closing": 0}}],
    });
    let flows = json!({"flows": [], "others": 0, "whole": true});
    let listener = UnixListener::bind(run.dir().join("control.sock"))?;
    // It ends with the process.
    thread::spawn(move || pretend(&listener, &status, &flows));
    let binary = binary()?;
    let dir = run.dir().to_str().context("a path")?.to_owned();
    let page = Dashboard::start(&host, &binary, &["--run-dir", &dir])?;
    let dom = page.dom(&host, browser, run.dir())?;
    ensure!(dom.contains("9.9.9") && dom.contains("&lt;img src=x onerror"), "{dom}");
    ensure!(dom.contains("<title>enforcer</title>") && !dom.contains("<img"), "{dom}");
    drop(page);
    drop(host);
    drop(run);
    residue.ensure_nothing_new()
}

/// Answers as a daemon would, for as long as anybody asks.
fn pretend(listener: &UnixListener, status: &Value, flows: &Value) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { return };
        let mut asked = Vec::new();
        let mut some = [0; 4096];
        while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
            match stream.read(&mut some) {
                Ok(count @ 1..) => asked.extend_from_slice(&some[..count]),
                _ => break,
            }
        }
        let is_status = asked.starts_with(b"GET /v1/status");
        let body = if is_status { status } else { flows }.to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        // Whoever asked may have gone.
        let _ = stream.write_all((head + &body).as_bytes());
    }
}

/// What has no terminal says so, and what may not ask is told whom to ask.
#[test]
fn top_without_a_terminal_says_what_to_use() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let output = Command::new(binary()?).arg("top").stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(2) && said.contains("enforcer status"), "{said}");
    Ok(())
}
