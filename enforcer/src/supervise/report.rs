//! Answers "status": what the kernel holds is read when it is asked for, and compared with what the
//! control loop wants.

use std::{collections::BTreeMap, sync::Arc};

use enforcer_common::abi::{ABI_VERSION, counter::Usage, endpoint::Role, event::Hook};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    abuse::{self, AbuseHandle},
    dns::DnsStatus,
    gate, proof,
    records::RecordsHandle,
};
use crate::{
    api::Refusals,
    audit::{
        enrich::{mac, role_name},
        loss::reason_name,
        record::Subject,
    },
    config::Config,
    control::{
        numbers::{undecided, unserved},
        path::PacketPath,
        reconcile::State,
    },
    docker::inventory::EngineState,
    gate::Gate,
    kernel::{canary, processes::ProcessProgram},
    model::{
        closure::By,
        desired::{DesiredEndpoint, DesiredPolicy},
        limits::LimitsInForce,
        link::Links,
        observed::Observed,
        status::{
            ClosureStatus, CounterStatus, EndpointStatus, FlowCounts, Health, HealthState,
            KernelProofStatus, NetworkStatus, ProgramStatus, StatusReport,
        },
    },
};

/// Where a report comes from.
pub(super) struct Reporter {
    pub(super) config: watch::Receiver<Arc<Config>>,
    pub(super) path: PacketPath,
    pub(super) links: watch::Receiver<Arc<Links>>,
    pub(super) state: watch::Receiver<Arc<State>>,
    pub(super) engine: watch::Receiver<EngineState>,
    /// What is wrong with networks, guests outside, metrics, the resolver, the watch for abuse, admins, grants and the
    /// gate.
    pub(super) problems: [watch::Receiver<Vec<String>>; 10],
    pub(super) gate: Option<Gate>,
    pub(super) refusals: Refusals,
    pub(super) abuse: AbuseHandle,
    pub(super) dns: DnsStatus,
    pub(super) records: RecordsHandle,
}

impl Reporter {
    /// Makes one report after the other, for whoever asks, until nobody can.
    pub(super) async fn run(self, mut asked: mpsc::Receiver<oneshot::Sender<StatusReport>>) {
        while let Some(reply) = asked.recv().await {
            // Whoever asked may have gone: then nobody needs it.
            if !reply.is_closed() {
                let _ = reply.send(self.report().await);
            }
        }
    }

