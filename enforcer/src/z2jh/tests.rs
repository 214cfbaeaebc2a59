//! Values files as operators have them: what comes out opens what the chart would, or less, and says so.

use enforcer_common::packet::{ICMP, TCP, UDP};

use super::*;
use crate::{
    config::parse,
    control::rules::{Here, policy_rules},
    policy::rule::{Net, Rule, opens},
};

const WISH: Wish<'_> = Wish { policy: "z2jh", at: None, chart: Chart::Three, has_dns: false };

/// A file, what has no equal, and what the policy opens.
struct Case {
    name: &'static str,
    text: &'static str,
    chart: Chart,
    no_equal: &'static [&'static str],
    open: &'static [(&'static str, u8, u16)],
    closed: &'static [(&'static str, u8, u16)],
}

macro_rules! case {
    ($name:literal, $chart:ident, $no_equal:expr, $open:expr, $closed:expr) => {
        Case {
            name: $name,
            text: include_str!(concat!("tests/", $name, ".yaml")),
            chart: Chart::$chart,
            no_equal: $no_equal,
            open: $open,
            closed: $closed,
        }
    };
}

const PUBLIC: (&str, u8, u16) = ("1.1.1.1", TCP, 443);
const METADATA: (&str, u8, u16) = ("169.254.169.254", TCP, 80);
const LAN: (&str, u8, u16) = ("192.168.1.1", TCP, 80);
const LAN_NAMES: (&str, u8, u16) = ("192.168.1.1", UDP, 53);

const CASES: &[Case] = &[
    case!(
        "defaults",
        Three,
        &[
            "singleuser.networkPolicy.egressAllowRules.dnsPortsCloudMetadataServer",
            "singleuser.networkPolicy.egressAllowRules.dnsPortsKubeSystemNamespace",
        ],
        &[PUBLIC, LAN_NAMES, ("10.0.0.10", TCP, 53), ("1.1.1.1", ICMP, 0)],
        &[METADATA, LAN, ("169.254.169.254", UDP, 53), ("100.64.0.1", UDP, 53)]
    ),
    case!(
        "umbrella",
        Three,
        &[],
        &[("192.0.2.9", TCP, 443)],
        &[PUBLIC, METADATA, LAN, LAN_NAMES, ("192.0.2.9", TCP, 80), ("192.0.2.9", UDP, 443)]
    ),
    case!(
        "binder",
        Three,
        &[],
        &[PUBLIC, ("1.1.1.1", TCP, 1095), LAN, LAN_NAMES, ("169.254.169.253", TCP, 80)],
        &[METADATA, ("10.0.0.1", TCP, 443), ("1.1.1.1", TCP, 22), ("1.1.1.1", UDP, 443)]
    ),
    case!(
        "selectors",
        Three,
        &[
            "singleuser.networkPolicy.egressAllowRules.dnsPortsCloudMetadataServer",
            "singleuser.networkPolicy.egress[0].to[0]",
            "singleuser.networkPolicy.egress[1].to[0]",
        ],
        &[("2001:db8::1", TCP, 9000), LAN_NAMES],
        &[PUBLIC, LAN, ("2001:db8::1", TCP, 9001), ("1.1.1.1", TCP, 9000)]
    ),
    case!(
        "ports",
        Three,
        &[
            "singleuser.networkPolicy.egress[0].ports[1]",
            "singleuser.networkPolicy.egress[0].ports[2]",
            "singleuser.networkPolicy.egress[1].ports[0]",
            "singleuser.networkPolicy.egress[1].ports[1]",
        ],
        &[
            ("192.0.2.1", UDP, 5000),
            ("192.0.2.1", UDP, 5010),
            ("203.0.113.1", UDP, 1),
            ("203.0.113.1", UDP, 65_535),
            ("203.0.113.129", TCP, 53),
        ],
        &[
            ("192.0.2.1", UDP, 5011),
            ("192.0.2.1", TCP, 443),
            ("198.51.100.1", TCP, 443),
            ("203.0.113.1", TCP, 53),
            ("203.0.113.1", ICMP, 0),
        ]
    ),
    case!(
        "disabled",
        Three,
        &["singleuser.networkPolicy.enabled"],
        &[],
        &[PUBLIC, METADATA, LAN, LAN_NAMES]
    ),
    case!(
        "metadata",
        Three,
        &[],
        &[PUBLIC, METADATA, ("169.254.169.254", UDP, 53)],
        &[LAN, LAN_NAMES, ("169.254.169.253", TCP, 80)]
    ),
    case!(
        "ingress",
        Three,
        &[
            "singleuser.networkPolicy.ingress[0]",
            "singleuser.networkPolicy.allowedIngressPorts[0]",
            "singleuser.networkPolicy.allowedIngressPorts[1]",
            "singleuser.networkPolicy.interNamespaceAccessLabels",
        ],
        &[PUBLIC, LAN_NAMES],
        &[METADATA, LAN]
    ),
    case!("chart1", One, &[], &[PUBLIC, LAN, LAN_NAMES, ("10.0.0.1", TCP, 22)], &[METADATA]),
    case!("anchors", Three, &[], &[], &[PUBLIC, METADATA, LAN, LAN_NAMES]),
    case!(
        "everything",
        Three,
        &[],
        &[PUBLIC, LAN, ("2001:db8::1", UDP, 9), ("1.1.1.1", ICMP, 0)],
        &[METADATA]
    ),
    case!(
        "private",
        Three,
        &[],
        &[LAN, LAN_NAMES, ("172.31.0.1", ICMP, 0)],
        &[PUBLIC, METADATA, ("172.32.0.1", TCP, 80), ("fd00::1", TCP, 80)]
    ),
    case!(
        "elsewhere",
        Three,
        &[],
        &[PUBLIC, ("203.0.113.8", TCP, 80), ("203.0.113.10", TCP, 80), ("100.64.0.1", TCP, 80)],
        &[LAN, ("203.0.113.9", TCP, 80), ("10.1.2.3", TCP, 80), ("172.16.0.1", TCP, 80)]
    ),
];

