//! Who calls is what the kernel says: users by their numbers, and containers apart from this host.

use std::{
    fs, io,
    io::{Read as _, Write as _},
    net::Shutdown,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use super::rig::{Server, json, own_uid, talk};
use crate::api::{ControlError, client, path, roles::Roles};

const STATUS: &str = "GET /v1/status HTTP/1.1\r\nHost: x\r\nX-Forwarded-User: root\r\n\r\n";
const VERSION: &str = "GET /v1/version HTTP/1.1\r\nHost: x\r\n\r\n";
/// Users that no host has.
const ALICE: u32 = 3_999_990_001;
pub(super) const HUB: u32 = 3_999_990_002;
const MALLORY: u32 = 3_999_990_003;

pub(super) fn is_root(test: &str) -> bool {
    let is_root = own_uid() == 0;
    if !is_root {
        eprintln!("{test}: skipped, only root becomes other users");
    }
    is_root
}

/// Asks as another user, in a thread: a thread has a user of its own.
pub(super) async fn as_user(uid: u32, dir: &Path, request: &'static str) -> io::Result<String> {
    let path = path(dir);
    let asking = move || {
        // SAFETY: numbers, and only this thread's user: it is the C library that would change all threads'.
        let failed = unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) };
        assert_eq!(failed, 0, "{}", io::Error::last_os_error());
        let mut stream = UnixStream::connect(path)?;
        stream.write_all(request.as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    tokio::task::spawn_blocking(move || thread::spawn(asking).join().expect("no panic"))
        .await
        .expect("no panic")
}

pub(super) fn roles() -> Roles {
    Roles { admins: [ALICE, own_uid()].into(), hubs: [(HUB, "lab".to_owned())].into() }
}

#[tokio::test]
async fn s17_the_socket_is_roots_and_of_those_whom_the_config_names() {
    if !is_root("s17_the_socket_is_roots_and_of_those_whom_the_config_names") {
        return;
    }
    let server = Server::start("named");
    let dir = server.dir();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).expect("set");
    let mode = fs::metadata(path(dir)).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Nobody is named: not even connecting works.
    let kind = async |uid| as_user(uid, dir, STATUS).await.map_err(|error| error.kind());
    for uid in [ALICE, HUB, MALLORY] {
        assert_eq!(kind(uid).await, Err(io::ErrorKind::PermissionDenied));
    }
    server.roles.send_replace(roles());
    server.socket.open_to(&roles().others()).expect("opened");
    assert!(as_user(ALICE, dir, STATUS).await.expect("answered").starts_with("HTTP/1.1 200 "));
    assert!(as_user(HUB, dir, VERSION).await.expect("answered").starts_with("HTTP/1.1 200 "));
    assert_eq!(kind(MALLORY).await, Err(io::ErrorKind::PermissionDenied));
    // They pass the directory, and see nothing of it.
    let listing = dir.to_owned();
    let seen = thread::spawn(move || {
        // SAFETY: as above.
        let failed = unsafe { libc::syscall(libc::SYS_setresuid, ALICE, ALICE, ALICE) };
        (failed, fs::read_dir(listing).map_err(|error| error.kind()).map(|_| ()))
    });
    assert_eq!(seen.join().expect("no panic"), (0, Err(io::ErrorKind::PermissionDenied)));
    // No longer named.
    server.roles.send_replace(Roles::default());
    server.socket.open_to(&Roles::default().others()).expect("closed");
    assert_eq!(kind(ALICE).await, Err(io::ErrorKind::PermissionDenied));
    let mode = fs::metadata(path(dir)).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn s17_whoever_may_not_ask_is_told_who_may() {
    if !is_root("s17_whoever_may_not_ask_is_told_who_may") {
        return;
    }
    let server = Server::start("advised");
    let dir = server.dir().to_owned();
    let asking = move || {
        // SAFETY: as above.
        let failed = unsafe { libc::syscall(libc::SYS_setresuid, MALLORY, MALLORY, MALLORY) };
        assert_eq!(failed, 0, "{}", io::Error::last_os_error());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(client::status(&dir)).map(|_report| ())
    };
    let asked = tokio::task::spawn_blocking(move || thread::spawn(asking).join());
    let answer = asked.await.expect("no panic").expect("no panic");
    let Err(error @ ControlError::NotAdmitted(_)) = answer else { panic!("{answer:?}") };
    let said = error.to_string();
    assert!(said.contains("call as root") && said.contains("[daemon] admins"), "{said}");
}

#[tokio::test]
async fn s17_a_call_is_judged_by_its_user_whatever_the_file_lets_in() {
    if !is_root("s17_a_call_is_judged_by_its_user_whatever_the_file_lets_in") {
        return;
    }
    let server = Server::start("judged");
    let dir = server.dir();
    // As if somebody had opened it.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("set");
    fs::set_permissions(path(dir), fs::Permissions::from_mode(0o666)).expect("set");
    server.roles.send_replace(roles());
    for (uid, request, status) in [
        (ALICE, STATUS, 200),
        (HUB, STATUS, 403),
        (HUB, VERSION, 200),
        (MALLORY, STATUS, 403),
        (MALLORY, VERSION, 403),
        // Not even what there is.
        (MALLORY, "GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n", 403),
        (65_534, VERSION, 403),
    ] {
        let answer = as_user(uid, dir, request).await.expect("answered");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{uid} {request}: {answer}");
        if status == 403 {
            assert_eq!(json(&answer)["error"]["code"], "forbidden");
        }
    }
    assert_eq!(server.refused(), 5);
    // Whoever loses the role loses it at once.
    server.roles.send_replace(Roles::default());
    let answer = as_user(ALICE, dir, STATUS).await.expect("answered");
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(talk(dir, STATUS.as_bytes()).await.starts_with("HTTP/1.1 200 "), "root is root");
}

#[tokio::test]
async fn one_users_connections_leave_places_for_others() {
    if !is_root("one_users_connections_leave_places_for_others") {
        return;
    }
    let server = Server::start("crowd");
    server.roles.send_replace(roles());
    server.socket.open_to(&roles().others()).expect("opened");
    let path = path(server.dir());
    let crowding = thread::spawn(move || {
        // SAFETY: as above.
        let failed = unsafe { libc::syscall(libc::SYS_setresuid, ALICE, ALICE, ALICE) };
        assert_eq!(failed, 0);
        (0..200).map_while(|_| UnixStream::connect(&path).ok()).collect::<Vec<_>>()
    });
    let crowd = tokio::task::spawn_blocking(move || crowding.join().expect("no panic"));
    assert_eq!(crowd.await.expect("no panic").len(), 200);
    for _ in 0..5 {
        assert_eq!(client::status(server.dir()).await.expect("root is served").pid, 42);
        let answer = as_user(HUB, server.dir(), VERSION).await.expect("answered");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

const CHILD: &str = "ENFORCER_TEST_API_CHILD";

/// Not a test of its own: what `s17_root_of_a_container_is_not_this_hosts` runs within other namespaces.
#[tokio::test]
async fn a_child_asks() {
    let Some(dir) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    match client::status(&dir).await {
        Ok(report) => println!("served by {}", report.pid),
        Err(ControlError::Forbidden(why)) => println!("forbidden: {why}"),
        Err(error) => println!("failed: {error}"),
    }
}

#[tokio::test]
async fn s17_root_of_a_container_is_not_this_hosts() {
    if !is_root("s17_root_of_a_container_is_not_this_hosts") {
        return;
    }
    let server = Server::start("container");
    for (namespaces, expected) in [
        // The control: no other namespace than a container's harmless ones.
        (&["--uts", "--ipc"][..], "served by 42"),
        (&["--pid", "--fork"][..], "not known to be outside of containers"),
        (&["--user", "--map-root-user"][..], "not known to be outside of containers"),
        (&["--user"][..], "not known to be outside of containers"),
    ] {
        let mut command = Command::new("unshare");
        let exe = std::env::current_exe().expect("a path");
        command.args(namespaces).arg(exe).args(["--exact", "api::tests::who::a_child_asks"]);
        command.arg("--nocapture").env(CHILD, server.dir());
        let output = tokio::task::spawn_blocking(move || command.output()).await;
        let output = output.expect("no panic").expect("unshare runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(expected), "{namespaces:?}: {output:?}");
    }
}
