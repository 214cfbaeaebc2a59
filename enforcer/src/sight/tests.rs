//! Rates are differences, denials are remembered, and every reason has words.

use enforcer_common::{abi::verdict::DropReason, packet::TCP};

use super::{Memory, advice};
use crate::{
    audit::record::{Body, ConnectRefused, GateCall, Record, Subject},
    model::{
        flows::{FlowStatus, FlowsReport},
        status::{CounterStatus, EndpointStatus, FlowCounts, RestraintStatus, StatusReport},
    },
};

const SECOND: u64 = 1_000_000_000;

fn port(container: &str) -> EndpointStatus {
    EndpointStatus {
        container: container.to_owned(),
        network: "a".to_owned(),
        role: "guest".to_owned(),
        flows: FlowCounts {
            outbound_established: 2,
            outbound_half_open: 1,
            ..FlowCounts::default()
        },
        ..EndpointStatus::default()
    }
}

fn counter(container: &str, reason: &str, events: u64, bytes: u64) -> CounterStatus {
    CounterStatus {
        container: container.to_owned(),
        network: "a".to_owned(),
        reason: reason.to_owned(),
        events,
        bytes,
        ..CounterStatus::default()
    }
}

fn flow(guest: &str, bytes_in: u64) -> FlowStatus {
    FlowStatus {
        guest: guest.to_owned(),
        endpoint: 1,
        network: "a".to_owned(),
        user: None,
        opener: "guest".to_owned(),
        protocol: TCP,
        local: [10, 0, 0, 2].into(),
        local_port: 1,
        remote: [192, 0, 2, 1].into(),
        remote_port: 443,
        state: "established".to_owned(),
        packets_out: 0,
        packets_in: 0,
        bytes_out: 0,
        bytes_in,
        age_ms: 0,
        idle_ms: 0,
        rule: None,
        rule_name: None,
        would_deny: None,
    }
}

fn record(seq: u64, body: Body) -> Record {
    let time = format!("2026-11-23T12:00:0{seq}Z");
    Record { v: 1, ecs: "8".into(), seq, time, mono_ns: 0, truncated: false, body }
}

fn refused(seq: u64, reason: &str) -> Record {
    let subject =
        Subject { container: "ann".to_owned(), network: "a".to_owned(), ..Subject::default() };
    record(
        seq,
        Body::ConnectRefused(Box::new(ConnectRefused {
            subject,
            reason: reason.to_owned(),
            call: "connect".to_owned(),
            destination: "192.0.2.9".to_owned(),
            destination_port: 25,
            protocol: TCP,
            ..ConnectRefused::default()
        })),
    )
}

#[test]
fn rates_are_what_the_kernel_counted_between_two_looks() {
    let mut memory = Memory::default();
    let report = |closed, denied| StatusReport {
        endpoints: vec![port("ann"), port("ben")],
        counters: vec![
            counter("ann", "flow_closed", 3, closed),
            counter("ann", "policy", denied, 0),
            counter("ann", "exec", 99, 0),
            counter("ben", "connect_refused", 4, 0),
        ],
        ..StatusReport::default()
    };
    let flows = |bytes| FlowsReport { flows: vec![flow("ann", bytes)], others: 0, whole: true };
    let first = memory.look(&report(1000, 5), &flows(500), SECOND);
    assert!(first.guests.iter().all(|guest| guest.bits_per_second == 0), "nothing to compare with");
    // A flow of 500 bytes ended with 700, and another one has 300: 1500 bytes in 2 s.
    let second = memory.look(&report(1700, 11), &flows(1300), 3 * SECOND);
    let ann = &second.guests[0];
    assert_eq!((&*ann.name, ann.bits_per_second), ("ann", 6000));
    assert_eq!((ann.denied, ann.denied_per_second), (11, 3.0));
    assert_eq!((ann.flows_in, ann.flows_out), (0, 3));
    assert_eq!(second.guests[1].denied, 4);
    let reasons: Vec<_> = second
        .reasons
        .iter()
        .map(|one| (one.reason.as_str(), one.denied, one.per_second))
        .collect();
    assert_eq!(reasons, [("policy", 11, 3.0), ("connect_refused", 4, 0.0)]);
    // A counter that begins anew is no rate.
    let third = memory.look(&report(0, 0), &flows(0), 4 * SECOND);
    assert_eq!((third.guests[0].bits_per_second, third.guests[0].denied_per_second), (0, 0.0));
}

