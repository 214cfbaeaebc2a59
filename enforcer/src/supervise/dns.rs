//! Runs the resolver: who may ask, and on which addresses, follows from what the control loop last saw.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use enforcer_common::abi::endpoint::{Endpoint, Role};
use tokio::{sync::watch, task::JoinHandle};

use super::{leases::KernelLeases, records::Queries};
use crate::{
    config::{Config, Dns},
    control::reconcile::State,
    dns::{Counts, Resolver, listen},
    model::names::{Client, Directory, Leases},
};

/// Where guests' questions go.
const PORT: u16 = 53;

/// A running resolver, wanted or not.
pub(super) struct Resolving {
    /// For the status report.
    pub(super) status: DnsStatus,
    /// Addresses that are answered on.
    pub(super) held: watch::Receiver<BTreeSet<SocketAddr>>,
    /// Addresses that cannot be answered on.
    pub(super) problems: watch::Receiver<Vec<String>>,
    /// The task.
    pub(super) task: JoinHandle<()>,
}

/// What the status report needs of the resolver.
pub(super) struct DnsStatus {
    counts: Arc<Counts>,
}

impl DnsStatus {
    /// Questions by outcome; those of nobody in the directory under a word of their own. None, where
    /// the config wants no resolver.
    pub(super) fn counts(&self, config: &Config) -> BTreeMap<String, u64> {
        if config.dns.is_none() {
            return BTreeMap::new();
        }
        let strangers = ("stranger", self.counts.strangers());
        let all = self.counts.each().chain([strangers]);
        all.map(|(outcome, count)| (outcome.to_owned(), count)).collect()
    }
}

pub(super) fn start(
    config: watch::Receiver<Arc<Config>>,
    state: watch::Receiver<Arc<State>>,
    leases: Arc<KernelLeases>,
    queries: Queries,
) -> Resolving {
    let (settings, settings_out) = watch::channel(Arc::new(Dns::default()));
    let (directory, directory_out) = watch::channel(Arc::<Directory>::default());
    let (wanted, wanted_out) = watch::channel(BTreeSet::new());
    let (publish, problems) = watch::channel(Vec::new());
    let (answered, held) = watch::channel(BTreeSet::new());
    let granting = Arc::clone(&leases) as Arc<dyn Leases>;
    let resolver = Resolver::new(settings_out, directory_out, granting, Arc::new(queries));
    let resolver = Arc::new(resolver);
    let counts = resolver.counts();
    let task = tokio::spawn(async move {
        let told = Told { settings, directory, wanted };
        tokio::select! {
            () = follow(config, state, &told) => {}
            () = resolver.forget() => {}
            () = leases.sweep() => {}
            () = listen(Arc::clone(&resolver), wanted_out, (answered, publish)) => {}
        }
    });
    Resolving { status: DnsStatus { counts }, held, problems, task }
}

/// What the resolver goes by.
struct Told {
    settings: watch::Sender<Arc<Dns>>,
    directory: watch::Sender<Arc<Directory>>,
    wanted: watch::Sender<BTreeSet<SocketAddr>>,
}

