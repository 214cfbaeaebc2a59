//! What has been learnt from the engine so far, and the [`Inventory`] that follows from it. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bollard::models::ContainerSummary;

use super::convert;
use crate::model::{
    inventory::{Container, DockerNetwork, Inventory, OtherNetwork},
    provenance::Provenance,
};

/// The answers of the engine, each as old as it is.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    networks: BTreeMap<String, DockerNetwork>,
    /// Names that the networks give, known before a container can be inspected.
    names: BTreeMap<String, String>,
    /// Networks with other drivers.
    other_networks: BTreeMap<String, OtherNetwork>,
    /// Attached containers that have been inspected.
    inspected: BTreeMap<String, Container>,
    /// Whom containers were started for, known from their creation to their removal.
    provenance: BTreeMap<String, Arc<Provenance>>,
    /// Running containers on no bridge network.
    aside: BTreeMap<String, Container>,
}

impl Snapshot {
    /// Takes in a network as it is now.
    pub(super) fn put_network(&mut self, network: DockerNetwork, names: BTreeMap<String, String>) {
        self.names.extend(names);
        self.networks.insert(network.id.clone(), network);
        self.forget_detached();
    }

    /// Takes in all networks with other drivers.
    pub(super) fn put_other_networks(&mut self, networks: BTreeMap<String, OtherNetwork>) {
        self.other_networks = networks;
    }

    /// Forgets a network that is gone.
    pub(super) fn remove_network(&mut self, id: &str) {
        self.networks.remove(id);
        self.forget_detached();
    }

    /// Forgets the networks that are not in a complete list.
    pub(super) fn keep_networks(&mut self, ids: &BTreeSet<String>) {
        self.networks.retain(|id, _| ids.contains(id));
        self.forget_detached();
    }

    /// Takes in a container as `inspect` shows it.
    pub(super) fn put_container(&mut self, container: Container) {
        self.aside.remove(&container.id);
        self.provenance.insert(container.id.clone(), Arc::clone(&container.provenance));
        if self.is_attached(&container.id) {
            self.inspected.insert(container.id.clone(), container);
        } else if container.running {
            self.aside.insert(container.id.clone(), container);
        }
    }

    /// Forgets what `inspect` showed of a container that is gone.
    pub(super) fn remove_container(&mut self, id: &str) {
        self.inspected.remove(id);
        self.aside.remove(id);
        self.provenance.remove(id);
    }

    /// Whether a network has this container.
    fn is_attached(&self, id: &str) -> bool {
        self.networks.values().any(|network| network.attachments.contains_key(id))
    }

    /// Attached containers that have not been inspected.
    pub(super) fn not_inspected(&self) -> BTreeSet<String> {
        self.attached().filter(|id| !self.inspected.contains_key(*id)).cloned().collect()
    }

    /// Containers that have not been inspected, or that differ from the list of what runs.
    pub(super) fn to_inspect(&self, list: &[ContainerSummary]) -> BTreeSet<String> {
        let mut ids = self.not_inspected();
        let mut ended: BTreeSet<&String> = self.aside.keys().collect();
        for summary in list {
            let Some(id) = &summary.id else { continue };
            ended.remove(id);
            let known = self.inspected.get(id).or_else(|| self.aside.get(id));
            if !known.is_some_and(|known| convert::agrees(known, summary)) {
                ids.insert(id.clone());
            }
        }
        ids.extend(ended.into_iter().cloned());
        ids
    }

    /// The inventory, without a version.
    pub(super) fn inventory(&self) -> Inventory {
        let container = |id: &String| match self.inspected.get(id) {
            Some(container) => container.clone(),
            None => Container {
                id: id.clone(),
                name: self.names.get(id).cloned().unwrap_or_default(),
                provenance: self.provenance.get(id).cloned().unwrap_or_default(),
                ..Container::default()
            },
        };
        Inventory {
            version: 0,
            networks: self.networks.clone(),
            other_networks: self.other_networks.clone(),
            containers: self
                .attached()
                .map(|id| (id.clone(), container(id)))
                .chain(self.aside.clone())
                .collect(),
        }
    }

    fn attached(&self) -> impl Iterator<Item = &String> {
        self.networks.values().flat_map(|network| network.attachments.keys())
    }

