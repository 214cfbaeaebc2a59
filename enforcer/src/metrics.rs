//! Numbers for Prometheus: a status report as text, in the exposition format 0.0.4.
//!
//! `report -> render (pure) -> page (at most one a second) -> serve (HTTP, this host only)`. Labels
//! come from the config, from Docker and from this program, never from a packet.

mod listen;
mod page;
mod serve;
#[cfg(test)]
mod tests;
mod text;

use std::{collections::BTreeMap, time::Duration};

use crate::model::status::{CounterStatus, HealthState, StatusReport};

use self::text::{Exposition, Kind};
pub use self::{
    listen::{ListenError, Listener, remove_left_behind},
    page::Reports,
    serve::serve,
};

/// The reasons of counters that count no denial.
const FLOW_OPENED: &str = "flow_opened";
const FLOW_CLOSED: &str = "flow_closed";
const EXEC: &str = "exec";
const CONNECT_REFUSED: &str = "connect_refused";
const SOCKET_REFUSED: &str = "socket_refused";
/// Reasons of what is no frame denied.
const NO_FRAMES: [&str; 5] = [FLOW_OPENED, FLOW_CLOSED, EXEC, CONNECT_REFUSED, SOCKET_REFUSED];

/// A report as text; `took` is the time that it took to measure it.
#[must_use]
pub fn render(report: &StatusReport, took: Duration) -> String {
    let mut out = Exposition::default();
    health(report, &mut out);
    closure(report, &mut out);
    networks(report, &mut out);
    programs(report, &mut out);
    flows(report, &mut out);
    counters(report, &mut out);
    let help = "Records that the daemon lost itself, on their way from the kernel to its output.";
    out.family("enforcer_queue_lost_records_total", Kind::Counter, help)
        .sample(&[], report.queue_lost);
    let help = "Calls at the control socket that were refused: from users without a role, or not for theirs.";
    out.family("enforcer_calls_refused_total", Kind::Counter, help)
        .sample(&[], report.calls_refused);
    let help = "Requests at the Docker sockets that enforcer serves, by what became of them.";
    let mut family = out.family("enforcer_gate_requests_total", Kind::Counter, help);
    family.sample(&[("decision", "allow")], report.gate.allowed);
    family.sample(&[("decision", "deny")], report.gate.denied);
    sinks(report, &mut out);
    dns(report, &mut out);
    let help = "Time that it took to measure what is told here.";
    out.family("enforcer_scrape_seconds", Kind::Gauge, help).sample(&[], took.as_secs_f64());
    out.finish()
}

fn health(report: &StatusReport, out: &mut Exposition) {
    let abi = report.abi.to_string();
    out.family("enforcer_build_info", Kind::Gauge, "The daemon that answers; always 1.")
        .sample(&[("version", &report.version), ("abi", &abi)], 1);
    let state = report.health.state;
    out.family("enforcer_healthy", Kind::Gauge, "Whether all is enforced as the config has it.")
        .sample(&[], u8::from(state == HealthState::Enforcing));
    let help = "The state of policy, as `enforcer status` has it: 1 for the one that it is in.";
    let mut family = out.family("enforcer_health", Kind::Gauge, help);
    for each in [HealthState::Enforcing, HealthState::Degraded, HealthState::NotEnforcing] {
        family.sample(&[("state", each.name())], u8::from(each == state));
    }
    let help = "Reasons why the state is not better; `enforcer status` tells them.";
    out.family("enforcer_health_reasons", Kind::Gauge, help)
        .sample(&[], report.health.reasons.len());
    let help = "Whether the Docker engine can be asked.";
    out.family("enforcer_docker_connected", Kind::Gauge, help)
        .sample(&[], u8::from(report.docker_connected));
    let help = "Ports of guest bridges that wait for their programs; denied until then.";
    out.family("enforcer_backlog_ports", Kind::Gauge, help).sample(&[], report.backlog);
}

