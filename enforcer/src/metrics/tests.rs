//! The page as a whole, and the alert rules that are written for it.

use super::*;
use crate::model::status::{
    ClosureStatus, EndpointStatus, FlowCounts, Health, NetworkStatus, ProgramStatus, SinkStatus,
};

const GRAFANA: &str = include_str!("../../../integrations/grafana/enforcer.json");
const RULES: &str = include_str!("../../../integrations/prometheus/enforcer.rules.yml");

fn counter(network: &str, id: u32, reason: &str) -> CounterStatus {
    CounterStatus {
        network: network.to_owned(),
        container: "jupyter-ada".to_owned(),
        endpoint: "jupyter-ada".to_owned(),
        id,
        hook: "from_guest".to_owned(),
        reason: reason.to_owned(),
        events: 10,
        packets: 20,
        bytes: 3000,
        recorded: 7,
        suppressed: 2,
        lost: 1,
    }
}

fn report() -> StatusReport {
    let network = |name: &str, guests| NetworkStatus {
        name: name.to_owned(),
        guests,
        state: HealthState::Enforcing,
        ..NetworkStatus::default()
    };
    let port = |container: &str, interface: &str| EndpointStatus {
        container: container.to_owned(),
        network: "lab".to_owned(),
        interface: interface.to_owned(),
        role: if container.is_empty() { "unknown" } else { "guest" }.to_owned(),
        audits: !container.is_empty(),
        flows: FlowCounts { inbound_established: 3, ..FlowCounts::default() },
        ..EndpointStatus::default()
    };
    let program = |attached| ProgramStatus {
        program: "to_guest".to_owned(),
        attached,
        ..ProgramStatus::default()
    };
    let sink = |name: &str, missed, failing: Option<&str>| SinkStatus {
        name: name.to_owned(),
        taken: 9,
        missed,
        failing: failing.map(str::to_owned),
    };
    StatusReport {
        version: "1.2.3".to_owned(),
        abi: 5,
        health: Health { state: HealthState::Degraded, reasons: vec!["why".to_owned()] },
        docker_connected: true,
        backlog: 4,
        closure: ClosureStatus {
            wanted: true,
            closed: true,
            drops: [("input".to_owned(), 6)].into(),
            ..ClosureStatus::default()
        },
        networks: vec![network("lab", 2), network("class", 1)],
        endpoints: vec![port("", "veth2"), port("jupyter-ada", "veth0"), port("", "veth1")],
        programs: vec![program(true), program(false), program(true)],
        counters: vec![
            counter("lab", 8, "policy"),
            counter("lab", 7, "policy"),
            counter("class", 9, "flow_opened"),
            counter("class", 9, "flow_closed"),
            counter("class", 9, "exec"),
            counter("class", 9, "connect_refused"),
        ],
        queue_lost: 11,
        calls_refused: 5,
        dns: [("answered".to_owned(), 3)].into(),
        sinks: vec![sink("otlp", 3, Some("why")), sink("files", 0, None)],
        ..StatusReport::default()
    }
}

fn page(report: &StatusReport) -> String {
    render(report, Duration::from_millis(1500))
}

/// The samples of one family, in order, without its name.
fn samples<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let of_family = |line: &&'a str| line.split(['{', ' ']).next() == Some(name);
    let without = |line: &'a str| line.strip_prefix(name).unwrap_or_default().trim_start();
    text.lines().filter(of_family).map(without).collect()
}