    /// A container that is on no network any more has stopped; at its next start it is inspected
    /// anew, so that no published port of an earlier life opens anything.
    fn forget_detached(&mut self) {
        let attached: BTreeSet<String> = self.attached().cloned().collect();
        self.names.retain(|id, _| attached.contains(id));
        self.inspected.retain(|id, _| attached.contains(id));
        self.aside.retain(|id, _| !attached.contains(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::inventory::{Attachment, PublishedPort};

    fn network(containers: &[&str]) -> (DockerNetwork, BTreeMap<String, String>) {
        let each = || containers.iter().map(|id| (*id).to_owned());
        let network = DockerNetwork {
            id: "n".to_owned(),
            name: "lab".to_owned(),
            bridge: "br-lab".to_owned(),
            subnets: Vec::new(),
            attachments: each().map(|id| (id, Attachment::default())).collect(),
        };
        (network, each().map(|id| (id.clone(), format!("name-{id}"))).collect())
    }

    fn inspected(id: &str) -> Container {
        let port = PublishedPort { container_port: 80, protocol: 6 };
        let name = format!("name-{id}");
        Container { id: id.to_owned(), name, published: vec![port], ..Container::default() }
    }

    #[test]
    fn a_container_is_there_before_it_can_be_inspected() {
        let mut snapshot = Snapshot::default();
        let (lab, names) = network(&["a"]);
        snapshot.put_network(lab, names);
        let early = &snapshot.inventory().containers["a"];
        assert_eq!((early.name.as_str(), early.published.len()), ("name-a", 0));
        assert_eq!(snapshot.not_inspected(), ["a".to_owned()].into());
        snapshot.put_container(inspected("a"));
        assert_eq!(snapshot.inventory().containers["a"].published.len(), 1);
        assert!(snapshot.not_inspected().is_empty());
    }

    #[test]
    fn a_container_on_no_bridge_is_there_while_it_runs() {
        let listed = |id: &str| ContainerSummary { id: Some(id.to_owned()), ..Default::default() };
        let mut snapshot = Snapshot::default();
        assert_eq!(snapshot.to_inspect(&[listed("h")]), ["h".to_owned()].into());
        let on_host = Container { running: true, published: Vec::new(), ..inspected("h") };
        snapshot.put_container(on_host.clone());
        assert_eq!(snapshot.inventory().containers["h"], on_host);
        assert!(snapshot.to_inspect(&[listed("h")]).is_empty());
        // No longer in the list: only an inspect says that it has ended.
        assert_eq!(snapshot.to_inspect(&[]), ["h".to_owned()].into());
        assert_eq!(snapshot.inventory().containers.len(), 1);
        snapshot.put_container(Container { running: false, ..on_host.clone() });
        assert!(snapshot.inventory().containers.is_empty());
        // Attached, it is inspected anew.
        snapshot.put_container(on_host);
        let (lab, names) = network(&["h"]);
        snapshot.put_network(lab, names);
        assert_eq!(snapshot.not_inspected(), ["h".to_owned()].into());
        assert_eq!(snapshot.inventory().containers["h"].name, "name-h");
    }

    #[test]
    fn a_second_life_does_not_inherit_published_ports() {
        let mut snapshot = Snapshot::default();
        for containers in [["a"].as_slice(), &[], &["a"]] {
            let (lab, names) = network(containers);
            snapshot.put_network(lab, names);
            if containers.len() == 1 && snapshot.inspected.is_empty() {
                assert!(snapshot.inventory().containers["a"].published.is_empty());
                snapshot.put_container(inspected("a"));
            }
        }
        assert!(snapshot.inventory().containers.contains_key("a"));
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut snapshot = Snapshot::default();
        let (lab, names) = network(&["a"]);
        snapshot.put_network(lab, names);
        snapshot.put_container(inspected("a"));
        snapshot.keep_networks(&BTreeSet::new());
        assert_eq!(snapshot.inventory(), Inventory::default());
        assert!(snapshot.inspected.is_empty() && snapshot.names.is_empty());
        snapshot.put_container(inspected("stranger"));
        assert!(snapshot.inspected.is_empty());
    }
}