fn closure(report: &StatusReport, out: &mut Exposition) {
    let closure = &report.closure;
    let help = "Whether the config wants guest bridges closed where no program sits.";
    out.family("enforcer_closure_wanted", Kind::Gauge, help).sample(&[], u8::from(closure.wanted));
    let help = "Whether the kernel keeps guest bridges closed where no program sits.";
    out.family("enforcer_closure_closed", Kind::Gauge, help).sample(&[], u8::from(closure.closed));
    let help = "Frames that the closure dropped since it was written, by hook of the bridge.";
    let mut family = out.family("enforcer_closure_dropped_frames_total", Kind::Counter, help);
    for (hook, frames) in &closure.drops {
        family.sample(&[("hook", hook)], frames);
    }
}

fn networks(report: &StatusReport, out: &mut Exposition) {
    let mut networks: Vec<_> = report.networks.iter().collect();
    networks.sort_by_key(|network| &network.name);
    let mut family = out.family("enforcer_network_guests", Kind::Gauge, "Guests on a network.");
    for network in &networks {
        family.sample(&[("network", &network.name)], network.guests);
    }
    let help =
        "Guests whose policy is in audit mode: what it would deny is let through and recorded.";
    let mut family = out.family("enforcer_network_audited_guests", Kind::Gauge, help);
    for network in &networks {
        let audited = report
            .endpoints
            .iter()
            .filter(|port| port.audits && port.role == "guest" && port.network == network.name);
        family.sample(&[("network", &network.name)], audited.count());
    }
    let help = "Whether a network is policed as the config has it.";
    let mut family = out.family("enforcer_network_healthy", Kind::Gauge, help);
    for network in &networks {
        let healthy = u8::from(network.state == HealthState::Enforcing);
        family.sample(&[("network", &network.name)], healthy);
    }
}

fn programs(report: &StatusReport, out: &mut Exposition) {
    // Program -> wanted, attached.
    let mut counts = BTreeMap::<&str, (u64, u64)>::new();
    for program in &report.programs {
        let (wanted, attached) = counts.entry(&program.program).or_default();
        *wanted += 1;
        *attached += u64::from(program.attached);
    }
    let help = "Interfaces that a program belongs on.";
    let mut family = out.family("enforcer_programs_wanted", Kind::Gauge, help);
    for (program, (wanted, _)) in &counts {
        family.sample(&[("program", program)], wanted);
    }
    let help = "Interfaces that a program sits on now, ahead of any other.";
    let mut family = out.family("enforcer_programs_attached", Kind::Gauge, help);
    for (program, (_, attached)) in &counts {
        family.sample(&[("program", program)], attached);
    }
}

fn flows(report: &StatusReport, out: &mut Exposition) {
    let mut endpoints: Vec<_> = report.endpoints.iter().collect();
    // Two ports without a container differ by their interfaces alone.
    endpoints.sort_by_key(|port| (&port.network, &port.container, &port.interface));
    let help = "Flows of an endpoint by class, as its quotas have them.";
    let mut family = out.family("enforcer_flows", Kind::Gauge, help);
    for port in endpoints {
        let flows = port.flows;
        for (class, count) in [
            ("inbound_half_open", flows.inbound_half_open),
            ("inbound_established", flows.inbound_established),
            ("outbound_half_open", flows.outbound_half_open),
            ("outbound_established", flows.outbound_established),
            ("closing", flows.closing),
        ] {
            let labels = [
                ("network", port.network.as_str()),
                ("container", &port.container),
                ("role", &port.role),
                ("interface", &port.interface),
                ("class", class),
            ];
            family.sample(&labels, count);
        }
    }
}

