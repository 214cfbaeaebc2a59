use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::*;

/// What the engine has, by its own sources and by the documents of its API: a line for each method and path. Of
/// bollard's calls a test says whether they are all there.
const ENGINE: &str = include_str!("engine.txt");

fn segments(path: &str) -> Vec<String> {
    path.split('/').skip(1).map(|part| part.replace("{}", "x")).collect()
}

fn user() -> Principal {
    let user = crate::access::name::User {
        hub: "lab".parse().expect("a hub"),
        name: "ada".parse().expect("a user"),
    };
    Principal::User(user)
}

fn hub() -> Principal {
    Principal::Hub("lab".parse().expect("a hub"))
}

fn find_both(method: &str, path: &str) -> [Result<Found, Refusal>; 2] {
    let method: Method = method.parse().expect(method);
    [hub(), user()].map(|principal| find(&principal, &method, &segments(path)))
}

#[test]
fn s13_each_route_of_the_engine_is_in_the_table() {
    let mut lines = 0;
    for line in ENGINE.lines().filter(|line| !line.is_empty()) {
        let (method, path) = line.split_once(' ').expect(line);
        for answer in find_both(method, path) {
            assert_ne!(
                answer.map_err(|refusal| refusal.rule).err(),
                Some("route.unknown"),
                "{line}"
            );
        }
        lines += 1;
    }
    assert!(lines > 100, "{lines} routes");
}

#[test]
fn s13_the_table_has_nothing_that_the_engine_has_not_and_nothing_twice() {
    let shape = |path: &str| {
        let parts = path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part });
        parts.collect::<Vec<_>>().join("/")
    };
    let engine: BTreeSet<&str> = ENGINE.lines().collect();
    let mut seen = BTreeSet::new();
    for route in ROUTES {
        let line = format!("{} {}", route.method, shape(route.path));
        assert!(engine.contains(line.as_str()), "{line} is not of the engine");
        assert!(seen.insert(line.clone()), "{line} is there twice");
    }
    assert_eq!(seen.len(), engine.len());
}

#[test]
fn s13_what_no_engine_has_is_unknown() {
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/containers"),
        ("POST", "/containers/json"),
        ("GET", "/containers/x"),
        ("PUT", "/containers/x"),
        ("PATCH", "/containers/x/start"),
        ("GET", "/containers/x/start"),
        ("GET", "/containers/a/b/json"),
        ("POST", "/containers/x/start/now"),
        ("HEAD", "/containers/json"),
        ("CONNECT", "/info"),
        ("TRACE", "/info"),
        ("get", "/info"),
        ("POST", "/exec/a/b/start"),
        ("GET", "/volumes/a/b"),
        ("GET", "/networks/a/b"),
        ("GET", "/Info"),
        ("GET", "/INFO"),
        ("GET", "/images"),
        ("PRI", "/x"),
    ] {
        for answer in find_both(method, path) {
            assert_eq!(answer.expect_err(path).rule, "route.unknown", "{method} {path}");
        }
    }
}

#[test]
fn s13_control_planes_that_are_no_containers_are_denied_with_their_rule() {
    for (method, path, rule) in [
        ("POST", "/plugins/pull", "route.plugins"),
        ("POST", "/plugins/a/b/enable", "route.plugins"),
        ("POST", "/swarm/init", "route.swarm"),
        ("POST", "/services/create", "route.swarm"),
        ("GET", "/secrets", "route.swarm"),
        ("POST", "/commit", "route.commit"),
        ("POST", "/images/load", "route.load"),
        ("POST", "/session", "route.session"),
        ("POST", "/grpc", "route.session"),
        ("POST", "/build/prune", "route.build"),
        ("POST", "/build/cancel", "route.build"),
        ("POST", "/auth", "route.auth"),
        ("GET", "/distribution/a/b/json", "route.distribution"),
        ("GET", "/images/search", "route.search"),
        ("PUT", "/containers/x/archive", "route.archive"),
        ("HEAD", "/containers/x/archive", "route.archive"),
        ("GET", "/debug/pprof/heap", "route.debug"),
        ("GET", "/system/df", "route.system-df"),
        ("OPTIONS", "/containers/json", "route.options"),
    ] {
        for answer in find_both(method, path) {
            assert_eq!(answer.expect_err(path).rule, rule, "{method} {path}");
        }
    }
    let [hub, user] = find_both("POST", "/containers/x/exec");
    assert_eq!(hub.expect_err("not a hub's").rule, "route.hub");
    assert_eq!(user.expect("a user's").op, Op::ExecCreate);
}

#[test]
fn s08_names_are_found_where_the_engine_finds_them() {
    for (method, path, op, called) in [
        ("GET", "/images/quay.io/a/b:1/json", Op::ImageInspect, "quay.io/a/b:1"),
        ("GET", "/images/json", Op::ImageList, ""),
        ("GET", "/images/json/json", Op::ImageInspect, "json"),
        ("DELETE", "/images/json", Op::ImageRemove, "json"),
        ("GET", "/containers/json/json", Op::ContainerInspect, "json"),
        ("POST", "/containers/create/start", Op::ContainerStart, "create"),
        ("DELETE", "/containers/prune", Op::ContainerRemove, "prune"),
        ("GET", "/volumes/create", Op::VolumeInspect, "create"),
    ] {
        let [_, found] = find_both(method, path);
        let found = found.expect(path);
        assert_eq!((found.op, found.called.as_str()), (op, called), "{path}");
    }
}

/// The sources that this very test was compiled with, where Cargo keeps sources.
fn bollard() -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cargo")))?;
    let registries = fs::read_dir(home.join("registry/src")).ok()?;
    let crates = registries.flatten().filter_map(|entry| fs::read_dir(entry.path()).ok());
    let mut crates = crates.flat_map(|entries| entries.flatten().map(|entry| entry.path()));
    crates.find(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        name.is_some_and(|name| name.starts_with("bollard-0."))
    })
}

/// Paths of requests in a source file: texts that begin with a slash, whatever is called with them.
fn paths(source: &str) -> BTreeSet<String> {
    let lines = source.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    let of_requests = lines.filter(|line| {
        ["let url = ", "let path = ", "\"/"].iter().any(|start| line.starts_with(start))
    });
    let texts = of_requests.filter_map(|line| line.split('"').nth(1));
    let is_path = |text: &&str| {
        text.starts_with('/')
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || b"/_{}".contains(&byte))
    };
    let blank = |text: &str| {
        let parts = text.split('/').map(|part| if part.starts_with('{') { "{}" } else { part });
        parts.collect::<Vec<_>>().join("/")
    };
    texts.filter(is_path).map(blank).collect()
}

#[test]
fn s13_what_bollard_asks_an_engine_is_in_the_table() {
    // Vendored builds have their sources elsewhere; the committed list stands for them then.
    let Some(root) = bollard() else { return };
    let known: BTreeSet<&str> =
        ENGINE.lines().filter_map(|line| Some(line.split_once(' ')?.1)).collect();
    let mut found = 0;
    for entry in fs::read_dir(root.join("src")).expect("sources").flatten() {
        let path = entry.path();
        let name =
            path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // Of the connection's own code paths are of files.
        if path.is_dir() || ["docker.rs", "uri.rs", "ssh.rs", "read.rs"].contains(&name.as_str()) {
            continue;
        }
        for asked in paths(&fs::read_to_string(&path).expect("a source")) {
            assert!(
                known.contains(asked.as_str()),
                "{asked} of {name} is in no line of table/engine.txt"
            );
            found += 1;
        }
    }
    assert!(found > 60, "only {found} paths were found: the sources look otherwise now");
}
