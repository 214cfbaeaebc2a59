//! Good files become values; bad files name the line and what to do.

use super::*;

const EXAMPLE: &str = include_str!("../../../examples/enforcer.toml");

/// The least that is valid.
const LEAST: &str = "[networks.lab]\nbridge = \"br-lab\"\n";

#[test]
fn the_example_parses_and_shows_the_defaults() {
    let config = parse(EXAMPLE, "enforcer.toml").expect("the example is valid");
    let digest = crate::digest::of_text(EXAMPLE);
    let rest = Config { networks: BTreeMap::new(), ..config.clone() };
    assert_eq!(rest, Config { digest, ..Config::default() });
    let network = &config.networks["tutorials"];
    assert_eq!(network.quotas, DEFAULT_QUOTAS);
    assert_eq!(network.subnet4, Some((Ipv4Addr::new(172, 30, 0, 0), 24)));
    assert_eq!(network.gateway4, Some(Ipv4Addr::new(172, 30, 0, 1)));
    assert_eq!(
        network.hubs,
        [
            HubRule { at: HubPlace::Gateway, port: 8081, protocol: 6 },
            HubRule { at: HubPlace::Container("jupyterhub".to_owned()), port: 8081, protocol: 6 },
        ]
    );
}

#[test]
fn the_least_config_has_defaults() {
    let config = parse(LEAST, "f").expect("valid");
    let network = &config.networks["lab"];
    assert!(network.create && network.subnet4.is_none() && network.subnet6.is_none());
    assert_eq!(network.quotas, DEFAULT_QUOTAS);
}

#[test]
fn admins_are_names_or_numbers_of_users() {
    let with = |admins: &str| parse(&format!("[daemon]\nadmins = {admins}\n{LEAST}"), "f");
    let config = with("[\"alice\", \"1000\", \"srv.hub-1\", \"HOST\\\\ann\"]").expect("valid");
    let user = |name: &str| Admin::User(name.to_owned());
    let expected = [Admin::Uid(1000), user("alice"), user("srv.hub-1"), user("HOST\\ann")];
    assert_eq!(config.admins, expected.into());
    assert_eq!(parse(LEAST, "f").expect("valid").admins, [].into());
    for (admins, words) in [
        ("[\"\"]", "is no user: write a name"),
        ("[\"a b\"]", "is no user"),
        ("[\"a/b\"]", "is no user"),
        ("[\"-x\"]", "is no user"),
        ("[\"a:b\"]", "is no user"),
        // What the kernel shows for whoever has no number here.
        ("[\"65534\"]", "65534 is no user's number"),
        ("[\"4294967295\"]", "is no user's number"),
        ("[\"99999999999\"]", "is no user's number"),
        ("[1000]", "expected a string"),
        ("\"alice\"", "expected a sequence"),
    ] {
        let told = with(admins).expect_err(admins).to_string();
        assert!(told.contains("f:2") && told.contains(words), "{admins}: {told}");
    }
}

#[test]
fn every_kind_of_value_is_taken() {
    let text = "[daemon]\nmark_mask = 0xc0\n[networks.a]\nbridge = \"a\"\n\
                subnet6 = \"fd00:1::/64\"\n[[networks.a.hub]]\naddress = \"fd00:2::1\"\nport = 53\n\
                protocol = \"udp\"\n[networks.b]\nbridge = \"b\"\ncreate = false\n";
    let config = parse(text, "f").expect("valid");
    assert_eq!(config.mark_mask, 0xc0);
    let network = &config.networks["a"];
    assert_eq!(network.subnet6.map(|subnet| subnet.1), Some(64));
    let at = HubPlace::Address("fd00:2::1".parse().expect("an address"));
    assert_eq!(network.hubs, [HubRule { at, port: 53, protocol: 17 }]);
    assert!(!config.networks["b"].create);
}

