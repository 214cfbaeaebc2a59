//! The tables `[access]` and `[hubs.NAME]`: who may have a Docker socket, and who knows.

use std::{collections::BTreeMap, ops::RangeInclusive, path::PathBuf, time::Duration};

use hyper::{
    Uri,
    http::uri::{PathAndQuery, Scheme},
};
use toml::Spanned;

use super::{
    GuestNetwork, check, otlp,
    problem::Problems,
    raw::{RawAccess, RawNamedHub},
};
use crate::access::{
    jupyterhub::Settings,
    name::{GroupName, HubName},
    store::PRIVILEGED,
};

/// Longest that one request to a hub may take when the config says nothing: somebody waits for a server.
const TIMEOUT: Duration = Duration::from_secs(3);
/// What it may be.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_mins(1);
/// Most built-in groups: each is looked for at each start of a guest.
const MOST_GROUPS: usize = 64;
/// Longest name of a user of this host, bytes.
const LONGEST_USER: usize = 32;

/// `[access]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Groups that are there in every hub and cannot be deleted.
    pub builtin_groups: Vec<GroupName>,
    /// Whether anybody may have a Docker socket.
    pub docker_socket: bool,
    /// What to do where the kernel cannot refuse guests unix sockets that are not theirs.
    pub kernel_proof: KernelProof,
}

/// `[access] kernel_proof`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KernelProof {
    /// Do without, and say so.
    #[default]
    Auto,
    /// Do not start.
    Required,
}

impl Default for Access {
    fn default() -> Self {
        let builtin_groups = PRIVILEGED.parse().into_iter().collect();
        Self { builtin_groups, docker_socket: true, kernel_proof: KernelProof::Auto }
    }
}

/// `[hubs.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hub {
    /// Guest networks whose guests are those of its users.
    pub networks: Vec<String>,
    /// The user of this host that it runs as.
    pub user: Option<String>,
    /// Who knows its groups.
    pub groups: GroupsFrom,
}

/// Who knows which groups a hub has and who is in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupsFrom {
    /// This host.
    Store,
    /// The hub itself.
    JupyterHub(Settings),
}

/// Checks `[access]`.
pub(super) fn access(raw: &RawAccess, problems: &mut Problems<'_>) -> Access {
    let otherwise = Access::default();
    let builtin_groups = raw.builtin_groups.as_ref().map(|names| {
        if let Some(name) = names.get(MOST_GROUPS) {
            problems.add(name.span(), format!("more than {MOST_GROUPS} built-in groups"));
        }
        let mut groups: Vec<GroupName> = Vec::new();
        for name in names {
            match name.get_ref().parse() {
                Ok(group) if groups.contains(&group) => {
                    problems.add(name.span(), "this group is listed twice; remove one");
                }
                Ok(group) => groups.push(group),
                Err(error) => problems.add(name.span(), error.to_string()),
            }
        }
        groups
    });
    Access {
        builtin_groups: builtin_groups.unwrap_or(otherwise.builtin_groups),
        docker_socket: raw.docker_socket.unwrap_or(otherwise.docker_socket),
        kernel_proof: kernel_proof(raw.kernel_proof.as_ref(), problems),
    }
}

fn kernel_proof(value: Option<&Spanned<String>>, problems: &mut Problems<'_>) -> KernelProof {
    let Some(value) = value else { return KernelProof::default() };
    match value.get_ref().as_str() {
        "auto" => KernelProof::Auto,
        "required" => KernelProof::Required,
        other => {
            let message = format!("kernel_proof is \"auto\" or \"required\", not \"{other}\"");
            problems.add(value.span(), message);
            KernelProof::Required
        }
    }
}

