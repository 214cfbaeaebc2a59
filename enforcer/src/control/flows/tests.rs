use std::sync::Arc;

use enforcer_common::{
    abi::{
        endpoint::{Endpoint, Role},
        policy::{AUDITED, Policy},
    },
    decide::Origin,
    packet::{IPV4, TCP, UDP},
};

use super::*;
use crate::{
    model::{desired::DesiredPolicy, owner::Owner, provenance::Provenance},
    policy::{
        compile::compile,
        rule::{Action, Ports},
    },
};

const SECOND: u64 = 1_000_000_000;
const NOW: u64 = 1000 * SECOND;

fn owners() -> Owners {
    let owner = |name: &str, id: &str| Owner {
        network: "guests".to_owned(),
        role: Some(Role::Guest),
        container: Some(id.to_owned()),
        name: name.to_owned(),
        provenance: Arc::new(Provenance { user: Some(name.to_owned()), ..Provenance::default() }),
        ..Owner::nobody()
    };
    [(7, owner("ada", "abcd1234")), (8, owner("ben", "beef5678"))].into()
}

fn key(endpoint: u32, remote_port: u16) -> FlowKey {
    let mut key = FlowKey {
        endpoint,
        local_port: 40_000,
        remote_port,
        protocol: TCP,
        family: IPV4,
        ..FlowKey::default()
    };
    key.local[..4].copy_from_slice(&[10, 0, 0, if endpoint == 7 { 2 } else { 3 }]);
    key.remote[..4].copy_from_slice(&[192, 0, 2, 7]);
    key
}

fn flow(bytes: u64) -> FlowRecord {
    FlowRecord {
        opened_ns: NOW - 60 * SECOND,
        last_seen_ns: NOW - 2 * SECOND,
        bytes_out: bytes,
        bytes_in: 1,
        packets_out: 3,
        packets_in: 4,
        state: FlowState::open(true).with_phase(Phase::Established).word(),
        opener: Opener::Endpoint.value(),
        ..FlowRecord::default()
    }
}

fn ask(question: &FlowsQuestion, flows: &[(FlowKey, FlowRecord)]) -> FlowsReport {
    let owners = owners();
    let known = Known { owners: &owners, rules: HashMap::new(), now_ns: NOW };
    let mut gathering = Gathering::new(question, known).expect("is known");
    for (key, flow) in flows {
        gathering.take(key, flow);
    }
    gathering.finish(true)
}

fn ports(report: &FlowsReport) -> Vec<u16> {
    report.flows.iter().map(|flow| flow.remote_port).collect()
}

#[test]
fn o1_the_first_of_an_order_are_told_and_the_others_counted() {
    let mut flows: Vec<_> = (1..=9u16).map(|port| (key(7, port), flow(port.into()))).collect();
    flows[3].1.packets_out = 99;
    flows[4].1.opened_ns = 1;
    flows[5].1.last_seen_ns = NOW;
    for (order, first) in [
        (FlowOrder::Bytes, 9),
        (FlowOrder::Packets, 4),
        (FlowOrder::Age, 5),
        (FlowOrder::Recent, 6),
    ] {
        let report = ask(&FlowsQuestion { limit: 3, order, ..FlowsQuestion::default() }, &flows);
        assert_eq!((ports(&report)[0], report.flows.len(), report.others), (first, 3, 6));
    }
    let question = FlowsQuestion { limit: 2, ..FlowsQuestion::default() };
    assert_eq!(ports(&ask(&question, &flows)), [9, 8]);
    flows.reverse();
    assert_eq!(ports(&ask(&question, &flows)), [9, 8], "in whatever order they come");
}

#[test]
fn o1_flows_are_asked_for_by_name_id_or_address() {
    let flows = [(key(7, 1), flow(5)), (key(8, 2), flow(4))];
    let question = |guest: &str| FlowsQuestion {
        guest: Some(guest.to_owned()),
        limit: 9,
        ..FlowsQuestion::default()
    };
    for (guest, expected) in [("ada", 1), ("ben", 2), ("beef", 2), ("10.0.0.2", 1), ("10.0.0.3", 2)]
    {
        assert_eq!(ports(&ask(&question(guest), &flows)), [expected], "{guest}");
    }
    assert!(ask(&question("10.9.9.9"), &flows).flows.is_empty());
    let owners = owners();
    let known = Known { owners: &owners, rules: HashMap::new(), now_ns: NOW };
    let error = Gathering::new(&question("abc"), known).expect_err("too short for an id");
    assert_eq!(error.message, "no guest is called abc; there are ada, ben");
}