    async fn report(&self) -> StatusReport {
        let links = Arc::clone(&self.links.borrow());
        let state = Arc::clone(&self.state.borrow());
        let mut health = Grader::default();
        let observed = match self.path.observe(&links).await {
            Ok(observed) => observed,
            Err(error) => {
                health
                    .note(HealthState::NotEnforcing, format!("the kernel does not tell: {error}"));
                Observed::default()
            }
        };
        if state.runs == 0 {
            health.note(HealthState::NotEnforcing, "the daemon is starting".to_owned());
        }
        for failure in &state.failures {
            health.note(HealthState::Degraded, failure.clone());
        }
        for problem in undecided(&state.desired) {
            health.note(HealthState::Degraded, problem);
        }
        for problem in unserved(&state.desired) {
            health.note(HealthState::Enforcing, problem);
        }
        for problems in &self.problems {
            for problem in problems.borrow().iter() {
                health.note(HealthState::Degraded, problem.clone());
            }
        }
        for problem in self.records.problems() {
            health.note(HealthState::Degraded, problem);
        }
        self.probe(&observed, &mut health);
        let kernel_proof = self.kernel_proof(&state, &mut health);
        self.records.forget_probe();
        let closure = self.closure(&mut health).await;
        let (docker, docker_connected) = self.docker(&mut health);
        let view = View { state: &state, observed: &observed, links: &links };
        let mut programs = self.programs(&view);
        let unseen = self.processes(&view, &mut programs);
        StatusReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            abi: ABI_VERSION,
            pid: std::process::id(),
            networks: self.network_list(&view, &mut health),
            endpoints: self.endpoint_list(&view),
            counters: self.counter_list(&mut health),
            docker,
            docker_connected,
            backlog: backlog(&view),
            closure,
            programs,
            unseen,
            kernel_proof,
            queue_lost: self.records.lost(),
            sinks: self.records.sinks(),
            dns: self.dns.counts(&self.config.borrow()),
            restrained: abuse::status(&self.abuse.restraints.borrow()),
            abuse_missed: self.abuse.missed(),
            calls_refused: self.refusals.count(),
            gate: gate::status(self.gate.as_ref()),
            health: Health { state: health.state, reasons: health.reasons },
        }
    }

    /// Has the programs that are attached judge a forbidden frame.
    fn probe(&self, observed: &Observed, health: &mut Grader) {
        let outcome = {
            let mut loaded = self.path.lock();
            let programs = loaded.hooks.sitting(&observed.first);
            canary::run(&mut loaded.maps, &programs)
        };
        match outcome {
            Ok(passed) => {
                for (hook, program) in passed {
                    let name = hook.name();
                    let reason = format!("{name} (program {program}) let a forbidden frame pass");
                    health.note(HealthState::NotEnforcing, reason);
                }
            }
            Err(error) => health.note(HealthState::Degraded, format!("self-probe: {error}")),
        }
        if !observed.pinned {
            health.note(HealthState::Degraded, "not everything is pinned".to_owned());
        }
    }

    /// Has the kernel refuse a connection.
    fn kernel_proof(&self, state: &State, health: &mut Grader) -> KernelProofStatus {
        let wanted = self.config.borrow().access.kernel_proof;
        let (status, reason) = proof::grade(self.path.prove(), &state.unseen, wanted);
        if let Some(reason) = reason {
            health.note(HealthState::NotEnforcing, reason);
        }
        status
    }

    async fn closure(&self, health: &mut Grader) -> ClosureStatus {
        let (closed, drops) = self.path.closed().await;
        let wanted = self.config.borrow().closure().is_some();
        let by = match closed.as_ref().map(|closed| &closed.by) {
            None => "",
            Some(By::Bridge) => "bridge",
            Some(By::Ports { .. }) => "ports",
        };
        if wanted && closed.is_none() {
            // Each port is denied by its own programs as soon as it is seen.
            let reason = "ports that are not policed yet are open to one another: nftables cannot \
                          close guest bridges here, or somebody changed its table";
            health.note(HealthState::Degraded, reason.to_owned());
        }
        ClosureStatus { wanted, closed: closed.is_some(), by: by.to_owned(), drops }
    }

    /// The engine in one line, and whether it can be asked.
    fn docker(&self, health: &mut Grader) -> (String, bool) {
        let engine = self.engine.borrow();
        let line = match &*engine {
            EngineState::Connected { version, api, userns_remap } => {
                let remap = if *userns_remap { ", userns-remap" } else { "" };
                format!("{version} (API {api}{remap})")
            }
            EngineState::Connecting => {
                health.note(HealthState::Degraded, "not connected to Docker yet".to_owned());
                "connecting".to_owned()
            }
            EngineState::Refused { error } => {
                health.note(HealthState::NotEnforcing, format!("Docker: {error}"));
                format!("refused: {error}")
            }
            EngineState::Unreachable { error } => {
                health.note(HealthState::Degraded, format!("Docker: {error}"));
                format!("unreachable: {error}")
            }
        };
        (line, matches!(*engine, EngineState::Connected { .. }))
    }

    fn network_list(&self, view: &View<'_>, health: &mut Grader) -> Vec<NetworkStatus> {
        let config = Arc::clone(&self.config.borrow());
        let networks = config.networks.iter().map(|(name, network)| {
            let found = view.state.desired.networks.iter().find(|(_, n)| n.name == *name);
            let ifindex = found.map(|(ifindex, _)| *ifindex);
            let ports = || {
                let ports = view.state.desired.endpoints.iter();
                ports.filter(move |(_, endpoint)| Some(endpoint.network) == ifindex)
            };
            let mut grade = Grader::default();
            match ifindex {
                // An own network that its owner has just removed, or is just making.
                None if network.owned.is_some() => {}
                None => grade.note(
                    HealthState::Degraded,
                    format!("network {name}: there is no bridge {}", network.bridge),
                ),
                Some(ifindex) if !view.bridge_is_policed(ifindex) => grade.note(
                    HealthState::NotEnforcing,
                    format!("network {name}: the programs of bridge {} do not run", network.bridge),
                ),
                Some(_) => {}
            }
            for (ifindex, endpoint) in ports() {
                let interface = view.name(*ifindex);
                if !view.port_is_policed(*ifindex) {
                    let reason = format!("network {name}: {interface} is not policed");
                    grade.note(HealthState::NotEnforcing, reason);
                } else if endpoint.role == Role::Unknown {
                    let reason = format!("network {name}: {interface} is not identified: denied");
                    grade.note(HealthState::Degraded, reason);
                }
            }
            let role = |endpoint: &DesiredEndpoint| {
                view.state.desired.role_shown(endpoint.network, endpoint.role)
            };
            let guests = ports().filter(|(_, endpoint)| role(endpoint) == Role::Guest).count();
            health.merge(&grade);
            NetworkStatus {
                name: name.clone(),
                bridge: network.bridge.clone(),
                ifindex,
                owner: network.owned.as_ref().map(|owned| match &owned.owner {
                    Some(owner) => owner.to_string(),
                    None => "nobody".to_owned(),
                }),
                guests: u32::try_from(guests).unwrap_or(u32::MAX),
                state: grade.state,
            }
        });
        networks.collect()
    }

    fn endpoint_list(&self, view: &View<'_>) -> Vec<EndpointStatus> {
        let usage: BTreeMap<u32, Usage> =
            self.path.lock().maps.usage.list().unwrap_or_default().into_iter().collect();
        let endpoints = view.state.desired.endpoints.iter().map(|(ifindex, endpoint)| {
            // What the kernel has, not what it should have.
            let held = view.observed.endpoints.get(ifindex);
            let role = held.map_or(Role::Unknown, |held| Role::from_value(held.role));
            let role = view.state.desired.role_shown(endpoint.network, role);
            let usage = held.and_then(|held| usage.get(&held.id)).copied().unwrap_or_default();
            let network = view.state.desired.networks.get(&endpoint.network);
            let policy = held.and_then(|held| view.state.desired.policies.get(&held.policy));
            let ipv4 = endpoint.ipv4.map(|address| address.to_string());
            let ipv6 = endpoint.ipv6.map(|address| address.to_string());
            EndpointStatus {
                container: endpoint.name.clone(),
                network: network.map(|network| network.name.clone()).unwrap_or_default(),
                interface: view.name(*ifindex),
                ifindex: *ifindex,
                role: role_name(role).to_owned(),
                policy: policy.map(|policy| policy.name.clone()).unwrap_or_default(),
                audits: policy.is_some_and(DesiredPolicy::audits),
                mac: mac(endpoint.mac),
                cgroup: held.map_or(0, |held| view.cgroup_of(held.id)),
                addresses: ipv4.into_iter().chain(ipv6).collect(),
                flows: FlowCounts {
                    inbound_half_open: usage.inbound_half_open,
                    inbound_established: usage.inbound_established,
                    outbound_half_open: usage.outbound_half_open,
                    outbound_established: usage.outbound_established,
                    closing: usage.closing,
                },
                limits: held
                    .and_then(|held| view.observed.policies.get(&held.policy))
                    .map(|policy| LimitsInForce::from(&policy.limits))
                    .unwrap_or_default(),
            }
        });
        endpoints.collect()
    }

    fn programs(&self, view: &View<'_>) -> Vec<ProgramStatus> {
        let desired = &view.state.desired;
        let bridges = desired.networks.keys().map(|i| (*i, [Hook::FromBridge, Hook::ToBridge]));
        let ports = desired.endpoints.keys().map(|i| (*i, [Hook::FromGuest, Hook::ToGuest]));
        let loaded = self.path.lock();
        let kind = if loaded.hooks.uses_tcx() { "tcx" } else { "clsact" };
        bridges
            .chain(ports)
            .flat_map(|(ifindex, hooks)| hooks.map(|hook| (ifindex, hook)))
            .map(|(ifindex, hook)| ProgramStatus {
                program: hook.name().to_owned(),
                interface: view.name(ifindex),
                id: loaded.hooks.program_id(hook),
                hook: kind.to_owned(),
                attached: view.observed.first.contains(&(ifindex, hook)),
            })
            .collect()
    }

    /// Adds the programs that know the process; returns what is not seen.
    fn processes(&self, view: &View<'_>, programs: &mut Vec<ProgramStatus>) -> Vec<String> {
        let listed = self.path.lock().processes.list();
        let mut unseen = Vec::new();
        for program in listed {
            programs.push(of_the_machine(&program));
            unseen.extend(program.problem.map(|why| format!("{}: {why}", program.name)));
        }
        programs.extend(self.path.lock().processes.guard().list().iter().map(of_the_machine));
        unseen.extend(view.state.unseen.iter().cloned());
        unseen
    }

    fn counter_list(&self, health: &mut Grader) -> Vec<CounterStatus> {
        let counters = self.records.counters().unwrap_or_else(|error| {
            health.note(HealthState::Degraded, error.to_string());
            Vec::new()
        });
        let counters = counters.into_iter().map(|(subject, key, counter)| CounterStatus {
            endpoint: title(&subject),
            id: key.owner,
            container: subject.container,
            network: subject.network,
            hook: Hook::from_value(key.hook).map_or("", Hook::name).to_owned(),
            reason: reason_name(key.reason),
            events: counter.events,
            packets: counter.packets,
            bytes: counter.bytes,
            recorded: counter.recorded,
            suppressed: counter.suppressed,
            lost: counter.lost,
        });
        counters.collect()
    }
}