/// Checks all `[hubs.NAME]`.
pub(super) fn hubs(
    raw: BTreeMap<Spanned<String>, Spanned<RawNamedHub>>,
    networks: &BTreeMap<String, GuestNetwork>,
    problems: &mut Problems<'_>,
) -> BTreeMap<HubName, Hub> {
    let mut tables: Vec<_> = raw.into_iter().collect();
    // In the order of the file, so that the later of two is the one at fault.
    tables.sort_by_key(|(name, _)| name.span().start);
    let (mut hubs, mut taken) = (BTreeMap::new(), BTreeMap::new());
    for (name, table) in tables {
        let key = match name.get_ref().parse::<HubName>() {
            Ok(key) if key.is_local() => {
                let message = "\"local\" are the users of no hub; choose another name";
                problems.add(name.span(), message);
                continue;
            }
            Ok(key) => key,
            Err(error) => {
                problems.add(name.span(), error.to_string());
                continue;
            }
        };
        let (span, table) = (table.span(), table.into_inner());
        let Some(listed) = &table.networks else {
            let message = format!(
                "hub \"{key}\" has no `networks`; name the guest networks of its users, such as \
                 networks = [\"tutorials\"]"
            );
            problems.add(span, message);
            continue;
        };
        if listed.get_ref().is_empty() {
            problems.add(listed.span(), format!("hub \"{key}\" needs one guest network at least"));
        }
        for network in listed.get_ref() {
            let known = network.get_ref();
            if !networks.contains_key(known) {
                let message = format!("there is no table [networks.{known}]");
                problems.add(network.span(), message);
            } else if let Some(other) = taken.insert(known.clone(), key.clone()) {
                let message = if other == key {
                    "this network is listed twice; remove one".to_owned()
                } else {
                    format!(
                        "network \"{known}\" belongs to hub \"{other}\" already; a user there would be \
                         one of both"
                    )
                };
                problems.add(network.span(), message);
            }
        }
        if let Some(user) = &table.user
            && !is_user(user.get_ref())
        {
            let message = format!("\"{}\" is no name of a user of this host", user.get_ref());
            problems.add(user.span(), message);
        }
        let hub = Hub {
            networks: listed.get_ref().iter().map(|name| name.get_ref().clone()).collect(),
            user: table.user.as_ref().map(|user| user.get_ref().clone()),
            groups: groups(&table, problems),
        };
        hubs.insert(key, hub);
    }
    hubs
}

fn groups(raw: &RawNamedHub, problems: &mut Problems<'_>) -> GroupsFrom {
    let word = raw.groups_from.as_ref().map(|word| (word.get_ref().as_str(), word.span()));
    let asks_hub = match word {
        None => raw.api.is_some(),
        Some(("jupyterhub", _)) => true,
        Some(("store", _)) => false,
        Some((other, span)) => {
            let message = format!("groups_from is \"store\" or \"jupyterhub\", not \"{other}\"");
            problems.add(span, message);
            return GroupsFrom::Store;
        }
    };
    if !asks_hub {
        let orphans = [&raw.api, &raw.token_file, &raw.timeout];
        if let Some(orphan) = orphans.into_iter().flatten().next() {
            let message = "this is about a hub that is asked for its groups; say groups_from = \
                           \"jupyterhub\" and `api`";
            problems.add(orphan.span(), message);
        }
        return GroupsFrom::Store;
    }
    let (Some(api), Some(token_file)) = (&raw.api, &raw.token_file) else {
        let known = [&raw.groups_from, &raw.api].into_iter().flatten().next();
        let message = "a hub that is asked for its groups needs `api`, such as \
                       \"http://127.0.0.1:8081/hub/api\", and `token_file`";
        problems.add(known.map_or(0..0, Spanned::span), message);
        return GroupsFrom::Store;
    };
    if let Err(message) = check::absolute_path(token_file.get_ref()) {
        problems.add(token_file.span(), message);
    }
    let found = address(api.get_ref(), raw.insecure.unwrap_or(false));
    let found = found.map_err(|message| problems.add(api.span(), message)).ok();
    GroupsFrom::JupyterHub(Settings {
        api: found.unwrap_or_default(),
        token_file: PathBuf::from(token_file.get_ref()),
        timeout: otlp::timeout(raw.timeout.as_ref(), TIMEOUT, &TIMEOUTS, problems),
    })
}

