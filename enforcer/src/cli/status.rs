//! `enforcer status`: asks the daemon and shows its answer.

use super::{Exit, StatusArgs, table::table};
use crate::{
    api::{ControlError, client},
    model::status::{
        ClosureStatus, FlowCounts, GateStatus, HealthState, KernelProofStatus, StatusReport,
    },
    supervise::alone,
};

/// Shows what is enforced now.
pub(super) async fn status(args: &StatusArgs) -> anyhow::Result<Exit> {
    let (run_dir, pin_dir) = match args.at.directories() {
        Ok(directories) => directories,
        Err(error) => {
            eprintln!("{error}");
            return Ok(Exit::Usage);
        }
    };
    let report = match client::status(&run_dir).await {
        Ok(report) => report,
        Err(error @ (ControlError::NotRunning(_) | ControlError::TimedOut(_))) => {
            alone::report(&pin_dir, &error.to_string()).await
        }
        Err(error) => return Err(error.into()),
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", render(&report));
    }
    Ok(exit(report.health.state))
}

/// Only what is wholly enforced is a success.
fn exit(state: HealthState) -> Exit {
    match state {
        HealthState::Enforcing => Exit::Ok,
        HealthState::Degraded => Exit::Degraded,
        HealthState::NotEnforcing => Exit::NotEnforcing,
    }
}

fn render(report: &StatusReport) -> String {
    let mut head = vec![format!(
        "enforcer {} (pid {}, ABI {}): {}",
        report.version,
        report.pid,
        report.abi,
        report.health.state.name()
    )];
    head.extend(report.health.reasons.iter().map(|reason| format!("  because {reason}")));
    if report.backlog > 0 {
        head.push(format!("{} ports wait for their programs, denied until then", report.backlog));
    }
    head.extend(report.unseen.iter().map(|what| format!("not seen: {what}")));
    head.push(format!("docker: {}", report.docker));
    head.extend(dns(report));
    head.push(format!("kernel proof (S4): {}", kernel_proof(&report.kernel_proof)));
    head.push(gate(&report.gate));
    head.push(format!("before programs: {}\n", closure(&report.closure)));
    let mut text = head.join("\n");
    let networks = report.networks.iter().map(|network| {
        [
            network.name.clone(),
            network.bridge.clone(),
            network.ifindex.map(|index| index.to_string()).unwrap_or_default(),
            network.guests.to_string(),
            network.owner.clone().unwrap_or_default(),
            network.state.name().to_owned(),
        ]
    });
    text += &table("Networks", ["name", "bridge", "ifindex", "guests", "owner", "state"], networks);
    text += &endpoints(report);
    text += &limits(report);
    text += &restrained(report);
    let programs = report.programs.iter().map(|program| {
        [
            program.program.clone(),
            program.interface.clone(),
            program.id.to_string(),
            program.hook.clone(),
            if program.attached { "yes" } else { "NO" }.to_owned(),
        ]
    });
    text += &table("Programs", ["program", "interface", "id", "hook", "attached"], programs);
    text + &counters(report)
}

fn kernel_proof(proof: &KernelProofStatus) -> String {
    match (proof.active, proof.why.as_str()) {
        (true, _) => "active: guests connect to unix sockets of their own only".to_owned(),
        (false, "") => "not known".to_owned(),
        (false, why) => format!("not active: {why}"),
    }
}

fn closure(closure: &ClosureStatus) -> String {
    let drops = || closure.drops.iter().map(|(hook, frames)| format!("{frames} {hook}"));
    match (closure.wanted, closure.closed) {
        (false, _) => "open, as the config has it".to_owned(),
        (true, false) => "OPEN".to_owned(),
        (true, true) => {
            let drops = drops().collect::<Vec<_>>().join(", ");
            format!("closed by {} (dropped: {drops})", closure.by)
        }
    }
}

/// Questions to the resolver in one line; none: there is no resolver.
fn dns(report: &StatusReport) -> Option<String> {
    let counted = report.dns.iter().filter(|(_, count)| **count > 0);
    let counted: Vec<String> =
        counted.map(|(outcome, count)| format!("{count} {outcome}")).collect();
    let counted =
        if counted.is_empty() { "no question yet".to_owned() } else { counted.join(", ") };
    (!report.dns.is_empty()).then(|| format!("dns: {counted}"))
}

/// Docker sockets in one line.
fn gate(gate: &GateStatus) -> String {
    let GateStatus { hubs, users, renewed, connections, allowed, denied } = gate;
    let renewed = match renewed {
        0 => String::new(),
        some => format!("; {some} made anew: containers that ran before need a restart"),
    };
    format!(
        "gate: {hubs} sockets of hubs, {users} of users, {connections} connections, {allowed} requests allowed, \
         {denied} refused{renewed}"
    )
}