/// What our own parser makes of it.
fn rules(toml: &str) -> Vec<Rule> {
    let text = format!("{toml}\n[networks.a]\nbridge = \"br-a\"\npolicy = \"z2jh\"\n");
    let config = parse(&text, "f").unwrap_or_else(|error| panic!("{error}\n{text}"));
    policy_rules(&config.policies["z2jh"], &Here::default())
}

#[test]
fn o2_a_policy_of_the_chart_opens_what_it_did_or_less_and_says_what_has_no_equal() {
    for Case { name, text, chart, no_equal, open, closed } in CASES {
        let imported = import(text, name, &Wish { chart: *chart, ..WISH });
        let imported = imported.unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
        let told: Vec<&str> = imported.no_equal.iter().map(|note| note.path.as_str()).collect();
        let below = |path: &&str| path.split_once("singleuser").map(|(_, rest)| rest.to_owned());
        let found: Vec<_> = told.iter().map(below).collect();
        let wanted: Vec<_> = no_equal.iter().map(below).collect();
        assert_eq!(found, wanted, "{name}");
        let rules = rules(&imported.toml);
        let is_open = |(to, protocol, port): &(&str, u8, u16)| {
            let to: Net = to.parse().expect("an address");
            opens(&rules, &to, *protocol, *port).is_some()
        };
        for to in *open {
            assert!(is_open(to), "{name}: {to:?} is closed\n{}", imported.toml);
        }
        for to in *closed {
            assert!(!is_open(to), "{name}: {to:?} is open\n{}", imported.toml);
        }
        for note in imported.no_equal.iter().chain(&imported.differs) {
            assert!(imported.toml.contains(&note.why), "{name}: {note:?} is not in the file");
        }
    }
}