#[test]
fn o1_what_is_over_is_no_flow_of_now() {
    let old = FlowRecord { last_seen_ns: NOW - 181 * SECOND, ..flow(5) };
    let dead = FlowRecord { state: FlowState::DEAD.word(), ..flow(5) };
    let udp = FlowKey { protocol: UDP, ..key(7, 1) };
    let report = ask(
        &FlowsQuestion { limit: 9, ..FlowsQuestion::default() },
        &[(udp, old), (key(7, 2), dead), (key(7, 3), old)],
    );
    assert_eq!(ports(&report), [3], "TCP may idle for longer");
}

#[test]
fn a2_a_flow_is_told_with_its_guest_its_opener_its_rule_and_its_state() {
    let rules = vec![Rule {
        action: Action::Allow,
        to: vec!["192.0.2.0/24".parse().expect("a network")],
        ports: Ports::ALL.to_vec(),
        name: "allow at f:9".to_owned(),
        ..Rule::default()
    }];
    let tables = Arc::new(compile(&rules).expect("is small"));
    let policy = DesiredPolicy { rules, tables: Arc::clone(&tables), ..DesiredPolicy::default() };
    let desired = Desired { policies: [(1, policy)].into(), ..Desired::default() };
    let port = |id| Endpoint { id, policy: 1, ..Endpoint::default() };
    let observed = Observed {
        endpoints: [(20, port(7))].into(),
        policies: [(1, Policy { epoch: 5, ..Policy::default() })].into(),
        tables: [(5, tables)].into(),
        ..Observed::default()
    };
    let owners = owners();
    let known = Known { owners: &owners, rules: super::rules(&desired, &observed), now_ns: NOW };
    let status = |flow: FlowRecord, endpoint| known.status(&key(endpoint, 443), &flow);
    let told = status(FlowRecord { rule: 1, epoch: 5, ..flow(5) }, 7);
    let expected = FlowStatus {
        guest: "ada".to_owned(),
        endpoint: 7,
        network: "guests".to_owned(),
        user: Some("ada".to_owned()),
        opener: "guest".to_owned(),
        protocol: TCP,
        local: [10, 0, 0, 2].into(),
        local_port: 40_000,
        remote: [192, 0, 2, 7].into(),
        remote_port: 443,
        state: "established".to_owned(),
        packets_out: 3,
        packets_in: 4,
        bytes_out: 5,
        bytes_in: 1,
        age_ms: 60_000,
        idle_ms: 2000,
        rule: Some(1),
        rule_name: Some("allow at f:9".to_owned()),
        would_deny: None,
    };
    assert_eq!(told, expected);
    // Rules of another time, or of another endpoint, are not what allowed it.
    assert_eq!(status(FlowRecord { rule: 1, epoch: 4, ..flow(5) }, 7).rule_name, None);
    assert_eq!(status(FlowRecord { rule: 1, epoch: 5, ..flow(5) }, 8).rule_name, None);
    let audited = status(FlowRecord { rule: AUDITED | 1, epoch: 5, ..flow(5) }, 7);
    assert_eq!((audited.rule, audited.would_deny.as_deref()), (Some(1), Some("policy")));
    let unopened = status(FlowRecord { rule: AUDITED, ..flow(5) }, 7);
    assert_eq!((unopened.rule, unopened.would_deny.as_deref()), (None, Some("policy")));
    let inbound = FlowState::open(false);
    let by_host =
        FlowRecord { opener: Opener::Peer(Origin::Host).value(), state: inbound.word(), ..flow(5) };
    let told = status(by_host, 9);
    assert_eq!((told.opener.as_str(), told.state.as_str()), ("host", "half_open"));
    assert_eq!((told.guest.as_str(), told.endpoint), ("", 9), "gone, and lingering");
}