fn endpoints(report: &StatusReport) -> String {
    let rows = report.endpoints.iter().map(|endpoint| {
        let FlowCounts {
            inbound_half_open,
            inbound_established,
            outbound_half_open,
            outbound_established,
            closing,
        } = endpoint.flows;
        [
            endpoint.container.clone(),
            endpoint.network.clone(),
            endpoint.interface.clone(),
            endpoint.role.clone(),
            endpoint.policy.clone() + if endpoint.audits { " (audit mode)" } else { "" },
            endpoint.mac.clone(),
            endpoint.addresses.join(" "),
            format!("{inbound_established}+{inbound_half_open}"),
            format!("{outbound_established}+{outbound_half_open}"),
            closing.to_string(),
        ]
    });
    let head = [
        "container",
        "network",
        "interface",
        "role",
        "policy",
        "mac",
        "addresses",
        "in",
        "out",
        "closing",
    ];
    table("Endpoints (flows in and out: established+half-open)", head, rows)
}

/// Of those that have any.
fn limits(report: &StatusReport) -> String {
    let limited = report.endpoints.iter().filter(|endpoint| !endpoint.limits.is_empty());
    let rows: Vec<_> =
        limited.map(|endpoint| [endpoint.container.clone(), endpoint.limits.to_string()]).collect();
    if rows.is_empty() { String::new() } else { table("Limits", ["container", "limits"], rows) }
}

/// Left out where there is nobody: most hosts have none.
fn restrained(report: &StatusReport) -> String {
    let missed = report.abuse_missed;
    let mut text = match missed {
        0 => String::new(),
        _ => format!("not looked at for abuse, for want of room: {missed}\n\n"),
    };
    if !report.restrained.is_empty() {
        let rows = report.restrained.iter().map(|one| {
            let until = one.until.as_deref().unwrap_or("enforcer pardon");
            [&one.container, &one.network, &one.answer, &one.signal, until].map(str::to_owned)
        });
        let head = ["container", "network", "answer", "signal", "until"];
        text += &table("Slowed, cut off or paused for abuse", head, rows);
    }
    text
}

fn counters(report: &StatusReport) -> String {
    let rows = report.counters.iter().map(|counter| {
        [
            counter.endpoint.clone(),
            counter.hook.clone(),
            counter.reason.clone(),
            counter.events.to_string(),
            counter.packets.to_string(),
            counter.bytes.to_string(),
            counter.recorded.to_string(),
            counter.suppressed.to_string(),
            counter.lost.to_string(),
        ]
    });
    let head = [
        "endpoint",
        "hook",
        "reason",
        "events",
        "packets",
        "bytes",
        "recorded",
        "suppressed",
        "lost",
    ];
    table("Counters", head, rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        limits::LimitsInForce,
        status::{CounterStatus, EndpointStatus, Health, ProgramStatus},
    };

    #[test]
    fn a_report_becomes_tables() {
        let report = StatusReport {
            health: Health {
                state: HealthState::Degraded,
                reasons: vec!["the engine does not answer".to_owned()],
            },
            closure: ClosureStatus {
                by: "bridge".to_owned(),
                wanted: true,
                closed: true,
                drops: [("input".to_owned(), 4)].into(),
            },
            endpoints: vec![EndpointStatus {
                container: "jupyter-ada".to_owned(),
                interface: "veth1".to_owned(),
                role: "guest".to_owned(),
                addresses: vec!["172.30.0.2".to_owned()],
                flows: FlowCounts { inbound_established: 3, ..FlowCounts::default() },
                limits: LimitsInForce { new_flows_per_second: 20, ..LimitsInForce::default() },
                ..EndpointStatus::default()
            }],
            programs: vec![ProgramStatus { hook: "tcx".to_owned(), ..ProgramStatus::default() }],
            dns: [("answered".to_owned(), 4), ("malformed".to_owned(), 0)].into(),
            counters: vec![CounterStatus { lost: 7, ..CounterStatus::default() }],
            ..StatusReport::default()
        };
        let text = render(&report);
        for words in [
            "degraded\n  because the engine does not answer\n",
            "Networks: none",
            "jupyter-ada  -        veth1      guest  -       -    172.30.0.2  3+0  0+0  0",
            "NO\n",
            "dns: 4 answered\n",
            "  jupyter-ada  20 new flows/s\n",
            "before programs: closed by bridge (dropped: 4 input)\n",
        ] {
            assert!(text.contains(words), "{words:?} is missing in:\n{text}");
        }
    }

    #[test]
    fn only_full_enforcement_exits_with_zero() {
        assert_eq!(exit(HealthState::Enforcing), Exit::Ok);
        assert_eq!(exit(HealthState::Degraded), Exit::Degraded);
        assert_eq!(exit(HealthState::NotEnforcing), Exit::NotEnforcing);
        assert_eq!(exit(HealthState::default()), Exit::NotEnforcing);
    }
}