#[test]
fn o2_where_there_is_a_preset_for_names_it_is_meant() {
    let text = include_str!("tests/defaults.yaml");
    let imported = import(text, "f", &Wish { has_dns: true, ..WISH }).expect("is good");
    assert!(
        imported.toml.contains("presets = [\"public-internet\", \"dns\"]")
            || imported.toml.contains("presets = [\"dns\", \"public-internet\"]"),
        "{}",
        imported.toml
    );
    let paths: Vec<&str> = imported.no_equal.iter().map(|note| note.path.as_str()).collect();
    assert_eq!(paths, ["singleuser.networkPolicy.egressAllowRules.dnsPortsCloudMetadataServer"]);
    assert!(!imported.toml.contains("\nport = 53"), "{}", imported.toml);
}

#[test]
fn o2_what_the_chart_does_not_know_is_refused_with_its_line() {
    let policy = |lines: &str| format!("singleuser:\n  networkPolicy:\n{lines}");
    for (text, line, words) in [
        (policy("    enabld: true\n"), 3, "`singleuser.networkPolicy.enabld` is not known"),
        (policy("    enabled: maybe\n"), 3, "neither true nor false"),
        (policy("    enabled: \"true\"\n"), 3, "neither true nor false"),
        (policy("    enabled:\n"), 3, "neither true nor false"),
        (
            policy("    egressAllowRules:\n      privateIps: true\n"),
            4,
            "there are cloudMetadataServer",
        ),
        (policy("    egress: 5\n"), 3, "is not a list"),
        (policy("    egress:\n      -\n"), 4, "is empty; write {}"),
        (policy("    egress:\n      - form: []\n"), 4, "`singleuser.networkPolicy.egress[0].form`"),
        (policy("    egress:\n      - to: [{}]\n"), 4, "either `ipBlock` or selectors"),
        (policy("    egress:\n      - to: [{ipBlock: {}}]\n"), 4, "has no `cidr`"),
        (policy("    egress:\n      - to: [{ipBlock: {cidr: 10.0.0.1}}]\n"), 4, "is no network"),
        (
            policy(
                "    egress:\n      - to: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/8]}}]\n",
            ),
            4,
            "is not within the cidr",
        ),
        (policy("    egress:\n      - ports: [{port: 0}]\n"), 4, "is no port"),
        (policy("    egress:\n      - ports: [{port: \"80\"}]\n"), 4, "is no port"),
        (
            policy("    egress:\n      - ports: [{port: 9, endPort: 8}]\n"),
            4,
            "is no port from `port` on",
        ),
        (policy("    egress:\n      - ports: [{port: web, endPort: 8}]\n"), 4, "needs a number"),
        (policy("    egress:\n      - ports: [{protocol: tcp}]\n"), 4, "not TCP, UDP or SCTP"),
        (policy("    enabled: !!bool true\n"), 3, "neither true nor false"),
        (
            "singleuser:\n  cloudMetadata:\n    enabled: true\n".to_owned(),
            3,
            "blockWithIptables, ip",
        ),
        ("singleuser:\n  cloudMetadata: {ip: metadata}\n".to_owned(), 2, "is no IP address"),
        ("singleuser:\n  <<: {}\n".to_owned(), 2, "`<<` is not understood"),
        ("hub: {}\n".to_owned(), 1, "there is no `singleuser`"),
        ("singleuser: {}\nb:\n  singleuser: {}\n".to_owned(), 3, "name its place with --at"),
    ] {
        let problems = import(&text, "f", &WISH).expect_err(&text);
        let [problem] = problems.as_slice() else { panic!("{text}: {problems:?}") };
        let is_told = problem.line == line && problem.message.contains(words);
        assert!(is_told, "{text}: {problem:?}");
    }
    let both = "a:\n  singleuser: {}\nb:\n  singleuser: {}\n";
    assert!(import(both, "f", &Wish { at: Some("b.singleuser"), ..WISH }).is_ok());
    assert!(import(both, "f", &Wish { at: Some("c.singleuser"), ..WISH }).is_err());
    let old = include_str!("tests/umbrella.yaml");
    assert!(
        import(old, "f", &Wish { chart: Chart::One, ..WISH }).is_err(),
        "chart 1 has no such rules"
    );
}
