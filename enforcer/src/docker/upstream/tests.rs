//! Whom engines ask, by their files.

use std::{fs, os::unix::fs::symlink};

use super::*;

const OLD: ApiVersion = ApiVersion { major: 1, minor: 41 };

fn addresses(all: &[&str]) -> Vec<IpAddr> {
    all.iter().map(|address| address.parse().expect("an address")).collect()
}

#[test]
fn d10_an_engine_asks_from_the_host_what_its_version_says() {
    let text = "# 127.0.0.9\nsearch example.org\nnameserver 127.0.0.1\n nameserver\t192.0.2.53 # ours\n\
                nameserver 2001:db8::53\nnameserver fe80::1%eth0\nnameserver ::1\n;nameserver 127.0.0.8\n\
                nameserver nonsense\noptions edns0\n";
    let found = servers(text);
    let all = ["127.0.0.1", "192.0.2.53", "2001:db8::53", "fe80::1", "::1"];
    assert_eq!(found, addresses(&all));
    let six = ["127.0.0.1", "2001:db8::53", "fe80::1", "::1"];
    for (api, asked) in [
        ("1.41", &["127.0.0.1"][..]),
        ("1.43", &["127.0.0.1"]),
        ("1.45", &six),
        ("1.47", &six),
        ("1.48", &all),
        ("2.0", &all),
    ] {
        let api = ApiVersion::parse(api).expect("a version");
        assert_eq!(from_host(&found, api), addresses(asked), "{api}");
    }
    assert!(from_host(&servers("nameserver 192.0.2.53"), OLD).is_empty());
    assert!(ApiVersion::parse("1").is_none() && ApiVersion::parse("1.x").is_none());
}