fn of_the_machine(program: &ProcessProgram) -> ProgramStatus {
    ProgramStatus {
        program: program.name.to_owned(),
        interface: String::new(),
        id: program.id,
        hook: program.kind.to_owned(),
        attached: program.problem.is_none(),
    }
}

/// What people call an endpoint or a network.
fn title(subject: &Subject) -> String {
    [&subject.container, &subject.network]
        .into_iter()
        .find(|name| !name.is_empty())
        .map_or_else(|| format!("#{}", subject.endpoint), String::clone)
}

/// Ports that are not policed yet: they are denied until they are.
fn backlog(view: &View<'_>) -> u32 {
    let ports = view.state.desired.endpoints.keys();
    u32::try_from(ports.filter(|port| !view.port_is_policed(**port)).count()).unwrap_or(u32::MAX)
}

/// What one report is made of.
struct View<'a> {
    state: &'a State,
    observed: &'a Observed,
    links: &'a Links,
}

impl View<'_> {
    /// Cgroup whose processes an endpoint has the records of; 0: none.
    fn cgroup_of(&self, id: u32) -> u64 {
        let mut cgroups = self.observed.cgroups.iter();
        cgroups.find(|(_, owner)| owner.owner == id).map_or(0, |(cgroup, _)| *cgroup)
    }

    fn name(&self, ifindex: u32) -> String {
        self.links.get(&ifindex).map_or_else(|| format!("#{ifindex}"), |link| link.name.clone())
    }

    fn runs(&self, ifindex: u32, hooks: [Hook; 2]) -> bool {
        hooks.iter().all(|hook| self.observed.first.contains(&(ifindex, *hook)))
    }

    fn bridge_is_policed(&self, ifindex: u32) -> bool {
        self.observed.networks.contains_key(&ifindex)
            && self.runs(ifindex, [Hook::FromBridge, Hook::ToBridge])
    }

    fn port_is_policed(&self, ifindex: u32) -> bool {
        self.observed.endpoints.contains_key(&ifindex)
            && self.runs(ifindex, [Hook::FromGuest, Hook::ToGuest])
    }
}

/// Collects what is wrong; the worst of it is the grade.
struct Grader {
    state: HealthState,
    reasons: Vec<String>,
}

impl Default for Grader {
    fn default() -> Self {
        Self { state: HealthState::Enforcing, reasons: Vec::new() }
    }
}

impl Grader {
    fn note(&mut self, state: HealthState, reason: String) {
        self.state = self.state.min(state);
        self.reasons.push(reason);
    }

    fn merge(&mut self, other: &Self) {
        self.state = self.state.min(other.state);
        self.reasons.extend_from_slice(&other.reasons);
    }
}