fn sinks(report: &StatusReport, out: &mut Exposition) {
    let mut sinks: Vec<_> = report.sinks.iter().collect();
    sinks.sort_by_key(|sink| &sink.name);
    let help = "Whether a sink of records does not go on; `enforcer status` tells why.";
    let mut family = out.family("enforcer_sink_failing", Kind::Gauge, help);
    for sink in &sinks {
        family.sample(&[("sink", &sink.name)], u8::from(sink.failing.is_some()));
    }
    let help = "Records that a sink took.";
    let mut family = out.family("enforcer_sink_taken_records_total", Kind::Counter, help);
    for sink in &sinks {
        family.sample(&[("sink", &sink.name)], sink.taken);
    }
    let help = "Records that a sink missed, or that were refused for good.";
    let mut family = out.family("enforcer_sink_missed_records_total", Kind::Counter, help);
    for sink in &sinks {
        family.sample(&[("sink", &sink.name)], sink.missed);
    }
}

fn dns(report: &StatusReport, out: &mut Exposition) {
    let help = "Questions of guests to the resolver, by what became of them.";
    let mut family = out.family("enforcer_dns_queries_total", Kind::Counter, help);
    for (outcome, count) in &report.dns {
        family.sample(&[("outcome", outcome)], count);
    }
}

/// What one counter is about, in the order of its labels.
type About<'a> = (&'a str, &'a str, u32, &'a str, &'a str);

fn counters(report: &StatusReport, out: &mut Exposition) {
    let all: BTreeMap<About<'_>, &CounterStatus> = report
        .counters
        .iter()
        .map(|count| {
            let about =
                (&*count.network, &*count.container, count.id, &*count.hook, &*count.reason);
            (about, count)
        })
        .collect();
    let mut write = |name, help, is: fn(&str) -> bool, value: fn(&CounterStatus) -> u64| {
        let mut family = out.family(name, Kind::Counter, help);
        for ((network, container, id, hook, reason), count) in &all {
            if is(reason) {
                let id = id.to_string();
                let labels = [
                    ("network", *network),
                    ("container", container),
                    ("id", &id),
                    ("hook", hook),
                    ("reason", reason),
                ];
                family.sample(&labels, value(count));
            }
        }
    };
    let denied = |reason: &str| !NO_FRAMES.contains(&reason);
    write("enforcer_denied_events_total", "Frames denied.", denied, |count| count.events);
    let help = "Packets denied, as on the wire: a super-packet is many.";
    write("enforcer_denied_packets_total", help, denied, |count| count.packets);
    write("enforcer_denied_bytes_total", "Bytes denied.", denied, |count| count.bytes);
    let help = "Flows that policy let open; their reason is flow_opened.";
    write("enforcer_opened_flows_total", help, |reason| reason == FLOW_OPENED, |c| c.events);
    let closed = |reason: &str| reason == FLOW_CLOSED;
    write("enforcer_closed_flows_total", "Flows that ended.", closed, |count| count.events);
    let help = "Packets of flows that ended, in both directions.";
    write("enforcer_closed_flows_packets_total", help, closed, |count| count.packets);
    let help = "Bytes of flows that ended, in both directions.";
    write("enforcer_closed_flows_bytes_total", help, closed, |count| count.bytes);
    let help = "Programs that guests' processes began to run.";
    write("enforcer_execs_total", help, |reason| reason == EXEC, |count| count.events);
    let help = "Calls of guests' processes that were refused before there was a packet.";
    let refused = |reason: &str| reason == CONNECT_REFUSED;
    write("enforcer_refused_calls_total", help, refused, |count| count.events);
    let help = "Unix sockets that guests' processes were refused.";
    let refused = |reason: &str| reason == SOCKET_REFUSED;
    write("enforcer_refused_sockets_total", help, refused, |count| count.events);
    let help = "Records that the kernel wrote for the daemon.";
    write("enforcer_records_written_total", help, |_| true, |count| count.recorded);
    let help = "Records left out because of the rate for each guest and reason.";
    write("enforcer_records_suppressed_total", help, |_| true, |count| count.suppressed);
    let help = "Records lost because the daemon did not read in time.";
    write("enforcer_records_lost_total", help, |_| true, |count| count.lost);
}