fn address(text: &str, insecure: bool) -> Result<Uri, String> {
    if text.starts_with("https:") {
        return Err(
            "there is no TLS in enforcer; name the hub's own address on this host, such as \
                    \"http://127.0.0.1:8081/hub/api\""
                .to_owned(),
        );
    }
    let wrong = || format!("\"{text}\" is no address such as \"http://127.0.0.1:8081/hub/api\"");
    // A fragment is not kept by who parses.
    let parsed = text.parse::<Uri>().ok().filter(|_| !text.contains('#')).ok_or_else(wrong)?;
    let authority = parsed.authority().filter(|_| parsed.scheme() == Some(&Scheme::HTTP));
    let authority = authority.ok_or_else(wrong)?;
    if authority.as_str().contains('@') {
        return Err("a password in an address would be shown; use `token_file`".to_owned());
    }
    if !otlp::is_host(authority) {
        return Err(wrong());
    }
    if parsed.query().is_some() {
        return Err(format!("\"{text}\" has a query; leave it out"));
    }
    let path = parsed.path().trim_end_matches('/');
    if !path.ends_with("/api") {
        return Err(format!("\"{text}\" is not JupyterHub's API, which is below /hub/api"));
    }
    if !otlp::is_local(authority.host()) && !insecure {
        return Err(format!(
            "{} is not a loopback address: say `insecure = true` and the token goes there in clear",
            authority.host()
        ));
    }
    let path: PathAndQuery = path.parse().map_err(|_error| wrong())?;
    let uri = Uri::builder().scheme(Scheme::HTTP).authority(authority.clone());
    uri.path_and_query(path).build().map_err(|_error| wrong())
}