#[test]
fn labels_that_mark_guests_have_a_key_and_perhaps_a_value() {
    let text = format!(
        "[outside]\nguest_labels = [\"user\", \"kind=guest\"]\naction = \"record\"\n{LEAST}"
    );
    let outside = parse(&text, "f").expect("valid").outside;
    assert_eq!(outside.action, OutsideAction::Record);
    let marks = |key: &str, value: &str| {
        let labels = [(key.to_owned(), value.to_owned())].into();
        outside.guest_labels.iter().any(|label| label.is_among(&labels))
    };
    assert!(marks("user", "") && marks("user", "ann") && marks("kind", "guest"));
    assert!(!marks("kind", "hub") && !marks("kind", "") && !marks("users", "ann"));
    assert_eq!(outside.engine_resolver, OutsideAction::Record, "like the others");
    let apart = format!("[outside]\nengine_resolver = \"record\"\n{LEAST}");
    let apart = parse(&apart, "f").expect("valid").outside;
    assert_eq!(apart.action, OutsideAction::Stop);
    assert_eq!(apart.engine_resolver, OutsideAction::Record);
    let none = parse(&format!("[outside]\nguest_labels = []\n{LEAST}"), "f").expect("valid");
    assert!(none.outside.guest_labels.is_empty());
}

#[test]
fn all_problems_come_at_once_in_order() {
    let text = "[daemon]\nmax_flows = 3\n[networks.lab]\nsubnet = \"10.0.0.1/24\"\n\
                [[networks.lab.hub]]\ngateway = true\nport = 0\n";
    let error = parse(text, "f.toml").expect_err("refused");
    let lines: Vec<usize> = error.problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [2, 3, 4, 7], "{error}");
    assert!(error.to_string().starts_with("f.toml:2:13: max_flows 3 is not between"), "{error}");
}

/// Wraps lines into the table of a network; they start on line 3.
fn network(lines: &str) -> String {
    format!("{LEAST}{lines}\n")
}

/// Wraps lines into the table of a hub; they start on line 6.
fn hub(lines: &str) -> String {
    let net = "subnet = \"10.9.0.0/24\"\ngateway = \"10.9.0.1\"\n[[networks.lab.hub]]\n";
    format!("{LEAST}{net}{lines}\n")
}

/// Wraps lines into the table of metrics; they start on line 2.
fn metrics(lines: &str) -> String {
    format!("[metrics]\n{lines}\n{LEAST}")
}

#[test]
fn metrics_are_served_on_loopback_or_a_socket_or_nowhere() {
    let of = |text: &str| parse(text, "f").expect("valid").metrics;
    assert_eq!(of(LEAST), None);
    for listen in ["127.0.0.1:9469", "127.8.0.1:1", "[::1]:65535"] {
        let at = listen.parse().expect("an address");
        assert_eq!(of(&metrics(&format!("listen = \"{listen}\""))), Some(MetricsAt::Listen(at)));
    }
    let socket = "/run/enforcer/metrics.sock";
    let at = Some(MetricsAt::Socket(socket.into()));
    assert_eq!(of(&metrics(&format!("socket = \"{socket}\""))), at);
}

#[rustfmt::skip]
fn bad_metrics() -> Vec<(String, usize, &'static str)> {
    vec![
        (format!("[metrics]\n{LEAST}"), 1, "exactly one of `listen` and `socket`"),
        (metrics("listen = \"127.0.0.1:9469\"\nsocket = \"/m\""), 1, "exactly one of"),
        (metrics("listne = \"127.0.0.1:9469\""), 2, "did you mean `listen`"),
        (metrics("port = 9469"), 2, "known here: listen, socket"),
        (metrics("listen = 9469"), 2, "expected a string"),
        (metrics("listen = \"localhost:9469\""), 2, "write it as \"127.0.0.1:9469\""),
        (metrics("listen = \"127.0.0.1\""), 2, "not an address with a port"),
        (metrics("listen = \"127.0.0.1:0\""), 2, "choose one, such as 9469"),
        (metrics("listen = \"0.0.0.0:9469\""), 2, "0.0.0.0 is not a loopback address"),
        (metrics("listen = \"172.30.0.1:9469\""), 2, "not a loopback address"),
        (metrics("listen = \"[::]:9469\""), 2, "not a loopback address"),
        (metrics("listen = \"[::ffff:10.0.0.1]:9469\""), 2, "not a loopback address"),
        (metrics("socket = \"metrics.sock\""), 2, "not an absolute path"),
        (metrics("socket = \"unix:///run/m.sock\""), 2, "write the path"),
        (metrics(&format!("socket = \"/{}\"", "d".repeat(104))), 2, "longer than the 107"),
        (metrics("socket = \"/run/enforcer/\""), 2, "add the name of the socket"),
        (metrics("socket = \"/run/..\""), 2, "add the name of the socket"),
        (metrics("socket = \"/run/enforcer/control.sock\""), 2, "the daemon's own"),
        (metrics("socket = \"/run//enforcer/lock\""), 2, "the daemon's own"),
        (metrics("socket = \"/var/run/docker.sock\""), 2, "the engine's socket"),
        (format!("[metric]\nlisten = \"127.0.0.1:9469\"\n{LEAST}"), 1, "did you mean `metrics`"),
    ]
}