#[test]
fn each_number_of_the_report_is_on_the_page() {
    let text = page(&report());
    for (name, expected) in [
        ("enforcer_build_info", &["{version=\"1.2.3\",abi=\"5\"} 1"][..]),
        ("enforcer_healthy", &["0"]),
        ("enforcer_health_reasons", &["1"]),
        ("enforcer_docker_connected", &["1"]),
        ("enforcer_backlog_ports", &["4"]),
        ("enforcer_closure_wanted", &["1"]),
        ("enforcer_closure_closed", &["1"]),
        ("enforcer_closure_dropped_frames_total", &["{hook=\"input\"} 6"]),
        ("enforcer_network_guests", &["{network=\"class\"} 1", "{network=\"lab\"} 2"]),
        ("enforcer_network_audited_guests", &["{network=\"class\"} 0", "{network=\"lab\"} 1"]),
        ("enforcer_network_healthy", &["{network=\"class\"} 1", "{network=\"lab\"} 1"]),
        ("enforcer_programs_wanted", &["{program=\"to_guest\"} 3"]),
        ("enforcer_programs_attached", &["{program=\"to_guest\"} 2"]),
        ("enforcer_queue_lost_records_total", &["11"]),
        ("enforcer_calls_refused_total", &["5"]),
        ("enforcer_sink_failing", &["{sink=\"files\"} 0", "{sink=\"otlp\"} 1"]),
        ("enforcer_sink_taken_records_total", &["{sink=\"files\"} 9", "{sink=\"otlp\"} 9"]),
        ("enforcer_sink_missed_records_total", &["{sink=\"files\"} 0", "{sink=\"otlp\"} 3"]),
        ("enforcer_scrape_seconds", &["1.5"]),
    ] {
        assert_eq!(samples(&text, name), expected, "{name}");
    }
    let flows = samples(&text, "enforcer_flows");
    assert_eq!(flows.len(), 15);
    assert_eq!(
        flows[11],
        "{network=\"lab\",container=\"jupyter-ada\",role=\"guest\",interface=\"veth0\",\
         class=\"inbound_established\"} 3"
    );
    let about = |network: &str, id: u32, reason: &str| {
        format!(
            "{{network=\"{network}\",container=\"jupyter-ada\",id=\"{id}\",hook=\"from_guest\",\
             reason=\"{reason}\"}}"
        )
    };
    let denied = [about("lab", 7, "policy"), about("lab", 8, "policy")];
    let opened = [about("class", 9, "flow_opened")];
    let closed = [about("class", 9, "flow_closed")];
    let (execs, refused) = ([about("class", 9, "exec")], [about("class", 9, "connect_refused")]);
    let all = [&refused[..], &execs[..], &closed[..], &opened[..], &denied[..]].concat();
    for (name, about, value) in [
        ("enforcer_denied_events_total", &denied[..], 10),
        ("enforcer_denied_packets_total", &denied[..], 20),
        ("enforcer_denied_bytes_total", &denied[..], 3000),
        ("enforcer_opened_flows_total", &opened[..], 10),
        ("enforcer_closed_flows_total", &closed[..], 10),
        ("enforcer_closed_flows_packets_total", &closed[..], 20),
        ("enforcer_closed_flows_bytes_total", &closed[..], 3000),
        ("enforcer_execs_total", &execs[..], 10),
        ("enforcer_refused_calls_total", &refused[..], 10),
        ("enforcer_records_written_total", &all[..], 7),
        ("enforcer_records_suppressed_total", &all[..], 2),
        ("enforcer_records_lost_total", &all[..], 1),
    ] {
        let expected: Vec<String> = about.iter().map(|about| format!("{about} {value}")).collect();
        assert_eq!(samples(&text, name), expected, "{name}");
    }
}

#[test]
fn exactly_one_state_is_the_one_that_it_is_in() {
    for (state, expected, healthy) in [
        (HealthState::Enforcing, ["1", "0", "0"], "1"),
        (HealthState::Degraded, ["0", "1", "0"], "0"),
        (HealthState::NotEnforcing, ["0", "0", "1"], "0"),
    ] {
        let health = Health { state, reasons: Vec::new() };
        let text = page(&StatusReport { health, ..report() });
        let names = ["enforcing", "degraded", "not_enforcing"];
        let line = |(name, value): (&str, &str)| format!("{{state=\"{name}\"}} {value}");
        let lines: Vec<String> = names.into_iter().zip(expected).map(line).collect();
        assert_eq!(samples(&text, "enforcer_health"), lines);
        assert_eq!(samples(&text, "enforcer_healthy"), [healthy]);
    }
}

