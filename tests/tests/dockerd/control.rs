//! The control API of a real daemon: who may, what is recorded, and that answers are as documented.

use std::{
    fs::{self, Permissions},
    io,
    io::{Read as _, Write as _},
    net::Shutdown,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use enforcer_tests::harness::{
    dockerd::Options,
    enforcer::{Enforcer, Settings},
    openapi,
    residue::Snapshot,
    run::wait_for,
    topology::{Base, Rig},
};

/// Users that no host has.
const ADMIN: u32 = 3_999_990_001;
const STRANGER: u32 = 3_999_990_003;

/// Status and body of the answer to a call, as another user.
fn call(uid: u32, socket: &Path, line: &str) -> io::Result<(String, String)> {
    let socket = socket.to_owned();
    let request = format!("{line} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    let asking = thread::spawn(move || {
        // Root's group would be the files'.
        for which in [libc::SYS_setresgid, libc::SYS_setresuid] {
            // SAFETY: numbers, and only this thread: it is the C library that would change all threads.
            if unsafe { libc::syscall(which, uid, uid, uid) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        let mut stream = UnixStream::connect(socket)?;
        stream.write_all(request.as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    });
    let answer = asking.join().map_err(|_panicked| io::Error::other("a panic"))??;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    Ok((status.to_owned(), body.to_owned()))
}

fn start(admins: &str) -> Result<(Rig, Enforcer)> {
    let rig = Base::start(Options::default())?.with_guests()?;
    let daemon = Enforcer::start_beside(&rig, &Settings::default())?;
    let text = fs::read_to_string(daemon.config())?;
    let text = text.replacen("[daemon]\n", &format!("[daemon]\nadmins = {admins}\n"), 1);
    fs::write(daemon.config(), text)?;
    for guest in [&rig.a, &rig.b] {
        daemon.wait_identified(&rig.host, &guest.name, "guest")?;
    }
    Ok((rig, daemon))
}

#[test]
fn s17_a_change_is_recorded_with_who_wanted_it_and_a_stranger_changes_nothing() -> Result<()> {
    if !super::can_enforce() {
        return Ok(());
    }
    let residue = Snapshot::take();
    let (rig, daemon) = start(&format!("[\"{ADMIN}\", \"no-such-user\"]"))?;
    let text = fs::read_to_string(daemon.config())?;
    let run_dir = text.lines().find_map(|line| line.strip_prefix("run_dir = \""));
    let run_dir = run_dir.and_then(|rest| rest.strip_suffix('"')).context("a run directory")?;
    let socket = Path::new(run_dir).join("control.sock");
    // The daemon was started without them.
    let early = call(ADMIN, &socket, "GET /v1/status").map_err(|error| error.kind());
    ensure!(early == Err(io::ErrorKind::PermissionDenied), "{early:?}");
    let (code, said) = daemon.verb(&rig.host, "reload", &[])?;
    ensure!(code == 0, "{code}: {said}");
    let by_root = daemon.wait_record("root's reload", |r| r["enforcer.event"] == "reloaded")?;
    ensure!(by_root["enforcer.by.uid"] == 0 && by_root["enforcer.by.user"] == "root", "{by_root}");
    ensure!(by_root["enforcer.by.comm"].as_str().is_some_and(|comm| !comm.is_empty()), "{by_root}");
    wait_for("the admin to be let in", Duration::from_secs(5), || {
        Ok(call(ADMIN, &socket, "GET /v1/version").ok().filter(|(status, _)| status == "200"))
    })?;
    let reasons = daemon.status(&rig.host)?["health"]["reasons"].to_string();
    ensure!(reasons.contains("knows no user no-such-user"), "{reasons}");

    let explain = format!("/v1/explain?from={}&to=192.0.2.1&protocol=6&port=443", rig.a.name);
    for target in ["/v1/version", "/v1/status", "/v1/flows?limit=5", &explain] {
        let (status, body) = call(ADMIN, &socket, &format!("GET {target}"))?;
        ensure!(status == "200", "{target}: {status} {body}");
        let path = target.split('?').next().unwrap_or_default();
        openapi::check(path, &serde_json::from_str(&body)?)?;
    }
    let (status, document) = call(ADMIN, &socket, "GET /v1/openapi.json")?;
    ensure!(status == "200" && document.contains("\"/v1/explain\""), "{status}");

    let before = daemon.records().len();
    let (status, body) = call(ADMIN, &socket, "POST /v1/reload")?;
    ensure!(status == "200", "{status} {body}");
    let by_admin = daemon.wait_record("the admin's reload", |r| {
        r["enforcer.event"] == "reloaded" && r["enforcer.by.uid"] == ADMIN
    })?;
    ensure!(by_admin.get("enforcer.by.user").is_none(), "nobody is called so: {by_admin}");
    ensure!(by_admin["enforcer.by.pid"] == std::process::id(), "{by_admin}");

    // Not even connecting works; with the file open to everybody, the daemon says no.
    let refused = call(STRANGER, &socket, "POST /v1/stop").map_err(|error| error.kind());
    ensure!(refused == Err(io::ErrorKind::PermissionDenied), "{refused:?}");
    for path in [Path::new(run_dir), &socket] {
        fs::set_permissions(path, Permissions::from_mode(0o777))?;
    }
    for line in ["POST /v1/stop", "POST /v1/reload", "GET /v1/status", "GET /v1/nothing"] {
        let (status, body) = call(STRANGER, &socket, line)?;
        ensure!(status == "403" && body.contains("forbidden"), "{line}: {status} {body}");
    }
    let report = daemon.status(&rig.host)?;
    ensure!(report["calls_refused"] == 4, "{}", report["calls_refused"]);
    let told = daemon.log_text().matches("control socket: refused").count();
    ensure!(told == 1, "{told} lines about 4 refusals");
    let reloads = daemon.records().into_iter().skip(before);
    let reloads = reloads.filter(|r| r["enforcer.event"] == "reloaded").count();
    ensure!(reloads == 1, "the stranger's reload was done: {reloads}");

    // The stop is an admin's, and recorded as theirs.
    let (status, body) = call(ADMIN, &socket, "POST /v1/stop")?;
    ensure!(status == "200", "{status} {body}");
    let records = daemon.end()?.records();
    let stop = records.iter().find(|r| r["enforcer.event"] == "stop").context("no stop")?;
    ensure!(stop["enforcer.by.uid"] == ADMIN, "{stop}");
    rig.stop()?;
    residue.ensure_nothing_new()
}