/// Tells the resolver what config and control loop say, until they say no more.
async fn follow(
    mut config: watch::Receiver<Arc<Config>>,
    mut state: watch::Receiver<Arc<State>>,
    told: &Told,
) {
    loop {
        let of = Arc::clone(&config.borrow_and_update());
        let now = Arc::clone(&state.borrow_and_update());
        let dns = of.dns.clone();
        let heard = if dns.is_some() { gateways(&now) } else { BTreeSet::new() };
        replace(&told.settings, Arc::new(dns.unwrap_or_default()));
        replace(&told.directory, Arc::new(clients(&now)));
        replace(&told.wanted, heard);
        let changed = tokio::select! {
            changed = config.changed() => changed,
            changed = state.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

/// Tells of a value only if it is another one.
fn replace<T: PartialEq>(sender: &watch::Sender<T>, value: T) {
    sender.send_if_modified(|known| {
        let changed = *known != value;
        if changed {
            *known = value;
        }
        changed
    });
}

/// Addresses of the bridges, where guests' questions go.
fn gateways(state: &State) -> BTreeSet<SocketAddr> {
    let of = |network: &crate::model::desired::DesiredNetwork| {
        let ipv4 = network.gateway4.map(|(address, _)| IpAddr::V4(address));
        let ipv6 = network.gateway6.map(|(address, _)| IpAddr::V6(address));
        [ipv4, ipv6].into_iter().flatten()
    };
    let addresses = state.desired.networks.values().flat_map(of);
    addresses.map(|address| SocketAddr::new(address, PORT)).collect()
}

/// Guests and hubs by the addresses from which the kernel lets them, and nobody else, send.
fn clients(state: &State) -> Directory {
    let is_known =
        |endpoint: &&Endpoint| matches!(Role::from_value(endpoint.role), Role::Guest | Role::Hub);
    let known = state.observed.endpoints.values().filter(is_known);
    known
        .flat_map(|endpoint| {
            let policy = state.desired.policies.get(&endpoint.policy);
            let policy = policy.map(|policy| Arc::clone(&policy.names)).unwrap_or_default();
            let client = Client { endpoint: endpoint.id, policy };
            addresses(endpoint).map(move |address| (address, client.clone()))
        })
        .collect()
}

fn addresses(endpoint: &Endpoint) -> impl Iterator<Item = IpAddr> + use<> {
    let ipv4 = Ipv4Addr::from_octets(endpoint.ipv4);
    let ipv6 = Ipv6Addr::from_octets(endpoint.ipv6);
    let all = [IpAddr::V4(ipv4), IpAddr::V6(ipv6)];
    all.into_iter().filter(|address| !address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        desired::{DesiredNetwork, DesiredPolicy},
        inventory::Mac,
        names::NamePolicy,
    };

    fn endpoint(id: u32, role: Role, ipv4: [u8; 4]) -> Endpoint {
        Endpoint { id, role: role as u8, ipv4, ..Endpoint::default() }
    }

    #[test]
    fn n6_only_whom_the_kernel_knows_may_ask_and_for_what_its_policy_names() {
        let mut state = State::default();
        let ipv6: Ipv6Addr = "fd00::2".parse().expect("an address");
        let both =
            Endpoint { ipv6: ipv6.octets(), policy: 3, ..endpoint(7, Role::Guest, [10, 0, 0, 2]) };
        let any = Arc::new(NamePolicy { any: true, ..NamePolicy::default() });
        let policy = DesiredPolicy { names: Arc::clone(&any), ..DesiredPolicy::default() };
        state.desired.policies.insert(3, policy);
        state.observed.endpoints = [
            (1, both),
            (2, endpoint(8, Role::Hub, [10, 0, 0, 3])),
            (3, endpoint(9, Role::Unknown, [10, 0, 0, 4])),
            (4, endpoint(10, Role::Other, [10, 0, 0, 5])),
            (5, endpoint(11, Role::Guest, [0; 4])),
        ]
        .into();
        let clients = clients(&state);
        let known: Vec<(String, u32)> = clients
            .iter()
            .map(|(address, client)| (address.to_string(), client.endpoint))
            .collect();
        let expected = [("10.0.0.2", 7), ("10.0.0.3", 8), ("fd00::2", 7)];
        assert_eq!(known, expected.map(|(address, id)| (address.to_owned(), id)));
        for client in clients.values() {
            let policy = if client.endpoint == 7 { (*any).clone() } else { NamePolicy::default() };
            assert_eq!(*client.policy, policy, "{}", client.endpoint);
        }
    }

    #[test]
    fn questions_are_heard_on_the_gateways_alone() {
        let mut state = State::default();
        let network = DesiredNetwork {
            name: "lab".to_owned(),
            bridge: "br-lab".to_owned(),
            gateway4: Some((Ipv4Addr::new(10, 0, 0, 1), 24)),
            gateway6: None,
            gateway_link_local: Some("fe80::1".parse().expect("an address")),
            mac: Mac::default(),
            owned: false,
        };
        state.desired.networks.insert(20, network);
        let heard: Vec<String> = gateways(&state).iter().map(ToString::to_string).collect();
        assert_eq!(heard, ["10.0.0.1:53"]);
    }
}