/// As useradd(8) takes it.
fn is_user(name: &str) -> bool {
    let plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.')
    };
    let starts_well =
        name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte == b'_');
    starts_well && name.len() <= LONGEST_USER && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::{super::parse, *};

    const LEAST: &str =
        "[networks.lab]\nbridge = \"br-lab\"\n[networks.two]\nbridge = \"br-two\"\n";

    /// Wraps lines into a table; they start on line 2.
    fn table(name: &str, lines: &str) -> String {
        format!("[{name}]\n{lines}\n{LEAST}")
    }

    fn hub(lines: &str) -> String {
        table("hubs.course", &format!("networks = [\"lab\"]\n{lines}"))
    }

    #[test]
    fn s1_there_is_one_built_in_group_and_another_is_one_line() {
        let config = parse(LEAST, "f").expect("valid");
        let names = |access: &Access| -> Vec<String> {
            access.builtin_groups.iter().map(ToString::to_string).collect()
        };
        assert_eq!(names(&config.access), ["docker-privileged"]);
        assert!(config.access.docker_socket && config.hubs.is_empty());
        let two = table("access", "builtin_groups = [\"docker-privileged\", \"gpu\"]");
        assert_eq!(names(&parse(&two, "f").expect("valid").access), ["docker-privileged", "gpu"]);
        let off = table("access", "docker_socket = false");
        assert!(!parse(&off, "f").expect("valid").access.docker_socket);
    }

    #[test]
    fn s4_the_kernel_s_proof_may_be_required() {
        let of = |text: &str| parse(text, "f").expect("valid").access.kernel_proof;
        assert_eq!(of(LEAST), KernelProof::Auto);
        assert_eq!(of(&table("access", "kernel_proof = \"auto\"")), KernelProof::Auto);
        assert_eq!(of(&table("access", "kernel_proof = \"required\"")), KernelProof::Required);
    }

    #[test]
    fn s1_a_hub_has_networks_and_somebody_who_knows_its_groups() {
        let hubs = parse(&hub(""), "f").expect("valid").hubs;
        let expected =
            Hub { networks: vec!["lab".to_owned()], user: None, groups: GroupsFrom::Store };
        let name: HubName = "course".parse().expect("a name");
        assert_eq!(hubs, [(name.clone(), expected)].into());
        for word in ["", "groups_from = \"jupyterhub\"\n"] {
            let text = hub(&format!(
                "user = \"jupyterhub\"\n{word}api = \"http://localhost:8081/hub/api/\"\ntoken_file = \"/etc/t\""
            ));
            let hubs = parse(&text, "f").expect("valid").hubs;
            let settings = Settings {
                api: "http://localhost:8081/hub/api".parse().expect("an address"),
                token_file: "/etc/t".into(),
                timeout: Duration::from_secs(3),
            };
            assert_eq!(hubs[&name].groups, GroupsFrom::JupyterHub(settings));
            assert_eq!(hubs[&name].user.as_deref(), Some("jupyterhub"));
        }
        let far = "api = \"http://172.30.0.2:8081/hub/api\"\ninsecure = true\ntoken_file = \"/t\"";
        assert!(parse(&hub(far), "f").is_ok());
    }

    #[test]
    fn o2_tables_about_access_that_are_wrong_are_refused_with_line_and_advice() {
        let api = |text: &str| hub(&format!("token_file = \"/t\"\napi = \"{text}\""));
        let good = "token_file = \"/t\"\napi = \"http://[::1]:1/a/api\"";
        let named = |name: &str| table(&format!("hubs.{name}"), "networks = [\"lab\"]");
        let twice = format!("{}\n[hubs.other]\nnetworks = [\"two\", \"lab\"]", hub(""));
        for (text, line, words) in [
            (table("access", "builtin_groups = [\"a/b\"]"), 2, "no '/'"),
            (table("access", "builtin_groups = [\"a\", \"a\"]"), 2, "listed twice"),
            (table("access", "builtin_groups = [\"\"]"), 2, "a group has a name"),
            (table("access", "builtin_group = []"), 2, "did you mean `builtin_groups`"),
            (table("access", "docker_socket = \"no\""), 2, "expected a boolean"),
            (table("access", "kernel_proof = \"yes\""), 2, "\"auto\" or \"required\", not"),
            (named("local"), 1, "users of no hub"),
            (named("Course"), 1, "lower-case"),
            (named("\"a b\""), 1, "lower-case"),
            (table("hubs.course", "user = \"hub\""), 1, "no `networks`"),
            (table("hubs.course", "networks = []"), 2, "one guest network at least"),
            (table("hubs.course", "networks = [\"lba\"]"), 2, "no table [networks.lba]"),
            (table("hubs.course", "networks = [\"lab\", \"lab\"]"), 2, "listed twice"),
            (twice, 10, "belongs to hub \"course\" already"),
            (hub("user = \"Jupyter Hub\""), 3, "no name of a user"),
            (hub("groups_from = \"ldap\""), 3, "not \"ldap\""),
            (hub("groups_from = \"jupyterhub\""), 3, "needs `api`"),
            (hub("api = \"http://127.0.0.1:8081/hub/api\""), 3, "and `token_file`"),
            (hub("token_file = \"/t\""), 3, "say groups_from"),
            (hub(&format!("groups_from = \"store\"\n{good}")), 5, "say groups_from"),
            (hub("token_file = \"t\"\napi = \"http://127.0.0.1:1/api\""), 3, "absolute path"),
            (api("https://hub.example/hub/api"), 4, "no TLS"),
            (api("http://hub.example/hub/api"), 4, "not a loopback address"),
            (api("http://127.0.0.1:8081"), 4, "below /hub/api"),
            (api("http://127.0.0.1:8081/hub/api?a=b"), 4, "has a query"),
            (api("http://a:b@127.0.0.1/hub/api"), 4, "use `token_file`"),
            (api("http://127.0.0.1:0/hub/api"), 4, "no address"),
            (api("127.0.0.1/hub/api#x"), 4, "no address"),
            (hub(&format!("timeout = \"2m\"\n{good}")), 3, "\"100ms\" to \"60s\""),
        ] {
            let error = parse(&text, "f.toml").expect_err(&text);
            let [problem] = error.problems.as_slice() else { panic!("{text}\n{error}") };
            assert!(problem.line == line && problem.message.contains(words), "{text}\n{error}");
        }
    }
}