#[test]
fn an_engine_s_own_servers_are_those_that_it_was_told_of() {
    let of = |line: &str| settings(line.split(' '));
    for (line, dns) in [
        ("/usr/sbin/dockerd -H fd://", false),
        ("dockerd --dns 192.0.2.1", true),
        ("dockerd --dns=192.0.2.1 --debug", true),
        ("dockerd --dns-search example.org --dns-opt=ndots:1", false),
        ("dockerd --dns= --debug", false),
        ("dockerd --dns", false),
        ("--dns=192.0.2.1", false),
    ] {
        assert_eq!(of(line).dns, dns, "{line}");
    }
    let elsewhere = Some("/srv/docker.json".to_owned());
    for line in ["dockerd --config-file /srv/docker.json", "dockerd --config-file=/srv/docker.json"]
    {
        assert_eq!(of(line).config_file, elsewhere, "{line}");
    }
    for (config, own) in [
        (r#"{"dns": ["192.0.2.1"], "debug": true}"#, true),
        (r#"{"dns": []}"#, false),
        (r#"{"dns": [""]}"#, false),
        (r#"{"dns": "192.0.2.1"}"#, false),
        ("{}", false),
        ("", false),
        ("not JSON", false),
    ] {
        assert_eq!(own_servers(config), own, "{config}");
    }
}

/// A root of an engine's own, with these files and links.
fn root_with(name: &str, files: &[(&str, &str)], links: &[(&str, &str)]) -> PathBuf {
    let root =
        std::env::temp_dir().join(format!("enforcer-upstream-{name}-{}", std::process::id()));
    let place = |path: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        path
    };
    for (path, text) in files {
        fs::write(place(path), text).expect("written");
    }
    for (path, target) in links {
        symlink(target, place(path)).expect("linked");
    }
    root
}

#[test]
fn d10_systemd_s_stub_is_replaced_as_the_engine_replaces_it() {
    const RESOLVED: &str = "run/systemd/resolve/resolv.conf";
    const STUB: &str = "run/systemd/resolve/stub-resolv.conf";
    let asked = |name: &str, files: &[(&str, &str)], links: &[(&str, &str)]| {
        let root = root_with(name, files, links);
        let found = upstream(&root, OLD);
        fs::remove_dir_all(&root).expect("removed");
        found.map(|found| found.to_string())
    };
    // Links lead within the engine's root, also those that begin with a slash or climb above it.
    let stub = (STUB, "nameserver 127.0.0.53\noptions trust-ad\n");
    for target in
        ["../run/systemd/resolve/stub-resolv.conf", "/../run/systemd/resolve/stub-resolv.conf"]
    {
        let said = asked(
            "plain",
            &[stub, (RESOLVED, "nameserver 192.0.2.1\n")],
            &[("etc/resolv.conf", target)],
        );
        assert_eq!(said.expect("read"), format!(" (/{RESOLVED})"));
    }
    let said = asked(
        "dnsmasq",
        &[("etc/resolv.conf", "nameserver 127.0.0.53\n"), (RESOLVED, "nameserver 127.0.0.1\n")],
        &[],
    );
    assert_eq!(said.expect("read"), format!("127.0.0.1 (/{RESOLVED})"));
    // The stub beside another one is asked itself.
    let said =
        asked("both", &[("etc/resolv.conf", "nameserver 127.0.0.53\nnameserver 192.0.2.1\n")], &[]);
    assert_eq!(said.expect("read"), "127.0.0.53 (/etc/resolv.conf)");
    // Where there is no file the engine knows nobody on the host.
    let said = asked("none", &[("etc/hosts", "")], &[]);
    assert_eq!(said.expect("read"), " (/etc/resolv.conf)");
    let said = asked("loop", &[("etc/hosts", "")], &[("etc/resolv.conf", "/etc/resolv.conf")]);
    assert!(matches!(said, Err(UpstreamError::Read { .. })), "{said:?}");
}

#[test]
fn a_config_file_that_is_newer_than_the_engine_is_not_in_force() {
    let root = root_with("newer", &[("etc/docker/daemon.json", "{}")], &[]);
    let path = Path::new(CONFIG_FILE);
    let hour = Duration::from_hours(1);
    let began = SystemTime::now() + hour;
    let there = ConfigFile::Read("{}".to_owned());
    assert_eq!(config_file(&root, path, Some(began)), there);
    assert_eq!(config_file(&root, path, Some(began - 2 * hour)), ConfigFile::TooNew);
    assert_eq!(config_file(&root, path, None), there);
    assert_eq!(config_file(&root, Path::new("/none"), None), ConfigFile::Missing);
    fs::remove_dir_all(&root).expect("removed");
}

#[test]
fn a_process_that_is_no_engine_is_not_asked_for_its_files() {
    let own = i32::try_from(std::process::id()).expect("a pid");
    assert_ne!(engine(Some(own)).map(|engine| engine.pid), Some(own));
    // The clock of a life is that of the machine.
    let stat = read(Path::new("/proc/self/stat")).expect("read");
    let fields = stat.rsplit_once(')').expect("a name").1;
    let started = fields.split_whitespace().nth(19).and_then(|ticks| ticks.parse().ok());
    let began = began(Process { pid: own, started: started.expect("a start") }).expect("a time");
    let age = SystemTime::now().duration_since(began).unwrap_or_default();
    assert!(age < Duration::from_mins(30), "{age:?}");
}

#[tokio::test]
async fn d10_files_that_hang_are_not_waited_for_and_what_is_known_stays() {
    let mut upstreams = Upstreams::new("/nowhere".into());
    let engine = Process { pid: 7, started: 1 };
    let known: Known = Some((engine, Ok(Settings::default())));
    let found = known.clone();
    let first = upstreams.within(LOOK_LIMIT, |_| (found, Ok(Upstream::default()))).await;
    assert_eq!(first.expect("found"), Upstream::default());
    let (release, released) = std::sync::mpsc::channel::<()>();
    let short = Duration::from_millis(20);
    let late = upstreams
        .within(short, move |_| {
            let _ended = released.recv();
            (None, Ok(Upstream::default()))
        })
        .await;
    assert!(matches!(late, Err(UpstreamError::Late)), "{late:?}");
    assert_eq!(upstreams.known, known);
    // Nobody looks beside the one that hangs.
    let beside = upstreams.within(short, |_| panic!("a second look")).await;
    assert!(matches!(beside, Err(UpstreamError::Late)), "{beside:?}");
    assert_eq!(upstreams.known, known);
    release.send(()).expect("it waits");
    let was = known.clone();
    let later = upstreams.within(LOOK_LIMIT, move |known| {
        assert_eq!(known, was, "what the late one found is nobody's");
        (known, Ok(Upstream::default()))
    });
    assert_eq!(later.await.expect("found"), Upstream::default());
    assert_eq!(upstreams.known, known);
}