#[test]
fn bad_files_are_refused_with_line_and_advice() {
    let twice = "[networks.b]\nbridge = \"br-lab\"";
    let nested = "subnet = \"10.0.0.0/16\"\n[networks.b]\nbridge = \"b\"\nsubnet = \"10.0.3.0/24\"";
    let nested6 = "subnet6 = \"fd00::/48\"\n[networks.b]\nbridge = \"b\"\nsubnet6 = \"fd00::/64\"";
    let elsewhere = "subnet = \"10.0.0.0/24\"\n[networks.b]\nbridge = \"b\"\n\
                     [[networks.b.hub]]\nport = 1\naddress = \"10.0.0.9\"";
    let quotas = "[networks.lab.quotas]\n";
    let same = "gateway = true\nport = 1\n[[networks.lab.hub]]\ngateway = true\nport = 1";
    #[rustfmt::skip]
    let table: Vec<(String, usize, &str)> = vec![
        (String::new(), 1, "no guest network: add a table"),
        ("[networks".into(), 1, "unclosed table"),
        ("[docker]\nsocket = 3".into(), 2, "expected a string"),
        ("[docker]\nsokcet = \"/x\"".into(), 2, "did you mean `socket`"),
        (format!("[docker]\nsocket = \"docker.sock\"\n{LEAST}"), 2, "not an absolute path"),
        (format!("[docker]\nsocket = \"unix:///run/d.sock\"\n{LEAST}"), 2, "write the path"),
        (format!("[daemon]\nrun_dir = \"/{}\"\n{LEAST}", "d".repeat(100)), 2, "longer than the 107"),
        (format!("[daemon]\nmark_mask = 1\n{LEAST}"), 2, "at least two bits"),
        (format!("[daemon]\nclosed_by = \"vlan\"\n{LEAST}"), 2, "\"nft\" or \"nobody\", not"),
        (format!("[daemon]\nmark_mask = \"0xzz\"\n{LEAST}"), 2, "not a 32-bit number"),
        (format!("[daemon]\nmark_mask = -1\n{LEAST}"), 2, "not a 32-bit number"),
        (format!("[daemon]\nmark_mask = true\n{LEAST}"), 2, "an integer such as 0x30000000"),
        (format!("[daemon]\nmax_flows = 99999999\n{LEAST}"), 2, "not between 1024 and"),
        (format!("[deamon]\n{LEAST}"), 1, "did you mean `daemon`"),
        (format!("[outside]\naction = \"kill\"\n{LEAST}"), 2, "neither \"stop\" nor \"record\""),
        (format!("[outside]\nengine_resolver = \"no\"\n{LEAST}"), 2, "engine_resolver \"no\" is neither"),
        (format!("[outside]\nguest_labels = [\"a\", \"\"]\n{LEAST}"), 2, "no key of a label"),
        (format!("[outside]\nguest_labels = [\"=x\"]\n{LEAST}"), 2, "no key of a label"),
        (format!("[outside]\nguest_labels = [\"a b\"]\n{LEAST}"), 2, "no key of a label"),
        (format!("[outside]\nguest_labels = [\"a\", \"a\"]\n{LEAST}"), 2, "listed twice"),
        (format!("[outside]\nguest_labels = \"a\"\n{LEAST}"), 2, "expected a sequence"),
        (format!("[outside]\nguest_label = [\"a\"]\n{LEAST}"), 2, "did you mean `guest_labels`"),
        (format!("[outsid]\n{LEAST}"), 1, "did you mean `outside`"),
        ("[networks.lab]\ncreate = true".into(), 1, "has no `bridge`"),
        ("[networks.bridge]\nbridge = \"b\"".into(), 1, "a network of Docker's own"),
        ("[networks.\"my lab\"]\nbridge = \"b\"".into(), 1, "none that Docker takes"),
        ("[networks.x]\nbridge = \"br-much-too-long\"".into(), 2, "has 16 bytes"),
        ("[networks.x]\nbridge = \"br/x\"".into(), 2, "may hold letters"),
        ("[networks.x]\nbridge = \"docker0\"".into(), 2, "not available as a guest bridge"),
        ("[networks.x]\nbridge = \"\"".into(), 2, "needs a name"),
        ("[networks.x]\nbridge = \"a\"\nbridge = \"b\"".into(), 3, "duplicate key"),
        (network("gatway = \"10.0.0.1\""), 3, "did you mean `gateway`"),
        (network("internet = true"), 3, "known here: bridge, create"),
        (network("subnet = \"10.0.0.0\""), 3, "write it as \"172.30.0.0/24\""),
        (network("subnet = \"10.0.0.0/+24\""), 3, "write it as"),
        (network("subnet = \"0.0.0.0/0\""), 3, "a guest subnet of /0 makes no sense"),
        (network("subnet = \"10.0.0.7/24\""), 3, "write 10.0.0.0/24"),
        (network("subnet = \"127.0.0.0/24\""), 3, "no subnet that hosts"),
        (network("subnet = \"fd00::/64\""), 3, "not a subnet of this family"),
        (network("subnet6 = \"::/0\""), 3, "a guest subnet of /0 makes no sense"),
        (network("subnet6 = \"fe80::/64\""), 3, "no subnet that hosts"),
        (network("subnet6 = \"fd00::1/64\""), 3, "write fd00::/64"),
        (network("gateway = \"10.0.0.1\""), 3, "`gateway` needs a `subnet`"),
        (network("subnet = \"10.0.0.0/24\"\ngateway = \"10.0.1.1\""), 4, "outside the subnet"),
        (network("subnet = \"10.0.0.0/24\"\ngateway = \"10.0.0.255\""), 4, "broadcast address"),
        (network("subnet = \"10.0.0.0/24\"\ngateway = \"fd00::1\""), 4, "not an IPv4 address"),
        (network(twice), 3, "have the same bridge \"br-lab\""),
        (network(nested), 4, "\"lab\" and \"b\" overlap"),
        (network(nested6), 4, "\"lab\" and \"b\" overlap"),
        (network(elsewhere), 4, "can never be reached"),
        (network(&format!("{quotas}closing = 0")), 4, "quota 0 is not a number from 1"),
        (network(&format!("{quotas}outbound_established = -4")), 4, "quota -4 is not"),
        (network(&format!("{quotas}closing = 2000000")), 1, "could fill the flow table"),
        (network(&format!("{quotas}flows = 1")), 4, "known here: inbound_half_open"),
        (hub("port = 80"), 5, "exactly one of"),
        (hub("gateway = false\nport = 80"), 5, "exactly one of"),
        (hub("gateway = true\ncontainer = \"x\"\nport = 80"), 5, "exactly one of"),
        (hub("gateway = true"), 5, "has no `port`"),
        (hub("gateway = true\nport = 70000"), 7, "not between 1 and 65535"),
        (hub("gateway = true\nport = \"80\""), 7, "expected a whole number"),
        (hub("gateway = true\nport = 1\nprotocol = \"sctp\""), 8, "neither \"tcp\" nor \"udp\""),
        (hub("address = \"hub.local\"\nport = 1"), 6, "use `container = \"NAME\"`"),
        (hub("address = \"127.0.0.1\"\nport = 1"), 6, "use `gateway = true`"),
        (hub("address = \"0.0.0.0\"\nport = 1"), 6, "no hub can be there"),
        (hub("address = \"224.0.0.1\"\nport = 1"), 6, "no hub can be there"),
        (hub("address = \"169.254.169.254\"\nport = 1"), 6, "no hub can be there"),
        (hub("address = \"::ffff:10.0.0.1\"\nport = 1"), 6, "no hub can be there"),
        (hub("address = \"fd00::5\"\nport = 1"), 6, "have no IPv6"),
        (hub("address = \"10.9.0.1\"\nport = 1"), 6, "write `gateway = true`"),
        (hub("container = \"a b\"\nport = 1"), 6, "none that Docker takes"),
        (hub(same), 8, "listed twice"),
    ];
    let mut wrong = Vec::new();
    for (text, line, words) in table.into_iter().chain(bad_metrics()) {
        let Err(error) = parse(&text, "f.toml") else {
            wrong.push(format!("accepted, though {words}:\n{text}"));
            continue;
        };
        // One problem only: a mistake is not reported again as its consequences.
        let [problem] = error.problems.as_slice() else {
            wrong.push(format!("{} problems:\n{text}\n{error}", error.problems.len()));
            continue;
        };
        if problem.line != line || !problem.message.contains(words) {
            wrong.push(format!("line {line} should say {words:?}:\n{text}\n{error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n---\n"));
}

#[test]
fn bad_tables_about_records_are_refused() {
    for (text, line, named) in [
        (format!("[audit]\ndir = \"audit\"\n{LEAST}"), 2, "not an absolute path"),
        (format!("[audit]\nkeep_days = 9\n{LEAST}"), 2, "say where with `dir`"),
        (format!("[audit]\nfsync = \"5s\"\n{LEAST}"), 2, "say where with `dir`"),
        (format!("[audit]\ndir = \"/a\"\nfsync = \"1s\"\n{LEAST}"), 3, "none of \"always\""),
        (format!("[audit]\ndir = \"/a\"\nkeep_mib = 1\n{LEAST}"), 3, "not one of 2 to"),
        (format!("[audit]\ndir = \"/a\"\nsegment_hours = 0\n{LEAST}"), 3, "not one of 1 to"),
        (format!("[audit]\npseudonyms = true\n{LEAST}"), 2, "say where with `dir`"),
        (format!("[audit]\nstdot = true\n{LEAST}"), 2, "did you mean `stdout`"),
    ] {
        let error = parse(&text, "f").expect_err(&text);
        let found = error.problems.iter().any(|p| p.line == line && p.message.contains(named));
        assert!(found, "{text}: {error}");
    }
}

#[test]
fn files_of_records_are_kept_as_the_config_says() {
    use std::time::Duration;

    use crate::audit::store::Fsync;

    let none = parse(LEAST, "f").expect("valid").audit;
    assert_eq!((none.files, none.stdout, none.journald), (None, true, false));
    let text = format!(
        "[audit]\ndir = \"/a\"\nfsync = \"5s\"\nsegment_mib = 2\nsegment_hours = 3\nkeep_mib = 4\n\
         keep_days = 5\njournald = true\n{LEAST}"
    );
    let audit = parse(&text, "f").expect("valid").audit;
    assert_eq!((audit.stdout, audit.journald), (false, true));
    let files = audit.files.expect("files");
    assert_eq!((files.segment_bytes, files.keep_bytes), (2 << 20, Some(4 << 20)));
    assert_eq!(files.segment_age, Duration::from_hours(3));
    assert_eq!(files.keep_for, Some(Duration::from_hours(120)));
    assert_eq!(files.fsync, Fsync::Interval(Duration::from_secs(5)));
}

/// Wraps lines into the table of a collector; they start on line 2.
fn otlp(lines: &str) -> String {
    format!("[audit.otlp]\n{lines}\n{LEAST}")
}

#[test]
fn a_collector_is_named_by_its_address() {
    use std::time::Duration;

    let of = |text: &str| parse(text, "f").expect("valid").audit.otlp;
    assert_eq!(of(LEAST), None);
    for (lines, endpoint) in [
        ("endpoint = \"http://127.0.0.1:4318\"", "http://127.0.0.1:4318/v1/logs"),
        ("endpoint = \"http://localhost/\"", "http://localhost/v1/logs"),
        ("endpoint = \"http://[::1]:3100/otlp\"", "http://[::1]:3100/otlp/v1/logs"),
        ("endpoint = \"http://127.8.0.1:1/a/v1/logs/\"", "http://127.8.0.1:1/a/v1/logs"),
        (
            "insecure = true\nendpoint = \"http://collector.example:4318\"",
            "http://collector.example:4318/v1/logs",
        ),
    ] {
        let settings = of(&otlp(lines)).expect("a collector");
        assert_eq!(settings.endpoint.to_string(), endpoint);
        assert_eq!(settings.timeout, Duration::from_secs(10));
    }
    let more = "endpoint = \"http://127.0.0.1:4318\"\ntimeout = \"250ms\"\n\
                headers = { Authorization = \"Bearer secret\", X-Scope-OrgID = \"lab\" }";
    let settings = of(&otlp(more)).expect("a collector");
    assert_eq!(settings.timeout, Duration::from_millis(250));
    let shown = format!("{:?}", settings.headers);
    assert!(shown.contains("authorization") && shown.contains("x-scope-orgid"), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");
}

#[rustfmt::skip]
fn bad_collectors() -> Vec<(String, usize, &'static str)> {
    let with = |line: &str| otlp(&format!("endpoint = \"http://127.0.0.1:4318\"\n{line}"));
    let at = |address: &str| otlp(&format!("endpoint = \"{address}\""));
    vec![
        (format!("[audit.otlp]\n{LEAST}"), 1, "has no `endpoint`, such as"),
        (otlp("endpiont = \"http://127.0.0.1:4318\""), 2, "did you mean `endpoint`"),
        (otlp("endpoint = 4318"), 2, "expected a string"),
        (at("https://127.0.0.1:4318"), 2, "there is no TLS in enforcer; name a collector on this"),
        (at("127.0.0.1:4318"), 2, "no address such as"),
        (at("grpc://127.0.0.1:4317"), 2, "no address such as"),
        (at("http://"), 2, "no address such as"),
        (at("http://127.0.0.1:0"), 2, "no address such as"),
        (at("http://127.0.0.1:70000"), 2, "no address such as"),
        (at("http://127.0.0.1:4318/#a"), 2, "no address such as"),
        (at("http://127.0.0.1:4318/?a=b"), 2, "has a query"),
        (at("http://ann:secret@127.0.0.1:4318"), 2, "use `headers_file`"),
        (at("http://10.0.0.5:4318"), 2, "10.0.0.5 is not on this host, and records name guests"),
        (at("http://collector:4318"), 2, "say `insecure = true`"),
        (at("http://[::ffff:10.0.0.1]:4318"), 2, "is not on this host"),
        (with("headers = { \"a b\" = \"c\" }"), 3, "\"a b\" is no name of a header"),
        (with("headers = { Host = \"c\" }"), 3, "the header \"host\" is not free"),
        (with("headers = { a = \"c\", A = \"d\" }"), 3, "there twice"),
        (with("headers = { a = \"\\u0007\" }"), 3, "the value of \"a\" is none"),
        (with("headers = \"a: b\""), 3, "expected a map"),
        (with("headers_file = \"key\""), 3, "not an absolute path"),
        (with("headers = {}\nheaders_file = \"/key\""), 4, "not both"),
        (with("timeout = \"0s\""), 3, "is not one of \"100ms\" to \"60s\""),
        (with("timeout = \"61s\""), 3, "is not one of"),
        (with("timeout = \"5\""), 3, "is not one of"),
        (with("timeout = \"-5s\""), 3, "is not one of"),
        (with("timeout = 5"), 3, "expected a string"),
        (format!("[audit]\notl = {{}}\n{LEAST}"), 2, "did you mean `otlp`"),
    ]
}

#[test]
fn bad_collectors_are_refused_with_line_and_advice() {
    for (text, line, named) in bad_collectors() {
        let error = parse(&text, "f").expect_err(&text);
        let found = error.problems.iter().any(|p| p.line == line && p.message.contains(named));
        assert!(found, "{text}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
