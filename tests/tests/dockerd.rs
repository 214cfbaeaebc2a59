//! Tests with a real dockerd in a namespace of its own. They need root; without it they say so and
//! pass. Run one after the other: `cargo test -p enforcer-tests --test dockerd -- --test-threads=1`.

#[path = "dockerd/abuse.rs"]
mod abuse;
#[path = "dockerd/access.rs"]
mod access;
#[path = "dockerd/answers.rs"]
mod answers;
#[path = "dockerd/baseline.rs"]
mod baseline;
#[path = "dockerd/blocked.rs"]
mod blocked;
#[path = "dockerd/build.rs"]
mod build;
#[path = "dockerd/cli.rs"]
mod cli;
#[path = "dockerd/collector.rs"]
mod collector;
#[path = "dockerd/config.rs"]
mod config;
#[path = "dockerd/control.rs"]
mod control;
#[path = "dockerd/dns.rs"]
mod dns;
#[path = "dockerd/doctor.rs"]
mod doctor;
#[path = "dockerd/engine.rs"]
mod engine;
#[path = "dockerd/engine_resolver.rs"]
mod engine_resolver;
#[path = "dockerd/flood.rs"]
mod flood;
#[path = "dockerd/gate.rs"]
mod gate;
#[path = "dockerd/gate_attacks.rs"]
mod gate_attacks;
#[path = "dockerd/gate_clients.rs"]
mod gate_clients;
#[path = "dockerd/gate_libraries.rs"]
mod gate_libraries;
#[path = "dockerd/gate_load.rs"]
mod gate_load;
#[path = "dockerd/groups.rs"]
mod groups;
#[path = "dockerd/guests.rs"]
mod guests;
#[path = "dockerd/hub_calls.rs"]
mod hub_calls;
#[path = "dockerd/interrupted.rs"]
mod interrupted;
#[path = "dockerd/ipv6.rs"]
mod ipv6;
#[path = "dockerd/kept.rs"]
mod kept;
#[path = "dockerd/lifecycle.rs"]
mod lifecycle;
#[path = "dockerd/limits.rs"]
mod limits;
#[path = "dockerd/lives.rs"]
mod lives;
#[path = "dockerd/metrics.rs"]
mod metrics;
#[path = "dockerd/names.rs"]
mod names;
#[path = "dockerd/other_resolver.rs"]
mod other_resolver;
#[path = "dockerd/outside.rs"]
mod outside;
#[path = "dockerd/own_addresses.rs"]
mod own_addresses;
#[path = "dockerd/own_networks.rs"]
mod own_networks;
#[path = "dockerd/own_wire.rs"]
mod own_wire;
#[path = "dockerd/passing.rs"]
mod passing;
#[path = "dockerd/person.rs"]
mod person;
#[path = "dockerd/policies.rs"]
mod policies;
#[path = "dockerd/ports.rs"]
mod ports;
#[path = "dockerd/processes.rs"]
mod processes;
#[path = "dockerd/promises.rs"]
mod promises;
#[path = "dockerd/races.rs"]
mod races;
#[path = "dockerd/records.rs"]
mod records;
#[path = "dockerd/refuse.rs"]
mod refuse;
#[path = "dockerd/report.rs"]
mod report;
#[path = "dockerd/rotation.rs"]
mod rotation;
#[path = "dockerd/rows.rs"]
mod rows;
#[path = "dockerd/second_network.rs"]
mod second_network;
#[path = "dockerd/services.rs"]
mod services;
#[path = "dockerd/shared.rs"]
mod shared;
#[path = "dockerd/side_by_side.rs"]
mod side_by_side;
#[path = "dockerd/sight.rs"]
mod sight;
#[path = "dockerd/sources.rs"]
mod sources;
#[path = "dockerd/storm.rs"]
mod storm;
#[path = "dockerd/survival.rs"]
mod survival;
#[path = "dockerd/traffic.rs"]
mod traffic;
#[path = "dockerd/unrelated.rs"]
mod unrelated;
#[path = "dockerd/wide.rs"]
mod wide;
#[path = "dockerd/zz_end.rs"]
mod zz_end;

use enforcer_tests::harness::{artifacts, run};

/// Whether tests can run here; says why not.
fn can_run() -> bool {
    run::obstacle().inspect(|why| eprintln!("skipped: {why}")).is_none()
}

/// Whether tests of the daemon can run here; says why not. Where `CI` is set, a daemon must be there.
fn can_enforce() -> bool {
    if artifacts::enforcer().is_none() {
        assert!(std::env::var_os("CI").is_none(), "no enforcer binary to test: set ENFORCER_BIN");
        eprintln!("skipped: no enforcer binary; build it or set ENFORCER_BIN");
        return false;
    }
    can_run()
}