#[test]
fn the_last_denial_of_a_guest_is_remembered_and_whoever_is_held_is_shown() {
    let mut memory = Memory::default();
    memory.hear(&refused(1, "policy"));
    memory.hear(&refused(2, "rate_new_flows"));
    let held = RestraintStatus {
        container: "ann".to_owned(),
        answer: "cut".to_owned(),
        until: Some("2026-11-23T13:00:00Z".to_owned()),
        ..RestraintStatus::default()
    };
    let report = StatusReport {
        endpoints: vec![port("ann"), port("ben")],
        restrained: vec![held],
        ..StatusReport::default()
    };
    let sight = memory.look(&report, &FlowsReport::default(), SECOND);
    let ann = &sight.guests[0];
    let last = ann.last.as_ref().expect("it was denied something");
    assert_eq!((last.seq, &*last.reason, &*ann.held), (2, "rate_new_flows", "cut"));
    let to = last.to.as_ref().expect("it is a conversation");
    assert_eq!((to.address.to_string(), to.port), ("192.0.2.9".to_owned(), 25));
    assert!(sight.guests[1].last.is_none());
    let order: Vec<u64> = sight.denials.iter().map(|denial| denial.seq).collect();
    assert_eq!(order, [2, 1], "newest first");
}

#[test]
fn guests_that_are_gone_make_room_for_the_denials_of_new_ones() {
    let mut memory = Memory::default();
    let hear = |memory: &mut Memory, guest: &str| {
        let mut record = refused(1, "policy");
        if let Body::ConnectRefused(refused) = &mut record.body {
            refused.subject.container = guest.to_owned();
        }
        memory.hear(&record);
    };
    hear(&mut memory, "ann");
    for gone in 0..5000 {
        hear(&mut memory, &gone.to_string());
    }
    let report =
        StatusReport { endpoints: vec![port("ann"), port("new")], ..StatusReport::default() };
    let look = |memory: &mut Memory| {
        let sight = memory.look(&report, &FlowsReport::default(), SECOND);
        let told = sight.guests.iter().filter(|guest| guest.last.is_some());
        told.map(|guest| guest.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(look(&mut memory), ["ann"], "she is there");
    hear(&mut memory, "new");
    assert_eq!(look(&mut memory), ["ann", "new"]);
}

#[test]
fn no_flood_of_records_fills_the_memory() {
    let mut memory = Memory::default();
    for seq in 0..1000 {
        memory.hear(&refused(seq, "policy"));
        let call = GateCall { event: "request".to_owned(), ..GateCall::default() };
        memory.hear(&record(seq, Body::Gate(Box::new(call))));
    }
    let sight = memory.look(&StatusReport::default(), &FlowsReport::default(), SECOND);
    assert_eq!((sight.denials.len(), sight.calls.len()), (100, 100));
    assert_eq!(sight.denials[0].seq, 999);
}

#[test]
fn n8_every_reason_has_a_meaning_and_what_to_do() {
    for reason in DropReason::ALL {
        let (means, todo) = (advice::means(reason.name()), advice::what_to_do(reason.name()));
        assert!(means.ends_with('.') && means != advice::means("no such reason"), "{means}");
        assert!(todo.ends_with(['.', ':']) && todo.len() > 20, "{}: {todo}", reason.name());
    }
    for other in ["foreign_socket", "connect_refused", "socket_refused"] {
        assert_ne!(advice::means(other), advice::means("no such reason"));
    }
}