#[test]
fn the_order_of_a_report_does_not_show() {
    let mut turned = report();
    turned.networks.reverse();
    turned.endpoints.reverse();
    turned.programs.reverse();
    turned.counters.reverse();
    assert_eq!(page(&turned), page(&report()));
}

#[test]
fn names_that_end_a_label_are_escaped() {
    let mut report = report();
    report.endpoints[1].container = "a\"} 1\nb\\".to_owned();
    let text = page(&report);
    assert!(text.contains(",container=\"a\\\"} 1\\nb\\\\\",role="), "{text}");
    assert_eq!(samples(&text, "enforcer_flows").len(), 15);
}

/// A panel for a name that is nowhere stays empty, and nobody knows why.
#[test]
fn the_grafana_dashboard_asks_for_what_is_on_the_page() {
    let text = page(&report());
    let dashboard: serde_json::Value = serde_json::from_str(GRAFANA).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut places = std::collections::BTreeSet::new();
    let mut names = 0;
    for panel in panels {
        assert!(places.insert(panel["gridPos"].to_string()), "two panels at {}", panel["gridPos"]);
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty() && panel["title"].is_string(), "{panel}");
        for expression in targets.iter().map(|target| target["expr"].as_str().expect("an expr")) {
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let words = || expression.split(|c| !is_word(c)).filter(|word| !word.is_empty());
            for name in words().filter(|word| word.starts_with("enforcer_")) {
                assert!(text.contains(&format!("# TYPE {name} ")), "{name}");
                let is_counter = text.contains(&format!("# TYPE {name} counter\n"));
                let of = ["rate(", "increase("].map(|of| format!("{of}{name}"));
                let is_rate = of.iter().any(|of| expression.contains(of));
                assert_eq!(is_counter, is_rate, "{expression}");
                names += 1;
            }
            for by in expression.split("by (").skip(1).filter_map(|rest| rest.split_once(')')) {
                assert!(text.contains(&format!("{}=\"", by.0)), "{expression}");
            }
        }
    }
    assert!(names >= 20, "{names}");
    let variables = dashboard["templating"]["list"].to_string();
    for name in variables.split("label_values(").skip(1) {
        let name = name.split([',', '{']).next().unwrap_or_default();
        assert!(text.contains(&format!("# TYPE {name} ")), "{name}");
    }
}

/// A rule for a name that is nowhere never fires, and nobody notices.
#[test]
fn the_alert_rules_ask_for_what_is_on_the_page() {
    let text = page(&report());
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let names: Vec<&str> =
        RULES.split(|c| !word(c)).filter(|name| name.starts_with("enforcer_")).collect();
    assert!(names.len() >= 6, "{names:?}");
    for name in &names {
        assert!(text.contains(&format!("# TYPE {name} ")), "{name}");
        // Only counters have a rate.
        let is_counter = text.contains(&format!("# TYPE {name} counter\n"));
        for of in ["rate", "increase"] {
            assert!(is_counter || !RULES.contains(&format!("{of}({name}")), "{name}");
        }
    }
    // Matchers of label values, and labels that sums are by.
    let mut matchers = 0;
    for inside in RULES.split('{').skip(1).filter_map(|rest| rest.split_once('}')) {
        for matcher in inside.0.split(',').filter(|matcher| matcher.contains("=\"")) {
            assert!(text.contains(matcher), "{matcher}");
            matchers += 1;
        }
    }
    assert!(matchers >= 3, "{matchers}");
    for by in RULES.split("by (").skip(1).filter_map(|rest| rest.split_once(')')) {
        for label in by.0.split(", ").filter(|label| *label != "instance") {
            assert!(text.contains(&format!("{label}=\"")), "{label}");
        }
    }
    let alerts = RULES.matches("- alert: ").count();
    for part in ["expr: ", "for: ", "severity: ", "summary: ", "description: "] {
        assert_eq!(RULES.matches(part).count(), alerts, "{part}");
    }
    assert!((5..=6).contains(&alerts));
}
